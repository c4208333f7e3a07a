"""A caller's request to a provider that speaks its dialect: what routing needs is read, one member replaced.

    caller ── peek ─▶ Peek ── rewrite ─▶ provider

Nothing is decoded that is not read: members stay `Raw`, byte for byte. What comes back: relay.py.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from genai_spine.model.errors import InvalidRequest
from genai_spine.wire.json import encode, member, replace_member, top_level

ProviderHint = Literal["local_preferred", "cloud_preferred", "best_quality", "cheapest"]

OURS = ("provider", "provider_hint", "cost_limit", "fallbacks")
"""Body fields for this gateway, never forwarded (CONTRACT)."""

IN_URL = frozenset({"gemini"})
"""Dialects that say the model and whether to stream in the URL: a body holds them on its way to us only."""


class Peek(Struct, frozen=True, kw_only=True):
    """A caller's body: its members as bytes, without our own fields, and the values that routing reads.

    A member that is absent or null is None here.
    """

    members: dict[str, Raw]
    model: str | None
    stream: bool | None
    wants_usage: bool = False
    """The caller asked for usage in the stream (OpenAI's `stream_options.include_usage`)."""
    provider: str | None = None
    provider_hint: ProviderHint | None = None
    cost_limit: Decimal | None = None
    """USD."""
    fallbacks: tuple[str, ...] = ()


class _StreamOptions(Struct):
    include_usage: bool | None = None


_text = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_hint = msgspec.json.Decoder(ProviderHint | None)
_money = msgspec.json.Decoder(Decimal | None)
_names = msgspec.json.Decoder(tuple[str, ...] | None)

_TRUE = Raw(b"true")


def peek(body: bytes) -> Peek:
    """What routing needs to know of a request, without reading the rest.

    Raises: InvalidRequest.
    """
    members = top_level(body)
    model = member(members, "model", _text)
    stream = member(members, "stream", _flag)
    options = member(members, "stream_options", _stream_options) if "stream_options" in members else None
    wants_usage = options is not None and options.include_usage is True
    if members.keys().isdisjoint(OURS):
        return Peek(members=members, model=model, stream=stream, wants_usage=wants_usage)

    # An object is OpenRouter's own `provider` and not a name of ours: it goes through.
    theirs = members.get("provider")
    provider = None
    if theirs is None or not bytes(theirs).startswith(b"{"):
        provider = member(members, "provider", _text)
        theirs = None
    cost_limit = member(members, "cost_limit", _money)
    if cost_limit is not None and not (cost_limit.is_finite() and cost_limit >= 0):
        raise InvalidRequest("cost_limit: expected an amount in USD, 0 or more", param="cost_limit")
    found = Peek(
        members=members,
        model=model,
        stream=stream,
        wants_usage=wants_usage,
        provider=provider,
        provider_hint=member(members, "provider_hint", _hint),
        cost_limit=cost_limit,
        fallbacks=member(members, "fallbacks", _names) or (),
    )
    for name in OURS:
        if name != "provider" or theirs is None:
            members.pop(name, None)
    return found


def rewrite(request: Peek, *, model: str, dialect: str, force_usage: bool) -> bytes:
    """The body for the provider: the caller's members in their order, with `model` by the provider's name.

    With `force_usage` an OpenAI stream is asked to report usage; give its tap `strip_usage` where the
    caller had not asked (`request.wants_usage`).
    """
    if dialect in IN_URL:
        return encode({name: value for name, value in request.members.items() if name not in ("model", "stream")})
    members = {**request.members, "model": Raw(encode(model))}
    if force_usage and request.stream and not request.wants_usage and dialect in _COUNTED:
        options = members.get("stream_options")
        if options is None or options == Raw(b"null"):
            options = Raw(b"{}")
        members["stream_options"] = Raw(replace_member(options, "include_usage", _TRUE))
    return encode(members)


_COUNTED = ("openai_chat", "openai_completions")
"""Dialects whose streams tell the usage where they are asked to, with that member."""


def with_limit(request: Peek, *, dialect: str, field: str, max_tokens: int) -> Peek:
    """The request with no more tokens to each answer. `field` is OpenAI's name for that, where the caller gave none."""
    said = Raw(encode(max_tokens))
    members = dict(request.members)
    if dialect in IN_URL:
        holder = next((name for name in _CONFIGS if name in members), _CONFIGS[0])
        config = members.get(holder, Raw(b"null"))
        inner = {} if bytes(config) == b"null" else top_level(bytes(config))
        inner |= dict.fromkeys([name for name in _CONFIGURED if name in inner] or _CONFIGURED[:1], said)
        members[holder] = Raw(encode(inner))
    else:
        field = _LIMITS[1] if dialect == "openai_completions" else field
        members |= dict.fromkeys([name for name in _LIMITS if name in members] or [field], said)
    return msgspec.structs.replace(request, members=members)


_LIMITS = ("max_completion_tokens", "max_tokens")
_CONFIGS = ("generationConfig", "generation_config")
_CONFIGURED = ("maxOutputTokens", "max_output_tokens")
