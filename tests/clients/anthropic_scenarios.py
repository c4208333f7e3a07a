"""What users do with Anthropic's SDK, each as one function. Runs with 0.125, 1.x and 2.x."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import anthropic
import pydantic
from client_stage import CITY, KEY, PDF, PIXEL, TIME, UNICODE, WEATHER, Place, only_for

TOOLS: list[Any] = [
    {"name": "get_weather", "description": "Weather", "input_schema": WEATHER},
    {"name": "get_time", "input_schema": TIME},
]
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def _client(place: Place, **options: Any) -> Any:
    """Any: the SDK's overloads differ from version to version."""
    return anthropic.Anthropic(**{"base_url": place.url, "api_key": KEY, **options})


def _user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def _ask(place: Place, model: str = "simulated", **request: Any) -> Any:
    return _client(place).messages.create(
        **{"model": place.model(model), "max_tokens": 2000, "messages": HI, **request}
    )


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _mirrored(place: Place, **request: Any) -> Any:
    """The request as the upstream understood it."""
    return json.loads(_text(_ask(place, "sim-mirror", **request)))


def _kinds(message: Any) -> list[str]:
    return [block.type for block in message.content]


# ---------------------------------------------------------------- chat


def chats(place: Place) -> None:
    message = _ask(place)
    assert _text(message) == "You said: Hi"
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.id.startswith("msg_") and message._request_id
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 3)
    (received,) = place.received()
    assert received["body"]["model"] == "simulated"
    assert KEY not in json.dumps(received)


def knows_its_answers_apart(place: Place) -> None:
    """Clients keep messages by their ids."""
    assert _ask(place, messages=_user("1")).id != _ask(place, messages=_user("2")).id


def sends_its_key_in_either_header(place: Place) -> None:
    for options in ({"api_key": KEY}, {"api_key": None, "auth_token": KEY}):
        message = _client(place, **options).messages.create(model=place.model(), max_tokens=9, messages=HI)
        assert _text(message) == "You said: Hi"


def talks_in_turns_with_a_system_prompt(place: Place) -> None:
    understood = _mirrored(
        place,
        system=[
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": [{"type": "text", "text": "Three?"}, {"type": "text", "text": "Four?"}]},
        ],
    )["messages"]
    said = [(turn["role"], "".join(part["text"] for part in turn["content"])) for turn in understood]
    system = "".join(text for role, text in said if role == "system")
    assert system.replace("\n", "") == "Be brief.Be kind."
    assert [role for role, _ in said if role != "system"] == ["user", "assistant", "user"]
    assert said[-1][1].replace("\n", "") == "Three?Four?"


def counts_cached_tokens(place: Place) -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    first = _ask(place, system=system)
    again = _ask(place, system=system, messages=[*HI, {"role": "assistant", "content": "Hi."}, *HI])
    if place.upstream == "anthropic":
        assert first.usage.cache_creation_input_tokens == 2 and first.usage.input_tokens == 1
        assert again.usage.cache_read_input_tokens == 2
    else:  # marks are Anthropic's; the others cache unasked, or not at all
        assert not first.usage.cache_creation_input_tokens
        assert first.usage.input_tokens == 3


def sets_how_the_model_samples(place: Place) -> None:
    understood = _mirrored(
        place, max_tokens=4000, metadata={"user_id": "u-1"}, extra_body={"temperature": 0.25, "top_p": 0.5}
    )
    assert (understood["temperature"], understood["top_p"], understood["max_tokens"]) == (0.25, 0.5, 4000)
    if place.upstream != "ollama":
        assert understood["user"] == "u-1"


def hears_what_could_not_be_said(place: Place) -> None:
    client = _client(place)
    for stream in (False, True):
        raw = client.messages.with_raw_response.create(
            model=place.model(),
            max_tokens=9,
            messages=HI,
            stream=stream,
            extra_body={"context_management": {"edits": []}},
        )
        notices = raw.headers.get("x-spine-notices", "")
        if place.speaks("anthropic_messages"):
            assert notices == ""
            assert place.received()[-1]["body"]["context_management"] == {"edits": []}
        else:
            assert "context_management" in notices


def stops_at_a_stop_sequence_and_at_the_limit(place: Place) -> None:
    cut = _ask(place, messages=_user("one two END three"), stop_sequences=["END", "OVER"])
    assert _text(cut) == "You said: one two "
    if place.upstream == "anthropic":  # the others do not say at which one they stopped
        assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", "END")
    short = _ask(place, "sim-long-50", max_tokens=5)
    assert len(_text(short).split()) == 5
    assert short.stop_reason == "max_tokens"


def is_refused(place: Place) -> None:
    message = _ask(place, messages=_user("please refuse this"))
    assert "I cannot help with that." in _text(message)
    if place.upstream != "ollama":  # which has only text
        assert message.stop_reason == "refusal"


@only_for("anthropic")
def relays_what_is_new(place: Place) -> None:
    client = _client(place, default_headers={"anthropic-beta": "one-2026-01-01,two-2026-02-02"})
    client.messages.create(
        model=place.model(),
        max_tokens=9,
        messages=HI,
        service_tier="auto",
        extra_body={"new_field": {"deep": [1, 2.50, "\u2028"]}, "provider": "anthropic"},
    )
    (received,) = place.received()
    assert received["body"]["new_field"] == {"deep": [1, 2.5, "\u2028"]}
    assert "provider" not in received["body"]
    assert received["headers"]["anthropic-beta"] == "one-2026-01-01,two-2026-02-02"
    assert received["headers"]["anthropic-version"] in ("2023-06-01", "2026-10-21")
    assert received["path"] == "/v1/messages"


def asks_for_a_beta(place: Place) -> None:
    """The 0.x and 1.x SDKs put ?beta=true behind the path."""
    beta = getattr(_client(place), "beta", None)
    if beta is None or not hasattr(beta, "messages"):
        return
    message = beta.messages.create(model=place.model(), max_tokens=9, messages=HI, betas=["one-2026-01-01"])
    assert _text(message) == "You said: Hi"
    if place.upstream == "anthropic":
        assert "one-2026-01-01" in place.received()[-1]["headers"]["anthropic-beta"]


# ---------------------------------------------------------------- streams


def streams(place: Place) -> None:
    events = list(_ask(place, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[0] == "message_start" and kinds[1] == "content_block_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert text == "You said: Hi"
    (end,) = (event for event in events if event.type == "message_delta")
    assert end.delta.stop_reason == "end_turn"
    assert end.usage.output_tokens == 3


def streams_with_the_sdks_own_helper(place: Place) -> None:
    with _client(place).messages.stream(model=place.model(), max_tokens=2000, messages=HI) as stream:
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(texts) == _text(message) == "You said: Hi"
    assert len(texts) == 3
    assert message.usage.output_tokens == 3
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) in (0, 1)


def streams_a_long_answer(place: Place) -> None:
    with _client(place).messages.stream(model=place.model("sim-long-3000"), max_tokens=10_000, messages=HI) as stream:
        text = stream.get_final_text()
    assert len(text.split()) == 3000
    assert text.startswith("the quick brown fox")


def keeps_every_character(place: Place) -> None:
    assert _text(_ask(place, "sim-unicode")) == UNICODE
    events = _ask(place, "sim-unicode", stream=True)
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == UNICODE
    assert _text(_ask(place, messages=_user(UNICODE))) == f"You said: {UNICODE}"


def leaves_in_the_middle_of_a_stream(place: Place) -> None:
    stream = _ask(place, "sim-long-500+rate=50", stream=True)
    for _, _ in zip(range(4), stream, strict=False):
        pass
    stream.close()
    _wait_until_gone(place)


def leaves_before_the_answer(place: Place) -> None:
    for fault, stream in (("stall=head", False), ("stall=0", True)):
        try:
            _client(place, max_retries=0, timeout=0.15).messages.create(
                model=place.model(f"simulated+{fault}"), max_tokens=9, messages=HI, stream=stream
            )
        except anthropic.APITimeoutError:
            _wait_until_gone(place)
        else:
            raise AssertionError("there is no answer")


def _wait_until_gone(place: Place) -> None:
    end_s = time.monotonic() + 1.5
    while (outcome := place.received()[-1]["outcome"]) != "gone":
        assert time.monotonic() < end_s, f"the upstream is still busy: {outcome}"
        time.sleep(0.02)


def hears_that_a_stream_broke(place: Place) -> None:
    for fault in ("reset=8", "close=8", "malformed=8", "error_at=8", "end=8"):
        seen = []
        try:
            for event in _ask(place, f"sim-long-50+{fault}", stream=True):
                seen.append(event.type)
        except anthropic.APIStatusError as error:
            assert error.message, fault
            assert place.url not in error.message
            assert "message_stop" not in seen
        else:
            raise AssertionError(f"{fault}: a broken stream was taken for a whole one: {seen}")


# ---------------------------------------------------------------- tools


def calls_a_tool_and_answers(place: Place) -> None:
    messages = _user("How is get_weather?")
    first = _ask(place, messages=messages, tools=TOOLS)
    assert first.stop_reason == "tool_use"
    (call,) = (block for block in first.content if block.type == "tool_use")
    assert call.name == "get_weather" and call.id
    assert set(call.input) == {"city", "unit"}
    messages += [
        {"role": "assistant", "content": first.content},
        *_user([{"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}]),
    ]
    second = _ask(place, messages=messages, tools=TOOLS)
    assert _text(second).startswith("The tool said: 21 degrees")
    assert second.stop_reason == "end_turn"


def streams_the_arguments_of_calls(place: Place) -> None:
    events = list(_ask(place, messages=_user("get_time, then get_weather"), tools=TOOLS, stream=True))
    blocks: dict[int, Any] = {}
    for event in events:
        if event.type == "content_block_start":
            assert event.content_block.type == "tool_use"
            blocks[event.index] = {"name": event.content_block.name, "id": event.content_block.id, "json": ""}
        elif event.type == "content_block_delta":
            assert event.delta.type == "input_json_delta"
            blocks[event.index]["json"] += event.delta.partial_json
    assert [block["name"] for block in blocks.values()] == ["get_time", "get_weather"]
    assert [set(json.loads(block["json"])) for block in blocks.values()] == [{"zone"}, {"city", "unit"}]
    assert len({block["id"] for block in blocks.values()}) == 2
    (end,) = (event for event in events if event.type == "message_delta")
    assert end.delta.stop_reason == "tool_use"


def streams_a_whole_loop_with_the_sdks_own_helper(place: Place) -> None:
    client = _client(place)
    messages = _user("get_time, then get_weather")
    with client.messages.stream(model=place.model(), max_tokens=2000, messages=messages, tools=TOOLS) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [set(call.input) for call in calls] == [{"zone"}, {"city", "unit"}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name}!"} for call in calls]
    messages += [{"role": "assistant", "content": first.content}, *_user(results)]
    with client.messages.stream(model=place.model(), max_tokens=2000, messages=messages, tools=TOOLS) as stream:
        text = stream.get_final_text()
    assert text.startswith("The tool said: get_time! The tool said: get_weather!")


def hands_over_images_and_failures_as_results(place: Place) -> None:
    messages = _user("get_weather for both cities")
    first = _ask(place, messages=messages, tools=TOOLS)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert len(calls) == 2
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "no such city", "is_error": True},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": [{"type": "text", "text": "a map"}, image]},
    ]
    messages += [{"role": "assistant", "content": first.content}, *_user(results)]
    raw = _client(place).messages.with_raw_response.create(
        model=place.model(), max_tokens=2000, messages=messages, tools=TOOLS
    )
    sent = json.dumps(place.received()[-1]["body"])
    assert "no such city" in sent and "a map" in sent and PIXEL in sent
    if place.upstream == "anthropic":
        text = "The tool failed: no such city The tool said: a map (1 image: image/png)"
        assert _text(raw.parse()) == text
    else:  # have results of text only: the image follows in a message of the user
        assert "is_error" in raw.headers["x-spine-notices"] and "images" in raw.headers["x-spine-notices"]


def calls_tools_in_parallel_or_one_at_a_time(place: Place) -> None:
    many = _ask(place, messages=_user("get_weather for both cities"), tools=TOOLS)
    assert len({block.id for block in many.content if block.type == "tool_use"}) == 2
    if place.upstream == "ollama":
        return  # it has no word for one at a time, and says so
    one = _ask(
        place,
        messages=_user("get_weather for both cities"),
        tools=TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert _kinds(one) == ["tool_use"]


def chooses_tools(place: Place) -> None:
    def ask(**choice: Any) -> Any:
        return _ask(place, messages=_user("get_weather"), tools=TOOLS, tool_choice=choice).content

    assert all(block.type == "text" for block in ask(type="none"))
    assert ask(type="auto")[0].name == "get_weather"
    if place.upstream == "ollama":
        return  # it has no tool_choice
    assert ask(type="any")[0].name == "get_weather"
    assert [block.name for block in ask(type="tool", name="get_time")] == ["get_time"]


# ---------------------------------------------------------------- structured output


class City(pydantic.BaseModel):
    name: str
    inhabitants: int
    rivers: list[str]


def parses_into_a_model(place: Place) -> None:
    client = _client(place)
    message = client.messages.parse(model=place.model(), max_tokens=2000, messages=HI, output_format=City)
    assert isinstance(message.parsed_output, City)
    with client.messages.stream(model=place.model(), max_tokens=2000, messages=HI, output_format=City) as stream:
        message = stream.get_final_message()
    assert isinstance(message.parsed_output, City)


def wants_json(place: Place) -> None:
    message = _ask(place, output_config={"format": {"type": "json_schema", "schema": CITY}})
    assert set(json.loads(_text(message))) == {"name", "inhabitants"}


# ---------------------------------------------------------------- thinking

ADAPTIVE: dict[str, Any] = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
BUDGET: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def thinks(place: Place) -> None:
    for how in (ADAPTIVE, BUDGET):
        message = _ask(place, **how)
        assert _kinds(message) == ["thinking", "text"]
        assert message.content[0].thinking.startswith("I was given 1 tokens")
        assert (message.content[0].signature != "") == (place.upstream != "ollama")
        assert _text(message) == "You said: Hi"
    assert _kinds(_ask(place)) == ["text"]
    assert _kinds(_ask(place, thinking={"type": "disabled"})) == ["text"]


def gives_thoughts_back_signed(place: Place) -> None:
    """The simulated Anthropic refuses a thought without its signature."""
    for model in ("simulated", "sim-redacted"):
        for stream in (False, True):
            messages = _user("get_weather")
            request = {"model": place.model(model), "max_tokens": 2000, "tools": TOOLS, **BUDGET}
            if stream:
                with _client(place).messages.stream(messages=messages, **request) as events:
                    first = events.get_final_message()
            else:
                first = _client(place).messages.create(messages=messages, **request)
            (call,) = (block for block in first.content if block.type == "tool_use")
            messages += [
                {"role": "assistant", "content": first.content},
                *_user([{"type": "tool_result", "tool_use_id": call.id, "content": "21"}]),
            ]
            second = _client(place).messages.create(messages=messages, **request)
            assert _text(second).startswith("The tool said: 21")
            if place.upstream == "ollama":
                continue
            thought = "thinking" if model == "simulated" else "redacted_thinking"
            assert _kinds(first) == [thought, "tool_use"], (model, stream)
            if place.upstream == "anthropic":
                blocks = place.received()[-1]["body"]["messages"][1]["content"]
                assert [block["type"] for block in blocks] == [thought, "tool_use"]


# ---------------------------------------------------------------- images and documents


def shows_images_and_documents(place: Place) -> None:
    text = {"type": "text", "text": "What?"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    seen = _text(_ask(place, messages=_user([image, text, image])))
    assert seen == "You said: What? (2 images: image/png, image/png)"

    linked = {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}
    document = {
        "type": "document",
        "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    if place.upstream == "ollama":  # takes neither: content is never dropped in silence
        for wrong in (linked, document):
            try:
                _ask(place, messages=_user([text, wrong]))
            except anthropic.BadRequestError as error:
                assert "ollama" in error.message.lower()
            else:
                raise AssertionError("content was lost")
        return
    seen = _text(_ask(place, messages=_user([text, linked])))
    assert seen == "You said: What? (1 image: by URL)"
    seen = _text(_ask(place, messages=_user([text, document])))
    assert seen.endswith("(1 document: application/pdf)")


# ---------------------------------------------------------------- errors


def is_told_what_is_wrong(place: Place) -> None:
    wrong: Any = "no messages" if place.speaks("anthropic_messages") else _user([{"type": "nonsense", "x": 1}])
    try:
        _ask(place, messages=wrong)
    except anthropic.BadRequestError as error:
        assert error.status_code == 400 and error.request_id
        assert error.body["error"]["type"] == "invalid_request_error"
    else:
        raise AssertionError("nonsense was taken")
    try:
        _client(place, api_key="sk-wrong-0123456789").messages.create(model=place.model(), max_tokens=9, messages=HI)
    except anthropic.AuthenticationError as error:
        assert "sk-wrong-0123456789" not in str(error)
        assert error.body["error"]["type"] == "authentication_error"
    else:
        raise AssertionError("a wrong key was taken")
    for name in ("no-such-provider/model", "nobody-has-this"):
        try:
            _client(place).messages.create(model=name, max_tokens=9, messages=HI)
        except anthropic.NotFoundError as error:
            assert error.body["error"]["type"] == "not_found_error" and name in error.message
        else:
            raise AssertionError("a model that is not there answered")


def is_told_what_the_provider_says(place: Place) -> None:
    for status, kind in ((400, anthropic.BadRequestError), (404, anthropic.NotFoundError)):
        for stream in (False, True):
            try:
                _ask(place, f"simulated+status={status}", stream=stream)
            except kind as error:
                assert f"simulated error of status {status}" in error.message
                assert error.body["type"] == "error"
            else:
                raise AssertionError(f"{status} was taken for an answer")


def does_not_ask_again_what_the_gateway_gave_up(place: Place) -> None:
    """The gateway asks twice (max_retries = 1); the SDK, which would ask three times, is told not to."""
    kinds: dict[int, type[anthropic.APIStatusError]] = {
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
        529: anthropic.APIStatusError,  # whose own class is another one from version to version
    }
    for status, kind in kinds.items():
        for stream in (False, True):
            before = len(place.received())
            try:
                _client(place, max_retries=2).messages.create(
                    model=place.model(f"simulated+status={status}"), max_tokens=9, messages=HI, stream=stream
                )
            except kind as error:
                assert error.response.headers["x-should-retry"] == "false"
                assert error.response.headers["x-spine-attempts"] == "2"
            else:
                raise AssertionError(f"{status} was taken for an answer")
            assert len(place.received()) - before == 2


# ---------------------------------------------------------------- tokens and models


def counts_tokens(place: Place) -> None:
    client = _client(place)
    raw = client.messages.with_raw_response.count_tokens(
        model=place.model(), messages=_user("one two three"), system="four", tools=TOOLS[:1]
    )
    count = raw.parse().input_tokens
    if place.upstream == "anthropic":
        assert place.received()[-1]["path"] == "/v1/messages/count_tokens"
        assert "x-spine-notices" not in raw.headers
    else:
        assert "estimated" in raw.headers["x-spine-notices"]
    assert count > 4


def lists_models(place: Place) -> None:
    client = _client(place)
    listed = {model.id: model for model in client.models.list(limit=1000)}
    model = listed[place.model("sim-think")]
    assert (model.type, model.created_at.year) == ("model", 2025)
    assert model.display_name
    assert client.models.retrieve(place.model("sim-think")).id == place.model("sim-think")
    try:
        client.models.retrieve("nobody-has-this")
    except anthropic.NotFoundError as error:
        assert error.body["type"] == "error" and error.request_id
    else:
        raise AssertionError("a model that is not there was found")


# ---------------------------------------------------------------- async


def does_it_all_at_once(place: Place) -> None:
    async def main() -> None:
        client: Any = anthropic.AsyncAnthropic(base_url=place.url, api_key=KEY)
        async with client:

            async def plain(number: int) -> str:
                return _text(
                    await client.messages.create(model=place.model(), max_tokens=99, messages=_user(f"n{number}"))
                )

            async def streamed(number: int) -> str:
                async with client.messages.stream(
                    model=place.model(), max_tokens=99, messages=_user(f"s{number}")
                ) as stream:
                    return "".join([text async for text in stream.text_stream])

            async def called() -> str:
                message = await client.messages.create(model=place.model(), max_tokens=99, messages=HI, tools=TOOLS[:1])
                name: str = message.content[0].name
                return name

            numbers = range(20)
            answers = await asyncio.gather(*map(plain, numbers), *map(streamed, numbers), called())
            assert list(answers[:20]) == [f"You said: n{number}" for number in numbers]
            assert list(answers[20:40]) == [f"You said: s{number}" for number in numbers]
            assert answers[40] == "get_weather"
            assert place.model() in [model.id async for model in client.models.list()]
            counted = await client.messages.count_tokens(model=place.model(), messages=HI)
            assert counted.input_tokens > 0
            try:
                await client.messages.create(model=place.model("simulated+status=429"), max_tokens=9, messages=HI)
            except anthropic.RateLimitError:
                pass
            else:
                raise AssertionError("429 was taken for an answer")

    asyncio.run(main())
