"""The laws, for each dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speeches import SPEECHES

from genai_spine.model.content import Text, Thinking
from genai_spine.model.events import PartDelta
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.testing import laws, strategies
from genai_spine.testing.laws import Speech

SOME, MANY = 20, 50
"""Examples of each law: every day, and in the slow suite."""

Law = Callable[[Speech, st.DataObject], None]


def for_each_dialect(law: Law) -> Any:
    """A test of each dialect, with some examples and with many."""

    def of_a_dialect(speech: Speech, examples: int) -> None:
        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(data=st.data())
        def holds(data: st.DataObject) -> None:
            law(speech, data)

        holds()

    of_a_dialect.__name__, of_a_dialect.__qualname__, of_a_dialect.__doc__ = law.__name__, law.__name__, law.__doc__
    each_dialect = pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.name)
    each_length = pytest.mark.parametrize("examples", [SOME, pytest.param(MANY, marks=pytest.mark.slow)])
    return each_length(each_dialect(of_a_dialect))


@for_each_dialect
def test_a_stream_is_its_answer(speech: Speech, data: st.DataObject) -> None:
    laws.assert_replays(data.draw(strategies.responses(speech)))


@for_each_dialect
def test_the_stream_and_the_plain_answer_say_the_same(speech: Speech, data: st.DataObject) -> None:
    laws.assert_answers_survive(speech, data.draw(strategies.responses(speech)))


@for_each_dialect
def test_a_stream_may_be_cut_anywhere(speech: Speech, data: st.DataObject) -> None:
    response = data.draw(strategies.responses(speech))
    laws.assert_cut_anywhere(speech, laws.written_stream(speech, response), most_cuts=200)


@for_each_dialect
def test_a_request_is_read_as_it_was_written(speech: Speech, data: st.DataObject) -> None:
    laws.assert_request_survives(speech, data.draw(strategies.requests(speech)))


@for_each_dialect
def test_garbage_is_refused_politely(speech: Speech, data: st.DataObject) -> None:
    response = data.draw(strategies.responses(speech))
    answer = json.loads(speech.inbound.encode_response(response, speech.asked))
    request = data.draw(strategies.requests(speech))
    asked = json.loads(speech.outbound.encode_request(request, speech.target, stream=request.stream).body)
    for value in (answer, asked):
        laws.assert_refused_politely(speech, json.dumps(data.draw(strategies.mutated(value))).encode())
    stream = bytearray(laws.written_stream(speech, response))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    laws.assert_stream_refused_politely(speech, bytes(stream), cut=data.draw(st.integers(0, len(stream))))


def test_a_law_that_is_broken_is_seen() -> None:
    parts = (Thinking(text="t", signature="s"), Text(text="a"))
    events = list(replay(CompletionResponse(model="m", parts=parts)))
    laws.assert_well_formed(events)
    start, *middle, end = events
    swapped = [PartDelta(1, "x"), *middle]
    for wrong in ([*middle, end], [start, *middle], [*events, end], [start, *events], [start, *swapped, end]):
        with pytest.raises(AssertionError):
            laws.assert_well_formed(wrong)
    for lost in (CompletionResponse(model="m", parts=parts, stop_sequence="x"), CompletionResponse(model="m")):
        with pytest.raises(AssertionError):
            laws.assert_answers_survive(SPEECHES[0], lost)
    with pytest.raises(AssertionError, match="not all could be said"):
        laws.assert_request_survives(SPEECHES[2], CompletionRequest(messages="Hi", user="me"))
