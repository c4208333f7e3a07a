"""Providers that keep models on a machine of the user's, and one pull for all who wait for it.

A provider that can be asked for more than answers is an `LLMProvider` and a `ModelStore`; `spine models` and
`ProviderManager.local` work with any of them. Must not know: Ollama, HTTP.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from genai_spine.model.card import ModelCard
from genai_spine.model.pull import PullProgress


class ModelStore(ABC):
    """Models that can be fetched, looked at and removed. All raise ProviderError."""

    @abstractmethod
    def pull(self, model: str) -> AsyncIterator[PullProgress]:
        """Fetch a model, or what is new of it. Ends after "success"; leaving the loop early stops the pull."""

    @abstractmethod
    def update(self, model: str | None = None) -> AsyncIterator[PullProgress]:
        """Fetch what is new of a model, or of every model that is there."""

    @abstractmethod
    async def show(self, model: str) -> ModelCard:
        """What is known of a model that is there."""

    @abstractmethod
    async def running(self) -> list[ModelCard]:
        """The models in memory; their cards' `extra` says since when and how large."""

    @abstractmethod
    async def delete(self, model: str) -> None: ...

    @abstractmethod
    async def copy(self, source: str, destination: str) -> None:
        """A second name for a model."""


class SharedPulls:
    """The pulls under way, each once, however many calls wait for it.

    A pull goes on while anybody waits; when the last one leaves, it is stopped.
    """

    def __init__(self, pull: Callable[[str], AsyncIterator[PullProgress]]) -> None:
        self._pull = pull
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[asyncio.Task[None], int] = {}

    async def wait_for(self, model: str) -> None:
        """Returns when the model is there. Raises: what the pull raises, to everyone who waits."""
        task = self._tasks.get(model)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._tasks[model] = asyncio.create_task(self._run(model))
        self._waiting[task] = self._waiting.get(task, 0) + 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                task.cancel()  # nothing, where it is done
                if self._tasks.get(model) is task:
                    del self._tasks[model]

    async def _run(self, model: str) -> None:
        async for _ in self._pull(model):
            pass
