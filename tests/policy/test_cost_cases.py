"""Recorded usage blocks of every service, against sums that are written out in cost_cases/recorded.toml."""

from __future__ import annotations

import base64
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages.schema import usage_of as anthropic_usage
from genai_spine.dialects.bedrock_converse.schema import usage_of as bedrock_usage
from genai_spine.dialects.cohere_chat.schema import usage_of as cohere_usage
from genai_spine.dialects.gemini.schema import usage_of as gemini_usage
from genai_spine.dialects.ollama_chat.outbound import decode_usage as ollama_usage
from genai_spine.dialects.openai_chat.usage import usage_of as chat_usage
from genai_spine.dialects.openai_responses.schema import usage_of as responses_usage
from genai_spine.model.card import Price
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import REPORTED, priced
from genai_spine.providers.http_provider import HttpProvider

ROOT = Path(os.environ.get("GENAI_WIRE") or Path(__file__).parents[3] / "shared" / "wire")
FILE = Path(__file__).parent / "cost_cases" / "recorded.toml"
PER = {"1M": 1_000_000, "1K": 1_000, "hour": 3_600, "1": 1}

Members = Mapping[str, Any]
READERS: dict[str, Callable[[Members, Members], TokenUsage | None]] = {
    "openai_chat": lambda usage, beside: chat_usage(usage, beside.get("service_tier")),
    "openai_responses": responses_usage,
    "anthropic_messages": lambda usage, _: anthropic_usage(usage),
    "bedrock_converse": bedrock_usage,
    "gemini": lambda usage, _: gemini_usage(usage),
    "cohere_chat": lambda usage, _: cohere_usage(usage),
    "ollama_chat": lambda usage, _: ollama_usage(msgspec.Raw(msgspec.json.encode(usage))),
}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exchange: str
    dialect: str
    row: str
    model: str
    usage: str
    cost: str
    beside: str = "{}"

    @property
    def counted(self) -> TokenUsage:
        found = READERS[self.dialect](msgspec.json.decode(self.usage), msgspec.json.decode(self.beside))
        assert found is not None
        return found

    @property
    def price(self) -> Price | None:
        return provider_of(self.row).card(self.model).price_at(DAY, self.counted.service_tier)


@cache
def provider_of(row: str) -> HttpProvider:
    return HttpProvider(row)


def load_cases() -> tuple[date, list[Case]]:
    data = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return data["day"], msgspec.convert(data["case"], list[Case])


DAY, CASES = load_cases()


def worked_out(cost: str) -> Fraction | None:
    """The value of a row's arithmetic."""
    kind, _, rest = cost.partition(" ")
    if kind == "unknown:":
        return None
    if kind == "reported":
        return Fraction(rest)
    total = Fraction(0)
    for group in cost.split("; "):
        items, _, per = group.partition(" per ")
        factors = [item.split("*") for item in items.split(" + ")]
        total += sum((Fraction(count) * Fraction(rate) for count, rate in factors), Fraction(0)) / PER[per]
    return total


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.exchange}-{case.dialect}")
def test_a_recorded_usage_costs_what_its_row_works_out(case: Case) -> None:
    found = priced(case.counted, case.price)
    wanted = worked_out(case.cost)
    assert (found.cost_usd is None) == (wanted is None), found
    if found.cost_usd is not None and wanted is not None:
        assert Fraction(found.cost_usd) == wanted
        is_reported = case.cost.startswith("reported")
        assert (found.source == REPORTED) == is_reported
        assert is_reported or (case.price is not None and found.price_since == case.price.since)


def test_there_are_enough_of_them_and_of_every_kind() -> None:
    assert len(CASES) >= 190
    assert sum(worked_out(case.cost) is not None for case in CASES) >= 150
    assert len({case.row for case in CASES}) >= 20
    assert {case.dialect for case in CASES} == READERS.keys()
    counted = [case.counted for case in CASES]
    for name in TokenUsage.__struct_fields__:
        if name not in ("provider_metadata", "estimated", "compute_s"):  # Replicate's seconds: test_cost_by_time.py
            assert any(getattr(usage, name) for usage in counted), f"no recorded usage has {name}"
    details = [usage.details for usage in counted if usage.details is not None]
    told = {name for each in details for name in each.__struct_fields__ if getattr(each, name)}
    assert told >= {"image_input_tokens", "audio_input_s", "searches", "apart", "unpriced"}


def test_every_row_is_of_a_recording() -> None:
    if not ROOT.exists():
        pytest.skip(f"no recordings in {ROOT}: set GENAI_WIRE to the folder of the recorded exchanges")
    for case in CASES:
        data = json.loads((ROOT / "exchanges" / f"{case.exchange}.json").read_text())
        body = data["response"].get("body")
        text = body if isinstance(body, str) else json.dumps(body)
        if encoded := data["response"].get("body_base64"):
            text = base64.b64decode(encoded).decode("latin-1")
        said = {float(number) for number in _NUMBER.findall(text)}
        assert set(_numbers(json.loads(case.usage))) <= said, case.exchange


_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_the_arithmetic_of_the_rows_is_what_it_says() -> None:
    assert worked_out("300*0.25 + 1000*0.025 + 87*2 per 1M; 1*12 per 1K") == Fraction("0.012274")
    assert worked_out("reported 0.5") == Fraction(1, 2)
    assert worked_out("unknown: why") is None
    assert worked_out("4*0.18 per hour") == Fraction(Decimal("0.0002"))
