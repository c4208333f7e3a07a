"""What we send to a service that speaks OpenAI's chat: every quirk, every notice, every refusal."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.openai_chat import inbound, outbound
from genai_spine.dialects.openai_responses import outbound as responses_outbound
from genai_spine.dialects.quirks import Quirks
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
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ProviderTool,
    ThinkingConfig,
    Tool,
    ToolChoice,
)

PNG = "iVBORw0KGgo="
HI = Message(role="user", content=(Text(text="Hi"),))


def sent(
    *messages: Message,
    stream: bool = False,
    card: ModelCard | None = None,
    quirks: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    """The body, and code and param of each notice."""
    target = Target(card=card or ModelCard(id="m"), quirks=Quirks(**(quirks or {})))
    request = CompletionRequest(messages=messages or (HI,), **fields)
    outgoing = outbound.encode_request(request, target, stream=stream)
    assert outgoing.path == "/chat/completions"
    return json.loads(outgoing.body), [(notice.code, notice.param) for notice in outgoing.notices]


def turn(*messages: Message, **quirks: Any) -> tuple[list[dict[str, Any]], list[tuple[str, str | None]]]:
    body, notices = sent(*messages, quirks=quirks)
    return body["messages"], notices


def user(*parts: Part) -> Message:
    return Message(role="user", content=parts)


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", content=parts)


# ---------------------------------------------------------------- quirks


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_field(field: str) -> None:
    body, _ = sent(max_tokens=5, quirks={"max_tokens_field": field})
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], field: 5}


def test_developer_role() -> None:
    message = Message(role="developer", content="Be brief.")  # type: ignore[arg-type]  # accept.py
    assert turn(message)[0][0]["role"] == "system"
    assert turn(message, developer_role=True)[0][0]["role"] == "developer"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_field(field: str) -> None:
    thought = assistant(Thinking(text="a", signature="s"), Thinking(text="b"), Text(text="c"))
    messages, notices = turn(thought, reasoning_field=field)
    assert messages == [{"role": "assistant", field: "ab", "content": "c"}]
    assert notices == []
    redacted = assistant(Thinking(redacted="x"), Text(text="c"))
    assert turn(redacted, reasoning_field=field) == (
        [{"role": "assistant", "content": "c"}],
        [("omitted_thinking", "messages[0]")],
    )


def test_reasoning_field_with_details() -> None:
    thoughts = assistant(Thinking(text="a", signature="s"), Thinking(redacted="x"), Text(text="c"))
    messages, notices = turn(thoughts, reasoning_field="reasoning_details")
    assert messages[0]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "a", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ]
    assert notices == []


def test_without_a_reasoning_field_thoughts_are_left_out_with_a_notice() -> None:
    messages, notices = turn(assistant(Thinking(text="a"), Text(text="c")))
    assert messages == [{"role": "assistant", "content": "c"}]
    assert notices == [("omitted_thinking", "messages[0]")]


THINKING = {
    "nothing": (ThinkingConfig(), {}, {}, {}),
    "on": (
        ThinkingConfig(enabled=True),
        {"reasoning_effort": "medium"},
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled"}},
    ),
    "off": (
        ThinkingConfig(enabled=False, effort="high"),
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"thinking": {"type": "disabled"}},
    ),
    "effort": (
        ThinkingConfig(enabled=True, effort="low"),
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
    ),
    "as it sees fit": (
        ThinkingConfig(enabled=True, adaptive=True),
        {},
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled"}},
    ),
    "budget": (
        ThinkingConfig(enabled=True, budget_tokens=2000),
        {"reasoning_effort": "medium"},
        {"reasoning": {"max_tokens": 2000}},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "medium"},
    ),
}


@pytest.mark.parametrize("name", THINKING)
def test_effort(name: str) -> None:
    thinking, *expected = THINKING[name]
    for quirk, wanted in zip(("reasoning_effort", "reasoning", "thinking"), expected, strict=True):
        body, notices = sent(thinking=thinking, quirks={"effort": quirk})
        assert {key: body[key] for key in body.keys() - {"model", "messages"}} == wanted
        is_approximate = name == "budget" and quirk != "reasoning"
        assert notices == ([("changed", "thinking")] if is_approximate else [])
    assert sent(thinking=thinking, quirks={"effort": None}) == (sent()[0], [("dropped", "thinking")])


def test_whether_thoughts_are_shown_cannot_be_said() -> None:
    thinking = ThinkingConfig(enabled=True, effort="low", display="omitted")
    assert sent(thinking=thinking)[1] == [("dropped", "thinking.display")]


def test_stream_usage() -> None:
    assert sent(stream=True)[0]["stream_options"] == {"include_usage": True}
    for quirk in ("always", "never"):
        body, notices = sent(stream=True, quirks={"stream_usage": quirk})
        assert (body["stream"], "stream_options" in body, notices) == (True, False, [])
    assert "stream" not in sent()[0]


def test_stream_options_of_the_caller() -> None:
    extra = keep("openai_chat", {"stream_options": {"include_usage": False, "include_obfuscation": False}})
    body, _ = sent(stream=True, extra=extra)
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    body, notices = sent(stream=True, extra=extra, quirks={"stream_usage": "always"})
    assert ("stream_options" in body, notices) == (False, [("dropped", "stream_options")])
    assert "stream_options" not in sent(extra=extra)[0], "a plain request has no stream"
    alone = keep("openai_chat", {"stream_options": {"include_usage": True}})
    assert sent(stream=True, extra=alone, quirks={"stream_usage": "never"})[1] == []


@pytest.mark.parametrize("quirk", ["strict", "json_schema"])
def test_schema(quirk: str) -> None:
    schema = OutputSchema(schema={"type": "object"}, name="n", description="d", strict=True)
    body, notices = sent(output_schema=schema, quirks={"schema": quirk})
    inner = {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True}
    assert (body["response_format"], notices) == ({"type": "json_schema", "json_schema": inner}, [])
    body, _ = sent(output_schema=OutputSchema(schema={}), quirks={"schema": quirk})
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": {}}


def test_schema_where_there_is_only_json_or_nothing() -> None:
    schema = OutputSchema(schema={"type": "object"})
    body, notices = sent(output_schema=schema, quirks={"schema": "json_object"})
    assert (body["response_format"], notices) == ({"type": "json_object"}, [("changed", "response_format")])
    assert sent(output_schema=OutputSchema())[0]["response_format"] == {"type": "json_object"}
    body, notices = sent(output_schema=schema, quirks={"schema": "none"})
    assert ("response_format" in body, notices) == (False, [("dropped", "response_format")])


def test_tool_choice_any() -> None:
    tools = (Tool(name="f"), Tool(name="g", kind="custom"))
    for choice, said in (
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="tool", name="f"), {"type": "function", "function": {"name": "f"}}),
        (ToolChoice(mode="tool", name="g"), {"type": "custom", "custom": {"name": "g"}}),
    ):
        assert sent(tools=tools, tool_choice=choice)[0]["tool_choice"] == said
    body, _ = sent(tools=tools, tool_choice=ToolChoice(mode="required"), quirks={"tool_choice_any": "any"})
    assert body["tool_choice"] == "any"


def test_seed_field() -> None:
    assert sent(seed=3)[0]["seed"] == 3
    assert sent(seed=3, quirks={"seed_field": "random_seed"})[0]["random_seed"] == 3


def test_top_k() -> None:
    assert sent(top_k=4, quirks={"top_k": True}) == ({**sent()[0], "top_k": 4}, [])
    assert sent(top_k=4) == (sent()[0], [("dropped", "top_k")])


def test_drop() -> None:
    named = Message(role="user", content=(Text(text="Hi"),), name="ann")
    extra = keep("openai_chat", {"logit_bias": {}, "store": True})
    drop = ("logit_bias", "user", "messages[].name", "frequency_penalty")
    body, notices = sent(named, user="u", extra=extra, quirks={"drop": drop})
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": True}
    assert notices == [("dropped", "logit_bias"), ("dropped", "user"), ("dropped", "messages[].name")]


def test_what_gemini_signed_its_calls_with_is_kept_from_a_service_that_refuses_it() -> None:
    signed = keep("openai_chat", {"extra_content": {"google": {"thought_signature": "s"}}})
    calls = [ToolCall(id=f"c{at}", name="f", arguments="{}", provider_metadata=signed) for at in (1, 2)]
    asked = Message(role="assistant", content=tuple(calls))
    assert all("extra_content" in call for call in sent(asked)[0]["messages"][0]["tool_calls"])
    body, notices = sent(asked, quirks={"drop": ("tool_calls[].extra_content",)})
    assert [sorted(call) for call in body["messages"][0]["tool_calls"]] == [["function", "id", "type"]] * 2
    assert notices == [("dropped", "tool_calls[].extra_content")]


def test_cache_marks() -> None:
    marked = user(Text(text="a", cache=CacheMark(ttl="1h")), Text(text="b"))
    assert turn(marked)[1] == [("dropped", "cache_control")]
    (message,), notices = turn(marked, cache_marks="prompt_cache_breakpoint")
    assert message["content"][0] == {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert notices == []
    (message,), _ = turn(marked, cache_marks="cache_control")
    assert message["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    lone = user(Text(text="a", cache=CacheMark()))
    assert turn(lone)[0][0]["content"] == "a"
    assert turn(lone)[1] == [("dropped", "cache_control")]
    assert turn(lone, cache_marks="cache_control")[0][0]["content"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    ]


def test_cache_marks_elsewhere_than_on_texts() -> None:
    mark = CacheMark()
    tools = (Tool(name="f", cache=mark),)
    for quirk in (None, "prompt_cache_breakpoint"):
        _, notices = sent(tools=tools, cache=mark, quirks={"cache_marks": quirk})
        assert notices == [("dropped", "cache_control")] * 2
    body, notices = sent(tools=tools, cache=mark, quirks={"cache_marks": "cache_control"})
    assert body["cache_control"] == body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    assert notices == []
    result = ToolResult(call_id="i", content=(Text(text="a"), Text(text="b")), cache=mark)
    (message,), _ = turn(Message(role="tool", content=(result,)), cache_marks="cache_control")
    assert ["cache_control" in part for part in message["content"]] == [False, True]
    empty = ToolResult(call_id="i", cache=mark)
    assert turn(Message(role="tool", content=(empty,)), cache_marks="cache_control")[1] == [
        ("dropped", "cache_control")
    ]
    call = ToolCall(id="i", name="f", cache=mark)
    assert turn(assistant(call), cache_marks="cache_control")[1] == [("dropped", "cache_control")]


def test_image_urls() -> None:
    by_url, by_data = user(Image(url="https://x/y")), user(Image(data=PNG, media_type="image/png", detail="low"))
    assert turn(by_url)[0][0]["content"] == [{"type": "image_url", "image_url": {"url": "https://x/y"}}]
    data_url = {"url": f"data:image/png;base64,{PNG}", "detail": "low"}
    assert turn(by_data, image_urls=False)[0][0]["content"] == [{"type": "image_url", "image_url": data_url}]
    with pytest.raises(InvalidRequest, match="base64 only") as raised:
        turn(by_url, image_urls=False)
    assert raised.value.param == "messages[0].content[0]"


def test_tool_result_images() -> None:
    parts = (Text(text="a"), Image(data=PNG, media_type="image/png"))
    results = [Message(role="tool", content=(ToolResult(call_id=id, content=parts),)) for id in ("i", "j")]
    messages, notices = turn(*results, user(Text(text="Well?")))
    assert [message["role"] for message in messages] == ["tool", "tool", "user"], "all results stand together"
    assert [message["content"] for message in messages[:2]] == ["a", "a"]
    assert [part["type"] for part in messages[2]["content"]] == ["image_url", "image_url", "text"]
    assert notices == [("changed", "messages[0]"), ("changed", "messages[1]")]
    messages, notices = turn(*results, tool_result_images=True)
    assert [len(message["content"]) for message in messages] == [2, 2]
    assert notices == []


def test_images_of_the_last_results_come_at_the_end_or_before_the_answer() -> None:
    result = Message(role="tool", content=(ToolResult(call_id="i", content=(Image(data=PNG),)),))
    messages, _ = turn(result)
    assert [message["role"] for message in messages] == ["tool", "user"]
    assert messages[0]["content"] == ""
    messages, _ = turn(result, assistant(Text(text="A cat.")))
    assert [message["role"] for message in messages] == ["tool", "user", "assistant"]


def test_results_within_a_users_message_come_first() -> None:
    mixed = user(Text(text="Here."), ToolResult(call_id="i", content=(Text(text="a"),), is_error=True, name="f"))
    messages, notices = turn(mixed)
    assert messages == [
        {"role": "tool", "tool_call_id": "i", "content": "a", "name": "f"},
        {"role": "user", "content": "Here."},
    ]
    assert notices == [("dropped", "messages[0].is_error")]


def test_temperature_max() -> None:
    assert sent(temperature=2, quirks={"temperature_max": 1.5})[0]["temperature"] == 1.5
    assert sent(temperature=2, quirks={"temperature_max": 1.5})[1] == [("changed", "temperature")]
    assert sent(temperature=0.5, quirks={"temperature_max": 1.5}) == ({**sent()[0], "temperature": 0.5}, [])


def test_every_quirk_has_a_test() -> None:
    tests = " ".join(name for name in globals() if name.startswith("test_"))
    missing = [name for name in Quirks.__struct_fields__ if name not in tests]
    assert missing == ["message_form"], "which has tests of its own: test_openai_chat_mistral.py"


# ---------------------------------------------------------------- rules


def test_a_model_without_sampling() -> None:
    card = ModelCard(id="m", capabilities=Capabilities(sampling=False))
    body, notices = sent(temperature=0.9, top_p=0.5, card=card)
    assert (body.keys(), notices) == ({"model", "messages"}, [("dropped", "temperature"), ("dropped", "top_p")])
    body, notices = sent(frequency_penalty=0.1, presence_penalty=-1, card=card)
    dropped = [("dropped", "frequency_penalty"), ("dropped", "presence_penalty")]
    assert (body.keys(), notices) == ({"model", "messages"}, dropped)
    # Which is what it does anyway.
    body, notices = sent(temperature=1.0, top_p=1, frequency_penalty=0, presence_penalty=0.0, card=card)
    assert (body.keys(), notices) == ({"model", "messages"}, [])


def test_a_model_without_penalties() -> None:
    card = ModelCard(id="m", capabilities=Capabilities(penalties=False))
    body, notices = sent(temperature=0.5, frequency_penalty=0, presence_penalty=0.1, card=card)
    assert (body.keys(), notices) == ({"model", "messages", "temperature"}, [("dropped", "presence_penalty")])


def test_a_model_without_stop_sequences() -> None:
    """The service: "Unsupported parameter: 'stop' is not supported with this model."."""
    body, notices = sent(stop=("END",), card=ModelCard(id="m", capabilities=Capabilities(stop=False)))
    assert (body.keys(), notices) == ({"model", "messages"}, [("dropped", "stop")])


def test_a_model_that_takes_a_temperature_only_while_it_does_not_think() -> None:
    for unasked, thinking, taken in (
        ("none", None, True),
        ("none", ThinkingConfig(enabled=True, effort="low"), False),
        ("medium", None, False),
        ("medium", ThinkingConfig(enabled=False), True),
    ):
        able = Capabilities(sampling_while_thinking=False, default_effort=unasked)
        body, notices = sent(temperature=0.0, thinking=thinking, card=ModelCard(id="m", capabilities=able))
        assert ("temperature" in body, notices) == (taken, [] if taken else [("dropped", "temperature")])


def test_a_model_that_does_not_think_is_asked_for_no_effort() -> None:
    card = ModelCard(id="gpt-4o", capabilities=Capabilities(thinking=False))
    asked = ThinkingConfig(enabled=True, effort="high")
    assert sent(thinking=asked, card=card) == (sent(card=card)[0], [("dropped", "thinking")])
    assert sent(thinking=ThinkingConfig(enabled=False), card=card) == (sent(card=card)[0], [])
    # DeepSeek's switch makes a model think of which the card says that it does not.
    body, notices = sent(thinking=asked, card=card, quirks={"effort": "thinking"})
    assert (body["thinking"], body["reasoning_effort"], notices) == ({"type": "enabled"}, "high", [])


@pytest.mark.parametrize(
    ("efforts", "asked", "said"),
    [
        (("minimal", "low", "medium", "high"), "none", "minimal"),
        (("low", "medium", "high"), "none", "low"),
        (("none", "low", "medium", "high"), "minimal", "low"),
        (("none", "low", "medium", "high"), "max", "high"),
        (("low", "medium", "high", "xhigh", "max"), "max", "xhigh"),  # here; Responses takes max
        (("high",), "low", "high"),
        (("none", "low"), "of its own", "of its own"),
    ],
)
def test_an_effort_that_the_model_does_not_take(efforts: tuple[str, ...], asked: str, said: str) -> None:
    card = ModelCard(id="m", capabilities=Capabilities(thinking=True, efforts=efforts))
    body, notices = sent(thinking=ThinkingConfig(enabled=asked != "none", effort=asked), card=card)
    assert body["reasoning_effort"] == said
    assert notices == ([("changed", "thinking")] if said != asked else [])


def test_no_more_tokens_are_asked_for_than_the_model_writes() -> None:
    card = ModelCard(id="gpt-4o", max_output_tokens=16_384)
    body, notices = sent(max_tokens=64_000, card=card)
    assert (body["max_tokens"], notices) == (16_384, [("changed", "max_tokens")])
    assert sent(max_tokens=16_384, card=card)[0]["max_tokens"] == 16_384


def test_a_user_of_too_many_letters_is_sent_as_its_hash() -> None:
    assert sent(user="u" * 64)[0]["user"] == "u" * 64
    body, notices = sent(user="u" * 65)
    assert body["user"] == "f20e249d15fa4b9f44ba21d154f62e1efa76ddfdce5d25139a33a4787cee5a8b"
    assert notices == [("changed", "user")]


def test_there_is_nothing_to_choose_where_there_are_no_tools() -> None:
    for mode, told in (("auto", []), ("none", []), ("required", [("dropped", "tool_choice")])):
        body, notices = sent(tool_choice=ToolChoice(mode=mode), parallel_tool_calls=True)  # type: ignore[arg-type]
        assert (body, notices) == (sent()[0], told)


def test_nothing_is_invented() -> None:
    assert sent()[0] == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    full = {"temperature": 0.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": -1.0, "n": 1, "user": "u"}
    assert sent(**full, stop=("a", "b"))[0].items() >= {**full, "stop": ["a", "b"]}.items()


def test_several_answers_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="several times") as raised:
        sent(n=2)
    assert raised.value.param == "n"


def test_what_another_dialect_knows_is_told() -> None:
    extra = {
        **(keep("anthropic_messages", {"mcp_servers": [{}]}) or {}),
        **(keep("openai_chat", {"store": True}) or {}),
    }
    assert sent(extra=extra) == ({**sent()[0], "store": True}, [("dropped", "mcp_servers")])


def test_what_we_write_ourselves_wins_over_what_was_kept() -> None:
    extra = keep("openai_chat", {"temperature": 2, "messages": [], "model": "x"})
    assert sent(temperature=0.5, extra=extra)[0] == {**sent()[0], "temperature": 0.5}


def test_tools() -> None:
    tool = Tool(name="f", description="d", parameters={"type": "object"}, strict=True)
    own = ProviderTool(dialect="openai_chat", name="web_search", raw=msgspec.Raw(b'{"type":"web_search"}'))
    theirs = ProviderTool(dialect="anthropic_messages", name="web_search", raw=msgspec.Raw(b"{}"))
    body, notices = sent(tools=(tool, own, theirs), parallel_tool_calls=False)
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}, {"type": "web_search"}]
    assert (body["parallel_tool_calls"], notices) == (False, [("dropped", "tools")])


@pytest.mark.parametrize("dialect", [outbound, responses_outbound])
def test_what_a_tools_schema_leaves_out_and_openai_requires_is_said(dialect: Any) -> None:
    """The service: "object schema missing properties", "array schema missing items"."""
    names = {"type": ["array", "null"]}
    pair = {"type": "array", "prefixItems": [{"type": "array"}]}
    lists = {"type": "object", "properties": {"names": names, "items": {"type": "string"}}, "$defs": {"pair": pair}}
    tools = (Tool(name="f", parameters={"type": "object"}), Tool(name="g", parameters=lists))
    request = CompletionRequest(messages=(Message(role="user", content=(Text(text="?"),)),), tools=tools)
    outgoing = dialect.encode_request(request, Target(card=ModelCard(id="m")), stream=False)
    written = [tool.get("function", tool)["parameters"] for tool in json.loads(outgoing.body)["tools"]]
    assert written == [
        {"type": "object", "properties": {}},
        {
            "type": "object",
            "properties": {"names": {**names, "items": {}}, "items": {"type": "string"}},
            "$defs": {"pair": {"type": "array", "prefixItems": [{"type": "array", "items": {}}]}},
        },
    ]
    assert outgoing.notices == ()


@pytest.mark.parametrize("dialect", [outbound, responses_outbound])
def test_a_schema_that_refers_to_its_own_definition_has_it_at_its_root(dialect: Any) -> None:
    """As a class of msgspec's writes it, or a tree of Pydantic's: OpenAI refuses a root without "type"."""
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Tree"}}}
    schema = {"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}
    leaf = {"type": "object", "properties": {"name": {"type": "string"}}}
    once = {"$ref": "#/$defs/Leaf", "$defs": {"Leaf": leaf}, "description": "d"}
    strange = {"$ref": "#/definitions/Tree", "$defs": {"Tree": tree}}
    wants = ((schema, {**tree, "$defs": {"Tree": tree}}), (once, {**leaf, "description": "d"}), (strange, strange))
    for asked, wanted in wants:
        tools = (Tool(name="f", parameters=asked),)
        output_schema = OutputSchema(schema=asked)
        request = CompletionRequest(messages="?", tools=tools, output_schema=output_schema)
        body = json.loads(dialect.encode_request(request, Target(card=ModelCard(id="m")), stream=False).body)
        answer = body["response_format"]["json_schema"] if "response_format" in body else body["text"]["format"]
        assert answer["schema"] == wanted
        assert body["tools"][0].get("function", body["tools"][0])["parameters"] == wanted


def test_no_tool_is_left_to_choose_from() -> None:
    """`tool_choice` and `parallel_tool_calls` without tools are an error at OpenAI."""
    theirs = ProviderTool(dialect="anthropic_messages", name="web_search", raw=msgspec.Raw(b"{}"))
    body, notices = sent(tools=(theirs,), tool_choice=ToolChoice(mode="required"), parallel_tool_calls=True)
    assert (body, notices) == (sent()[0], [("dropped", "tools")])


def test_a_call_without_arguments_is_an_empty_object() -> None:
    (message,), _ = turn(assistant(ToolCall(id="i", name="f"), ToolCall(id="j", name="g", kind="custom")))
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "j", "type": "custom", "custom": {"name": "g", "input": ""}},
        ],
    }


def test_an_answer_goes_back_as_it_came() -> None:
    cited = Text(text="a", provider_metadata=keep("openai_chat", {"annotations": [{"type": "url_citation"}]}))
    call = ToolCall(
        id="i", name="f", arguments="{}", provider_metadata=keep("openai_chat", {"extra_content": {"s": 1}})
    )
    (message,), _ = turn(assistant(cited, Refusal(text="no"), Refusal(text="!"), Audio(id="audio_1"), call))
    assert message["content"] == "a"
    assert message["annotations"] == [{"type": "url_citation"}]
    assert message["refusal"] == "no!"
    assert message["audio"] == {"id": "audio_1"}
    assert message["tool_calls"][0]["extra_content"] == {"s": 1}


def test_turns_that_say_nothing() -> None:
    assert turn(user(), assistant())[0] == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]


def test_names_and_metadata_of_messages() -> None:
    message = Message(
        role="user", content=(Text(text="Hi"),), name="ann", provider_metadata=keep("openai_chat", {"x": 1})
    )
    assert turn(message)[0] == [{"role": "user", "content": "Hi", "name": "ann", "x": 1}]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("R0lGODlh", "image/gif"),
        ("UklGRg==", "image/webp"),
        ("AA==", "image/png"),
    ],
)
def test_an_image_of_unknown_type_is_looked_at(data: str, kind: str) -> None:
    (message,), _ = turn(user(Image(data=data)))
    assert message["content"][0]["image_url"]["url"] == f"data:{kind};base64,{data}"


def test_documents() -> None:
    parts = (
        Document(file_id="file-1", name="a.pdf"),
        Document(data="JVBERi0=", media_type="application/pdf", name="a.pdf"),
        Document(data="JVBERi0="),
        Document(text="words"),
    )
    (message,), notices = turn(user(*parts))
    pdf = "data:application/pdf;base64,JVBERi0="
    assert message["content"] == [
        {"type": "file", "file": {"filename": "a.pdf", "file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": pdf}},
        {"type": "text", "text": "words"},
    ]
    assert notices == [("changed", "messages[0].content[3]")]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Image(file_id="file-1"), "file id"),
        (Document(url="https://x/y.pdf"), "by URL cannot be said"),
        (
            Opaque(dialect="anthropic_messages", kind="search_result", raw=msgspec.Raw(b"{}")),
            "only be said in anthropic_",
        ),
        (Audio(transcript="x"), "type Audio cannot be said"),
        (ToolCall(id="i", name="f"), "type ToolCall cannot be said"),
    ],
)
def test_content_that_cannot_be_said_is_refused(part: Part, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as raised:
        turn(user(Text(text="a"), part))
    assert raised.value.param == "messages[0].content[1]"


def test_marks_and_metadata_of_other_dialects_do_not_change_the_form() -> None:
    theirs = Text(text="a", provider_metadata=keep("anthropic_messages", {"citations": []}))
    assert turn(user(theirs))[0][0]["content"] == "a"


# ---------------------------------------------------------------- a caller's request


def asked(**members: Any) -> CompletionRequest:
    body = {"messages": [{"role": "user", "content": "Hi"}], **members}
    return inbound.decode_request(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "alien", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]},
            "messages[0].content[0].image_url",
        ),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "i", "function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [1]}, "stop"),
        ({"tools": [{"function": 5}]}, "tools[0].function"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"cost_limit": -1}, "cost_limit"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_place(members: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        asked(**members)
    assert raised.value.param == place
    assert raised.value.message.startswith(place)


@pytest.mark.parametrize(
    ("members", "field", "value"),
    [
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "max_tokens", 7),
        ({"max_tokens": -1}, "max_tokens", None),
        ({"max_tokens": 0}, "max_tokens", 0),
        ({"stop": "a"}, "stop", ("a",)),
        ({"reasoning_effort": "none"}, "thinking", ThinkingConfig(enabled=False, effort="none")),
        ({"reasoning": {"effort": "high"}}, "thinking", ThinkingConfig(enabled=True, effort="high")),
        ({"reasoning": {"max_tokens": 9}}, "thinking", ThinkingConfig(enabled=True, budget_tokens=9)),
        ({"reasoning": {"enabled": False}}, "thinking", ThinkingConfig(enabled=False)),
        ({"reasoning": {"exclude": True}}, "thinking", None),
        ({"thinking": {"type": "disabled"}}, "thinking", ThinkingConfig(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, "thinking", ThinkingConfig(enabled=True, adaptive=True)),
        ({"tool_choice": "any"}, "tool_choice", ToolChoice(mode="required")),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", None),
        ({"response_format": {"type": "text"}}, "output_schema", None),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "output_schema", None),
        ({"cache_control": {"type": "ephemeral"}}, "cache", CacheMark()),
        ({"provider": "openai"}, "provider", "openai"),
        ({"provider": {"order": ["x"]}}, "provider", None),
    ],
)
def test_members_by_their_several_names(members: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(asked(**members), field) == value


@pytest.mark.parametrize(
    "members",
    [
        {"reasoning": {"exclude": True}},
        {"thinking": {"type": "enabled", "clear_thinking": False}},
        {"response_format": {"type": "grammar", "grammar": "x"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "x_vendor": 1}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        {"provider": {"order": ["x"]}},
        {"logit_bias": {"1": 2}, "x_vendor": [1.10, None]},
    ],
)
def test_what_we_have_no_name_for_comes_out_again(members: dict[str, Any]) -> None:
    effort = "thinking" if "thinking" in members else "reasoning"
    target = Target(card=ModelCard(id="m"), quirks=Quirks(effort=effort))  # type: ignore[arg-type]
    body = json.loads(outbound.encode_request(asked(**members), target, stream=False).body)
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}


def test_calls_without_an_id_get_one_of_their_own() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    turns = [{"role": "assistant", "tool_calls": [call, call]}, {"role": "assistant", "tool_calls": [call]}]
    calls = [call for message in asked(messages=turns).messages for call in message.tool_calls]
    assert len({call.id for call in calls}) == 3
    assert calls[0].arguments == '{"a":1}'


def test_a_file_by_url_goes_to_a_service_of_this_dialect_only() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.com/a.pdf"}}
    request = asked(messages=[{"role": "user", "content": [part]}])
    document = request.messages[0].content[0]
    assert isinstance(document, Document)
    assert (document.url, document.data) == ("https://example.com/a.pdf", None)
    assert turn(*request.messages)[0][0]["content"] == [part]


@pytest.mark.parametrize("member", ["schema", "value"])
def test_any_json_with_a_schema_is_json_of_that_schema(member: str) -> None:
    """Of Together, Fireworks and llama.cpp; "value" is what Hugging Face's SDK makes of a `json_schema`."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    form = {"type": "json_object", member: schema}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "response_format": form}
    request = inbound.decode_request(json.dumps(body).encode())
    assert request.output_schema is not None and request.output_schema.schema == schema
