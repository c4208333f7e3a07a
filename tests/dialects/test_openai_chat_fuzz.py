"""Whatever bytes come: nothing but BadReply, a provider's error or InvalidRequest comes out; in linear time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_chat_bodies import ANSWER, CHUNKS, ERROR, REQUEST
from recorded_exchanges import exchanges

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound, models, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest
from genai_spine.testing import laws
from genai_spine.testing.strategies import mutated

MANY = settings(max_examples=120)
TARGET = Target(card=ModelCard(id="m"), quirks=Quirks(reasoning_field="reasoning_details", cache_marks="cache_control"))
SPEECH = laws.Speech(
    name="openai_chat",
    inbound=inbound,
    outbound=outbound,
    target=TARGET,
    answer_parts={},
    finishes=(),
    finish_with_calls=None,  # type: ignore[arg-type]  # nothing is drawn here
    user_parts={},
    assistant_parts={},
    result_parts={},
    options={},
    asked=CompletionRequest(messages=()),
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def framed(chunks: Any) -> bytes:
    chunks = chunks if isinstance(chunks, list) else [chunks]
    return b"".join(b"data: " + encoded(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


@MANY
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    laws.assert_refused_politely(SPEECH, data)
    laws.assert_stream_refused_politely(SPEECH, b"data: " + data + b"\n\n", cut=len(data) // 2)


@MANY
@given(mutated(REQUEST) | mutated(ANSWER) | mutated(ERROR))
def test_any_body_is_read_or_refused(value: Any) -> None:
    laws.assert_refused_politely(SPEECH, encoded(value))


@MANY
@given(mutated(CHUNKS), st.integers(0, 3000))
def test_any_stream_is_read_or_refused(chunks: Any, cut: int) -> None:
    laws.assert_stream_refused_politely(SPEECH, framed(chunks), cut)


@settings(max_examples=120)
@given(st.data())
def test_recorded_bodies_with_a_fault_in_them_are_read_or_refused(data: st.DataObject) -> None:
    found = [exchange for exchange in exchanges("chat") if len(exchange.body) < 20_000]
    if not found:
        pytest.skip("no recordings")
    exchange = data.draw(st.sampled_from(found))
    body = exchange.body
    if body.startswith(b"data:"):
        at, replaced = data.draw(st.integers(0, len(body))), data.draw(st.binary(max_size=4))
        laws.assert_stream_refused_politely(SPEECH, body[:at] + replaced + body[at + len(replaced) :], at)
    elif body.startswith(b"{"):
        laws.assert_refused_politely(SPEECH, encoded(data.draw(mutated(json.loads(body)))))
    if isinstance(exchange.request, dict):
        laws.assert_refused_politely(SPEECH, encoded(data.draw(mutated(exchange.request))))


@MANY
@given(st.binary(max_size=100) | mutated({"data": [{"id": "m", "created": 5, "owned_by": "o"}]}).map(encoded))
def test_any_list_of_models_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadReply):
        models.decode_models(data)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[1]}',
        b'{"choices":{"0":{}}}',
        b'{"choices":[{"message":[]}]}',
        b'{"choices":[{"message":{"content":5}}]}',
        b'{"choices":[{"message":{"content":["a"]}}]}',
        b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{}"}}]}}]}',
        b'{"choices":[]}',
        b"{}",
        b"[]",
        b"null",
        b"",
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        b'{"choices":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"x":' + b"[" * 900 + b"]" * 900 + b',"choices":[{"message":{}}]}',
    ],
)
def test_what_is_no_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_response(body, TARGET)
    with pytest.raises(BadReply):
        laws.events_of(SPEECH, b"data: " + body.replace(b'"message"', b'"delta"') + b"\n\ndata: [DONE]\n\n")


def test_a_number_that_no_float_holds_is_a_bad_reply() -> None:
    with pytest.raises(BadReply, match="out of range"):
        outbound.decode_response(b'{"choices":[{"message":{"content":"a"}}],"x":1e999}', TARGET)
    with pytest.raises(BadReply, match="out of range"):
        laws.events_of(SPEECH, b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"x":1e999}\n\n')


@pytest.mark.parametrize(
    "member",
    [
        {"usage": []},
        {"usage": 5},
        {"usage": "many"},
        {"usage": {"prompt_tokens": "12", "completion_tokens": -1, "prompt_tokens_details": 5}},
        {"usage": {"prompt_tokens": 1e18, "completion_tokens": 0.5, "cost": "much"}},
        {"error": []},
        {"error": {}},
        {"error": False},
        {"error": ""},
        {"created": "today"},
        {"created": 1e300},
        {"created": -5},
    ],
)
def test_members_of_a_wrong_type_do_not_spoil_an_answer(member: dict[str, Any]) -> None:
    message = {"content": "a", "audio": {"data": 5}, "reasoning_details": [{"type": "reasoning.text", "text": 5}]}
    choice = {"message": message, "logprobs": 5, "finish_reason": "stop"}
    response = outbound.decode_response(encoded({"choices": [choice], **member}), TARGET)
    choice = {"delta": choice.pop("message"), **choice}
    streamed = collect(laws.events_of(SPEECH, framed([{"choices": [choice], **member}])))
    for answer in (response, streamed):
        assert answer.content == "a"
        assert answer.created_s is None
        assert answer.usage is None or (answer.usage.input_tokens, answer.usage.output_tokens) == (None, None)


# ---------------------------------------------------------------- linear time


def _many(delta: Callable[[int], dict[str, Any]]) -> Callable[[int], bytes]:
    return lambda count: framed([{"choices": [{"delta": delta(index)}]} for index in range(count)])


def _detail(index: int) -> dict[str, Any]:
    return {"reasoning_content": "t"} if index % 2 else {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}


STREAMS = {
    "text": _many(lambda _: {"content": "word "}),
    "refusal": _many(lambda _: {"refusal": "word "}),
    "audio": _many(lambda _: {"audio": {"data": "A" * 1000}}),
    "thoughts of both forms": _many(_detail),
    "arguments before a name": _many(lambda _: {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 1000}}]}),
    "calls": _many(lambda index: {"tool_calls": [{"index": index, "id": f"{index}", "function": {"name": "f"}}]}),
    "calls without index": _many(lambda index: {"tool_calls": [{"id": f"{index}", "function": {"name": "f"}}]}),
    "annotations": _many(lambda _: {"content": "a", "annotations": [{}]}),
    "calls in one chunk": lambda count: framed(
        {"choices": [{"delta": {"tool_calls": [{"id": f"{n}", "function": {"name": "f"}} for n in range(count)]}}]}
    ),
}


@pytest.mark.slow  # CPU time is compared with itself, which a busy machine can still disturb
@pytest.mark.parametrize("name", STREAMS)
def test_time_is_linear(name: str) -> None:
    """Eight times as much costs less than 40 times the CPU: what is quadratic costs 64 times."""

    def seconds(count: int) -> float:
        data = STREAMS[name](count).replace(b"data: [DONE]\n\n", b"")
        best = float("inf")
        for _ in range(5):
            decoder = outbound.stream_decoder(TARGET)
            begun = time.process_time()
            decoder.feed(data)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(8000) < 40 * max(seconds(1000), 0.001)
