"""What of a caller's own bytes one Claude takes and another refuses, and the betas of what is written anew."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from genai_spine.catalog.cards import card_of
from genai_spine.dialects.anthropic_messages import inbound, outbound
from genai_spine.dialects.anthropic_messages.particular import refused, with_headers
from genai_spine.dialects.interface import Target
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.wire import json as wire_json

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64}
SYSTEM = {"messages": [*ASK["messages"], {"role": "system", "content": "In French."}]}
BETAS = ((b"anthropic-beta", b"context-management-2025-06-27, effort-2025-11-24"), (b"anthropic-version", b"x"))


def is_refused(model: str, **members: Any) -> bool:
    body = wire_json.top_level(json.dumps({"model": "of the caller", **ASK, **members}).encode())
    return refused(body, Target(card=card_of("anthropic", "anthropic", model)))


@pytest.mark.parametrize(
    ("members", "refusing", "taking"),
    [
        (SYSTEM, "claude-sonnet-4-5", "claude-opus-4-8"),
        ({"thinking": {"type": "adaptive"}}, "claude-sonnet-4-5", "claude-sonnet-4-6"),
        ({"thinking": {"type": "disabled"}}, "claude-opus-5-5", "claude-opus-5"),
        ({"tool_choice": {"type": "any"}}, "claude-fable-5-1", "claude-fable-5"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "claude-sonnet-5-5", "claude-sonnet-5"),
        ({"max_tokens": 64001}, "claude-haiku-4-5", "claude-haiku-5-5"),
        ({"temperature": 0}, "claude-opus-4-7", "claude-opus-4-6"),
        ({"temperature": 1, "top_p": 0.9}, "claude-opus-4-1", "claude-sonnet-4-20250514"),
    ],
)
def test_what_one_model_takes_and_another_does_not(members: Any, refusing: str, taking: str) -> None:
    assert is_refused(refusing, **members)
    assert not is_refused(taking, **members)


@pytest.mark.parametrize(
    "members",
    [SYSTEM, {"temperature": 0, "top_p": 0.9}, {"thinking": {"type": "disabled"}}, {"max_tokens": 10**9}],
)
def test_of_a_model_that_nobody_knows_nothing_is_known(members: Any) -> None:
    body = wire_json.top_level(json.dumps({**ASK, **members}).encode())
    assert not refused(body, Target(card=ModelCard(id="of-a-deployment")))


@pytest.mark.parametrize(
    "members",
    [{}, {"tool_choice": {"type": "auto"}}, {"thinking": None, "tool_choice": 7, "max_tokens": "many"}],
)
def test_what_every_model_takes_and_what_none_does_is_left_to_the_service(members: Any) -> None:
    assert not is_refused("claude-opus-5-5", **members)


def test_an_address_of_the_user_is_not_relayed() -> None:
    for user, is_changed in (("joe@example.com", True), ("u-1", False)):
        members = wire_json.top_level(json.dumps({**ASK, "metadata": {"user_id": user}}).encode())
        assert outbound.concerns(members, Quirks()) is is_changed


def test_betas_of_the_caller_go_along_with_what_is_written_anew() -> None:
    asked = inbound.decode_request(
        json.dumps({**ASK, "model": "m", "betas": ["x-1"], "context_management": {"edits": [1.0]}}).encode()
    )
    sent = outbound.encode_request(with_headers(asked, BETAS), Target(card=ModelCard(id="m")), stream=False)
    assert sent.headers == (("anthropic-beta", "context-management-2025-06-27,effort-2025-11-24,x-1"),)
    assert json.loads(sent.body)["context_management"] == {"edits": [1.0]}
    assert sent.notices == ()


def test_without_betas_the_request_is_the_same() -> None:
    asked = inbound.decode_request(json.dumps({**ASK, "model": "m"}).encode())
    assert with_headers(asked, BETAS[1:]) is asked
    assert with_headers(asked, BETAS).extra == {
        "anthropic_messages": msgspec.Raw(b'{"betas":["context-management-2025-06-27","effort-2025-11-24"]}')
    }
