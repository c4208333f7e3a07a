"""What of a caller's own bytes one of OpenAI's models takes and another refuses, and what is then sent instead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.rows import find_row
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.openai_chat import inbound, outbound
from genai_spine.dialects.openai_chat.particular import refused, with_headers
from genai_spine.model.card import ModelCard
from genai_spine.providers import codecs
from genai_spine.wire import json as wire_json

HI: dict[str, Any] = {"model": "of the caller", "messages": [{"role": "user", "content": "Hi"}]}
TOOLS = [{"type": "function", "function": {"name": "sky", "parameters": {"type": "object", "properties": {}}}}]
FOR_MANY = {"temperature": 0.2, "n": 2}
OLD = {"temperature": 0.2, "functions": [{"name": "f"}]}


def target_of(model: str, row: str = "openai") -> Target:
    found = find_row(row)
    assert found is not None
    return Target(card=card_of(row, row, model), quirks=found.quirks)


def is_refused(model: str, members: dict[str, Any], row: str = "openai") -> bool:
    return refused(wire_json.top_level(json.dumps({**HI, **members}).encode()), target_of(model, row))


def sent(model: str, members: dict[str, Any], row: str = "openai") -> Outgoing:
    request = inbound.decode_request(json.dumps({**HI, **members}).encode())
    return outbound.encode_request(request, target_of(model, row), stream=False)


CASES: list[tuple[dict[str, Any], str, str, dict[str, Any]]] = [
    ({"temperature": 0.2}, "gpt-5", "gpt-4o", {}),
    ({"temperature": 0}, "o3", "gpt-5-chat-latest", {}),
    ({"top_p": 0.5}, "gpt-5.5", "gpt-5.4", {}),
    ({"top_p": 0.5, "reasoning_effort": "low"}, "gpt-5.4", "gpt-4.1", {"reasoning_effort": "low"}),
    ({"presence_penalty": 0.1}, "gpt-5-mini", "gpt-4o-mini", {}),
    ({"stop": ["END"]}, "gpt-5", "gpt-4o", {}),
    ({"stop": "END"}, "o4-mini", "o3-mini", {}),
    ({"max_tokens": 100}, "gpt-5.1", "gpt-4o", {"max_completion_tokens": 100}),
    ({"max_completion_tokens": 50_000}, "gpt-4o", "gpt-5", {"max_completion_tokens": 16_384}),
    ({"reasoning_effort": "low"}, "gpt-4o", "gpt-5", {}),
    ({"reasoning_effort": "minimal"}, "o3", "gpt-5", {"reasoning_effort": "low"}),
    ({"reasoning_effort": "max"}, "gpt-6-astra", "gpt-5.6-none-such", {"reasoning_effort": "xhigh"}),
    ({"logprobs": True, "top_logprobs": 2}, "gpt-5", "gpt-5.1", {}),
    ({"logit_bias": {"50": -100}}, "gpt-5.1", "gpt-4o", {}),
    ({"parallel_tool_calls": False, "tools": TOOLS}, "o3-mini", "gpt-5", {"tools": TOOLS}),
    ({"parallel_tool_calls": True, "tools": TOOLS}, "o4-mini", "gpt-4o", {"tools": TOOLS}),
    ({"prediction": {"type": "content", "content": "x"}}, "gpt-5", "gpt-4o", {}),
]


@pytest.mark.parametrize(("members", "refusing", "taking", "instead"), CASES)
def test_what_one_model_takes_and_another_does_not(
    members: dict[str, Any], refusing: str, taking: str, instead: dict[str, Any]
) -> None:
    assert is_refused(refusing, members)
    if taking.endswith("none-such") or (taking == "gpt-4.1" and "reasoning_effort" in members):
        return  # of which nobody knows, or which refuses the other half
    assert not is_refused(taking, members)


@pytest.mark.parametrize(("members", "refusing", "taking", "instead"), CASES)
def test_what_is_not_relayed_is_mended_and_told(
    members: dict[str, Any], refusing: str, taking: str, instead: dict[str, Any]
) -> None:
    written = sent(refusing, members)
    body = json.loads(written.body)
    assert {name: value for name, value in body.items() if name not in HI} == instead
    told = {notice.param for notice in written.notices}
    assert told or "max_tokens" in members, "max_completion_tokens says the same"
    again = {name: value for name, value in body.items() if name not in HI}
    assert not is_refused(refusing, again)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "logprobs": False},  # what stands anyway
        {"temperature": None, "stop": None, "max_tokens": None, "reasoning_effort": None},
        {"stop": []},
        {"max_completion_tokens": 100, "reasoning_effort": "low", "tools": [], "x_unknown": 1},
        FOR_MANY,  # nothing but the relay could give two answers
        OLD,  # nor calls in the form before tools
    ],
)
def test_what_a_reasoning_model_takes_or_the_model_cannot_say_is_relayed(members: dict[str, Any]) -> None:
    assert not is_refused("gpt-5", members)


@pytest.mark.parametrize("value", [0, 0.5])
def test_xai_and_gemini_refuse_penalties_that_are_0_as_well(value: float) -> None:
    assert is_refused("grok-4", {"frequency_penalty": value}, "xai")
    assert not is_refused("grok-4-fast-non-reasoning", {"stop": ["x"]}, "xai")
    assert is_refused("grok-4", {"stop": ["x"]}, "xai")
    assert not is_refused("grok-4", {"temperature": 0.2, "max_tokens": 5, "logit_bias": {"1": 1}}, "xai")


@pytest.mark.parametrize("row", ["vllm", "openai_compatible", "simulated", "lmstudio"])
def test_of_a_server_of_ones_own_nothing_is_known(row: str) -> None:
    everything = {name: value for members, *_ in CASES for name, value in members.items()}
    assert not is_refused("gpt-5", everything, row)
    members = wire_json.top_level(json.dumps({**HI, **everything}).encode())
    assert not refused(members, Target(card=ModelCard(id="of-a-deployment")))


def test_openrouter_leaves_out_by_itself_what_a_model_does_not_support() -> None:
    assert not is_refused("openai/gpt-5", {"temperature": 0.2, "stop": "x", "max_tokens": 10**6}, "openrouter")


def test_what_is_no_value_of_its_kind_is_left_to_the_service() -> None:
    assert not is_refused("gpt-4o", {"max_tokens": "many", "temperature": [], "reasoning_effort": None})
    assert not refused({"temperature": Raw(b"1e999")}, target_of("gpt-4o"))


def test_what_the_effort_none_allows_goes_through() -> None:
    asked = {"temperature": 0.3, "logprobs": True, "reasoning_effort": "none"}
    assert not is_refused("gpt-5.6", asked)
    assert json.loads(sent("gpt-5.6", asked).body) == {**HI, "model": "gpt-5.6", **asked}


def test_the_callers_own_headers_go_along_with_what_is_written_anew() -> None:
    headers = ((b"openai-project", b"proj_1"), ("openai-organization", "org"), (b"x-other", b"x"))
    asked = inbound.decode_request(json.dumps({**HI, "temperature": 0.2, "x_unknown": {"a": 1.0}}).encode())
    said = outbound.encode_request(with_headers(asked, headers), target_of("gpt-5"), stream=True)
    assert said.headers == (("openai-project", "proj_1"), ("openai-organization", "org"))
    body = json.loads(said.body)
    assert body["x_unknown"] == {"a": 1.0}
    assert "extra_headers" not in body
    assert with_headers(asked, headers[2:]) is asked


def test_other_headers_are_none_whatever_a_body_calls_them() -> None:
    asked = inbound.decode_request(json.dumps({**HI, "extra_headers": {"authorization": "x"}}).encode())
    said = outbound.encode_request(asked, target_of("gpt-5"), stream=False)
    assert said.headers == ()
    assert json.loads(said.body)["extra_headers"] == {"authorization": "x"}


def test_particular_dialects_have_what_the_engine_asks_them() -> None:
    for dialect in codecs.PARTICULAR:
        assert callable(codecs.particular(dialect).refused)
        assert callable(codecs.particular(dialect).with_headers)
