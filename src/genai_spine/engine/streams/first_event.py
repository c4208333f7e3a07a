"""How long a stream may take to say something.

A transport's own clocks run to the answer's head and between its bytes; a provider that sends pings or an empty
beginning for ever keeps both. No timer is made for each stream: who waits is noted with a deadline, and one look at
all of them every `TICK_S` finds those that are late; so a timeout is late by at most a tick, never early.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from genai_spine.model.errors import ProviderTimeout, StreamBroken
from genai_spine.providers.agent import AgentProvider
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.overrides import in_force
from genai_spine.providers.provider import LLMProvider

T = TypeVar("T")

TICK_S = 0.1
_LATE = -1.0


class _Waiting:
    """The tasks of one event loop that wait for a first event, each with its deadline."""

    __slots__ = ("_is_watched", "deadlines", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.deadlines: dict[asyncio.Task[Any], float] = {}
        self.loop = loop
        self._is_watched = False

    def add(self, task: asyncio.Task[Any], limit_s: float) -> None:
        self.deadlines[task] = self.loop.time() + limit_s
        if not self._is_watched:
            self._is_watched = True
            self.loop.call_later(TICK_S, self._look)

    def is_late(self, task: asyncio.Task[Any], cancelling: int) -> bool:
        """Whether a task was cancelled by the look, and by nobody else since it was so often; as asyncio.timeout finds
        out."""
        return self.deadlines[task] == _LATE and task.uncancel() <= cancelling

    def _look(self) -> None:
        now = self.loop.time()
        for task, deadline in list(self.deadlines.items()):
            if _LATE < deadline <= now:
                self.deadlines[task] = _LATE
                task.cancel()
        self._is_watched = bool(self.deadlines)
        if self._is_watched:
            self.loop.call_later(TICK_S, self._look)


_latest: list[_Waiting] = []
"""Of the loop that was last asked for: as a rule there is one in a process. With several each begins anew, and those
that wait already keep theirs."""


def _waiting_in(loop: asyncio.AbstractEventLoop) -> _Waiting:
    latest = _latest[0] if _latest else None
    if latest is None or latest.loop is not loop:
        latest = _Waiting(loop)
        _latest[:] = [latest]
    return latest


async def first_of(pieces: AsyncGenerator[T, None], provider: LLMProvider, model: str | None) -> T:
    """The first piece of a stream, in the time that a provider over HTTP has for it; others are not bounded here.

    Raises: ProviderTimeout; StreamBroken, where there is none; what the stream raises.
    """
    begun = time.perf_counter()
    task = asyncio.current_task()
    waiting, cancelling = None, 0
    behind = provider.provider if isinstance(provider, AgentProvider) else provider
    limit_s = in_force(behind.timeouts).first_byte_s if isinstance(behind, HttpProvider) else None
    if limit_s is not None and task is not None:
        waiting, cancelling = _waiting_in(task.get_loop()), task.cancelling()
        waiting.add(task, limit_s)
    try:
        return await anext(pieces)
    except StopAsyncIteration:
        raise provider.failed(StreamBroken("the provider's stream was empty"), model, begun) from None
    except asyncio.CancelledError:
        if waiting is None or task is None or not waiting.is_late(task, cancelling):
            raise
        why = f"no first token within {limit_s:g} s"
        raise provider.failed(ProviderTimeout(why, code="first_token_timeout"), model, begun) from None
    finally:
        if waiting is not None and task is not None:
            del waiting.deadlines[task]
