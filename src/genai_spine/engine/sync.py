"""The same without async: a facade over one background event loop, never a second copy of the code.

    from genai_spine import SyncManager

    with SyncManager.from_settings() as manager:
        print(manager.complete("Why is the sky blue?", model="ollama/llama3.2").content)

What a program calls of a `ProviderManager` is here under its name. Safe to call from any thread; not from
within a running event loop's own callbacks, where it would block the loop: use `ProviderManager` there. Nor in a
process that was forked after the first call, which has no copy of the loop: each makes its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, Unpack

from genai_spine.engine.keywords import CompleteCall, EmbedCall, RerankCall, StreamCall
from genai_spine.engine.local_models import LocalModels
from genai_spine.engine.manager import ManagerConfig, ProviderManager
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.errors import ConfigError
from genai_spine.model.events import StreamEvent
from genai_spine.model.pull import PullProgress
from genai_spine.model.rerank import RerankResponse
from genai_spine.model.response import CompletionResponse, UsageTotals
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.status import ProviderMetrics, ProviderStatus
from genai_spine.settings import Settings

T = TypeVar("T")


class SyncManager:
    """A `ProviderManager` for code that waits. `manager` is the one behind it."""

    def __init__(self, manager: ProviderManager) -> None:
        """Raises: ConfigError."""
        if not isinstance(manager, ProviderManager):
            mend = "settings, a mapping of them or a file go to SyncManager.from_settings"
            raise ConfigError(f"expected a ProviderManager, got {type(manager).__name__}: {mend}")
        self.manager = manager
        self._loop: _Loop | None = None
        self._end: Callable[[], object] | None = None
        self._ending: _Loop | None = None
        self._within = 0  # blocks of `with`
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | Path | str | None = None) -> SyncManager:
        """As `ProviderManager.from_settings`. Raises: ConfigError."""
        return cls(ProviderManager.from_settings(settings))

    @classmethod
    def new_ollama(cls, config: Mapping[str, Any] | None = None) -> SyncManager:
        """As `ProviderManager.new_ollama`."""
        return cls(ProviderManager.new_ollama(config))

    def with_fallback(self, provider: LLMProvider) -> SyncManager:
        """As `ProviderManager.with_fallback`."""
        self.manager.with_fallback(provider)
        return self

    def with_config(self, config: ManagerConfig) -> SyncManager:
        """As `ProviderManager.with_config`."""
        self.manager.with_config(config)
        return self

    def __enter__(self) -> SyncManager:
        with self._lock:
            self._within += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Closes, unless another thread is within a block of its own."""
        with self._lock:
            self._within -= 1
            is_last = self._within == 0
        if is_last:
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SyncManager cannot be pickled or copied: make one of the settings in each process")

    def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return self._running().call(function, *args)

    def _running(self) -> _Loop:
        """The background loop, which whichever thread comes first starts. Raises: ConfigError."""
        if self._loop is not None:
            return self._loop
        if (ending := self._ending) is not None:
            ending.check_thread()
        with self._lock:  # one that ends is waited for: both have the same manager
            if self._loop is None:
                loop = _Loop(self.manager)
                # Who closes nothing loses no entry of the ledger: it ends with the program, or when it is dropped.
                self._end = weakref.finalize(self, loop.close)
                self._loop = loop
            return self._loop

    def start(self) -> None:
        """As `ProviderManager.start`; the first call does the same. Raises: ConfigError."""
        self._running()

    def complete(self, request: Any = None, **options: Unpack[CompleteCall]) -> CompletionResponse:
        """As `ProviderManager.complete`."""
        return self._run(partial(self.manager.complete, request, **options))

    def stream(self, request: Any = None, **options: Unpack[StreamCall]) -> Generator[StreamEvent, None, None]:
        """As `ProviderManager.stream`; leaving the loop early closes the provider's stream."""
        return self._iterate(self.manager.stream(request, **options))

    def text_stream(self, request: Any = None, **options: Unpack[StreamCall]) -> Generator[str, None, None]:
        """As `ProviderManager.text_stream`."""
        return self._iterate(self.manager.text_stream(request, **options))

    def embed(self, request: Any = None, **options: Unpack[EmbedCall]) -> EmbeddingResponse:
        """As `ProviderManager.embed`."""
        return self._run(partial(self.manager.embed, request, **options))

    def rerank(self, request: Any = None, **options: Unpack[RerankCall]) -> RerankResponse:
        """As `ProviderManager.rerank`."""
        return self._run(partial(self.manager.rerank, request, **options))

    def run(self, capability: str, /, **members: Any) -> Any:
        """As `ProviderManager.run`."""
        return self._run(partial(self.manager.run, capability, **members))

    def list_models(self, provider: str | None = None, *, refresh: bool = False) -> list[ModelCard]:
        return self._run(partial(self.manager.list_models, provider, refresh=refresh))

    def status(self) -> list[ProviderStatus]:
        return self._run(self.manager.status)

    def metrics(self) -> dict[str, ProviderMetrics]:
        return self.manager.metrics()

    def usage(self) -> dict[str, UsageTotals]:
        return self.manager.usage()

    def get_usage_summary(self) -> dict[str, Any]:
        return self.manager.get_usage_summary()

    def reset_all_usage(self) -> None:
        self.manager.reset_all_usage()

    generate = chat = complete
    chat_stream = stream
    stream_complete = text_stream

    @property
    def local(self) -> SyncLocalModels:
        """As `ProviderManager.local`."""
        return SyncLocalModels(self, self.manager.local)

    def _iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        async def following() -> T | None:
            return await anext(items, None)

        loop = self._running()
        loop.open.add(items)
        try:
            while (item := loop.call(following)) is not None:
                yield item
        finally:
            loop.leave(items)

    def close(self) -> None:
        """Close connections and the background loop. The facade may be used again afterwards."""
        with self._lock:
            end, self._end = self._end, None
            self._ending, self._loop = self._loop, None
            try:
                if end is not None:
                    end()
            finally:
                self._ending = None


class _Loop:
    """An event loop in a thread of its own, with the manager started in it. Raises: ConfigError."""

    def __init__(self, manager: ProviderManager) -> None:
        if sys.is_finalizing():
            raise RuntimeError("the program is at its end: a SyncManager cannot begin any more")
        self._manager = manager
        self._process = os.getpid()
        self.open: set[AsyncIterator[Any]] = set()
        """Streams that are read from it."""
        self._calls: set[asyncio.Task[Any]] = set()
        self._is_over = False
        self._door = threading.Lock()  # who passes it before the end is served
        begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._serve, args=(begun,), name="genai-spine", daemon=True)
        self._thread.start()
        self._loop, self._over = begun.result()
        try:
            self.call(manager.start)
        except BaseException:  # it has not begun, and the next call is to hear the same
            self.close()
            raise

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """What the function brings in the loop. Raises: RuntimeError where that is over, or of another process."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "a SyncManager that was used before a fork is of no use after it: make one in each process"
            )
        self.check_thread()
        with self._door:
            if self._is_over or self._loop.is_closed():
                raise RuntimeError("the SyncManager was closed while this was under way: ask it anew")
            future = asyncio.run_coroutine_threadsafe(self._called(function, args), self._loop)
        try:
            outcome = future.result()
        except BaseException:
            future.cancel()  # who is interrupted while he waits, by Ctrl-C, pays for nothing that he does not get
            raise
        if isinstance(outcome, _Left):
            raise outcome.by
        return outcome

    async def _called(self, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T | _Left:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await function(*args)
        except (SystemExit, KeyboardInterrupt) as error:  # a provider's own: it is not to end the loop of all others
            return _Left(error)
        finally:
            self._calls.discard(task)

    def check_thread(self) -> None:
        """Raises: RuntimeError in the loop's own thread, which would wait for itself."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a SyncManager cannot be asked from within its own event loop, as by a provider or a callback of its "
                "manager: await the ProviderManager that is at its `manager`"
            )

    def leave(self, items: AsyncIterator[Any]) -> None:
        """End a stream, unless `close` has."""
        if items not in self.open:
            return
        if threading.current_thread() is self._thread:  # where who read it happened to be collected
            threading.Thread(target=self.leave, args=(items,)).start()
            return
        self.open.discard(items)
        self.call(_end, items)

    def close(self) -> None:
        """End the manager and then the loop; in a process that was forked, where there is none, nothing. Nor where the
        program has all but ended, since no thread but this one runs any more: what was begun in its `atexit`."""
        if os.getpid() != self._process or sys.is_finalizing():
            return
        if threading.current_thread() is self._thread:  # where a facade happened to be collected
            threading.Thread(target=self.close).start()
            return
        try:
            self.call(self._close)
        finally:
            with self._door, suppress(RuntimeError):  # where the loop has ended by itself
                self._is_over = True
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    async def _close(self) -> None:
        while self.open:  # so that the ledger still hears of them
            with suppress(RuntimeError):  # another thread reads it at this moment
                await self.open.pop().aclose()  # type: ignore[attr-defined]  # an async generator
        await self._manager.close()

    def _serve(self, begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        async def until_over() -> None:
            over = asyncio.Event()
            begun.set_result((asyncio.get_running_loop(), over))
            await over.wait()
            while self._calls:  # of other threads
                await asyncio.wait(self._calls)

        try:
            asyncio.run(until_over())
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)


class _Left(NamedTuple):
    by: BaseException


async def _end(items: Any) -> None:
    """End an async generator, also one whose reader was interrupted and is on its way out of it."""
    while items.ag_running:  # noqa: ASYNC110  # nothing tells when it is out
        await asyncio.sleep(0.001)
    await items.aclose()


class SyncLocalModels:
    """`LocalModels` for code that waits."""

    def __init__(self, facade: SyncManager, models: LocalModels) -> None:
        self._facade = facade
        self._models = models

    def pull(self, model: str) -> Generator[PullProgress, None, None]:
        """As `LocalModels.pull`; leaving the loop early stops the pull."""
        return self._facade._iterate(self._models.pull(model))

    def update(self, model: str | None = None) -> Generator[PullProgress, None, None]:
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
