"""In which order those that could answer are asked.

A strategy is a function of the options and the moment; chance and the clock are in the moment. What it returns
is asked in that order, the next where the one before has failed. What it must not do is leave out: that is
the router's, which knows what each request needs.

    def cheapest_in_europe(options, moment):
        return sorted(options, key=lambda option: (not option.choice.provider.startswith("eu_"), option.weight))

Strategies of other packages: custom_strategies.py.

Sources (2026-11): weighted sampling, Efraimidis and Spirakis 2006; round robin that passes over nobody twice,
nginx's smooth weighted balancing; peak-EWMA and its treatment of the unknown, Finagle's `p2cPeakEwma`; why two
are enough, Mitzenmacher 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from genai_spine.policy.route import Choice

UNKNOWN_S = 60.0
"""What one more call to a target counts of which no answer has been seen while others wait for theirs."""
ANSWER_TOKENS = 300
"""How long an answer is taken to be, where speeds and prices are compared: only their order matters."""


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One target at one moment. Times are seconds; None is not known."""

    choice: Choice
    place: int
    """Its place among those written, from 0."""
    weight: float = 1.0
    is_local: bool = False
    rank: int = 0
    """Its place in the ranking of models, the best first."""
    cost_usd: Decimal | None = None
    """Estimated for this request; only where the strategy says `needs_cost`."""
    in_flight: int = 0
    seen: int = 0
    """Answers of which the times are known."""
    first_s: float | None = None
    tokens_per_s: float | None = None
    peak_s: float | None = None
    """Peak-EWMA: rises at once with a slow answer, and forgets it slowly."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy may look at beside the options."""

    now_s: float
    """Monotonic."""
    chance: Callable[[], float]
    """A number from 0 to 1, the 1 left out; another one each time."""
    memory: dict[int, float]
    """Of this group alone, by an option's place, kept between requests: the one thing a strategy may change."""
    exploration: float = 0.05


Order = Callable[[Sequence[Option], Moment], Sequence[Option]]


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    order: Order
    is_live: bool = True
    """Whether the order may differ from one request to the next."""
    needs_cost: bool = False
    needs_rank: bool = False
    is_ours: bool = True
    """Whether it can be trusted to keep to what is said above."""


# ---------------------------------------------------------------- by what is written or known beforehand


def ordered(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """As they are written."""
    return options


def local_first(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    return sorted(options, key=lambda option: not option.is_local)


def cloud_first(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    return sorted(options, key=lambda option: option.is_local)


def quality(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """By the ranking; of the same rank as they are written."""
    return sorted(options, key=lambda option: option.rank)


def cost_optimized(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """The cheapest first; those without a price last, since they may be anything."""
    return sorted(options, key=lambda option: (option.cost_usd is None, option.cost_usd or 0))


# ---------------------------------------------------------------- in turn


def round_robin(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """Each in its turn, also where some requests pass over some of them.

    Everyone present earns the same for a request, and who has most goes first and pays for all. Who is away
    earns nothing, and so is not owed a flood of requests when it returns.
    """
    credit = moment.memory
    for option in options:
        credit[option.place] = credit.get(option.place, 0.0) + 1.0
    in_turn = sorted(options, key=lambda option: -credit[option.place])
    credit[in_turn[0].place] -= len(options)
    return in_turn


def weighted(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """By chance, each as often first as its weight says; those behind it by the same rule."""
    chance = moment.chance
    drawn = [(chance() ** (1.0 / option.weight), option) for option in options]
    drawn.sort(key=lambda pair: pair[0], reverse=True)
    return [option for _, option in drawn]


# ---------------------------------------------------------------- by what is measured


def least_busy(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """The fewest calls under way for its weight; of those that are as busy, one by chance."""
    chance = moment.chance
    return sorted(options, key=lambda option: (option.in_flight / option.weight, chance()))


def speed(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """The soonest done with an answer of ordinary length; now and then the one of which least is known."""
    by_speed = sorted(options, key=_answer_s)
    if len(options) > 1 and moment.chance() < moment.exploration:
        least_known = min(by_speed[1:], key=lambda option: option.seen)
        by_speed.remove(least_known)
        by_speed.insert(0, least_known)
    return by_speed


def _answer_s(option: Option) -> float:
    if option.first_s is None and option.tokens_per_s is None:
        return float("inf")
    return (option.first_s or 0.0) + (ANSWER_TOKENS / option.tokens_per_s if option.tokens_per_s else 0.0)


def latency(options: Sequence[Option], moment: Moment) -> Sequence[Option]:
    """The less loaded of two that chance picks, so that not everyone runs to the same one; then the others."""
    by_load = sorted(options, key=_load_s)
    if len(options) < 3:
        return by_load
    first = int(moment.chance() * len(options))
    second = int(moment.chance() * (len(options) - 1))
    second += second >= first
    taken = by_load[min(first, second)]
    return [taken, *(option for option in by_load if option is not taken)]


def _load_s(option: Option) -> float:
    """The time a further call is expected to take, if those under way are waited for. Who is unknown and idle is
    worth one call, and not more before that has been answered."""
    if option.peak_s is None:
        return UNKNOWN_S * option.in_flight
    return option.peak_s * (option.in_flight + 1)


STRATEGIES: dict[str, Strategy] = {
    "local_first": Strategy(order=local_first, is_live=False),
    "cloud_first": Strategy(order=cloud_first, is_live=False),
    "ordered": Strategy(order=ordered, is_live=False),
    "quality": Strategy(order=quality, is_live=False, needs_rank=True),
    "cost_optimized": Strategy(order=cost_optimized, needs_cost=True),
    "speed": Strategy(order=speed),
    "round_robin": Strategy(order=round_robin),
    "weighted": Strategy(order=weighted),
    "least_busy": Strategy(order=least_busy),
    "latency": Strategy(order=latency),
}
"""`cloud_first` is what the hint `cloud_preferred` asks for; settings have no use for it."""
