"""Between OpenAI's chat and Anthropic's Messages: what both can say survives the trip, both ways."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from recorded_exchanges import Exchange, each
from test_anthropic_recorded import service_schema

from genai_spine.dialects.anthropic_messages import inbound as from_anthropic
from genai_spine.dialects.anthropic_messages import outbound as to_anthropic
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound as from_openai
from genai_spine.dialects.openai_chat import outbound as to_openai
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import InvalidRequest, Overloaded, RateLimitError
from genai_spine.model.fold import collect

OPENAI = Quirks(max_tokens_field="max_completion_tokens", developer_role=True, schema="strict", tool_result_images=True)
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
HI = {"role": "user", "content": "Hi"}


def openai_to_anthropic(body: dict[str, Any], **capabilities: Any) -> tuple[dict[str, Any], list[str | None]]:
    """An OpenAI caller's request as Anthropic gets it, and the params of the notices."""
    request = from_openai.decode_request(json.dumps({"model": "m", **body}).encode())
    card = ModelCard(id="claude", max_output_tokens=64000, capabilities=Capabilities(**capabilities))
    sent = to_anthropic.encode_request(request, Target(card=card), stream=request.stream)
    return json.loads(sent.body), [notice.param for notice in sent.notices]


def anthropic_to_openai(body: dict[str, Any], quirks: Quirks = OPENAI) -> tuple[dict[str, Any], list[str | None]]:
    """An Anthropic caller's request as OpenAI gets it, and the params of the notices."""
    request = from_anthropic.decode_request(json.dumps({"model": "m", "max_tokens": 9000, **body}).encode())
    target = Target(card=ModelCard(id="gpt"), quirks=quirks)
    sent = to_openai.encode_request(request, target, stream=request.stream)
    return json.loads(sent.body), [notice.param for notice in sent.notices]


# ---------------------------------------------------------------- requests


def test_tools_their_choice_and_parallel_calls() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    tool = {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}
    openai = {"tools": [{"type": "function", "function": function}], "parallel_tool_calls": False}
    for choice, chosen in (
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ):
        body, notices = openai_to_anthropic({"messages": [HI], **openai, "tool_choice": choice})
        assert body["tools"] == [tool]
        assert body["tool_choice"] == {**chosen, "disable_parallel_tool_use": True}
        assert notices == []
        back, notices = anthropic_to_openai({"messages": [HI], "tools": [tool], "tool_choice": body["tool_choice"]})
        assert back["tools"] == openai["tools"]
        assert (back["tool_choice"], back["parallel_tool_calls"]) == (choice, False)
        assert notices == []


OPENAI_TALK = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        ],
    },
    {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Oslo"}'}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"city": "Rome"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "sun"}, {"type": "text", "text": "!"}]},
    {"role": "user", "content": "So?"},
]
ANTHROPIC_TALK = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "See"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {"city": "Rome"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
            {
                "type": "tool_result",
                "tool_use_id": "c2",
                "content": [{"type": "text", "text": "sun"}, {"type": "text", "text": "!"}],
            },
            {"type": "text", "text": "So?"},
        ],
    },
]


def test_that_a_tool_is_the_callers_own_is_no_loss() -> None:
    body, notices = anthropic_to_openai(
        {"messages": [HI], "tools": [{"type": "custom", "name": "f", "input_schema": SCHEMA}]}
    )
    assert (body["tools"][0]["type"], notices) == ("function", [])


def test_a_talk_with_images_a_pdf_and_tools_is_the_same_in_both() -> None:
    body, notices = openai_to_anthropic({"messages": OPENAI_TALK})
    assert (body["system"], body["messages"], notices) == ("Be brief.", ANTHROPIC_TALK, [])
    back, notices = anthropic_to_openai({"system": "Be brief.", "messages": ANTHROPIC_TALK})
    for message in back["messages"]:
        for call in message.get("tool_calls", ()):  # arguments are written anew: spaces may go
            call["function"]["arguments"] = json.dumps(json.loads(call["function"]["arguments"]))
    assert back["messages"] == OPENAI_TALK
    assert notices == []


def test_tool_results_with_images_and_errors() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [image], "is_error": True}
    talk = [HI, ANTHROPIC_TALK[1], {"role": "user", "content": [result]}]
    body, notices = anthropic_to_openai({"messages": talk})
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert body["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": [shown]}
    assert notices == ["messages[2].is_error"]
    again, _ = openai_to_anthropic({"messages": body["messages"]})
    assert again["messages"][-1]["content"][0]["content"] == [image]
    body, notices = anthropic_to_openai({"messages": talk}, Quirks())
    assert body["messages"][-2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "user", "content": [shown]},
    ]
    assert len(notices) == 2


def test_signed_and_redacted_thoughts_go_round_through_an_openai_caller() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
    ]
    answer = {"id": "msg_1", "model": "claude", "content": content, "stop_reason": "tool_use"}
    response = to_anthropic.decode_response(json.dumps(answer).encode(), Target(card=ModelCard(id="claude")))
    asked = from_openai.decode_request(json.dumps({"model": "m", "messages": [HI]}).encode())
    shown = json.loads(from_openai.encode_response(response, asked))["choices"][0]["message"]
    assert shown["reasoning_content"] == "Hm"
    # The caller sends the message back as it got it.
    result = {"role": "tool", "tool_call_id": "c1", "content": "done"}
    body, notices = openai_to_anthropic({"messages": [HI, shown, result]})
    assert body["messages"][1]["content"] == content
    assert notices == []


def test_signed_thoughts_go_round_through_an_openai_caller_that_streams() -> None:
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "H"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Yes"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    decoder = to_anthropic.stream_decoder(Target(card=ModelCard(id="claude")))
    encoder = from_openai.stream_encoder(from_openai.decode_request(json.dumps({"messages": [HI]}).encode()))
    upstream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    stream = b"".join(encoder.encode(event) for event in [*decoder.feed(upstream), *decoder.close()])
    reader = to_openai.stream_decoder(Target(card=ModelCard(id="m")))
    parts = collect([*reader.feed(stream), *reader.close()]).parts
    assert [(type(part).__name__, part.text) for part in parts] == [("Thinking", "Hm"), ("Text", "Yes")]  # type: ignore[union-attr]
    assert parts[0].signature == "c2ln"  # type: ignore[union-attr]


def test_cache_marks_of_parts() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    message = {"role": "user", "content": [{"type": "text", "text": "Long", "cache_control": mark}]}
    body, notices = openai_to_anthropic({"messages": [message]})
    assert (body["messages"], notices) == ([message], [])
    quirks = msgspec.structs.replace(OPENAI, cache_marks="cache_control")
    body, notices = anthropic_to_openai({"messages": [message]}, quirks)
    assert (body["messages"], notices) == ([message], [])
    body, notices = anthropic_to_openai({"messages": [message]})
    assert (body["messages"], notices) == ([{"role": "user", "content": "Long"}], ["cache_control"])


@pytest.mark.parametrize(
    ("effort", "style", "thinking", "sent_effort"),
    [
        ("high", "budget", {"type": "enabled", "budget_tokens": 24576}, None),
        ("low", "budget", {"type": "enabled", "budget_tokens": 1024}, None),
        ("high", "adaptive", {"type": "adaptive"}, "high"),
        ("minimal", "adaptive", {"type": "adaptive"}, "low"),
        ("xhigh", "adaptive", {"type": "adaptive"}, "xhigh"),
        ("none", "adaptive", {"type": "disabled"}, None),
        ("none", "budget", {"type": "disabled"}, None),
        ("high", "none", None, None),
    ],
)
def test_reasoning_effort_is_a_budget_or_adaptive_thinking(
    effort: str, style: Any, thinking: Any, sent_effort: str | None
) -> None:
    body, _ = openai_to_anthropic({"messages": [HI], "reasoning_effort": effort}, thinking_style=style)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == sent_effort


@pytest.mark.parametrize(
    ("members", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 20000}, "max_tokens": 64000}, "high"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({}, None),
    ],
)
def test_a_budget_or_adaptive_thinking_is_reasoning_effort(members: Any, effort: str | None) -> None:
    assert anthropic_to_openai({"messages": [HI], **members})[0].get("reasoning_effort") == effort


def test_an_output_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA, "strict": True}}
    body, notices = openai_to_anthropic({"messages": [HI], "response_format": form})
    written = body["output_config"]["format"]
    assert written == {"type": "json_schema", "schema": {**SCHEMA, "title": "City"}}
    assert notices == []
    back, notices = anthropic_to_openai({"messages": [HI], "output_config": {"format": written}})
    assert back["response_format"]["type"] == "json_schema"
    assert back["response_format"]["json_schema"]["schema"] == written["schema"]
    assert notices == []


def test_options_that_both_have() -> None:
    body, notices = openai_to_anthropic(
        {
            "messages": [HI],
            "max_completion_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["x"],
            "user": "u1",
            "stream": True,
        }
    )
    assert notices == []
    expected = {
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u1"},
        "stream": True,
    }
    assert body == {"model": "claude", "messages": [HI], **expected}
    back, notices = anthropic_to_openai({"messages": [HI], **expected})
    assert notices == []
    assert back.items() >= {"max_completion_tokens": 50, "stop": ["x"], "user": "u1", "temperature": 0.5}.items()


def test_what_one_of_them_cannot_say_is_in_the_notices() -> None:
    _, notices = openai_to_anthropic({"messages": [HI], "seed": 1, "logit_bias": {"5": 1}, "logprobs": True})
    assert notices == ["seed", "logit_bias", "logprobs"]
    _, notices = anthropic_to_openai({"messages": [HI], "top_k": 4, "context_management": {}, "mcp_servers": [{}]})
    assert notices == ["top_k", "context_management", "mcp_servers"]


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "back"),
    [
        ("end_turn", "stop", "end_turn"),
        ("max_tokens", "length", "max_tokens"),
        ("tool_use", "tool_calls", "tool_use"),
        ("refusal", "content_filter", "refusal"),
        ("model_context_window_exceeded", "length", "max_tokens"),
        ("stop_sequence", "stop", "end_turn"),
        ("pause_turn", "stop", "end_turn"),
    ],
)
def test_stop_reasons(stop_reason: str, finish_reason: str, back: str) -> None:
    asked = from_openai.decode_request(json.dumps({"messages": [HI]}).encode())
    answer = json.dumps({"content": [], "stop_reason": stop_reason}).encode()
    response = to_anthropic.decode_response(answer, Target(card=ModelCard(id="m")))
    openai = from_openai.encode_response(response, asked)
    assert json.loads(openai)["choices"][0]["finish_reason"] == finish_reason
    again = to_openai.decode_response(openai, Target(card=ModelCard(id="m")))
    assert json.loads(from_anthropic.encode_response(again, asked))["stop_reason"] == back


def test_usage_with_cache_and_reasoning() -> None:
    asked = from_openai.decode_request(json.dumps({"messages": [HI]}).encode())
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
    }
    answer = json.dumps({"content": [], "stop_reason": "end_turn", "usage": usage}).encode()
    response = to_anthropic.decode_response(answer, Target(card=ModelCard(id="m")))
    openai = from_openai.encode_response(response, asked)
    counted = json.loads(openai)["usage"]
    assert (counted["prompt_tokens"], counted["completion_tokens"], counted["total_tokens"]) == (140, 50, 190)
    assert counted["prompt_tokens_details"]["cached_tokens"] == 100
    assert counted["completion_tokens_details"]["reasoning_tokens"] == 20
    again = to_openai.decode_response(openai, Target(card=ModelCard(id="m")))
    assert json.loads(from_anthropic.encode_response(again, asked))["usage"] == usage


def test_an_openai_stream_with_interleaved_calls_reaches_an_anthropic_caller_in_order() -> None:
    def chunk(finish: str | None = None, **delta: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "chatcmpl-1", "model": "gpt", "created": 1, "choices": [choice]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    def call(index: int, **function: Any) -> dict[str, Any]:
        return {"index": index, "function": function} | ({"id": f"c{index}"} if "name" in function else {})

    upstream = (
        chunk(role="assistant", content="")
        + chunk(content="Looking.")
        + chunk(tool_calls=[call(0, name="f", arguments=""), call(1, name="g", arguments="")])
        + chunk(tool_calls=[call(1, arguments='{"b"')])
        + chunk(tool_calls=[call(0, arguments='{"a":1}')])
        + chunk(tool_calls=[call(1, arguments=":2}")])
        + chunk(finish="tool_calls")
        + b"data: [DONE]\n\n"
    )
    decoder = to_openai.stream_decoder(Target(card=ModelCard(id="gpt")))
    encoder = from_anthropic.stream_encoder(from_openai.decode_request(json.dumps({"messages": [HI]}).encode()))
    stream = b"".join(encoder.encode(event) for event in [*decoder.feed(upstream), *decoder.close()])
    reader = to_anthropic.stream_decoder(Target(card=ModelCard(id="m")))
    response = collect([*reader.feed(stream), *reader.close()])
    assert response.content == "Looking."
    assert [(part.name, part.arguments) for part in response.tool_calls] == [("f", '{"a":1}'), ("g", '{"b":2}')]
    assert response.raw_finish_reason == "tool_use"


def test_errors_keep_their_kind() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    status, openai = from_openai.encode_error(to_anthropic.decode_error(529, {}, body), "req_1")
    assert isinstance(to_openai.decode_error(status, {}, openai), Overloaded)
    limited = to_openai.decode_error(429, {}, b'{"error":{"message":"slow","type":"rate_limit"}}')
    status, anthropic = from_anthropic.encode_error(limited, "req_1")
    assert isinstance(to_anthropic.decode_error(status, {}, anthropic), RateLimitError)


# ---------------------------------------------------------------- recordings

REFUSED = {
    r"^n: one answer a call": "Anthropic answers once",
    r"a part of type audio cannot be said here$": "Anthropic takes no audio",
    r"a part of type \w+ can only be said in openai_chat$": "Mistral's chunks, video: unknown to both",
    r"^max_tokens: 0 is out of range": "a local server took 0 for no limit",
    r"^temperature: expected a number, got a string$": "recorded 400",
}
NOT_IN_SCHEMA = {"file_id": "the published schema has no file source"}


@each("chat")
def test_every_recorded_openai_request_is_one_that_anthropic_takes(exchange: Exchange) -> None:
    if not isinstance(exchange.request, dict):
        return
    try:
        request = from_openai.decode_request(json.dumps(exchange.request).encode())
        sent = to_anthropic.encode_request(request, Target(card=ModelCard(id="claude")), stream=request.stream)
    except InvalidRequest as error:
        if not any(re.search(reason, error.message) for reason in REFUSED):
            raise
        return
    body = json.loads(sent.body)
    errors = [error.message for error in service_schema().iter_errors(body)]
    assert all(any(word in error for word in NOT_IN_SCHEMA) for error in errors), errors
