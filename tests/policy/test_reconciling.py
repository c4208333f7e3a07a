"""A provider's export beside our own account: every shape that is handed out, and each kind of gap by its name.

The exports here are written by this file alone, from the documentation of each format: not by the code that reads them.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.model.errors import InvalidRequest
from genai_spine.model.response import TokenUsage
from genai_spine.policy.exports import Export, merged, read_export
from genai_spine.policy.model_names import model_of_line_item, same_model
from genai_spine.policy.reconcile import Key, Ours, Reconciled, count, reconcile

FIRST = date(2026, 11, 1)
HALF_PERCENT = Decimal("0.005")


class Used(NamedTuple):
    """A call, as it was really made."""

    day: int
    model: str
    input: int
    read: int
    written: int
    output: int
    nanousd: int | None


OPENAI = [
    Used(0, "gpt-4o-2024-08-06", 1000, 200, 0, 50, 2_750_000),
    Used(0, "gpt-4o-2024-08-06", 500, 0, 0, 10, 1_350_001),
    Used(0, "gpt-4.1-mini-2025-04-14", 300, 0, 0, 10, 136_000),
    Used(2, "gpt-4o-2024-08-06", 7, 0, 0, 1, 27_500),
]
ANTHROPIC = [
    Used(0, "claude-haiku-4-5-20251001", 1500, 200, 100, 500, 40_000_000),
    Used(1, "claude-opus-5", 900, 0, 0, 10, 50_000_000),
]


def ours_of(calls: list[Used], **more: Any) -> dict[Key, Ours]:
    ours: dict[Key, Ours] = {}
    for call in calls:
        usage = TokenUsage(
            input_tokens=call.input,
            cache_read_tokens=call.read,
            cache_write_tokens=call.written,
            output_tokens=call.output,
        )
        count(ours, FIRST + timedelta(call.day), call.model, usage, call.nanousd, 10**9, **more)
    return ours


def start(day: int) -> int:
    return int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) + 86_400 * day


def stamp(day: int) -> str:
    return f"{FIRST + timedelta(day)}T00:00:00Z"


def days(calls: list[Used]) -> range:
    return range(max((call.day for call in calls), default=0) + 1)


def page(buckets: list[dict[str, Any]]) -> bytes:
    return json.dumps({"object": "page", "data": buckets, "has_more": False, "next_page": None}).encode()


def openai_usage(calls: list[Used]) -> bytes:
    return page(
        [
            {
                "object": "bucket", "start_time": start(day), "end_time": start(day + 1),
                "results": [
                    {
                        "object": "organization.usage.completions.result", "input_tokens": call.input,
                        "input_cached_tokens": call.read, "output_tokens": call.output, "num_model_requests": 1,
                        "model": call.model, "project_id": None, "batch": False,
                    }
                    for call in calls if call.day == day
                ],
            }
            for day in days(calls)
        ]
    )  # fmt: skip


def openai_vectors(calls: list[Used]) -> bytes:
    """As `/v1/organization/usage/embeddings` tells: without columns of output and caches."""
    pages = json.loads(openai_usage(calls))
    for bucket in pages["data"]:
        for result in bucket["results"]:
            del result["output_tokens"], result["input_cached_tokens"]
            result["object"] = "organization.usage.embeddings.result"
    return json.dumps(pages).encode()


def openai_costs(calls: list[Used], item: str = "{}, input") -> bytes:
    return page(
        [
            {
                "object": "bucket", "start_time": start(day), "end_time": start(day + 1),
                "results": [
                    {
                        "object": "organization.costs.result", "line_item": item.format(call.model) or None,
                        "amount": {"value": f"{Decimal(call.nanousd or 0).scaleb(-9):f}000", "currency": "usd"},
                        "project_id": None,
                    }
                    for call in calls if call.day == day
                ],
            }
            for day in days(calls)
        ]
    )  # fmt: skip


def anthropic_usage(calls: list[Used]) -> bytes:
    return json.dumps(
        {
            "data": [
                {
                    "starting_at": stamp(day), "ending_at": stamp(day + 1),
                    "results": [
                        {
                            "uncached_input_tokens": call.input - call.read - call.written,
                            "cache_creation": {
                                "ephemeral_1h_input_tokens": call.written, "ephemeral_5m_input_tokens": 0,
                            },
                            "cache_read_input_tokens": call.read, "output_tokens": call.output, "model": call.model,
                            "server_tool_use": {"web_search_requests": 0}, "service_tier": "standard",
                        }
                        for call in calls if call.day == day
                    ],
                }
                for day in days(calls)
            ],
            "has_more": False,
        }
    ).encode()  # fmt: skip


def anthropic_costs(calls: list[Used]) -> bytes:
    """In cents."""
    return json.dumps(
        {
            "data": [
                {
                    "starting_at": stamp(day), "ending_at": stamp(day + 1),
                    "results": [
                        {
                            "currency": "USD", "amount": f"{Decimal(call.nanousd or 0).scaleb(-7):f}",
                            "description": "Claude Usage - Input Tokens", "cost_type": "tokens", "model": call.model,
                        }
                        for call in calls if call.day == day
                    ],
                }
                for day in days(calls)
            ],
            "has_more": False,
        }
    ).encode()  # fmt: skip


def table(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def openai_usage_csv(calls: list[Used], delimiter: str = ",") -> bytes:
    """As the dashboard hands it out: with numbers such as 10.0, and empty lines for days without calls."""
    nothing = dict.fromkeys(
        ("model", "batch", "num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens"), ""
    )
    rows: list[dict[str, Any]] = []
    for day in days(calls):
        times = {"start_time": start(day), "end_time": start(day + 1), "start_time_iso": stamp(day)}
        told = [
            {
                **times, "model": call.model, "batch": "FALSE", "num_model_requests": "1.0",
                "input_tokens": f"{call.input}.0", "input_cached_tokens": f"{call.read}.0",
                "output_tokens": f"{call.output}.0",
            }
            for call in calls if call.day == day
        ]  # fmt: skip
        rows += told or [{**times, **nothing}]
    return table(rows, delimiter)


def openai_costs_csv(calls: list[Used]) -> bytes:
    return table(
        [
            {
                "start_time": start(call.day), "end_time": start(call.day + 1), "start_time_iso": stamp(call.day),
                "amount_value": f"{Decimal(call.nanousd or 0).scaleb(-9):f}", "amount_currency": "usd",
                "line_item": f"{call.model}, output", "project_id": "", "organization_id": "org-x",
            }
            for call in calls
        ]
    )  # fmt: skip


def anthropic_usage_csv(calls: list[Used]) -> bytes:
    return table(
        [
            {
                "usage_date_utc": FIRST + timedelta(call.day), "model_version": call.model, "api_key": "k",
                "workspace": "Default", "usage_type": "standard", "context_window": "≤ 200k",
                "usage_input_tokens_no_cache": call.input - call.read - call.written,
                "usage_input_tokens_cache_write_5m": call.written, "usage_input_tokens_cache_write_1h": 0,
                "usage_input_tokens_cache_read": call.read, "usage_output_tokens": call.output,
                "web_search_count": 0, "inference_geo": "global", "speed": "",
            }
            for call in calls
        ]
    )  # fmt: skip


def anthropic_costs_csv(calls: list[Used]) -> bytes:
    """With names for people, and rounded to cents."""
    names = {"claude-haiku-4-5-20251001": "Claude Haiku 4.5", "claude-opus-5": "Claude Opus 5"}
    return table(
        [
            {
                "usage_date_utc": FIRST + timedelta(call.day), "model": names[call.model], "workspace": "Default",
                "api_key": "k", "usage_type": "message", "context_window": "≤ 200k", "token_type": "output",
                "cost_usd": f"{Decimal(call.nanousd or 0).scaleb(-9):.2f}", "list_price_usd": "0.00",
                "cost_type": "token", "inference_geo": "global", "speed": "",
            }
            for call in calls
        ]
    )  # fmt: skip


WRITERS = [
    (openai_usage, OPENAI, ("input", "cache_read", "output")),
    (openai_usage_csv, OPENAI, ("input", "cache_read", "output")),
    (openai_costs, OPENAI, ("usd",)),
    (openai_costs_csv, OPENAI, ("usd",)),
    (anthropic_usage, ANTHROPIC, ("input", "cache_read", "cache_write", "output")),
    (anthropic_usage_csv, ANTHROPIC, ("input", "cache_read", "cache_write", "output")),
    (anthropic_costs, ANTHROPIC, ("usd",)),
    (anthropic_costs_csv, ANTHROPIC, ("usd",)),
]


def compared(data: bytes, ours: dict[Key, Ours]) -> Reconciled:
    return reconcile(read_export(data), ours, HALF_PERCENT)


@pytest.mark.parametrize(("write", "calls", "measures"), WRITERS)
def test_an_export_of_our_own_calls_has_no_gap(write: Any, calls: list[Used], measures: tuple[str, ...]) -> None:
    found = compared(write(calls), ours_of(calls))
    assert [total.measure for total in found.totals] == list(measures)
    assert all(total.is_within and not total.gap and not total.off for total in found.totals)
    assert (found.gaps, found.notes, found.is_within) == ((), (), True)
    assert (found.since, found.until) == (FIRST, FIRST + timedelta(max(call.day for call in calls)))


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            Used,
            day=st.integers(0, 3),
            model=st.sampled_from(("gpt-4o-2024-08-06", "gpt-5-2025-08-07")),
            input=st.integers(100, 10**6),
            read=st.integers(0, 100),
            written=st.just(0),
            output=st.integers(1, 10**5),
            nanousd=st.integers(1, 10**9),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 7),
)
def test_a_call_that_one_side_lacks_is_the_gap(calls: list[Used], index: int) -> None:
    lacking = calls[index % len(calls)]
    rest = [call for call in calls if call is not lacking]
    for write, measure, amount in (
        (openai_usage, "output", Decimal(lacking.output)),
        (openai_costs, "usd", Decimal(lacking.nanousd or 0).scaleb(-9)),
    ):
        assert compared(write(calls), ours_of(calls)).is_within
        [total] = [one for one in compared(write(calls), ours_of(rest)).totals if one.measure == measure]
        assert (total.gap, total.off) == (amount, amount)


def causes(found: Reconciled, measure: str) -> dict[str, str]:
    return {f"{line.day} {line.model}": "; ".join(line.why) for line in found.gaps if line.measure == measure}


def test_each_kind_of_gap_is_named() -> None:
    extra = Used(1, "gpt-5-2025-08-07", 100, 0, 0, 9, 1_000_000)
    found = compared(openai_usage([*OPENAI, extra]), ours_of(OPENAI))
    assert causes(found, "output") == {
        "2026-11-02 gpt-5-2025-08-07": "only there: calls without the gateway, or by another provider of the settings"
    }
    found = compared(openai_usage(OPENAI), ours_of([*OPENAI, extra]))
    assert "only here" in causes(found, "output")["2026-11-02 gpt-5-2025-08-07"]
    assert found.totals[0].gap == -100

    twice = [*OPENAI, OPENAI[0]]
    assert "1 requests more there" in causes(compared(openai_usage(twice), ours_of(OPENAI)), "input").popitem()[1]

    unpriced = [call._replace(nanousd=None) if call.day == 2 else call for call in OPENAI]
    said = causes(compared(openai_costs(OPENAI), ours_of(unpriced)), "usd")
    assert said["2026-11-03 gpt-4o-2024-08-06"] == "1 attempts here whose price is not known, together at most 1 USD"

    broken = ours_of(OPENAI[:-1])
    count(broken, FIRST + timedelta(2), "gpt-4o", None, None, 5 * 10**8)
    said = causes(compared(openai_costs(OPENAI), broken), "usd")
    assert "1 attempts here that were broken off, of which not all is known, together at most 0.5 USD" in str(said)

    dearer = [call._replace(nanousd=2 * (call.nanousd or 0)) for call in OPENAI]
    assert "other prices" in causes(compared(openai_costs(dearer), ours_of(OPENAI)), "usd").popitem()[1]

    moved = [call._replace(day=1) if call.day == 2 else call for call in OPENAI]
    said = causes(compared(openai_usage(OPENAI), ours_of(moved)), "output")
    assert all("around midnight" in words for words in said.values())
    assert len(said) == 2


def test_batches_tools_and_estimates_are_named() -> None:
    batch = openai_usage(OPENAI).replace(b'"batch": false', b'"batch": true')
    said = causes(compared(batch, {}), "input")
    assert "1560 tokens of batches" in said["2026-11-01 gpt-4o-2024-08-06"]
    tool = [*OPENAI, OPENAI[0]._replace(model="web search tool calls")]
    said = causes(compared(openai_costs(tool, "{}"), ours_of(OPENAI)), "usd")
    assert said == {
        "2026-11-01 web search tool calls": "a line of its own there; here it is part of what its model cost"
    }
    guessed: dict[Key, Ours] = {}
    usage = TokenUsage(input_tokens=400, output_tokens=10, estimated=True)
    count(guessed, FIRST, "gpt-4.1-mini", usage, 136_000, None)
    found = compared(openai_usage(OPENAI[2:3]), guessed)
    assert causes(found, "input") == {
        "2026-11-01 gpt-4.1-mini-2025-04-14": "1 attempts here are counted by an estimate"
    }


def test_a_bill_without_models_is_compared_by_days() -> None:
    found = compared(openai_costs(OPENAI, ""), ours_of(OPENAI))
    assert found.is_within
    found = compared(openai_costs(OPENAI, ""), ours_of(OPENAI[1:]))
    assert [(line.day, line.model, line.gap) for line in found.gaps] == [(FIRST, "", Decimal("0.00275"))]


def test_gaps_do_not_make_up_for_each_other_and_small_ones_are_tolerated() -> None:
    swapped = [OPENAI[0]._replace(model="gpt-5"), *OPENAI[1:]]
    found = compared(openai_usage(OPENAI), ours_of(swapped))
    assert [total.gap for total in found.totals] == [0, 0, 0]
    assert not found.is_within
    near = [call._replace(output=call.output * 1000) for call in OPENAI]
    nearly = [call._replace(output=call.output + call.output // 1000) for call in near]
    assert compared(openai_usage(near), ours_of(nearly)).is_within
    assert not reconcile(read_export(openai_usage(near)), ours_of(nearly), Decimal(0)).is_within


def test_amounts_that_are_rounded_to_cents_may_be_off_by_half_of_one() -> None:
    calls = [call._replace(nanousd=44_999_999) for call in ANTHROPIC]
    assert compared(anthropic_costs_csv(calls), ours_of(calls)).is_within
    assert not compared(
        anthropic_costs_csv(calls), ours_of([call._replace(nanousd=50_000_001) for call in calls])
    ).is_within


def test_what_is_not_known_is_told_and_left_out() -> None:
    newer = openai_usage(OPENAI).replace(b'"input_tokens"', b'"tea_tokens": 5, "input_tokens"')
    assert compared(newer, ours_of(OPENAI)).notes == ("columns that are not known, and left out: tea_tokens",)
    image = {"object": "organization.usage.images.result", "images": 3, "num_model_requests": 1}
    whole = json.loads(openai_usage(OPENAI))
    whole["data"][0]["results"].append(image)
    whole["has_more"] = True
    found = compared(json.dumps(whole).encode(), ours_of(OPENAI))
    assert found.is_within
    assert found.notes == (
        "`has_more`: the pages behind it are missing",
        "1 results of organization.usage.images.result are not compared",
    )
    local = openai_usage(OPENAI)
    for day in range(4):
        local = local.replace(str(start(day)).encode(), str(start(day) + 18_000).encode())
    assert "do not begin at midnight UTC" in compared(local, ours_of(OPENAI)).notes[0]


def test_several_pages_are_one_account() -> None:
    pages = [json.loads(openai_usage(OPENAI[:3])), json.loads(openai_usage(OPENAI[3:]))]
    assert compared(json.dumps(pages).encode(), ours_of(OPENAI)).is_within
    one, other = read_export(openai_usage(OPENAI[:3])), read_export(openai_usage(OPENAI[3:]))
    [whole] = merged([one, other])
    assert reconcile(whole, ours_of(OPENAI), HALF_PERCENT).is_within
    kinds = merged([read_export(openai_usage(OPENAI)), read_export(openai_costs(OPENAI))])
    assert [export.name for export in kinds] == ["OpenAI's usage", "OpenAI's costs"]
    with pytest.raises(InvalidRequest, match="two files tell the same"):
        merged([read_export(openai_usage(OPENAI)), read_export(openai_usage(OPENAI))])


def test_days_between_files_are_told_and_not_compared() -> None:
    late, early = (
        read_export(table([{"usage_date_utc": f"2026-11-{day:02}", "cost_usd": 1, "model": "opus"} for day in each]))
        for each in ((10, 12), (1, 3))
    )
    [whole] = merged([late, early])
    assert (whole.since, whole.until) == (date(2026, 11, 1), date(2026, 11, 12))
    assert [day for day in range(1, 14) if whole.tells_of(date(2026, 11, day))] == [1, 2, 3, 10, 11, 12]
    assert whole.notes == ["2026-11-04 to 2026-11-09 is in none of the files, and not compared"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "nothing in it"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"{", "no JSON"),
        (b"{}", "no page"),
        (b'{"data": [1]}', "bucket without"),
        (b'{"data": []}', "nothing in it"),
        (b"a,b\n1,2\n", "those of no export"),
        (b"usage_date_utc,cost_usd,model\n2026-11-01,free,x\n", "'free', which is no number"),
        (b"usage_date_utc,cost_usd,model\nyesterday,1,x\n", "which is no day"),
        (b"usage_date_utc,cost_usd,model\n2026-11-01,1\n", "another number of columns"),
        (b"start_time,amount_value,amount_currency\n1,2,eur\n", "only US dollars"),
        (b"start_time,amount_value\n1,NaN\n", "which is no number"),
    ],
)
def test_a_file_of_another_shape_is_told_what_was_expected(data: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read_export(data)


@settings(max_examples=150)
@given(st.data())
def test_garbage_is_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    write, calls, _ = data.draw(st.sampled_from(WRITERS))
    whole = bytearray(write(calls))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
        if not whole:
            break
    try:
        export = read_export(bytes(whole))
    except InvalidRequest:
        return
    assert isinstance(export, Export)
    reconcile(export, ours_of(calls), HALF_PERCENT)


def test_one_model_by_all_its_names() -> None:
    for names in (
        ("gpt-4o", "gpt-4o-2024-08-06", "GPT-4o"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
        ("claude-3-5-sonnet-20241022", "Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-latest", "Claude Sonnet 3.5"),
        ("ft:gpt-4o-2024-08-06:us::Ab1", "ft-gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
    ):
        assert len({same_model(name) for name in names}) == 1, names
    assert len({same_model(name) for name in ("gpt-4o", "gpt-4o-mini", "evals | gpt-4o", "claude-opus-4-1")}) == 4
    assert model_of_line_item("gpt-audio-mini-2025-12-15 audio, input") == "gpt-audio-mini-2025-12-15"
    assert model_of_line_item("web search tool calls") == "web search tool calls"


def test_vectors_have_a_file_of_their_own_and_agree_with_it() -> None:
    vectors = [Used(0, "text-embedding-3-small", 501, 0, 0, 0, 10_020)]
    files = [openai_usage(OPENAI), openai_vectors(vectors)]
    assert [read_export(file).kinds for file in files] == [{"answers"}, {"vectors"}]
    for order in (files, files[::-1]):
        [both] = merged([read_export(file) for file in order])
        assert both.kinds == {"answers", "vectors"}
        found = reconcile(both, ours_of([*OPENAI, *vectors]), HALF_PERCENT)
        assert found.is_within and not found.gaps
