"""Google's searches are charged beside the tokens; the usage does not count them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from recorded_exchanges import exchanges
from test_citations import TARGET

from genai_spine.catalog.cards import card_of
from genai_spine.dialects.gemini import outbound, tap
from genai_spine.dialects.gemini.search_count import searches_charged
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of

QUERIES = {"webSearchQueries": ["weather in Paris", "", "weather in Paris", "rain in Paris"]}
COUNTED = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def answer(model: str, grounding: Any, text: str = "Rain.") -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    return {"candidates": [candidate], "usageMetadata": COUNTED, "modelVersion": model}


def relayed(*chunks: dict[str, Any]) -> TokenUsage | None:
    follower = tap.open_tap()
    for chunk in chunks:
        follower.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    follower.close()
    return outbound.decode_usage(follower.usage) if follower.usage is not None else None


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-3-flash-preview", 2), ("gemini-4-argon", 2), ("gemini-2.5-flash", 1), ("models/gemini-2.0-flash", 1)],
)
def test_each_query_is_charged_and_before_gemini_3_each_answer(model: str, searches: int) -> None:
    whole = answer(model, QUERIES)
    body = json.dumps(whole).encode()
    said = tap.tap_answer(body).usage
    assert said is not None
    for usage in (outbound.decode_response(body, TARGET).usage, outbound.decode_usage(said), relayed(whole)):
        assert usage is not None and usage.details is not None
        assert (usage.input_tokens, usage.output_tokens, usage.details.searches) == (10, 5, searches)


@pytest.mark.parametrize("grounding", [None, {}, [], "x", {"webSearchQueries": None}, {"webSearchQueries": ["", 1]}])
def test_an_answer_without_a_search_is_charged_for_none(grounding: Any) -> None:
    whole = answer("gemini-3-flash-preview", grounding)
    assert searches_charged("gemini-3-flash-preview", grounding) == 0
    for usage in (outbound.decode_response(json.dumps(whole).encode(), TARGET).usage, relayed(whole)):
        assert usage is not None and usage.details is None


def test_a_stream_may_tell_of_its_searches_before_its_counts_or_after() -> None:
    whole = answer("gemini-3-flash-preview", QUERIES)
    grounded = {name: each for name, each in whole.items() if name != "usageMetadata"}
    counted = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": COUNTED, "modelVersion": "gemini-3"}
    for chunks in ((grounded, counted), (counted, grounded), (whole, counted), (counted, whole, counted)):
        decoder = outbound.stream_decoder(TARGET)
        data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        end = [*decoder.feed(data), *decoder.close()][-1]
        for usage in (relayed(*chunks), end.usage):  # type: ignore[union-attr]  # a MessageEnd
            assert usage is not None and usage.details is not None and usage.details.searches == 2, chunks


def test_they_are_in_the_bill() -> None:
    usage = outbound.decode_response(json.dumps(answer("gemini-3-flash-preview", QUERIES)).encode(), TARGET).usage
    plain = outbound.decode_response(json.dumps(answer("gemini-3-flash-preview", {})).encode(), TARGET).usage
    price = card_of("gemini", "gemini", "gemini-3-flash-preview").price
    assert usage is not None and plain is not None and price is not None
    searched, without = cost_of(usage, price), cost_of(plain, price)
    assert searched is not None and without is not None
    assert searched - without == Decimal("0.028")  # two queries at 14 USD for a thousand


def test_recorded_answers_cost_the_same_relayed_and_read() -> None:
    found = 0
    for exchange in exchanges("generate_content"):
        if exchange.status != 200 or b"webSearchQueries" not in exchange.body:
            continue
        if exchange.body.lstrip().startswith(b"{"):
            read = outbound.decode_response(exchange.body, TARGET).usage
            raw = tap.tap_answer(exchange.body).usage
        else:
            decoder = outbound.stream_decoder(TARGET)
            read = [*decoder.feed(exchange.body), *decoder.close()][-1].usage  # type: ignore[union-attr]
            follower = tap.open_tap()
            follower.feed(exchange.body)
            follower.close()
            raw = follower.usage
        assert raw is not None and outbound.decode_usage(raw) == read, exchange.name
        found += read is not None and read.details is not None and bool(read.details.searches)
    assert found >= 15
