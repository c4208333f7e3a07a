"""A world to simulate: callers who ask a `ProviderManager`, the services that it asks, and what is counted of both.

All of the engine between the two is the real one: router, call, breaker, budgets, limits. Imported in a process
whose time is virtual (simulate.py); must not know what a scenario is meant to show.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import ceil
from types import SimpleNamespace

import msgspec
from figures import Figures, Phase, Recovery, jain, percentile
from scenarios import Scenario
from upstreams import MODEL, SimulatedService, Upstream

from genai_spine import CompletionRequest, Message, ProviderManager, SpineError
from genai_spine.engine import traffic
from genai_spine.engine.record import CallRecord
from genai_spine.policy.route import Choice

ROUTE = "chat"
_ASKED = CompletionRequest(model=ROUTE, messages=(Message(role="user", content="…"),), max_tokens=300)


class Asked:
    """One call of one caller."""

    __slots__ = ("begun_s", "caller", "ended_s", "first_s", "has_left", "outcome", "record")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.record = CallRecord(caller=caller.id, priority=caller.priority)
        self.begun_s = time.monotonic()
        self.ended_s: float | None = None
        self.first_s: float | None = None
        """To the first event of a stream."""
        self.outcome = ""
        self.has_left = False


class Caller(msgspec.Struct, frozen=True):
    id: str
    think_s: float
    priority: int
    begins_s: float
    ends_s: float


_current: ContextVar[Asked | None] = ContextVar("_current", default=None)


class World:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._rng = random.Random(scenario.seed)
        random.seed(scenario.seed)  # the engine draws from here
        if "jitter" in scenario.without:
            traffic.random = SimpleNamespace(random=lambda: 0.999999)  # every wait is the longest
        self.upstreams = [
            Upstream(nature, scenario.spells.get(nature.name, ()), random.Random(scenario.seed + place))
            for place, nature in enumerate(scenario.natures)
        ]
        first_token_s = float(scenario.settings.timeouts.first_token)
        services = [SimulatedService(upstream, self._rng, first_token_s, self._watched) for upstream in self.upstreams]
        self.manager = ProviderManager(services, settings=scenario.settings)
        self.asked: list[Asked] = []
        self._after_leaving = 0
        self._while_open = 0
        self._probes = 0
        self._probing: Counter[str] = Counter()
        self._most_probing = 0
        self._usd = 0.0

    async def run(self) -> Figures:
        async with self.manager:
            await asyncio.gather(*(self._live(caller) for caller in self._callers()))
        return self._figures()

    # ------------------------------------------------------------ callers

    def _callers(self) -> Iterable[Caller]:
        scenario, rng = self.scenario, self._rng
        crowd = scenario.crowd
        for number in range(crowd.callers):
            kind = rng.random()
            priority = int(kind < crowd.prior)
            think_s = crowd.think_s / 10 if kind >= 1 - crowd.greedy else crowd.think_s
            begins_s = rng.expovariate(1 / think_s)  # as many ask at the start as later
            yield Caller(f"caller-{number}", think_s, priority, begins_s, scenario.ends_s)
        for rush in scenario.rushes:
            for number in range(rush.callers):
                begins_s = rush.begins_s + rng.uniform(0, 0.05)
                yield Caller(f"rush-{rush.begins_s:g}-{number}", rush.think_s, 0, begins_s, rush.ends_s)

    async def _live(self, caller: Caller) -> None:
        rng = self._rng
        await asyncio.sleep(caller.begins_s)
        while time.monotonic() < caller.ends_s:
            asked = Asked(caller)
            self.asked.append(asked)
            token = _current.set(asked)
            await self._ask(asked, rng.random() < self.scenario.crowd.streamed)
            _current.reset(token)
            await asyncio.sleep(rng.expovariate(1 / caller.think_s))

    async def _ask(self, asked: Asked, is_streamed: bool) -> None:
        leaves = self.scenario.crowd.leaves
        leaves_in_s = self._rng.uniform(0, 10) if self._rng.random() < leaves else None
        record = asked.record
        try:
            async with asyncio.timeout(leaves_in_s):
                if is_streamed:
                    async for _ in self.manager.stream(_ASKED, record=record):
                        if asked.first_s is None:
                            asked.first_s = time.monotonic() - asked.begun_s
                else:
                    answer = await self.manager.complete(_ASKED, record=record)
                    self._usd += float(answer.cost_usd or 0)
            asked.outcome = "answered"
        except SpineError as error:
            asked.outcome = error.code or error.type.value
        except TimeoutError:
            asked.outcome = "left"
            asked.has_left = True
        asked.ended_s = time.monotonic()

    @contextmanager
    def _watched(self, service: str) -> Iterator[None]:
        """A service is asked: what must never be is counted, and what may be one at a time."""
        asked = _current.get()
        assert asked is not None
        self._after_leaving += asked.ended_s is not None
        state = self.manager.targets.of(Choice(provider=service, model=MODEL)).breaker.state(time.monotonic())
        if state == "closed" or asked.record.is_last_resort:
            yield
            return
        self._while_open += state == "open"
        self._probes += 1
        self._probing[service] += 1
        self._most_probing = max(self._most_probing, self._probing[service])
        try:
            yield
        finally:
            self._probing[service] -= 1

    # ------------------------------------------------------------ what came of it

    def _figures(self) -> Figures:
        done = [asked for asked in self.asked if asked.ended_s is not None and not asked.has_left]
        good = [asked for asked in done if asked.outcome == "answered"]
        took = sorted(_took(good))
        firsts = sorted(asked.first_s for asked in good if asked.first_s is not None)
        records = [asked.record for asked in self.asked]
        arrivals = sum(sum(upstream.arrivals.values()) for upstream in self.upstreams)
        seconds = ceil(max(asked.ended_s or 0 for asked in self.asked)) + 1
        return Figures(
            name=self.scenario.name,
            calls=len(self.asked),
            left=sum(asked.has_left for asked in self.asked),
            answered=len(good),
            outcomes=dict(Counter(asked.outcome for asked in self.asked)),
            attempts=sum(len(record.attempts) for record in records),
            last_resorts=sum(record.is_last_resort for record in records if len(self.upstreams) > 1),
            probes=self._probes,
            most_probing=self._most_probing,
            while_open=self._while_open,
            arrivals=arrivals,
            extra_load=arrivals / max(1, len(self.asked)) - 1,
            kinds=dict(Counter(kind for record in records for kind in _kinds(record))),
            refused=sum(sum(upstream.refused.values()) for upstream in self.upstreams),
            in_vain=sum(upstream.in_vain for upstream in self.upstreams),
            fairness=jain(_shares(done)),
            fairness_of_calls=jain(_counts(done)),
            fairness_by_class=jain([_share([a for a in done if a.caller.priority == level]) for level in (0, 1)]),
            answered_share={str(level): _share([a for a in done if a.caller.priority == level]) for level in (0, 1)},
            p95_by_class={
                str(level): percentile(sorted(_took(a for a in good if a.caller.priority == level)), 95)
                for level in (0, 1)
            },
            p50_s=percentile(took, 50),
            p95_s=percentile(took, 95),
            p99_s=percentile(took, 99),
            first_p50_s=percentile(firsts, 50),
            first_p95_s=percentile(firsts, 95),
            first_p99_s=percentile(firsts, 99),
            phases={name: self._phase(done, *bounds) for name, bounds in self.scenario.phases.items()},
            after_leaving=self._after_leaving,
            recoveries=[found for upstream in self.upstreams for found in _recoveries(upstream)],
            answered_by_s=_series((a.ended_s for a in good), seconds),
            failed_by_s=_series((a.ended_s for a in done if a.outcome != "answered"), seconds),
            asked_by_s=_series((a.begun_s for a in self.asked), seconds),
            arrivals_by_s={up.nature.name: [up.arrivals[second] for second in range(seconds)] for up in self.upstreams},
            served_by_s={up.nature.name: [up.answered[second] for second in range(seconds)] for up in self.upstreams},
            peak_100ms={
                up.nature.name: max(Counter(int(moment * 10) for moment in up.moments_s).values(), default=0)
                for up in self.upstreams
            },
            usd=self._usd,
            in_flight_left=sum(target.in_flight for target in self.manager.targets),
        )

    def _phase(self, done: Sequence[Asked], begins_s: float, ends_s: float) -> Phase:
        """Of the calls that were begun in it."""
        begun = [asked for asked in done if begins_s <= asked.begun_s < ends_s]
        took = sorted(_took(asked for asked in begun if asked.outcome == "answered"))
        return Phase(
            calls=len(begun),
            answered_share=_share(begun),
            attempts_per_call=sum(len(asked.record.attempts) for asked in begun) / max(1, len(begun)),
            p50_s=percentile(took, 50),
            p95_s=percentile(took, 95),
            p99_s=percentile(took, 99),
        )


def _kinds(record: CallRecord) -> Iterable[str]:
    """What each attempt after the first was: the same target again, another one, or one beside."""
    before: Choice | None = None
    for attempt in record.attempts:
        choice = attempt.target.choice
        if attempt.is_hedge:
            yield "hedge"
        elif before is not None:
            yield "retry" if choice == before else "fallback"
        before = choice


def _took(asked: Iterable[Asked]) -> Iterable[float]:
    return (each.ended_s - each.begun_s for each in asked if each.ended_s is not None)


def _share(asked: Sequence[Asked]) -> float:
    return sum(each.outcome == "answered" for each in asked) / len(asked) if asked else 1.0


def _shares(done: Iterable[Asked]) -> list[float]:
    """Of each caller's calls the part that was answered."""
    by_caller: dict[str, list[Asked]] = {}
    for asked in done:
        by_caller.setdefault(asked.caller.id, []).append(asked)
    return [_share(calls) for calls in by_caller.values()]


def _counts(done: Iterable[Asked]) -> list[float]:
    """Of each caller the calls that were answered."""
    by_caller: Counter[str] = Counter()
    for asked in done:
        by_caller[asked.caller.id] += asked.outcome == "answered"
    return [float(count) for count in by_caller.values()]


def _series(moments_s: Iterable[float | None], seconds: int) -> list[int]:
    counted = Counter(int(moment) for moment in moments_s if moment is not None)
    return [counted[second] for second in range(seconds)]


BEFORE_S = 20
SMOOTH_S = 5


def _recoveries(upstream: Upstream) -> Iterable[Recovery]:
    """For each outage: how soon after its end the service gave half as many answers as in the 20 s before it."""
    last_s = max(upstream.arrivals, default=0)
    for spell in upstream.spells:
        before = [upstream.answered[second] for second in range(int(spell.begins_s) - BEFORE_S, int(spell.begins_s))]
        usual = sum(before) / BEFORE_S
        if usual < 1:
            continue
        back = next(
            (
                second
                for second in range(int(spell.ends_s), last_s)
                if sum(upstream.answered[at] for at in range(second, second + SMOOTH_S)) / SMOOTH_S >= usual / 2
            ),
            None,
        )
        yield Recovery(
            service=upstream.nature.name,
            kind=spell.kind,
            ended_s=spell.ends_s,
            back_s=None if back is None else back - spell.ends_s,
        )
