"""Where answers are kept: memory here; a file or a server behind a shield that keeps their troubles from the calls.

A store takes bytes under a key and gives them back, or nothing. Must not know: what is in them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from genai_spine.model.errors import ConfigError
from genai_spine.settings.cache import CacheSettings

TIMEOUT_S = 0.1
"""How long a store may take for an answer: a call then goes on without."""
_TIMEOUTS = 3
"""So many in a row, and the store counts as away: one alone may be the fault of a busy process."""
_AWAY_S = 2.0
"""Until one call tries again."""
_MOST_PENDING_BYTES = 32_000_000
_ENTRY_BYTES = 400
"""What an entry takes in memory beside its value: its key, its place in the order, their headers (CPython 3.11)."""

logger = logging.getLogger("genai_spine.cache")


class Store(Protocol):
    """All that answers are kept in. `get` and `put` may be called at any time, and raise nothing."""

    async def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep it, now or soon; a `get` after it finds it."""
        ...

    def check(self) -> None:
        """Raises: ConfigError for what waiting does not mend."""
        ...

    async def close(self) -> None: ...


class Memory:
    """The values of this process, at most `most_bytes` of them in all: the ones longest unused go first."""

    __slots__ = ("_clock", "_most_bytes", "_values", "size")

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._values: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._most_bytes = most_bytes
        self._clock = clock
        self.size = 0

    def __len__(self) -> int:
        return len(self._values)

    async def get(self, key: bytes) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        value, until_s = found
        if self._clock() >= until_s:
            self._drop(key)
            return None
        self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        if key in self._values:
            self._drop(key)
        size = len(value) + _ENTRY_BYTES
        if size > self._most_bytes:
            return
        self._values[key] = value, self._clock() + ttl_s
        self.size += size
        while self.size > self._most_bytes:
            self._drop(next(iter(self._values)))

    def check(self) -> None:
        """Memory is there."""

    def _drop(self, key: bytes) -> None:
        value, _ = self._values.pop(key)
        self.size -= len(value) + _ENTRY_BYTES

    async def close(self) -> None:
        self._values.clear()
        self.size = 0


class Backend(Protocol):
    """What may be slow, or fail, in whatever way: it raises then."""

    place: str
    """For the log: without a password."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None: ...
    def check(self) -> None: ...
    async def close(self) -> None: ...


class Shielded:
    """A store that stands elsewhere. It holds up no call for longer than `timeout_s`, and where it fails, none at all
    for a while; that is said once, and again when it is back."""

    __slots__ = ("_away_until_s", "_backend", "_pending", "_tasks", "_timeout_s", "_timeouts", "is_away")

    def __init__(self, backend: Backend, timeout_s: float = TIMEOUT_S) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._timeouts = 0
        self._away_until_s = 0.0
        self._pending: dict[bytes, bytes] = {}
        """What is being put."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_away = False

    async def get(self, key: bytes) -> bytes | None:
        if (value := self._pending.get(key)) is not None:
            return value
        if not self._may_ask():
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await self._backend.get(key)
        except Exception as error:
            self._failed(error)
            return None
        self._answered()
        return value

    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        if self.is_away or sum(map(len, self._pending.values())) + len(value) > _MOST_PENDING_BYTES:
            return
        self._pending[key] = value
        task = asyncio.create_task(self._put(key, value, ttl_s), name="spine-cache-put")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        try:
            async with asyncio.timeout(10 * self._timeout_s):  # nobody waits for it
                await self._backend.put(key, value, ttl_s)
        except Exception as error:
            self._failed(error)
        finally:
            if self._pending.get(key) is value:
                del self._pending[key]

    def check(self) -> None:
        self._backend.check()

    async def close(self) -> None:
        """Once what was put is there, or its time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        try:
            await self._backend.close()
        except Exception as error:  # it was broken already
            logger.debug("closing the cache %s: %s", self._backend.place, error)

    def _may_ask(self) -> bool:
        if not self.is_away:
            return True
        now_s = time.monotonic()
        if now_s < self._away_until_s:
            return False
        self._away_until_s = now_s + _AWAY_S  # this call tries, and no other meanwhile
        return True

    def _answered(self) -> None:
        self._timeouts = 0
        if self.is_away:
            self.is_away = False
            logger.warning("the cache %s answers again", self._backend.place)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TimeoutError) and not self.is_away:
            self._timeouts += 1
            if self._timeouts < _TIMEOUTS:
                return
        self._away_until_s = time.monotonic() + _AWAY_S
        if not self.is_away:
            self.is_away = True
            why = str(error) or f"no answer within {self._timeout_s * 1000:.0f} ms"
            logger.warning("the cache %s is away (%s): calls are answered without it", self._backend.place, why)


def open_store(settings: CacheSettings) -> Store | None:
    """The store that the settings name, or None; nothing is connected to yet. Raises: ConfigError."""
    if settings.url is None:
        return None
    url = settings.url.reveal()
    most_bytes = int(settings.max_mb * 1_000_000)
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return Memory(most_bytes)
    if scheme == "sqlite":
        from genai_spine.engine.caching.cache_sqlite import SqliteBackend  # noqa: PLC0415  # who keeps no file

        return Shielded(SqliteBackend(url, most_bytes))
    if scheme in ("redis", "rediss", "unix"):
        from genai_spine.engine.caching.cache_redis import RedisBackend  # noqa: PLC0415  # an extra

        return Shielded(RedisBackend(url))
    raise ConfigError(
        f"cache.url has the scheme {scheme[:20]!r}: it is `memory:`, `sqlite:///cache.db` or `redis://host:6379/0`"
    )
