"""Answering a caller who speaks Anthropic's Messages.

Must not know which provider answers. Unknown members of the request are kept as metadata of this
dialect, unknown blocks as `Opaque`; an answer's parts of any origin go out as text, thinking and
tool_use blocks, for that is what this dialect's clients read.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.blocks import (
    Block,
    cited_block,
    finished,
    image_source,
    text_block,
    thinking_block,
    tool_use_block,
)
from genai_spine.dialects.anthropic_messages.encoder import MessagesStreamEncoder
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.foreign import THREAD_LOST
from genai_spine.dialects.interface import StreamEncoder
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.reading import Reader
from genai_spine.dialects.searches import is_search, showing, shown_in, without_shown
from genai_spine.dialects.signed_calls import signed_again, with_proofs
from genai_spine.dialects.written import input_of
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.errors import ProviderError, SpineError
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

DIALECT = wire.DIALECT
STREAM_CONTENT_TYPE = b"text/event-stream; charset=utf-8"
FORWARDED_HEADERS = frozenset({b"anthropic-beta", b"anthropic-version"})
# "may include any number of ping events" (platform.claude.com/docs/en/build-with-claude/streaming, 2026-11)
KEEP_ALIVE = b'event: ping\ndata: {"type": "ping"}\n\n'

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_MODES: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
_HERE = {DIALECT: msgspec.Raw(b"{}")}
"""Marks a system message that stands where its author, speaking this dialect, put it."""


# ---------------------------------------------------------------- request


def decode_request(body: bytes) -> CompletionRequest:
    """Raises: InvalidRequest, naming the place."""
    return _request(body, is_count=False)


def decode_count_request(body: bytes) -> CompletionRequest:
    """The request whose input tokens are to be counted: as any other, but without `max_tokens`.

    Raises: InvalidRequest, naming the place.
    """
    return _request(body, is_count=True)


def _request(body: bytes, *, is_count: bool) -> CompletionRequest:
    request = Reader(json.decode_inbound(body, json.ANY), "")
    messages = tuple(_message(item) for item in request.objects("messages", required=True))
    if not messages:
        raise request.wrong("messages", "at least one message is required")
    max_tokens = request.integer("max_tokens", least=1)
    if max_tokens is None and not is_count:
        raise request.wrong("max_tokens", "missing: the most tokens that the answer may have")
    tool_choice, parallel = _tool_choice(request)
    effort, output_schema = _output_config(request)
    limit = request.number("cost_limit")
    decoded = CompletionRequest(
        messages=(*_system(request), *signed_again(without_shown(DIALECT, messages, body), body)),
        model=request.text("model"),
        max_tokens=max_tokens,
        stream=request.boolean("stream") or False,
        temperature=request.number("temperature"),
        top_p=request.number("top_p"),
        top_k=request.integer("top_k"),
        stop=request.strings("stop_sequences"),
        user=_user(request),
        cache=_cache_mark(request),
        tools=tuple(_tool(item) for item in request.objects("tools")),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        output_schema=output_schema,
        thinking=_thinking(request, effort),
        provider=request.text("provider") if isinstance(request.peek("provider"), str) else None,
        provider_hint=request.text("provider_hint"),
        cost_limit=Decimal(str(limit)) if limit is not None else None,
        fallbacks=_fallbacks(request),
    )
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, request.rest()))


def _fallbacks(request: Reader) -> tuple[str, ...]:
    """Ours are names of models; Anthropic's own beta of that name holds objects, and is kept."""
    value = request.peek("fallbacks")
    is_ours = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return request.strings("fallbacks") if is_ours else ()


def _user(request: Reader) -> str | None:
    metadata = request.object("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    request.leave("metadata", metadata.rest())
    return user


def _cache_mark(reader: Reader) -> CacheMark | None:
    control = reader.object("cache_control")
    if control is None:
        return None
    control.text("type", required=True)
    ttl = control.text("ttl")
    reader.leave("cache_control", control.rest())
    return CacheMark(ttl=ttl)


def _output_config(request: Reader) -> tuple[str | None, OutputSchema | None]:
    """Effort and format; the format also under its older name, `output_format`."""
    effort, output_schema = None, None
    config = request.object("output_config")
    if config is not None:
        effort, output_schema = config.text("effort"), _format(config, "format")
        request.leave("output_config", config.rest())
    return effort, output_schema or _format(request, "output_format")


def _format(reader: Reader, key: str) -> OutputSchema | None:
    inner = reader.object(key)
    if inner is None:
        return None
    if inner.text("type", required=True) != "json_schema":
        reader.put_back(key)
        return None
    schema = inner.mapping("schema")
    if schema is None:
        raise inner.wrong("schema", "missing")
    reader.leave(key, inner.rest())
    return OutputSchema(schema=schema)


def _thinking(request: Reader, effort: str | None) -> ThinkingConfig | None:
    thinking = request.object("thinking")
    if thinking is None:
        return ThinkingConfig(effort=effort) if effort is not None else None
    kind = thinking.text("type", required=True)
    budget, display = thinking.integer("budget_tokens"), thinking.text("display")
    match kind:
        case "disabled":
            config = ThinkingConfig(enabled=False, effort=effort)
        case "adaptive":
            config = ThinkingConfig(enabled=True, adaptive=True, effort=effort, display=display)
        case "enabled":
            if budget is None:
                raise thinking.wrong("budget_tokens", "missing")
            config = ThinkingConfig(enabled=True, budget_tokens=budget, effort=effort, display=display)
        case _:
            request.put_back("thinking")
            return ThinkingConfig(effort=effort) if effort is not None else None
    request.leave("thinking", thinking.rest())
    return config


def _tool(tool: Reader) -> Tool | ProviderTool:
    kind = tool.peek("type")
    if kind not in (None, "custom"):
        kind = tool.text("type", required=True)
        name = tool.text("name") or kind
        return ProviderTool(dialect=DIALECT, name=name, raw=msgspec.Raw(msgspec.json.encode(tool.members)))
    decoded = Tool(
        name=tool.text("name", required=True),
        description=tool.text("description"),
        parameters=tool.mapping("input_schema"),
        strict=tool.boolean("strict"),
        cache=_cache_mark(tool),
    )
    return msgspec.structs.replace(decoded, provider_metadata=keep(DIALECT, tool.rest()))


def _tool_choice(request: Reader) -> tuple[ToolChoice | None, bool | None]:
    choice = request.object("tool_choice")
    if choice is None:
        return None, None
    kind = choice.text("type", required=True)
    if (mode := _MODES.get(kind)) is None:
        raise choice.wrong("type", f"expected auto, any, tool or none, got {kind!r}")
    name = choice.text("name", required=True) if kind == "tool" else None
    is_single = choice.boolean("disable_parallel_tool_use")
    request.leave("tool_choice", choice.rest())
    return ToolChoice(mode=mode, name=name), None if is_single is None else not is_single


# ---------------------------------------------------------------- messages


def _system(request: Reader) -> tuple[Message, ...]:
    content = _content(request, "system")
    return (Message(role="system", content=content),) if content else ()


def _message(message: Reader) -> Message:
    name = message.text("role", required=True)
    if (role := _ROLES.get(name)) is None:
        raise message.wrong("role", f"expected user, assistant or system, got {name!r}")
    if not message.has("content"):
        raise message.wrong("content", "missing")
    content = _content(message, "content")
    metadata = keep(DIALECT, message.rest())
    if role == "system":
        metadata = metadata or _HERE
    return Message(role=role, content=content, provider_metadata=metadata)


def _content(reader: Reader, key: str) -> tuple[Part, ...]:
    value = reader.peek(key)
    if value is None or isinstance(value, str):
        reader.take(key)
        return (Text(text=value),) if value else ()
    return tuple(_part(item) for item in reader.objects(key))


def _part(block: Reader) -> Part:
    kind = block.text("type", required=True)
    decoded = read(block) if (read := _PARTS.get(kind)) is not None else None
    if decoded is None:
        return Opaque(dialect=DIALECT, kind=kind, raw=msgspec.Raw(msgspec.json.encode(block.members)))
    mark = _cache_mark(block)
    if mark is None and not block.rest():
        return decoded
    metadata = keep(DIALECT, {**kept(decoded.provider_metadata, DIALECT), **block.rest()})
    return msgspec.structs.replace(decoded, cache=mark, provider_metadata=metadata)


def _text(block: Reader) -> Part:
    return Text(text=block.text("text", required=True))


def _thinking_part(block: Reader) -> Part:
    text, signature = block.text("thinking", required=True), block.text("signature")
    return Thinking(text=text, signature=signature or None)


def _redacted(block: Reader) -> Part:
    return Thinking(redacted=block.text("data", required=True))


def _tool_use(block: Reader) -> Part:
    call_id, name = block.text("id", required=True), block.text("name", required=True)
    arguments = block.mapping("input")
    if arguments is None:
        raise block.wrong("input", "missing")
    return ToolCall(id=call_id, name=name, arguments=msgspec.json.encode(arguments).decode())


def _tool_result(block: Reader) -> Part:
    call_id, is_error = block.text("tool_use_id", required=True), block.boolean("is_error")
    return ToolResult(call_id=call_id, content=_content(block, "content"), is_error=is_error or False)


def _tool_reference(block: Reader) -> Part:
    return _in_words("tool_reference", block.text("tool_name", required=True))


def _tool_addition(block: Reader) -> Part | None:
    return _tool_change("tool_addition", block)


def _tool_removal(block: Reader) -> Part | None:
    return _tool_change("tool_removal", block)


def _tool_change(kind: str, block: Reader) -> Part | None:
    """None for a tool that is defined here, or is a server's: only Anthropic can add it."""
    tool = block.object("tool", required=True)
    if tool.text("type", required=True) != "tool_reference":
        return None
    name = tool.text("name", required=True)
    return None if tool.rest() else _in_words(kind, name)


def _search_result(block: Reader) -> Part:
    found = {
        "source": block.text("source", required=True),
        "title": block.text("title", required=True),
        "content": block.peek("content"),
    }
    texts = "\n".join(text.text("text", required=True) for text in block.objects("content"))
    said = f"Search result: {found['title']} ({found['source']})\n{texts}"
    return Text(text=said, provider_metadata=keep(DIALECT, {"search_result": found}))


def _in_words(kind: str, name: str) -> Part:
    return Text(text=wire.IN_WORDS[kind].format(name), provider_metadata=keep(DIALECT, {kind: name}))


_SOURCE_FIELDS = {"base64": "data", "url": "url", "file": "file_id", "text": "data"}


def _source(block: Reader, most: tuple[str, ...]) -> dict[str, Any] | None:
    """The fields of an image or document; None for a source that the middle has no word for."""
    source = block.object("source", required=True)
    kind = source.text("type", required=True)
    if kind not in most:
        return None
    field = _SOURCE_FIELDS[kind]
    value, media_type = source.text(field, required=True), source.text("media_type")
    block.leave("source", source.rest())
    if kind == "text":
        return {"text": value, "media_type": media_type}
    return {field: value, "media_type": media_type}


def _image(block: Reader) -> Part | None:
    source = _source(block, ("base64", "url", "file"))
    return Image(**source) if source is not None else None


def _document(block: Reader) -> Part | None:
    source = _source(block, ("base64", "url", "file", "text"))
    return Document(name=block.text("title"), **source) if source is not None else None


_PARTS: dict[str, Callable[[Reader], Part | None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking_part,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "tool_reference": _tool_reference,
    "tool_addition": _tool_addition,
    "tool_removal": _tool_removal,
    "search_result": _search_result,
}


# ---------------------------------------------------------------- answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    parts, finish = shown_in(DIALECT, response, request), response.finish_reason
    said = [part for part in with_proofs(parts) if not _is_empty(part)]
    written = {
        "id": wire.message_id(response.id),
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": [block for part in said if (block := _block(part)) is not None],
        "stop_reason": wire.stop_written(finish, response.raw_finish_reason, response.stop_sequence, parts),
        "stop_sequence": response.stop_sequence,
        "usage": wire.usage_written(response.usage),
    }
    return json.encode({**written, **kept(response.extra, DIALECT)})


def shows(part: Part) -> bool:
    return _block(part) is not None or is_search(part)


def _is_empty(part: Part) -> bool:
    """Anthropic refuses an empty text when the answer comes back ("text content blocks must be non-empty", 400)."""
    if not isinstance(part, Text | Refusal) or part.text:
        return False
    is_cited = isinstance(part, Text) and part.citations
    return not is_cited and "citations" not in kept(part.provider_metadata, DIALECT)


def _block(part: Part) -> Block | None:
    """The block for a part of an answer; None for what clients of this dialect could not show."""
    match part:
        case Text():
            return cited_block(part)
        case Refusal():
            return text_block(part.text, part)
        case Thinking():
            return thinking_block(part)
        case ToolCall():
            # A call that is not JSON goes out whole, under one name, rather than not at all.
            whole = msgspec.Raw(msgspec.json.encode({"input": part.arguments}))
            return tool_use_block(part, input_of(part) or whole)
        case Opaque(dialect=wire.DIALECT):
            return part.raw
        case Audio(transcript=str(transcript)):
            return text_block(transcript, part)
        case Image() if (source := image_source(part)) is not None:
            return finished({"type": "image", "source": source}, part)
        case _:
            return None


def stream_encoder(request: CompletionRequest) -> StreamEncoder:
    return showing(DIALECT, MessagesStreamEncoder(), request)


def encode_count_response(input_tokens: int) -> bytes:
    return json.encode({"input_tokens": int(input_tokens)})


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    """Anthropic's error object (platform.claude.com/docs/en/api/errors, 2026-11), with our request's id.

    `details`, by which its clients know a thread that has to be begun anew, are Anthropic's own where it said them.
    """
    status = status_for_caller(error)
    written = wire.error_written(error, status, request_id)
    if (details := _details(error)) is not None:
        written["error"]["details"] = details
    return status, json.encode(written)


def _details(error: SpineError) -> dict[str, Any] | None:
    if error.code == THREAD_LOST and not isinstance(error, ProviderError):
        return {"error_code": THREAD_LOST}
    body = error.body if isinstance(error, ProviderError) else None
    try:
        members = msgspec.json.decode(body) if isinstance(body, str) else body
    except json.UNREADABLE:
        return None
    said = members.get("error") if isinstance(members, dict) and members.get("type") == "error" else None
    details = said.get("details") if isinstance(said, dict) else None
    return details if isinstance(details, dict) else None
