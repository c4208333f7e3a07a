"""Answering a caller who speaks Ollama's chat.

Must not know which provider answers. Unknown members of the request, and options that only Ollama has,
are kept as metadata of this dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.ollama_chat import schema as wire
from genai_spine.dialects.ollama_chat.encoder import OllamaStreamEncoder, answer, chat_shape
from genai_spine.dialects.reading import Reader, kind_of
from genai_spine.model.content import (
    Image,
    Metadata,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    split_data_url,
)
from genai_spine.model.errors import SpineError
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ThinkingConfig, Tool
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json

DIALECT = wire.DIALECT
STREAM_CONTENT_TYPE = b"application/x-ndjson"
FORWARDED_HEADERS: frozenset[bytes] = frozenset()
KEEP_ALIVE = b""  # its Python client reads every line as JSON (ollama 0.6.3)


# ---------------------------------------------------------------- request


def decode_request(body: bytes) -> CompletionRequest:
    """A request without messages is whole: it asks Ollama to load the model, or with `keep_alive` 0 to let
    it go (`models.encode_loaded` is its answer).

    Raises: InvalidRequest, naming the place.
    """
    request = Reader(json.decode_inbound(body, json.ANY), "")
    messages = _Conversation(_arguments(body) if b"tool_calls" in body else [])
    for item in request.objects("messages"):
        messages.add(item)
    tools = tuple(_tool(item) for item in request.objects("tools"))
    return completion_request(request, tuple(messages.read), tools, {})


def completion_request(
    request: Reader, messages: tuple[Message, ...], tools: tuple[Tool, ...], more_extra: Metadata
) -> CompletionRequest:
    """What `/api/chat` and `/api/generate` say alike; `more_extra` is what only the latter says."""
    stream = request.boolean("stream")
    fields: dict[str, Any] = {
        "model": request.text("model"),
        "stream": True if stream is None else stream,
        "output_schema": _output_schema(request),
        "thinking": _thinking(request),
        "provider": request.text("provider") if isinstance(request.peek("provider"), str) else None,
        "provider_hint": request.text("provider_hint"),
        "cost_limit": request.number("cost_limit"),
        "fallbacks": request.strings("fallbacks"),
        **_options(request),
    }
    extra = {**(keep(DIALECT, request.rest()) or {}), **more_extra}
    return CompletionRequest(messages=messages, tools=tools, **fields, extra=extra or None)


def _options(request: Reader) -> dict[str, Any]:
    options = request.object("options")
    if options is None:
        return {}
    fields: dict[str, Any] = {
        "temperature": options.number("temperature"),
        "top_p": options.number("top_p"),
        "top_k": options.integer("top_k"),
        "seed": options.integer("seed"),
        "max_tokens": options.integer("num_predict"),
        "context_window": options.integer("num_ctx"),
        "frequency_penalty": options.number("frequency_penalty"),
        "presence_penalty": options.number("presence_penalty"),
        "stop": options.strings("stop"),
    }
    for name, field in (("num_predict", "max_tokens"), ("num_ctx", "context_window")):
        if fields[field] is not None and fields[field] < 1:
            options.put_back(name)  # -1 without end, -2 until the context is full: Ollama's own words
            fields[field] = None
    request.leave("options", options.rest())
    return fields


def _output_schema(request: Reader) -> OutputSchema | None:
    match request.take("format"):
        case None | "":
            return None
        case "json":
            return OutputSchema()
        case dict() as schema:
            return OutputSchema(schema=schema)
        case value:
            raise request.wrong("format", f'expected "json" or a JSON schema, got {_shown(value)}')


def _thinking(request: Reader) -> ThinkingConfig | None:
    match request.take("think"):
        case None | "":
            return None
        case bool() as enabled:
            return ThinkingConfig(enabled=enabled)
        case str() as level:
            return ThinkingConfig(enabled=True, effort=level)
        case value:
            raise request.wrong("think", f"expected true, false or a level, got {_shown(value)}")


def _shown(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else kind_of(value)


def _tool(tool: Reader) -> Tool:
    kind = tool.text("type")
    if kind not in (None, "function"):
        raise tool.wrong("type", f"expected function, got {kind[:40]!r}")
    function = tool.object("function", required=True)
    name, description = function.text("name", required=True), function.text("description")
    parameters = function.mapping("parameters")
    members = {**tool.rest(), **({"function": function.rest()} if function.rest() else {})}
    metadata = keep(DIALECT, members)
    return Tool(name=name, description=description, parameters=parameters, provider_metadata=metadata)


# ---------------------------------------------------------------- messages


class _Function(msgspec.Struct):
    arguments: msgspec.Raw = wire.NULL


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    tool_calls: list[_Call] | None = None


class _Body(msgspec.Struct):
    messages: list[_Message] | None = None


_body = msgspec.json.Decoder(_Body)


def _arguments(body: bytes) -> list[_Message]:
    """The tool calls read once more, for their arguments as the bytes that they are. Where this fails, the
    other reading says what is wrong."""
    try:
        return _body.decode(body).messages or []
    except json.UNREADABLE:
        return []


class _Conversation:
    """Reads messages in order, so that calls and results without ids find each other."""

    def __init__(self, arguments: list[_Message]) -> None:
        self.read: list[Message] = []
        self._arguments = arguments
        self._open: list[ToolCall] = []  # calls that no result has answered
        self._minted: set[str] = set()  # ids of those that came without one

    def add(self, message: Reader) -> None:
        role = message.text("role", required=True).lower()
        match role:
            case "system" | "developer" | "user":
                content = content_of(message.text("content"), message)
            case "assistant":
                content = self._assistant(message)
            case "tool":
                self.read.append(Message(role="tool", content=self._result(message)))
                return
            case _:
                raise message.wrong("role", f"expected system, user, assistant or tool, got {role[:40]!r}")
        metadata = keep(DIALECT, message.rest())
        self.read.append(Message(role=role, content=content, provider_metadata=metadata))

    def _assistant(self, message: Reader) -> tuple[Part, ...]:
        parts: list[Part] = []
        if thought := message.text("thinking"):
            parts.append(Thinking(text=thought))
        parts.extend(content_of(message.text("content"), message))
        self._open = [self._call(call, index) for index, call in enumerate(message.objects("tool_calls"))]
        return (*parts, *self._open)

    def _call(self, call: Reader, index: int) -> ToolCall:
        at = len(self.read)
        function = call.object("function", required=True)
        name = function.text("name", required=True)
        function.take("index")
        arguments = function.take("arguments")
        if arguments is not None and not isinstance(arguments, dict | str):
            raise function.wrong("arguments", f"expected an object, got {kind_of(arguments)}")
        members = {**call.rest(), **({"function": function.rest()} if function.rest() else {})}
        members.pop("id", None)
        if (call_id := call.text("id")) is None or not call_id:
            call_id = wire.minted_call_id(at, index, name)
            self._minted.add(call_id)
        return ToolCall(
            id=call_id,
            name=name,
            arguments=wire.arguments_text(self._raw_arguments(at, index, arguments)),
            provider_metadata=keep(DIALECT, members),
        )

    def _raw_arguments(self, message: int, call: int, decoded: Any) -> msgspec.Raw:
        try:
            calls = self._arguments[message].tool_calls or []
            function = calls[call].function
            return function.arguments if function is not None else wire.NULL
        except IndexError:
            return msgspec.Raw(json.encode(decoded))

    def _result(self, message: Reader) -> tuple[Part, ...]:
        name = message.text("tool_name") or message.text("name")
        call_id = message.text("tool_call_id")
        content = content_of(message.text("content"), message)
        answered = self._answered(call_id, name)
        if answered is not None:
            self._open.remove(answered)
            call_id = answered.id
        call_id = call_id or wire.minted_call_id(len(self.read), name)
        return (
            ToolResult(call_id=call_id, content=content, name=name, provider_metadata=keep(DIALECT, message.rest())),
        )

    def _answered(self, call_id: str | None, name: str | None) -> ToolCall | None:
        """By id; else the first open call of this name, or the first of all. So also where the result alone has an id,
        as in the history of LiteLLM's callers."""
        if call_id and (found := next((call for call in self._open if call.id == call_id), None)) is not None:
            return found
        nameless = self._open if not call_id else [call for call in self._open if call.id in self._minted]
        return next((call for call in nameless if name is None or call.name == name), None)


def content_of(text: str | None, message: Reader) -> tuple[Part, ...]:
    """The text, and after it the `images`."""
    return (*((Text(text=text),) if text else ()), *_images(message))


def _images(message: Reader) -> Sequence[Image]:
    images = []
    for data in message.strings("images"):
        if data.startswith("data:") and (split := split_data_url(data)) is not None:
            images.append(Image(media_type=split[0], data=split[1]))
        elif data.startswith(("http://", "https://", "data:")):
            raise message.wrong("images", "expected base64")
        else:
            images.append(wire.image_of(data))
    return images


# ---------------------------------------------------------------- answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    return answer(response, chat_shape)


def shows(part: Part) -> bool:
    is_readable = isinstance(part, Thinking) and part.redacted is None
    return is_readable or isinstance(part, Text | Refusal | ToolCall) or (isinstance(part, Image) and bool(part.data))


def stream_encoder(request: CompletionRequest) -> OllamaStreamEncoder:
    return OllamaStreamEncoder(chat_shape)


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    """{"error": "text"} (docs.ollama.com/api/errors), with our request's id."""
    return status_for_caller(error), wire.error_written(error, request_id)
