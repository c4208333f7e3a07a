"""Speaking Cohere's chat to a provider: `POST {base_url}/v2/chat`.

What Cohere has no word for and does without (user, cache marks, parallel_tool_calls) is left out with a Notice;
content that it cannot take is refused. Its own words (documents, citation_options, safety_mode, logprobs, priority,
strict_tools) go through in the request's `extra`. A thought's signature is left out without a Notice: it proves the
thought to the provider that signed it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.cohere_chat.answer import (
    decode_embedded_error,
    decode_error,
    decode_response,
    decode_usage,
)
from genai_spine.dialects.cohere_chat.decoder import CohereStreamDecoder
from genai_spine.dialects.cohere_chat.messages import MessageWriter
from genai_spine.dialects.cohere_chat.schema import DIALECT
from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import Notice
from genai_spine.wire import json

__all__ = [
    "DIALECT",
    "PATH",
    "concerns",
    "decode_embedded_error",
    "decode_error",
    "decode_response",
    "decode_usage",
    "encode_request",
    "stream_decoder",
]

PATH = "/v2/chat"

_RANGES = {"p": (0.01, 0.99), "frequency_penalty": (0, 1), "presence_penalty": (0, 1)}
"""What is taken, by docs.cohere.com/reference/chat (2026-11); OpenAI's callers send `top_p: 1` for "all"."""


def stream_decoder(target: Target) -> CohereStreamDecoder:
    return CohereStreamDecoder(target)


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: audio, PDFs, another dialect's opaque parts, n > 1.
    """
    check_thread(DIALECT, request)
    writer = _Writer(request, target)
    body = writer.body(stream=stream)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(writer.notices))


class _Writer:
    """Writes one request; collects the notices on the way, each once."""

    def __init__(self, request: CompletionRequest, target: Target) -> None:
        self.target = target
        self.notices: dict[Notice, None] = {}
        self.request = as_functions(request, self.notice)

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices[Notice(code=code, message=message, param=param)] = None

    def body(self, *, stream: bool) -> dict[str, Any]:
        request = self.request
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        # "not supported when used in combination with the documents … parameters" (ResponseFormatV2, 2026-11)
        messages = MessageWriter(self.notice, documents_apart=request.output_schema is None)
        body: dict[str, Any] = {"model": self.target.model, "messages": messages.messages(request.messages)}
        if stream:
            body["stream"] = True
        self.sampling(body)
        self.tools(body)
        self.output_schema(body)
        self.thinking(body)
        if request.user is not None:
            self.notice("dropped", "Cohere takes no user id", "user")
        if request.cache is not None:
            self.notice("dropped", "Cohere caches by itself and takes no cache marks", "cache_control")
        if request.context_window is not None:
            self.notice("dropped", "the service takes no context_window", "context_window")
        self.extra(body, messages.documents)
        return body

    def extra(self, body: dict[str, Any], documents: list[Any]) -> None:
        given = kept(self.request.extra, DIALECT).get("documents")
        if documents:
            body["documents"] = [*(given if isinstance(given, list) else ()), *documents]
        extend(body, self.request.extra, DIALECT)
        for found in foreign_to(DIALECT, self.request):
            self.notice(found.code, found.message, found.param)

    def sampling(self, body: dict[str, Any]) -> None:
        request = self.request
        wanted: dict[str, Any] = {
            "max_tokens": self.max_tokens(request.max_tokens),
            "temperature": request.temperature,
            "p": request.top_p,
            "k": request.top_k,
            "frequency_penalty": request.frequency_penalty,
            "presence_penalty": request.presence_penalty,
            "seed": request.seed,
            "stop_sequences": request.stop or None,
        }
        for name, value in wanted.items():
            if value is None:
                continue
            if name in ("temperature", "p", "k") and self.target.card.capabilities.sampling is False:
                self.notice("dropped", f"the model takes no {name}", name)
            else:
                body[name] = self.in_range(name, value) if name in _RANGES else value

    def max_tokens(self, asked: int | None) -> int | None:
        """No more than the model writes: "max tokens must be less than or equal to 4096, the maximum output for this
        model" (400, docs.cohere.com/reference/errors)."""
        most = self.target.card.max_output_tokens
        if asked is None or most is None or asked <= most:
            return asked
        self.notice("changed", f"max_tokens {asked} sent as the model's {most}", "max_tokens")
        return most

    def in_range(self, name: str, value: float) -> float:
        least, most = _RANGES[name]
        fitted = min(max(value, least), most)
        if fitted != value:
            self.notice("changed", f"{name} {value} is sent as {fitted}: Cohere takes {least} to {most}", name)
        return fitted

    def output_schema(self, body: dict[str, Any]) -> None:
        """The schema itself: it has no name here, and is always enforced."""
        wanted = self.request.output_schema
        if wanted is None:
            return
        schema = {"json_schema": wanted.schema} if wanted.schema is not None else {}
        body["response_format"] = {"type": "json_object", **schema}
        if wanted.description is not None:
            self.notice("dropped", "a schema has no description of its own here", "output_schema.description")

    def thinking(self, body: dict[str, Any]) -> None:
        """{"type": "enabled", "token_budget": 2000}, or {"type": "disabled"}; an effort is sent as its budget."""
        thinking = self.request.thinking
        if thinking is None:
            return
        if thinking.display is not None:
            self.notice("dropped", "Cohere always shows thoughts", "thinking.display")
        if thinking.enabled is False or thinking.effort == "none":
            body["thinking"] = {"type": "disabled"}
            return
        budget = thinking.budget_tokens
        if budget is None and thinking.effort is not None:
            budget = effort.budget_of(thinking.effort)
        if budget is None and not thinking.enabled and not thinking.adaptive:
            return
        if self.target.card.capabilities.thinking is False:
            self.notice("dropped", "the model does not think", "thinking")
            return
        if thinking.budget_tokens is None and thinking.effort is not None:
            self.notice("changed", f"effort {thinking.effort} is sent as {budget} tokens of thinking", "thinking")
        body["thinking"] = {"type": "enabled"} | ({"token_budget": budget} if budget is not None else {})

    # ------------------------------------------------------------ tools

    def tools(self, body: dict[str, Any]) -> None:
        request = self.request
        if request.parallel_tool_calls is False:
            self.notice("dropped", "Cohere cannot be kept from parallel tool calls", "parallel_tool_calls")
        tools = [tool for tool in request.tools if self.is_sayable(tool)]
        if request.tool_choice is not None:
            tools = self.tool_choice(request.tool_choice, tools, body)
        if tools:
            body["tools"] = [tool.raw if isinstance(tool, ProviderTool) else self.tool(tool) for tool in tools]
            self.strict(tools, body)

    def tool_choice(
        self, choice: ToolChoice, tools: list[Tool | ProviderTool], body: dict[str, Any]
    ) -> list[Tool | ProviderTool]:
        """Writes the choice; the tools that are left to choose from. One that must be called is the only one."""
        if choice.mode == "auto":
            return tools
        named = [tool for tool in tools if choice.mode != "tool" or tool.name == choice.name]
        if not named:
            self.notice("dropped", "there is no such tool to choose", "tool_choice")
            return tools
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"
        if choice.mode == "tool":
            self.notice("changed", f"tool_choice {choice.name} is sent as the only tool, required", "tool_choice")
        return named

    def strict(self, tools: list[Tool | ProviderTool], body: dict[str, Any]) -> None:
        """Strictness is the request's, not the tool's: it is asked for where all tools ask for it."""
        wishes = [isinstance(tool, Tool) and tool.strict is True for tool in tools]
        if all(wishes):
            body["strict_tools"] = True
        elif any(wishes):
            self.notice("dropped", "tools are strict here all or none: some are not", "tools.strict")

    def is_sayable(self, tool: Tool | ProviderTool) -> bool:
        if isinstance(tool, ProviderTool):
            if tool.dialect == DIALECT:
                return True
            self.notice("dropped", f"the tool {tool.name} runs at a provider that speaks {tool.dialect}", "tools")
            return False
        return True

    def tool(self, tool: Tool) -> dict[str, Any]:
        if tool.cache is not None:
            self.notice("dropped", "Cohere caches by itself and takes no cache marks", "cache_control")
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        # The field is required; this is a function without parameters.
        function["parameters"] = (
            tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        )
        return extend({"type": "function", "function": function}, tool.provider_metadata, DIALECT)


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect."""
    return False
