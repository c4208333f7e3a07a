"""Speaking OpenAI's chat to a provider: `POST {base_url}/chat/completions`.

Must not know which provider it is: what differs between services is a quirk of the target.
messages.py writes the messages, answer.py reads an answer, decoder.py a stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend, kept
from genai_spine.dialects.openai_chat import mistral
from genai_spine.dialects.openai_chat.answer import (
    decode_embedded_error,
    decode_error,
    decode_response,
)
from genai_spine.dialects.openai_chat.decoder import ChatStreamDecoder
from genai_spine.dialects.openai_chat.json_schema import fitted, rooted
from genai_spine.dialects.openai_chat.messages import MessageWriter, control_of
from genai_spine.dialects.openai_chat.schema import (
    DIALECT,
    LONGEST_CALL_ID,
    LONGEST_USER,
    NOT_OF_REASONING,
    NOT_WHILE_REASONING,
    ONLY_IN_RESPONSES,
    is_forced,
    limits_sampling,
    take_headers,
    user_written,
)
from genai_spine.dialects.openai_chat.usage import decode_usage
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import choice_written
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, ProviderTool, ThinkingConfig, Tool
from genai_spine.model.response import Notice
from genai_spine.model.tool_names import sayable
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

PATH = "/chat/completions"


def stream_decoder(target: Target) -> ChatStreamDecoder:
    return ChatStreamDecoder(target)


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """The request as this target takes it.

    Raises: InvalidRequest for content that cannot be said here: another dialect's opaque parts, n > 1.
    """
    check_thread(DIALECT, request)
    writer = _Writer(request, target)
    body = writer.body(stream=stream)
    notices = tuple(writer.notices)
    return Outgoing(path=PATH, body=msgspec.json.encode(body), headers=writer.headers, notices=notices)


class _Writer:
    """Writes one request; collects the notices on the way."""

    def __init__(self, request: CompletionRequest, target: Target) -> None:
        self.target = target
        self.quirks = target.quirks
        self.notices: list[Notice] = []
        # Of tools that take free text it has none (`ToolTypes` in its openapi.yaml, 2026-11).
        self.request = as_functions(request, self.notice) if self.quirks.message_form == "mistral" else request
        self.headers: tuple[tuple[str, str], ...] = ()
        self.messages = MessageWriter(target.quirks, self.notices)
        self.names = self.messages.names

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self.notices.append(Notice(code=code, message=message, param=param))

    def body(self, *, stream: bool) -> dict[str, Any]:
        request = self.request
        if request.n is not None and request.n > 1:
            raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
        messages = self.messages.messages(request.messages)
        body: dict[str, Any] = {"model": self.target.model, "messages": messages}
        own = kept(request.extra, DIALECT)
        if "tool_choice" in own:
            own["tool_choice"] = choice_written(own["tool_choice"], request.tools)
        self.headers = take_headers(own)
        options = own.pop("stream_options", None)
        if stream:
            body["stream"] = True
            if self.quirks.stream_usage == "option":
                options = options if isinstance(options, dict) else {}
                body["stream_options"] = {**options, "include_usage": True}
            elif isinstance(options, dict) and options.keys() - {"include_usage"}:
                self.notice("dropped", "the provider takes no stream_options", "stream_options")
        self.thinking(body)
        self.sampling(body)
        self.leave_out(own, body)
        self.tools(body)
        self.output_schema(body, own.pop("response_format", None))
        if request.cache is not None:
            if self.quirks.cache_marks == "cache_control":
                body["cache_control"] = control_of(request.cache)
            else:
                self.notice("dropped", "a cache mark for the whole request has no place here", "cache_control")
        extend(body, {DIALECT: msgspec.Raw(msgspec.json.encode(own))} if own else None, DIALECT)
        for found in foreign_to(DIALECT, request):
            self.notice(found.code, found.message, found.param)
        self.drop(body)
        return body

    def leave_out(self, own: dict[str, Any], body: dict[str, Any]) -> None:
        """Members without a name in the middle that the model refuses."""
        able = self.target.card.capabilities
        if own and limits_sampling(able):
            taken = NOT_WHILE_REASONING if effort.takes_sampling(able, _effort_in(body)) else ()
            for name in (*NOT_WHILE_REASONING, *NOT_OF_REASONING):
                if name not in taken and own.get(name, False) is not False:
                    del own[name]
                    self.notice("dropped", f"the model takes no {name}", name)

    def drop(self, body: dict[str, Any]) -> None:
        for name in self.quirks.drop:
            if name == "messages[].name":
                found = [message.pop("name", None) for message in body["messages"]]
                dropped = any(value is not None for value in found)
            elif name == "tool_calls[].extra_content":
                calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
                found = [call.pop("extra_content", None) for call in calls]
                dropped = any(value is not None for value in found)
            else:
                dropped = body.pop(name, None) is not None
            if dropped:
                self.notice("dropped", f"the provider refuses {name}", name)

    def sampling(self, body: dict[str, Any]) -> None:
        request, quirks = self.request, self.quirks
        if request.max_tokens is not None:
            body[quirks.max_tokens_field] = self.max_tokens(request.max_tokens)
        temperature, highest = request.temperature, quirks.temperature_max
        if temperature is not None and highest is not None and temperature > highest:
            self.notice("changed", f"temperature {temperature} sent as {highest}", "temperature")
            temperature = highest
        able = self.target.card.capabilities
        takes_sampling = effort.takes_sampling(able, _effort_in(body))
        # "Unsupported parameter: 'frequency_penalty' is not supported with this model" (400, oracle/ai-optimizer#240).
        takes_penalties = takes_sampling and able.penalties is not False
        for name, value, only, is_taken in (
            ("temperature", temperature, effort.ONLY_SAMPLING, takes_sampling),
            ("top_p", request.top_p, effort.ONLY_SAMPLING, takes_sampling),
            ("frequency_penalty", request.frequency_penalty, 0, takes_penalties),
            ("presence_penalty", request.presence_penalty, 0, takes_penalties),
        ):
            if value is None:
                continue
            if is_taken:
                body[name] = value
            elif value != only:
                self.notice("dropped", f"the model takes no {name}", name)
        if request.top_k is not None:
            if quirks.top_k:
                body["top_k"] = request.top_k
            else:
                self.notice("dropped", "the provider takes no top_k", "top_k")
        others = {
            quirks.seed_field: request.seed,
            "n": request.n,
            "user": user_written(request.user, self.notice) if request.user is not None else None,
        }
        body.update({name: value for name, value in others.items() if value is not None})
        if request.stop and able.stop is False:
            self.notice("dropped", "the model takes no stop sequences", "stop")
        elif request.stop:
            body["stop"] = request.stop

    def max_tokens(self, asked: int) -> int:
        """No more than the model writes; a 400 otherwise (github.com/enoch3712/ExtractThinker/issues/346)."""
        most = self.target.card.max_output_tokens
        if most is None or asked <= most:
            return asked
        self.notice("changed", f"max_tokens {asked} sent as the model's {most}", "max_tokens")
        return most

    def output_schema(self, body: dict[str, Any], more: Any) -> None:
        """`more` is what the caller's own `response_format` says beside what the middle has names for."""
        wanted = self.request.output_schema
        kind = self.quirks.schema
        if wanted is None and more is None:
            return
        if kind == "none":
            self.notice("dropped", "the provider takes no response_format", "response_format")
        elif wanted is None:
            body["response_format"] = more
        elif wanted.schema is None or kind == "json_object":
            body["response_format"] = {"type": "json_object"}
            if wanted.schema is not None:
                self.notice("changed", "the provider takes no JSON Schema: asked for JSON", "response_format")
        else:
            inner: dict[str, Any] = {"name": wanted.name or "answer", "schema": rooted(wanted.schema)}
            if wanted.description is not None:
                inner["description"] = wanted.description
            if wanted.strict is not None:
                inner["strict"] = wanted.strict
            if isinstance(more, dict) and isinstance(unknown := more.get("json_schema"), dict):
                inner = {**unknown, **inner}
            body["response_format"] = {"type": "json_schema", "json_schema": inner}

    def thinking(self, body: dict[str, Any]) -> None:
        thinking = self.request.thinking
        if thinking is None:
            return
        quirk = self.quirks.effort
        if quirk is None:
            self.notice("dropped", "the provider takes no word on how much to think", "thinking")
            return
        if thinking.display is not None:
            self.notice("dropped", "whether thoughts are shown cannot be said here", "thinking.display")
        if quirk == "reasoning":
            if reasoning := _reasoning(thinking):
                body["reasoning"] = reasoning
            return
        if quirk == "thinking":
            if thinking.enabled is not None:
                body["thinking"] = {"type": "enabled" if thinking.enabled else "disabled"}
            if thinking.enabled is not False and (level := effort.said(thinking, self.notice)) is not None:
                body["reasoning_effort"] = level
            return
        if effort.is_in_vain(self.target.card.capabilities, thinking, self.notice):
            return
        level = effort.asked_of(self.target.card.capabilities, thinking, self.notice, barring=ONLY_IN_RESPONSES)
        if level is not None:
            body["reasoning_effort"] = level

    # ------------------------------------------------------------ tools

    def tools(self, body: dict[str, Any]) -> None:
        request = self.request
        tools = [written for tool in request.tools if (written := self.tool(tool)) is not None]
        if not tools:
            # "'tool_choice' is only allowed when 'tools' are specified", and so of parallel_tool_calls.
            if not request.tools and is_forced(request.tool_choice):
                self.notice("dropped", "there are no tools to choose from", "tool_choice")
            return  # where there were tools, notices say what became of them
        body["tools"] = tools
        if request.tool_choice is not None:
            body["tool_choice"] = self.tool_choice()
        if request.parallel_tool_calls is not None:
            if self.target.card.capabilities.parallel_tools is False:
                self.notice("dropped", "the model takes no parallel_tool_calls", "parallel_tool_calls")
            else:
                body["parallel_tool_calls"] = request.parallel_tool_calls

    def tool(self, tool: Tool | ProviderTool) -> dict[str, Any] | msgspec.Raw | None:
        if isinstance(tool, ProviderTool):
            if tool.dialect == DIALECT:
                return tool.raw
            self.notice("dropped", f"the tool {tool.name} runs at a provider that speaks {tool.dialect}", "tools")
            return None
        inner: dict[str, Any] = {"name": self.names.tool(tool.name)}
        if tool.description is not None:
            inner["description"] = tool.description
        if tool.kind == "function":
            if tool.parameters is not None:
                inner["parameters"] = fitted(tool.parameters)
            elif self.quirks.message_form == "mistral":  # required there
                inner["parameters"] = {"type": "object", "properties": {}}
            if tool.strict is not None:
                inner["strict"] = tool.strict
        written: dict[str, Any] = {"type": tool.kind, tool.kind: inner}
        if tool.cache is not None:
            if self.quirks.cache_marks == "cache_control":
                written["cache_control"] = control_of(tool.cache)
            else:
                self.notice("dropped", "a cache mark on a tool has no place here", "cache_control")
        return extend(written, tool.provider_metadata, DIALECT)

    def tool_choice(self) -> str | dict[str, Any]:
        choice = self.request.tool_choice
        assert choice is not None
        if choice.mode != "tool":
            return self.quirks.tool_choice_any if choice.mode == "required" else choice.mode
        custom = any(
            isinstance(tool, Tool) and tool.kind == "custom" and tool.name == choice.name for tool in self.request.tools
        )
        kind = "custom" if custom else "function"
        return {"type": kind, kind: {"name": choice.name and self.names.tool(choice.name)}}


def _effort_in(body: Mapping[str, Any]) -> str | None:
    reasoning = body.get("reasoning") or {}
    found: str | None = body.get("reasoning_effort") or reasoning.get("effort")
    return found


def _reasoning(thinking: ThinkingConfig) -> dict[str, Any]:
    """OpenRouter's `reasoning`: a budget or an effort, or only on and off."""
    if thinking.enabled is False:
        return {"effort": "none"}
    if thinking.budget_tokens is not None:
        return {"max_tokens": thinking.budget_tokens}
    if thinking.effort is not None:
        return {"effort": thinking.effort}
    return {"enabled": True} if thinking.enabled else {}


# ---------------------------------------------------------------- relay


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    return (
        not members.keys().isdisjoint(_concerning(quirks))
        or (
            quirks.tool_choice_any != "required"
            and "tool_choice" in members
            and b"required" in bytes(members["tool_choice"])
        )
        or (quirks.message_form == "openai_strict" and not _NAMED.isdisjoint(members) and _has_unsayable_names(members))
        or (quirks.message_form == "mistral" and b'"custom"' in bytes(members.get("tools", b"")))
        or _concerns_messages(bytes(members.get("messages", b"")), quirks)
    )


@lru_cache(maxsize=1024)
def _concerning(quirks: Quirks) -> frozenset[str]:
    """The members that such a service wants said differently, whatever is in them."""
    differing = {
        "max_completion_tokens": quirks.max_tokens_field == "max_tokens",
        "response_format": quirks.schema in ("none", "json_object"),
        "reasoning_effort": quirks.effort != "reasoning_effort",
        "seed": quirks.seed_field != "seed",
        "stream_options": quirks.stream_usage != "option",
        "temperature": quirks.temperature_max is not None,
        "top_k": not quirks.top_k,
        "cache_control": quirks.cache_marks != "cache_control",
    }
    return frozenset([*quirks.drop, *(name for name, is_so in differing.items() if is_so)])


def _concerns_messages(messages: bytes, quirks: Quirks) -> bool:
    """By the words that would have to stand there: too often costs a translation, never a wrong request."""
    return (
        (not quirks.developer_role and b'"developer"' in messages)
        or ("messages[].name" in quirks.drop and b'"name"' in messages)
        or ("tool_calls[].extra_content" in quirks.drop and b'"extra_content"' in messages)
        or (
            quirks.message_form == "openai_strict"
            and b'"tool_call_id"' in messages
            and _LONG_ID.search(messages) is not None
        )
        or (quirks.message_form == "mistral" and not mistral.fits(messages))
        # Marks and images stand in a list of parts, and a byte is found at a tenth of the cost of a word.
        or (messages.find(b"[", 1) >= 0 and _concerns_parts(messages, quirks))
    )


def _concerns_parts(messages: bytes, quirks: Quirks) -> bool:
    if _other_marks(quirks) in messages:
        return True
    if b'url"' not in messages:  # the end of a name is found in a third of the time of the whole, or of a pattern
        return False
    return (not quirks.image_urls and _BY_URL.search(messages) is not None) or (
        not quirks.tool_result_images and b'"image_url"' in messages and _has_images_in_results(messages)
    )


_LONG_ID = re.compile(rb'"tool_call_id"\s*:\s*"[^"]{%d}' % (LONGEST_CALL_ID + 1))
_NAMED = frozenset({"tools", "user"})
_ODD_NAME = re.compile(rb'"name"\s*:\s*"(?:[^"]{65}|[^"]*[^"a-zA-Z0-9_-])')


class _Named(msgspec.Struct, frozen=True, gc=False):
    name: str = ""


class _Tool(msgspec.Struct, gc=False):
    function: _Named = _Named()
    custom: _Named = _Named()


_tools = msgspec.json.Decoder(list[_Tool])


def _has_unsayable_names(members: Mapping[str, msgspec.Raw]) -> bool:
    """A user or a tool's name that the service refuses. Names stand within the tools' schemas, too: a look tells of
    nearly all requests that there is nothing to be read."""
    if len(members.get("user", b"")) > LONGEST_USER + len('""'):
        return True
    if _ODD_NAME.search(tools := bytes(members.get("tools", b""))) is None:
        return False
    try:
        names = [name for tool in _tools.decode(tools) for name in (tool.function.name, tool.custom.name)]
    except json.UNREADABLE:
        return False  # the service will say so
    return any(name and sayable(name) != name for name in names)


_BY_URL = re.compile(rb'"(?:image_)?url"\s*:\s*"https?:')


def _other_marks(quirks: Quirks) -> bytes:
    """Cache marks that are not the provider's. OpenAI's own go to every provider that has not said it wants others:
    whether its models take them is for their caller to know."""
    return b'"prompt_cache_breakpoint"' if quirks.cache_marks == "cache_control" else b'"cache_control"'


class _Said(msgspec.Struct, gc=False):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")


_said = msgspec.json.Decoder(list[_Said])


def _has_images_in_results(messages: bytes) -> bool:
    if b'"tool"' not in messages:
        return False
    try:
        return any(said.role == "tool" and b'"image_url"' in bytes(said.content) for said in _said.decode(messages))
    except json.UNREADABLE:
        return True  # it is refused with the place named
