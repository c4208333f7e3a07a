"""What Converse is told, and what of its bytes is refused: by hand, and with generated rubbish."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.dialects.bedrock_converse import outbound
from genai_spine.dialects.bedrock_converse.blocks import call_id, document_name
from genai_spine.dialects.bedrock_ids import bare_id, maker_of, path_of, region_of
from genai_spine.dialects.interface import Target
from genai_spine.model.card import Capabilities, ModelCard, ThinkingStyle
from genai_spine.model.content import (
    Audio,
    CacheMark,
    Document,
    Image,
    Opaque,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, OutputSchema, ThinkingConfig, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.testing.simulator.bedrock import encode_response, stream_encoder
from genai_spine.testing.strategies import arguments, names, texts
from genai_spine.wire.eventstream import encode_message

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-8b-instruct-v1:0"
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {}})


def target(model: str = CLAUDE, style: ThinkingStyle | None = None, **claims: Any) -> Target:
    return Target(card=ModelCard(id=model, capabilities=Capabilities(thinking_style=style, **claims)))


def user(*parts: Part) -> Message:
    return Message(role="user", content=parts or (Text(text="Hi"),))


def sent(request: CompletionRequest, to: Target | None = None) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    outgoing = outbound.encode_request(request, to or target(), stream=False)
    return json.loads(outgoing.body), [(notice.code, notice.param) for notice in outgoing.notices]


def asking(*messages: Message, **options: Any) -> CompletionRequest:
    return CompletionRequest(messages=messages or (user(),), **options)


def content(*parts: Part, role: Any = "user") -> list[dict[str, Any]]:
    said = Message(role=role, content=parts)
    body, _ = sent(asking(said) if role == "user" else asking(user(), said))
    blocks: list[dict[str, Any]] = body["messages"][-1]["content"]
    return blocks


# ---------------------------------------------------------------- names of models


@pytest.mark.parametrize(
    ("model", "bare", "maker", "region"),
    [
        ("anthropic.claude-v2:1", "anthropic.claude-v2:1", "anthropic", None),
        ("us.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6", "anthropic", None),
        ("us-gov.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", "amazon", None),
        ("global.anthropic.claude-sonnet-5", "anthropic.claude-sonnet-5", "anthropic", None),
        (
            "arn:aws:bedrock:eu-west-1:12:inference-profile/eu.amazon.nova-lite-v1:0",
            "amazon.nova-lite-v1:0",
            "amazon",
            "eu-west-1",
        ),
        ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-8b-instruct-v1:0", LLAMA, "meta", "us-east-1"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:12:application-inference-profile/k2mq", "k2mq", None, "us-gov-west-1"),
        ("sim-echo", "sim-echo", None, None),
    ],
)
def test_the_name_of_a_model_tells_its_maker_and_region(
    model: str, bare: str, maker: str | None, region: str | None
) -> None:
    assert (bare_id(model), maker_of(model), region_of(model)) == (bare, maker, region)


def test_a_name_of_any_signs_stays_in_its_place_in_the_path() -> None:
    assert path_of("arn:aws:bedrock:r:1:x/y?z#ü", "converse").count("/") == 3
    assert path_of("a.b-v1:0", "converse") == "/model/a.b-v1%3A0/converse"


# ---------------------------------------------------------------- options


def test_options_that_cannot_be_said_are_told() -> None:
    request = asking(
        temperature=1.5, max_tokens=0, seed=1, user="me", frequency_penalty=0.5, presence_penalty=0.5,
        context_window=9, parallel_tool_calls=False, tools=(WEATHER,), extra={"openai_chat": {"logprobs": True}},
    )  # fmt: skip
    body, notices = sent(request)
    assert body["inferenceConfig"] == {"temperature": 1}
    assert sorted(notices) == sorted(
        [("changed", "temperature")]
        + [("dropped", name) for name in ("seed", "user", "frequency_penalty", "presence_penalty", "context_window")]
        + [("dropped", "parallel_tool_calls"), ("dropped", "logprobs")]
    )


def test_several_answers_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="one answer a call"):
        sent(asking(n=2))


@pytest.mark.parametrize(
    ("model", "fields"),
    [(CLAUDE, {"top_k": 5}), ("amazon.nova-lite-v1:0", {"inferenceConfig": {"topK": 5}}), (LLAMA, None)],
)
def test_top_k_is_said_as_each_maker_takes_it(model: str, fields: dict[str, Any] | None) -> None:
    body, notices = sent(asking(top_k=5), target(model))
    assert body.get("additionalModelRequestFields") == fields
    assert notices == ([] if fields else [("dropped", "top_k")])


def enabled(**members: Any) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", **members}}


def nova(effort: str) -> dict[str, Any]:
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}


ADAPTIVE = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
GPT, QWEN = "openai.gpt-oss-120b-1:0", "qwen.qwen3-32b-v1:0"


@pytest.mark.parametrize(
    ("model", "style", "wanted", "fields", "codes"),
    [
        (CLAUDE, "budget", ThinkingConfig(enabled=True, budget_tokens=2000), enabled(budget_tokens=2000), []),
        (CLAUDE, "budget", ThinkingConfig(effort="medium", enabled=True), enabled(budget_tokens=8192), []),
        (CLAUDE, "adaptive", ThinkingConfig(adaptive=True, effort="high"), ADAPTIVE, []),
        (CLAUDE, None, ThinkingConfig(enabled=False), {"thinking": {"type": "disabled"}}, []),
        (CLAUDE, "none", ThinkingConfig(enabled=True), None, ["dropped"]),
        (NOVA, None, ThinkingConfig(effort="low"), nova("low"), []),
        (NOVA, None, ThinkingConfig(enabled=True, budget_tokens=20000), nova("high"), ["changed"]),
        (NOVA, None, ThinkingConfig(enabled=False), {"reasoningConfig": {"type": "disabled"}}, []),
        (GPT, None, ThinkingConfig(effort="max"), {"reasoning_effort": "high"}, ["changed"]),
        (QWEN, None, ThinkingConfig(effort="high"), {"reasoning_config": "high"}, []),
        (QWEN, None, ThinkingConfig(enabled=False), None, ["dropped"]),
        (LLAMA, None, ThinkingConfig(enabled=True), None, ["dropped"]),
    ],
)
def test_thinking_is_asked_for_as_each_maker_takes_it(
    model: str, style: ThinkingStyle | None, wanted: ThinkingConfig, fields: dict[str, Any] | None, codes: list[str]
) -> None:
    body, notices = sent(asking(thinking=wanted), target(model, style))
    assert body.get("additionalModelRequestFields") == fields
    assert [code for code, _ in notices] == codes


def test_a_model_that_thinks_takes_no_other_temperature() -> None:
    request = asking(thinking=ThinkingConfig(budget_tokens=1024), temperature=0.2, top_k=3, top_p=0.97, max_tokens=9000)
    body, notices = sent(request)
    assert body["inferenceConfig"] == {"maxTokens": 9000, "topP": 0.97}
    assert notices == [("dropped", "temperature"), ("dropped", "top_k")]


def test_the_callers_own_additional_fields_stand_beside_ours() -> None:
    extra = {
        "bedrock_converse": {"additionalModelRequestFields": {"anthropic_beta": ["x"]}, "requestMetadata": {"a": "b"}}
    }
    body, notices = sent(asking(top_k=5, extra=extra))
    assert body["additionalModelRequestFields"] == {"top_k": 5, "anthropic_beta": ["x"]}
    assert body["requestMetadata"] == {"a": "b"}
    assert notices == []


def test_json_without_a_schema_cannot_be_asked_for() -> None:
    assert sent(asking(output_schema=OutputSchema()))[1] == [("dropped", "response_format")]
    schema = OutputSchema(schema={"type": "object", "properties": {}, "additionalProperties": False})
    assert sent(asking(output_schema=schema), target(structured_output=False))[1] == [("dropped", "response_format")]
    assert sent(asking(output_schema=schema))[1] == []


# ---------------------------------------------------------------- tools


CALLED = (
    user(),
    Message(role="assistant", content=(ToolCall(id="t", name="weather", arguments="{}"),)),
    Message(role="tool", content=(ToolResult(call_id="t", content=(Text(text="Sun"),)),)),
)


@pytest.mark.parametrize(
    ("choice", "messages", "config", "notices"),
    [
        (ToolChoice(mode="auto"), (user(),), {"auto": {}}, []),
        (ToolChoice(mode="required"), (user(),), {"any": {}}, []),
        (ToolChoice(mode="tool", name="weather"), (user(),), {"tool": {"name": "weather"}}, []),
        (ToolChoice(mode="none"), CALLED, None, [("dropped", "tool_choice")]),
    ],
)
def test_the_choice_of_a_tool(choice: ToolChoice, messages: Any, config: Any, notices: Any) -> None:
    body, told = sent(asking(*messages, tools=(WEATHER,), tool_choice=choice))
    assert body["toolConfig"].get("toolChoice") == config
    assert told == notices


def test_tools_that_may_not_be_called_are_not_named() -> None:
    body, notices = sent(asking(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")))
    assert "toolConfig" not in body
    assert notices == []


def test_a_choice_without_tools_is_dropped() -> None:
    assert sent(asking(tool_choice=ToolChoice(mode="required")))[1] == [("dropped", "tool_choice")]


def test_a_free_text_tool_is_said_as_a_function() -> None:
    custom = Tool(name="shell", kind="custom")
    body, notices = sent(asking(tools=(custom, WEATHER), tool_choice=ToolChoice(mode="tool", name="shell")))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["shell", "weather"]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "shell"}}
    assert notices == [("changed", "tools")]


def test_names_of_tools_fit_wherever_they_stand() -> None:
    """`ToolName` of AWS's schema takes 64 letters, and no dots."""
    tool = Tool(name="git.log")
    call = ToolCall(id="c", name="git.log", arguments="{}")
    said = (user(), Message(role="assistant", content=(call,)), user(ToolResult(call_id="c", content=())))
    body, notices = sent(asking(*said, tools=(tool,), tool_choice=ToolChoice(mode="tool", name="git.log")))
    name = body["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert re.fullmatch(r"git_log_[0-9a-f]{8}", name)
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": name}}
    assert body["messages"][1]["content"][0]["toolUse"]["name"] == name
    assert notices == [("changed", "tools")]
    body, _ = sent(asking(*said))
    assert [spec["toolSpec"]["name"] for spec in body["toolConfig"]["tools"]] == [name], "declared again"


def test_results_come_first_and_ids_fit() -> None:
    wild = "call/1|" + "x" * 90
    call = ToolCall(id=wild, name="weather", arguments="")
    result = ToolResult(call_id=wild, content=(Text(text=""),), is_error=True)
    body, _ = sent(
        asking(user(), Message(role="assistant", content=(call,)), user(Text(text="Well?"), result), tools=(WEATHER,))
    )
    (use,), (answer, text) = body["messages"][1]["content"], body["messages"][2]["content"]
    assert use["toolUse"]["toolUseId"] == answer["toolResult"]["toolUseId"] == call_id(wild)
    assert (len(call_id(wild)), use["toolUse"]["input"]) == (64, {})
    assert answer["toolResult"] == {"toolUseId": call_id(wild), "content": [], "status": "error"}
    assert text == {"text": "Well?"}


# ---------------------------------------------------------------- content


def test_text_documents_go_as_files() -> None:
    assert content(Text(text="See:"), Document(text="Grüße", name="note"))[1:] == [
        {
            "document": {
                "format": "txt",
                "name": "note",
                "source": {"bytes": base64.b64encode("Grüße".encode()).decode()},
            }
        }
    ]


@pytest.mark.parametrize(
    ("document", "format"),
    [
        (Document(data="YQ=="), "pdf"),
        (Document(data="YQ==", name="a.xlsx"), "xlsx"),
        (Document(data="YQ==", media_type="text/markdown; charset=utf-8"), "md"),
        (Document(url="s3://b/c.csv"), "csv"),
    ],
)
def test_the_format_of_a_document_is_found(document: Document, format: str) -> None:
    assert content(Text(text="See:"), document)[1]["document"]["format"] == format


def test_a_document_alone_has_an_ellipsis_beside_it() -> None:
    calls = Message(role="assistant", content=(ToolCall(id="a", name="weather"),))
    body, notices = sent(asking(user(), calls, user(ToolResult(call_id="a"), Document(data="YQ=="))))
    result, text, document = body["messages"][2]["content"]
    assert (list(result), text, list(document)) == (["toolResult"], {"text": "…"}, ["document"])
    assert ("changed", "messages") in notices


def test_a_conversation_that_the_assistant_begins_gets_an_ellipsis_of_the_user() -> None:
    body, notices = sent(asking(Message(role="assistant", content="How can I help?"), user()))
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [
        ("user", [{"text": "…"}]),
        ("assistant", [{"text": "How can I help?"}]),
        ("user", [{"text": "Hi"}]),
    ]
    assert notices == [("changed", "messages")]


def test_white_space_alone_is_as_good_as_empty() -> None:
    call = ToolCall(id="a", name="weather")
    assert [list(block) for block in content(Text(text="\n\n"), call, role="assistant")] == [["toolUse"]]
    assert content(Text(text=" a "), Text(text=" ")) == [{"text": " a  "}]
    marked = content(Text(text="a"), Text(text="\n", cache=CacheMark()))
    assert marked == [{"text": "a"}, {"text": "\n"}, {"cachePoint": {"type": "default"}}]


# ---------------------------------------------------------------- what some models refuse


def test_a_model_that_takes_one_of_temperature_and_top_p_gets_the_temperature() -> None:
    one = target(temperature_with_top_p=False)
    body, notices = sent(asking(temperature=0.5, top_p=0.9), one)
    assert (body["inferenceConfig"], notices) == ({"temperature": 0.5}, [("dropped", "top_p")])
    assert sent(asking(top_p=0.9), one)[0]["inferenceConfig"] == {"topP": 0.9}


def test_a_stop_sequence_of_white_space_is_left_out_for_claude() -> None:
    body, notices = sent(asking(stop=("\n", "END")))
    assert (body["inferenceConfig"], notices) == ({"stopSequences": ["END"]}, [("dropped", "stop")])
    body, notices = sent(asking(stop=("\n", "END")), target("amazon.nova-pro-v1:0"))
    assert (body["inferenceConfig"], notices) == ({"stopSequences": ["\n", "END"]}, [])


def test_what_the_assistant_begins_does_not_end_in_white_space() -> None:
    body, notices = sent(asking(user(), Message(role="assistant", content=(Text(text="<b>\n "),))))
    assert (body["messages"][-1]["content"], notices) == ([{"text": "<b>"}], [("changed", "messages")])


def test_more_tokens_than_the_model_writes_are_not_asked_for() -> None:
    small = Target(card=ModelCard(id=CLAUDE, max_output_tokens=4096))
    body, notices = sent(asking(max_tokens=64000), small)
    assert (body["inferenceConfig"], notices) == ({"maxTokens": 4096}, [("changed", "max_tokens")])
    assert sent(asking(max_tokens=4096), small)[1] == []


def test_the_schema_of_a_strict_tool_is_fitted_where_the_model_takes_it() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    asked = asking(tools=(Tool(name="f", parameters=schema, strict=True),))
    body, notices = sent(asked)
    fit = {"n": {"type": "integer", "description": "{minimum: 1}"}}
    assert body["toolConfig"]["tools"][0]["toolSpec"] == {
        "name": "f",
        "inputSchema": {"json": {"type": "object", "properties": fit, "additionalProperties": False}},
        "strict": True,
    }
    assert notices == [("changed", "tools")]
    body, notices = sent(asked, target(structured_output=False))
    assert body["toolConfig"]["tools"][0]["toolSpec"] == {"name": "f", "inputSchema": {"json": schema}}
    assert notices == [("dropped", "tools")]


def test_a_model_that_cannot_be_forced_chooses_for_itself() -> None:
    asked = asking(tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="weather"))
    body, notices = sent(asked, target(forced_tools=False))
    assert body["toolConfig"]["toolChoice"] == {"auto": {}}
    assert notices == [("changed", "tool_choice")]


def test_a_model_that_always_thinks_is_asked_for_little() -> None:
    asked = asking(thinking=ThinkingConfig(enabled=False))
    body, notices = sent(asked, target(style="adaptive", thinking_off="never"))
    assert body["additionalModelRequestFields"] == {"output_config": {"effort": "low"}}
    assert notices == [("changed", "thinking")]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (None, "document"),
        ("a_b.pdf", "a-b-pdf"),
        ("  two\t\tspaces  ", "two spaces"),
        ("été [1] (x)", "t- [1] (x)"),
        ("…", "document"),
        ("x" * 300, "x" * 200),
    ],
)
def test_names_of_documents_have_the_signs_allowed(name: str | None, written: str) -> None:
    assert document_name(name, {}) == written
    assert document_name(name, {written: None}) == f"{written[:194]} (2)"


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Image(url="https://example.com/cat.png"), "send its bytes"),
        (Image(data="YQ==", media_type="image/tiff"), "image/tiff is not among those taken"),
        (Document(url="https://example.com/a.pdf"), "send its bytes"),
        (Document(file_id="f"), "send its bytes"),
        (Document(data="YQ==", media_type="application/zip"), "application/zip"),
        (Audio(data="YQ==", format="midi"), "midi"),
        (Opaque(dialect="gemini", kind="video", raw=b"{}"), "can only be said in gemini"),  # type: ignore[arg-type]
        (Thinking(text="hm"), "there is no block for it"),
    ],
)
def test_content_that_cannot_be_said_is_refused(part: Part, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        content(part)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((), "at least one message"),
        ((Message(role="system", content=(Image(data="YQ=="),)),), "holds text only"),
        (
            (user(), Message(role="assistant", content=(ToolCall(id="t", name="n", arguments="[1]"),))),
            "not a JSON object",
        ),
        ((user(), Message(role="assistant", content=(Document(text="x"),))), "cannot hold"),
    ],
)
def test_conversations_that_cannot_be_said_are_refused(messages: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        sent(CompletionRequest(messages=messages))


def test_thoughts_without_a_signature_are_left_out() -> None:
    body, notices = sent(
        asking(user(), Message(role="assistant", content=(Thinking(text="hm"), Text(text="Hi"))), user())
    )
    assert body["messages"][1]["content"] == [{"text": "Hi"}]
    assert notices == [("omitted_thinking", "messages[1].content[0]")]


@given(st.binary(max_size=40))
def test_hidden_thoughts_of_any_bytes_come_back_as_they_were(data: bytes) -> None:
    block = {"reasoningContent": {"redactedContent": base64.b64encode(data).decode()}}
    body = json.dumps({"output": {"message": {"content": [block]}}, "stopReason": "end_turn"}).encode()
    parts = outbound.decode_response(body, target()).parts
    assert content(*parts, role="assistant") == [block]


def test_a_hidden_thought_of_anthropics_own_service_is_taken() -> None:
    (block,) = content(Thinking(redacted="EtkECkgI"), role="assistant")
    assert base64.b64decode(block["reasoningContent"]["redactedContent"]) == b"EtkECkgI"


def test_later_system_messages_stay_for_models_that_take_them() -> None:
    system = Message(role="system", content=(Text(text="Be brief."),))
    body, notices = sent(asking(user(), system), target("us.anthropic.claude-opus-4-8"))
    assert body["messages"][1] == {"role": "system", "content": [{"text": "Be brief."}]}
    assert notices == []
    body, notices = sent(asking(user(), system), target(NOVA))
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}, {"text": "<system>\nBe brief.\n</system>"}]}
    ]
    assert notices == [("changed", "messages[1]")]


def test_cache_marks_are_points_after_what_they_mark() -> None:
    mark = CacheMark()
    request = asking(
        Message(role="system", content=(Text(text="S", cache=CacheMark(ttl="1h")),)),
        user(Text(text="U", cache=mark)),
        tools=(Tool(name="weather", cache=mark),),
        cache=mark,
    )
    point, hour = {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}
    body, notices = sent(request)
    assert body["system"] == [{"text": "S"}, hour]
    assert body["messages"][0]["content"] == [{"text": "U"}, point, point]
    assert body["toolConfig"]["tools"][1] == point
    assert notices == []
    for without in (target(LLAMA), target(CLAUDE, cache_marks=False)):
        body, notices = sent(request, without)
        assert "cachePoint" not in json.dumps(body)
        assert [code for code, _ in notices] == ["dropped"] * 4


# ---------------------------------------------------------------- streams and rubbish


parts = st.one_of(
    st.builds(Text, text=texts),
    st.builds(Thinking, text=texts, signature=names),
    st.builds(Thinking, redacted=names),
    st.builds(ToolCall, id=names, name=names, arguments=arguments),
)
counts = st.integers(0, 10**6)
answers = st.builds(
    CompletionResponse,
    model=st.just("m"),
    parts=st.lists(parts, max_size=5).map(tuple),
    finish_reason=st.sampled_from([FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS]),
    usage=st.builds(TokenUsage, input_tokens=counts, output_tokens=counts),
)


@given(answers)
def test_a_stream_of_any_answer_is_read_as_its_plain_form(response: CompletionResponse) -> None:
    request = asking()
    encoder = stream_encoder(request)
    data = b"".join(encoder.encode(event) for event in replay(response))
    decoder = outbound.stream_decoder(target())
    streamed = collect([*decoder.feed(data), *decoder.close()])
    plain = outbound.decode_response(encode_response(response, request), target())
    assert [told(part) for part in streamed.parts] == [told(part) for part in plain.parts]
    assert (streamed.usage, streamed.finish_reason) == (plain.usage, plain.finish_reason)
    assert streamed.finish_reason == response.finish_reason


def told(part: Part) -> Any:
    match part:
        case ToolCall():
            return part.id, part.name, part.input
        case Thinking():
            return part.text, part.signature, part.redacted
        case _:
            return part


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
shapes = [
    "text",
    "toolUse",
    "reasoningContent",
    "citation",
    "toolResult",
    "image",
    "redactedContent",
    "hologram",
    "source",
]
members = st.dictionaries(
    st.sampled_from([*shapes, "input", "toolUseId", "name", "bytes", "content"]), values, max_size=3
)
nested = st.dictionaries(st.sampled_from(shapes), values | members, max_size=2)
kinds = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "new"]
payloads = st.one_of(
    values,
    st.fixed_dictionaries(
        {"contentBlockIndex": st.integers(0, 2)},
        optional={"delta": nested | values, "start": nested | values, "stopReason": values, "usage": values},
    ),
)
frames = st.tuples(st.sampled_from(["event", "exception", "error"]), st.sampled_from(kinds), payloads).map(
    lambda told: encode_message(
        {":message-type": told[0], f":{told[0]}-type": told[1], ":error-code": "X"}, json.dumps(told[2]).encode()
    )
)


@given(st.lists(frames, max_size=6))
def test_frames_of_any_shape_raise_only_the_providers_errors(sent_frames: list[bytes]) -> None:
    decoder = outbound.stream_decoder(target())
    try:
        for frame in sent_frames:
            decoder.feed(frame)
        decoder.close()
    except ProviderError:
        pass


@given(
    st.one_of(
        values,
        st.fixed_dictionaries(
            {
                "output": st.fixed_dictionaries(
                    {"message": st.fixed_dictionaries({"content": st.lists(nested | values, max_size=3)})}
                ),
                "usage": values,
                "stopReason": values,
            }
        ),
    )
)
def test_answers_of_any_shape_raise_only_the_providers_errors(body: Any) -> None:
    try:
        outbound.decode_response(json.dumps(body).encode(), target())
    except ProviderError:
        pass


@given(
    st.binary(max_size=60),
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["x-amzn-errortype", "retry-after"]), st.text(max_size=9)),
)
def test_any_error_is_an_error(body: bytes, status: int, headers: dict[str, str]) -> None:
    assert isinstance(outbound.decode_error(status, headers, body), ProviderError)
    assert outbound.decode_embedded_error(body) is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"inputTokens": -1}', b'{"inputTokens": "7"}', b"x"])
def test_what_is_no_count_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_count_response(body)
