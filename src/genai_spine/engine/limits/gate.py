"""What one target itself has told of how much it bears: held back, a limit nearly used up, calls at a time.

Known to this process alone, and forgotten when it is over; limits that are configured are in `state`.
"""

from __future__ import annotations

from typing import NamedTuple

from genai_spine.dialects.limits import rate_limits
from genai_spine.engine.limits.state import Buckets
from genai_spine.model.errors import ProviderError, RateLimit, SpineError
from genai_spine.policy.concurrency import AdaptivePlaces
from genai_spine.policy.limits import Told, is_scarce

RawHeaders = list[tuple[bytes, bytes]]

_TOO_MUCH = frozenset({429, 503, 529})
_LONGEST_HOLD_S = 3600.0
_GRACE_US = 5_000
"""Who waits as long as the provider asked must not come a timer's breadth too early."""
_GAP_US = 100_000
"""How far apart those that waited are let in, at most: about as long as a refusal takes to come back. If the target
still bears nothing, one or two of them hear it, and not all."""


class Refused(NamedTuple):
    """No room before this door, and why.

    `own`: it is the caller's own limit. `is_firm`: nothing but time makes room. `is_elsewhere`: another process may
    make room, and will not say so. `is_asked`: the target itself asked us to wait.
    """

    door: str
    why: str
    wait_us: int | None = None
    longest_us: int | None = None
    own: bool = False
    is_firm: bool = False
    is_elsewhere: bool = False
    is_asked: bool = False


class Way:
    """What one caller's calls go through to one target: the buckets, and the doors before which they may wait."""

    __slots__ = ("buckets", "counts_tokens", "doors")

    def __init__(self, buckets: Buckets, door: str) -> None:
        self.buckets = buckets
        self.counts_tokens = any(bucket.kind == "tokens" for bucket in buckets)
        self.doors = tuple(dict.fromkeys([door, *(bucket.door for bucket in buckets)]))


class Gate:
    """One target: the buckets that all its calls go through, and what it has told."""

    __slots__ = ("adaptive", "buckets", "door", "gap_us", "held_until_us", "hold_us", "name", "told", "ways")

    def __init__(self, name: str, buckets: Buckets, *, adaptive: bool) -> None:
        self.name = name
        self.door = f"model:{name}"
        self.buckets = buckets
        self.ways: dict[tuple[str | None, bool], Way] = {}
        self.adaptive = AdaptivePlaces() if adaptive else None
        self.held_until_us = 0
        self.hold_us = 0
        """For how long it last asked us to wait; 0 again when nobody waits any more."""
        self.gap_us = 0
        """How far apart those that waited go, from the first one on."""
        self.told: dict[str, Told] = {}

    def refusal(self, tokens: int, now_us: int) -> Refused | None:
        """Why a call of so many tokens may not go now; None: it may."""
        if now_us < self.held_until_us:
            return self._refused("asked us to wait", self.held_until_us - now_us)._replace(is_asked=True)
        for name, told in self.told.items():
            if wait_us := told.wait_us(tokens, now_us):
                return self._refused(f"told us that its limit of {name.replace('_', ' ')} is used up", wait_us)
        if self.adaptive is not None and not self.adaptive.is_free:
            return Refused(self.door, f"{self.name} does not bear more than {self.adaptive.taken} calls at a time")
        return None

    def _refused(self, why: str, wait_us: int) -> Refused:
        return Refused(self.door, f"{self.name} {why}", wait_us, wait_us, is_firm=True)

    def take(self, tokens: int, now_us: int) -> None:
        for told in self.told.values():
            told.take(tokens, now_us)

    def learn(self, limits: tuple[RateLimit, ...], now_us: int) -> None:
        """What an answer told: kept where little is left and the reset is known, forgotten where much is."""
        for limit in limits:
            if limit.remaining is None:
                continue
            if limit.reset_s and is_scarce(limit.limit, limit.remaining):
                self.told[limit.name] = Told(limit, now_us)
            else:
                self.told.pop(limit.name, None)

    def failed(self, error: SpineError, now_us: int) -> None:
        """The target refused for too much: it is held back as long as it asks."""
        if error.retry_after_s and is_too_much(error):
            hold_us = max(0, round(min(error.retry_after_s, _LONGEST_HOLD_S) * 1e6) - _GRACE_US)
            if now_us + hold_us > self.held_until_us:
                self.held_until_us, self.hold_us, self.gap_us = now_us + hold_us, hold_us, 0

    def let_in(self, waiting: int, now_us: int) -> None:
        """One who waited out what the target had asked for goes; so many others follow one after the other.

        All that waited for the same moment would else come at it together. The line is served at twice the rate, at
        least, at which it grew.
        """
        if waiting:
            self.gap_us = self.gap_us or min(_GAP_US, self.hold_us // (2 * waiting))
            self.held_until_us = now_us + self.gap_us
        else:
            self.hold_us = 0

    def has_told(self, now_us: int, waiting: int) -> bool:
        """Whether anything that it told still holds, so many calls waiting before it; what does not is dropped."""
        if self.told:
            self.told = {name: told for name, told in self.told.items() if told.until_us > now_us}
        if now_us >= self.held_until_us and not waiting:
            self.held_until_us = self.hold_us = 0
        return bool(self.told) or self.hold_us > 0


def is_too_much(error: SpineError) -> bool:
    """Whether the provider itself said that it has too much to do."""
    return error.status_code in _TOO_MUCH and isinstance(error, ProviderError) and error.sent


def tells_of_little(headers: RawHeaders) -> bool:
    """Whether an answer's headers tell of a limit that is nearly used up. Cheap, since every answer is asked."""
    left: dict[str, list[int | None]] = {}
    for name, value in headers:
        if (field := _FIELDS[name]) is not None:
            try:
                left.setdefault(field[1], [None, None])[field[0]] = int(value)
            except ValueError:
                pass  # `**`, `100, 100;w=60`: read with care where it matters, not here
    return any(remaining is not None and is_scarce(limit, remaining) for limit, remaining in left.values())


class _Fields(dict[bytes, tuple[int, str] | None]):
    """Of `x-ratelimit-limit-tokens` (0, `tokens`), of `…-remaining-tokens` (1, `tokens`), of other names None.

    Names are worked out once and looked up from then on.
    """

    def __missing__(self, name: bytes) -> tuple[int, str] | None:
        told = rate_limits({name.decode("latin-1"): "1"})
        if len(self) >= _MOST_NAMES:
            self.clear()
        is_of_one = bool(told) and not (told[0].limit is None and told[0].remaining is None)
        found = self[name] = (0 if told[0].remaining is None else 1, told[0].name) if is_of_one else None
        return found


_MOST_NAMES = 2000
_FIELDS = _Fields()


def limits_told(headers: RawHeaders) -> tuple[RateLimit, ...]:
    return rate_limits({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
