"""Between OpenAI's Responses and its chat, and Anthropic's Messages: what both can say survives the trip."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from recorded_exchanges import Exchange, each

from genai_spine.dialects.anthropic_messages import inbound as from_anthropic
from genai_spine.dialects.anthropic_messages import outbound as to_anthropic
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound as from_chat
from genai_spine.dialects.openai_chat import outbound as to_chat
from genai_spine.dialects.openai_responses import inbound as from_responses
from genai_spine.dialects.openai_responses import outbound as to_responses
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.response import FinishReason

OPENAI = Quirks(max_tokens_field="max_completion_tokens", developer_role=True, schema="strict", tool_result_images=True)
TARGETS: dict[ModuleType, Target] = {
    to_chat: Target(card=ModelCard(id="m"), quirks=OPENAI),
    to_responses: Target(card=ModelCard(id="m"), quirks=OPENAI),
    to_anthropic: Target(card=ModelCard(id="m", max_output_tokens=9000, capabilities=Capabilities())),
}
PNG, PDF = "iVBORw0KGgo=", "JVBERi0xLjQ="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}


def trip(inbound: ModuleType, outbound: ModuleType, body: dict[str, Any]) -> tuple[dict[str, Any], list[str | None]]:
    """A caller's request as the provider gets it, and the params of the notices."""
    asked = inbound.decode_request(json.dumps({"model": "m", **body}).encode())
    sent = outbound.encode_request(asked, TARGETS[outbound], stream=asked.stream)
    return json.loads(sent.body), [notice.param for notice in sent.notices]


RESPONSES: dict[str, Any] = {
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                {"type": "input_image", "image_url": "https://e.org/a.png"},
                {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            ],
        },
        {"role": "assistant", "content": "Looking."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "sun"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            ],
        },
        {"role": "user", "content": "So?"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_output_tokens": 500,
    "temperature": 0.5,
    "top_p": 0.5,
}


def test_a_talk_with_tools_is_the_same_in_openais_chat() -> None:
    chat, notices = trip(from_responses, to_chat, RESPONSES)
    assert notices == []
    roles = [message["role"] for message in chat["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in chat["messages"][2]["tool_calls"]] == ["c1", "c2"]
    assert chat["max_completion_tokens"] == 500
    back, notices = trip(from_chat, to_responses, chat)
    assert notices == []
    assert back == {"model": "m", **RESPONSES}


def test_a_talk_with_tools_is_the_same_in_anthropics_messages() -> None:
    messages, notices = trip(from_responses, to_anthropic, RESPONSES)
    assert notices == []
    assert messages["system"] == "Be brief."
    assert [message["role"] for message in messages["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in messages["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert messages["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    back, notices = trip(from_anthropic, to_responses, messages)
    assert notices == []
    assert back == {"model": "m", **RESPONSES}


def test_schemas_and_effort() -> None:
    asked = {
        "input": "Hi",
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}},
    }
    chat, notices = trip(from_responses, to_chat, asked)
    assert (chat["reasoning_effort"], notices) == ("low", [])
    assert chat["response_format"]["json_schema"] == {"name": "a", "schema": SCHEMA, "strict": True}
    back, _ = trip(from_chat, to_responses, chat)
    assert (back["reasoning"], back["text"]) == (asked["reasoning"], asked["text"])
    messages, _ = trip(from_responses, to_anthropic, asked)
    assert messages["output_config"]["effort"] == "low"
    assert messages["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize("outbound", [to_chat, to_anthropic])
def test_what_only_responses_can_say_is_an_error_or_a_notice(outbound: ModuleType) -> None:
    for item in ({"type": "item_reference", "id": "x"}, {"type": "web_search_call", "id": "ws_1"}):
        with pytest.raises(InvalidRequest, match="can only be said in openai_responses"):
            trip(from_responses, outbound, {"input": [{"role": "user", "content": "Hi"}, item]})
    for members in ({"previous_response_id": "r"}, {"conversation": {"id": "c"}}, {"prompt": {"id": "p"}}):
        with pytest.raises(InvalidRequest, match="can only be said in openai_responses") as refused:
            trip(from_responses, outbound, {"input": "Hi", **members})
        assert refused.value.param in members
    _, notices = trip(
        from_responses,
        outbound,
        {"input": "Hi", "tools": [{"type": "web_search"}], "store": True, "truncation": "auto", "background": True},
    )
    assert {"tools", "store", "truncation", "background"} <= set(notices)


@pytest.mark.parametrize("outbound", [to_anthropic, to_chat])
def test_a_reference_to_a_thought_is_a_thought_and_one_to_a_message_is_content(outbound: ModuleType) -> None:
    thought, message = ({"type": "item_reference", "id": item_id} for item_id in ("rs_1", "msg_1"))
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "r"}
    talk = [{"role": "user", "content": "Hi"}, thought, call, result]
    asked = from_responses.decode_request(json.dumps({"model": "m", "input": talk}).encode())
    assert b"rs_1" not in outbound.encode_request(asked, TARGETS[outbound], stream=False).body
    assert json.loads(to_responses.encode_request(asked, TARGETS[to_responses], stream=False).body)["input"] == talk
    asked = from_responses.decode_request(json.dumps({"model": "m", "input": [message, *talk]}).encode())
    with pytest.raises(InvalidRequest, match="send the item itself"):
        outbound.encode_request(asked, TARGETS[outbound], stream=False)


def test_thoughts_go_to_anthropic_and_come_back() -> None:
    """An agent of this dialect in front of Claude: signed and redacted thoughts survive the round."""
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "sig1"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "thinking", "thinking": "", "signature": "sig2"},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
    ]
    reply = {"id": "msg_1", "type": "message", "model": "claude", "content": content, "stop_reason": "tool_use"}
    response = to_anthropic.decode_response(json.dumps(reply).encode(), TARGETS[to_anthropic])
    asked = from_responses.decode_request(b'{"input":"Hi"}')
    output = json.loads(from_responses.encode_response(response, asked))["output"]
    assert [item["type"] for item in output] == ["reasoning"] * 3 + ["message", "function_call"]
    talk = [
        {"role": "user", "content": "Hi"},
        *output,
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    back, notices = trip(from_responses, to_anthropic, {"input": talk, "max_output_tokens": 100})
    assert back["messages"][1]["content"] == content
    assert notices == []


def test_thoughts_of_responses_go_to_a_caller_of_anthropics_and_come_back() -> None:
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAA"}
    reply = {"id": "r", "model": "gpt", "status": "completed", "output": [{"id": "rs_1", **item}]}
    response = to_responses.decode_response(json.dumps(reply).encode(), TARGETS[to_responses])
    asked = from_anthropic.decode_request(b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}')
    (block,) = json.loads(from_anthropic.encode_response(response, asked))["content"]
    assert (block["type"], block["thinking"], block["signature"]) == ("thinking", "Hm", "openai:gAAA")
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [block]}]
    back, _ = trip(from_anthropic, to_responses, {"messages": talk, "max_tokens": 5})
    assert back["input"][1] == item


@each("responses")
def test_every_recorded_answer_can_be_told_in_other_dialects(exchange: Exchange) -> None:
    """Text, calls and endings are the same, plain and streamed; parts of the service's own tools have no word."""
    if exchange.status != 200 or exchange.body.lstrip()[:1] != b"{":
        return
    try:
        response = to_responses.decode_response(exchange.body, TARGETS[to_responses])
    except ProviderError:
        return  # no answer of this dialect: see test_openai_responses_recorded.py
    for inbound, outbound in ((from_chat, to_chat), (from_anthropic, to_anthropic)):
        asked = inbound.decode_request(b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}')
        again = outbound.decode_response(inbound.encode_response(response, asked), TARGETS[outbound])
        encoder, decoder = inbound.stream_encoder(asked), outbound.stream_decoder(TARGETS[outbound])
        written = b"".join(encoder.encode(event) for event in replay(response))
        streamed = collect([*decoder.feed(written), *decoder.close()])
        said = response.content + ("" if inbound is from_chat else response.refusal or "")
        for told in (again, streamed):
            assert told.content == said
            assert [(c.id, c.name, c.input) for c in told.tool_calls] == [
                (c.id, c.name, c.input) for c in response.tool_calls
            ]
            assert told.thinking == response.thinking


@each("chat", "openai", "openrouter", "deepseek")
def test_recorded_chats_can_be_told_in_responses(exchange: Exchange) -> None:
    if exchange.status != 200 or exchange.body.lstrip()[:1] != b"{":
        return
    response = to_chat.decode_response(exchange.body, TARGETS[to_chat])
    asked = from_responses.decode_request(b'{"input":"Hi"}')
    again = to_responses.decode_response(from_responses.encode_response(response, asked), TARGETS[to_responses])
    assert (again.text, again.thinking, again.refusal) == (response.text, response.thinking, response.refusal)
    assert [(c.id, c.name) for c in again.tool_calls] == [(c.id, c.name) for c in response.tool_calls]
    # A forced call is a plain stop in chat; here every answer with calls in it asks for their results.
    is_asking = again.tool_calls and response.finish_reason is FinishReason.STOP
    assert again.finish_reason == (FinishReason.TOOL_CALLS if is_asking else response.finish_reason)
