"""What goes to a provider that speaks Anthropic's Messages, and what is said of what cannot."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages import outbound
from genai_spine.dialects.interface import Target
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
    AuthenticationError,
    BadReply,
    BadRequest,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    ServerError,
)
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import FinishReason

HERE = "anthropic_messages"
ASK = Message(role="user", content=(Text(text="Hi"),))
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
CALL = ToolCall(id="toolu_1", name="weather", arguments='{"city":"Oslo"}')
SIGNED = Thinking(text="Oslo, then", signature="c2ln")


def target(model: str = "claude-sonnet-4-5", *, most: int | None = None, **capabilities: Any) -> Target:
    card = ModelCard(id=model, max_output_tokens=most, capabilities=Capabilities(**capabilities))
    return Target(card=card)


def sent(
    request: CompletionRequest | None = None, to: Target | None = None, **fields: Any
) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    """The body that goes out, and code and param of each notice."""
    if request is None:
        fields.setdefault("messages", (ASK,))
        fields.setdefault("max_tokens", 64)
        request = CompletionRequest(**fields)
    outgoing = outbound.encode_request(request, to or target(), stream=False)
    return json.loads(outgoing.body), [(notice.code, notice.param) for notice in outgoing.notices]


def message(*parts: Part, role: Any = "user") -> Message:
    return Message(role=role, content=parts)


def blocks(*parts: Part, role: Any = "user") -> Any:
    return sent(messages=(message(*parts, role=role),))[0]["messages"][0]["content"]


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


# ---------------------------------------------------------------- max_tokens, system, order


def test_a_plain_question_goes_out_as_short_as_can_be() -> None:
    outgoing = outbound.encode_request(CompletionRequest(messages="Hi", max_tokens=64), target(), stream=True)
    assert outgoing.path == "/v1/messages"
    assert json.loads(outgoing.body) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    assert outgoing.headers == ()
    assert outgoing.notices == ()


def test_max_tokens_is_the_callers_else_the_cards_else_4096_with_a_notice() -> None:
    assert sent(max_tokens=7, to=target(most=64000))[0]["max_tokens"] == 7
    assert sent(max_tokens=None, to=target(most=64000)) == (
        {"model": "claude-sonnet-4-5", "max_tokens": 64000, "messages": [{"role": "user", "content": "Hi"}]},
        [],
    )
    body, notices = sent(max_tokens=None)
    assert (body["max_tokens"], notices) == (4096, [("changed", "max_tokens")])


def test_more_tokens_than_the_model_writes_are_not_asked_for() -> None:
    body, notices = sent(max_tokens=64000, to=target(most=8192))
    assert (body["max_tokens"], notices) == (8192, [("changed", "max_tokens")])


def test_leading_system_and_developer_messages_become_system() -> None:
    body, notices = sent(messages=(Message(role="system", content="Be brief."), ASK))
    assert (body["system"], notices) == ("Be brief.", [])
    body, _ = sent(messages=(Message(role="system", content="One."), Message(role="developer", content="Two."), ASK))
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]


def test_a_cache_mark_makes_blocks_of_the_system_prompt() -> None:
    marked = message(Text(text="Long."), Text(text="Longer.", cache=CacheMark(ttl="1h")), role="system")
    assert sent(messages=(marked, ASK))[0]["system"] == [
        {"type": "text", "text": "Long."},
        {"type": "text", "text": "Longer.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]


LATER = (ASK, message(Text(text="Hello"), role="assistant"), ASK, Message(role="system", content="In French."))


def test_a_later_system_message_stays_in_place_for_models_that_take_it() -> None:
    body, notices = sent(messages=LATER, to=target("claude-opus-4-8"))
    assert body["messages"][-1] == {"role": "system", "content": "In French."}
    assert notices == []


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-opus-4-8", True),
        ("claude-opus-5", True),
        ("claude-haiku-5-5", True),
        ("anthropic.claude-fable-5-1", True),
        ("claude-sonnet-5-20260801", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-5-20251101", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-3-5-haiku-20241022", False),
        ("qwen3-max", False),
    ],
)
def test_which_models_take_a_later_system_message(model: str, takes: bool) -> None:
    body, _ = sent(messages=LATER, to=target(model))
    assert (body["messages"][-1]["role"] == "system") is takes


def test_a_later_system_message_is_else_text_of_the_user_and_says_so() -> None:
    body, notices = sent(messages=LATER)
    assert body["messages"][-1]["content"] == [
        {"type": "text", "text": "Hi"},
        {"type": "text", "text": "<system>\nIn French.\n</system>"},
    ]
    assert notices == [("changed", "messages[3]")]


def test_a_system_message_before_the_user_speaks_on_is_not_allowed_to_stay() -> None:
    body, notices = sent(messages=(*LATER, ASK), to=target("claude-opus-4-8"))
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]
    assert notices == [("changed", "messages[3]")]


def test_system_messages_alone_are_asked_as_the_user() -> None:
    body, notices = sent(messages=(Message(role="system", content="Say hi."),))
    assert body["messages"] == [{"role": "user", "content": "Say hi."}]
    assert "system" not in body
    assert notices == [("changed", "messages")]


def test_a_system_message_holds_text_only() -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[0\]\.content\[0\]: a system message holds text"):
        sent(messages=(message(Image(url="https://e.org/a.png"), role="system"), ASK))


def test_what_the_user_says_in_several_messages_is_one_with_the_results_first() -> None:
    two = ToolCall(id="toolu_2", name="weather", arguments='{"city":"Rome"}')
    body, _ = sent(
        messages=(
            ASK,
            message(CALL, two, role="assistant"),
            message(ToolResult(call_id="toolu_1", content=(Text(text="rain"),)), role="tool"),
            message(Text(text="And?"), ToolResult(call_id="toolu_2", content=(Text(text="sun"),))),
        )
    )
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "sun"},
            {"type": "text", "text": "And?"},
        ],
    }


def test_empty_texts_and_empty_messages_are_not_sent() -> None:
    assert blocks(Text(text=""), Text(text="Hi")) == "Hi"
    body, notices = sent(messages=(ASK, Message(role="assistant"), ASK))
    assert [each["role"] for each in body["messages"]] == ["user", "user"]
    assert notices == [("dropped", "messages[1]")]
    with pytest.raises(InvalidRequest, match="at least one message"):
        sent(messages=())


def test_white_space_alone_is_as_good_as_empty() -> None:
    result = ToolResult(call_id="toolu_1", content=(Text(text="\n"),))
    body, notices = sent(
        messages=(
            Message(role="system", content=" "),
            ASK,
            message(Text(text="\n\n"), CALL, role="assistant"),
            message(result, role="tool"),
            Message(role="user", content=" \t"),
        )
    )
    assert "system" not in body
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1"}]
    assert notices == [("dropped", "messages[4]")]
    assert blocks(Text(text=" a ")) == " a "


def test_names_of_messages_have_no_place() -> None:
    assert sent(messages=(Message(role="user", content="Hi", name="eve"),))[1] == [("dropped", "messages[0].name")]


# ---------------------------------------------------------------- content


def test_images_by_bytes_url_and_file() -> None:
    assert blocks(
        Image(data="AAAA", media_type="image/jpeg", cache=CacheMark()),
        Image(url="https://e.org/a.png"),
        Image(file_id="file_1"),
    ) == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    ]


def test_a_file_by_its_id_needs_the_beta_of_the_files() -> None:
    asked = CompletionRequest(messages=(message(Document(file_id="file_1")),), max_tokens=9)
    assert outbound.encode_request(asked, target(), stream=False).headers == (
        ("anthropic-beta", "files-api-2025-04-14"),
    )


def test_an_images_detail_is_dropped_with_a_notice_unless_it_says_nothing() -> None:
    url = "https://e.org/a.png"
    assert sent(messages=(message(Image(url=url, detail="auto")),))[1] == []
    assert sent(messages=(message(Image(url=url, detail="low")),))[1] == [("dropped", "messages[0].content[0].detail")]


def test_documents_are_pdfs_texts_urls_and_files() -> None:
    written = blocks(
        Document(data="JVBE", name="a.pdf", media_type="application/pdf"),
        Document(text="plain"),
        Document(data="cGxhaW4=", media_type="text/plain"),
        Document(url="https://e.org/a.pdf"),
        Document(file_id="file_1"),
    )
    plain = {"type": "text", "media_type": "text/plain", "data": "plain"}
    assert [block["source"] for block in written] == [
        {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        plain,
        plain,
        {"type": "url", "url": "https://e.org/a.pdf"},
        {"type": "file", "file_id": "file_1"},
    ]
    assert written[0]["title"] == "a.pdf"


@pytest.mark.parametrize(
    "part",
    [
        Audio(data="AAAA", format="wav"),
        Document(data="UEsD", media_type="application/zip"),
        Image(),
        Opaque(dialect="openai_chat", kind="x", raw=msgspec.Raw(b"{}")),
        CALL,
        SIGNED,
    ],
)
def test_content_that_cannot_be_said_is_an_error_that_names_its_place(part: Part) -> None:
    with pytest.raises(InvalidRequest, match=r"^messages\[0\]\.content\[1\]: ") as raised:
        blocks(Text(text="See"), part)
    assert raised.value.param == "messages[0].content[1]"


def test_own_opaque_blocks_go_back_byte_for_byte() -> None:
    kept = msgspec.Raw(b'{"type": "server_tool_use",  "n": 1.0}')
    part = Opaque(dialect=HERE, kind="server_tool_use", raw=kept)
    asked = CompletionRequest(messages=(ASK, message(part, role="assistant")), max_tokens=9)
    assert bytes(kept) in outbound.encode_request(asked, target(), stream=False).body


def test_refusals_are_text() -> None:
    assert blocks(Refusal(text="No."), role="assistant") == "No."


def test_tool_results_hold_texts_images_and_documents_and_errors() -> None:
    result = ToolResult(
        call_id="toolu_1",
        content=(Text(text="chart"), Image(data="AAAA", media_type="image/png"), Document(data="JVBE")),
        is_error=True,
        cache=CacheMark(ttl="5m"),
        name="weather",
    )
    assert blocks(result) == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [
                {"type": "text", "text": "chart"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                },
            ],
            "is_error": True,
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        }
    ]
    assert blocks(ToolResult(call_id="toolu_1")) == [{"type": "tool_result", "tool_use_id": "toolu_1"}]


def test_arguments_go_through_byte_for_byte() -> None:
    call = ToolCall(id="toolu_1", name="f", arguments='{"a": 1.0, "b":1e2}')
    asked = CompletionRequest(messages=(ASK, message(call, role="assistant")), max_tokens=9)
    assert b'"input":{"a": 1.0, "b":1e2}' in outbound.encode_request(asked, target(), stream=False).body


def test_no_arguments_are_an_empty_object() -> None:
    for arguments in ("", " ", "null"):
        assert blocks(ToolCall(id="a", name="f", arguments=arguments), role="assistant")[0]["input"] == {}


@pytest.mark.parametrize("arguments", ["[1]", "{", '"x"', "{}{}", '{"a":NaN}', '{"a":"\ud800"}'])
def test_arguments_that_are_no_object_are_an_error_that_names_the_call(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="the call toolu_9 of weather are not a JSON object"):
        blocks(ToolCall(id="toolu_9", name="weather", arguments=arguments), role="assistant")


def test_free_text_for_a_tool_is_sent_as_an_argument() -> None:
    body, notices = sent(
        messages=(ASK, message(ToolCall(id="a", name="patch", arguments="*** x", kind="custom"), role="assistant"))
    )
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** x"}
    assert notices == [("changed", "messages[1].content[0]")]


def test_ids_of_calls_from_elsewhere_are_made_fit_on_both_ends() -> None:
    call = ToolCall(id="functions.weather:0", name="weather")
    body, _ = sent(messages=(ASK, message(call, role="assistant"), message(ToolResult(call_id="functions.weather:0"))))
    assert body["messages"][1]["content"][0]["id"] == "functions_weather_0"
    assert body["messages"][2]["content"][0]["tool_use_id"] == "functions_weather_0"


def test_signed_and_redacted_thoughts_go_back_and_unsigned_ones_stay_out_with_a_notice() -> None:
    parts = (SIGNED, Thinking(redacted="ZW5j"), Thinking(text="someone else's"), Text(text="Rain."))
    body, notices = sent(messages=(ASK, message(*parts, role="assistant"), ASK))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Oslo, then", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "Rain."},
    ]
    assert notices == [("omitted_thinking", "messages[1].content[2]")]


def test_what_only_this_dialect_knows_of_a_part_is_sent_back_and_of_another_is_not() -> None:
    metadata = {HERE: raw({"citations": {"enabled": True}, "source": {"x": 1}}), "other": raw({"no": 1})}
    assert blocks(Document(data="JVBE", provider_metadata=metadata))[0] == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE", "x": 1},
        "citations": {"enabled": True},
    }


# ---------------------------------------------------------------- tools


def test_tools_have_schema_strictness_description_and_cache_mark() -> None:
    closed = {"type": "object", "additionalProperties": False}
    tool = Tool(name="f", description="d", parameters=closed, strict=True, cache=CacheMark(ttl="1h"))
    assert sent(tools=(tool, Tool(name="g")))[0]["tools"] == [
        {
            "name": "f",
            "description": "d",
            "input_schema": closed,
            "strict": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]


COUNTING = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}


def test_the_schema_of_a_strict_tool_is_fitted_and_no_other() -> None:
    body, notices = sent(tools=(Tool(name="f", parameters=COUNTING, strict=True), Tool(name="g", parameters=COUNTING)))
    assert body["tools"] == [
        {
            "name": "f",
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                "additionalProperties": False,
            },
            "strict": True,
        },
        {"name": "g", "input_schema": COUNTING},
    ]
    assert notices == [("changed", "tools")]


def test_a_model_without_structured_output_gets_ordinary_tools() -> None:
    tools = (Tool(name="f", parameters=COUNTING, strict=True), Tool(name="g", parameters=COUNTING, strict=False))
    body, notices = sent(tools=tools, to=target(structured_output=False))
    assert body["tools"] == [{"name": name, "input_schema": COUNTING} for name in ("f", "g")]
    assert notices == [("dropped", "tools")]


@pytest.mark.parametrize("choice", [ToolChoice(mode="required"), ToolChoice(mode="tool", name="weather")])
def test_a_model_that_cannot_be_forced_chooses_for_itself(choice: ToolChoice) -> None:
    body, notices = sent(tools=(WEATHER,), tool_choice=choice, to=target("claude-opus-5-5", forced_tools=False))
    assert body["tool_choice"] == {"type": "auto"}
    assert notices == [("changed", "tool_choice")]


def test_a_schema_without_a_type_gets_one() -> None:
    assert sent(tools=(Tool(name="f", parameters={}),))[0]["tools"][0]["input_schema"] == {"type": "object"}


def test_own_provider_tools_go_out_and_others_are_dropped_with_a_notice() -> None:
    own = ProviderTool(dialect=HERE, name="web_search", raw=raw({"type": "web_search_20250305"}))
    other = ProviderTool(dialect="openai_responses", name="web_search", raw=raw({"type": "web_search"}))
    body, notices = sent(tools=(own, other))
    assert body["tools"] == [{"type": "web_search_20250305"}]
    assert notices == [("dropped", "tools")]


def test_free_text_tools_are_functions_that_take_their_text() -> None:
    custom = Tool(name="patch", kind="custom")
    body, notices = sent(tools=(custom, WEATHER), tool_choice=ToolChoice(mode="tool", name="patch"))
    assert [tool["name"] for tool in body["tools"]] == ["patch", "weather"]
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "tool", "name": "patch"}
    assert notices == [("changed", "tools")]


@pytest.mark.parametrize(("name", "fits"), [("git.log", False), ("x" * 128, True), ("x" * 129, False)])
def test_names_of_tools_fit_wherever_they_stand(name: str, fits: bool) -> None:
    """`Tool.name` of Anthropic's schema: ^[a-zA-Z0-9_-]{1,128}$."""
    said = (
        Message(role="user", content=(Text(text="?"),)),
        Message(role="assistant", content=(ToolCall(id="c", name=name, arguments="{}"),)),
        Message(role="tool", content=(ToolResult(call_id="c"),)),
    )
    body, notices = sent(messages=said, tools=(Tool(name=name),), tool_choice=ToolChoice(mode="tool", name=name))
    written = body["tools"][0]["name"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", written)
    assert (written == name) == fits
    assert body["messages"][1]["content"][0]["name"] == body["tool_choice"]["name"] == written
    assert notices == ([] if fits else [("changed", "tools")])


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="required"), None, {"type": "any"}),
        (ToolChoice(mode="tool", name="weather"), True, {"type": "tool", "name": "weather"}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, True, None),
        (None, None, None),
    ],
)
def test_tool_choice_and_parallel_calls(choice: ToolChoice | None, parallel: bool | None, written: Any) -> None:
    body, notices = sent(tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel)
    assert body.get("tool_choice") == written
    assert notices == []


# ---------------------------------------------------------------- options


def test_sampling_stops_user_and_cache() -> None:
    body, notices = sent(temperature=0.5, top_p=0.9, top_k=5, stop=("END",), user="u1", cache=CacheMark(ttl="1h"))
    assert {key: body[key] for key in ("temperature", "top_p", "top_k", "stop_sequences", "metadata")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
    }
    assert body["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert notices == []


def test_a_stop_sequence_of_white_space_is_left_out() -> None:
    """The service: "each stop sequence must contain non-whitespace"."""
    body, notices = sent(stop=("\n", "END", "", " \n"))
    assert (body["stop_sequences"], notices) == (["END"], [("dropped", "stop")])
    body, notices = sent(stop=("\n",))
    assert ("stop_sequences" in body, notices) == (False, [("dropped", "stop")])


def test_what_the_assistant_begins_does_not_end_in_white_space() -> None:
    begun = message(Text(text="a "), Text(text="<b>\n "), role="assistant")
    body, notices = sent(messages=(ASK, begun))
    assert [block["text"] for block in body["messages"][-1]["content"]] == ["a ", "<b>"]
    assert notices == [("changed", "messages")]
    body, notices = sent(messages=(ASK, message(Text(text="a "), role="assistant"), ASK))
    assert (body["messages"][1]["content"], notices) == ("a ", [])


def test_temperature_ends_at_one() -> None:
    body, notices = sent(temperature=1.7)
    assert (body["temperature"], notices) == (1, [("changed", "temperature")])


def test_a_model_without_sampling_gets_none() -> None:
    body, notices = sent(temperature=0.5, top_p=0.9, top_k=5, to=target(sampling=False))
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert notices == [("dropped", "temperature"), ("dropped", "top_p"), ("dropped", "top_k")]


def test_a_model_that_takes_one_of_temperature_and_top_p_gets_the_temperature() -> None:
    one = target(temperature_with_top_p=False)
    body, notices = sent(temperature=0.5, top_p=0.9, to=one)
    assert (body["temperature"], "top_p" in body, notices) == (0.5, False, [("dropped", "top_p")])
    body, notices = sent(top_p=0.9, to=one)
    assert (body["top_p"], notices) == (0.9, [])
    body, notices = sent(temperature=0.5, top_p=0.97, thinking=ThinkingConfig(enabled=True), to=one)
    assert (body["top_p"], notices) == (0.97, [("dropped", "temperature")])


@pytest.mark.parametrize("user", ["joe@example.com", "tenant-7:joe@mail.example.com", "x" * 257])
def test_a_user_that_the_service_refuses_is_sent_as_a_hash(user: str) -> None:
    body, notices = sent(user=user)
    assert body["metadata"] == {"user_id": hashlib.sha256(user.encode()).hexdigest()}
    assert notices == [("changed", "user")]


@pytest.mark.parametrize("user", ["u1", "@joe", "x" * 256, '{"device_id":"a","session_id":"b"}'])
def test_any_other_user_is_sent_as_it_is(user: str) -> None:
    body, notices = sent(user=user)
    assert (body["metadata"], notices) == ({"user_id": user}, [])


def test_what_the_service_has_no_word_for_is_dropped_with_notices() -> None:
    body, notices = sent(frequency_penalty=0.1, presence_penalty=0.2, seed=3, context_window=9000)
    assert body.keys() == {"model", "max_tokens", "messages"}
    names = ["frequency_penalty", "presence_penalty", "seed", "context_window"]
    assert notices == [("dropped", name) for name in names]


def test_several_answers_at_once_are_an_error() -> None:
    assert sent(n=1)[1] == []
    with pytest.raises(InvalidRequest, match=r"^n: "):
        sent(n=2)


def test_extra_of_this_dialect_is_merged_and_of_others_is_dropped_with_notices() -> None:
    extra = {
        HERE: raw({"service_tier": "auto", "metadata": {"k": 1}, "max_tokens": 5, "betas": ["x-1", "x-2"]}),
        "openai_chat": raw({"logit_bias": {}, "store": True}),
    }
    asked = CompletionRequest(messages=(ASK,), max_tokens=64, user="u1", extra=extra)
    outgoing = outbound.encode_request(asked, target(), stream=False)
    body = json.loads(outgoing.body)
    assert (body["service_tier"], body["max_tokens"]) == ("auto", 64)
    assert body["metadata"] == {"user_id": "u1", "k": 1}
    assert "betas" not in body
    assert outgoing.headers == (("anthropic-beta", "x-1,x-2"),)
    assert [notice.param for notice in outgoing.notices] == ["logit_bias", "store"]


# ---------------------------------------------------------------- output schema


def test_an_output_schema_is_the_format_of_the_output_config() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body, notices = sent(output_schema=OutputSchema(schema=schema), thinking=ThinkingConfig(effort="low"))
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    assert notices == []


def test_a_schema_is_fitted_to_what_the_service_takes() -> None:
    schema = {
        "type": "object",
        "properties": {
            "minimum": {"type": "integer", "minimum": 1, "description": "least"},
            "tags": {"type": "array", "minItems": 2, "items": {"type": "object", "properties": {}}},
        },
        "$defs": {"a": {"type": "object"}},
        "anyOf": [{"type": "object", "additionalProperties": True}],
    }
    body, notices = sent(output_schema=OutputSchema(schema=schema, name="Answer", description="What I want"))
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {
            "minimum": {"type": "integer", "description": "least\n\n{minimum: 1}"},
            "tags": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
                "description": "{minItems: 2}",
            },
        },
        "$defs": {"a": {"type": "object", "additionalProperties": False}},
        "anyOf": [{"type": "object", "additionalProperties": True}],
        "additionalProperties": False,
        "title": "Answer",
        "description": "What I want",
    }
    assert notices == [("changed", "response_format")]


def test_formats_and_orders_of_other_services_are_said_as_this_one_takes_them() -> None:
    schema = {
        "type": "object",
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "kind": {"type": "string", "enum": ["a"], "format": "enum"},
            "count": {"type": "integer", "format": "uint32", "description": "how many"},
        },
        "propertyOrdering": ["count", "gone", ["at"]],
    }
    body, notices = sent(output_schema=OutputSchema(schema=schema))
    written = body["output_config"]["format"]["schema"]
    assert list(written["properties"].items()) == [
        ("count", {"type": "integer", "description": "how many\n\n{format: uint32}"}),
        ("at", {"type": "string", "format": "date-time"}),
        ("kind", {"type": "string", "enum": ["a"], "description": "{format: enum}"}),
    ]
    assert written.keys() == {"type", "properties", "additionalProperties"}
    assert notices == [("changed", "response_format")]


def test_json_without_a_schema_cannot_be_asked_for() -> None:
    body, notices = sent(output_schema=OutputSchema())
    assert "output_config" not in body
    assert notices == [("dropped", "response_format")]


def test_a_model_without_structured_output_gets_no_schema() -> None:
    request_schema = OutputSchema(schema={"type": "object"})
    assert sent(output_schema=request_schema, to=target(structured_output=False))[1] == [("dropped", "response_format")]


# ---------------------------------------------------------------- thinking


@pytest.mark.parametrize(
    ("style", "config", "thinking", "effort", "codes"),
    [
        (None, ThinkingConfig(enabled=False), {"type": "disabled"}, None, []),
        (None, ThinkingConfig(enabled=False, effort="none"), {"type": "disabled"}, None, []),
        (None, ThinkingConfig(enabled=True, effort="none"), {"type": "disabled"}, None, []),
        (None, ThinkingConfig(enabled=True, adaptive=True), {"type": "adaptive"}, None, []),
        (None, ThinkingConfig(enabled=True), {"type": "adaptive"}, None, []),
        (None, ThinkingConfig(effort="low"), None, "low", []),
        (None, ThinkingConfig(enabled=True, effort="high"), {"type": "adaptive"}, "high", []),
        (None, ThinkingConfig(enabled=True, effort="xhigh"), {"type": "adaptive"}, "xhigh", []),
        (None, ThinkingConfig(enabled=True, effort="minimal"), {"type": "adaptive"}, "low", ["changed"]),
        (None, ThinkingConfig(enabled=True, effort="vast"), {"type": "adaptive"}, None, ["dropped"]),
        (
            "adaptive",
            ThinkingConfig(enabled=True, effort="medium", display="omitted"),
            {"type": "adaptive", "display": "omitted"},
            "medium",
            [],
        ),
        ("adaptive", ThinkingConfig(enabled=True, budget_tokens=8000), {"type": "adaptive"}, "medium", ["changed"]),
        (None, ThinkingConfig(enabled=True, budget_tokens=8000), {"type": "enabled", "budget_tokens": 8000}, None, []),
        (
            "budget",
            ThinkingConfig(enabled=True, budget_tokens=8000, effort="low", display="summarized"),
            {"type": "enabled", "budget_tokens": 8000, "display": "summarized"},
            "low",
            [],
        ),
        ("budget", ThinkingConfig(enabled=True, effort="high"), {"type": "enabled", "budget_tokens": 24576}, None, []),
        ("budget", ThinkingConfig(enabled=True), {"type": "enabled", "budget_tokens": 8192}, None, []),
        (
            "budget",
            ThinkingConfig(enabled=True, adaptive=True),
            {"type": "enabled", "budget_tokens": 8192},
            None,
            ["changed"],
        ),
        ("effort", ThinkingConfig(enabled=True, effort="high"), None, "high", []),
        ("none", ThinkingConfig(enabled=True, effort="high"), None, None, ["dropped"]),
        ("none", ThinkingConfig(enabled=False), None, None, []),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(
    style: Any, config: ThinkingConfig, thinking: Any, effort: str | None, codes: list[str]
) -> None:
    body, notices = sent(thinking=config, max_tokens=64000, to=target(thinking_style=style))
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert [code for code, _ in notices] == codes
    assert body["max_tokens"] == 64000


@pytest.mark.parametrize(
    ("word", "effort", "thinking", "sent_effort", "params"),
    [
        ("disabled", "none", {"type": "disabled"}, None, []),
        ("never", "none", None, "low", ["thinking"]),
        ("never", "high", None, "high", ["thinking"]),
        ("between_tools", "none", {"type": "between_tools"}, None, ["thinking"]),
        ("between_tools", "max", {"type": "between_tools"}, "high", ["thinking", "reasoning_effort"]),
    ],
)
def test_a_model_is_told_not_to_think_in_its_own_word(
    word: Any, effort: str, thinking: Any, sent_effort: str | None, params: list[str]
) -> None:
    off = ThinkingConfig(enabled=False, effort=effort)
    body, notices = sent(thinking=off, to=target(thinking_style="adaptive", thinking_off=word))
    assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, sent_effort)
    assert notices == [("changed", param) for param in params]


@pytest.mark.parametrize(
    ("max_tokens", "budget", "sent_budget", "codes"),
    [
        (64000, 500, 1024, ["changed"]),
        (10000, 20000, 8000, ["changed"]),
        (1200, 20000, 1024, ["changed"]),
        (1024, 1024, None, ["dropped"]),
        (1025, 1024, 1024, []),
    ],
)
def test_a_budget_is_at_least_1024_and_below_max_tokens(
    max_tokens: int, budget: int, sent_budget: int | None, codes: list[str]
) -> None:
    thinking = ThinkingConfig(enabled=True, budget_tokens=budget)
    body, notices = sent(thinking=thinking, max_tokens=max_tokens)
    assert body.get("thinking", {}).get("budget_tokens") == sent_budget
    assert body["max_tokens"] == max_tokens
    assert [code for code, _ in notices] == codes


def test_where_the_caller_gave_no_max_tokens_they_make_room_for_the_budget() -> None:
    thinking = ThinkingConfig(enabled=True, budget_tokens=10000)
    assert sent(thinking=thinking, max_tokens=None)[0]["max_tokens"] == 14096
    body, _ = sent(thinking=thinking, max_tokens=None, to=target(most=8000))
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (8000, 6400)


def test_sampling_gives_way_to_thinking() -> None:
    for config in (ThinkingConfig(enabled=True, adaptive=True), ThinkingConfig(enabled=True, budget_tokens=2000)):
        body, notices = sent(thinking=config, max_tokens=9000, temperature=0.5, top_k=4, top_p=0.5)
        assert not {"temperature", "top_k", "top_p"} & body.keys()
        assert notices == [("dropped", "temperature"), ("dropped", "top_p"), ("dropped", "top_k")]
    body, notices = sent(thinking=config, max_tokens=9000, temperature=1.0, top_p=0.95)
    assert (body["temperature"], body["top_p"], notices) == (1.0, 0.95, [])
    body, notices = sent(thinking=ThinkingConfig(enabled=False), temperature=0.5)
    assert (body["temperature"], notices) == (0.5, [])


def test_a_budget_gives_way_to_a_forced_tool_and_adaptive_thinking_does_not() -> None:
    forced = {"tools": (WEATHER,), "tool_choice": ToolChoice(mode="required"), "max_tokens": 9000}
    body, notices = sent(thinking=ThinkingConfig(enabled=True, budget_tokens=2000), **forced)
    assert "thinking" not in body
    assert notices == [("dropped", "thinking")]
    body, notices = sent(thinking=ThinkingConfig(enabled=True, adaptive=True), **forced)
    assert (body["thinking"], notices) == ({"type": "adaptive"}, [])


RESULT = message(ToolResult(call_id="toolu_1", content=(Text(text="rain"),)), role="tool")


@pytest.mark.parametrize(
    ("history", "stays"),
    [
        ((ASK, message(CALL, role="assistant"), RESULT), False),
        ((ASK, message(SIGNED, CALL, role="assistant"), RESULT), True),
        ((ASK, message(Thinking(redacted="x"), CALL, role="assistant"), RESULT), True),
        ((ASK, message(SIGNED, CALL, role="assistant"), RESULT, message(CALL, role="assistant"), RESULT), True),
        ((ASK, message(CALL, role="assistant"), RESULT, message(Text(text="Rain"), role="assistant"), ASK), True),
    ],
)
def test_a_budget_gives_way_where_the_turn_began_without_signed_thoughts(
    history: tuple[Message, ...], stays: bool
) -> None:
    thinking = ThinkingConfig(enabled=True, budget_tokens=2000)
    body, notices = sent(messages=history, tools=(WEATHER,), thinking=thinking, max_tokens=9000)
    assert ("thinking" in body) is stays
    assert (("dropped", "thinking") in notices) is not stays
    adaptive = ThinkingConfig(enabled=True, adaptive=True)
    assert "thinking" in sent(messages=history, tools=(WEATHER,), thinking=adaptive)[0]


# ---------------------------------------------------------------- counting


def test_a_count_is_asked_with_what_counts() -> None:
    asked = CompletionRequest(
        messages=(Message(role="system", content="Be brief."), ASK),
        tools=(WEATHER,),
        temperature=0.2,
        seed=1,
        user="u1",
        stop=("x",),
        thinking=ThinkingConfig(enabled=True, budget_tokens=2000),
    )
    outgoing = outbound.encode_count_request(asked, target())
    assert outgoing.path == "/v1/messages/count_tokens"
    assert json.loads(outgoing.body).keys() == {"model", "system", "messages", "tools", "thinking"}
    assert outgoing.notices == ()
    assert outbound.decode_count_response(b'{"input_tokens":14}') == 14


@pytest.mark.parametrize("body", [b"{}", b"[]", b"14", b'{"input_tokens":"x"}', b'{"input_tokens":-1}', b"{"])
def test_a_count_that_is_none_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_count_response(body)


# ---------------------------------------------------------------- answers


def answered(**members: Any) -> Any:
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], **members}
    return outbound.decode_response(json.dumps(body).encode(), target())


def test_the_arguments_of_an_answer_are_the_bytes_that_came() -> None:
    body = b'{"content":[{"type":"tool_use","id":"a","name":"f","input":{"x": 1.0,"y":1e2}}]}'
    assert outbound.decode_response(body, target()).tool_calls[0].arguments == '{"x": 1.0,"y":1e2}'


def test_unknown_blocks_are_opaque_and_unknown_members_are_kept() -> None:
    response = answered(
        content=[
            {"type": "text", "text": "a", "citations": [{"cited_text": "b"}]},
            {"type": "text", "text": "c", "citations": None},
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
        ],
        stop_reason="refusal",
        stop_details={"type": "refusal", "category": "bio"},
        container={"id": "c1"},
    )
    cited, plain, opaque, call = response.parts
    assert cited.provider_metadata == {HERE: raw({"citations": [{"cited_text": "b"}]})}
    assert plain == Text(text="c")
    assert (opaque.dialect, opaque.kind) == (HERE, "server_tool_use")
    assert (call.arguments, call.provider_metadata) == ("{}", {HERE: raw({"caller": {"type": "direct"}})})
    assert response.extra == {
        HERE: raw({"stop_details": {"type": "refusal", "category": "bio"}, "container": {"id": "c1"}})
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("stop_sequence", FinishReason.STOP),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("pause_turn", FinishReason.PAUSE),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("of_tomorrow", FinishReason.OTHER),
        (None, None),
    ],
)
def test_stop_reasons_are_read(reason: str | None, finish: FinishReason | None) -> None:
    response = answered(stop_reason=reason, stop_sequence="END")
    assert (response.finish_reason, response.raw_finish_reason) == (finish, reason)
    assert response.stop_sequence == "END"


def test_cached_tokens_are_part_of_input_tokens() -> None:
    usage = answered(
        usage={
            "input_tokens": 2,
            "cache_read_input_tokens": 1590,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 3},
            "service_tier": "standard",
            "server_tool_use": {"web_search_requests": 1},
            "inference_geo": None,
        }
    ).usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (1622, 4, 3)
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (1590, 30, 20)
    assert usage.provider_metadata == {
        HERE: raw({"service_tier": "standard", "server_tool_use": {"web_search_requests": 1}})
    }


@pytest.mark.parametrize("usage", [None, [], "x", {}, 7])
def test_usage_that_is_none_is_none(usage: Any) -> None:
    assert answered(usage=usage).usage is None


@pytest.mark.parametrize("wrong", ["x", -1, 1.5, True, 10**15, [1]])
def test_wrong_counters_count_nothing(wrong: Any) -> None:
    usage = answered(usage={"input_tokens": wrong, "output_tokens": wrong, "cache_creation": wrong}).usage
    assert (usage.input_tokens, usage.output_tokens) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b'{"content":{}}',
        b'{"content":[{}]}',
        b'{"content":[{"type":"text"}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"f","input":[]}]}',
        b'{"content":[],"usage":1e999}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
    ],
)
def test_what_is_no_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_response(body, target())


def test_an_error_inside_a_200_is_that_error() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    with pytest.raises(Overloaded, match="Overloaded"):
        outbound.decode_response(body, target())


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "kind", "message", "error_class"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", BadRequest),
        (400, "invalid_request_error", "prompt is too long: 333 tokens > 200 maximum", ContextLengthExceeded),
        (400, "invalid_request_error", "Your credit balance is too low to access …", QuotaExceeded),
        (401, "authentication_error", "invalid x-api-key", AuthenticationError),
        (402, "billing_error", "pay", QuotaExceeded),
        (403, "permission_error", "not yours", PermissionDenied),
        (404, "not_found_error", "model: x", ModelNotFound),
        (413, "request_too_large", "too large", BadRequest),
        (429, "rate_limit_error", "slow down", RateLimitError),
        (500, "api_error", "Internal server error", ServerError),
        (504, "timeout_error", "too long", ServerError),
        (529, "overloaded_error", "Overloaded", Overloaded),
        (503, "overloaded_error", "Overloaded", Overloaded),
    ],
)
def test_errors_are_told_by_status_then_type(
    status: int, kind: str, message: str, error_class: type[ProviderError]
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    headers = {"retry-after": "7"}
    error = outbound.decode_error(status, headers, json.dumps(body).encode())
    assert type(error) is error_class
    assert (error.status_code, error.message, error.request_id) == (status, message, "req_1")
    assert error.retry_after_s == 7


def test_the_header_names_the_request_before_the_body_does() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"x"},"request_id":"req_body"}'
    assert outbound.decode_error(500, {"request-id": "req_head"}, body).request_id == "req_head"


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"null", b"[]", b'"x"', b'{"error":5}', b"{"])
def test_an_error_body_of_any_shape_is_an_error(body: bytes) -> None:
    assert type(outbound.decode_error(502, {"content-type": "text/html"}, body)) is ServerError
