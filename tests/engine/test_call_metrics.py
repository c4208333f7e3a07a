"""Entries of the ledger as numbers, and the numbers of several processes as those of one."""

from __future__ import annotations

import pytest

from genai_spine.engine.costs.accounts import watched
from genai_spine.engine.metrics import calls as call_metrics
from genai_spine.engine.metrics.calls import OTHER, CallMetrics
from genai_spine.engine.metrics.families import Family, Histogram, Sample, counters, merged
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens


def value_of(metrics: CallMetrics, name: str, *labels: str) -> float:
    family = next(family for family in metrics.families() if family.name == name)
    return sum(each.value / family.divisor for each in family.samples if each.labels == labels)


def answered(metrics: CallMetrics, id: str, model: str = "gpt-4o", **ended: object) -> None:
    metrics.take(Begun(id=f"{id}-1", call=id, at=1.0, provider="openai", model=model, caller="ci", route="smart"))
    told = {"id": f"{id}-1", "at": 2.0, "status": "answered", "duration_s": 0.3, "call_s": 0.31, **ended}
    metrics.take(Ended(**told))  # type: ignore[arg-type]


def test_an_answer_is_counted_with_its_tokens_its_cost_and_its_time() -> None:
    metrics = CallMetrics()
    tokens = Tokens(input=10, output=5, cache_read=4, reasoning=2)
    answered(metrics, "one", tokens=tokens, cost_nanousd=12_345, first_s=0.02)
    answered(metrics, "two", tokens=Tokens(input=1), cost_nanousd=None)
    use = ("openai", "gpt-4o", "ci")
    assert value_of(metrics, "spine_calls", "ci", "smart", "answered") == 2
    assert value_of(metrics, "spine_attempts", "openai", "gpt-4o", "answered") == 2
    assert {kind: value_of(metrics, "spine_tokens", *use, kind) for kind in ("input", "output", "cache_read")} == {
        "input": 11,
        "output": 5,
        "cache_read": 4,
    }
    assert value_of(metrics, "spine_cost_usd", *use) == 0.000012345
    assert value_of(metrics, "spine_unpriced_attempts", *use) == 1
    first = next(family for family in metrics.families() if family.name == "spine_first_token_seconds")
    assert first.samples[0].counts is not None
    assert first.samples[0].counts[:3] == [0, 1, 0], "a bound belongs to the bucket below it"


def test_a_call_of_several_attempts_is_one_call() -> None:
    metrics = CallMetrics()
    for number, (status, error) in enumerate((("failed", "rate_limit"), ("failed", "timeout"), ("answered", None))):
        id = f"call-{number}"
        metrics.take(Begun(id=id, call="call", at=1.0, provider="openai", model=f"m{number}"))
        metrics.take(Ended(id=id, at=2.0, status=status, duration_s=1.0, error_type=error, cost_nanousd=0))  # type: ignore[arg-type]
    assert value_of(metrics, "spine_calls", "", "", "answered") == 0
    metrics.take(Call(id="call", at=2.0, duration_s=3.0, status="answered", attempts=3))
    assert value_of(metrics, "spine_calls", "", "", "answered") == 1
    assert value_of(metrics, "spine_attempts", "openai", "m0", "rate_limit") == 1
    assert value_of(metrics, "spine_attempts", "openai", "m1", "timeout") == 1
    assert value_of(metrics, "spine_attempts", "openai", "m2", "answered") == 1


def test_an_answer_from_the_cache_is_a_call_without_an_attempt() -> None:
    metrics = CallMetrics()
    metrics.take(
        Call(
            id="c", at=1.0, duration_s=0.0, status="answered", attempts=0, is_cached=True, saved_nanousd=7_000,
            provider="openai", model="gpt-4o", caller="ci",
        )
    )  # fmt: skip
    assert value_of(metrics, "spine_calls", "ci", "", "answered") == 1
    assert value_of(metrics, "spine_cached_answers", "openai", "gpt-4o", "ci") == 1
    assert value_of(metrics, "spine_cache_saved_usd", "openai", "gpt-4o", "ci") == 0.000007


def test_models_of_a_callers_making_do_not_grow_without_bound() -> None:
    metrics = CallMetrics()
    most = call_metrics.MOST_MODELS
    for number in range(most + 50):
        answered(metrics, f"c{number}", f"made-up-{number}", cost_nanousd=1, tokens=Tokens(input=1))
    for family in metrics.families():
        assert len(family.samples) <= 2 * most + 2, family.name
    assert value_of(metrics, "spine_attempts", "openai", OTHER, "answered") == 50
    assert value_of(metrics, "spine_tokens", "openai", OTHER, "ci", "input") == 50


def test_processes_are_summed_and_what_is_the_same_for_all_is_not() -> None:
    def of(requests: int, is_open: int, healthy: int, seconds: float) -> list[Family]:
        histogram = Histogram((0.1, 1.0))
        histogram.observe(seconds)
        return [
            Family(name="requests", kind="counter", help="", labels=("path",), samples=[Sample(("/x",), requests)]),
            Family(name="open", kind="gauge", help="", samples=[Sample((), is_open)], merge="max"),
            Family(name="healthy", kind="gauge", help="", samples=[Sample((), healthy)], merge="min"),
            Family(name="took", kind="histogram", help="", samples=[histogram.sample()], bounds=(0.1, 1.0)),
        ]

    one, other = of(1, 0, 1, 0.1), of(2, 1, 0, 5.0)
    other[0].samples.append(Sample(("/y",), 7))
    both = {family.name: family.samples for family in merged([one, other])}
    assert both["requests"] == [Sample(("/x",), 3), Sample(("/y",), 7)]
    assert (both["open"][0].value, both["healthy"][0].value) == (1, 0)
    assert both["took"] == [Sample((), 5.1, [1, 0, 1])]
    assert one[0].samples[0].value == 1, "what is merged stays as it was"
    assert [family.name for family in counters(one)] == ["requests", "took"]


def test_a_fault_of_who_counts_is_no_calls(caplog: pytest.LogCaptureFixture) -> None:
    written: list[Entry] = []

    def write(*entries: Entry) -> bool:
        written.extend(entries)
        return True

    def broken(*_: Entry) -> None:
        raise ZeroDivisionError

    begun = Begun(id="c-1", call="c", at=1.0, provider="openai", model="gpt-4o")
    both = watched(write, (broken,))
    assert both is not None
    assert both(begun) is True
    assert written == [begun]
    assert "calls are not counted" in caplog.text
    assert watched(None, ()) is None
