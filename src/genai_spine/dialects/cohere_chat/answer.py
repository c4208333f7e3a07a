"""A whole answer, and what Cohere says when it has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.cohere_chat import schema as wire
from genai_spine.dialects.cohere_chat.schema import DIALECT
from genai_spine.dialects.failure import unreadable
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.content import Metadata, Part, Text
from genai_spine.model.errors import BadReply, ProviderError
from genai_spine.model.response import CompletionResponse, TokenUsage
from genai_spine.wire import json

_KNOWN_TOP_LEVEL = ("id", "finish_reason", "message", "usage")
_KNOWN_OF_MESSAGE = ("role", "content", "tool_plan", "tool_calls", "citations")


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """Raises: BadReply where it is none; the provider's error where a 200 carries one."""
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("an answer that is no object")
    message = members.get("message")
    if members.get("error") or isinstance(message, str):
        raise wire.error_of(members, None, {})
    if not isinstance(message, dict):
        raise BadReply("an answer without a message")
    parts, homeless = parts_of(message)
    reason, answer_id = members.get("finish_reason"), members.get("id")
    return CompletionResponse(
        id=answer_id if isinstance(answer_id, str) and answer_id else None,
        model=target.model,  # the answer does not name it
        parts=tuple(parts),
        finish_reason=wire.finish_of(reason),
        raw_finish_reason=reason if isinstance(reason, str) and reason else None,
        usage=wire.usage_of(members.get("usage")),
        extra=extra_of(unknown(members, _KNOWN_TOP_LEVEL), unknown(message, _KNOWN_OF_MESSAGE), homeless),
        raw=msgspec.Raw(body),
    )


def parts_of(message: Mapping[str, Any]) -> tuple[list[Part], list[Any]]:
    """The parts of a message, in the order of its stream, and the citations of none of them.

    Raises: BadReply.
    """
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    parts: list[Part] = [wire.part_of_content(entry) for entry in _list(content, "content")]
    kinds = [str(entry.get("type")) for entry in content or ()]
    if isinstance(plan := message.get("tool_plan"), str) and plan:
        parts.append(wire.plan_of(plan))
        kinds.append(wire.PLAN)
    parts.extend(wire.tool_call_of(call) for call in _list(message.get("tool_calls"), "tool calls"))
    kinds.extend("tool_call" for _ in parts[len(kinds) :])
    cited: dict[int | None, list[Any]] = {}
    for citation in _list(message.get("citations"), "citations"):
        place = wire.cited_part(citation, kinds) if isinstance(citation, dict) else None
        cited.setdefault(place, []).append(citation)
    homeless = cited.pop(None, [])
    for place, citations in cited.items():
        if place is not None:
            part = parts[place]
            metadata = wire.with_citations(part.provider_metadata, citations)
            changes: dict[str, Any] = {"citations": wire.citations_of(citations)} if isinstance(part, Text) else {}
            parts[place] = msgspec.structs.replace(part, provider_metadata=metadata, **changes)
    return parts, homeless


def extra_of(members: Mapping[str, Any], message: Mapping[str, Any], homeless: list[Any]) -> Metadata | None:
    """What an answer says beside what the middle has names for; of its message under `message`."""
    more = {**message, **({"citations": homeless} if homeless else {})}
    return keep(DIALECT, {**members, **({"message": more} if more else {})})


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadReply(f"{what} that are no list")
    return value


# ---------------------------------------------------------------- errors and usage alone


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    members = json.read_or_none(body)
    return unreadable(status, headers) if members is None else wire.error_of(members, status, headers)


def decode_embedded_error(body: bytes) -> ProviderError | None:
    """The error inside a 200: `error` in the last event of a stream, or a `message` that is text."""
    members = json.read_or_none(body)
    if not isinstance(members, dict):
        return None
    delta = members.get("delta")
    said = delta if isinstance(delta, dict) else members
    found = said.get("error") or isinstance(said.get("message"), str)
    return wire.error_of(said, None, {}) if found else None


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return wire.usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None
