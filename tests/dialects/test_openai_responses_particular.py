"""What of a caller's bytes in Responses one of OpenAI's models refuses and another takes, and what is sent instead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded_exchanges import exchanges

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.rows import find_row
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.openai_responses import inbound, outbound
from genai_spine.dialects.openai_responses.particular import refused, with_headers
from genai_spine.dialects.openai_responses.schema import LOGPROBS
from genai_spine.model.card import ModelCard
from genai_spine.wire import json as wire_json

HI: dict[str, Any] = {"model": "of the caller", "input": "Hi"}


def target_of(model: str, row: str = "openai") -> Target:
    found = find_row(row)
    assert found is not None
    return Target(card=card_of(row, row, model), quirks=found.quirks)


def is_refused(model: str, members: dict[str, Any], row: str = "openai") -> bool:
    return refused(wire_json.top_level(json.dumps({**HI, **members}).encode()), target_of(model, row))


def sent(model: str, members: dict[str, Any], row: str = "openai") -> Outgoing:
    request = with_headers(inbound.decode_request(json.dumps({**HI, **members}).encode()), ())
    return outbound.encode_request(request, target_of(model, row), stream=False)


CASES: list[tuple[dict[str, Any], str, str, dict[str, Any]]] = [
    ({"temperature": 0.2}, "gpt-5", "gpt-4o", {}),
    ({"top_p": 0.5, "temperature": 1}, "o3", "gpt-4.1", {}),
    ({"temperature": 0.2, "reasoning": {"effort": "low"}}, "gpt-5.4", "none-such", {"reasoning": {"effort": "low"}}),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, "gpt-4o", "gpt-5", {}),
    ({"reasoning": {"summary": "auto"}}, "gpt-4.1", "gpt-5", {}),
    ({"reasoning": {"effort": "minimal"}}, "o4-mini", "gpt-5", {"reasoning": {"effort": "low"}}),  # recorded
    ({"max_output_tokens": 50_000}, "gpt-4o", "gpt-5", {"max_output_tokens": 16_384}),
    ({"top_logprobs": 3, "include": [LOGPROBS]}, "gpt-5-mini", "gpt-4o", {"include": []}),
    ({"include": ["file_search_call.results", LOGPROBS]}, "gpt-5", "gpt-4o", {"include": ["file_search_call.results"]}),
]


@pytest.mark.parametrize(("members", "refusing", "taking", "instead"), CASES)
def test_what_one_model_refuses_and_another_does_not_is_mended_and_told(
    members: dict[str, Any], refusing: str, taking: str, instead: dict[str, Any]
) -> None:
    assert is_refused(refusing, members)
    assert not is_refused(taking, members)
    written = sent(refusing, members)
    body = json.loads(written.body)
    left = {name: value for name, value in body.items() if name not in HI}
    assert left == instead
    assert not is_refused(refusing, left)
    assert written.notices


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"temperature": 1, "top_p": 1.0, "top_logprobs": 0, "include": ["reasoning.encrypted_content"]},
        {"temperature": None, "top_p": None, "reasoning": None, "include": None, "max_output_tokens": None},
        {"reasoning": {"effort": None}, "max_output_tokens": 100, "parallel_tool_calls": True, "x_unknown": 1},
        {"reasoning": "low", "include": "all", "max_output_tokens": "many"},  # for the service to refuse
    ],
)
def test_what_a_reasoning_model_takes_is_relayed(members: dict[str, Any]) -> None:
    assert not is_refused("gpt-5", members)


def test_of_other_servers_nothing_is_known_and_openrouter_leaves_out_by_itself() -> None:
    everything = {name: value for members, *_ in CASES for name, value in members.items()}
    for row, model in (("vllm", "gpt-5"), ("lmstudio", "gpt-5"), ("openrouter", "openai/gpt-5")):
        assert not is_refused(model, everything, row)
    members = wire_json.top_level(json.dumps({**HI, **everything}).encode())
    assert not refused(members, Target(card=ModelCard(id="of-a-deployment")))


def test_the_effort_none_allows_a_temperature() -> None:
    assert not is_refused("gpt-5.6", {"temperature": 0.3, "reasoning": {"effort": "none"}, "top_logprobs": 2})
    assert is_refused("gpt-5.6", {"temperature": 0.3})


def test_the_callers_own_headers_go_along_and_whether_it_is_kept_is_the_services_to_say() -> None:
    asked = inbound.decode_request(json.dumps({**HI, "temperature": 0.2}).encode())
    marked = with_headers(asked, ((b"openai-project", b"proj_1"), (b"x-other", b"x")))
    written = outbound.encode_request(marked, target_of("gpt-5"), stream=False)
    assert written.headers == (("openai-project", "proj_1"),)
    assert json.loads(written.body).keys() == {"model", "input"}


@pytest.mark.parametrize("row", ["openai", "xai", "groq"])
def test_nothing_that_a_service_has_answered_is_taken_for_refused(row: str) -> None:
    asked = [exchange for exchange in exchanges("responses", row) if isinstance(exchange.request, dict)]
    if not asked:
        pytest.skip("no recorded traffic here")
    names = [
        exchange.name
        for exchange in asked
        if exchange.status == 200
        and "model" in exchange.request
        and is_refused(exchange.request["model"], exchange.request, row)
    ]
    assert names == []
