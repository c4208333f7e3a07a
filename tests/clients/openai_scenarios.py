"""What users do with OpenAI's SDK, each as one function. Runs with 1.109, 2.x and 3.x."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import openai
import pydantic
from client_stage import CITY, KEY, PDF, PIXEL, TIME, UNICODE, WEATHER, Place, only_for

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
]
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def _client(place: Place, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(**{"base_url": f"{place.url}/v1", "api_key": KEY, **options})


def _user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def _text(completion: Any) -> str:
    content = completion.choices[0].message.content
    assert isinstance(content, str)
    return content


def _mirrored(place: Place, **request: Any) -> Any:
    """The request as the upstream understood it."""
    return json.loads(_text(_client(place).chat.completions.create(model=place.model("sim-mirror"), **request)))


def _texts(content: list[Any]) -> str:
    return "".join(part.get("text", "") for part in content)


# ---------------------------------------------------------------- chat


def chats(place: Place) -> None:
    completion = _client(place).chat.completions.create(model=place.model(), messages=HI)
    assert _text(completion) == "You said: Hi"
    assert completion.object == "chat.completion" and completion.id
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.role == "assistant"
    assert completion.usage is not None
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1, 3, 4)
    (received,) = place.received()
    assert received["body"]["model"] == "simulated"
    assert KEY not in json.dumps(received)


def knows_its_answers_apart(place: Place) -> None:
    """Clients keep messages by their ids."""
    client = _client(place)
    answers = [client.chat.completions.create(model=place.model(), messages=_user(f"{n}")) for n in range(2)]
    assert answers[0].id != answers[1].id
    assert all(answer.created > 1_600_000_000 for answer in answers)
    chunks = list(client.chat.completions.create(model=place.model(), messages=HI, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id not in {answer.id for answer in answers}
    assert chunks[0].created > 1_600_000_000


def reads_the_headers(place: Place) -> None:
    raw = _client(place).chat.completions.with_raw_response.create(model=place.model(), messages=HI)
    assert raw.headers["x-spine-provider"] == place.upstream
    assert raw.headers["x-spine-model"] == "simulated"
    assert raw.headers["x-spine-attempts"] == "1"
    assert raw.request_id
    assert _text(raw.parse()) == "You said: Hi"


def talks_in_turns_with_a_system_prompt(place: Place) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}, {"type": "text", "text": " Four?"}]},
    ]
    understood = _mirrored(place, messages=messages)["messages"]
    assert [message["role"] for message in understood] == ["system", "user", "assistant", "user"]
    said = [_texts(message["content"]) for message in understood]
    assert said[:3] == ["Be brief.", "One?", "Two."]
    assert said[3].replace("\n", "") == "Three? Four?"  # Ollama's messages have one text


def sets_how_the_model_samples(place: Place) -> None:
    understood = _mirrored(place, messages=HI, temperature=0.25, top_p=0.5, max_tokens=4000, seed=7)
    assert understood["temperature"] == 0.25
    assert understood["top_p"] == 0.5
    assert understood["max_tokens"] == 4000
    assert understood.get("seed") == (None if place.upstream == "anthropic" else 7)


def hears_what_could_not_be_said(place: Place) -> None:
    client = _client(place)
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(
            model=place.model(), messages=HI, seed=7, logit_bias={"5": 1}, stream=stream
        )
        notices = raw.headers.get("x-spine-notices", "")
        if place.speaks("openai_chat"):
            assert notices == ""
            assert place.received()[-1]["body"]["logit_bias"] == {"5": 1}
        else:
            assert "logit_bias" in notices
            assert ("seed" in notices) == (place.upstream == "anthropic")


def stops_at_a_stop_sequence_and_at_the_limit(place: Place) -> None:
    client = _client(place)
    cut = client.chat.completions.create(model=place.model(), messages=_user("one two END three"), stop=["END"])
    assert _text(cut) == "You said: one two "
    assert cut.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(model=place.model("sim-long-50"), messages=HI, max_completion_tokens=5)
    assert len(_text(short).split()) == 5
    assert short.choices[0].finish_reason == "length"


def is_refused(place: Place) -> None:
    completion = _client(place).chat.completions.create(model=place.model(), messages=_user("please refuse this"))
    choice = completion.choices[0]
    if place.speaks("openai_chat"):
        assert choice.message.refusal == "I cannot help with that."
    else:  # Anthropic has a stop reason for it, Ollama has only text
        assert "I cannot help with that." in (choice.message.refusal or "") + (choice.message.content or "")


@only_for("compatible", "openai")
def sends_what_only_this_dialect_has(place: Place) -> None:
    _client(place).chat.completions.create(
        model=place.model(),
        messages=HI,
        logprobs=True,
        top_logprobs=2,
        metadata={"a": "b"},
        service_tier="auto",
        extra_body={"new_field": {"deep": [1, 2.50, "\u2028"]}, "provider": place.upstream},
        extra_headers={"OpenAI-Beta": "assistants=v9"},
    )
    (received,) = place.received()
    body = received["body"]
    assert body["new_field"] == {"deep": [1, 2.5, "\u2028"]}
    assert (body["metadata"], body["logprobs"], body["service_tier"]) == ({"a": "b"}, True, "auto")
    assert "provider" not in body
    assert received["headers"]["openai-beta"] == "assistants=v9"


# ---------------------------------------------------------------- streams


def streams(place: Place) -> None:
    chunks = list(_client(place).chat.completions.create(model=place.model(), messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: Hi"
    assert len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)


def streams_with_usage(place: Place) -> None:
    stream = _client(place).chat.completions.create(
        model=place.model(), messages=HI, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (1, 3, 4)
    assert all(chunk.usage is None for chunk in chunks)


def streams_a_long_answer(place: Place) -> None:
    with _client(place).chat.completions.create(
        model=place.model("sim-long-5000"), messages=HI, max_tokens=10_000, stream=True
    ) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert len(text.split()) == 5000
    assert text.startswith("the quick brown fox")


def keeps_every_character(place: Place) -> None:
    client = _client(place)
    model = place.model("sim-unicode")
    assert _text(client.chat.completions.create(model=model, messages=HI)) == UNICODE
    stream = client.chat.completions.create(model=model, messages=HI, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == UNICODE
    echoed = client.chat.completions.create(model=place.model(), messages=_user(UNICODE))
    assert _text(echoed) == f"You said: {UNICODE}"


def leaves_in_the_middle_of_a_stream(place: Place) -> None:
    stream = _client(place).chat.completions.create(model=place.model("sim-long-500+rate=50"), messages=HI, stream=True)
    for _, _ in zip(range(3), stream, strict=False):
        pass
    stream.close()
    _wait_until_gone(place)


def leaves_before_the_answer(place: Place) -> None:
    for fault, stream in (("stall=head", False), ("stall=0", True)):
        try:
            _client(place, max_retries=0, timeout=0.15).chat.completions.create(
                model=place.model(f"simulated+{fault}"), messages=HI, stream=stream
            )
        except openai.APITimeoutError:
            _wait_until_gone(place)
        else:
            raise AssertionError("there is no answer")


def _wait_until_gone(place: Place) -> None:
    end_s = time.monotonic() + 1.5
    while (outcome := place.received()[-1]["outcome"]) != "gone":
        assert time.monotonic() < end_s, f"the upstream is still busy: {outcome}"
        time.sleep(0.02)


def hears_that_a_stream_broke(place: Place) -> None:
    client = _client(place)
    for fault in ("reset=6", "close=6", "malformed=6", "error_at=6", "end=6"):
        seen = []
        try:
            for chunk in client.chat.completions.create(
                model=place.model(f"sim-long-50+{fault}"), messages=HI, stream=True
            ):
                seen.append(chunk.choices[0].delta.content or "")
        except openai.APIStatusError as error:  # it came with the first bytes: no stream has begun
            assert error.status_code >= 500 and not seen, fault
        except openai.APIError as error:
            assert error.message and place.url not in error.message, fault
        else:
            raise AssertionError(f"{fault}: a broken stream was taken for a whole one: {seen}")


# ---------------------------------------------------------------- tools


def calls_a_tool_and_answers(place: Place) -> None:
    client = _client(place)
    messages = _user("How is get_weather?")
    completion = client.chat.completions.create(model=place.model(), messages=messages, tools=TOOLS)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.id
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city", "unit"}
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
    answer = client.chat.completions.create(model=place.model(), messages=messages, tools=TOOLS)
    assert _text(answer).startswith("The tool said: 21 degrees")
    assert answer.choices[0].finish_reason == "stop"


def streams_the_arguments_of_calls(place: Place) -> None:
    client = _client(place)
    messages = _user("get_time, then get_weather")
    stream = client.chat.completions.create(model=place.model(), messages=messages, tools=TOOLS, stream=True)
    calls: dict[int, dict[str, str]] = {}
    finish = None
    for chunk in stream:
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for delta in choice.delta.tool_calls or ():
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            assert delta.function is not None
            call["id"] += delta.id or ""
            call["name"] += delta.function.name or ""
            call["arguments"] += delta.function.arguments or ""
    assert finish == "tool_calls"
    assert [call["name"] for _, call in sorted(calls.items())] == ["get_time", "get_weather"]
    assert set(json.loads(calls[0]["arguments"])) == {"zone"}
    assert set(json.loads(calls[1]["arguments"])) == {"city", "unit"}
    messages.append(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
                for c in calls.values()
            ],
        }
    )
    messages += [{"role": "tool", "tool_call_id": c["id"], "content": f"{c['name']}!"} for c in calls.values()]
    stream = client.chat.completions.create(model=place.model(), messages=messages, tools=TOOLS, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.startswith("The tool said: get_time! The tool said: get_weather!")


def calls_tools_in_parallel_or_one_at_a_time(place: Place) -> None:
    client = _client(place)
    text = _user("get_weather for both cities")
    many = client.chat.completions.create(model=place.model(), messages=text, tools=TOOLS)
    assert many.choices[0].message.tool_calls is not None
    assert len({call.id for call in many.choices[0].message.tool_calls}) == 2
    if place.upstream == "ollama":
        return  # it has no word for one at a time, and says so
    one = client.chat.completions.create(model=place.model(), messages=text, tools=TOOLS, parallel_tool_calls=False)
    assert one.choices[0].message.tool_calls is not None
    assert len(one.choices[0].message.tool_calls) == 1


def chooses_tools(place: Place) -> None:
    client = _client(place)

    def ask(choice: Any) -> Any:
        return (
            client.chat.completions.create(
                model=place.model(), messages=_user("get_weather"), tools=TOOLS, tool_choice=choice
            )
            .choices[0]
            .message
        )

    if place.upstream == "ollama":  # has no tool_choice: `none` sends no tools, the others are told or refused
        assert ask("none").tool_calls is None
        assert ask("auto").tool_calls[0].function.name == "get_weather"
        return
    assert ask("none").tool_calls is None
    assert ask("auto").tool_calls[0].function.name == "get_weather"
    assert ask("required").tool_calls[0].function.name == "get_weather"
    named = ask({"type": "function", "function": {"name": "get_time"}})
    assert [call.function.name for call in named.tool_calls] == ["get_time"]


def streams_calls_with_the_sdks_own_helper(place: Place) -> None:
    client = _client(place)
    with client.chat.completions.stream(
        model=place.model(), messages=_user("get_weather"), tools=[openai.pydantic_function_tool(Question)]
    ) as stream:
        events = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in events
    assert completion.choices[0].message.tool_calls is not None
    (call,) = completion.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Question)


# ---------------------------------------------------------------- structured output


class City(pydantic.BaseModel):
    name: str
    inhabitants: int
    rivers: list[str]


class Question(pydantic.BaseModel):
    """Ask."""

    city: str
    depth: int


def parses_into_a_model(place: Place) -> None:
    completion = _client(place).chat.completions.parse(
        model=place.model(), messages=_user("Paris?"), response_format=City
    )
    assert isinstance(completion.choices[0].message.parsed, City)


def parses_a_stream_into_a_model(place: Place) -> None:
    with _client(place).chat.completions.stream(
        model=place.model(), messages=_user("Paris?"), response_format=City
    ) as stream:
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds
    assert isinstance(completion.choices[0].message.parsed, City)


def parses_the_arguments_of_a_call(place: Place) -> None:
    completion = _client(place).chat.completions.parse(
        model=place.model(), messages=_user("Paris?"), tools=[openai.pydantic_function_tool(Question)]
    )
    assert completion.choices[0].message.tool_calls is not None
    (call,) = completion.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Question)


def wants_json(place: Place) -> None:
    client = _client(place)
    schema: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    constrained = client.chat.completions.create(model=place.model(), messages=HI, response_format=schema)
    assert set(json.loads(_text(constrained))) == {"name", "inhabitants"}
    if place.upstream == "anthropic":
        return  # it has no JSON without a schema
    free = client.chat.completions.create(model=place.model(), messages=HI, response_format={"type": "json_object"})
    assert isinstance(json.loads(_text(free)), dict)


# ---------------------------------------------------------------- thinking


def thinks(place: Place) -> None:
    client = _client(place)
    completion = client.chat.completions.create(model=place.model(), messages=HI, reasoning_effort="high")
    message = completion.choices[0].message
    assert message.content == "You said: Hi"
    assert message.reasoning_content.startswith("I was given 1 tokens")  # type: ignore[attr-defined]
    if place.upstream != "ollama":  # counts all tokens of an answer together
        assert completion.usage is not None and completion.usage.completion_tokens_details is not None
        assert completion.usage.completion_tokens_details.reasoning_tokens
    plain = client.chat.completions.create(model=place.model(), messages=HI)
    assert not getattr(plain.choices[0].message, "reasoning_content", None)


def gives_thoughts_back_signed(place: Place) -> None:
    """A message goes back as it came. The simulated Anthropic refuses a thought without its signature."""
    client = _client(place)
    for model in ("simulated", "sim-redacted"):
        messages = list(HI)
        first = client.chat.completions.create(
            model=place.model(model), messages=messages, reasoning_effort="low", tools=TOOLS
        )
        message = first.choices[0].message
        assert message.tool_calls is not None
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21"},
        ]
        second = client.chat.completions.create(
            model=place.model(model), messages=messages, reasoning_effort="low", tools=TOOLS
        )
        assert _text(second).startswith("The tool said: 21")
        if place.upstream == "anthropic":
            blocks = place.received()[-1]["body"]["messages"][1]["content"]
            kinds = [block["type"] for block in blocks]
            assert kinds == ["thinking" if model == "simulated" else "redacted_thinking", "tool_use"]


def gives_streamed_thoughts_back_signed(place: Place) -> None:
    client = _client(place)
    messages = _user("get_weather")
    thought: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "reasoning_details": []}
    calls: list[Any] = []
    for chunk in client.chat.completions.create(
        model=place.model(), messages=messages, reasoning_effort="high", tools=TOOLS, stream=True
    ):
        delta = chunk.choices[0].delta
        thought["content"] += delta.content or ""
        thought["reasoning_content"] += getattr(delta, "reasoning_content", None) or ""
        for detail in getattr(delta, "reasoning_details", None) or ():
            _merge(thought["reasoning_details"], detail)
        for call in delta.tool_calls or ():
            if call.id:
                calls.append({"id": call.id, "type": "function", "function": {"name": "", "arguments": ""}})
            assert call.function is not None
            calls[-1]["function"]["name"] += call.function.name or ""
            calls[-1]["function"]["arguments"] += call.function.arguments or ""
    assert thought["reasoning_content"].startswith("I was given 1 tokens")
    messages += [{**thought, "tool_calls": calls}, {"role": "tool", "tool_call_id": calls[0]["id"], "content": "21"}]
    answer = client.chat.completions.create(
        model=place.model(), messages=messages, reasoning_effort="high", tools=TOOLS
    )
    assert _text(answer).startswith("The tool said: 21")
    if place.upstream == "anthropic":
        blocks = place.received()[-1]["body"]["messages"][1]["content"]
        assert [block["type"] for block in blocks] == ["thinking", "tool_use"]
        assert blocks[0]["thinking"] == thought["reasoning_content"]


def _merge(details: list[Any], delta: dict[str, Any]) -> None:
    """As OpenRouter's documentation has it: by index, texts appended."""
    for detail in details:
        if detail.get("index") == delta.get("index"):
            for key, value in delta.items():
                is_text = key in ("text", "summary", "data") and isinstance(detail.get(key), str)
                detail[key] = detail[key] + value if is_text else value
            return
    details.append(dict(delta))


# ---------------------------------------------------------------- images and documents


def shows_images_and_documents(place: Place) -> None:
    client = _client(place)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "What?"}, image, image]
    seen = _text(client.chat.completions.create(model=place.model(), messages=_user(content)))
    assert seen == "You said: What? (2 images: image/png, image/png)"

    linked = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]
    document = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    if place.upstream == "ollama":  # takes neither: content is never dropped in silence
        for wrong in (linked, [document]):
            try:
                client.chat.completions.create(model=place.model(), messages=_user(wrong))
            except openai.BadRequestError as error:
                assert "ollama" in error.message.lower()
            else:
                raise AssertionError("content was lost")
        return
    seen = _text(client.chat.completions.create(model=place.model(), messages=_user(linked)))
    assert seen == "You said: What? (1 image: by URL)"
    seen = _text(client.chat.completions.create(model=place.model(), messages=_user([content[0], document])))
    assert seen.endswith("(1 document: application/pdf)")


# ---------------------------------------------------------------- errors


def is_told_what_is_wrong(place: Place) -> None:
    client = _client(place)
    # Relayed, an unknown part is the upstream's to judge; translated, it would be lost.
    wrong: Any = "no messages" if place.speaks("openai_chat") else _user([{"type": "nonsense"}])
    try:
        client.chat.completions.create(model=place.model(), messages=wrong)
    except openai.BadRequestError as error:
        assert error.status_code == 400 and error.request_id
    else:
        raise AssertionError("nonsense was taken")
    try:
        _client(place, api_key="sk-wrong-0123456789").chat.completions.create(model=place.model(), messages=HI)
    except openai.AuthenticationError as error:
        assert "sk-wrong-0123456789" not in str(error)
    else:
        raise AssertionError("a wrong key was taken")
    for name in ("no-such-provider/model", "nobody-has-this"):
        try:
            client.chat.completions.create(model=name, messages=HI)
        except openai.NotFoundError as error:
            assert error.request_id and name in error.message
        else:
            raise AssertionError("a model that is not there answered")
    refused = [received for received in place.received() if received["status"] == 200]
    assert refused == []


def is_told_what_the_provider_says(place: Place) -> None:
    client = _client(place)
    kinds: dict[int, type[openai.APIStatusError]] = {
        400: openai.BadRequestError,
        401: openai.APIStatusError,  # the provider's key is the gateway's affair, not the caller's
        403: openai.APIStatusError,
        404: openai.NotFoundError,
        422: openai.APIStatusError,
    }
    for status, kind in kinds.items():
        for stream in (False, True):
            try:
                client.chat.completions.create(
                    model=place.model(f"simulated+status={status}"), messages=HI, stream=stream
                )
            except kind as error:
                assert f"simulated error of status {status}" in error.message, (status, error.message)
                assert error.request_id
            else:
                raise AssertionError(f"{status} was taken for an answer")


def does_not_ask_again_what_the_gateway_gave_up(place: Place) -> None:
    """The gateway asks twice (max_retries = 1); the SDK, which would ask three times, is told not to."""
    kinds: dict[int, type[openai.APIStatusError]] = {
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        503: openai.InternalServerError,
    }
    for status, kind in kinds.items():
        for stream in (False, True):
            before = len(place.received())
            try:
                _client(place, max_retries=2).chat.completions.create(
                    model=place.model(f"simulated+status={status}"), messages=HI, stream=stream
                )
            except kind as error:
                assert error.response.headers["x-should-retry"] == "false"
                assert error.response.headers["x-spine-attempts"] == "2"
            else:
                raise AssertionError(f"{status} was taken for an answer")
            assert len(place.received()) - before == 2


# ---------------------------------------------------------------- embeddings and models


@only_for("compatible", "openai", "ollama")
def makes_embeddings(place: Place) -> None:
    client = _client(place)
    model = place.model("sim-embed")
    default = client.embeddings.create(model=model, input=["one two", "three"])  # the SDK asks for base64, unpacks it
    floats = client.embeddings.create(model=model, input=["one two", "three"], encoding_format="float")
    packed = client.embeddings.create(model=model, input="three", encoding_format="base64")
    assert [row.index for row in default.data] == [0, 1]
    for row, other in zip(default.data, floats.data, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(row.embedding, other.embedding, strict=True))
    assert len(floats.data[0].embedding) == 16
    assert isinstance(packed.data[0].embedding, str)
    assert default.usage.prompt_tokens == 3
    short = client.embeddings.create(model=model, input="three", dimensions=8)
    assert len(short.data[0].embedding) == 8


@only_for("anthropic")
def is_told_that_there_are_no_embeddings(place: Place) -> None:
    try:
        _client(place).embeddings.create(model=place.model("sim-embed"), input="a")
    except openai.BadRequestError as error:
        assert "embeddings" in error.message
    else:
        raise AssertionError("Anthropic makes no embeddings")


def lists_models(place: Place) -> None:
    client = _client(place)
    listed = {model.id for model in client.models.list()}
    assert place.model("sim-think") in listed
    model = client.models.retrieve(place.model("sim-think"))
    assert (model.id, model.object) == (place.model("sim-think"), "model")
    try:
        client.models.retrieve("nobody-has-this")
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("a model that is not there was found")


@only_for("openai")
def is_told_quickly_what_is_not_served(place: Place) -> None:
    client = _client(place, max_retries=0)
    for ask in (
        lambda: client.moderations.create(input="x"),
        lambda: client.files.list(),
        lambda: client.audio.speech.create(model="x", voice="alloy", input="x"),
    ):
        try:
            ask()
        except openai.NotFoundError as error:
            assert isinstance(error.body, dict) and "message" in error.body
        else:
            raise AssertionError("there is no such path")


# ---------------------------------------------------------------- async


def does_it_all_at_once(place: Place) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{place.url}/v1", api_key=KEY) as client:

            async def plain(number: int) -> str:
                return _text(await client.chat.completions.create(model=place.model(), messages=_user(f"n{number}")))

            async def streamed(number: int) -> str:
                stream = await client.chat.completions.create(
                    model=place.model(), messages=_user(f"s{number}"), stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            async def called() -> str:
                completion = await client.chat.completions.create(model=place.model(), messages=HI, tools=TOOLS[:1])
                assert completion.choices[0].message.tool_calls
                return completion.choices[0].message.tool_calls[0].function.name

            async def parsed() -> bool:
                completion = await client.chat.completions.parse(model=place.model(), messages=HI, response_format=City)
                return isinstance(completion.choices[0].message.parsed, City)

            numbers = range(20)
            answers = await asyncio.gather(*map(plain, numbers), *map(streamed, numbers), called(), parsed())
            assert list(answers[:20]) == [f"You said: n{number}" for number in numbers]
            assert list(answers[20:40]) == [f"You said: s{number}" for number in numbers]
            assert answers[40:] == ["get_weather", True]
            assert place.model() in [model.id async for model in client.models.list()]
            try:
                await client.chat.completions.create(model=place.model("simulated+status=429"), messages=HI)
            except openai.RateLimitError:
                pass
            else:
                raise AssertionError("429 was taken for an answer")

    asyncio.run(main())
