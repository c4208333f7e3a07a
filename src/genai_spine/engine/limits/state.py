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
from genai_spine.policy.limits import Rate, give_back, settle_all, take_all

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


class Meters:
    """What counts the buckets of a call in this process: all of them in their order, and by their kind."""

    __slots__ = ("all", "places", "requests", "tokens")

    def __init__(self, counted: Sequence[tuple[Bucket, Limit]]) -> None:
        self.all = [limit for _, limit in counted]
        self.places = [limit for _, limit in counted if isinstance(limit, Places)]
        self.requests = [limit for bucket, limit in counted if isinstance(limit, Rate) and bucket.kind == "requests"]
        self.tokens = [limit for bucket, limit in counted if isinstance(limit, Rate) and bucket.kind == "tokens"]


class Taken:
    """What a call has got of each bucket: one of its requests or places, or `tokens` of its tokens.

    `ends` is what the `take` of those that count tokens answered. `id` and `shared` are what a server that counts
    too knows of it.
    """

    __slots__ = ("buckets", "ends", "id", "meters", "shared", "tokens")

    def __init__(self, buckets: Buckets, meters: Meters, tokens: int, ends: list[int]) -> None:
        self.buckets = buckets
        self.meters = meters
        self.tokens = tokens
        self.ends = ends
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

    def left(self, buckets: Buckets) -> Sequence[int | None]:
        """What may be taken of each now, without asking anybody; None where that is not known here."""
        ...

    def share(self, topic: str, tell: Callable[[], Any], hear: Callable[[Mapping[str, Any]], None]) -> None:
        """From now on let the other processes know what `tell` answers (anything that JSON holds), and `hear`
        what they told last, by process. Both are called now and then, and must be quick."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class LocalState:
    """All counted in this process. Never suspends."""

    __slots__ = ("_clock_ns", "_limits", "_meters")

    poll_s: float | None = None

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._limits: dict[Bucket, Limit] = {}
        self._meters: dict[Buckets, Meters] = {}

    async def take(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        return self.take_now(buckets, tokens)

    def take_now(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        now_us = self._clock_ns() // 1000
        meters = self._meters.get(buckets) or self._meters_of(buckets, now_us)
        for places in meters.places:
            if places.taken >= places.bound:
                return self._refusal(buckets, tokens, now_us)
        if take_all(meters.requests, 1, now_us) is None:
            return self._refusal(buckets, tokens, now_us)
        ends = take_all(meters.tokens, tokens, now_us)
        if ends is None:
            give_back(meters.requests, 1)
            return self._refusal(buckets, tokens, now_us)
        for places in meters.places:
            places.taken += 1
        return Taken(buckets, meters, tokens, ends)

    def charge(self, buckets: Buckets, tokens: int) -> Taken:
        """Takes, room or not."""
        now_us = self._clock_ns() // 1000
        meters = self._meters.get(buckets) or self._meters_of(buckets, now_us)
        for rate in meters.requests:
            rate.take(1, now_us)
        for places in meters.places:
            places.taken += 1
        return Taken(buckets, meters, tokens, [rate.take(tokens, now_us) for rate in meters.tokens])

    def settle(self, taken: Taken, tokens: int | None) -> None:
        meters = taken.meters
        for places in meters.places:
            places.taken -= 1
        if tokens is not None and tokens != taken.tokens and meters.tokens:
            settle_all(meters.tokens, taken.ends, taken.tokens, tokens, self._clock_ns() // 1000)

    def left(self, buckets: Buckets) -> Sequence[int | None]:
        now_us = self._clock_ns() // 1000
        meters = self._meters.get(buckets) or self._meters_of(buckets, now_us)
        return [limit.left(now_us) for limit in meters.all]

    def _refusal(self, buckets: Buckets, tokens: int, now_us: int) -> Refusal:
        limits = (self._meters.get(buckets) or self._meters_of(buckets, now_us)).all
        amounts = [tokens if bucket.kind == "tokens" else 1 for bucket in buckets]
        return refusal(buckets, [limit.wait_us(amount, now_us) for limit, amount in zip(limits, amounts, strict=True)])

    def limit(self, bucket: Bucket) -> Limit:
        found = self._limits.get(bucket)
        return found if found is not None else self._new(bucket, self._clock_ns() // 1000)

    def _meters_of(self, buckets: Buckets, now_us: int) -> Meters:
        counted = [(bucket, self._limits.get(bucket) or self._new(bucket, now_us)) for bucket in buckets]
        if len(self._meters) >= MOST_BUCKETS:
            self._meters.clear()
        made = self._meters[buckets] = Meters(counted)
        return made

    def _new(self, bucket: Bucket, now_us: int) -> Limit:
        if len(self._limits) >= MOST_BUCKETS:
            self._meters.clear()
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
