"""Model services for a simulation: what they can bear, and what befalls them.

An `Upstream` is the service: so many answers at a time, a queue before them, a limit of requests per minute, and
spells of bad weather. A `SimulatedService` is the provider that the engine asks, which knows nothing of it but the
answers. What makes overload last in real life is here on purpose: a service works on what it has accepted, whether
or not anyone still waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

from genai_spine import (
    APIConnectionError,
    CompletionResponse,
    FinishReason,
    LLMProvider,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    RateLimitError,
    ServerError,
    Text,
    TokenUsage,
)
from genai_spine.model.card import ModelCard, Price
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent

Kind = Literal["refused", "errors", "silent", "slow", "flaky", "small"]

MODEL = "model"
INPUT_TOKENS = 500
SOON_S = 0.05
"""How soon a service says no."""


class Spell(NamedTuple):
    """What a service suffers for a while.

    `refused`: no connection. `errors`: 500. `silent`: no answer ever. `slow`: `strength` times slower. `flaky`: 500
    with the probability `strength`. `small`: only `strength` answers at a time.
    """

    kind: Kind
    begins_s: float
    ends_s: float
    strength: float = 1.0


class Nature(NamedTuple):
    """What a service is like in good weather."""

    name: str
    places: int
    """Answers that it works on at a time."""
    queue: int = 0
    """Requests that it lets wait; beyond these it says that it is overloaded."""
    first_s: float = 0.5
    tokens_per_s: float = 80.0
    tail: float = 0.0
    """Probability that an answer takes ten times as long to begin."""
    per_min: int | None = None
    burst: int = 100
    """How many of a minute's requests may come at once."""
    window_s: float | None = None
    """The limit is of windows of so many seconds, as many at once as one holds; None: it flows evenly."""
    tells_retry_after: bool = True
    is_local: bool = False
    usd: float = 1.0
    """Of a million tokens; output costs four times as much."""


class Job:
    """An accepted request: `begun` gives its pace once there is a place for it, 1 where all is well."""

    __slots__ = ("begun", "done", "is_wanted", "seconds")

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.seconds = seconds
        self.begun: asyncio.Future[float] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.is_wanted = True

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Who leaves this block before its end is not there any more when the job is done."""
        try:
            yield
        except BaseException:
            self.is_wanted = False
            raise


class Upstream:
    """One service. Everything counted is by second."""

    def __init__(self, nature: Nature, spells: Sequence[Spell], rng: Random) -> None:
        self.nature = nature
        self.spells = tuple(spells)
        self._rng = rng
        self._busy = 0
        self._waiting: deque[Job] = deque()
        self._credit = float(nature.burst)
        self._credit_at_s = 0.0
        self.arrivals: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.moments_s: list[float] = []
        """When each request came."""
        self.in_vain = 0
        """Answers that nobody waited for any more."""

    async def accept(self, seconds: float) -> Job:
        """A place, or one in the queue, for an answer of so many seconds. Raises: ProviderError."""
        now_s = time.monotonic()
        self.arrivals[int(now_s)] += 1
        self.moments_s.append(now_s)
        if self._spell("silent"):
            await asyncio.sleep(1e6)
        error = self._refusal(now_s)
        if error is not None:
            self.refused[int(now_s)] += 1
            await asyncio.sleep(SOON_S)
            raise error
        job = Job(seconds)
        if self._busy < self._places:
            self._start(job)
        else:
            self._waiting.append(job)
        return job

    def _refusal(self, now_s: float) -> ProviderError | None:
        if self._spell("refused"):
            return APIConnectionError("connection refused", sent=False)
        flaky = self._spell("flaky")
        if self._spell("errors") or (flaky is not None and self._rng.random() < flaky.strength):
            return ServerError("internal error")
        wait_s = self._limited_s(now_s)
        if wait_s is not None:
            return RateLimitError("too many requests", retry_after_s=wait_s if self.nature.tells_retry_after else None)
        if self._busy >= self._places and len(self._waiting) >= self.nature.queue:
            return Overloaded("overloaded")
        return None

    def _start(self, job: Job) -> None:
        self._busy += 1
        slow = self._spell("slow")
        pace = slow.strength if slow is not None else 1.0
        if not job.begun.done():
            job.begun.set_result(pace)
        asyncio.get_running_loop().call_later(pace * job.seconds, self._end, job)

    def _end(self, job: Job) -> None:
        self._busy -= 1
        if job.is_wanted:
            self.answered[int(time.monotonic())] += 1
            if not job.done.done():
                job.done.set_result(None)
        else:
            self.in_vain += 1
        while self._waiting and self._busy < self._places:
            self._start(self._waiting.popleft())

    def _spell(self, kind: Kind) -> Spell | None:
        now_s = time.monotonic()
        return next((s for s in self.spells if s.kind == kind and s.begins_s <= now_s < s.ends_s), None)

    @property
    def _places(self) -> int:
        small = self._spell("small")
        return int(small.strength) if small is not None else self.nature.places

    def _limited_s(self, now_s: float) -> float | None:
        """Seconds until the limit per minute has room; None where it has."""
        nature = self.nature
        if nature.per_min is None:
            return None
        if nature.window_s is None:
            self._credit = min(nature.burst, self._credit + (now_s - self._credit_at_s) * nature.per_min / 60)
            self._credit_at_s = now_s
        elif now_s >= self._credit_at_s + nature.window_s:
            self._credit = nature.per_min * nature.window_s / 60
            self._credit_at_s = now_s - now_s % nature.window_s
        if self._credit >= 1:
            self._credit -= 1
            return None
        if nature.window_s is None:
            return (1 - self._credit) * 60 / nature.per_min
        return self._credit_at_s + nature.window_s - now_s


class SimulatedService(LLMProvider):
    """The provider of an `Upstream`. It keeps the time to the first byte itself, as those over HTTP do."""

    def __init__(
        self,
        upstream: Upstream,
        rng: Random,
        first_token_s: float,
        watched: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """`watched` is entered for as long as a request of this service is under way."""
        self.upstream = upstream
        self.name = upstream.nature.name
        self.is_local = upstream.nature.is_local
        self._rng = rng
        self._first_token_s = first_token_s
        self._watched = watched
        self._card = _card(self.name, upstream.nature.usd)

    @property
    def default_model(self) -> str:
        return MODEL

    def card(self, model: str | None = None) -> ModelCard:
        return self._card

    async def complete(self, request: Any) -> CompletionResponse:
        first_s, rest_s, tokens = self._drawn()
        with self._watched(self.name):
            async with self._in_time():
                job = await self.upstream.accept(first_s + rest_s)
                with job.waited_for():
                    await job.done
        return CompletionResponse(
            model=MODEL, parts=(Text(text="…"),), usage=_usage(tokens), finish_reason=FinishReason.STOP
        )

    async def stream(self, request: Any) -> AsyncGenerator[StreamEvent, None]:
        first_s, rest_s, tokens = self._drawn()
        with self._watched(self.name):
            async with self._in_time():
                job = await self.upstream.accept(first_s + rest_s)
                with job.waited_for():
                    await asyncio.sleep(await job.begun * first_s)
            with job.waited_for():
                yield MessageStart(model=MODEL)
                yield PartStart(index=0, part=Text(text=""))
                yield PartDelta(0, "…")
                await job.done
                yield PartEnd(index=0)
                yield MessageEnd(finish_reason=FinishReason.STOP, usage=_usage(tokens))

    def _drawn(self) -> tuple[float, float, int]:
        """Seconds to the first token, seconds of all others, and how many there are."""
        nature, rng = self.upstream.nature, self._rng
        first_s = nature.first_s * rng.lognormvariate(0.0, 0.4)
        if nature.tail and rng.random() < nature.tail:
            first_s *= 10
        tokens = max(1, min(1000, int(rng.lognormvariate(5.3, 0.6))))  # half are below 200
        return first_s, tokens / (nature.tokens_per_s * rng.lognormvariate(0.0, 0.2)), tokens

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(self._first_token_s):
                yield
        except TimeoutError as error:
            raise ProviderTimeout("no first byte in time", code="first_byte_timeout") from error


def _card(provider: str, usd: float) -> ModelCard:
    price = Price(input=Decimal(str(usd)), output=Decimal(str(4 * usd)))
    return ModelCard(id=MODEL, provider=provider, price=price, prices=(price,))


@cache
def _usage(tokens: int) -> TokenUsage:
    return TokenUsage(input_tokens=INPUT_TOKENS, output_tokens=tokens)
