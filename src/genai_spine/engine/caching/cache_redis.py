"""Answers in Redis or Valkey, shared by all gateways that name it. What there is room for is the server's to say:
`maxmemory` and `maxmemory-policy allkeys-lru` (redis.io/docs/latest/develop/reference/eviction, read 2026-11).

Extra `redis` (redis-py 5 or later).
"""

from __future__ import annotations

import asyncio
from typing import Any

from genai_spine.engine.limits.redis_line import URL_SHAPES
from genai_spine.model.errors import ConfigError

PREFIX = b"genai-spine:answer:"
_CONNECTIONS = 32
_CONNECT_S = 2.0


class RedisBackend:
    """One for each event loop of the day."""

    __slots__ = ("_client", "_loop", "_url", "place")

    def __init__(self, url: str) -> None:
        """Raises: ConfigError where the extra is missing or the URL is none of Redis's."""
        self._url = url
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        scheme, _, rest = url.partition("://")
        self.place = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        self._make()

    def _make(self) -> Any:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415  # an extra
            from redis.asyncio.retry import Retry  # noqa: PLC0415  # as above
            from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
        except ImportError:
            raise ConfigError("cache.url needs the extra: pip install 'genai-spine[redis]'") from None
        never = Retry(NoBackoff(), 0)
        try:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=_CONNECTIONS,
                timeout=_CONNECT_S,
                socket_connect_timeout=_CONNECT_S,
                retry=never,
            )
        except ValueError:  # whose words may show a part of the password
            raise ConfigError(f"cache.url: {URL_SHAPES}") from None
        return Redis.from_pool(pool)

    def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._make(), loop
        return self._client

    async def get(self, key: bytes) -> bytes | None:
        value: bytes | None = await self._connected().get(PREFIX + key)
        return value

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        await self._connected().set(PREFIX + key, value, px=max(1, int(ttl_s * 1000)))

    def check(self) -> None:
        """A server that is away is waited for."""

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()
