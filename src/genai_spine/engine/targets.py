"""The live state of every target that was asked: is it left alone, how fast is it, how much is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from genai_spine.policy.breaker import Breaker
from genai_spine.policy.pace import Pace
from genai_spine.policy.retry import RetryBudget
from genai_spine.policy.route import Choice
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.keys import KeyPool
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import Settings

Ear = Callable[[str, list[tuple[bytes, bytes]]], None]

_MOST = 10_000
"""Callers may name models of their own making: beyond so many, what has least to tell is forgotten."""
_MOST_KEYS = 32
"""Of a provider that tells of another key and not how many there are, being somebody else's."""


class Target:
    """One model of one provider, as the calls of this process have found it."""

    __slots__ = ("breaker", "choice", "in_flight", "last_s", "pace", "provider", "retries")

    def __init__(self, choice: Choice, provider: LLMProvider, settings: Settings) -> None:
        self.choice = choice
        self.provider = provider
        self.breaker = Breaker(settings.breaker)
        self.pace = Pace()
        self.retries = RetryBudget(settings.retry.budget)
        self.in_flight = 0
        self.last_s: float | None = None
        """When an attempt last ended (monotonic)."""

    @property
    def keeps_time(self) -> bool:
        """Whether the provider keeps the timeouts of its settings by itself, as ours do."""
        return isinstance(self.provider, HttpProvider)

    @property
    def other_keys(self) -> int:
        """How many keys its provider has beside the one that it was asked with."""
        keys = getattr(self.provider, "keys", None)
        return len(keys) - 1 if isinstance(keys, KeyPool) else _MOST_KEYS

    @property
    def context_window(self) -> int | None:
        return self.provider.card(self.choice.model).context_window


class Targets:
    """`of(choice)` is its one `Target`, made when it is first asked for."""

    __slots__ = ("_by_choice", "_ear_of", "_of_agents", "_registry", "_settings")

    def __init__(
        self, registry: ProviderRegistry, settings: Settings, ear_of: Callable[[str], Ear] | None = None
    ) -> None:
        """`ear_of` gives, by provider, who is told the model and the headers of each of its answers."""
        self._ear_of = ear_of
        self._registry = registry
        self._settings = settings
        self._by_choice: dict[Choice, Target] = {}
        self._of_agents: dict[Choice, Target] = {}  # as many as are configured

    def of(self, choice: Choice) -> Target:
        """Raises: ProviderNotFound."""
        found = self._by_choice.get(choice)
        if found is None:
            if choice.agent is not None:
                return self._of_agent(choice)
            if len(self._by_choice) >= _MOST:
                self._forget()
            provider = self._registry.get(choice.provider)
            if self._ear_of is not None and isinstance(provider, HttpProvider) and provider.on_head is None:
                provider.on_head = self._ear_of(choice.provider)
            found = self._by_choice[choice] = Target(choice, provider, self._settings)
        return found

    def _of_agent(self, choice: Choice) -> Target:
        """An agent has a temperature of its own, and its model's breaker, pace and retries."""
        plain = self.of(msgspec.structs.replace(choice, agent=None))
        found = self._of_agents.get(choice)
        if found is None:
            found = self._of_agents[choice] = Target(choice, plain.provider, self._settings)
        found.breaker, found.pace, found.retries = plain.breaker, plain.pace, plain.retries
        return found

    def of_provider(self, id: str) -> list[Target]:
        return [target for target in self if target.choice.provider == id]

    def __iter__(self) -> Iterator[Target]:
        return iter(list(self._by_choice.values()))

    def __len__(self) -> int:
        return len(self._by_choice)

    def _forget(self) -> None:
        """Drop half of those of which nothing is under way: what never answered first, then what was asked long ago."""
        idle = [target for target in self._by_choice.values() if target.in_flight == 0]
        idle.sort(key=lambda target: (target.pace.count > 0, target.last_s or 0.0))
        for target in idle[: len(idle) // 2 + 1]:
            del self._by_choice[target.choice]
