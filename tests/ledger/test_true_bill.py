"""The ledger against the simulator's own bill, call by call, whatever went wrong: a real gateway, real sockets.

    a cost that is known        is the simulator's charge, to the nano-dollar
    a cost that is not known    is bounded by no less than what the simulator charges
    every charge                belongs to an attempt of the ledger; every known cost to a charge

What the simulator charges for is said in testing/simulator/bill.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import httpx2
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "soak"))
from billed_traffic import KEY, RATES, Attempt, Billed, Book, Sent, book_of, sent_of, settings, usd
from soak_traffic import PATHS, body_of

from genai_spine.cli.reprice import Plan
from genai_spine.ledger.scan import Counted
from genai_spine.model.card import ModelCard, Price
from genai_spine.policy.repricing import DatedPrices
from genai_spine.testing.fixtures import running_gateway, running_simulator


class Matched:
    """What the attempts of one call at one provider were charged. Which of two requests is which attempt's is not
    told over the wire, so equal amounts are matched, and what is left over must fit."""

    def __init__(self, attempts: list[Attempt], sent: list[Sent]) -> None:
        known = Counter(attempt.cost for attempt in attempts if attempt.cost is not None)
        charged = Counter(each.nanousd for each in sent)
        self.known = sum(cost * count for cost, count in (known & charged).items() if cost is not None)
        self.invented = [cost for cost in (known - charged).elements() if cost]
        self.rest = sorted(cost for cost in (charged - known).elements() if cost)
        self.unknown = [attempt for attempt in attempts if attempt.cost is None]

    @property
    def is_covered(self) -> bool:
        """Whether the charges without a known cost are those of attempts whose cost is not known."""
        if len(self.rest) > len(self.unknown):
            return False
        bounds = sorted((inf if attempt.most is None else attempt.most for attempt in self.unknown), reverse=True)
        return all(bound >= charge for bound, charge in zip(bounds, reversed(self.rest), strict=False))


def compare(book: Book, sent: dict[str, list[Sent]]) -> tuple[int, int, int]:
    """Nano-dollars of the known costs and of the rest, and how many attempts have no known cost."""
    known = rest = unknown = 0
    for name in book.attempts.keys() | sent.keys():
        attempts, requests = book.attempts.get(name, []), sent.get(name, [])
        for provider in {each.provider for each in attempts} | {each.provider for each in requests}:
            own = [attempt for attempt in attempts if attempt.provider == provider]
            got = [each for each in requests if each.provider == provider]
            matched = Matched(own, got)
            assert not matched.invented, f"in the ledger and not on the bill: {own} {got}"
            assert matched.is_covered, f"on the bill and not in the ledger: {own} {got}"
            known, rest, unknown = known + matched.known, rest + sum(matched.rest), unknown + len(matched.unknown)
    return known, rest, unknown


def run(folder: Path, calls: int, callers: int, seed: int) -> Counter[str]:
    path = folder / "spine.db"
    with running_simulator(keep=10 * calls, rates=RATES) as simulator:
        with running_gateway(settings(simulator, path)) as gateway:
            billed = Billed(gateway.port, calls, seed)
            asyncio.run(billed.run(callers))
        book, sent = book_of(path), sent_of(simulator)
        known, rest, unknown = compare(book, sent)
        assert known + rest == simulator.bill.nanousd
    assert sum(attempt.cost or 0 for own in book.attempts.values() for attempt in own) == known
    assert not book.nameless
    for name, own in book.attempts.items():
        for call in {attempt.call for attempt in own}:
            costs = [attempt.cost for attempt in own if attempt.call == call and attempt.cost is not None]
            assert book.costs[call] == (sum(costs) if costs else None), own
        told = {seen.cost_usd for seen in billed.seen[name] if seen.cost_usd}  # who shares an answer is told 0
        assert told <= {usd(attempt.cost) for attempt in own if attempt.status == "answered" and attempt.cost}, own
    left = {name for name, seen in billed.seen.items() if all(each.status is None for each in seen)}
    return Counter(
        calls=len(billed.seen),
        left=len(left),
        headers=sum(seen.cost_usd is not None for own in billed.seen.values() for seen in own),
        drained=sum(bool(each.cost) for name in left for each in book.attempts.get(name, ()) if each.provider == "ol"),
        attempts=sum(map(len, book.attempts.values())),
        hedges=sum(attempt.is_hedge for own in book.attempts.values() for attempt in own),
        unknown=unknown,
        bounded=sum(each.cost is None and each.most is not None for own in book.attempts.values() for each in own),
        known_nanousd=known,
        rest_nanousd=rest,
    )  # fmt: skip


def test_the_ledger_is_the_simulators_bill(tmp_path: Path) -> None:
    figures = run(tmp_path, calls=300, callers=30, seed=7)
    assert figures["calls"] == 300 and figures["attempts"] > 300
    assert figures["known_nanousd"] > 100_000_000 and figures["unknown"] > 10 and figures["headers"] > 50


def test_words_and_an_error_in_one_piece_may_be_charged(tmp_path: Path) -> None:
    """An error that comes at once is free; one that comes with words, whether or not these were seen, may not be."""
    path = tmp_path / "spine.db"
    once: dict[str, Any] = {"retry": {"max_retries": 0}, "hedge": {"budget": 0}, "streams": {"on_break": "error"}}
    asked = list(product(("error_at=0", "error_at=2", "error_at=6", "malformed=6"), PATHS, PATHS))
    with running_simulator(rates=RATES) as simulator:
        with running_gateway(settings(simulator, path, **once)) as gateway, httpx2.Client(timeout=20) as client:
            for number, (fault, dialect, provider) in enumerate(asked):
                name = f"call-{number:06d}"
                body = body_of(dialect, f"{provider}/sim-long-40+{fault}", stream=True, tools=False, text=name)
                body = json.dumps({**json.loads(body), "provider": provider}).encode()
                headers = {"authorization": f"Bearer {KEY}", "x-spine-tags": name}
                client.post(gateway.url + PATHS[dialect], content=body, headers=headers)
        book = book_of(path)
        compare(book, sent_of(simulator))
    costs: dict[str, set[int | None]] = {fault: set() for fault, _, _ in asked}
    for number, (fault, _, _) in enumerate(asked):
        costs[fault] |= {attempt.cost for attempt in book.attempts[f"call-{number:06d}"]}
    assert 0 in costs["error_at=0"]
    assert costs["error_at=6"] == costs["malformed=6"] == {None}


def test_a_part_of_an_answer_is_never_priced_as_if_it_were_the_whole() -> None:
    counted = dict.fromkeys(Counted._fields)
    told = {"provider": "p", "model": "m", "begun_at": 0.0, "input_tokens": 9, "output_tokens": 9, "is_estimated": 0}
    price = Price(since=date(1970, 1, 1), input=Decimal(1), output=Decimal(1))
    plan = Plan(DatedPrices(lambda provider, model: ModelCard(id="m", prices=(price,))), reported=False)
    whole, *parts = (Counted(**{**counted, **told, "status": status}) for status in ("answered", "failed", "left"))
    assert (cost := plan.decide(whole)) is not None and cost.nanousd == 18_000
    assert [plan.decide(part) for part in parts] == [None, None]


@pytest.mark.slow
def test_the_ledger_is_the_simulators_bill_over_10000_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(tmp_path, calls=10_000, callers=40, seed=1)
    with capsys.disabled():
        print("\n" + "\n".join(f"{name:>16}  {count:,}" for name, count in figures.items()))
    assert figures["calls"] == 10_000
    assert min(figures[name] for name in ("left", "drained", "hedges", "unknown")) > 20
