"""Speaking Converse to Bedrock: `POST {base_url}/model/{modelId}/converse` and `/converse-stream`.

Must not know which provider it is, nor credentials: requests are signed where they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages.json_schema import fitted, input_schema, schema_of_tool
from genai_spine.dialects.anthropic_messages.thinking import refused_sampling
from genai_spine.dialects.anthropic_messages.white_space import sayable_stop
from genai_spine.dialects.bedrock_converse import errors
from genai_spine.dialects.bedrock_converse import schema as wire
from genai_spine.dialects.bedrock_converse.additional import thinking_fields, top_k_fields
from genai_spine.dialects.bedrock_converse.blocks import part_of_block
from genai_spine.dialects.bedrock_converse.decoder import ConverseStreamDecoder
from genai_spine.dialects.bedrock_converse.history import HistoryWriter
from genai_spine.dialects.bedrock_ids import bare_id, maker_of, path_of
from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import counted_tokens
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import Renaming
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.wire import json

DIALECT = wire.DIALECT
PATH = "/model/{model}/converse"
"""Nobody who calls us speaks Converse: nothing is relayed to it, and the path is made for each request."""

# docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (2026-11).
_CACHING_MAKERS = frozenset({"anthropic", "amazon", None})

_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")
"""The members of a request that a count of its tokens takes (ConverseTokensRequest)."""

decode_error = errors.decode_error
decode_embedded_error = errors.decode_embedded_error


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: images and documents by URL, other
    dialects' opaque parts, tool calls whose arguments are no object, n > 1.
    """
    check_thread(DIALECT, request)
    writer = _Writer(target)
    body = writer.body(request)
    path = path_of(target.model, "converse-stream" if stream else "converse")
    return Outgoing(path=path, body=json.encode(body), notices=tuple(writer.notices))


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """The question how many input tokens the request has. Profiles are refused ("The provided model doesn't
    support counting tokens", recorded 400), so the model itself is asked.

    Raises: InvalidRequest, as `encode_request` does.
    """
    body = _Writer(target).body(request)
    counted = {name: body[name] for name in _COUNTED if name in body}
    path = path_of(bare_id(target.model), "count-tokens")
    return Outgoing(path=path, body=json.encode({"input": {"converse": counted}}))


class _Writer:
    """Writes one request; collects the notices on the way."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.card = target.card.capabilities
        self.notices: list[Notice] = []
        self.names = Renaming(None, self.notice)  # ids: blocks.py
        self.additional: dict[str, Any] = {}
        self.marks = self.card.cache_marks is not False and maker_of(target.model) in _CACHING_MAKERS

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices.append(Notice(code=code, message=message, param=param))

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        request = as_functions(request, self.notice)
        history = HistoryWriter(self.target.model, self.notice, self.names, marks=self.marks)
        system, messages = history.written(request.messages)
        request = self.within_limit(request)
        body: dict[str, Any] = {"messages": messages}
        if system:
            body["system"] = system
        is_forced = self.tools(request, body, history)
        self.additional.update(thinking_fields(request, self.target, is_forced=is_forced, notice=self.notice))
        if inference := self.inference(request):
            body["inferenceConfig"] = inference
        self.output_schema(request, body)
        if self.additional:
            body["additionalModelRequestFields"] = self.additional
        self.cache(request, messages)
        self.extra(request, body)
        return body

    def within_limit(self, request: CompletionRequest) -> CompletionRequest:
        """More is a 400: "The maximum tokens you requested exceeds the model limit of 4096" (vercel/ai#2772)."""
        most = self.target.card.max_output_tokens
        if most is None or request.max_tokens is None or request.max_tokens <= most:
            return request
        self.notice("changed", f"max_tokens {request.max_tokens} sent as {most}, the model's most", "max_tokens")
        return request.aimed_at(request.model, max_tokens=most)

    def inference(self, request: CompletionRequest) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if request.max_tokens:  # 0 is "no limit" to some that Ollama answers
            config["maxTokens"] = request.max_tokens
        temperature = request.temperature
        if temperature is not None and temperature > 1:
            self.notice("changed", f"temperature {temperature} sent as 1, the highest here", "temperature")
            temperature = 1
        if self.is_taken("temperature", temperature):
            config["temperature"] = temperature
        if self.is_taken("top_p", request.top_p, has_temperature="temperature" in config):
            config["topP"] = request.top_p
        if request.top_k is not None and self.is_taken("top_k", request.top_k):
            self.top_k(request.top_k)
        is_claude = maker_of(self.target.model) == "anthropic"
        if stop := sayable_stop(request.stop, self.notice) if is_claude else request.stop:
            config["stopSequences"] = stop
        for name in ("frequency_penalty", "presence_penalty", "seed", "context_window", "user"):
            if getattr(request, name) is not None:
                self.notice("dropped", f"the service takes no {name}", name)
        return config

    def is_taken(self, name: str, value: float | None, *, has_temperature: bool = False) -> bool:
        """Whether the model takes this option, of this value, as it is asked to think; a Notice where not."""
        if value is None:
            return False
        thinks = self.additional.get("thinking", {}).get("type") in ("enabled", "adaptive")
        why = refused_sampling(name, value, self.card, thinks=thinks, has_temperature=has_temperature)
        if why is not None:
            self.notice("dropped", why, name)
        return why is None

    def top_k(self, top_k: int) -> None:
        fields = top_k_fields(top_k, self.target.model)
        if fields is None:
            self.notice("dropped", "how the model takes top_k is not known: say it in its own words", "top_k")
        else:
            self.additional.update(fields)

    def output_schema(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        """…/userguide/structured-output.html: the schema goes as text, in the same subset as with Anthropic."""
        wanted = request.output_schema
        if wanted is None:
            return
        if wanted.schema is None:
            self.notice("dropped", "JSON can be asked for with a schema only", "response_format")
        elif self.card.structured_output is False:
            self.notice("dropped", "the model takes no output schema", "response_format")
        else:
            schema = fitted(wanted.schema)
            if schema != wanted.schema:
                self.notice("changed", "the schema was fitted to what the service takes", "response_format")
            said = {"schema": json.encode(schema).decode(), "name": wanted.name, "description": wanted.description}
            definition = {key: value for key, value in said.items() if value is not None}
            text_format = {"type": "json_schema", "structure": {"jsonSchema": definition}}
            body["outputConfig"] = {"textFormat": text_format}

    def cache(self, request: CompletionRequest, messages: list[dict[str, Any]]) -> None:
        """A mark on the whole prompt is a cache point at its end."""
        if request.cache is None:
            return
        if self.marks:
            messages[-1]["content"].append(wire.cache_point(request.cache))
        else:
            self.notice("dropped", "the model takes no cache marks", "cache_control")

    def extra(self, request: CompletionRequest, body: dict[str, Any]) -> None:
        extend(body, request.extra, DIALECT)
        for found in foreign_to(DIALECT, request):
            self.notice(found.code, found.message, found.param)

    # ------------------------------------------------------------ tools

    def tools(self, request: CompletionRequest, body: dict[str, Any], history: HistoryWriter) -> bool:
        """Whether the model is forced to call one."""
        tools = [block for tool in request.tools for block in self.tool(tool)]
        choice = self.choice(request, bool(tools), history)
        if request.tool_choice is not None and request.tool_choice.mode == "none" and not history.has_tool_blocks:
            tools = []  # "none" cannot be said; without tools there is none to call
        if not tools and history.has_tool_blocks:
            # "The toolConfig field must be defined when using toolUse and toolResult content blocks" (400).
            tools = [_declared(name) for name in history.called or {"unknown": None}]
            self.notice("changed", "the tools called earlier are declared again, as the service demands", "tools")
        if tools:
            body["toolConfig"] = {"tools": tools} | ({"toolChoice": choice} if choice else {})
        return bool(choice) and "auto" not in choice

    def choice(self, request: CompletionRequest, has_tools: bool, history: HistoryWriter) -> dict[str, Any]:
        if request.parallel_tool_calls is False and has_tools:
            self.notice("dropped", "the service cannot be told to call one tool at a time", "parallel_tool_calls")
        choice = request.tool_choice
        if choice is None:
            return {}
        if not has_tools:
            self.notice("dropped", "there is no tool to choose", "tool_choice")
            return {}
        if choice.mode == "none":
            if history.has_tool_blocks:
                self.notice("dropped", "tools cannot be forbidden after some were called", "tool_choice")
            return {}
        return self.named_choice(choice, request)

    def named_choice(self, choice: ToolChoice, request: CompletionRequest) -> dict[str, Any]:
        if choice.mode in ("required", "tool") and self.card.forced_tools is False:
            self.notice("changed", "the model cannot be told to call a tool: left to it", "tool_choice")
            return {"auto": {}}
        if choice.mode != "tool":
            return {"any" if choice.mode == "required" else "auto": {}}
        if choice.name in {tool.name for tool in request.tools if _is_anothers(tool)}:
            self.notice("dropped", f"the tool {choice.name} was left out", "tool_choice")
            return {}
        return {"tool": {"name": choice.name and self.names.tool(choice.name)}}

    def tool(self, tool: Tool | ProviderTool) -> list[dict[str, Any] | msgspec.Raw]:
        """The tool, and a cache point where it has a mark; nothing where it cannot be said."""
        if isinstance(tool, ProviderTool):
            if tool.dialect == DIALECT:
                return [tool.raw]
            self.notice("dropped", f"the tool {tool.name} is known to {tool.dialect} only", "tools")
            return []
        written: dict[str, Any] = {"name": self.names.tool(tool.name)}
        if tool.description:  # an empty one is refused
            written["description"] = tool.description
        schema, strict = schema_of_tool(tool, self.card, self.notice)
        written["inputSchema"] = {"json": schema}
        if strict:
            written["strict"] = True
        blocks: list[dict[str, Any] | msgspec.Raw] = [{"toolSpec": extend(written, tool.provider_metadata, DIALECT)}]
        if tool.cache is not None:
            if self.marks:
                blocks.append(wire.cache_point(tool.cache))
            else:
                self.notice("dropped", "the model takes no cache marks", "tools")
        return blocks


def _is_anothers(tool: Tool | ProviderTool) -> bool:
    return isinstance(tool, ProviderTool) and tool.dialect != DIALECT


def _declared(name: str) -> dict[str, Any]:
    return {"toolSpec": {"name": name, "inputSchema": {"json": input_schema(None)}}}


# ---------------------------------------------------------------- answer


class _Message(msgspec.Struct):
    content: list[msgspec.Raw]


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Reply(msgspec.Struct):
    output: _Output | None = None
    stopReason: str | None = None


_reply = msgspec.json.Decoder(_Reply)
_KNOWN_TOP_LEVEL = ("output", "stopReason", "usage")


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """`metrics`, `trace` (guardrails) and what else stands beside the message is in `extra`.

    Raises: BadReply where it is none; the provider's error where a 200 carries one.
    """
    reply = json.decode_outbound(body, _reply)
    if reply.output is None or reply.output.message is None:
        raise errors.decode_embedded_error(body) or BadReply("an answer without a message")
    members: dict[str, Any] = json.read_kept(body, json.ANY)
    return CompletionResponse(
        model=target.model,
        parts=tuple(part_of_block(block) for block in reply.output.message.content),
        finish_reason=wire.finish_of(reply.stopReason),
        raw_finish_reason=reply.stopReason or None,
        usage=wire.usage_of(members.get("usage"), members),
        extra=keep(DIALECT, unknown(members, _KNOWN_TOP_LEVEL)),
        raw=msgspec.Raw(body),
    )


def stream_decoder(target: Target) -> ConverseStreamDecoder:
    return ConverseStreamDecoder(target)


def decode_count_response(body: bytes) -> int:
    """{"inputTokens": 18}. Raises: BadReply."""
    return counted_tokens(body, "inputTokens")


# ---------------------------------------------------------------- relay


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return wire.usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """Nothing is relayed: no caller of ours speaks this."""
    return True
