"""What holds of a provider's models now, kept until it changes: every call asks."""

from __future__ import annotations

import time
from collections.abc import Callable

from genai_spine.model.card import ModelCard
from genai_spine.policy.standing import Standing, standing_of

_MOST = 1000  # callers choose the names


class Standings:
    """Of one provider whose cards stay as they are. `clock` gives seconds since 1970."""

    __slots__ = ("_card", "_clock", "_found")

    def __init__(self, card: Callable[[str], ModelCard], *, clock: Callable[[], float] = time.time) -> None:
        self._card = card
        self._clock = clock
        self._found: dict[str, Standing] = {}

    def of(self, model: str) -> Standing:
        found, now_s = self._found.get(model), self._clock()
        if found is None or now_s >= found.until_s:
            found = standing_of(self._card(model), now_s)
            if len(self._found) < _MOST or model in self._found:
                self._found[model] = found
        return found
