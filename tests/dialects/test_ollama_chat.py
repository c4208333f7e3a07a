"""Ollama's chat: what the golden cases and the recordings do not show."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import inbound, inbound_generate, outbound
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.errors import (
    BadReply,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ProviderTool, ThinkingConfig
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

REQUEST = CompletionRequest(messages=(Message(role="user", content=(Text(text="hi"),)),), model="m")


def target(model: str = "m", **capabilities: Any) -> Target:
    return Target(card=ModelCard(id=model, capabilities=Capabilities(**capabilities)))


def sent(to: Target | None = None, /, **request: Any) -> dict[str, Any]:
    request.setdefault("messages", "hi")
    body = outbound.encode_request(CompletionRequest(**request), to or target(), stream=False).body
    members: dict[str, Any] = json.loads(body)
    return members


def notices(to: Target | None = None, /, **request: Any) -> list[tuple[str, str | None]]:
    request.setdefault("messages", "hi")
    outgoing = outbound.encode_request(CompletionRequest(**request), to or target(), stream=False)
    return [(notice.code, notice.param) for notice in outgoing.notices]


def messages(*content: Part, role: Any = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=content),)


def read(line: str) -> CompletionResponse:
    return outbound.decode_response(line.encode(), target())


def refused(**request: Any) -> str:
    with pytest.raises(InvalidRequest) as raised:
        sent(**request)
    return str(raised.value)


# ---------------------------------------------------------------- requests, outbound


def test_stream_is_always_said_because_ollama_streams_unasked() -> None:
    assert outbound.encode_request(REQUEST, target(), stream=False).body.count(b'"stream":false') == 1
    assert outbound.encode_request(REQUEST, target(), stream=True).body.count(b'"stream":true') == 1


def test_the_target_names_the_model() -> None:
    assert sent(target("qwen3:4b"), model="route/whatever")["model"] == "qwen3:4b"


def test_texts_of_a_message_are_joined_and_images_listed() -> None:
    parts = (Text(text="a"), Image(data="AAAA", media_type="image/png"), Text(text="b"))
    assert sent(messages=messages(*parts))["messages"] == [{"role": "user", "content": "a\n\nb", "images": ["AAAA"]}]


def test_texts_of_an_answer_are_joined_without_a_break() -> None:
    parts = (Text(text="It is "), Text(text="blue."))
    assert sent(messages=messages(*parts, role="assistant"))["messages"][0]["content"] == "It is blue."


def test_developer_and_system_messages_stay_at_their_place() -> None:
    conversation = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "developer", "content": "three"},
    ]
    assert [(m["role"], m["content"]) for m in sent(messages=conversation)["messages"]] == [
        ("system", "one"),
        ("user", "two"),
        ("system", "three"),
    ]


@pytest.mark.parametrize(
    ("part", "mend"),
    [
        (Image(url="https://example.com/cat.png"), "base64 only"),
        (Image(file_id="file-1"), "base64 only"),
        (Document(data="JVBERi0="), "send their text"),
        (Document(url="https://example.com/a.pdf"), "send their text"),
        (Audio(data="UklGRg=="), "transcript"),
        (
            Opaque(dialect="anthropic_messages", kind="web_search_tool_result", raw=b"{}"),
            "anthropic_messages",
        ),  # type: ignore[arg-type]
    ],
)
def test_content_that_ollama_cannot_take_is_refused_with_the_place(part: Part, mend: str) -> None:
    said = refused(messages=messages(Text(text="see"), part))
    assert "messages[0].content[1]" in said
    assert mend in said


@pytest.mark.parametrize("document", [Document(text="so be it"), Document(data="c28gYmUgaXQ=", media_type="text/csv")])
def test_a_document_of_text_is_sent_as_text(document: Document) -> None:
    request: dict[str, Any] = {"messages": messages(Text(text="read:"), document)}
    assert sent(**request)["messages"][0]["content"] == "read:\n\nso be it"
    assert notices(**request) == [("changed", "messages[0].content[1]")]


def test_arguments_go_out_byte_for_byte() -> None:
    call = ToolCall(id="c", name="f", arguments='{"x": 1.0, "y":1e400,"z":12345678901234567890123}')
    body = outbound.encode_request(
        CompletionRequest(messages=messages(call, role="assistant")), target(), stream=False
    ).body
    assert b'"arguments":{"x": 1.0, "y":1e400,"z":12345678901234567890123}' in body


def test_arguments_come_in_byte_for_byte() -> None:
    call = b'{"function":{"name":"f","arguments":{"x": 1.0, "big":12345678901234567890123}}}'
    body = b'{"model":"m","messages":[{"role":"assistant","content":"","tool_calls":[%s]}]}' % call
    (read_call,) = inbound.decode_request(body).messages[0].tool_calls
    assert read_call.arguments == '{"x": 1.0, "big":12345678901234567890123}'


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", '"x"', "none"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = ToolCall(id="c", name="f", arguments=arguments)
    assert "messages[0].content[0].arguments" in refused(messages=messages(call, role="assistant"))


def test_no_arguments_are_an_empty_object() -> None:
    written = sent(messages=messages(ToolCall(id="c", name="f"), role="assistant"))
    assert written["messages"][0]["tool_calls"] == [{"id": "c", "function": {"name": "f", "arguments": {}}}]


def test_what_a_custom_tool_was_given_is_kept() -> None:
    call = ToolCall(id="c", name="patch", arguments="*** Begin", kind="custom")
    written = sent(messages=messages(call, role="assistant"))["messages"][0]["tool_calls"][0]
    assert written["function"]["arguments"] == {"input": "*** Begin"}


def conversation_with_results(*results: ToolResult) -> tuple[Message, ...]:
    calls = tuple(ToolCall(id=result.call_id, name=f"tool_{result.call_id}") for result in results)
    return (
        Message(role="assistant", content=calls),
        *(Message(role="tool", content=(result,)) for result in results),
        Message(role="user", content=(Text(text="go on"),)),
    )


def test_tool_results_name_their_tool_and_their_call() -> None:
    written = sent(
        messages=conversation_with_results(
            ToolResult(call_id="a", content=(Text(text="1"),)),
            ToolResult(call_id="b", content=(Text(text="2"),), name="its own"),
        )
    )["messages"]
    assert written[1] == {"role": "tool", "content": "1", "tool_call_id": "a", "tool_name": "tool_a"}
    assert written[2] == {"role": "tool", "content": "2", "tool_call_id": "b", "tool_name": "its own"}


def test_images_of_tool_results_follow_after_all_results() -> None:
    picture = ToolResult(call_id="a", content=(Text(text="see"), Image(data="AAAA")))
    other = ToolResult(call_id="b", content=(Text(text="2"),))
    conversation = conversation_with_results(picture, other)
    written = sent(messages=conversation)["messages"]
    assert [message["role"] for message in written] == ["assistant", "tool", "tool", "user", "user"]
    assert written[3] == {"role": "user", "content": "", "images": ["AAAA"]}
    assert notices(messages=conversation) == [("changed", "messages[1]")]


def test_images_of_the_last_tool_result_are_not_forgotten() -> None:
    conversation = conversation_with_results(ToolResult(call_id="a", content=(Image(data="AAAA"),)))[:-1]
    assert sent(messages=conversation)["messages"][-1] == {"role": "user", "content": "", "images": ["AAAA"]}


def test_results_among_a_users_words_come_first() -> None:
    user = messages(Text(text="so?"), ToolResult(call_id="a", content=(Text(text="1"),)))
    assert [message["role"] for message in sent(messages=user)["messages"]] == ["tool", "user"]


def test_an_error_of_a_tool_keeps_its_text_and_gives_a_notice() -> None:
    result = ToolResult(call_id="a", content=(Text(text="boom"),), is_error=True)
    assert sent(messages=messages(result))["messages"][0]["content"] == "boom"
    assert notices(messages=messages(result)) == [("dropped", "messages[0].is_error")]


def test_thoughts_go_back_as_thinking_and_redacted_ones_give_a_notice() -> None:
    parts = (Thinking(text="hm", signature="sig"), Thinking(redacted="enc"), Text(text="a"))
    request: dict[str, Any] = {"messages": messages(*parts, role="assistant")}
    assert sent(**request)["messages"] == [{"role": "assistant", "content": "a", "thinking": "hm"}]
    assert notices(**request) == [("omitted_thinking", "messages[0]")]


def test_a_signature_is_left_out_without_a_word() -> None:
    part = Thinking(text="hm", signature="sig")
    assert notices(messages=messages(part, role="assistant")) == []


def test_a_refusal_is_sent_as_text() -> None:
    request: dict[str, Any] = {"messages": messages(Refusal(text="No."), role="assistant")}
    assert sent(**request)["messages"][0]["content"] == "No."
    assert notices(**request) == [("changed", "messages[0].content[0]")]


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("choice", "tools", "said"),
    [
        ("auto", 1, []),
        ("none", 0, [("changed", "tool_choice")]),
        ("required", 1, [("dropped", "tool_choice")]),
        ("f", 1, [("dropped", "tool_choice")]),
    ],
)
def test_tool_choice(choice: str, tools: int, said: list[tuple[str, str]]) -> None:
    assert len(sent(tools=[TOOL], tool_choice=choice).get("tools", ())) == tools
    assert notices(tools=[TOOL], tool_choice=choice) == said


def test_parallel_tool_calls_can_be_asked_for_but_not_forbidden() -> None:
    assert notices(tools=[TOOL], parallel_tool_calls=True) == []
    assert notices(tools=[TOOL], parallel_tool_calls=False) == [("dropped", "parallel_tool_calls")]


def test_tools_that_others_run_are_left_out() -> None:
    search = ProviderTool(dialect="anthropic_messages", name="web_search", raw=b"{}")  # type: ignore[arg-type]
    assert "tools" not in sent(tools=[search])
    assert notices(tools=[search]) == [("dropped", "tools")]


def test_a_tool_without_parameters_says_so() -> None:
    (tool,) = sent(tools=[{"name": "now"}])["tools"]
    assert tool["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("model", "thinking", "think", "changed"),
    [
        ("qwen3", ThinkingConfig(enabled=True), True, False),
        ("qwen3", ThinkingConfig(enabled=False), False, False),
        ("qwen3", ThinkingConfig(effort="none"), False, False),
        ("qwen3", ThinkingConfig(enabled=True, effort="high"), True, True),
        ("qwen3", ThinkingConfig(enabled=True, budget_tokens=9000), True, True),
        ("qwen3", ThinkingConfig(enabled=True, adaptive=True), True, True),
        ("gpt-oss:20b", ThinkingConfig(enabled=True), True, False),
        ("gpt-oss:20b", ThinkingConfig(enabled=True, effort="low"), "low", False),
        ("gpt-oss:20b", ThinkingConfig(enabled=True, effort="max"), "max", False),
        ("library/gpt-oss", ThinkingConfig(effort="xhigh"), "high", True),
        ("gpt-oss", ThinkingConfig(effort="minimal"), "low", True),
        ("gpt-oss", ThinkingConfig(effort="strange"), "medium", True),
        ("gpt-oss", ThinkingConfig(enabled=True, budget_tokens=1000), "low", True),
    ],
)
def test_think(model: str, thinking: ThinkingConfig, think: Any, changed: bool) -> None:
    assert sent(target(model), thinking=thinking)["think"] == think
    assert notices(target(model), thinking=thinking) == ([("changed", "thinking")] if changed else [])


def test_a_card_says_whether_a_model_has_levels() -> None:
    assert sent(target("x", thinking_style="effort"), thinking="low")["think"] == "low"
    assert sent(target("gpt-oss-tune", thinking_style="none"), thinking="low")["think"] is True


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    assert "think" not in sent(target(thinking=False), thinking="high")
    assert notices(target(thinking=False), thinking="high") == [("dropped", "thinking")]
    assert sent(target(thinking=False), thinking=False)["think"] is False


def test_nothing_said_of_thinking_is_nothing_sent() -> None:
    assert "think" not in sent(thinking=ThinkingConfig())


def test_a_schema_loses_its_name_and_gives_a_notice_for_its_description() -> None:
    wanted = OutputSchema(schema={"type": "object"}, name="n", strict=True, description="d")
    assert sent(output_schema=wanted)["format"] == {"type": "object"}
    assert notices(output_schema=wanted) == [("dropped", "output_schema.description")]
    assert sent(output_schema=OutputSchema())["format"] == "json"


def test_what_ollama_has_no_word_for_gives_notices() -> None:
    marked = messages(Text(text="hi", cache=CacheMark()))
    request: dict[str, Any] = {
        "messages": marked,
        "user": "u",
        "cache": CacheMark(),
        "extra": {"openai_chat": {"logit_bias": {}}},
    }
    assert notices(**request) == [
        ("dropped", "cache_control"),
        ("dropped", "user"),
        ("dropped", "logit_bias"),
    ]


def test_several_answers_are_refused() -> None:
    assert "n:" in refused(n=2)


def test_sampling_is_left_out_for_models_that_refuse_it() -> None:
    assert "options" not in sent(target(sampling=False), temperature=0.5)
    assert notices(target(sampling=False), temperature=0.5) == [("dropped", "temperature")]


# ---------------------------------------------------------------- requests, inbound


def decoded(**body: Any) -> CompletionRequest:
    body.setdefault("messages", [{"role": "user", "content": "hi"}])
    return inbound.decode_request(json.dumps(body).encode())


def test_stream_is_true_where_it_is_absent_or_null() -> None:
    assert decoded().stream is True
    assert decoded(stream=None).stream is True
    assert decoded(stream=False).stream is False


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": ["https://x/y.png"]}]}, "messages[0].images"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_ctx": 1.5}}, "options.num_ctx"),
        ({"format": "xml"}, "format"),
        ({"think": 3}, "think"),
        ({"stream": "no"}, "stream"),
    ],
)
def test_what_cannot_be_read_is_named(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        decoded(**body)
    assert raised.value.param == place
    assert str(raised.value).startswith(f"{place}: ")


def test_images_may_come_as_data_urls() -> None:
    request = decoded(messages=[{"role": "user", "content": "", "images": ["data:image/webp;base64,UklGRg=="]}])
    assert request.messages[0].content == (Image(media_type="image/webp", data="UklGRg=="),)


def test_unknown_members_are_kept_and_sent_back() -> None:
    message = {"role": "user", "content": "hi", "mood": "good"}
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object"}, "response": {"type": "string"}},
        "items": [1],
    }
    request = decoded(messages=[message], tools=[tool], logprobs=True, top_logprobs=3, model="m")
    body = json.loads(outbound.encode_request(request, target(), stream=True).body)
    assert body["messages"] == [message]
    assert body["tools"] == [tool]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_our_own_members_are_read_and_never_forwarded() -> None:
    request = decoded(provider="p", provider_hint="cheapest", cost_limit=0.1, fallbacks=["a/b"])
    assert (request.provider, request.provider_hint, request.fallbacks) == ("p", "cheapest", ("a/b",))
    assert str(request.cost_limit) == "0.1"
    assert request.extra is None


def test_a_call_without_an_id_gets_the_same_one_each_time() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    conversation = [
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "tool_name": "f", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    first, second = decoded(messages=conversation), decoded(messages=conversation)
    assert first == second
    ids = [call.id for call in first.messages[0].tool_calls]
    assert len(set(ids)) == 2
    assert [part.call_id for message in first.messages[1:] for part in message.content] == ids  # type: ignore[union-attr]


def test_arguments_as_text_are_taken_for_what_they_hold() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    request = decoded(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert request.messages[0].tool_calls[0].arguments == '{"a": 1}'


def test_a_prompt_that_is_empty_only_loads_the_model() -> None:
    assert inbound_generate.decode_request(b'{"model":"m","system":"s"}').messages == ()


# ---------------------------------------------------------------- answers, outbound


def test_a_thought_alone_stays_a_thought() -> None:
    response = read('{"model":"m","message":{"content":"","thinking":"42"},"done":true,"done_reason":"stop"}')
    assert response.parts == (Thinking(text="42"),)
    assert response.content == ""


def test_calls_make_the_finish_a_call_but_a_limit_stays_a_limit() -> None:
    message = '{"content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]}'
    stop = read(f'{{"message":{message},"done":true,"done_reason":"stop"}}')
    assert (stop.finish_reason, stop.raw_finish_reason) == (FinishReason.TOOL_CALLS, "stop")
    length = read(f'{{"message":{message},"done":true,"done_reason":"length"}}')
    assert length.finish_reason is FinishReason.LENGTH


def test_an_answer_that_is_not_done_is_none() -> None:
    with pytest.raises(BadReply, match="not done"):
        read('{"message":{"content":"half"},"done":false}')


def test_an_error_inside_a_200_is_an_error() -> None:
    with pytest.raises(ProviderError, match="out of memory"):
        read('{"error":"out of memory"}')


def test_an_answer_without_a_model_is_the_targets() -> None:
    assert read('{"message":{"content":"a"},"done":true}').model == "m"


def test_pictures_in_an_answer_are_images() -> None:
    response = read('{"message":{"content":"","images":["iVBORw0KGgoAAA"]},"done":true}')
    assert response.parts == (Image(data="iVBORw0KGgoAAA", media_type="image/png"),)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, b'{"error":"model \'x\' not found"}', ModelNotFound, "ollama pull x"),
        (404, b'{"error":"model \\"x:1b\\" not found, try pulling it first"}', ModelNotFound, "pulling"),
        (404, b"404 page not found", ModelNotFound, "cannot read"),
        (429, b'{"error":"too many"}', RateLimitError, "too many"),
        (503, b'{"error":"server busy"}', ServerError, "server busy"),
        (500, b'{"error":{"message":"odd"}}', ServerError, "odd"),
        (502, b"<html>", ServerError, "cannot read"),
        (500, b"[1]", ServerError, "cannot read"),
        (500, b"\xff\xfe", ServerError, "cannot read"),
    ],
)
def test_errors_are_classified(status: int, body: bytes, kind: type, said: str) -> None:
    error = outbound.decode_error(status, {}, body)
    assert type(error) is kind
    assert said in str(error)
    assert error.status_code == status


def test_lines_after_the_last_are_not_read() -> None:
    decoder = outbound.stream_decoder(target())
    decoder.feed(b'{"message":{"content":"a"},"done":true}\nnonsense\n')
    assert decoder.close() == []


def test_an_end_without_a_line_end_is_an_end() -> None:
    decoder = outbound.stream_decoder(target())
    assert decoder.feed(b'{"message":{"content":"a"},"done":true}') == []
    assert collect(decoder.close()).content == "a"


@pytest.mark.parametrize("data", [b"", b"\n\n", b'{"message":{"content":"a"},"done":false}\n', b'{"message":'])
def test_a_stream_without_its_end_is_broken(data: bytes) -> None:
    decoder = outbound.stream_decoder(target())
    decoder.feed(data)
    with pytest.raises(BadReply):
        decoder.close()


def test_a_broken_stream_is_told_from_a_bad_one() -> None:
    with pytest.raises(StreamBroken):
        outbound.stream_decoder(target()).close()


# ---------------------------------------------------------------- answers, inbound

RESPONSE = CompletionResponse(
    model="m",
    created_s=1760742847,
    parts=(
        Thinking(text="hm"),
        Text(text="hé"),
        ToolCall(id="call_1", name="f", arguments='{"a":1.0}'),
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    usage=TokenUsage(input_tokens=3, output_tokens=5),
)


def test_a_plain_answer_is_written_as_ollama_writes_it() -> None:
    assert json.loads(inbound.encode_response(RESPONSE, REQUEST)) == {
        "model": "m",
        "created_at": "2025-10-17T23:14:07Z",
        "message": {
            "role": "assistant",
            "content": "hé",
            "thinking": "hm",
            "tool_calls": [{"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0}}}],
        },
        "done": True,
        "done_reason": "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_duration": 0,
        "eval_duration": 0,
        "prompt_eval_count": 3,
        "eval_count": 5,
    }


def lines(response: CompletionResponse, dialect: Any = inbound) -> list[dict[str, Any]]:
    encoder = dialect.stream_encoder(REQUEST)
    written = b"".join(encoder.encode(event) for event in replay(response))
    assert written.endswith(b"\n")
    return [json.loads(line) for line in written.splitlines()]


def test_every_line_of_a_stream_is_whole() -> None:
    written = lines(RESPONSE)
    assert [line["done"] for line in written] == [False, False, False, True]
    for line in written:
        assert line["model"] == "m"
        assert line["created_at"] == "2025-10-17T23:14:07Z"
        assert line["message"]["role"] == "assistant"
        assert isinstance(line["message"]["content"], str)
    assert written[-1]["done_reason"] == "stop"
    assert written[-1]["eval_count"] == 5


def test_generate_writes_response_in_place_of_a_message() -> None:
    plain = json.loads(inbound_generate.encode_response(RESPONSE, REQUEST))
    assert (plain["response"], plain["thinking"]) == ("hé", "hm")
    assert "message" not in plain
    assert "context" not in plain
    streamed = lines(RESPONSE, inbound_generate)
    assert [line["response"] for line in streamed] == ["", "hé", "", ""]
    assert streamed[0]["thinking"] == "hm"


def test_no_time_is_the_epoch_and_no_counts_are_none() -> None:
    written = json.loads(inbound.encode_response(CompletionResponse(model="m"), REQUEST))
    assert written["created_at"] == "1970-01-01T00:00:00Z"
    assert "eval_count" not in written


def test_arguments_over_several_lines_do_not_cut_the_stream() -> None:
    call = ToolCall(id="c", name="f", arguments='{\n  "a": 1.50\n}')
    written = lines(CompletionResponse(model="m", parts=(call,)))
    assert written[0]["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1.5}


def test_arguments_that_were_cut_off_are_not_lost() -> None:
    call = ToolCall(id="c", name="f", arguments='{"a": ')
    written = lines(CompletionResponse(model="m", parts=(call,)))
    assert written[0]["message"]["tool_calls"][0]["function"]["arguments"] == {"input": '{"a": '}


def test_calls_that_come_interleaved_go_out_whole() -> None:
    encoder = inbound.stream_encoder(REQUEST)
    events = [
        MessageStart(model="m"),
        PartStart(index=0, part=ToolCall(id="a", name="f")),
        PartStart(index=1, part=ToolCall(id="b", name="g")),
        PartDelta(0, '{"x"'),
        PartDelta(1, "{}"),
        PartDelta(0, ":1}"),
        PartEnd(index=1),
        PartEnd(index=0),
        MessageEnd(finish_reason=FinishReason.TOOL_CALLS),
    ]
    written = [json.loads(line) for line in b"".join(map(encoder.encode, events)).splitlines()]
    calls = [line["message"]["tool_calls"][0]["function"] for line in written[:2]]
    assert calls == [
        {"index": 0, "name": "f", "arguments": {"x": 1}},
        {"index": 1, "name": "g", "arguments": {}},
    ]


def test_errors_have_ollamas_shape() -> None:
    status, body = inbound.encode_error(InvalidRequest("messages: missing"), "req-1")
    assert (status, json.loads(body)) == (400, {"error": "messages: missing", "request_id": "req-1"})
    line = inbound.stream_encoder(REQUEST).error(StreamBroken("it broke"), "req-1")
    assert line == b'{"error":"it broke","request_id":"req-1"}\n'


def test_the_real_client_reads_what_we_write() -> None:
    for dialect, kind in ((inbound, ollama.ChatResponse), (inbound_generate, ollama.GenerateResponse)):
        whole = kind.model_validate_json(dialect.encode_response(RESPONSE, REQUEST))
        pieces = [kind.model_validate(line) for line in lines(RESPONSE, dialect)]
        assert (whole.done_reason, whole.prompt_eval_count, pieces[-1].eval_count) == ("stop", 3, 5)
    chat = ollama.ChatResponse.model_validate_json(inbound.encode_response(RESPONSE, REQUEST))
    assert chat.message.thinking == "hm"
    assert chat.message.tool_calls is not None
    assert chat.message.tool_calls[0].function.arguments == {"a": 1.0}


def test_odd_texts_survive_the_prepared_halves() -> None:
    for text in ("\0", '"\\u0000"', "a\u2028b", '"', "\\", "\n", "🌍"):
        (first, _) = lines(CompletionResponse(model="\0", parts=(Text(text=text),)))
        assert first["message"]["content"] == text
        assert first["model"] == "\0"
