"""Each strategy's word: who comes first, and who after that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.policy.route import Choice
from genai_spine.policy.strategy import STRATEGIES, Moment, Option, Order
from genai_spine.settings import RoutingStrategy


def option(place: int = 0, **known: Any) -> Option:
    return Option(choice=Choice(provider="abcdefgh"[place], model="m"), place=place, **known)


def moment(chance: Callable[[], float] = lambda: 0.999, **more: Any) -> Moment:
    return Moment(now_s=0.0, chance=chance, **{"memory": {}, **more})


def places(options: Iterable[Option]) -> list[int]:
    return [option.place for option in options]


def order_of(name: str) -> Order:
    return STRATEGIES[name].order


def test_every_strategy_of_the_settings_is_there() -> None:
    assert {strategy.value for strategy in RoutingStrategy} <= STRATEGIES.keys()


@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.lists(
        st.builds(
            dict,
            weight=st.floats(0.01, 100),
            is_local=st.booleans(),
            rank=st.integers(0, 5),
            cost_usd=st.none() | st.decimals(0, 10, allow_nan=False),
            in_flight=st.integers(0, 50),
            seen=st.integers(0, 50),
            first_s=st.none() | st.floats(0, 100),
            tokens_per_s=st.none() | st.floats(0.1, 1000),
            peak_s=st.none() | st.floats(0, 100),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(),
)
def test_nobody_is_left_out_and_nobody_asked_twice(name: str, known: list[dict[str, Any]], seed: int) -> None:
    options = [option(place, **facts) for place, facts in enumerate(known)]
    ordered = order_of(name)(options, moment(Random(seed).random, exploration=0.5))
    assert sorted(places(ordered)) == list(range(len(options)))


# ---------------------------------------------------------------- by what is known beforehand


def test_local_first_and_cloud_first_keep_the_order_within() -> None:
    options = [option(0), option(1, is_local=True), option(2), option(3, is_local=True)]
    assert places(order_of("local_first")(options, moment())) == [1, 3, 0, 2]
    assert places(order_of("cloud_first")(options, moment())) == [0, 2, 1, 3]
    assert places(order_of("ordered")(options, moment())) == [0, 1, 2, 3]


def test_the_cheapest_comes_first_and_an_unknown_price_last() -> None:
    options = [option(0), option(1, cost_usd=Decimal("0.02")), option(2, cost_usd=Decimal(0)), option(3)]
    assert places(order_of("cost_optimized")(options, moment())) == [2, 1, 0, 3]


def test_quality_is_the_ranking() -> None:
    options = [option(0, rank=3), option(1, rank=0), option(2, rank=3)]
    assert places(order_of("quality")(options, moment())) == [1, 0, 2]


# ---------------------------------------------------------------- in turn and by weight


def test_round_robin_gives_everyone_a_turn() -> None:
    options, now = [option(place) for place in range(3)], moment()
    asked = [places(order_of("round_robin")(options, now)) for _ in range(6)]
    assert [first for first, *_ in asked] == [0, 1, 2, 0, 1, 2]
    assert asked[0] == [0, 1, 2] and asked[1][1] == 2, "who is next in turn stands behind"


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=200))
def test_round_robin_is_even_among_those_who_are_there(rounds: list[set[int]]) -> None:
    """Some requests pass over some targets: nobody is owed or owes more than one turn for each other one."""
    now = moment()
    due: Counter[int] = Counter()
    had: Counter[int] = Counter()
    for present in rounds:
        first = order_of("round_robin")([option(place) for place in sorted(present)], now)[0].place
        had[first] += 1
        for place in present:
            due[place] += 1 / len(present)  # type: ignore[assignment]  # shares of a turn
    if all(present == rounds[0] for present in rounds):
        assert max(had.values()) - min(had[place] for place in rounds[0]) <= 1
    assert all(abs(had[place] - due[place]) <= 4 for place in range(4))


def test_who_comes_back_is_not_flooded() -> None:
    now = moment()
    for _ in range(100):
        order_of("round_robin")([option(0), option(1)], now)
    firsts = [order_of("round_robin")([option(place) for place in range(3)], now)[0].place for _ in range(9)]
    assert Counter(firsts) == {0: 3, 1: 3, 2: 3}


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=5), st.integers(0, 2**32))
@settings(max_examples=25)
def test_weights_converge(weights: list[float], seed: int) -> None:
    options, now = [option(place, weight=weight) for place, weight in enumerate(weights)], moment(Random(seed).random)
    rounds = 4000
    firsts = Counter(order_of("weighted")(options, now)[0].place for _ in range(rounds))
    for place, weight in enumerate(weights):
        share = weight / sum(weights)
        spread = (rounds * share * (1 - share)) ** 0.5
        assert abs(firsts[place] - rounds * share) < 6 * spread + 1


def test_of_those_that_fail_the_next_is_drawn_by_weight_too() -> None:
    now = moment(Random(7).random)
    options = [option(0, weight=1000.0), option(1, weight=1.0), option(2, weight=9.0)]
    seconds = Counter(order_of("weighted")(options, now)[1].place for _ in range(2000))
    assert seconds[2] > 6 * seconds[1]


# ---------------------------------------------------------------- by what is measured


def test_the_least_busy_for_its_weight_comes_first() -> None:
    options = [option(0, in_flight=2), option(1, in_flight=3, weight=4.0), option(2, in_flight=1)]
    assert places(order_of("least_busy")(options, moment(lambda: 0.0))) == [1, 2, 0]


def test_those_that_are_as_busy_are_drawn() -> None:
    now = moment(Random(3).random)
    firsts = Counter(order_of("least_busy")([option(0), option(1)], now)[0].place for _ in range(1000))
    assert min(firsts.values()) > 400


def test_speed_is_the_first_token_and_the_rest() -> None:
    quick_to_begin = option(0, first_s=0.1, tokens_per_s=20.0)  # 15.1 s for 300 tokens
    quick_to_end = option(1, first_s=2.0, tokens_per_s=100.0)  # 5 s
    unknown = option(2)
    whole_only = option(3, tokens_per_s=30.0)  # 10 s: a plain answer's first token was never seen
    assert places(order_of("speed")([quick_to_begin, quick_to_end, unknown, whole_only], moment())) == [1, 3, 0, 2]


def test_now_and_then_the_least_known_is_tried() -> None:
    options = [option(0, first_s=0.1, seen=500), option(1, first_s=9.0, seen=4), option(2, first_s=5.0, seen=90)]
    now = moment(Random(5).random, exploration=0.1)
    firsts = Counter(order_of("speed")(options, now)[0].place for _ in range(5000))
    assert 400 < firsts[1] < 600 and firsts[2] == 0
    never = moment(Random(5).random, exploration=0.0)
    assert {order_of("speed")(options, never)[0].place for _ in range(500)} == {0}


def test_latency_weighs_the_slowness_with_the_load() -> None:
    slow, busy, idle = option(0, peak_s=3.0), option(1, peak_s=1.0, in_flight=9), option(2, peak_s=2.0)
    assert places(order_of("latency")([slow, busy, idle], moment(lambda: 0.0)))[0] == 2
    assert places(order_of("latency")([slow, busy], moment())) == [0, 1]


def test_latency_asks_the_better_of_two_and_so_never_the_worst() -> None:
    options = [option(place, peak_s=float(place + 1)) for place in range(5)]
    now = moment(Random(11).random)
    firsts = Counter(order_of("latency")(options, now)[0].place for _ in range(5000))
    assert firsts[4] == 0
    # Of ten pairs the best is in four, the next in three of the others …
    for place, pairs in enumerate((4, 3, 2, 1)):
        assert firsts[place] == pytest.approx(500 * pairs, rel=0.15)


def test_who_is_unknown_is_tried_once_before_it_is_believed() -> None:
    known = option(0, peak_s=1.0)
    assert places(order_of("latency")([known, option(1)], moment())) == [1, 0]
    assert places(order_of("latency")([known, option(1, in_flight=1)], moment())) == [0, 1]
