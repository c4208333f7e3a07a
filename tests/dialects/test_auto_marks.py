"""Prompt-cache marks that nobody asked for: where they stand, and where none does; and those of callers, all kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine import ProviderManager
from genai_spine.dialects import auto_marks
from genai_spine.dialects.anthropic_messages import inbound as anthropic
from genai_spine.dialects.auto_marks import least_tokens, marked
from genai_spine.dialects.interface import Target
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.providers import codecs
from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

SONNET = "claude-sonnet-4-5"
LONG = "many words " * 400
MARK = {"type": "ephemeral"}
POINT = {"cachePoint": {"type": "default"}}


def done(dialect: str, body: dict[str, Any], model: str = SONNET, **able: Any) -> Any:
    target = Target(card=ModelCard(id=model, provider="p", capabilities=Capabilities(**able)))
    return json.loads(marked(dialect, json.dumps(body).encode(), target))


def asked(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def test_system_and_last_turn_of_the_user_are_marked() -> None:
    for system in (LONG, [{"type": "text", "text": "a"}, {"type": "text", "text": LONG}]):
        turns = [*asked("first"), {"role": "assistant", "content": "x"}, *asked([{"type": "text", "text": "last"}])]
        body = done("anthropic_messages", {"system": system, "messages": turns})
        assert body["system"][-1] == {"type": "text", "text": LONG, "cache_control": MARK}
        assert body["messages"][-1]["content"] == [{"type": "text", "text": "last", "cache_control": MARK}]
        assert json.dumps(body).count("cache_control") == 2
        assert body["messages"][:2] == turns[:2]
    prefilled = [*asked("last"), {"role": "assistant", "content": "{"}]
    body = done("anthropic_messages", {"system": LONG, "messages": prefilled})
    assert body["messages"][0]["content"][0]["cache_control"] == MARK and body["messages"][1] == prefilled[1]


def test_the_last_tool_is_marked_where_there_is_no_system_prompt() -> None:
    tools = [{"name": "a", "input_schema": {}}, {"name": "b", "description": LONG, "input_schema": {}}]
    body = done("anthropic_messages", {"tools": tools, "messages": asked("x")})
    assert body["tools"] == [tools[0], {**tools[1], "cache_control": MARK}]


def test_a_short_beginning_gets_no_mark_of_its_own_and_a_short_prompt_none() -> None:
    body = done("anthropic_messages", {"system": "Be brief.", "messages": asked(LONG)})
    assert body["system"] == "Be brief." and "cache_control" in body["messages"][0]["content"][0]
    for short in ({"system": "a", "messages": asked("b")}, {"messages": asked("")}):
        assert done("anthropic_messages", short) == short
    assert done("anthropic_messages", {"system": LONG, "messages": asked("x")}, "claude-opus-4-5")["system"] == LONG


def test_a_request_with_a_mark_of_its_own_stays_as_it_is() -> None:
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    for body in (
        {"system": [block], "messages": asked("x")},
        {"system": LONG, "messages": asked([{**block, "text": "y"}])},
        {"system": LONG, "messages": asked("x"), "cache_control": MARK},
        {"system": LONG, "tools": [{"name": "a", "cache_control": MARK}], "messages": asked("x")},
    ):
        assert done("anthropic_messages", body) == body
    quoted = done("anthropic_messages", {"system": LONG, "messages": asked('say "cache_control": {}')})
    assert "cache_control" in quoted["messages"][0]["content"][0]  # words are no mark


def test_what_takes_no_marks_gets_none() -> None:
    body = {"system": LONG, "messages": asked("x")}
    for dialect, model in (("anthropic_messages", "kimi-k2"), ("openai_chat", SONNET), ("gemini", "gemini-3-pro")):
        assert done(dialect, body, model) == body
    assert done("anthropic_messages", body, cache_marks=False) == body
    lasts: tuple[Any, ...] = (1, {}, [], {"name": "found later", "defer_loading": True})
    for last in lasts:
        tools = [{"name": "a", "description": LONG, "input_schema": {}}, last]
        assert done("anthropic_messages", {"tools": tools, "messages": asked("x")})["tools"] == tools
    for content in ([{"type": "thinking", "thinking": "t"}], [{"type": "text", "text": " "}], [], "", None):
        messages = asked(content)
        assert done("anthropic_messages", {"system": LONG, "messages": messages})["messages"] == messages


def test_converse_has_points_after_what_is_cached() -> None:
    claude, nova = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"
    tools = {"toolConfig": {"tools": [{"toolSpec": {"name": LONG}}]}}
    messages = asked([{"text": "x"}])
    for model in (claude, nova):
        body = done("bedrock_converse", {"system": [{"text": LONG}], "messages": messages, **tools}, model)
        assert body["system"] == [{"text": LONG}, POINT] and body["toolConfig"] == tools["toolConfig"]
        assert body["messages"][0]["content"] == [{"text": "x"}, POINT]
    body = done("bedrock_converse", {"messages": messages, **tools}, claude)
    assert body["toolConfig"]["tools"][-1] == POINT
    assert done("bedrock_converse", {"messages": messages, **tools}, nova)["toolConfig"] == tools["toolConfig"]
    own = {"system": [{"text": LONG}, POINT], "messages": messages}
    assert done("bedrock_converse", own, claude) == own
    assert done("bedrock_converse", {"system": [{"text": LONG}], "messages": messages}, "meta.llama3-1")["system"] == [
        {"text": LONG}
    ]


def test_the_least_size_is_that_of_the_model() -> None:
    sizes = {
        "claude-opus-5-5": 512, "claude-opus-4-5-20251101": 4096, "claude-opus-4.6": 4096, "claude-haiku-4-5": 4096,
        "claude-opus-4-8": 1024, "claude-opus-4-1": 1024, "claude-sonnet-4-6": 2048, "claude-sonnet-4-20250514": 1024,
        "claude-3-5-haiku-latest": 2048, "claude-3-7-sonnet-latest": 1024, "claude-haiku-5-5": 4096,
        "anthropic.claude-sonnet-4-5-20250929-v1:0": 1024, "amazon.nova-lite-v1:0": 1024, "gpt-5": None,
        "supernova": None,
    }  # fmt: skip
    assert {model: least_tokens(model) for model in sizes} == sizes


@given(st.binary(max_size=200), st.sampled_from(sorted(auto_marks._MARKING)))
def test_arbitrary_bytes_stay_as_they_are(noise: bytes, dialect: str) -> None:
    target = Target(card=ModelCard(id=SONNET, provider="p"))
    long = b'{"system":' + noise + b'"' + LONG.encode() * 2 + b'"}'
    assert marked(dialect, noise, target) == noise
    marked(dialect, long, target)


_values = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content", "tools", "a"]), inner, max_size=3)
        | st.builds(lambda part: {"role": "user", "content": part}, inner)
        | st.builds(lambda text: {"type": "text", "text": text}, inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["system", "messages", "tools", "toolConfig"]), _values), st.data())
def test_json_stays_json_and_loses_nothing(body: dict[str, Any], data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from(sorted(auto_marks._MARKING)))
    for name in ("system", "messages", "tools"):
        if name in body and data.draw(st.booleans()):
            body[name] = [{"type": "text", "text": LONG}, body[name]]
    sent = done(dialect, {**body, "padding": LONG})
    assert without_marks(sent) == without_marks({**body, "padding": LONG})


def without_marks(value: Any) -> Any:
    """With a text for what is a list of that text alone: the same to the service."""
    if isinstance(value, dict):
        return {name: without_marks(part) for name, part in value.items() if name != "cache_control"}
    if isinstance(value, list):
        parts = [without_marks(part) for part in value if part != POINT]
        is_text = len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"type", "text"}
        return parts[0]["text"] if is_text and parts[0]["type"] == "text" else parts
    return value


def test_marks_of_callers_reach_every_service_that_takes_them() -> None:
    """On a tool, in the system prompt, on a turn, on a call and on its result: those five, or as many points."""
    block = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    call = {"type": "tool_use", "id": "c", "name": "t", "input": {}, "cache_control": MARK}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "x", "cache_control": MARK}
    said = {
        "model": "m",
        "max_tokens": 9,
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "cache_control": MARK}],
        "system": [block],
        "messages": [*asked([block]), {"role": "assistant", "content": [call]}, *asked([result])],
    }
    request = anthropic.decode_request(json.dumps(said).encode())
    for dialect in sorted(auto_marks._MARKING):
        target = Target(card=ModelCard(id=f"anthropic.{SONNET}-v1:0", provider="p"))
        sent = codecs.outbound(dialect).encode_request(request, target, stream=False)
        assert sent.body.count(b'"cachePoint"' if dialect == "bedrock_converse" else b'"cache_control"') == 5
        assert sent.body.count(b'"1h"') == 2
        assert marked(dialect, sent.body, target) == sent.body


# ── through the gateway ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def provider(simulator: Simulator, **more: Any) -> dict[str, Any]:
    return {"type": "anthropic", "base_url": simulator.urls.anthropic, "api_key": "k", **more}


def test_relayed_bytes_are_marked_and_stay_the_same_otherwise(simulator: Simulator) -> None:
    import urllib.request

    system, turn = json.dumps(LONG), '{ "content" : "caf\\u00e9 \\/ 1.50" , "role":"user"}'
    body = f'{{"model":"an/{SONNET}","max_tokens":9,"system":{system},"x":{{ "y" : 1.50 }},"messages":[ {turn} ]}}'
    with running_gateway(
        {"providers": {"an": provider(simulator, auto_cache=True), "no": provider(simulator)}}
    ) as gateway:
        for name, count in (("an", 2), ("no", 0)):
            simulator.received.clear()
            data = body.replace('"an/', f'"{name}/').encode()
            headers = {"content-type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(gateway.url + "/v1/messages", data, headers)).read()
            (received,) = simulator.received
            sent = received.body
            assert sent.count(b"cache_control") == count
            assert b'"x":{ "y" : 1.50 }' in sent and b'"caf\\u00e9 \\/ 1.50"' in sent
            if not count:
                assert sent == data.replace(b'"no/', b'"')


async def test_what_is_translated_is_marked_too_and_marks_of_callers_are_kept(simulator: Simulator) -> None:
    settings = {"providers": {"an": provider(simulator, auto_cache=True)}}
    async with ProviderManager.from_settings(settings) as manager:
        messages: list[Any] = [{"role": "system", "content": LONG}, {"role": "user", "content": "tea"}]
        for mark in (False, True):
            simulator.received.clear()
            if mark:
                messages[0] = {
                    "role": "system",
                    "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                }
            await manager.complete(messages, model=f"an/{SONNET}", max_tokens=9)
            async for _ in manager.stream(messages, model=f"an/{SONNET}", max_tokens=9):
                pass
            for received in simulator.received:
                assert received.body.count(b"cache_control") == (1 if mark else 2)
                assert (b'"ttl":"1h"' in received.body) is mark
