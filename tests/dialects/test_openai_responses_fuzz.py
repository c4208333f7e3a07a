"""Whatever bytes come: nothing but BadReply, a provider's error or InvalidRequest comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_responses_bodies import ANSWER, ERROR, REQUEST, events
from recorded_exchanges import exchanges

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_responses import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.testing import laws
from genai_spine.testing.strategies import mutated

MANY = settings(max_examples=120)
TARGET = Target(card=ModelCard(id="m"), quirks=Quirks(schema="strict"))
SPEECH = laws.Speech(
    name="openai_responses",
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
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def framed(written: Any) -> bytes:
    return b"".join(b"data: " + encoded(event) + b"\n\n" for event in (written if isinstance(written, list) else [1]))


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
@given(mutated(events()), st.integers(0, 3000))
def test_any_stream_is_read_or_refused(written: Any, cut: int) -> None:
    laws.assert_stream_refused_politely(SPEECH, framed(written), cut)


@MANY
@given(st.permutations(events()))
def test_events_in_any_order_are_read_or_refused(written: list[Any]) -> None:
    laws.assert_stream_refused_politely(SPEECH, framed(written))


@settings(max_examples=100)
@given(st.data())
def test_recorded_bodies_with_a_fault_in_them_are_read_or_refused(data: st.DataObject) -> None:
    found = [exchange for exchange in exchanges("responses") if len(exchange.body) < 20_000]
    if not found:
        pytest.skip("no recordings")
    exchange = data.draw(st.sampled_from(found))
    body = exchange.body
    if body.startswith((b"data:", b"event:")):
        at, replaced = data.draw(st.integers(0, len(body))), data.draw(st.binary(max_size=4))
        laws.assert_stream_refused_politely(SPEECH, body[:at] + replaced + body[at + len(replaced) :], at)
    elif body.startswith(b"{"):
        laws.assert_refused_politely(SPEECH, encoded(data.draw(mutated(json.loads(body)))))
    if isinstance(exchange.request, dict):
        laws.assert_refused_politely(SPEECH, encoded(data.draw(mutated(exchange.request))))


@pytest.mark.parametrize(
    "body",
    [
        b'{"output":[1]}',
        b'{"output":{"0":{}}}',
        b'{"output":[{}]}',
        b'{"output":[{"type":"message","role":"assistant","content":5}]}',
        b'{"output":[{"type":"message","role":"assistant","content":["a"]}]}',
        b'{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":1}]}]}',
        b'{"output":[{"type":"function_call","name":"f","arguments":"{}"}]}',
        b'{"output":[{"type":"reasoning","summary":["a"]}]}',
        b'{"output":null}',
        b"{}",
        b"[]",
        b"null",
        b"",
        b'{"output":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_response(body, TARGET)
    with pytest.raises(BadReply):
        laws.events_of(SPEECH, b'data: {"type":"response.completed","response":' + (body or b"0") + b"x}\n\n")
