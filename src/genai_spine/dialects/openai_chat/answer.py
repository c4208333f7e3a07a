"""A whole answer, `chat.completion`, and what a service says when it has none."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, repeat
from typing import Annotated, Any

import msgspec

from genai_spine.dialects.failure import unreadable
from genai_spine.dialects.interface import Target
from genai_spine.dialects.lenient import seconds_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.audio import audio_of, says_something
from genai_spine.dialects.openai_chat.citations import citations_of, searched
from genai_spine.dialects.openai_chat.images import images_of
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.dialects.openai_chat.thoughts import thinking_of
from genai_spine.dialects.openai_chat.usage import usage_of
from genai_spine.model.content import Metadata, Part, Refusal, Text, ToolCall
from genai_spine.model.errors import BadReply, ProviderError
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json


class _KnownCall(wire.ToolCallWire, forbid_unknown_fields=True, gc=False):
    pass


class _KnownMessage(wire.ReplyMessage, forbid_unknown_fields=True, gc=False):
    role: str | None = None
    tool_calls: list[_KnownCall] | None = None  # type: ignore[assignment]  # a list that nobody adds to


class _KnownChoice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    message: _KnownMessage
    index: int | None = None
    finish_reason: str | None = None
    logprobs: None = None


class _KnownReply(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An answer of one choice that holds nothing but what we know, as most do: it is read once."""

    choices: Annotated[list[_KnownChoice], msgspec.Meta(min_length=1, max_length=1)]
    id: str | None = None
    object: Any = None
    created: Any = None
    model: str | None = None
    usage: Any = None
    service_tier: Any = None
    system_fingerprint: Any = None


_reply = msgspec.json.Decoder(wire.Reply)
_known_reply = msgspec.json.Decoder(_KnownReply)


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """The first choice of an answer; further ones stay in `extra`.

    Raises: BadReply where it is none; the provider's error where a 200 carries one.
    """
    try:
        reply = json.decode_outbound(body, _known_reply)
    except BadReply:
        return _decode_any(body, target)
    choice = reply.choices[0]
    beside = {"service_tier": reply.service_tier, "system_fingerprint": reply.system_fingerprint}
    return CompletionResponse(
        id=reply.id or None,
        model=reply.model or target.model,
        created_s=seconds_of(reply.created),
        parts=tuple(_parts_of(choice.message, {}, reply.id)),
        finish_reason=wire.finish_of(choice.finish_reason),
        raw_finish_reason=choice.finish_reason or None,
        usage=usage_of(reply.usage, reply.service_tier),
        extra=keep(DIALECT, unknown(beside, ())),
        raw=msgspec.Raw(body),
    )


def _decode_any(body: bytes, target: Target) -> CompletionResponse:
    reply = json.decode_outbound(body, _reply)
    members = json.decode_frame(body, json.ANY)
    if reply.error:
        raise wire.error_of(members, None, {})
    if not reply.choices:
        raise BadReply("an answer without choices")
    choice = reply.choices[0]
    # Azure leaves the message out where its filter took all of it.
    message = choice.message or choice.delta or wire.ReplyMessage()
    said = members["choices"][0]
    return CompletionResponse(
        id=reply.id or None,
        model=reply.model or target.model,
        created_s=seconds_of(reply.created),
        parts=_with_sources(_parts_of(message, said.get("message") or said.get("delta") or {}, reply.id), members),
        finish_reason=wire.finish_of(choice.finish_reason),
        raw_finish_reason=choice.finish_reason or None,
        usage=usage_of(reply.usage, members.get("service_tier")),
        extra=_extra_of(members),
        raw=msgspec.Raw(body),
    )


def _parts_of(message: wire.ReplyMessage, said: Mapping[str, Any], response_id: str | None) -> list[Part]:
    """The parts of a message; `said` is the same as it came, where it may say what we do not know."""
    parts: list[Part] = []
    parts.extend(thinking_of(message.reasoning_details, message.reasoning_content or message.reasoning))
    parts.extend(_content_of(message))
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    parts.extend(images_of(message.images or ()))
    if message.audio and says_something(message.audio):
        parts.append(audio_of(message.audio))
    calls: list[wire.ToolCallWire] = list(message.tool_calls or ())
    if not calls and message.function_call is not None and message.function_call.name:
        calls.append(wire.ToolCallWire(function=message.function_call))
    as_said = chain(said.get("tool_calls") or (), repeat(None))
    for position, call in enumerate(calls):
        name, arguments, kind = wire.called(call)
        if not name:
            raise BadReply("a tool call without a name")
        parts.append(
            ToolCall(
                id=call.id or wire.minted_call_id(response_id, position),
                name=name,
                arguments=arguments,
                kind=kind,
                provider_metadata=wire.metadata_of_call(next(as_said)),
            )
        )
    return parts


def _content_of(message: wire.ReplyMessage) -> list[Part]:
    content = message.content
    parts: list[Part] = []
    if isinstance(content, list):
        parts.extend(wire.part_of_chunk(chunk) for chunk in content)
    elif content:
        parts.append(Text(text=content if isinstance(content, str) else wire.content_text(content)))
    if message.annotations:
        if not (parts and isinstance(parts[-1], Text)):
            parts.append(Text(text=""))
        metadata, cited = keep(DIALECT, {"annotations": message.annotations}), citations_of(message.annotations)
        parts[-1] = msgspec.structs.replace(parts[-1], provider_metadata=metadata, citations=cited)
    return parts


def _with_sources(parts: list[Part], members: Mapping[str, Any]) -> tuple[Part, ...]:
    """The pages that are listed beside a message are what its last text is drawn from."""
    cited = searched(members)
    for index in reversed(range(len(parts) if cited else 0)):
        part = parts[index]
        if isinstance(part, Text):
            parts[index] = msgspec.structs.replace(part, citations=(*part.citations, *cited))
            break
    return tuple(parts)


def _extra_of(members: Mapping[str, Any]) -> Metadata | None:
    """What stands in an answer beside what the middle has names for."""
    extra = unknown(members, wire.KNOWN_TOP_LEVEL)
    first, *others = members["choices"]
    more = wire.extra_of_choice(first)
    if isinstance(logprobs := first.get("logprobs"), dict) and (logprobs := unknown(logprobs, ())):
        more["logprobs"] = logprobs
    if more:
        extra[wire.OF_CHOICE] = more
    if others:
        extra["choices"] = others
    return keep(DIALECT, extra)


# ---------------------------------------------------------------- errors


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    members = json.read_or_none(body)
    return unreadable(status, headers) if members is None else wire.error_of(members, status, headers)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    """The error inside a 200 or a stream: its own code, where that is a number, stands for the status."""
    members = json.read_or_none(body)
    found = isinstance(members, dict) and members.get("error")
    return wire.error_of(members, None, {}) if found else None
