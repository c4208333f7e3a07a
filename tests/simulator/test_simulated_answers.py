"""The tiny model as a pure function."""

from __future__ import annotations

import math
from typing import Any

import jsonschema
import pytest

from genai_spine.model.content import CacheMark, Document, Image, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import BadRequest, InvalidRequest
from genai_spine.model.events import PartDelta
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message, Tool, ToolChoice
from genai_spine.model.response import FinishReason
from genai_spine.providers.simulated import (
    MODELS,
    SimulatedProvider,
    answer_to,
    check_signatures,
    events_of,
    signature_of,
    vectors_for,
)
from genai_spine.providers.simulated_usage import input_tokens_of, tokens_of

WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "minLength": 6}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
TIME = {"name": "get_time"}


def product(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def request(text: str = "hello there", **fields: Any) -> CompletionRequest:
    return CompletionRequest(messages=text, **fields)  # type: ignore[arg-type]


def test_the_last_message_is_repeated():
    answer = answer_to(request(model="any"))
    assert answer.content == "You said: hello there"
    assert answer.model == "any"
    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 4)


def test_the_same_request_has_the_same_answer_streamed_or_not_and_another_one_another_id():
    assert answer_to(request()) == answer_to(request()) == answer_to(request(stream=True))
    assert answer_to(request()).id != answer_to(request("else")).id
    assert answer_to(request()).created_s == 1_760_000_000


@pytest.mark.parametrize("model", [*MODELS, "sim-long-37"])
@pytest.mark.parametrize("thinking", [True, None])
def test_the_stream_is_the_answer(model: str, thinking: bool | None):
    answer = answer_to(request(model=model, thinking=thinking, tools=None or ()))
    assert collect(events_of(answer)) == answer


def test_a_stream_has_one_delta_for_each_token():
    answer = answer_to(request(model="sim-long-500"))
    assert answer.usage is not None and answer.usage.output_tokens == 500
    assert len(answer.content.split()) == 500
    assert sum(isinstance(event, PartDelta) for event in events_of(answer)) == 500


@pytest.mark.parametrize("text", ["", " ", "a", "  two  words \n", "x" * 50, "世界\u2028 👩‍👩‍👧 end "])
def test_tokens_joined_are_the_text(text: str):
    assert "".join(tokens_of(text)) == text


def test_a_tool_is_called_with_arguments_of_its_schema():
    answer = answer_to(request(tools=[WEATHER]))
    (call,) = answer.tool_calls
    assert call.name == "get_weather"
    jsonschema.validate(call.input, WEATHER["parameters"])
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_the_tools_that_the_text_names_are_called_in_its_order():
    text = "first get_time and then get_weather"
    calls = answer_to(request(text, tools=[WEATHER, TIME])).tool_calls
    assert [call.name for call in calls] == ["get_time", "get_weather"]
    assert len({call.id for call in calls}) == 2
    calls = answer_to(request(text, tools=[WEATHER, TIME], parallel_tool_calls=False)).tool_calls
    assert [call.name for call in calls] == ["get_time"]


def test_one_tool_is_called_twice_where_the_text_says_so():
    assert len(answer_to(request("the weather in both cities", tools=[WEATHER])).tool_calls) == 2


def test_tool_choice_is_obeyed():
    tools = [WEATHER, TIME]
    assert answer_to(request(tools=tools, tool_choice="none")).tool_calls == ()
    named = answer_to(request(tools=tools, tool_choice=ToolChoice(mode="tool", name="get_time")))
    assert [call.name for call in named.tool_calls] == ["get_time"]
    assert answer_to(request(tools=tools, tool_choice="required")).tool_calls
    with pytest.raises(BadRequest, match="no tool 'other'"):
        answer_to(request(tools=tools, tool_choice=ToolChoice(mode="tool", name="other")))


def test_a_custom_tool_gets_free_text():
    (call,) = answer_to(request(tools=(Tool(name="shell", kind="custom"),))).tool_calls
    assert (call.kind, call.arguments) == ("custom", "input of shell")


@pytest.mark.parametrize("role", ["tool", "user"])
def test_after_a_tool_result_the_answer_cites_it(role: Any):
    results = (
        ToolResult(call_id="1", content=(Text(text="21 degrees"),)),
        ToolResult(call_id="2", content=(Text(text="no such city"),), is_error=True),
    )
    messages = (
        Message(role="user", content="weather?"),
        Message(
            role="assistant",
            content=(ToolCall(id="1", name="get_weather"), ToolCall(id="2", name="get_weather")),
        ),
        *(Message(role=role, content=(result,)) for result in results),
    )
    answer = answer_to(CompletionRequest(messages=messages, tools=[WEATHER]))
    assert answer.content.startswith("The tool said: 21 degrees The tool failed: no such city")
    assert answer.finish_reason is FinishReason.STOP
    assert answer_to(CompletionRequest(messages=messages, tools=[WEATHER], tool_choice="required")).tool_calls


def test_an_output_schema_is_answered_with_json_of_it():
    schema = WEATHER["parameters"]
    jsonschema.validate(answer_to(request(output_schema=schema)).json(), schema)
    assert answer_to(request(output_schema={"type": "json_object"})).json() == {"answer": "You said: hello there"}


def test_a_schema_without_an_instance_is_the_callers_mistake():
    with pytest.raises(InvalidRequest, match="no value was found for the schema"):
        answer_to(request(output_schema={"type": "integer", "minimum": 3, "maximum": 2}))


@pytest.mark.parametrize("thinking", [True, {"budget_tokens": 100}, {"effort": "high"}, {"type": "adaptive"}])
def test_thinking_comes_first_and_is_signed(thinking: Any):
    answer = answer_to(request(thinking=thinking))
    thought, text = answer.parts
    assert isinstance(thought, Thinking) and isinstance(text, Text)
    assert thought.text and thought.signature == signature_of(thought.text)
    assert answer.usage is not None and answer.usage.reasoning_tokens == len(tokens_of(thought.text))


@pytest.mark.parametrize("thinking", [None, False, "none"])
def test_without_a_wish_there_is_no_thinking(thinking: Any):
    answer = answer_to(request(thinking=thinking))
    assert answer.thinking == ""
    assert answer.usage is not None and answer.usage.reasoning_tokens is None


@pytest.mark.parametrize("model", ["sim-think", "sim-redacted", "sim-think-only"])
def test_thoughts_that_come_back_unchanged_pass_the_check_and_others_do_not(model: str):
    thoughts = answer_to(request(model=model)).parts

    def again(parts: Any) -> CompletionRequest:
        return CompletionRequest(messages=(Message(role="user", content="q"), Message(role="assistant", content=parts)))

    check_signatures(again(thoughts))
    assert isinstance(thoughts[0], Thinking)
    forged = Thinking(redacted="abc") if thoughts[0].redacted else Thinking(text="no", signature=thoughts[0].signature)
    with pytest.raises(BadRequest, match=r"messages\.1\.content\.0: Invalid"):
        check_signatures(again((forged,)))


def test_max_tokens_cuts_the_answer_thoughts_included():
    answer = answer_to(request(model="sim-long-100", max_tokens=10))
    assert (len(answer.content.split()), answer.finish_reason) == (10, FinishReason.LENGTH)
    thoughtful = answer_to(request(thinking=True, max_tokens=3))
    assert thoughtful.content == "" and thoughtful.finish_reason is FinishReason.LENGTH
    assert isinstance(thoughtful.parts[0], Thinking)
    assert thoughtful.parts[0].signature == signature_of(thoughtful.parts[0].text)
    assert answer_to(request(max_tokens=4)).finish_reason is FinishReason.STOP


def test_the_first_stop_sequence_ends_the_answer():
    answer = answer_to(request("one two three", stop=("three", "two")))
    assert (answer.content, answer.stop_sequence) == ("You said: one ", "two")
    assert answer.finish_reason is FinishReason.STOP


def test_refusals():
    assert answer_to(request("please refuse this")).refusal == "I cannot help with that."
    assert answer_to(request(model="sim-refuse")).refusal
    assert answer_to(request("the refused refuseniks")).refusal is None


def test_images_and_documents_are_named():
    parts = (
        Text(text="look"),
        Image(data="AAAA", media_type="image/png"),
        Image(url="https://example.com/a.jpg"),
        Document(data="AAAA", media_type="application/pdf"),
    )
    answer = answer_to(CompletionRequest(messages=(Message(role="user", content=parts),)))
    assert answer.content == "You said: look (2 images: image/png, by URL; 1 document: application/pdf)"


def test_marked_tokens_are_written_to_the_cache_first_and_read_later():
    marked = Message(role="system", content=(Text(text="be kind to all", cache=CacheMark(ttl="1h")),))
    question, said = Message(role="user", content="and now?"), Message(role="assistant", content="yes")
    first = answer_to(CompletionRequest(messages=(marked, question))).usage
    assert first is not None and first.input_tokens == 6
    assert (first.cache_write_tokens, first.cache_write_1h_tokens, first.cache_read_tokens) == (4, 4, 0)
    later = answer_to(CompletionRequest(messages=(marked, question, said, question))).usage
    assert later is not None and (later.cache_write_tokens, later.cache_read_tokens) == (0, 4)
    unmarked = answer_to(request()).usage
    assert unmarked is not None and unmarked.cache_read_tokens is None


def test_input_tokens_count_tools_too():
    assert input_tokens_of(request(tools=[WEATHER])) > input_tokens_of(request()) == 2


def test_a_mirror_shows_the_request_as_it_was_understood():
    mirrored = answer_to(request(model="sim-mirror", temperature=0.5)).json()
    assert mirrored["temperature"] == 0.5
    assert mirrored["messages"][0]["content"] == [{"type": "text", "text": "hello there"}]


def test_vectors_have_length_one_and_shared_words_bring_them_near():
    one, near, far = vectors_for(["the red house", "the red car", "nothing alike"], 64)
    assert len(one) == 64 and math.isclose(sum(value * value for value in one), 1, rel_tol=1e-6)
    assert product(one, near) > product(one, far)
    assert vectors_for(["the red house"], 64) == (one,)
    assert vectors_for([(1, 2)], 4) == vectors_for([(1, 2)], 4)


async def test_the_provider_answers_streams_embeds_and_lists():
    provider = SimulatedProvider()
    assert (await provider.complete("hello")).content == "You said: hello"
    assert "".join([text async for text in provider.text_stream("hello")]) == "You said: hello"
    assert len((await provider.embed(["a", "b"])).embeddings) == 2
    assert await provider.is_model_available("simulated")
    assert (await provider.complete("hello")).cost_usd == 0
