"""What processes tell one another of their targets: which are left alone, and how fast they are.

Approximately, and now and then (`State.share`): one process that found a target failing spares the others the
same failures; one that measures nothing believes what another measured. What was only heard is not told on,
or two processes would keep an opening alive between them for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from genai_spine.engine.limits.state import State
from genai_spine.engine.targets import Target, Targets
from genai_spine.model.errors import ProviderNotFound
from genai_spine.policy.route import Choice, NotLocal

RECENT_S = 60.0
"""Only of targets that were asked so lately anything is told."""
_MOST = 1000


class SharedTargets:
    """`SharedTargets(targets).join(state)` once; the rest happens by itself."""

    __slots__ = ("_clock", "_heard", "_targets")

    def __init__(self, targets: Targets, clock: Callable[[], float] = time.monotonic) -> None:
        self._targets = targets
        self._clock = clock
        self._heard: dict[Choice, float] = {}
        """Until when a target is left alone because another process said so."""

    def join(self, state: State) -> None:
        state.share("targets", self.tell, self.hear)

    def tell(self) -> list[list[Any]]:
        """Of each target: provider, model, for how long it is left alone yet, seconds to begin, tokens per second."""
        now_s = self._clock()
        recent = [t for t in self._targets if t.last_s is not None and now_s - t.last_s < RECENT_S]
        return [
            [t.choice.provider, t.choice.model, self._own_opening_s(t, now_s), t.pace.first_s, t.pace.tokens_per_s]
            for t in recent[:_MOST]
        ]

    def hear(self, told: Mapping[str, Any]) -> None:
        now_s = self._clock()
        self._heard = {choice: until_s for choice, until_s in self._heard.items() if until_s > now_s}
        for targets in told.values():
            for provider, model, open_s, first_s, tokens_per_s in targets:
                try:
                    target = self._targets.of(Choice(provider=provider, model=model))
                except (ProviderNotFound, NotLocal):
                    continue  # the other process has settings of its own
                target.pace.heard(first_s, tokens_per_s)
                if open_s and target.breaker.state(now_s) == "closed":
                    target.breaker.leave_alone(now_s, open_s)
                    self._heard[target.choice] = now_s + open_s

    def _own_opening_s(self, target: Target, now_s: float) -> float | None:
        if self._heard.get(target.choice, 0.0) > now_s:
            return None
        return target.breaker.reopens_in_s(now_s) or None
