"""How a call was served and what else has a price, read from plain answers, streams and relays alike."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages.schema import usage_of as anthropic_usage
from genai_spine.dialects.gemini.schema import usage_of as gemini_usage
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import outbound as chat
from genai_spine.dialects.openai_chat import tap as chat_tap
from genai_spine.dialects.openai_chat.usage import usage_of as chat_usage
from genai_spine.dialects.openai_responses import outbound as responses
from genai_spine.dialects.openai_responses import tap as responses_tap
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.card import ModelCard
from genai_spine.model.response import TokenUsage, UsageDetails


@pytest.mark.parametrize("word", [None, "", "default", "standard", "auto", "on_demand", "ON_DEMAND", 7, [], {}])
def test_the_ordinary_way_has_no_name(word: Any) -> None:
    assert tier_of(word) is None


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        (("flex",), "flex"),
        (("default", "batch"), "batch"),
        (("ON_DEMAND_PRIORITY",), "priority"),
        (("PROVISIONED_THROUGHPUT",), "provisioned_throughput"),
        (({"type": "flex"}, "optimized"), "flex"),
        (({"type": "default"}, "optimized"), "optimized"),
    ],
)
def test_another_way_is_named_in_small_letters(said: tuple[Any, ...], tier: str) -> None:
    assert tier_of(*said) == tier


def chat_answer(tier: Any) -> bytes:
    answer = {
        "id": "1",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        "service_tier": tier,
    }
    return json.dumps(answer).encode()


@pytest.mark.parametrize(("said", "tier"), [("flex", "flex"), ("default", None), (None, None), (7, None)])
def test_a_chats_tier_stands_beside_its_usage(said: Any, tier: str | None) -> None:
    assert chat_usage({"prompt_tokens": 9}, said) == TokenUsage(input_tokens=9, service_tier=tier)
    raw = chat_tap.tap_answer(chat_answer(said)).usage
    assert raw is not None
    counted = chat.decode_usage(raw)
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens, counted.service_tier) == (9, 1, tier)


def test_a_relayed_chats_tier_comes_with_the_usage_of_its_stream() -> None:
    first = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}], "service_tier": "priority"}
    last = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}, "service_tier": "priority"}
    tap = chat_tap.open_tap()
    for chunk in (first, last):
        frame = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        assert tap.feed(frame) == frame, "and its bytes are what they were"
    assert tap.usage is not None
    counted = chat.decode_usage(tap.usage)
    assert counted is not None
    assert counted.service_tier == "priority"


def response(*items: dict[str, Any], tier: str = "default") -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    return {"id": "r", "model": "m", "status": "completed", "output": list(items), "usage": usage, "service_tier": tier}


SEARCH = {"type": "web_search_call", "id": "a", "status": "completed", "action": {"type": "search", "query": "q"}}
OPENED = {"type": "web_search_call", "id": "b", "status": "completed", "action": {"type": "open_page", "url": "u"}}
FOUND = {"type": "file_search_call", "id": "c", "status": "completed", "queries": ["q"], "results": None}
RUN = {"type": "code_interpreter_call", "id": "d", "status": "completed", "code": "1", "container_id": "x"}


@pytest.mark.parametrize(
    ("items", "details"),
    [
        ((), None),
        ((OPENED,), None),
        ((SEARCH, SEARCH, OPENED), UsageDetails(searches=2)),
        ((FOUND, SEARCH), UsageDetails(searches=1, file_searches=1)),
        ((RUN,), UsageDetails(unpriced=("code_interpreter_call",))),
    ],
)
def test_the_services_own_tools_are_counted_whichever_way_an_answer_comes(
    items: tuple[dict[str, Any], ...], details: UsageDetails | None
) -> None:
    whole = response(*items, tier="flex")
    body = json.dumps(whole).encode()
    plain = responses.decode_response(body, Target(card=ModelCard(id="m"))).usage
    tapped = responses_tap.tap_answer(body).usage
    tap = responses_tap.open_tap()
    tap.feed(
        b"event: response.completed\ndata: "
        + json.dumps({"type": "response.completed", "response": whole}).encode()
        + b"\n\n"
    )
    assert tapped is not None
    assert tap.usage is not None
    for usage in (plain, responses.decode_usage(tapped), responses.decode_usage(tap.usage)):
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (9, 1)
        assert (usage.service_tier, usage.details) == ("flex", details)


def test_a_relayed_usage_is_the_same_object_where_nothing_is_out_of_the_ordinary() -> None:
    body = json.dumps(response()).encode()
    usage = responses_tap.tap_answer(body).usage
    assert usage is not None
    assert json.loads(bytes(usage)) == response()["usage"]


def test_xai_counts_its_reasoning_beside_and_reports_what_it_cost() -> None:
    wire = {
        "prompt_tokens": 291,
        "completion_tokens": 26,
        "total_tokens": 513,
        "completion_tokens_details": {"reasoning_tokens": 196},
        "cost_in_usd_ticks": 1330500,
    }
    usage = chat_usage(wire)
    assert usage is not None
    assert (usage.output_tokens, usage.reported_cost_usd) == (222, Decimal("0.00013305"))
    assert chat.decode_usage(msgspec.Raw(json.dumps(wire).encode())) == usage
    azures = chat_usage({**wire, "cost_in_usd_ticks": 0})
    assert azures is not None
    assert azures.reported_cost_usd is None, "who resells xAI's models leaves a 0 there, and they are not free"


def test_a_call_with_ones_own_key_costs_what_its_maker_charges_too() -> None:
    wire = {
        "prompt_tokens": 480,
        "completion_tokens": 33,
        "cost": 0.0001,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": 0.0002265},
    }
    usage = chat_usage(wire)
    assert usage is not None
    assert usage.reported_cost_usd == Decimal("0.0003265")
    assert chat_usage({**wire, "cost_details": {}}).reported_cost_usd is None  # type: ignore[union-attr]  # as above


def test_anthropics_compaction_is_used_apart_and_advice_is_somebody_elses() -> None:
    turns = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 83, "cache_read_input_tokens": 55096},
        {"type": "message", "input_tokens": 181, "output_tokens": 8},
    ]
    usage = anthropic_usage({"input_tokens": 181, "output_tokens": 8, "iterations": turns})
    assert usage is not None
    assert usage.details == UsageDetails(
        apart=TokenUsage(input_tokens=55196, output_tokens=83, cache_read_tokens=55096)
    )
    advised = anthropic_usage({"input_tokens": 1, "output_tokens": 1, "iterations": [{"type": "advisor_message"}]})
    assert advised is not None
    assert advised.details == UsageDetails(unpriced=("advisor_message",))


@pytest.mark.parametrize(
    ("members", "tier"),
    [
        ({"service_tier": "standard"}, None),
        ({"service_tier": "batch"}, "batch"),
        ({"speed": "fast", "service_tier": "standard"}, "fast"),
        ({"inference_geo": "us"}, "inference_geo=us"),
        ({"inference_geo": "global"}, None),
    ],
)
def test_anthropics_tier(members: dict[str, Any], tier: str | None) -> None:
    usage = anthropic_usage({"input_tokens": 1, "output_tokens": 1, **members})
    assert usage is not None
    assert usage.service_tier == tier


def test_geminis_tokens_by_what_they_are() -> None:
    usage = gemini_usage(
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 10,
            "cachedContentTokenCount": 40,
            "totalTokenCount": 110,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}, {"modality": "IMAGE", "tokenCount": 50}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 10}],
            "trafficType": "PROVISIONED_THROUGHPUT",
        }
    )
    assert usage is not None
    assert usage.service_tier == "provisioned_throughput"
    assert usage.details == UsageDetails(image_input_tokens=50, image_output_tokens=10, cached_audio_tokens=40)
