"""What is simulated: services, weather, crowds and settings, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from upstreams import MODEL, Kind, Nature, Spell

from genai_spine.settings import Duration, Settings
from genai_spine.settings.tree import (
    BreakerSettings,
    HedgeSettings,
    LimitsSettings,
    ProviderSettings,
    ProvidersSettings,
    RetrySettings,
    RouteSettings,
    RouteTarget,
    RoutingSettings,
    TimeoutSettings,
)


class Crowd(NamedTuple):
    """Who asks: between two calls each thinks for `think_s` on average."""

    callers: int = 10_000
    think_s: float = 60.0
    streamed: float = 0.5
    """The part of the calls that are streams."""
    leaves: float = 0.02
    """The part of the calls whose caller is gone within ten seconds."""
    prior: float = 0.1
    """The part of the callers that have priority."""
    greedy: float = 0.0
    """The part of the callers who think a tenth of the time."""


class Rush(NamedTuple):
    """More callers, who all come within a twentieth of a second."""

    begins_s: float
    ends_s: float
    callers: int
    think_s: float = 1000.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    natures: tuple[Nature, ...]
    spells: Mapping[str, Sequence[Spell]] = {}
    crowd: Crowd = Crowd()
    rushes: Sequence[Rush] = ()
    settings: Settings
    ends_s: float = 300.0
    phases: Mapping[str, tuple[float, float]] = {}
    seed: int = 1
    without: tuple[str, ...] = ()
    """Parts of the machinery to take away: `jitter`."""


def settings_for(natures: Sequence[Nature], strategy: str = "ordered", **parts: object) -> Settings:
    """The defaults, but for times that fit answers of a few seconds."""
    targets = [RouteTarget(target=f"{nature.name}/{MODEL}", weight=nature.places) for nature in natures]
    base = Settings(
        routes={"chat": RouteSettings(targets=targets, strategy=strategy)},
        timeouts=TimeoutSettings(first_token=Duration(20), total=Duration(60)),
        routing=RoutingSettings(ranking=[f"{nature.name}/*" for nature in natures]),
    )
    return msgspec.structs.replace(base, **parts)


# ---------------------------------------------------------------- five services, ten thousand callers

HOUSE = Nature("house", places=120, queue=60, first_s=0.3, tokens_per_s=50, is_local=True, usd=0.0)
SWIFT = Nature("swift", places=250, queue=50, first_s=0.25, tokens_per_s=200, per_min=4800, burst=400, usd=1.0)
GRAND = Nature("grand", places=400, queue=100, first_s=0.8, tokens_per_s=70, usd=5.0)
THRIFT = Nature("thrift", places=200, queue=100, first_s=0.6, tokens_per_s=60, usd=0.2)
STEADY = Nature("steady", places=300, queue=100, first_s=0.5, tokens_per_s=80, usd=2.0)
FIVE = (GRAND, SWIFT, STEADY, THRIFT, HOUSE)
"""The best first. In all about 320 answers a second, twice of what ten thousand callers ask for."""

WEATHER = {
    "grand": (Spell("errors", 60, 120),),
    "steady": (Spell("slow", 170, 210, 6.0),),
    "swift": (Spell("silent", 260, 290),),
}
PHASES = {
    "calm": (20.0, 60.0),
    "errors": (60.0, 120.0),
    "slow": (170.0, 210.0),
    "silent": (260.0, 290.0),
    "after": (340.0, 400.0),
}
STRATEGIES = (
    "ordered", "local_first", "cost_optimized", "quality", "round_robin", "weighted", "least_busy", "latency", "speed",
)  # fmt: skip
NEVER = BreakerSettings(min_calls=10**9)


def weather(
    strategy: str, callers: int = 10_000, seed: int = 1, adaptive: bool = False, breaker: bool = True
) -> Scenario:
    """Five services, of which one fails, one turns slow and one falls silent. Smaller crowds meet smaller services."""
    natures = tuple(_scaled(nature, callers / 10_000) for nature in FIVE)
    return Scenario(
        name=strategy,
        natures=natures,
        spells=WEATHER,
        crowd=Crowd(callers=callers),
        settings=settings_for(
            natures,
            strategy,
            limits=LimitsSettings(adaptive=adaptive),
            breaker=BreakerSettings() if breaker else NEVER,
        ),
        ends_s=400.0,
        phases=PHASES,
        seed=seed,
    )


def blackout(
    callers: int = 10_000, seed: int = 1, kind: Kind = "errors", lasts_s: float = 60.0, leaves: float = 0.02
) -> Scenario:
    """All five services fail at the same time."""
    natures = tuple(_scaled(nature, callers / 10_000) for nature in FIVE)
    ends_s = 60.0 + lasts_s
    return Scenario(
        name="blackout",
        natures=natures,
        spells={nature.name: (Spell(kind, 60.0, ends_s),) for nature in natures},
        crowd=Crowd(callers=callers, leaves=leaves),
        settings=settings_for(natures, "least_busy"),
        ends_s=ends_s + 180.0,
        phases={"before": (20.0, 60.0), "during": (60.0, ends_s), "after": (ends_s + 60.0, ends_s + 180.0)},
        seed=seed,
    )


def absence(
    callers: int = 1000,
    seed: int = 1,
    kind: Kind = "errors",
    lasts_s: float = 600.0,
    weak: bool = False,
    breaker: bool = True,
) -> Scenario:
    """One of three equal services is away for long; `weak`: with a fifth of its places for a minute after."""
    natures = tuple(
        Nature(name, places=max(1, callers // 25), queue=callers // 100) for name in ("left", "middle", "right")
    )
    ends_s = 60.0 + lasts_s
    spells = [Spell(kind, 60.0, ends_s)]
    if weak:
        spells.append(Spell("small", ends_s, ends_s + 60.0, callers // 125))
    return Scenario(
        name="absence",
        natures=natures,
        spells={"left": spells},
        crowd=Crowd(callers=callers),
        settings=settings_for(natures, "round_robin", breaker=BreakerSettings() if breaker else NEVER),
        ends_s=ends_s + 300.0,
        phases={"before": (20.0, 60.0), "during": (60.0, ends_s), "after": (ends_s, ends_s + 300.0)},
        seed=seed,
    )


# ---------------------------------------------------------------- what each part is for


def storm(callers: int = 2000, seed: int = 1, budget: float = 0.2, adaptive: bool = False) -> Scenario:
    """One service, seven tenths busy, loses four fifths of its places for twenty seconds. Its queue is longer than
    its callers' patience, and it works on for those who have given up."""
    places = callers // 20
    nature = Nature("alone", places=places, queue=6 * places)
    settings = settings_for(
        (nature,),
        retry=RetrySettings(budget=budget),
        timeouts=TimeoutSettings(first_token=Duration(10), total=Duration(40)),
        limits=LimitsSettings(adaptive=adaptive),
    )
    return Scenario(
        name="storm",
        natures=(nature,),
        spells={"alone": (Spell("small", 60.0, 80.0, places / 5),)},
        crowd=Crowd(callers=callers, think_s=95.0, streamed=0.0, leaves=0.0),
        settings=settings,
        ends_s=240.0,
        phases={"before": (20.0, 60.0), "during": (60.0, 80.0), "after": (140.0, 240.0)},
        seed=seed,
    )


def wave(callers: int = 120, seed: int = 1, jitter: bool = True) -> Scenario:
    """All ask in the same moment, as at a full hour, a service that bears a sixth of them."""
    nature = Nature("alone", places=callers // 6, first_s=0.3, tokens_per_s=400)
    return Scenario(
        name="wave",
        natures=(nature,),
        crowd=Crowd(callers=0),
        rushes=(Rush(30.0, 31.0, callers),),
        settings=settings_for((nature,), retry=RetrySettings(budget=3.0, initial_delay=Duration(2))),
        ends_s=31.0,
        seed=seed,
        without=() if jitter else ("jitter",),
    )


def limited(callers: int = 1000, seed: int = 1, told: bool = True, max_wait_s: float = 20.0) -> Scenario:
    """A service that allows a third less than is asked for, and says when to come back, or does not."""
    nature = Nature("alone", places=callers, per_min=callers // 2, window_s=15.0, tells_retry_after=told)
    return Scenario(
        name="limited",
        natures=(nature,),
        crowd=Crowd(callers=callers, think_s=75.0, leaves=0.0),
        settings=settings_for((nature,), limits=LimitsSettings(max_wait=Duration(max_wait_s))),
        ends_s=240.0,
        phases={"all": (30.0, 240.0)},
        seed=seed,
    )


def scarce(callers: int = 1000, seed: int = 1, own_limits: bool = True, configured: bool = True) -> Scenario:
    """Too little for all: one caller in twenty asks ten times as often, one in ten has priority."""
    per_min = callers // 2
    nature = Nature("alone", places=callers, per_min=per_min, burst=per_min)
    provider = ProviderSettings(requests_per_min=per_min if configured else None)
    return Scenario(
        name="scarce",
        natures=(nature,),
        crowd=Crowd(callers=callers, think_s=90.0, leaves=0.0, greedy=0.05),
        settings=settings_for(
            (nature,),
            providers=ProvidersSettings(by_id={"alone": provider}),
            limits=LimitsSettings(
                requests_per_min=2 if own_limits else None, max_wait=Duration(20), max_waiting=callers
            ),
        ),
        ends_s=360.0,
        phases={"all": (60.0, 360.0)},
        seed=seed,
    )


def tail(callers: int = 1000, seed: int = 1, budget: float = 0.1) -> Scenario:
    """Two services of which one answer in twenty takes ten times as long to begin."""
    natures = tuple(Nature(name, places=callers, first_s=0.8, tail=0.05) for name in ("left", "right"))
    return Scenario(
        name="tail",
        natures=natures,
        crowd=Crowd(callers=callers, streamed=1.0, leaves=0.0),
        settings=settings_for(natures, "round_robin", hedge=HedgeSettings(budget=budget)),
        ends_s=300.0,
        phases={"warm": (100.0, 300.0)},
        seed=seed,
    )


def _scaled(nature: Nature, share: float) -> Nature:
    return nature._replace(
        places=max(1, round(nature.places * share)),
        queue=round(nature.queue * share),
        per_min=None if nature.per_min is None else round(nature.per_min * share),
        burst=max(1, round(nature.burst * share)),
    )


MADE: dict[str, Callable[..., Scenario]] = {
    made.__name__: made for made in (weather, blackout, absence, storm, wave, limited, scarce, tail)
}
