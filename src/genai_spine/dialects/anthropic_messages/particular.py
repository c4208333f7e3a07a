"""What one Claude takes and another answers with 400, seen in a caller's own bytes.

A caller writes for the model that he names; a route or a fallback may have it answered by another, which refuses what
stands in the request: `{"role": "system"}` amid the conversation before Opus 4.8, adaptive thinking before 4.6, a
temperature since 4.7 … Such a request is not relayed but written anew for its model, and its betas go along.
Sources: as history.py, thinking.py and catalog/models.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from genai_spine.dialects.anthropic_messages.schema import DIALECT, takes_system_anywhere
from genai_spine.dialects.interface import Target
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json
from genai_spine.wire.http import Headers

T = TypeVar("T")

_SYSTEM_ROLE = re.compile(rb'"role"\s*:\s*"system"')
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})


class _Typed(msgspec.Struct):
    type: str | None = None


_typed = msgspec.json.Decoder(_Typed)
_count = msgspec.json.Decoder(int)
_texts = msgspec.json.Decoder(list[str])


def refused(members: Mapping[str, msgspec.Raw], target: Target) -> bool:
    """Whether the target's model is known to refuse a request with these members. Too often costs a translation."""
    able = target.card.capabilities
    thinking, choice = _type_of(members, "thinking"), _type_of(members, "tool_choice")
    return (
        (able.sampling is False and not _SAMPLING.isdisjoint(members))
        or (able.temperature_with_top_p is False and "temperature" in members and "top_p" in members)
        or (thinking == "adaptive" and able.thinking_style in ("budget", "none"))
        or (thinking == "disabled" and able.thinking_off not in (None, "disabled"))
        or (choice in ("any", "tool") and able.forced_tools is False)
        or _max_tokens(members) > (target.card.max_output_tokens or 2**63)
        or (
            takes_system_anywhere(target.model) is False
            and _SYSTEM_ROLE.search(bytes(members.get("messages", b""))) is not None
        )
    )


def with_headers(request: CompletionRequest, headers: Headers) -> CompletionRequest:
    """The request with the caller's `anthropic-beta` in the member that the SDKs write it in."""
    said = [value if isinstance(value, str) else value.decode("latin-1") for name, value in headers if _is_beta(name)]
    betas = [beta.strip() for value in said for beta in value.split(",") if beta.strip()]
    if not betas:
        return request
    extra = request.extra or {}
    own = json.OBJECT.decode(extra[DIALECT]) if DIALECT in extra else {}
    own["betas"] = msgspec.Raw(json.encode([*betas, *(_read(own, "betas", _texts) or ())]))
    return msgspec.structs.replace(request, extra={**extra, DIALECT: msgspec.Raw(json.join_object(own))})


def _is_beta(name: str | bytes) -> bool:
    return name in ("anthropic-beta", b"anthropic-beta")


def _type_of(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    found = _read(members, name, _typed)
    return found.type if found is not None else None


def _max_tokens(members: Mapping[str, msgspec.Raw]) -> int:
    return _read(members, "max_tokens", _count) or 0


def _read(members: Mapping[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """A member; None where it is not there, or not of its kind: the service will say so."""
    try:
        return decoder.decode(members[name]) if name in members else None
    except json.UNREADABLE:
        return None
