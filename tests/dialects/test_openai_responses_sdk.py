"""OpenAI's own SDK, with its stream helper, reads what we write: from the simulator's server, over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_responses import outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.fold import collect
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
INPUTS: dict[str, dict[str, Any]] = {
    "a text": {"input": "hello there"},
    "many words": {"input": "hello", "model": "sim-long-100"},
    "unicode": {"input": "hello", "model": "sim-unicode"},
    "nothing": {"input": "hello", "model": "sim-empty"},
    "a refusal": {"input": "hello", "model": "sim-refuse"},
    "a thought": {"input": "hello", "model": "sim-think"},
    "a thought alone": {"input": "hello", "model": "sim-think-only"},
    "a redacted thought": {"input": "hello", "model": "sim-redacted"},
    "a call": {"input": "get_weather", "tools": [WEATHER]},
    "two calls": {"input": "get_weather twice", "tools": [WEATHER], "parallel_tool_calls": True},
    "a thought and a call": {"input": "get_weather", "tools": [WEATHER], "reasoning": {"effort": "high"}},
    "a cut answer": {"input": "hello", "model": "sim-long-100", "max_output_tokens": 20},
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.urls.openai, api_key="k", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("name", INPUTS)
def test_the_stream_helper_ends_with_the_plain_answer(client: openai.OpenAI, name: str) -> None:
    asked = {"model": "simulated", **INPUTS[name]}
    plain: Response = client.responses.create(**asked)
    text, arguments, numbers = "", "", []
    with client.responses.stream(**asked) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
                assert event.snapshot == text
            elif event.type == "response.function_call_arguments.delta":
                arguments += event.delta
        final = stream.get_final_response() if name != "a cut answer" else None
    assert numbers == list(range(len(numbers)))
    assert text == plain.output_text
    assert arguments == "".join(item.arguments for item in plain.output if item.type == "function_call")
    if final is not None:
        dumped = final.model_dump(exclude_none=True)
        for item in dumped["output"]:
            item.pop("parsed_arguments", None)
        assert dumped == plain.model_dump(exclude_none=True)


def test_an_answer_has_all_members_that_the_sdk_has_types_for(client: openai.OpenAI) -> None:
    for asked in INPUTS.values():
        answer = client.responses.create(**{"model": "simulated", **asked})
        Response.model_validate(answer.model_dump(exclude_unset=True, warnings=False))
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_cut_answer_is_incomplete(client: openai.OpenAI) -> None:
    asked = {"model": "simulated", **INPUTS["a cut answer"]}
    answer = client.responses.create(**asked)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")  # type: ignore[union-attr]
    *_, last = client.responses.create(**asked, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.output_text == answer.output_text


def test_what_came_is_sent_back_and_understood(client: openai.OpenAI, simulator: Simulator) -> None:
    """As agents do: the output is the next input, calls are answered, thoughts come back as they were."""
    asked: dict[str, Any] = {"model": "simulated", "tools": [WEATHER], "reasoning": {"effort": "high"}}
    talk: list[Any] = [{"role": "user", "content": "get_weather"}]
    with client.responses.stream(**asked, input=talk) as stream:
        for _ in stream:
            pass
        first = stream.get_final_response()
    talk += [item.to_dict() for item in first.output]
    (call,) = [item for item in first.output if item.type == "function_call"]
    talk.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    second = client.responses.create(**asked, input=talk)
    assert second.output_text.startswith("The tool said: rain")
    mirrored = client.responses.create(model="sim-mirror", input=[*talk, {"role": "user", "content": "thanks"}])
    understood = json.loads(mirrored.output_text)["messages"]
    thought, said = understood[1]["content"]
    (reasoning,) = [item for item in first.output if item.type == "reasoning"]
    assert "anthropic:" + thought["signature"] == reasoning.encrypted_content
    assert said["id"] == call.call_id
    assert understood[2]["role"] == "tool"


class City(BaseModel):
    name: str
    people: int


def test_parse_gives_an_instance(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model="simulated", input="Which?", text_format=City)
    assert isinstance(answer.output_parsed, City)
    with client.responses.stream(model="simulated", input="Which?", text_format=City) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_parsed == answer.output_parsed


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status=401", openai.AuthenticationError),
        ("status=404", openai.NotFoundError),
        ("status=429", openai.RateLimitError),
        ("status=500", openai.InternalServerError),
    ],
)
def test_errors_are_the_sdks_own(client: openai.OpenAI, fault: str, kind: type[openai.APIStatusError]) -> None:
    for stream in (False, True):
        with pytest.raises(kind):
            client.responses.create(model="simulated", input="hi", stream=stream, extra_headers={"x-simulate": fault})


def test_a_request_that_cannot_be_read_names_the_place(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="simulated", input=[{"role": "nobody", "content": "hi"}])  # type: ignore[list-item]
    assert raised.value.param == "input[0].role"


def test_an_error_inside_a_stream_is_raised(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="simulated error") as raised:
        for _ in client.responses.create(
            model="sim-long-100", input="hi", stream=True, extra_headers={"x-simulate": "error_at=3"}
        ):
            pass
    assert type(raised.value) is openai.APIError


def test_our_own_outbound_half_reads_the_same(client: openai.OpenAI) -> None:
    target = Target(card=ModelCard(id="simulated"))
    for asked in INPUTS.values():
        members = {"model": "simulated", **asked}
        plain = client.responses.with_raw_response.create(**members)
        response = outbound.decode_response(plain.content, target)
        decoder = outbound.stream_decoder(target)
        with client.responses.with_streaming_response.create(**members, stream=True) as streamed:
            events = [event for piece in streamed.iter_bytes(7) for event in decoder.feed(piece)]
        again = collect([*events, *decoder.close()])
        assert (again.parts, again.finish_reason, again.usage) == (
            response.parts,
            response.finish_reason,
            response.usage,
        )
