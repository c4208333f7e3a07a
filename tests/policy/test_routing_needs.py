"""What a request needs, what models lack, and which conditions hold: the facts that routing goes by."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.gateway import inbounds
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import Audio, Document, Image, Text, ToolResult
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.policy.conditions import Traits, metadata_of, traits_of, unmet_condition
from genai_spine.policy.locality import is_loopback, runs_elsewhere
from genai_spine.policy.needs import MARKS, MEMBERS, TOLD, lacks, may_need, most_tokens, needs_of, window_of
from genai_spine.policy.tokens import estimate
from genai_spine.settings.tree import Conditions
from genai_spine.wire.json import top_level

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M/wHwAEAQH/7yMK/gAAAABJRU5ErkJggg=="


def asking(*parts: Any, **options: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message(role="user", content=parts),), **options)


@pytest.mark.parametrize(
    ("request_", "needs"),
    [
        (asking(Text(text="hi")), set()),
        (asking(Image(data=PIXEL)), {"images"}),
        (asking(Document(url="https://example.com/a.pdf")), {"documents"}),
        (asking(Audio(data="AAAA", format="wav")), {"audio"}),
        (asking(ToolResult(call_id="1", content=(Image(data=PIXEL),))), {"images"}),
        (asking(Text(text="hi"), tools=[{"name": "f"}]), {"tools"}),
        (asking(Text(text="hi"), output_schema={"type": "object"}), {"structured_output"}),
        (asking(Text(text="hi"), thinking=True), {"thinking"}),
        (asking(Text(text="hi"), thinking=False), set()),
        (asking(Text(text="hi"), thinking={"effort": "none"}), set()),
    ],
)
def test_what_a_request_needs(request_: CompletionRequest, needs: set[str]) -> None:
    assert needs_of(request_) == needs


def test_only_a_plain_no_is_a_lack() -> None:
    assert lacks(Capabilities(tools=False, images=None, audio=True, video=False)) == {"tools"}
    assert lacks(Capabilities()) == frozenset()


def test_the_least_window_counts_and_an_unknown_one_does_not() -> None:
    card = ModelCard(id="m", context_window=8000)
    assert window_of(card, None) == 8000
    assert window_of(card, 2048, None) == 2048
    assert window_of(ModelCard(id="m"), None, 4096) == 4096
    assert window_of(ModelCard(id="m"), None) is None


BODIES = {
    "openai_chat": {
        "images": {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]}]
        },
        "documents": {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f1"}}]}]},
        "audio": {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}
            ]
        },
        "tools": {"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]},
        "thinking": {"messages": [], "reasoning_effort": "high"},
        "structured_output": {
            "messages": [],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        },
    },
    "anthropic_messages": {
        "images": {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y"}}]}
            ]
        },
        "documents": {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "http://x/y"}}]}
            ]
        },
        "tools": {"messages": [], "tools": [{"name": "f", "input_schema": {"type": "object"}}]},
        "thinking": {"messages": [], "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "structured_output": {
            "messages": [],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        },
    },
    "openai_responses": {
        "images": {
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]}]
        },
        "documents": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "tools": {"input": "hi", "tools": [{"type": "function", "name": "f", "parameters": {}}]},
        "thinking": {"input": "hi", "reasoning": {"effort": "high"}},
        "structured_output": {
            "input": "hi",
            "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        },
    },
    "gemini": {
        "images": {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}]},
        "audio": {"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}]}]},
        "documents": {"contents": [{"parts": [{"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}]}]},
        "tools": {"contents": [], "tools": [{"functionDeclarations": [{"name": "f"}]}]},
        "thinking": {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingBudget": 1000}}},
        "structured_output": {
            "contents": [],
            "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}},
        },
    },
    "ollama_chat": {
        "images": {"messages": [{"role": "user", "content": "what is this", "images": [PIXEL]}]},
        "tools": {"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]},
        "thinking": {"messages": [], "think": True},
        "structured_output": {"messages": [], "format": {"type": "object"}},
    },
    "ollama_generate": {
        "images": {"prompt": "what is this", "images": [PIXEL]},
        "thinking": {"prompt": "hi", "think": True},
        "structured_output": {"prompt": "hi", "format": {"type": "object"}},
    },
}

FRAMES: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "hi"}]},
    "anthropic_messages": {"max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"parts": [{"text": "hi"}]}]},
    "ollama_chat": {"messages": [{"role": "user", "content": "hi"}]},
}
"""What a request of a dialect cannot do without."""


@pytest.mark.parametrize(
    ("dialect", "need"), [(dialect, need) for dialect, needs in BODIES.items() for need in needs], ids=str
)
def test_a_look_at_a_body_misses_nothing_that_its_decoding_finds(dialect: str, need: str) -> None:
    said = {**FRAMES.get(dialect, {}), **{k: v for k, v in BODIES[dialect][need].items() if v != []}}
    body = json.dumps({"model": "m", **said}).encode()
    assert need in needs_of(inbounds.inbound(dialect).decode_request(body)), "the example is one"
    assert may_need(need, body, top_level(body))


def test_a_look_tells_that_a_plain_question_needs_nothing() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}).encode()
    assert not any(may_need(need, body, top_level(body)) for need in TOLD)


def test_everything_that_can_be_needed_can_be_looked_for() -> None:
    assert MEMBERS.keys() | MARKS.keys() == TOLD.keys() and not MEMBERS.keys() & MARKS.keys()


@given(st.lists(st.text(max_size=60), max_size=6))
def test_no_estimate_is_beyond_the_bound(texts: list[str]) -> None:
    request = CompletionRequest(messages=tuple(Message(role="user", content=text) for text in texts))
    assert int(estimate(request, "gpt-4o")) <= most_tokens(request) + 8


# ---------------------------------------------------------------- conditions


def test_metadata_is_found_in_the_callers_dialect() -> None:
    body = json.dumps({"model": "m", "messages": [], "metadata": {"team": "a", "tags": "x, y"}}).encode()
    request = inbounds.inbound("openai_chat").decode_request(body)
    assert traits_of(metadata_of(request), ["z"]) == Traits(
        metadata={"team": "a", "tags": "x, y"}, tags=frozenset({"x", "y", "z"})
    )
    body = json.dumps(
        {"model": "m", **FRAMES["anthropic_messages"], "metadata": {"user_id": "u", "tags": ["x"]}}
    ).encode()
    request = inbounds.inbound("anthropic_messages").decode_request(body)
    assert traits_of(metadata_of(request)).tags == {"x"}


def test_metadata_of_any_shape_is_no_error() -> None:
    strange = CompletionRequest(messages=(), extra={"openai_chat": msgspec.Raw(b'{"metadata": [1]}')})
    assert metadata_of(strange) == {}
    assert traits_of({"tags": 7, "deep": {"a": 1}, "flag": True}) == Traits(metadata={"tags": "7", "flag": "true"})


@pytest.mark.parametrize(
    ("when", "why"),
    [
        (Conditions(), None),
        (Conditions(metadata={"team": "a"}, tags=["x"], min_tokens=100, max_tokens=100), None),
        (Conditions(metadata={"team": "b"}), "metadata.team is not b"),
        (Conditions(metadata={"plan": "pro"}), "metadata.plan is not pro"),
        (Conditions(tags=["x", "z"]), "without the tag z"),
        (Conditions(min_tokens=101), "fewer than 101 tokens"),
        (Conditions(max_tokens=99), "more than 99 tokens"),
    ],
)
def test_all_of_a_condition_must_hold(when: Conditions, why: str | None) -> None:
    traits = Traits(metadata={"team": "a"}, tags=frozenset({"x"}))
    assert unmet_condition(when, lambda: traits, lambda: 100) == why


# ---------------------------------------------------------------- this machine


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "a.localhost",
    ],
)
def test_what_can_only_be_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "0.0.0.0", "10.0.0.1", "192.168.1.4", "example.com", "localhost.example.com", "127.0.0.1.nip.io"),
        *("2130706433", "0x7f000001", "::", "::ffff:8.8.8.8", "localhost@example.com", "notlocalhost", "127.1"),
    ],
)
def test_what_may_be_another_machine(host: str) -> None:
    assert not is_loopback(host)


def test_models_that_a_local_server_passes_on() -> None:
    assert runs_elsewhere("gpt-oss:120b-cloud") and runs_elsewhere("glm-4.6:cloud") and runs_elsewhere("X:CLOUD")
    assert not runs_elsewhere("llama3.2") and not runs_elsewhere("cloud-model")
