"""Limits that several processes share, in Redis or Valkey: exact, by one script for each decision.

Every decision is made by `redis_state.lua` at the server, by the server's clock. What this process takes it
counts for itself too, and so goes on when the server is away: after 50 ms at most, and until it is back, each
process keeps to the whole limit by itself. A server that was flushed, or came back empty, is told by each
process, with its next call, what that has taken of the last minute, so that nothing is given out twice; only
what processes took that ask no more is forgotten.

Places of processes that died are free after 15 seconds. Waiters of other processes are not woken: they ask
again each 25 ms, in no order among processes. What is shared beside (`share`) is told each second.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from genai_spine.engine.limits.redis_line import TIMEOUT_S, RedisLine
from genai_spine.engine.limits.server_line import Command
from genai_spine.engine.limits.state import Bucket, Buckets, LocalState, Refusal, Taken, refusal
from genai_spine.policy.concurrency import Places
from genai_spine.policy.limits import MINUTE_US, Rate

PREFIX = "{genai-spine}"
"""Of all keys. In braces, so that a cluster keeps them together: a script sees one place only."""
BEAT_S = 1.0
"""Between two renewals of what is held, and two tellings."""
_MOST_RENEWED = 500

logger = logging.getLogger("genai_spine.state")


class _Topic(NamedTuple):
    tell: Callable[[], Any]
    hear: Callable[[Mapping[str, Any]], None]


class RedisState:
    """Buckets at a server. `State` says what the methods promise."""

    __slots__ = ("_beat", "_clock_ns", "_count", "_held", "_line", "_local", "_loop", "_more", "_process",
                 "_topics", "poll_s")  # fmt: skip

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Raises: ConfigError where the extra is missing or the URL is none of Redis's."""
        self.poll_s: float | None = 0.025
        self._line = RedisLine(url, f"{PREFIX}:probe", timeout_s)
        self._clock_ns = clock_ns
        self._local = LocalState(clock_ns)
        self._process = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._count = itertools.count()
        self._held: dict[str, list[str]] = {}
        self._more: dict[Bucket, int] = {}
        self._topics: dict[str, _Topic] = {}
        self._beat: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server does not answer, so that this process counts by itself."""
        return self._line.is_away

    # ------------------------------------------------------------ taking and settling

    async def take(self, buckets: Buckets, tokens: int) -> Taken | Refusal:
        self._keep_beating()
        id = f"{self._process}-{next(self._count)}"
        if self._line.is_away:
            return self._take_alone(buckets, tokens, id)
        keys = [self._key(bucket) for bucket in buckets]
        args: list[Any] = ["take", id, self._process]
        more = {bucket: self._more.pop(bucket) for bucket in buckets if bucket in self._more} if self._more else {}
        for bucket in buckets:
            mine = self._mine(bucket)
            amount = tokens if bucket.kind == "tokens" else 1
            args += (bucket.kind, bucket.limit, amount, mine, min(mine, more.get(bucket, 0)))

        def undo(answer: list[Any]) -> None:
            if answer[0] == 1:
                self._give_back(buckets, keys, id, tokens, answer)

        answer = await self._line.ask(keys, args, undo)
        if answer is None:
            for bucket, parts in more.items():
                self._more[bucket] = self._more.get(bucket, 0) + parts
            return self._take_alone(buckets, tokens, id)
        if answer[0] == 0:
            return refusal(buckets, [None if wait_us < 0 else wait_us for wait_us in answer[1:]])
        taken = self._local.charge(buckets, tokens)
        taken.id, taken.shared = id, answer[1:]
        self._hold(taken)
        return taken

    def _take_alone(self, buckets: Buckets, tokens: int, id: str) -> Taken | Refusal:
        taken = self._local.take_now(buckets, tokens)
        if isinstance(taken, Taken):
            taken.id = id
            self._hold(taken)
            for bucket in buckets:
                if bucket.kind != "places":
                    amount = tokens if bucket.kind == "tokens" else 1
                    self._more[bucket] = self._more.get(bucket, 0) + min(amount, bucket.limit) * MINUTE_US
        return taken

    def left(self, buckets: Buckets) -> Sequence[int | None]:
        """Only the server knows."""
        return (None,) * len(buckets)

    def settle(self, taken: Taken, tokens: int | None) -> None:
        self._held.pop(taken.id, None)
        self._local.settle(taken, tokens)
        if taken.shared is None:
            self._send_freed(taken)
            return
        keys = [self._key(bucket) for bucket in taken.buckets]
        args: list[Any] = ["settle", taken.id, self._process]
        for index, bucket in enumerate(taken.buckets):
            amount = taken.tokens if bucket.kind == "tokens" else 1
            used = tokens if tokens is not None and bucket.kind == "tokens" else amount
            args += (bucket.kind, bucket.limit, amount, used, *taken.shared[2 * index : 2 * index + 2])
        self._line.send(Command(keys, args))

    def _send_freed(self, taken: Taken) -> None:
        """Of what was taken while the server was away, it may meanwhile know the places."""
        freed = [bucket for bucket in taken.buckets if bucket.kind == "places"]
        if freed:
            args: list[Any] = ["settle", taken.id, self._process]
            for bucket in freed:
                args += (bucket.kind, bucket.limit, 1, 1, "0", "")
            self._line.send(Command([self._key(bucket) for bucket in freed], args))

    def _give_back(self, buckets: Buckets, keys: list[str], id: str, tokens: int, answer: list[Any]) -> None:
        """All of what was taken for one who is gone."""
        args: list[Any] = ["settle", id, self._process]
        for index, bucket in enumerate(buckets):
            amount = tokens if bucket.kind == "tokens" else 1
            args += (bucket.kind, bucket.limit, amount, 0, *answer[2 * index + 1 : 2 * index + 3])
        self._line.send(Command(keys, args))

    def _mine(self, bucket: Bucket) -> int:
        """What this process holds of a bucket: of a rate in parts, of places their number."""
        limit: Rate | Places = self._local.limit(bucket)
        return limit.taken if isinstance(limit, Places) else limit.used(self._clock_ns() // 1000)

    def _hold(self, taken: Taken) -> None:
        if keys := [self._key(bucket) for bucket in taken.buckets if bucket.kind == "places"]:
            self._held[taken.id] = keys

    def _key(self, bucket: Bucket) -> str:
        return f"{PREFIX}:{bucket.key}"

    # ------------------------------------------------------------ now and then

    def share(self, topic: str, tell: Callable[[], Any], hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._topics[topic] = _Topic(tell, hear)

    async def start(self) -> None:
        """Connects, so that the first call need not."""
        self._keep_beating()
        await self._line.ask([], ["renew", "", self._process], _nothing)

    async def close(self) -> None:
        beat, self._beat = self._beat, None
        if beat is not None and self._loop is asyncio.get_running_loop():
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        await self._line.close()

    def _keep_beating(self) -> None:
        if self._beat is None or self._beat.done() or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self._beat = self._loop.create_task(self._beats(), name="spine-shared-state-beat")

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._renew(list(self._held.items()))
            for name, topic in self._topics.items():
                try:
                    await self._exchange(name, topic)
                except Exception:  # of those who share: limits go on
                    logger.exception("sharing %s", name)

    def _renew(self, held: list[tuple[str, list[str]]]) -> None:
        pairs = [(key, id) for id, keys in held for key in keys]
        for begin in range(0, len(pairs), _MOST_RENEWED):
            some = pairs[begin : begin + _MOST_RENEWED]
            self._line.send(Command([key for key, _ in some], ["renew", "", self._process, *(id for _, id in some)]))

    async def _exchange(self, name: str, topic: _Topic) -> None:
        keys = [f"{PREFIX}:shared:{name}", f"{PREFIX}:shared:{name}:processes"]
        told = msgspec.json.encode(topic.tell()).decode()
        answer = await self._line.ask(keys, ["share", "", self._process, told], _nothing)
        if answer:
            others = dict(zip(answer[::2], answer[1::2], strict=True))
            others.pop(self._process, None)
            topic.hear({process: msgspec.json.decode(text) for process, text in others.items()})


def _nothing(_: Any) -> None:
    """Nothing was taken."""
