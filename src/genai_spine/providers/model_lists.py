"""Providers' lists of models, kept for a while: a gateway is asked for them far more often than they change.

A local provider is asked each time: that costs nothing, and its list changes under its user's hands.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from genai_spine.model.card import ModelCard
from genai_spine.providers.provider import LLMProvider

TTL_S = 300.0


class ModelLists:
    """By provider: its models, and until when they are believed. `clock` counts seconds, and never goes back."""

    def __init__(self, ttl_s: float = TTL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._lists: dict[str, tuple[float, LLMProvider, list[ModelCard]]] = {}

    async def of(self, provider: LLMProvider, *, refresh: bool = False) -> list[ModelCard]:
        """The provider's models; asked anew when the list is old, or `refresh` is wanted. An error is not kept.

        Raises: SpineError.
        """
        kept = self._lists.get(provider.name)
        # Another provider of the same name has taken its place.
        if kept is not None and not refresh and kept[1] is provider and self._clock() < kept[0]:
            return list(kept[2])
        found = await provider.list_models()
        if not getattr(provider, "is_local", False):
            self._lists[provider.name] = (self._clock() + self._ttl_s, provider, found)
        return list(found)

    def forget(self) -> None:
        self._lists.clear()
