"""Which requests are the same, and which may be answered from a cache.

    request, tenant, target  ─ key_of ─▶  32 bytes, which tell nothing of the request

Two requests are the same if all their members are, in whatever order and spacing; what is left out is named here.
The key is a SHA-256: whoever sees it learns no prompt from it. Must not know: stores, clocks, dialects' types.

Headers as in RFC 9111 §5.2.1 (Cache-Control of a request; read 2026-11). Which answers are kept unless told
otherwise: others keep all once their cache is on (docs.litellm.ai/docs/proxy/caching, portkey.ai/docs caching,
docs.helicone.ai features; read 2026-11); here that is `answers = "all"`, since who leaves the temperature as it is
may want another answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import isinf
from typing import Any, NoReturn

import msgspec

VERSION = b"1"
"""Of the key and of what is kept under it: another one finds nothing of this."""

_SAME_ANSWER = frozenset(("model", "stream", "stream_options"))
"""Members that do not make a request another one. The model is part of the target; whether to stream, and with
which events beside, is how the answer is written."""
_SAMPLING_IN = {"ollama_chat": "options", "ollama_generate": "options", "gemini": "generationConfig"}
"""Where a dialect says the temperature, if not at the top."""
_STATEFUL = frozenset(("conversation", "background"))
"""Members of requests that change something at the service each time, or are answered later."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of caching, in `cache-control`."""

    no_store: bool = False
    """Neither look nor keep."""
    no_cache: bool = False
    """Ask anew; the new answer is kept."""
    max_age_s: float | None = None
    """Take an answer of no more than that age. Who says so wants one: the request counts as repeatable."""


NO_TERMS = Terms()


def terms_of(cache_control: str) -> Terms:
    """Of `no-store`, `no-cache`, `max-age=600`; directives of other kinds say nothing here, and a bad age is 0."""
    said = {
        name.strip().lower(): value for name, _, value in (each.partition("=") for each in cache_control.split(","))
    }
    age = said.get("max-age")
    digits = age.strip().strip('"') if age is not None else ""
    return Terms(
        no_store="no-store" in said,
        no_cache="no-cache" in said,
        max_age_s=None if age is None else float(digits) if digits.isascii() and digits.isdigit() else 0.0,
    )


class Sampling(msgspec.Struct):
    """What says whether the same request would get the same answer."""

    temperature: float | None = None
    seed: int | None = None

    @property
    def is_repeatable(self) -> bool:
        return self.temperature == 0 or self.seed is not None


_sampling = msgspec.json.Decoder(Sampling)
_sampling_member = {
    name: msgspec.json.Decoder(kind) for name, kind in (("temperature", float | None), ("seed", int | None))
}


def sampling_in(dialect: str, members: Mapping[str, msgspec.Raw]) -> Sampling:
    """Of a body in a caller's dialect; what cannot be read says nothing."""
    place = _SAMPLING_IN.get(dialect)
    try:
        if place is not None:
            return _sampling.decode(members[place]) if place in members else Sampling()
        found = {name: decoder.decode(members[name]) for name, decoder in _sampling_member.items() if name in members}
        return Sampling(**found)
    except msgspec.DecodeError:
        return Sampling()


def is_stateful(members: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the answer depends on, or changes, what the service remembers."""
    return not members.keys().isdisjoint(_STATEFUL)


def key_of(
    tenant: str, dialect: str, target: bytes, request: bytes, beside: Sequence[tuple[str | bytes, str | bytes]] = ()
) -> bytes | None:
    """The key of a request, a JSON object; `beside` are headers that go with it to the provider. None: it has none.

    `target` stands for the model and for all that is set about it. A body that readers may understand differently,
    with a member given twice or a number that is none, has no key: in a cache that tenants share, one could plant
    an answer for the other.
    """
    try:
        members = _strict.decode(request.decode())
        canonical = _canonical({name: value for name, value in members.items() if name not in _SAME_ANSWER})
    except (ValueError, RecursionError, AttributeError):
        return None
    headers = [part for pair in beside for part in pair]
    digest = sha256(VERSION)
    for part in (tenant, dialect, target, canonical, *headers):
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises: ValueError for a member that is given twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


def _finite(text: str) -> float:
    """Raises: ValueError for what no float holds: it would be written as another value."""
    value = float(text)
    if isinf(value):
        raise ValueError(text)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_strict = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
_canonical = msgspec.json.Encoder(order="deterministic").encode
