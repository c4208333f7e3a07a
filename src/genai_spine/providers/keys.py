"""Several keys of one service: which of them is used next, and which are left alone.

    answered         it is used in its turn
    429              it rests as long as the service says, alone and for that model: the others may have room
    401, dead (403)  it is out for `OUT_S`; then one request tries it again
    out of credit    the same: no waiting mends it, somebody's payment may

Where none is left, the one that is free soonest is used all the same, as a single key would be: the service's own
answer is what the caller hears. New settings make a new pool, with every key in it.

A key is only ever named by its position. Must not know: the keys, headers, HTTP.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from genai_spine.model.errors import AuthenticationError, ErrorType, ProviderError, QuotaExceeded
from genai_spine.settings import ProviderSettings

OUT_S = 600.0
"""How long a key that was refused is out before it is tried again."""
REST_S = 5.0
"""How long a key rests after a 429 that does not say for how long."""
LONGEST_REST_S = 3600.0
_MOST_RESTS = 1000

logger = logging.getLogger(__name__)


def keys_of(settings: ProviderSettings) -> tuple[str, ...]:
    """`api_key` and those of `api_keys`, each once, in this order; empty where there is none."""
    keys = [settings.api_key] if settings.api_key else []
    return tuple(dict.fromkeys(key.reveal() for key in (*keys, *settings.api_keys) if key))


class KeyUse(NamedTuple):
    """A key, by its position from 0, and the model that it was used for."""

    position: int
    model: str


class KeyPool:
    """So many keys of a provider. `name` tells what it is called; `clock` counts seconds and never goes back."""

    __slots__ = ("_clock", "_count", "_name", "_out_until_s", "_rests_until_s", "_turn")

    def __init__(self, count: int, name: Callable[[], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._count = count
        self._clock = clock
        self._out_until_s: dict[int, float] = {}
        self._rests_until_s: dict[KeyUse, float] = {}
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    @property
    def out(self) -> int:
        """How many are out: refused, or of an account without credit."""
        return len(self._out_until_s)

    @property
    def resting(self) -> int:
        """How many the service has asked to slow down, for one model at least."""
        now_s = self._clock()
        return len({use.position for use, until_s in self._rests_until_s.items() if until_s > now_s})

    def take(self, model: str) -> KeyUse:
        """The next in turn of those that are free for this model; where none is, the one that is free soonest."""
        now_s = self._clock()
        for step in range(self._count):
            use = KeyUse((self._turn + step) % self._count, model)
            if self._free_at_s(use) <= now_s:
                break
        else:
            return min((KeyUse(position, model) for position in range(self._count)), key=self._when_free)
        self._turn = use.position + 1
        if use.position in self._out_until_s:
            self._out_until_s[use.position] = now_s + OUT_S  # this one request tries it, and no other
            logger.info("%s: key %d of %d is tried again", self._name(), use.position + 1, self._count)
        return use

    def answered(self, use: KeyUse) -> None:
        """The service took it: if it was out, it is back."""
        if self._out_until_s and self._out_until_s.pop(use.position, None) is not None:
            logger.info("%s: key %d of %d is good again", self._name(), use.position + 1, self._count)

    def judge(self, use: KeyUse, error: ProviderError) -> None:
        """What an error says of the key that it came for; and the error then says when another key may be tried."""
        now_s = self._clock()
        if isinstance(error, AuthenticationError | QuotaExceeded):
            self._take_out(use.position, error, now_s)
        elif error.type is ErrorType.RATE_LIMIT:
            self.answered(use)
            wanted_s = REST_S if error.retry_after_s is None else error.retry_after_s
            self._rest(use, now_s, min(wanted_s, LONGEST_REST_S))
            error.rate_limits = ()  # this key's alone: whoever kept to them would hold the others back
        else:
            return
        others = (KeyUse(at, use.model) for at in range(self._count) if at not in self._out_until_s)
        if (soonest_s := min(map(self._free_at_s, others), default=None)) is not None:
            error.retryable = True
            error.retry_after_s = max(0.0, soonest_s - now_s)
            error.has_another_key = soonest_s <= now_s

    def _rest(self, use: KeyUse, now_s: float, for_s: float) -> None:
        if len(self._rests_until_s) >= _MOST_RESTS:  # callers choose the names of models
            self._rests_until_s = {use: until_s for use, until_s in self._rests_until_s.items() if until_s > now_s}
        self._rests_until_s[use] = now_s + for_s

    def _take_out(self, position: int, error: ProviderError, now_s: float) -> None:
        is_new = position not in self._out_until_s
        self._out_until_s[position] = now_s + OUT_S
        if is_new:
            logger.warning(
                "%s: key %d of %d is left out for %g minutes (%s, %s); %d left",
                self._name(), position + 1, self._count, OUT_S / 60, error.type, error.status_code,
                self._count - len(self._out_until_s),
            )  # fmt: skip

    def _free_at_s(self, use: KeyUse) -> float:
        return max(self._out_until_s.get(use.position, 0.0), self._rests_until_s.get(use, 0.0))

    def _when_free(self, use: KeyUse) -> tuple[bool, float]:
        """Those that rest come before those that are out."""
        return use.position in self._out_until_s, self._free_at_s(use)
