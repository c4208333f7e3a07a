"""The line to a Redis or Valkey server, which runs a script for each command (server_line.py).

Extra `redis` (redis-py 5 or later, read 2026-11: redis.readthedocs.io/en/stable/examples/asyncio_examples.html).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import resources
from typing import Any

from genai_spine.engine.limits.server_line import Command, ServerLine
from genai_spine.model.errors import ConfigError

TIMEOUT_S = 0.05
"""How long the server may take for an answer."""

URL_SHAPES = (
    "that is no URL of a Redis server: it is redis://user:secret@host:6379/0, rediss://… or unix://…, and what is "
    "special in a password is percent-encoded, such as %40 for @ and %2F for /"
)
_SCHEMES = ("redis", "rediss", "unix")
"""Which redis-py reads (`parse_url` of its asyncio/connection.py, read 2026-11)."""
SCRIPT = resources.files("genai_spine.engine.limits").joinpath("redis_state.lua").read_text(encoding="utf-8")

logger = logging.getLogger("genai_spine.state")


class RedisLine(ServerLine):
    __slots__ = ("_make_client", "_probe_key", "_script", "_sha")

    def __init__(
        self, url: str, probe_key: str, timeout_s: float = TIMEOUT_S, *, script: str = SCRIPT, what: str = "limits"
    ) -> None:
        """Raises: ConfigError where the extra is missing or the URL is none of Redis's."""
        super().__init__(url, timeout_s, what)
        self._make_client = _client_of(url)
        self._probe_key = probe_key
        self._script = script
        self._sha = ""

    async def _answers(self, batch: list[Command]) -> list[Any]:
        client = self._client or await self._connect()
        answers = await self._sent(client, batch)
        lost = [index for index, answer in enumerate(answers) if _is_unknown_script(answer)]
        if lost:  # its scripts were flushed
            await client.script_load(self._script)
            for index, answer in zip(lost, await self._sent(client, [batch[index] for index in lost]), strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _sent(self, client: Any, batch: list[Command]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for command in batch:
            pipeline.evalsha(self._sha, len(command.keys), *command.keys, *command.args)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _connect(self) -> Any:
        await self._drop()
        self._client = client = self._make_client()
        self._sha = await client.script_load(self._script)
        return client

    async def _probe(self, client: Any) -> None:
        await client.set(self._probe_key, 1, ex=60)  # one that is full answers a ping too

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.aclose()
            except Exception as error:  # it was broken already
                logger.debug("closing the connection to %s: %s", self.place, error)


def _is_unknown_script(answer: Any) -> bool:
    return isinstance(answer, Exception) and type(answer).__name__ == "NoScriptError"


def _client_of(url: str) -> Callable[[], Any]:
    if url.partition("://")[0].lower() not in _SCHEMES:  # said before the extra, which would not help
        raise ConfigError(f"state.url: {URL_SHAPES}")
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415  # as above
        from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
    except ImportError:
        raise ConfigError("state.url needs the extra: pip install 'genai-spine[redis]'") from None
    never = Retry(NoBackoff(), 0)
    try:
        Redis.from_url(url)
    except ValueError:  # whose words may show a part of the password
        raise ConfigError(f"state.url: {URL_SHAPES}") from None
    return lambda: Redis.from_url(url, decode_responses=True, retry=never)
