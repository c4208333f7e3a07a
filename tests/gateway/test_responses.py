"""OpenAI's Responses through the gateway: translated, relayed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
RELAYED, TRANSLATED = "openai/gpt-x", "anthropic/claude-x"
each_way = pytest.mark.parametrize("model", [RELAYED, TRANSLATED, "ollama/llama"])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    urls = simulator.urls
    providers = {
        "openai": {"api_key": "k", "base_url": urls.openai},
        "anthropic": {"api_key": "k", "base_url": urls.anthropic},
        "ollama": {"base_url": urls.ollama},
    }
    with running_gateway({"providers": providers, "retry": {"max_retries": 0}}) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        yield client


@each_way
def test_a_text_plain_and_streamed(client: openai.OpenAI, model: str) -> None:
    plain = client.responses.create(model=model, input="hello there", instructions="Be brief.")
    assert plain.output_text == "You said: hello there"
    assert plain.status == "completed"
    with client.responses.stream(model=model, input="hello there") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == plain.output_text
    assert final.usage is not None and final.usage.output_tokens > 0


@each_way
def test_calls(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input="get_weather", tools=[WEATHER]) as stream:  # type: ignore[list-item]
        for _ in stream:
            pass
        (call,) = stream.get_final_response().output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "city"}
    talk: list[Any] = [{"role": "user", "content": "get_weather"}, call.to_dict()]
    talk.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    answer = client.responses.create(model=model, input=talk, tools=[WEATHER])  # type: ignore[list-item]
    assert "The tool said: rain" in answer.output_text


def test_where_the_provider_speaks_it_the_bytes_go_through(client: openai.OpenAI, simulator: Simulator) -> None:
    web_search = {"type": "web_search", "search_context_size": "low"}
    asked: dict[str, Any] = {"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "hi"}]}
    client.responses.create(model=RELAYED, tools=[web_search], store=False, **asked)  # type: ignore[list-item]
    sent = simulator.received[-1]
    assert sent.path == "/v1/responses"
    assert sent.json() == {"model": "gpt-x", "tools": [web_search], "store": False, **asked}


def test_what_only_the_service_keeps_is_refused_by_others(client: openai.OpenAI) -> None:
    told = "can only be said in openai_responses: send the whole conversation as `input`"
    for members in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}):
        with pytest.raises(openai.BadRequestError, match=told) as refused:
            client.responses.create(model=TRANSLATED, input="hi", instructions="Be.", **members)  # type: ignore[arg-type]
        assert refused.value.param == next(iter(members)), "the place is the caller's"
    with pytest.raises(openai.BadRequestError, match="item_reference"):
        client.responses.create(model=TRANSLATED, input=[{"type": "item_reference", "id": "msg_1"}])


def test_what_cannot_be_said_is_in_a_notice(client: openai.OpenAI) -> None:
    answer = client.responses.with_raw_response.create(
        model=TRANSLATED,
        input="hi",
        background=True,
        metadata={"job": "1"},
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
        max_output_tokens=100,
    )
    notices = answer.headers["x-spine-notices"]
    assert "background" in notices and "metadata" in notices and "tools" in notices
    assert answer.parse().background is False


def test_kept_responses_are_not_here(client: openai.OpenAI) -> None:
    for call in (
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.responses.delete("resp_1"),
        lambda: client.responses.cancel("resp_1"),
        lambda: client.responses.input_items.list("resp_1"),
    ):
        with pytest.raises(openai.NotFoundError, match="the gateway keeps no responses"):
            call()


@each_way
def test_errors_of_providers(client: openai.OpenAI, simulator: Simulator, model: str) -> None:
    for fault, kind in (("status=429", openai.RateLimitError), ("status=500", openai.InternalServerError)):
        for stream in (False, True):
            with pytest.raises(kind):
                client.responses.create(model=f"{model}+{fault}", input="hi", stream=stream)


@each_way
def test_a_stream_that_breaks_ends_with_an_error(client: openai.OpenAI, model: str) -> None:
    name = model.split("/")[0]
    with pytest.raises(openai.APIError) as raised:
        for _ in client.responses.create(model=f"{name}/sim-long-50+end=20", input="hi", stream=True):
            pass
    assert type(raised.value) is openai.APIError


def test_a_request_that_cannot_be_read_names_the_place(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=TRANSLATED, input=[{"role": "nobody", "content": "hi"}])  # type: ignore[list-item]
    assert raised.value.param == "input[0].role"


@pytest.mark.parametrize("fault", ["error_at=8; rate=200", "reset=8; rate=200", "end=8; rate=200"])
def test_the_end_of_a_relayed_stream_that_failed_is_of_the_same_response(
    client: openai.OpenAI, simulator: Simulator, fault: str
) -> None:
    simulator.run(fault)
    request = {"model": RELAYED, "input": "hello there", "stream": True, "metadata": {"job": "1"}}
    answer = client.post("/responses", body=request, cast_to=str)
    events = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith("data: ")]
    created, error, failed = events[0], *events[-2:]
    assert [event["type"] for event in (created, error, failed)] == ["response.created", "error", "response.failed"]
    assert [event["sequence_number"] for event in events] == list(range(10))
    told = {key: value for key, value in created["response"].items() if key not in ("status", "error")}
    assert told == {key: value for key, value in failed["response"].items() if key not in ("status", "error")}
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"] == error["message"]
