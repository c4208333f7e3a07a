"""The shapes of Ollama's chat on the wire, and the tables that are read from both ends.

Wire structs are lenient inwards and never leave this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import failed
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep
from genai_spine.model.content import Image, Metadata, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, ProviderError, SpineError
from genai_spine.model.response import FinishReason, TokenUsage
from genai_spine.wire import json

DIALECT = "ollama_chat"

OPTIONS: dict[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "num_predict": "max_tokens",
    "num_ctx": "context_window",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop",
}
"""A member of `options`, and the request's field of the same meaning; other options are kept as they are."""

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    # The answers to a request without messages, which only loads the model or lets it go.
    "load": FinishReason.OTHER,
    "unload": FinishReason.OTHER,
}

WRITTEN_FINISH: dict[FinishReason, str] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    # Ollama has no word of its own for these; clients tell tool calls by the message.
    FinishReason.TOOL_CALLS: "stop",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.ERROR: "error",
    FinishReason.OTHER: "stop",
}

DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
"""Nanoseconds. Clients divide by them, so they are always written."""


NULL = msgspec.Raw(b"null")
"""What a Raw member is where it is absent."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = NULL


class ToolCallWire(msgspec.Struct):
    id: str | None = None
    function: Function | None = None


class ReplyMessage(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCallWire] | None = None
    images: list[str] | None = None


class Reply(msgspec.Struct):
    """An answer, or one line of a streamed one. `/api/generate` says `response` in place of a message."""

    model: str | None = None
    created_at: str | None = None
    message: ReplyMessage | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCallWire] | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: Any = None  # a count that is none must not cost the answer
    prompt_eval_cached_count: Any = None
    eval_count: Any = None
    error: msgspec.Raw = NULL


_KNOWN_TOP_LEVEL = frozenset(Reply.__struct_fields__) - {"created_at"}


def message_of(reply: Reply) -> ReplyMessage | None:
    """The message, also of an answer to `/api/generate`."""
    if reply.message is not None or reply.response is None:
        return reply.message
    return ReplyMessage(content=reply.response, thinking=reply.thinking, tool_calls=reply.tool_calls)


def extra_of(line: bytes, created_at: str | None) -> Metadata | None:
    """What the last line says beside what the middle has names for: the durations, and when exactly."""
    members: dict[str, Any] = unread(line, _KNOWN_TOP_LEVEL)
    if created_at is not None:
        members["created_at"] = created_at
    return keep(DIALECT, members)


def unread(line: bytes, known: Collection[str]) -> dict[str, Any]:
    """The members that are not known and not null, of an object that has been read once.

    Raises: BadReply for a number in them that nothing can hold, which a reader that passes over them does
    not see.
    """
    members = json.OBJECT.decode(line)
    left = {name: value for name, value in members.items() if name not in known and value != NULL}
    values: dict[str, Any] = json.decode_outbound(json.encode(left), json.ANY) if left else {}
    return values


# ---------------------------------------------------------------- tool calls


def minted_call_id(*place: object) -> str:
    """An id for a tool call that came without one, which older versions send. The same place, the same id:
    a stream and the plain answer agree, and so do two readings of one conversation."""
    digest = hashlib.blake2s("\0".join(map(str, place)).encode(errors="replace"), digest_size=8)
    return f"call_{digest.hexdigest()}"


def tool_call_of(call: ToolCallWire, created_at: str | None, position: int) -> ToolCall:
    """Raises: BadReply for a call without a name."""
    if call.function is None or not call.function.name:
        raise BadReply("a tool call without a name")
    name = call.function.name
    call_id = call.id or minted_call_id(created_at, name, position)
    return ToolCall(id=call_id, name=name, arguments=arguments_text(call.function.arguments))


def arguments_text(raw: msgspec.Raw) -> str:
    """The arguments byte for byte; a string, which is how OpenAI writes them, is taken for what it holds."""
    text = bytes(raw).decode()
    if text.startswith('"'):
        return str(json.ANY.decode(text))
    return "" if text == "null" else text


def object_of(arguments: str) -> msgspec.Raw | None:
    """The arguments as the object that they are on this wire; None where they are not one.

    No arguments are an empty object, and so is `null` (recorded: Llama models on Groq).
    """
    text = b"{}" if arguments.strip() in ("", "null") else arguments.encode(errors="replace")
    try:
        json.OBJECT.decode(text)
    except json.UNREADABLE:
        return None
    return msgspec.Raw(text)


def on_one_line(value: msgspec.Raw) -> msgspec.Raw:
    """A model may write its arguments over several lines, which would cut a line of the stream."""
    text = bytes(value)
    return msgspec.Raw(msgspec.json.format(text, indent=-1)) if b"\n" in text or b"\r" in text else value


def wrapped(arguments: str) -> msgspec.Raw:
    """Free text in the place of an object: what a custom tool takes, or a call that was cut off."""
    return msgspec.Raw(json.encode({"input": arguments}))


# ---------------------------------------------------------------- images

_SNIFFED = {"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}


def image_of(data: str) -> Image:
    """Base64 without a type, which Ollama tells by the first bytes; so do we, for those who must know."""
    kind = next((kind for start, kind in _SNIFFED.items() if data.startswith(start)), None)
    return Image(data=data, media_type=kind)


# ---------------------------------------------------------------- usage and endings


def usage_of(reply: Reply) -> TokenUsage | None:
    """`prompt_eval_count` counts the whole prompt, of which `prompt_eval_cached_count` came from the cache
    (docs.ollama.com/api/usage, 0.33.3 on); older versions leave it out where all was cached."""
    usage = TokenUsage(
        input_tokens=count_of(reply.prompt_eval_count),
        output_tokens=count_of(reply.eval_count),
        cache_read_tokens=count_of(reply.prompt_eval_cached_count),
    )
    return None if usage == TokenUsage() else usage


def usage_written(usage: TokenUsage | None) -> dict[str, int]:
    """What is not known is not written."""
    if usage is None:
        return {}
    counts = {
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_cached_count": usage.cache_read_tokens,
        "eval_count": usage.output_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def finish_of(reason: str | None, *, called: bool) -> FinishReason:
    """Ollama says stop after tool calls too, and before 0.1.40 nothing at all."""
    if called and reason in (None, "", "stop"):
        return FinishReason.TOOL_CALLS
    return FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else FinishReason.STOP


def finish_written(reason: FinishReason | None, raw: str | None) -> str:
    """Its own spelling where it came in this dialect."""
    if raw is not None and FINISH_REASONS.get(raw) is reason:
        return raw
    return WRITTEN_FINISH[reason] if reason is not None else "stop"


def parts_of(message: ReplyMessage, created_at: str | None) -> list[Part]:
    parts: list[Part] = []
    if message.thinking:
        parts.append(Thinking(text=message.thinking))
    if message.content:
        parts.append(Text(text=message.content))
    parts.extend(image_of(data) for data in message.images or ())
    parts.extend(tool_call_of(call, created_at, position) for position, call in enumerate(message.tool_calls or ()))
    return parts


# ---------------------------------------------------------------- errors


def error_inside(raw: msgspec.Raw) -> ProviderError:
    """The error of an answer whose status said nothing of it."""
    return error_of(json.decode_outbound(bytes(raw), json.ANY), None, {})


def error_of(error: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """`error` is text. Ollama gives no codes, so the status is all there is to go by."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):  # its OpenAI endpoints
        error = error["message"]
    message = error if isinstance(error, str) else json.encode(error).decode()
    return failed(status, headers, message=message, code=None, codes={})


def error_written(error: SpineError, request_id: str) -> bytes:
    return json.encode({"error": error.message, "request_id": request_id})
