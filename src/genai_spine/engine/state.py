"""The seam behind which limits are counted: in this process, or for several in Redis (redis_state.py).

A `Bucket` is one limit. `take` decides over all that one call needs at once: either it gets room in each, or
nothing is taken. What several processes need not know exactly, such as how fast a model is, they tell one
another now and then (`share`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from genai_spine.policy.concurrency import Places
from genai_spine.policy.limits import Rate

Kind = Literal["requests", "tokens", "places"]

MOST_BUCKETS = 10_000
"""Beyond so many, those that nothing is taken of are forgotten."""

Limit = Rate | Places


class Bucket(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One limit: `requests` and `tokens` are so many per minute, `places` are so many calls at a time.

    `door` is before whom a call waits for it: `caller:<id>`, `provider:<id>` or `model:<provider>/<model>`.
    """

    door: str
    kind: Kind
    limit: int

    @property
    def key(self) -> str:
        return f"{self.door}:{self.kind}"


Buckets = tuple[Bucket, ...]


Part = tuple[Limit, int, int]
"""Of one bucket: what counts it here, how much was taken, and what its `take` answered."""


class Taken:
    """What a call has got: a part of each bucket. `id` and `shared` are what a server that counts too knows of it."""

    __slots__ = ("buckets", "id", "parts", "shared")

    def __init__(self, buckets: Buckets, parts: list[Part]) -> None:
        self.buckets = buckets
        self.parts = parts
        self.id = ""
        self.shared: list[str] | None = None


class Refusal:
    """No room: in which bucket first, the microseconds until it has some, and until all have.

    None is for a wait of unknown length: only the end of another call makes room.
    """

    __slots__ = ("bucket", "longest_us", "wait_us")

    def __init__(self, bucket: Bucket, wait_us: int | None, longest_us: int | None) -> None:
        self.bucket = bucket
        self.wait_us = wait_us
        self.longest_us = longest_us


class State(Protocol):
    """Where limits are counted."""

    poll_s: float | None
    """How often to ask again for a place; None: every one that is freed is freed in this process."""

    async def take(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        """Room for one call of so many tokens in all of these buckets, or in none. Never raises for the state's
        own troubles. A call that is cancelled meanwhile has taken nothing."""
        ...

    def settle(self, taken: Taken, tokens: int | None) -> None:
        """The call is over: its places are free, its reservation is corrected. None: as was set aside."""
        ...

    def left(self, bucket: Bucket) -> int | None:
        """What may be taken now, without asking anybody; None where that is not known here."""
        ...

    def share(self, topic: str, tell: Callable[[], Any], hear: Callable[[Mapping[str, Any]], None]) -> None:
        """From now on let the other processes know what `tell` answers (anything that JSON holds), and `hear`
        what they told last, by process. Both are called now and then, and must be quick."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class LocalState:
    """All counted in this process. Never suspends."""

    __slots__ = ("_clock_ns", "_limits")

    poll_s: float | None = None

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._limits: dict[Bucket, Limit] = {}

    async def take(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        return self.take_now(buckets, tokens)

    def take_now(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        now_us = self._clock_ns() // 1000
        asked = []
        for bucket in buckets:
            limit = self._limits.get(bucket) or self._new(bucket, now_us)
            amount = tokens if bucket.kind == "tokens" else 1
            if limit.wait_us(amount, now_us) != 0:
                return self._refusal(buckets, tokens, now_us)
            asked.append((limit, amount))
        return Taken(buckets, [(limit, amount, limit.take(amount, now_us)) for limit, amount in asked])

    def charge(self, buckets: Buckets, tokens: int) -> Taken:
        """Takes, room or not."""
        now_us = self._clock_ns() // 1000
        asked = [(self.limit(bucket), tokens if bucket.kind == "tokens" else 1) for bucket in buckets]
        return Taken(buckets, [(limit, amount, limit.take(amount, now_us)) for limit, amount in asked])

    def settle(self, taken: Taken, tokens: int | None) -> None:
        now_us = self._clock_ns() // 1000
        for bucket, (limit, amount, end) in zip(taken.buckets, taken.parts, strict=True):
            if bucket.kind == "places":
                limit.settle(end, amount, amount, now_us)
            elif bucket.kind == "tokens" and tokens is not None:
                limit.settle(end, amount, tokens, now_us)

    def left(self, bucket: Bucket) -> int | None:
        """Of a limit per minute what may be taken now."""
        limit = self.limit(bucket)
        return limit.left(self._clock_ns() // 1000) if isinstance(limit, Rate) else None

    def _refusal(self, buckets: Buckets, tokens: int, now_us: int) -> Refusal:
        asked = [(self.limit(bucket), tokens if bucket.kind == "tokens" else 1) for bucket in buckets]
        return refusal(buckets, [limit.wait_us(amount, now_us) for limit, amount in asked])

    def limit(self, bucket: Bucket) -> Limit:
        found = self._limits.get(bucket)
        return found if found is not None else self._new(bucket, self._clock_ns() // 1000)

    def _new(self, bucket: Bucket, now_us: int) -> Limit:
        if len(self._limits) >= MOST_BUCKETS:
            self._limits = {key: limit for key, limit in self._limits.items() if not limit.is_idle(now_us)}
        made: Limit = Places(bucket.limit) if bucket.kind == "places" else Rate(bucket.limit, now_us)
        self._limits[bucket] = made
        return made

    def share(self, topic: str, tell: Callable[[], Any], hear: Callable[[Mapping[str, Any]], None]) -> None:
        """Nobody is there to be told."""

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""


def refusal(buckets: Buckets, waits: Sequence[int | None]) -> Refusal:
    """Of waits where one at least is not 0."""
    first = next(index for index, wait_us in enumerate(waits) if wait_us != 0)
    return Refusal(buckets[first], waits[first], None if None in waits else max(wait for wait in waits if wait))
