"""What a request says beside its conversation: written for a provider, and repeated in an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.foreign import foreign_to
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.openai_chat.json_schema import fitted, rooted
from genai_spine.dialects.openai_chat.schema import is_forced, take_headers, user_written
from genai_spine.dialects.openai_responses.namespaces import grouped_tools
from genai_spine.dialects.openai_responses.schema import DIALECT, LOGPROBS
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import choice_written
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool

Notify = Callable[[str, str, str | None], None]

ENCRYPTED = "reasoning.encrypted_content"
"""What must be included in an answer that is not stored, so that its thoughts can come back."""

LEAST_OUTPUT = 16
"""Tokens: "Invalid 'max_output_tokens'… Expected a value >= 16" (github.com/earendil-works/pi/issues/6265, 2026-11)."""


class OptionsWriter:
    """Writes the options of one request, for the model of this card; as they were asked where there is none."""

    def __init__(
        self,
        request: CompletionRequest,
        quirks: Quirks,
        notice: Notify,
        *,
        card: ModelCard | None = None,
        tool_name: Callable[[str], str] = str,
    ) -> None:
        self.request = request
        self.quirks = quirks
        self.notice = notice
        self.card = card
        self.tool_name = tool_name
        self.capabilities = card.capabilities if card is not None else Capabilities()
        self.own = kept(request.extra, DIALECT)
        """The caller's own members of this dialect, those that have been written taken out."""
        self.headers = take_headers(self.own)

    def write(self, body: dict[str, Any]) -> None:
        self.thinking(body)
        self.sampling(body)
        self.tools(body)
        self.text(body)
        if self.own.get("store", False) is None:  # as the service does by itself (particular.py)
            del self.own["store"]
        if self.own.get("store") is False:
            include = self.own.get("include")
            names = include if isinstance(include, list) else []
            body["include"] = [*names, *([] if ENCRYPTED in names else [ENCRYPTED])]
        extend(body, {DIALECT: msgspec.Raw(msgspec.json.encode(self.own))} if self.own else None, DIALECT)
        for name in self.quirks.drop:
            if body.pop(name, None) is not None:
                self.notice("dropped", f"the provider refuses {name}", name)
        for found in foreign_to(DIALECT, self.request):
            self.notice(found.code, found.message, found.param)

    def sampling(self, body: dict[str, Any]) -> None:
        request = self.request
        if request.max_tokens is not None:
            body["max_output_tokens"] = self.max_tokens(request.max_tokens)
        temperature, highest = request.temperature, self.quirks.temperature_max
        if temperature is not None and highest is not None and temperature > highest:
            self.notice("changed", f"temperature {temperature} sent as {highest}", "temperature")
            temperature = highest
        takes_sampling = effort.takes_sampling(self.capabilities, body.get("reasoning", {}).get("effort"))
        for name, value in (("temperature", temperature), ("top_p", request.top_p)):
            if value is None:
                continue
            if takes_sampling:
                body[name] = value
            elif value != effort.ONLY_SAMPLING:
                self.notice("dropped", f"the model takes no {name}", name)
        if not takes_sampling:
            self.leave_out_logprobs()
        if request.user is not None:
            body["user"] = request.user if self.card is None else user_written(request.user, self.notice)
        # "Unknown parameter": none of them is a member of the service's schema (2026-11).
        for name, unsaid in (
            ("top_k", request.top_k),
            ("frequency_penalty", request.frequency_penalty),
            ("presence_penalty", request.presence_penalty),
            ("seed", request.seed),
            ("stop", request.stop or None),
            ("cache_control", request.cache),
            ("context_window", request.context_window),
        ):
            if unsaid is not None:
                self.notice("dropped", f"the service takes no {name}", name)

    def leave_out_logprobs(self) -> None:
        """Models that take no temperature refuse to tell them, too (particular.py)."""
        included = self.own.get("include")
        is_asked = isinstance(included, list) and LOGPROBS in included
        if isinstance(included, list) and is_asked:
            self.own["include"] = [name for name in included if name != LOGPROBS]
        if self.own.pop("top_logprobs", None) or is_asked:
            self.notice("dropped", "the model takes no logprobs", "logprobs")

    def max_tokens(self, asked: int) -> int:
        """No more than the model writes, nor less than the service takes; a 400 otherwise. Of a model that no catalog
        knows, as one's own server has, nobody knows either."""
        limit = self.card.max_output_tokens if self.card is not None else None
        if limit is None or asked == 0:
            return asked
        taken = max(min(asked, limit), LEAST_OUTPUT)
        if taken != asked:
            self.notice("changed", f"max_tokens {asked} sent as {taken}", "max_tokens")
        return taken

    def text(self, body: dict[str, Any]) -> None:
        """`text`: the format of the answer; what else the caller said of it (verbosity) stays."""
        wanted, kind = self.request.output_schema, self.quirks.schema
        if wanted is None:
            return
        if kind == "none":
            self.notice("dropped", "the provider takes no text.format", "response_format")
        elif wanted.schema is None or kind == "json_object":
            body["text"] = {"format": {"type": "json_object"}}
            if wanted.schema is not None:
                self.notice("changed", "the provider takes no JSON Schema: asked for JSON", "response_format")
        else:
            schema = rooted(wanted.schema)
            written: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer", "schema": schema}
            if wanted.description is not None:
                written["description"] = wanted.description
            if wanted.strict is not None:
                written["strict"] = wanted.strict
            body["text"] = {"format": written}

    def thinking(self, body: dict[str, Any]) -> None:
        """`reasoning`: how much the model thinks, and whether it shows a summary of it."""
        thinking = self.request.thinking
        if thinking is None:
            return
        if self.quirks.effort is None:
            self.notice("dropped", "the provider takes no word on how much to think", "thinking")
            return
        # OpenRouter leaves out what a model does not know, and DeepSeek's think once they are asked.
        if self.quirks.effort == "reasoning_effort" and effort.is_in_vain(self.capabilities, thinking, self.notice):
            self.own.pop("reasoning", None)  # how its thoughts are to be summed up
            return
        written: dict[str, Any] = {}
        level = effort.asked_of(self.capabilities, thinking, self.notice)
        if level is not None:
            written["effort"] = level
        more = self.own.get("reasoning")
        if thinking.display == "summarized" and not (isinstance(more, dict) and "summary" in more):
            written["summary"] = "auto"
        if written:
            body["reasoning"] = written

    # ------------------------------------------------------------ tools

    def tools(self, body: dict[str, Any]) -> None:
        request = self.request
        chosen = self.own.pop("tool_choice", None)
        if chosen is not None and self.card is not None:
            chosen = choice_written(chosen, request.tools)
        tools = [written for tool in request.tools if (written := self.tool(tool)) is not None]
        if tools:
            body["tools"] = grouped_tools(tools)
        elif request.tools:
            return  # none is left to choose from: the notices say so
        elif self.card is not None and "prompt" not in body:  # a prompt that is kept there may bring tools
            if chosen is not None or is_forced(request.tool_choice):
                self.notice("dropped", "there are no tools to choose from", "tool_choice")
            return
        if chosen is not None:
            body["tool_choice"] = chosen
        elif request.tool_choice is not None:
            body["tool_choice"] = self.tool_choice()
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls

    def tool(self, tool: Tool | ProviderTool) -> dict[str, Any] | msgspec.Raw | None:
        if isinstance(tool, ProviderTool):
            if tool.dialect == DIALECT:
                return tool.raw
            self.notice("dropped", f"the tool {tool.name} runs at a provider that speaks {tool.dialect}", "tools")
            return None
        written: dict[str, Any] = {"type": tool.kind, "name": self.tool_name(tool.name)}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.parameters is not None and tool.kind == "function":
            written["parameters"] = fitted(tool.parameters)
        if tool.strict is not None:
            written["strict"] = tool.strict
        if tool.cache is not None:
            self.notice("dropped", "a cache mark on a tool has no place here", "cache_control")
        return extend(written, tool.provider_metadata, DIALECT)

    def tool_choice(self) -> str | dict[str, Any]:
        choice = self.request.tool_choice
        assert choice is not None
        if choice.mode != "tool":
            return choice.mode
        custom = any(
            isinstance(tool, Tool) and tool.kind == "custom" and tool.name == choice.name for tool in self.request.tools
        )
        return {"type": "custom" if custom else "function", "name": choice.name and self.tool_name(choice.name)}
