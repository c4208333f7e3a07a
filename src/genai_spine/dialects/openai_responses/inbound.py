"""Answering a caller who speaks OpenAI's Responses.

Must not know which provider answers. Unknown members of the request are kept as metadata of this dialect, unknown
items as `Opaque`. What stands for a conversation that the service keeps (`previous_response_id`, `conversation`,
`prompt`) is an opaque part, too: a provider that does not speak this dialect cannot be asked it, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from genai_spine.dialects.interface import StreamEncoder
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_responses import schema as wire
from genai_spine.dialects.openai_responses.answer import answer_written, shown
from genai_spine.dialects.openai_responses.encoder import ResponsesStreamEncoder
from genai_spine.dialects.openai_responses.errors import encode_error
from genai_spine.dialects.openai_responses.grouping import joins, kind_of_item
from genai_spine.dialects.openai_responses.items import (
    OUTPUTS,
    content_of,
    is_message,
    parts_of_item,
    result_of,
    with_members,
)
from genai_spine.dialects.openai_responses.namespaces import is_namespace, tools_of
from genai_spine.dialects.openai_responses.schema import DIALECT, IN_NAMESPACE, ITEM
from genai_spine.dialects.reading import Reader
from genai_spine.dialects.searches import is_search, showing, without_shown
from genai_spine.dialects.signed_calls import signed_again
from genai_spine.model.content import Opaque, Part, Text, ToolCall
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    Role,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json

__all__ = [
    "DIALECT",
    "FORWARDED_HEADERS",
    "KEEP_ALIVE",
    "STREAM_CONTENT_TYPE",
    "decode_request",
    "encode_error",
    "encode_response",
    "shows",
    "stream_encoder",
]

STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"
FORWARDED_HEADERS = frozenset({b"openai-beta", b"openai-organization", b"openai-project"})
KEEP_ALIVE = b": keep-alive\n\n"

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}
_HERE = {DIALECT: msgspec.Raw(b"{}")}
"""Marks a system message that stands among the items, where its author put it."""

# Items that the caller adds of its own: what its side of a tool did, and its word on a call.
_FROM_CALLER = frozenset(
    {
        "computer_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
        "mcp_approval_response",
    }
)

_SAME_NAMES: dict[str, Callable[[Reader, str], Any]] = {
    "model": Reader.text,
    "temperature": Reader.number,
    "top_p": Reader.number,
    "user": Reader.text,
    "parallel_tool_calls": Reader.boolean,
    "provider_hint": Reader.text,
    "fallbacks": Reader.strings,
}
"""Members that the middle calls the same, and how each is read."""


# ---------------------------------------------------------------- request


def decode_request(body: bytes) -> CompletionRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    messages = signed_again(without_shown(DIALECT, tuple(_messages(request)), body), body)
    fields = request.given(_SAME_NAMES)
    if isinstance(request.peek("provider"), str):  # an object is OpenRouter's own
        fields["provider"] = request.text("provider")
    limit = request.number("cost_limit")
    if limit is not None and limit < 0:
        raise request.wrong("cost_limit", "expected an amount in USD, 0 or more")
    return CompletionRequest(
        messages=messages,
        stream=request.boolean("stream") or False,
        max_tokens=request.integer("max_output_tokens", least=1),
        tools=tuple(tool for item in request.objects("tools") for tool in _tools(item)),
        tool_choice=_tool_choice(request),
        output_schema=_output_schema(request),
        thinking=_thinking(request),
        cost_limit=Decimal(str(limit)) if limit is not None else None,
        **fields,
        extra=keep(DIALECT, request.rest()),
    )


def _tools(tool: Reader) -> list[Tool | ProviderTool]:
    return tools_of(tool, _tool) if is_namespace(tool) else [_tool(tool)]


def _tool(tool: Reader) -> Tool | ProviderTool:
    kind = tool.text("type", required=True)
    if kind == "function":
        decoded = Tool(
            name=tool.text("name", required=True),
            description=tool.text("description"),
            parameters=tool.mapping("parameters"),
            strict=tool.boolean("strict"),
        )
    elif kind == "custom":
        decoded = Tool(name=tool.text("name", required=True), description=tool.text("description"), kind="custom")
    else:
        return ProviderTool(dialect=DIALECT, name=kind, raw=msgspec.Raw(msgspec.json.encode(tool.members)))
    tool.take(IN_NAMESPACE)  # a name of ours
    return msgspec.structs.replace(decoded, provider_metadata=keep(DIALECT, tool.rest()))


def _tool_choice(request: Reader) -> ToolChoice | None:
    value = request.peek("tool_choice")
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise request.wrong("tool_choice", f"expected auto, none, required or an object, got {value!r}")
        request.take("tool_choice")
        return ToolChoice(mode=value)  # type: ignore[arg-type]  # one of the three above
    choice = request.object("tool_choice")
    if choice is None:
        return None
    kind = choice.text("type", required=True)
    if kind in ("function", "custom"):
        return ToolChoice(mode="tool", name=choice.text("name", required=True))
    request.put_back("tool_choice")  # a tool of the service, or allowed_tools: kept, for this dialect only
    mode = choice.text("mode") if kind == "allowed_tools" else None
    return ToolChoice(mode=mode) if mode in ("auto", "required") else None  # type: ignore[arg-type]  # one of the two


def _output_schema(request: Reader) -> OutputSchema | None:
    text = request.object("text")
    if text is None:
        return None
    wanted = _format(text)
    request.leave("text", text.rest())
    return wanted


def _format(text: Reader) -> OutputSchema | None:
    inner = text.object("format")
    if inner is None:
        return None
    match inner.text("type", required=True):
        case "text":
            return None
        case "json_object":
            return OutputSchema()
        case "json_schema":
            schema = inner.mapping("schema")
            if schema is None:
                raise inner.wrong("schema", "missing")
            wanted = OutputSchema(
                schema=schema,
                name=inner.text("name"),
                description=inner.text("description"),
                strict=inner.boolean("strict"),
            )
            text.leave("format", inner.rest())
            return wanted
        case _:
            text.put_back("format")
            return None


def _thinking(request: Reader) -> ThinkingConfig | None:
    """`reasoning`. How the summary is to be is kept; that there shall be one is the middle's `display`."""
    reasoning = request.object("reasoning")
    if reasoning is None:
        return None
    effort, summary = reasoning.text("effort"), reasoning.peek("summary")
    request.leave("reasoning", reasoning.rest())
    display = "summarized" if isinstance(summary, str) else None
    if effort is None:
        return ThinkingConfig(display=display) if display is not None else None
    return ThinkingConfig(enabled=effort != "none", effort=effort, display=display)


# ---------------------------------------------------------------- conversation


def _messages(request: Reader) -> list[Message]:
    written: list[Message] = []
    has_instructions = bool(request.peek("instructions"))
    if has_instructions:
        written.append(Message(role="system", content=(Text(text=request.text("instructions") or ""),)))
    state = _state(request)
    if state:
        written.append(Message(role="user", content=state))
    value = request.peek("input")
    if value is None and not state:
        raise request.wrong("input", "missing")
    if isinstance(value, str):
        request.take("input")
        return [*written, Message(role="user", content=(Text(text=value),) if value else ())]
    reader = _InputReader()
    for item in request.objects("input"):
        reader.take(item)
    reader.close()
    conversation = reader.messages
    if not has_instructions and conversation and conversation[0].role == "system":
        metadata = conversation[0].provider_metadata or _HERE
        conversation[0] = msgspec.structs.replace(conversation[0], provider_metadata=metadata)
    return [*written, *conversation]


def _state(request: Reader) -> tuple[Part, ...]:
    """What stands for a conversation that the service keeps."""
    return tuple(
        Opaque(dialect=DIALECT, kind=name, raw=msgspec.Raw(msgspec.json.encode({name: request.take(name)})))
        for name in sorted(wire.STATE)
        if request.has(name)
    )


class _InputReader:
    """Items one by one; those of the assistant that follow one another are one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._assistant: list[Part] | None = None
        self._custom_calls: set[str] = set()

    def take(self, item: Reader) -> None:
        kind = item.text("type")
        if is_message(item) and item.peek("role") != "assistant":
            self.close()
            self.messages.append(_message(item))
        elif kind in OUTPUTS:
            self.close()
            self.messages.append(Message(role="tool", content=(result_of(item, self._custom_calls),)))
        elif kind in _FROM_CALLER:
            self.close()
            self.messages.append(Message(role="user", content=tuple(parts_of_item(item))))
        else:
            self._add(parts_of_item(item))

    def _add(self, parts: list[Part]) -> None:
        for part in parts:
            if isinstance(part, ToolCall) and part.kind == "custom":
                self._custom_calls.add(part.id)
        if self._assistant is None:
            self._assistant = []
        elif self._assistant and parts and _would_join(self._assistant[-1], parts[0]):
            parts[0] = with_members(parts[0], {ITEM: {}})
        self._assistant.extend(parts)

    def close(self) -> None:
        """The assistant's turn is over."""
        if self._assistant is not None:
            self.messages.append(Message(role="assistant", content=tuple(self._assistant)))
            self._assistant = None


def _would_join(before: Part, first: Part) -> bool:
    """Whether two messages would be taken for one."""
    own = kept(first.provider_metadata, DIALECT)
    kind = kind_of_item(first, own)
    return kind == "message" and joins(kind, own, kind_of_item(before, kept(before.provider_metadata, DIALECT)))


def _message(item: Reader) -> Message:
    name = item.text("role", required=True)
    if (role := _ROLES.get(name)) is None:
        raise item.wrong("role", f"expected user, assistant, system or developer, got {name!r}")
    item.take("type")
    if not item.has("content"):
        raise item.wrong("content", "missing")
    content = tuple(content_of(item, "content"))
    return Message(role=role, content=content, provider_metadata=keep(DIALECT, item.rest()))


# ---------------------------------------------------------------- answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    return json.encode(answer_written(response, request))


def shows(part: Part) -> bool:
    return shown(part) is not None or is_search(part)


def stream_encoder(request: CompletionRequest) -> StreamEncoder:
    return showing(DIALECT, ResponsesStreamEncoder(request), request)
