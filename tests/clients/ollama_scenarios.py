"""What users do with Ollama's SDK, each as one function."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import httpx
import ollama
import pydantic
from client_stage import CITY, KEY, PIXEL, TIME, UNICODE, WEATHER, Place, only_for

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
]
HI = [{"role": "user", "content": "Hi"}]


def _client(place: Place, key: str = KEY) -> Any:
    """Any: the SDK takes more than its types say."""
    return ollama.Client(host=place.url, headers={"Authorization": f"Bearer {key}"})


def _user(text: str, **more: Any) -> list[Any]:
    return [{"role": "user", "content": text, **more}]


def _chat(place: Place, model: str = "simulated", **request: Any) -> Any:
    return _client(place).chat(**{"model": place.model(model), "messages": HI, **request})


def _mirrored(place: Place, **request: Any) -> Any:
    """The request as the upstream understood it."""
    return json.loads(_chat(place, "sim-mirror", **request).message.content)


# ---------------------------------------------------------------- chat


def chats(place: Place) -> None:
    answer = _chat(place)
    assert answer.message.content == "You said: Hi"
    assert (answer.message.role, answer.done, answer.done_reason) == ("assistant", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (1, 3)
    assert answer.created_at > "2025"
    (received,) = place.received()
    assert received["body"]["model"] == "simulated"
    assert KEY not in json.dumps(received)


def talks_in_turns_with_a_system_prompt(place: Place) -> None:
    understood = _mirrored(
        place,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ],
    )["messages"]
    assert [turn["role"] for turn in understood] == ["system", "user", "assistant", "user"]
    assert [turn["content"][0]["text"] for turn in understood] == ["Be brief.", "One?", "Two.", "Three?"]


def sets_how_the_model_samples(place: Place) -> None:
    options = {"temperature": 0.25, "top_p": 0.5, "num_predict": 4000, "seed": 7, "num_ctx": 8192}
    understood = _mirrored(place, options=options, keep_alive="5m")
    assert (understood["temperature"], understood["top_p"], understood["max_tokens"]) == (0.25, 0.5, 4000)
    assert understood.get("seed") == (None if place.upstream == "anthropic" else 7)
    if place.upstream == "ollama":
        assert place.received()[-1]["body"]["options"]["num_ctx"] == 8192
        assert place.received()[-1]["body"]["keep_alive"] == "5m"


def stops_at_a_stop_sequence_and_at_the_limit(place: Place) -> None:
    cut = _chat(place, messages=_user("one two END three"), options={"stop": ["END"]})
    assert cut.message.content == "You said: one two "
    short = _chat(place, "sim-long-50", options={"num_predict": 5})
    assert len(short.message.content.split()) == 5
    assert short.done_reason == "length"


def streams(place: Place) -> None:
    *parts, last = list(_chat(place, stream=True))
    assert "".join(part.message.content or "" for part in [*parts, last]) == "You said: Hi"
    assert len(parts) >= 3
    assert not any(part.done for part in parts)
    assert last.done and last.done_reason == "stop"
    assert (last.prompt_eval_count, last.eval_count) == (1, 3)


def streams_a_long_answer(place: Place) -> None:
    stream = _chat(place, "sim-long-3000", stream=True, options={"num_predict": 9000})
    text = "".join(part.message.content or "" for part in stream)
    assert len(text.split()) == 3000


def keeps_every_character(place: Place) -> None:
    assert _chat(place, "sim-unicode").message.content == UNICODE
    parts = _chat(place, "sim-unicode", stream=True)
    assert "".join(part.message.content or "" for part in parts) == UNICODE
    assert _chat(place, messages=_user(UNICODE)).message.content == f"You said: {UNICODE}"


def generates(place: Place) -> None:
    client = _client(place)
    answer = client.generate(model=place.model(), prompt="Hi", system="Be brief.")
    assert (answer.response, answer.done) == ("You said: Hi", True)
    assert answer.eval_count == 3
    *parts, last = list(client.generate(model=place.model(), prompt="Hi", stream=True))
    assert "".join(part.response for part in [*parts, last]) == "You said: Hi"
    assert last.done
    schemed = client.generate(model=place.model(), prompt="Hi", format=CITY)
    assert set(json.loads(schemed.response)) == {"name", "inhabitants"}
    seen = client.generate(model=place.model(), prompt="Hi", images=[PIXEL])
    assert seen.response == "You said: Hi (1 image: image/png)"


def leaves_in_the_middle_of_a_stream(place: Place) -> None:
    stream = _chat(place, "sim-long-500+rate=50", stream=True)
    for _, _ in zip(range(4), stream, strict=False):
        pass
    stream.close()
    end_s = time.monotonic() + 1.5
    while (outcome := place.received()[-1]["outcome"]) != "gone":
        assert time.monotonic() < end_s, f"the upstream is still busy: {outcome}"
        time.sleep(0.02)


def hears_that_a_stream_broke(place: Place) -> None:
    for fault in ("reset=6", "close=6", "malformed=6", "error_at=6", "end=6"):
        seen = []
        try:
            for part in _chat(place, f"sim-long-50+{fault}", stream=True):
                seen.append(part)
        except ollama.ResponseError as error:
            assert error.error, fault
            assert place.url not in error.error
        else:
            raise AssertionError(f"{fault}: a broken stream was taken for a whole one")
        assert not any(part.done for part in seen)


# ---------------------------------------------------------------- tools


def calls_a_tool_and_answers(place: Place) -> None:
    for stream in (False, True):
        messages = _user("get_time, then get_weather")
        if stream:
            parts = list(_chat(place, messages=messages, tools=TOOLS, stream=True))
            calls = [call for part in parts for call in part.message.tool_calls or ()]
        else:
            calls = list(_chat(place, messages=messages, tools=TOOLS).message.tool_calls)
        assert [call.function.name for call in calls] == ["get_time", "get_weather"]
        assert set(calls[1].function.arguments) == {"city", "unit"}
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_name": call.function.name, "content": f"{call.function.name}!"} for call in calls
        ]
        text = _chat(place, messages=messages, tools=TOOLS).message.content
        assert text.startswith("The tool said: get_time! The tool said: get_weather!"), text


def hands_over_a_function_as_a_tool(place: Place) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: The first
            b: The second
        """
        return a + b

    (call,) = _chat(place, messages=_user("add!"), tools=[add]).message.tool_calls
    assert call.function.name == "add"
    assert isinstance(add(**call.function.arguments), int)


# ---------------------------------------------------------------- structured output, thinking, images


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def wants_json(place: Place) -> None:
    City.model_validate_json(_chat(place, format=City.model_json_schema()).message.content)
    parts = _chat(place, format=City.model_json_schema(), stream=True)
    City.model_validate_json("".join(part.message.content or "" for part in parts))
    if place.upstream != "anthropic":  # it has no JSON without a schema
        assert isinstance(json.loads(_chat(place, format="json").message.content), dict)


def thinks(place: Place) -> None:
    answer = _chat(place, think=True)
    assert answer.message.thinking.startswith("I was given 1 tokens")
    assert answer.message.content == "You said: Hi"
    parts = list(_chat(place, think="high", stream=True))
    assert "".join(part.message.thinking or "" for part in parts).startswith("I was given 1 tokens")
    assert "".join(part.message.content or "" for part in parts) == "You said: Hi"
    assert not _chat(place, think=False).message.thinking
    assert not _chat(place).message.thinking


def gives_thoughts_back(place: Place) -> None:
    """Ollama's thoughts have no signatures, so those of others that need one cannot go back: that is no error."""
    messages = _user("get_weather")
    first = _chat(place, messages=messages, think=True, tools=TOOLS).message
    assert first.thinking
    messages += [first, {"role": "tool", "tool_name": "get_weather", "content": "21"}]
    assert _chat(place, messages=messages, think=True, tools=TOOLS).message.content.startswith("The tool said: 21")


def shows_images(place: Place) -> None:
    answer = _chat(place, messages=_user("What?", images=[PIXEL, PIXEL]))
    assert answer.message.content == "You said: What? (2 images: image/png, image/png)"


# ---------------------------------------------------------------- errors


def is_told_what_is_wrong(place: Place) -> None:
    for ask, status in (
        (lambda: _client(place, key="sk-wrong-0123456789").chat(model=place.model(), messages=HI), 401),
        (lambda: _client(place).chat(model="nobody-has-this", messages=HI), 404),
        (lambda: _client(place).chat(model="no-such-provider/model", messages=HI), 404),
        (lambda: _client(place).show("nobody-has-this"), 404),
        (lambda: _chat(place, "simulated+status=400"), 400),
        (lambda: list(_chat(place, "simulated+status=400", stream=True)), 400),
        (lambda: _chat(place, "simulated+status=429"), 429),
        (lambda: list(_chat(place, "simulated+status=429", stream=True)), 429),
        (lambda: _chat(place, "simulated+status=503"), 503),
        (lambda: _client(place).pull("llama3.2"), 404),
    ):
        try:
            ask()
        except ollama.ResponseError as error:
            assert error.status_code == status, error
            assert "sk-wrong-0123456789" not in error.error
        else:
            raise AssertionError(f"{status} was expected")


# ---------------------------------------------------------------- embeddings and models


@only_for("compatible", "openai", "ollama")
def makes_embeddings(place: Place) -> None:
    client = _client(place)
    answer = client.embed(model=place.model("sim-embed"), input=["one two", "three"])
    assert len(answer.embeddings) == 2
    assert math.isclose(sum(value * value for value in answer.embeddings[0]), 1, rel_tol=1e-5)
    assert answer.prompt_eval_count == 3
    older = client.embeddings(model=place.model("sim-embed"), prompt="three")
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(older.embedding, answer.embeddings[1], strict=True))


def lists_models(place: Place) -> None:
    client = _client(place)
    assert place.model("sim-think") in [model.model for model in client.list().models]
    assert "completion" in client.show(place.model("sim-think")).capabilities
    assert list(client.ps().models) == []
    version = httpx.get(f"{place.url}/api/version", headers={"Authorization": f"Bearer {KEY}"})
    assert version.json()["version"].count(".") == 2


# ---------------------------------------------------------------- async


def does_it_all_at_once(place: Place) -> None:
    async def main() -> None:
        client: Any = ollama.AsyncClient(host=place.url, headers={"Authorization": f"Bearer {KEY}"})

        async def plain(number: int) -> str:
            text: str = (await client.chat(model=place.model(), messages=_user(f"n{number}"))).message.content
            return text

        async def streamed(number: int) -> str:
            stream = await client.chat(model=place.model(), messages=_user(f"s{number}"), stream=True)
            return "".join([part.message.content or "" async for part in stream])

        numbers = range(20)
        answers = await asyncio.gather(*map(plain, numbers), *map(streamed, numbers))
        assert list(answers[:20]) == [f"You said: n{number}" for number in numbers]
        assert list(answers[20:]) == [f"You said: s{number}" for number in numbers]

    asyncio.run(main())
