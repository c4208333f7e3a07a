"""What callers of Anthropic's Messages send, and how they are answered."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages import inbound, outbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.openai_chat import outbound as openai_chat
from genai_spine.model.card import ModelCard
from genai_spine.model.content import (
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
    AuthenticationError,
    BadReply,
    ConfigError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PoolExhausted,
    ProviderTimeout,
    QuotaExceeded,
    RateLimitError,
    SpineError,
)
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

HERE = "anthropic_messages"
HI = [{"role": "user", "content": "Hi"}]


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def asked(**members: Any) -> CompletionRequest:
    body = {"model": "m", "max_tokens": 64, "messages": HI, **members}
    return inbound.decode_request(json.dumps(body).encode())


def parts(*blocks: Any, role: str = "user") -> tuple[Part, ...]:
    return asked(messages=[{"role": role, "content": list(blocks)}]).messages[0].content


# ---------------------------------------------------------------- request


def test_a_plain_request_says_no_more_than_it_said() -> None:
    assert asked() == CompletionRequest(
        model="m", max_tokens=64, messages=(Message(role="user", content=(Text(text="Hi"),)),)
    )


def test_all_options_are_read() -> None:
    assert asked(
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["a", "b"],
        metadata={"user_id": "u1", "trace": 7},
        cache_control={"type": "ephemeral", "ttl": "1h"},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "x": 1},
        service_tier="auto",
        provider="claude",
        provider_hint="cheapest",
        cost_limit=0.25,
        fallbacks=["a/b"],
    ) == CompletionRequest(
        model="m",
        max_tokens=64,
        messages=(Message(role="user", content=(Text(text="Hi"),)),),
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=("a", "b"),
        user="u1",
        cache=CacheMark(ttl="1h"),
        output_schema=OutputSchema(schema={"type": "object"}),
        thinking=ThinkingConfig(effort="low"),
        provider="claude",
        provider_hint="cheapest",
        cost_limit=Decimal("0.25"),
        fallbacks=("a/b",),
        extra={HERE: raw({"service_tier": "auto", "output_config": {"x": 1}, "metadata": {"trace": 7}})},
    )


def test_system_keeps_its_blocks_and_their_cache_marks() -> None:
    assert asked(system="Be brief.").messages[0] == Message(role="system", content=(Text(text="Be brief."),))
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    assert asked(system=system).messages[0] == Message(
        role="system", content=(Text(text="a"), Text(text="b", cache=CacheMark()))
    )
    assert asked(system="").messages[0].role == "user"


def test_a_system_message_in_the_conversation_stays_where_it_is() -> None:
    messages = [*HI, {"role": "system", "content": "In French."}]
    read = asked(messages=messages)
    assert [message.role for message in read.messages] == ["user", "system"]
    for model in ("claude-opus-4-8", "of-a-deployment"):
        sent = outbound.encode_request(read, Target(card=ModelCard(id=model)), stream=False)
        assert json.loads(sent.body)["messages"] == messages
        assert sent.notices == ()


def test_a_system_message_in_the_conversation_is_text_of_the_user_for_a_model_that_takes_none() -> None:
    system = {"role": "system", "content": "In French.", "output_config": {"effort": "low"}}
    answered = [*HI, {"role": "assistant", "content": "Hello"}]
    sent = outbound.encode_request(
        asked(messages=[*answered, system, *HI]), Target(card=ModelCard(id="claude-sonnet-4-5")), stream=False
    )
    assert json.loads(sent.body)["messages"] == [
        *answered,
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system>\nIn French.\n</system>"},
                {"type": "text", "text": HI[0]["content"]},
            ],
        },
    ]
    assert [(notice.code, notice.param) for notice in sent.notices] == [
        ("changed", "messages[2]"),
        ("dropped", "messages[2]"),
    ]


def test_every_kind_of_block_is_read() -> None:
    assert parts(
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m", "scope": "org"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "title": "a.pdf",
            "context": "c",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "document", "source": {"type": "url", "url": "https://e.org/a.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
    ) == (
        Text(text="a", cache=CacheMark(ttl="5m"), provider_metadata={HERE: raw({"cache_control": {"scope": "org"}})}),
        Image(data="AAAA", media_type="image/png"),
        Image(url="https://e.org/a.png"),
        Image(file_id="file_1"),
        Document(
            data="JVBE", media_type="application/pdf", name="a.pdf", provider_metadata={HERE: raw({"context": "c"})}
        ),
        Document(text="plain", media_type="text/plain"),
        Document(url="https://e.org/a.pdf"),
        Document(file_id="file_2"),
    )


def test_the_assistants_blocks_are_read() -> None:
    assert parts(
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "thinking", "thinking": "Hm", "signature": ""},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
        role="assistant",
    ) == (
        Thinking(text="Hm", signature="c2ln"),
        Thinking(text="Hm"),
        Thinking(redacted="ZW5j"),
        ToolCall(id="t", name="f", arguments='{"a":1}', provider_metadata={HERE: raw({"caller": {"type": "direct"}})}),
    )


def test_tool_results_stay_in_the_users_message() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}
    assert parts(
        {"type": "tool_result", "tool_use_id": "t", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "u", "content": [image], "is_error": True},
        {"type": "tool_result", "tool_use_id": "v"},
        {"type": "text", "text": "And?"},
    ) == (
        ToolResult(call_id="t", content=(Text(text="rain"),)),
        ToolResult(call_id="u", content=(Image(url="https://e.org/a.png"),), is_error=True),
        ToolResult(call_id="v"),
        Text(text="And?"),
    )


def test_tools_that_a_client_has_found_are_named_where_nobody_else_knows_references() -> None:
    # Claude Code 2.1.330 answers its ToolSearch so (2026-11); a refusal made it give all tools up and declare each.
    references = [
        {"type": "tool_reference", "tool_name": "WebFetch"},
        {"type": "tool_reference", "tool_name": "Notes", "cache_control": {"type": "ephemeral"}},
    ]
    result = {"type": "tool_result", "tool_use_id": "c1", "content": references}
    call = {"type": "tool_use", "id": "c1", "name": "ToolSearch", "input": {"query": "web"}}
    messages = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    request = asked(messages=messages, tools=[{"name": "WebFetch", "input_schema": {}, "defer_loading": True}])
    target = Target(card=ModelCard(id="m"))
    assert json.loads(outbound.encode_request(request, target, stream=False).body)["messages"] == messages
    sent = openai_chat.encode_request(request, target, stream=False)
    assert json.loads(sent.body)["messages"][-1]["content"] == [
        {"type": "text", "text": "The tool WebFetch can be called now."},
        {"type": "text", "text": "The tool Notes can be called now."},
    ]
    assert {notice.param for notice in sent.notices} == {"cache_control", "defer_loading", "tool_reference"}


def test_tools_that_come_and_go_amid_the_conversation_are_named_where_nobody_else_knows_that() -> None:
    changes = [
        {"type": "text", "text": "Be brief."},
        {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Old"}},
        {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "New"}, "of_tomorrow": 1},
    ]
    messages = [{"role": "user", "content": "Look"}, {"role": "system", "content": changes}]
    request = asked(messages=messages)
    able = Target(card=ModelCard(id="claude-opus-4-8"))
    assert json.loads(outbound.encode_request(request, able, stream=False).body)["messages"] == messages
    sent = openai_chat.encode_request(request, Target(card=ModelCard(id="m")), stream=False)
    assert [part["text"] for part in json.loads(sent.body)["messages"][-1]["content"]] == [
        "Be brief.",
        "The tool Old can no longer be called.",
        "The tool New can be called now.",
    ]
    assert {notice.param for notice in sent.notices} == {"tool_removal", "tool_addition", "of_tomorrow"}


def test_search_results_are_texts_where_nobody_else_knows_them() -> None:
    text = {"type": "text", "text": "Spines hold.", "cache_control": {"type": "ephemeral"}}
    found = {"type": "search_result", "source": "https://e.org/a", "title": "On spines", "content": [text, text]}
    cited = {**found, "content": [], "citations": {"enabled": True}, "cache_control": {"type": "ephemeral"}}
    call = {"type": "tool_use", "id": "c1", "name": "search", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [found]}
    messages = [
        {"role": "user", "content": [cited]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    request = asked(messages=messages)
    target = Target(card=ModelCard(id="m"))
    assert json.loads(outbound.encode_request(request, target, stream=False).body)["messages"] == messages
    sent = openai_chat.encode_request(request, target, stream=False)
    head = "Search result: On spines (https://e.org/a)\n"
    [said, _, answered] = json.loads(sent.body)["messages"]
    assert said["content"] == head
    assert answered["content"] == head + "Spines hold.\nSpines hold."
    assert {notice.param for notice in sent.notices} == {"cache_control", "citations.enabled"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "n", "input_schema": {}}}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {"type": "image", "source": {"type": "of_tomorrow"}},
        {"type": "container_upload", "file_id": "file_1"},
    ],
)
def test_unknown_blocks_are_opaque_and_whole(block: dict[str, Any]) -> None:
    assert parts(block) == (Opaque(dialect=HERE, kind=block["type"], raw=raw(block)),)


@pytest.mark.parametrize(
    ("members", "thinking"),
    [
        ({"thinking": {"type": "disabled"}}, ThinkingConfig(enabled=False)),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            ThinkingConfig(enabled=True, adaptive=True, display="omitted"),
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ThinkingConfig(enabled=True, budget_tokens=2000)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            ThinkingConfig(enabled=True, adaptive=True, effort="max"),
        ),
        ({"output_config": {"effort": "high"}}, ThinkingConfig(effort="high")),
        ({}, None),
    ],
)
def test_thinking_and_effort_are_read_and_written_again(members: Any, thinking: ThinkingConfig | None) -> None:
    read = asked(**members, max_tokens=9000)
    assert read.thinking == thinking
    sent = json.loads(outbound.encode_request(read, Target(card=ModelCard(id="m")), stream=False).body)
    assert {key: sent[key] for key in sent.keys() & {"thinking", "output_config"}} == members


def test_thinking_of_a_type_to_come_is_kept() -> None:
    read = asked(thinking={"type": "between_tools"})
    assert read.thinking is None
    assert read.extra == {HERE: raw({"thinking": {"type": "between_tools"}})}


def test_the_former_name_of_the_output_format_is_read() -> None:
    assert asked(output_format={"type": "json_schema", "schema": {"a": 1}}).output_schema == OutputSchema(
        schema={"a": 1}
    )


def test_tools_of_the_caller_and_of_the_service() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    tools = [
        {
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object"},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "custom", "name": "g", "input_schema": {"type": "object"}, "defer_loading": True},
        search,
        {"type": "mcp_toolset", "mcp_server_name": "x"},
    ]
    assert asked(tools=tools).tools == (
        Tool(name="f", description="d", parameters={"type": "object"}, strict=True, cache=CacheMark()),
        Tool(
            name="g",
            parameters={"type": "object"},
            provider_metadata={HERE: raw({"type": "custom", "defer_loading": True})},
        ),
        ProviderTool(dialect=HERE, name="web_search", raw=raw(search)),
        ProviderTool(dialect=HERE, name="mcp_toolset", raw=raw(tools[3])),
    )


@pytest.mark.parametrize(
    ("choice", "read", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(mode="required"), False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolChoice(mode="tool", name="f"), True),
        ({"type": "none"}, ToolChoice(mode="none"), None),
    ],
)
def test_tool_choices_are_read(choice: Any, read: ToolChoice, parallel: bool | None) -> None:
    request = asked(tool_choice=choice)
    assert (request.tool_choice, request.parallel_tool_calls) == (read, parallel)


def test_anthropics_own_fallbacks_and_what_is_new_are_kept() -> None:
    fallbacks = [{"model": "x"}]
    read = asked(fallbacks=fallbacks, context_management={"edits": []}, mcp_servers=[{"url": "u"}], container=None)
    assert read.fallbacks == ()
    assert read.extra is not None
    assert msgspec.json.decode(read.extra[HERE]) == {
        "fallbacks": fallbacks,
        "context_management": {"edits": []},
        "mcp_servers": [{"url": "u"}],
    }


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": "x"}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice.type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"cache_control": {}}, "cache_control.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        asked(**members)
    assert raised.value.param == place
    assert raised.value.message.startswith(f"{place}: ")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"messages":[{}]}', b'{"a":1e999}', b"\xff"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        inbound.decode_request(body)


def test_a_count_needs_no_max_tokens() -> None:
    assert inbound.decode_count_request(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}').max_tokens is None
    assert inbound.encode_count_response(14) == b'{"input_tokens":14}'


# ---------------------------------------------------------------- answer


def test_an_answer_is_a_message() -> None:
    response = CompletionResponse(
        id="chatcmpl-1",
        model="gpt-4o",
        parts=(Thinking(text="Hm"), Text(text="Hi"), ToolCall(id="call_1", name="f", arguments="not json")),
        usage=TokenUsage(input_tokens=12, cache_read_tokens=5, output_tokens=3),
    )
    assert json.loads(inbound.encode_response(response, asked())) == {
        "id": "msg_chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": ""},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "call_1", "name": "f", "input": {"input": "not json"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "output_tokens": 3,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": 5,
        },
    }


def test_usage_is_there_even_where_nobody_counted() -> None:
    usage = json.loads(inbound.encode_response(CompletionResponse(model="m"), asked()))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)


def test_one_hour_cache_writes_are_told_apart() -> None:
    usage = TokenUsage(input_tokens=40, cache_write_tokens=30, cache_write_1h_tokens=20, output_tokens=1)
    written = json.loads(inbound.encode_response(CompletionResponse(model="m", usage=usage), asked()))["usage"]
    assert written["input_tokens"] == 10
    assert written["cache_creation_input_tokens"] == 30
    assert written["cache_creation"] == {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("x"), 400, "invalid_request_error"),
        (InvalidRequest("x", status_code=413), 413, "request_too_large"),
        (InvalidRequest("x", status_code=422), 422, "invalid_request_error"),
        (AuthenticationError("x"), 401, "authentication_error"),
        (QuotaExceeded("x"), 402, "billing_error"),
        (ModelNotFound("x"), 404, "not_found_error"),
        (RateLimitError("x"), 429, "rate_limit_error"),
        (Overloaded("x"), 529, "overloaded_error"),
        (PoolExhausted("x"), 503, "overloaded_error"),
        (ProviderTimeout("x"), 504, "timeout_error"),
        (BadReply("x"), 502, "api_error"),
        (ConfigError("x"), 500, "api_error"),
    ],
)
def test_errors_have_anthropics_shape(error: SpineError, status: int, kind: str) -> None:
    code, body = inbound.encode_error(error, "req_1")
    assert code == status
    assert json.loads(body) == {"type": "error", "error": {"type": kind, "message": "x"}, "request_id": "req_1"}
    if not isinstance(error, ConfigError | ProviderTimeout | PoolExhausted | BadReply | InvalidRequest):
        assert type(outbound.decode_error(code, {}, body)) is type(error)


def test_the_headers_of_the_dialect_are_forwarded() -> None:
    assert {b"anthropic-beta", b"anthropic-version"} == inbound.FORWARDED_HEADERS
    assert inbound.STREAM_CONTENT_TYPE.startswith(b"text/event-stream")


def test_empty_texts_are_not_shown_for_they_could_not_come_back() -> None:
    """Gemini signs an empty text; Anthropic answers one in a later request with 400."""
    signed = keep("gemini", {"thoughtSignature": "AAAA"})
    parts = (
        Text(text=""),
        Thinking(text="Hm", signature="c2ln"),
        Text(text="", provider_metadata=signed),
        Refusal(text=""),
        Text(text="Hello"),
    )
    response = CompletionResponse(model="m", parts=parts, finish_reason=FinishReason.STOP)
    plain = json.loads(inbound.encode_response(response, CompletionRequest(messages=())))
    assert [block["type"] for block in plain["content"]] == ["thinking", "text"]
    encoder = inbound.stream_encoder(CompletionRequest(messages=()))
    stream = b"".join(encoder.encode(event) for event in replay(response))
    assert stream.count(b'"content_block_start"') == stream.count(b'"content_block_stop"') == 2
    decoder = outbound.stream_decoder(Target(card=ModelCard(id="m")))
    assert collect([*decoder.feed(stream), *decoder.close()]).parts == (parts[1], parts[4])


def test_a_text_that_is_empty_but_for_its_citations_is_shown() -> None:
    citation = {"type": "char_location", "cited_text": "a"}
    events = [
        MessageStart(model="m"),
        PartStart(index=0, part=Text(text="")),
        PartDelta(0, ""),
        PartEnd(index=0, provider_metadata=keep("anthropic_messages", {"citations": [citation]})),
        MessageEnd(finish_reason=FinishReason.STOP),
    ]
    encoder = inbound.stream_encoder(CompletionRequest(messages=()))
    stream = b"".join(map(encoder.encode, events))
    assert stream.count(b'"content_block_start"') == stream.count(b'"citations_delta"') == 1


def test_an_image_is_in_a_stream_as_in_a_plain_answer() -> None:
    image = Image(data="iVBORw0KGgo=", media_type="image/png")
    response = CompletionResponse(model="m", parts=(Text(text="Here:"), image), finish_reason=FinishReason.STOP)
    plain = json.loads(inbound.encode_response(response, CompletionRequest(messages=())))
    encoder = inbound.stream_encoder(CompletionRequest(messages=()))
    frames = b"".join(encoder.encode(event) for event in replay(response)).decode().split("\n\n")
    events = [json.loads(frame.partition("\ndata: ")[2]) for frame in frames if frame]
    begun = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert begun == [{"type": "text", "text": ""}, plain["content"][1]]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1]
