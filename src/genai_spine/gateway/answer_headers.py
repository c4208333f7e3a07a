"""What an answer's headers say of its call: who answered, attempts, cost, cache, notices, what limits leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Protocol

from genai_spine.engine.limits.limiter import Limiter
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.request import HeaderList, header_value, plain_amount
from genai_spine.model.response import Notice


class Told(Protocol):
    """An answer, or a stream that has begun."""

    @property
    def provider(self) -> str | None: ...
    @property
    def model(self) -> str: ...
    @property
    def notices(self) -> Sequence[Notice]: ...


def answer_headers(answer: Told, record: CallRecord, limiter: Limiter, cost_usd: Decimal | None) -> HeaderList:
    """Of an answer that another call paid for, no attempts and no cost; `cost_usd` None is not known, and not said."""
    headers = [
        (b"x-spine-provider", header_value(answer.provider or "")),
        (b"x-spine-model", header_value(answer.model)),
        (b"x-spine-attempts", b"0" if record.is_shared else b"%d" % len(record.attempts)),
    ]
    if cost_usd is not None:
        headers.append((b"x-spine-cost-usd", b"0" if record.is_shared else plain_amount(cost_usd)))
    if record.may_be_cached:
        headers += _cache_headers(record)
    if answer.notices:
        headers.append((b"x-spine-notices", notices_value(answer.notices)))
    if record.caller is not None:
        headers += limit_headers(limiter, record.caller)
    return headers


def _cache_headers(record: CallRecord) -> HeaderList:
    """Whether the answer is one that was given before, and how long ago (RFC 9111 §5.1)."""
    cached = record.cached
    if cached is None:
        return [(b"x-spine-cache", b"miss")]
    headers = [(b"x-spine-cache", b"hit"), (b"age", b"%d" % cached.age_s)]
    return headers if not record.is_stream else [*headers, (b"x-spine-cost-usd", b"0")]


def limit_headers(limiter: Limiter, caller: str) -> HeaderList:
    """What is left of the limits of a caller's key, in the words of OpenAI's service."""
    headers: HeaderList = []
    for kind, limit, left in limiter.left_of(caller):
        of_limit, of_rest = _LIMIT_HEADERS[kind]
        headers.append((of_limit, b"%d" % limit))
        if left is not None:
            headers.append((of_rest, b"%d" % left))
    return headers


_LIMIT_HEADERS = {
    "requests": (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests"),
    "tokens": (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens"),
}


def notices_value(notices: Iterable[Notice]) -> bytes:
    """`code param: message` of each, in one line."""
    said = dict.fromkeys(f"{n.code} {n.param}: {n.message}" if n.param else f"{n.code}: {n.message}" for n in notices)
    return header_value("; ".join(said))
