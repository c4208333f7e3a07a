"""`GET /metrics`: what Prometheus, or whatever reads its text, asks a gateway.

Counted are calls as the ledger has them (engine/metrics/calls.py), HTTP requests, and how late the event loop is. The
rest is looked up when somebody asks: breakers, budgets, the state of the ledger. Where the gateway is several
processes, the one that is asked answers for all (neighbours.py).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from genai_spine import __version__
from genai_spine.engine.metrics.calls import MOST_MODELS, CallMetrics
from genai_spine.engine.metrics.families import DURATIONS_S, SHORT_S, Family, Histogram, Merge, Sample, merged
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.neighbours import Neighbours
from genai_spine.gateway.request import Request
from genai_spine.model.errors import InvalidRequest

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

TICK_S = 0.5
TOLD_EVERY = 2
"""Ticks, between two times that a process tells its neighbours its numbers."""

_BUDGET = {"limit": "The most that may be spent", "spent": "What is spent", "reserved": "What is set aside for calls"}


class GatewayMetrics:
    """Of one process. `observe` is told each HTTP request that is over."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._calls = CallMetrics()
        gateway.manager.traffic.watch(self._calls.take)
        self._requests: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, Histogram] = {}
        self._overhead = Histogram(SHORT_S)
        self._lag = Histogram(SHORT_S)
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._neighbours: Neighbours | None = None
        self._telling: asyncio.Future[None] | None = None

    def observe(self, request: Request, record: CallRecord) -> None:
        path = self._gateway.path_of(request)
        took_s = time.perf_counter() - request.begun
        self._requests[path, str(request.status)] += 1
        durations = self._durations.get(path)
        if durations is None:
            durations = self._durations[path] = Histogram(DURATIONS_S)
        durations.observe(took_s)
        attempts = record.attempts
        if len(attempts) == 1 and request.status == 200 and not record.is_shared:
            self._overhead.observe(max(0.0, took_s - (attempts[0].duration_s or 0.0)))

    # ------------------------------------------------------------ beside the requests

    def start(self, neighbours: Neighbours | None) -> None:
        self._neighbours = neighbours
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._tick, time.monotonic() + TICK_S)

    def _tick(self, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        now_s = time.monotonic()
        self._timer = loop.call_later(TICK_S, self._tick, now_s + TICK_S)
        self._lag.observe(max(0.0, now_s - due_s))
        self._ticks += 1
        is_told = self._telling is None or self._telling.done()
        if self._neighbours is not None and is_told and self._ticks % TOLD_EVERY == 0:
            self._telling = loop.run_in_executor(None, self._neighbours.tell, self.own())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            await self._telling
        if self._neighbours is not None:
            self._neighbours.tell(self.own())

    # ------------------------------------------------------------ the numbers

    def own(self) -> list[Family]:
        """Those of this process, and of the one whose place it has taken."""
        before = self._neighbours.before if self._neighbours is not None else []
        return merged([before, [*self._calls.families(), *self._http(), *self._state()]])

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Those of all processes, and the content type; in a thread, since they may be many."""
        return await asyncio.to_thread(self._written, self.own(), accept)

    def _written(self, own: list[Family], accept: str) -> tuple[bytes, str]:
        from genai_spine.gateway.exposition import exposition  # noqa: PLC0415  # only where somebody asks

        if self._neighbours is None:
            return exposition(own, None, accept)
        others = self._neighbours.others()
        pids = [os.getpid(), *(told.pid for told in others if told.pid)]
        return exposition(merged([own, *(told.families for told in others)]), pids, accept)

    def _http(self) -> Iterator[Family]:
        requests = [Sample(labels, count) for labels, count in self._requests.items()]
        yield Family(
            name="spine_http_requests",
            kind="counter",
            help="HTTP requests that are over; status 499: the caller left.",
            labels=("path", "status"),
            samples=requests,
        )
        durations = [histogram.sample(path) for path, histogram in self._durations.items()]
        name = "spine_http_request_duration_seconds"
        yield _histogram(
            name, "Time from a request's head to the end of its answer.", durations, DURATIONS_S, ("path",)
        )
        overhead = "Time of answered requests outside of their only attempt, waits for limits included."
        yield _histogram("spine_overhead_seconds", overhead, [self._overhead.sample()], SHORT_S)
        lag = "How late the event loop ran a timer, twice a second."
        yield _histogram("spine_event_loop_lag_seconds", lag, [self._lag.sample()], SHORT_S)

    def _state(self) -> Iterator[Family]:
        gateway = self._gateway
        manager = gateway.manager
        yield _gauge(
            "build_info",
            "The version, as a label of the value 1.",
            ("version",),
            [((__version__,), 1)],
            "max",
        )
        yield _gauge("http_requests_in_progress", "HTTP requests in progress.", (), [((), len(gateway.tasks))])
        yield _gauge("streams_in_progress", "Streams in progress.", (), [((), len(gateway.streams))])
        healthy = [((each.name,), float(each.status().healthy)) for each in manager.registry]
        yield _gauge(
            "provider_healthy",
            "1 if the provider's last call or probe succeeded, else 0.",
            ("provider",),
            healthy,
            "min",
        )
        targets = list(manager.targets)[:MOST_MODELS]
        now_s = time.monotonic()
        names = [(target.choice.provider, target.choice.model or "") for target in targets]
        busy = zip(names, (target.in_flight for target in targets), strict=True)
        is_open = zip(names, (float(target.breaker.state(now_s) != "closed") for target in targets), strict=True)
        of = ("provider", "model")
        yield _gauge("attempts_in_progress", "Attempts in progress.", of, busy)
        yield _gauge("breaker_open", "1 if the model's breaker is open or half open, else 0.", of, is_open, "max")
        yield from self._budgets()
        ledgers = [ledger] if (ledger := manager.ledger) is not None else []
        up = [((), float(each.trouble is None)) for each in ledgers]
        yield _gauge("ledger_up", "1 if the ledger's database accepts entries, else 0.", (), up, "min")
        held = [((), each.held) for each in ledgers]
        yield _gauge("ledger_held_entries", "Entries of the ledger that are only in memory.", (), held)
        yield Family(
            name="spine_ledger_lost_entries",
            kind="counter",
            help="Entries of the ledger that were lost.",
            samples=[Sample((), each.lost) for each in ledgers],
        )

    def _budgets(self) -> Iterator[Family]:
        status = self._gateway.manager.budgets.status()
        for unit in ("usd", "tokens"):
            limited = [each for each in status if getattr(each, f"limit_{unit}") is not None]
            for what, told in _BUDGET.items():
                values = [((each.name,), float(getattr(each, f"{what}_{unit}"))) for each in limited]
                help = f"{told} in the budget's current window, in {'USD' if unit == 'usd' else unit}."
                yield _gauge(f"budget_{what}_{unit}", help, ("budget",), values, "max")


def _gauge(
    name: str, help: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]], merge: Merge = "sum"
) -> Family:
    found = [Sample(*value) for value in values]
    return Family(name=f"spine_{name}", kind="gauge", help=help, labels=labels, samples=found, merge=merge)


def _histogram(
    name: str, help: str, samples: list[Sample], bounds: tuple[float, ...], labels: tuple[str, ...] = ()
) -> Family:
    return Family(name=name, kind="histogram", help=help, labels=labels, samples=samples, bounds=bounds)


# ---------------------------------------------------------------- GET /metrics


async def exposed(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The gateway's metrics for Prometheus, if `server.metrics` is set; not for named keys, since they are everybody's

    Raises: InvalidRequest with status 404 where none are counted, 403 for a key with a name.
    """
    if gateway.metrics is None:
        message = 'no numbers are counted here: server.metrics is "none"; "keyed" or "open" has them'
        raise InvalidRequest(message, status_code=404, code="no_metrics")
    if record.caller in gateway.keys.named:
        message = "these are everybody's numbers: they are for keys of server.api_keys, which have no name"
        raise InvalidRequest(message, status_code=403, code="not_allowed")
    await gateway.manager.budgets.refresh()
    accept = request.headers.get(b"accept", b"").decode("latin-1")
    text, content_type = await gateway.metrics.text(accept)
    await request.reply(200, text, content_type=content_type.encode())
