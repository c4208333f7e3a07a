"""The same without async: a facade over one background event loop, never a second copy of the code.

    from genai_spine import SyncManager

    with SyncManager.from_settings() as manager:
        print(manager.complete("Why is the sky blue?", model="ollama/llama3.2").content)

Every method of `ProviderManager` that is async is here under its name. Safe to call from any thread; not from
within a running event loop's own callbacks, where it would block the loop: use `ProviderManager` there.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from genai_spine.engine.local_models import LocalModels
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.events import StreamEvent
from genai_spine.model.pull import PullProgress
from genai_spine.model.rerank import RerankResponse
from genai_spine.model.response import CompletionResponse
from genai_spine.providers.status import ProviderStatus
from genai_spine.settings import Settings

T = TypeVar("T")


class SyncManager:
    """A `ProviderManager` for code that waits. `manager` is the one behind it."""

    def __init__(self, manager: ProviderManager) -> None:
        self.manager = manager
        self._portals: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | Path | str | None = None) -> SyncManager:
        """As `ProviderManager.from_settings`. Raises: ConfigError."""
        return cls(ProviderManager.from_settings(settings))

    def __enter__(self) -> SyncManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return self._running().call(function, *args)

    def _running(self) -> BlockingPortal:
        """The background loop, which whichever thread comes first starts."""
        with self._lock:
            if self._portal is None:
                self._portals = start_blocking_portal(name="genai-spine")
                self._portal = self._portals.__enter__()
                self._portal.call(self.manager.start)
            return self._portal

    def complete(self, request: Any = None, **options: Any) -> CompletionResponse:
        """As `ProviderManager.complete`."""
        return self._run(partial(self.manager.complete, request, **options))

    def stream(self, request: Any = None, **options: Any) -> Iterator[StreamEvent]:
        """As `ProviderManager.stream`; leaving the loop early closes the provider's stream."""
        return self._iterate(self.manager.stream(request, **options))

    def text_stream(self, request: Any = None, **options: Any) -> Iterator[str]:
        """As `ProviderManager.text_stream`."""
        return self._iterate(self.manager.text_stream(request, **options))

    def embed(self, request: Any = None, **options: Any) -> EmbeddingResponse:
        """As `ProviderManager.embed`."""
        return self._run(partial(self.manager.embed, request, **options))

    def rerank(self, request: Any = None, **options: Any) -> RerankResponse:
        """As `ProviderManager.rerank`."""
        return self._run(partial(self.manager.rerank, request, **options))

    def run(self, capability: str, /, **members: Any) -> Any:
        """As `ProviderManager.run`."""
        return self._run(partial(self.manager.run, capability, **members))

    def list_models(self, provider: str | None = None, *, refresh: bool = False) -> list[ModelCard]:
        return self._run(partial(self.manager.list_models, provider, refresh=refresh))

    def status(self) -> list[ProviderStatus]:
        return self._run(self.manager.status)

    def get_usage_summary(self) -> dict[str, Any]:
        return self.manager.get_usage_summary()

    generate = chat = complete
    chat_stream = stream
    stream_complete = text_stream

    @property
    def local(self) -> SyncLocalModels:
        """As `ProviderManager.local`."""
        return SyncLocalModels(self, self.manager.local)

    def _iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T | None:
            return await anext(items, None)

        try:
            while (item := self._run(following)) is not None:
                yield item
        finally:
            self._run(items.aclose)  # type: ignore[attr-defined]  # an async generator

    def close(self) -> None:
        """Close connections and the background loop. The facade may be used again afterwards."""
        with self._lock:
            portals, portal = self._portals, self._portal
            self._portals = self._portal = None
        if portals is not None and portal is not None:
            portal.call(self.manager.close)
            portals.__exit__(None, None, None)


class SyncLocalModels:
    """`LocalModels` for code that waits."""

    def __init__(self, facade: SyncManager, models: LocalModels) -> None:
        self._facade = facade
        self._models = models

    def pull(self, model: str) -> Iterator[PullProgress]:
        """As `LocalModels.pull`; leaving the loop early stops the pull."""
        return self._facade._iterate(self._models.pull(model))

    def update(self, model: str | None = None) -> Iterator[PullProgress]:
        return self._facade._iterate(self._models.update(model))

    def show(self, model: str) -> ModelCard:
        return self._facade._run(self._models.show, model)

    def running(self) -> list[ModelCard]:
        return self._facade._run(self._models.running)

    def delete(self, model: str) -> None:
        self._facade._run(self._models.delete, model)

    def copy(self, source: str, destination: str) -> None:
        """As `LocalModels.copy`."""
        self._facade._run(self._models.copy, source, destination)
