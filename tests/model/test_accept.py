"""The library's front door: what a program writes is read wholly, or refused by its place and name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from genai_spine import (
    CacheMark,
    CompletionRequest,
    Document,
    Image,
    InvalidRequest,
    Message,
    Opaque,
    OutputSchema,
    Text,
    ThinkingConfig,
    Tool,
    ToolCall,
    ToolResult,
)

OPAQUE = Opaque(dialect="openai_chat", kind="new", raw=msgspec.Raw(b'{"type":"new"}'))


def refusal_of(**members: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        CompletionRequest(**{"messages": "Hi", **members})
    return caught.value.message


def only_message(value: Any) -> Message:
    (message,) = CompletionRequest(messages=[value]).messages
    return message


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("name", ["contnt", "text", "parts", "audio", "function_call"])
def test_a_member_that_no_message_has_is_named(name: str) -> None:
    refusal = refusal_of(messages=[{"role": "user", name: "Hi"}])
    assert refusal.startswith(f"messages[0]: unknown member '{name}'; known are role, content, ")


def test_members_that_hold_nothing_are_no_members() -> None:
    dumped = {"role": "assistant", "content": "Hi", "audio": None, "annotations": [], "tool_calls": None}
    assert only_message(dumped) == Message(role="assistant", content="Hi")


def test_the_message_of_a_client_library_keeps_its_calls() -> None:
    function = SimpleNamespace(name="weather", arguments='{"city":"Oslo"}')
    call = SimpleNamespace(id="c1", type="function", function=function)
    said = SimpleNamespace(role="assistant", content=None, refusal=None, tool_calls=[call])
    assert only_message(said).tool_calls == (ToolCall(id="c1", name="weather", arguments='{"city":"Oslo"}'),)


def test_what_only_openai_knows_of_a_call_is_kept_for_it() -> None:
    more = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    function = {"name": "weather", "arguments": "{}"}
    kept = {"openai_chat": msgspec.Raw(msgspec.json.encode(more))}
    wanted = (ToolCall(id="c1", name="weather", arguments="{}", provider_metadata=kept),)
    call = {"id": "c1", "type": "function", "index": 0, "function": function, **more}
    assert only_message({"role": "assistant", "tool_calls": [call]}).tool_calls == wanted
    of_client = SimpleNamespace(id="c1", function=SimpleNamespace(**function), **more)
    assert only_message({"role": "assistant", "tool_calls": [of_client]}).tool_calls == wanted


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detial": "low"}}, "image_url"),
        ({"type": "image", "source": {"type": "base64", "data": "AAAA", "mime": "image/png"}}, "source"),
        ({"type": "file", "file": {"file_data": "AAAA", "name": "a.pdf"}}, "file"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "fromat": "wav"}}, "input_audio"),
    ],
)
def test_a_member_that_no_part_has_is_named(part: Any, place: str) -> None:
    assert f"messages[0].content[0].{place}: unknown member " in refusal_of(
        messages=[{"role": "user", "content": [part]}]
    )


def test_bytes_are_no_messages() -> None:
    assert refusal_of(messages=b"Hi") == "messages: expected a list of messages, got bytes"


def test_parts_are_taken_as_they_came_whatever_holds_them() -> None:
    parts = (Text(text="a"), OPAQUE)
    for content in (parts, list(parts), iter(parts)):
        assert only_message({"role": "assistant", "content": content}).content == parts
    assert Message(role="assistant", content=[*parts]).content == parts


def test_what_is_no_part_yet_is_read_in_a_tuple_as_in_a_list() -> None:
    assert Message(role="user", content=("a", {"type": "text", "text": "b"})).text == "ab"
    with pytest.raises(InvalidRequest, match=r"content\[0\]: unknown part 'int'"):
        Message(role="user", content=(1,))  # type: ignore[arg-type]


def test_a_cache_mark_is_an_object() -> None:
    text = {"type": "text", "text": "Hi", "cache_control": "ephemeral"}
    place = "messages[0].content[0].cache_control"
    assert refusal_of(messages=[{"role": "user", "content": [text]}]) == f"{place}: expected an object, got str"


def test_what_only_anthropic_knows_of_a_part_is_kept_for_it() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Oslo is large."}
    paper = {"type": "document", "source": source, "title": "Cities", "citations": {"enabled": True}, "context": None}
    (part,) = only_message({"role": "user", "content": [paper]}).content
    kept = {"anthropic_messages": msgspec.Raw(b'{"citations":{"enabled":true}}')}
    assert part == Document(text="Oslo is large.", media_type="text/plain", name="Cities", provider_metadata=kept)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("kind", [Image, Document])
def test_bytes_are_no_base64(kind: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"data: expected base64 as text, got bytes; .*b64encode"):
        kind(data=b"\x89PNG")


@pytest.mark.parametrize("kind", [Image, Document])
def test_a_data_url_is_its_data(kind: Any) -> None:
    part = kind(url="data:image/png;base64,iVBORw0KGgo=")
    assert (part.url, part.data, part.media_type) == (None, "iVBORw0KGgo=", "image/png")
    assert kind(url="data:;base64,AAAA", media_type="image/gif").media_type == "image/gif"
    assert kind(url="https://example.com/cat.png").data is None


def test_arguments_are_json_text() -> None:
    with pytest.raises(InvalidRequest, match=r"arguments: expected JSON text, got dict; .*json\.dumps"):
        ToolCall(id="c1", name="weather", arguments={"city": "Oslo"})  # type: ignore[arg-type]


def test_a_result_takes_a_string_a_part_or_several() -> None:
    text = Text(text="4 °C")
    for content in ("4 °C", text, [text], (text,)):
        assert ToolResult(call_id="c1", content=content).content == (text,)
    assert ToolResult(call_id="c1", content=None).content == ()  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"content\[0\]: expected a part such as Text, got dict"):
        ToolResult(call_id="c1", content=[{"type": "text", "text": "4 °C"}])  # type: ignore[list-item]


# ---------------------------------------------------------------- tools


def test_a_cache_mark_on_a_tool_is_kept() -> None:
    tool = {"name": "weather", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert CompletionRequest(messages="Hi", tools=[tool]).tools[0].cache == CacheMark(ttl="1h")  # type: ignore[union-attr]


def test_a_tool_of_the_providers_own_never_becomes_a_function() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    assert refusal_of(tools=[tool]).startswith("tools[0].type: 'web_search_20250305' is no function")


@pytest.mark.parametrize("name", ["inputSchema", "format", "functionDeclarations"])
def test_a_member_that_no_tool_has_is_named(name: str) -> None:
    assert refusal_of(tools=[{"name": "weather", name: {}}]).startswith(f"tools[0]: unknown member '{name}'")


def test_a_custom_tool_is_no_function() -> None:
    (tool,) = CompletionRequest(messages="Hi", tools=[{"type": "custom", "name": "sql"}]).tools
    assert getattr(tool, "kind", None) == "custom"


def test_parameters_are_an_object() -> None:
    assert refusal_of(tools=[{"name": "w", "parameters": "{}"}]) == "tools[0].parameters: expected an object, got str"


def test_a_schema_holds_what_json_can_hold() -> None:
    schema = {"type": "object", "properties": {"city": {"type": str}}}
    assert refusal_of(tools=[{"name": "w", "parameters": schema}]).startswith("tools[0].parameters: not JSON: ")
    assert refusal_of(output_schema=schema).startswith("output_schema: not JSON: ")


def test_a_choice_says_what_it_means() -> None:
    assert refusal_of(tool_choice={"type": "function"}) == "tool_choice: 'function' without the name of a tool"
    assert "parallel_tool_calls=False" in refusal_of(tool_choice={"type": "auto", "disable_parallel_tool_use": True})


def test_a_format_of_any_dialect_is_its_schema() -> None:
    schema = {"type": "object"}
    for inner in ({"json_schema": {"name": "city", "schema": schema}}, {"name": "city", "schema": schema}):
        asked = CompletionRequest(messages="Hi", output_schema={"type": "json_schema", **inner}).output_schema
        assert asked == OutputSchema(schema=schema, name="city")


def test_no_tokens_to_think_with_is_no_thinking() -> None:
    assert CompletionRequest(messages="Hi", thinking=0).thinking == ThinkingConfig(enabled=False)
    assert CompletionRequest(messages="Hi", thinking=1024).thinking == ThinkingConfig(enabled=True, budget_tokens=1024)
    assert refusal_of(thinking={"budget_tokens": "8000"}) == "budget_tokens: expected a whole number, got str"


# ---------------------------------------------------------------- values made by hand


def test_a_role_is_one_that_there_is() -> None:
    with pytest.raises(InvalidRequest, match=r"^role: expected one of assistant, developer, .*, got 'bot'$"):
        Message(role="bot", content="Hi")  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "kind"), [(None, "null"), (4.5, "float"), ({"city": "Oslo"}, "dict")])
def test_a_text_is_a_string(text: Any, kind: str) -> None:
    part = Text(text=text)  # that of a provider's answer is the provider's to answer for
    parts = (Text(text="Hi"), part)
    for made in (partial(Message, role="user"), partial(ToolResult, call_id="c1")):
        with pytest.raises(InvalidRequest, match=rf"^content\[1\].text: expected a string, got {kind}$"):
            made(content=parts)


def test_a_tool_has_a_name_and_a_schema() -> None:
    given: Any = {"name": 5}
    with pytest.raises(InvalidRequest, match=r"^name: expected a string, got int$"):
        Tool(**given)
    given = {"name": "weather", "parameters": Tool}
    with pytest.raises(InvalidRequest, match=r"^parameters: expected a JSON Schema as a dict, got "):
        Tool(**given)
    given = {"schema": Tool}
    with pytest.raises(InvalidRequest, match=r"^schema: expected a JSON Schema as a dict, got "):
        OutputSchema(**given)


@pytest.mark.parametrize("kind", [Image, Document])
def test_a_url_is_a_string(kind: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^url: expected a string, got \w*Path; the bytes of a file go into data"):
        kind(url=Path("cat.png"))


# ---------------------------------------------------------------- members of one dialect


def test_extra_is_an_object_for_each_dialect() -> None:
    assert refusal_of(extra={"service_tier": "flex"}) == "extra.service_tier: expected an object, got str"
    assert refusal_of(extra={"openai_chat": {"logit_bias": object()}}).startswith("extra.openai_chat: not JSON: ")
