"""Several keys of one service: which of them is used next, and which are left alone.

    answered         it is used in its turn
    429              it rests as long as the service says, alone and for that model: the others may have room
    401, dead (403)  it is out for `OUT_S`; then one request tries it again
    out of credit    the same: no waiting mends it, somebody's payment may
    another 403      it is barred for `BARRED_S`, for that model alone, unless it answers before

Where none is left, the one that is free soonest is used all the same, as a single key would be: the service's own
answer is what the caller hears. New settings make a new pool, with every key in it.

What a 403 means that does not say that the key is dead: OpenAI's that the key's project may not use the model
(`Project … does not have access to model …`, github.com/cursor/cursor/issues/2953), Google's and Bedrock's the same of
the project or account, Doubleword's anything, a wrong key too (recorded, 2026); another key may well be of another
project. Where it was about something else all the same, all keys hear it, which is why it is soon forgotten.

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
BARRED_S = 60.0
"""How long a key that may not use a model is not tried for it: one request a minute finds out whether it now may."""
_MOST_USES = 1000
"""Callers choose the names of models."""

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

    __slots__ = ("_barred_until_s", "_clock", "_count", "_name", "_out_until_s", "_rests_until_s", "_turn")

    def __init__(self, count: int, name: Callable[[], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._count = count
        self._clock = clock
        self._out_until_s: dict[int, float] = {}
        self._rests_until_s: dict[KeyUse, float] = {}
        self._barred_until_s: dict[KeyUse, float] = {}
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
        if self._barred_until_s:
            self._barred_until_s.pop(use, None)

    def judge(self, use: KeyUse, error: ProviderError) -> None:
        """What an error says of the key that it came for; and the error then says when another key may be tried."""
        now_s = self._clock()
        if isinstance(error, AuthenticationError | QuotaExceeded):
            self._take_out(use.position, error, now_s)
        elif error.type is ErrorType.RATE_LIMIT:
            self.answered(use)
            wanted_s = REST_S if error.retry_after_s is None else error.retry_after_s
            _keep(self._rests_until_s, use, now_s + min(wanted_s, LONGEST_REST_S), now_s)
            error.rate_limits = ()  # this key's alone: whoever kept to them would hold the others back
        elif error.status_code == 403 and error.refused_for is None:
            self._bar(use, now_s)
        else:
            return
        others = (other for at in range(self._count) if not self._is_refused(other := KeyUse(at, use.model), now_s))
        if (soonest_s := min(map(self._free_at_s, others), default=None)) is not None:
            error.retryable = True
            error.retry_after_s = max(0.0, soonest_s - now_s)
            error.has_another_key = soonest_s <= now_s

    def _bar(self, use: KeyUse, now_s: float) -> None:
        if use not in self._barred_until_s:
            logger.warning(
                "%s: key %d of %d may not use %.100r (403) and is left out for it; others are tried",
                self._name(), use.position + 1, self._count, use.model,
            )  # fmt: skip
        _keep(self._barred_until_s, use, now_s + BARRED_S, now_s)

    def _is_refused(self, use: KeyUse, now_s: float) -> bool:
        """Whether it is out, or barred from this model: no waiting of a caller's mends that."""
        return use.position in self._out_until_s or self._barred_until_s.get(use, 0.0) > now_s

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
        return max(
            self._out_until_s.get(use.position, 0.0),
            self._rests_until_s.get(use, 0.0),
            self._barred_until_s.get(use, 0.0) if self._barred_until_s else 0.0,
        )

    def _when_free(self, use: KeyUse) -> tuple[bool, bool, float]:
        """Those that rest come before those that are barred, and these before those that are out."""
        return use.position in self._out_until_s, use in self._barred_until_s, self._free_at_s(use)


def _keep(until_s: dict[KeyUse, float], use: KeyUse, moment_s: float, now_s: float) -> None:
    """Note it, among a bounded number: what is over is dropped first, then what was noted first."""
    if len(until_s) >= _MOST_USES and use not in until_s:
        for over in [each for each, end_s in until_s.items() if end_s <= now_s] or [next(iter(until_s))]:
            del until_s[over]
    until_s[use] = moment_s
