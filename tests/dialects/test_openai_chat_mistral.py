"""Mistral where it differs from OpenAI: written through the model, read, streamed and relayed. Everything that we
write for it fits its published schema."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from recorded_exchanges import ROOT

from genai_spine.catalog.rows import load_rows
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound, mistral, outbound
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
from genai_spine.model.errors import ModelNotFound
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message, ThinkingConfig, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, FinishReason

QUIRKS = load_rows()["mistral"].quirks
TARGET = Target(card=ModelCard(id="magistral-medium"), quirks=QUIRKS)
PLAIN = Target(card=ModelCard(id="m"))
PDF = "JVBERi0xLjQ="
REFERENCE = {"type": "tool_reference", "tool": "web_search", "title": "Rome"}


def sent(*messages: Message, **options: Any) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    request = CompletionRequest(messages=messages, **options)
    outgoing = outbound.encode_request(request, TARGET, stream=False)
    body = json.loads(outgoing.body)
    if schema_text() is not None:
        assert not list(validator().iter_errors(body))
    return body, [(notice.code, notice.param) for notice in outgoing.notices]


@cache
def schema_text() -> str | None:
    path = ROOT / "schemas" / "mistral.openapi.yaml"
    return path.read_text() if path.exists() else None


@cache
def validator() -> OAS31Validator:
    """The service's published schema; its `oneOf` refuse real bodies that two alternatives take (wire/README.md)."""

    def loosened(node: Any) -> Any:
        if isinstance(node, list):
            return [loosened(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            "anyOf" if key == "oneOf" else key: loosened(value) for key, value in node.items() if key != "discriminator"
        }

    document = loosened(yaml.load(schema_text() or "", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return OAS31Validator({**document, "$ref": "#/components/schemas/ChatCompletionRequest"})


def user(*parts: Part) -> Message:
    return Message(role="user", content=parts)


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", content=parts)


# ---------------------------------------------------------------- requests


def test_message_form_tool_call_ids_are_nine_letters_or_digits() -> None:
    foreign, own = "toolu_01A09q90qw90lq917835lq9", "cNojwOqrH"
    body, notices = sent(
        user(Text(text="Hi")),
        assistant(ToolCall(id=foreign, name="f"), ToolCall(id=own, name="f")),
        user(ToolResult(call_id=foreign, content=(Text(text="a"),)), ToolResult(call_id=own)),
        user(Text(text="Well?")),
    )
    first, second = (call["id"] for call in body["messages"][1]["tool_calls"])
    assert [message.get("tool_call_id") for message in body["messages"][2:4]] == [first, second]
    assert (len(first), first.isalnum(), first.isascii(), second) == (9, True, True, own)
    assert first == mistral.call_id_of(foreign) == mistral.call_id_of(first)
    assert notices == []


def test_message_form_a_last_assistant_message_is_a_prefix() -> None:
    body, _ = sent(user(Text(text="A poem")), assistant(Text(text="Shall I")))
    assert body["messages"][-1] == {"role": "assistant", "content": "Shall I", "prefix": True}
    body, _ = sent(user(Text(text="A poem")), assistant(Text(text="Shall I")), user(Text(text="Yes")))
    assert "prefix" not in body["messages"][1]
    body, _ = sent(user(Text(text="A poem")), assistant(ToolCall(id="cNojwOqrH", name="f")))
    assert "prefix" not in body["messages"][1]


def test_a_callers_own_prefix_stays() -> None:
    said = {"model": "m", "messages": [{"role": "assistant", "content": "Shall I", "prefix": False}]}
    request = inbound.decode_request(json.dumps(said).encode())
    body = json.loads(outbound.encode_request(request, TARGET, stream=False).body)
    assert body["messages"][0]["prefix"] is False


def test_message_form_documents_are_urls() -> None:
    body, notices = sent(
        user(
            Document(url="https://example.com/a.pdf", name="a.pdf"),
            Document(data=PDF),
            Document(file_id="0f0e0d0c-0000-4000-8000-000000000000"),
            Image(url="https://example.com/a.png", detail="low"),
        )
    )
    assert body["messages"][0]["content"] == [
        {"type": "document_url", "document_url": "https://example.com/a.pdf", "document_name": "a.pdf"},
        {"type": "document_url", "document_url": f"data:application/pdf;base64,{PDF}"},
        {"type": "file", "file_id": "0f0e0d0c-0000-4000-8000-000000000000"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    assert notices == []


def test_message_form_what_mistral_has_no_member_for_is_left_out_with_a_notice() -> None:
    annotated = Text(text="b", provider_metadata={"openai_chat": msgspec.Raw(b'{"annotations":[1]}')})
    body, notices = sent(
        Message(role="user", content=(Text(text="a"),), name="ann"),
        assistant(annotated, Refusal(text="No.")),
        user(Text(text="c", cache=CacheMark())),
    )
    assert body["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "bNo."},
        {"role": "user", "content": "c"},
    ]
    assert notices == [
        ("dropped", "cache_control"),
        ("dropped", "messages[0].name"),
        ("changed", "messages[1]"),
        ("dropped", "messages[1].annotations"),
    ]


def test_other_options_in_mistrals_words() -> None:
    extra = {"openai_chat": {"safe_prompt": True, "prompt_mode": "reasoning", "user": "u", "safety_identifier": "s"}}
    body, notices = sent(
        user(Text(text="a")),
        seed=7,
        temperature=2.0,
        tools=(Tool(name="f"),),
        tool_choice=ToolChoice(mode="required"),
        thinking=ThinkingConfig(effort="high"),
        extra=extra,
    )
    assert body["random_seed"] == 7
    assert body["tool_choice"] == "any"
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert (body["safe_prompt"], body["prompt_mode"], body["reasoning_effort"]) == (True, "reasoning", "high")
    assert ("dropped", "user") in notices and ("dropped", "safety_identifier") in notices


# ---------------------------------------------------------------- thoughts


CHUNK = {
    "type": "thinking",
    "thinking": [{"type": "text", "text": "Let me "}, REFERENCE, {"type": "text", "text": "count."}],
    "signature": "sig",
    "closed": True,
}


def plain(content: Any, finish: str = "stop") -> CompletionResponse:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    body = json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
    return msgspec.structs.replace(outbound.decode_response(body, TARGET), raw=None)


def streamed(*contents: Any, finish: str = "stop") -> CompletionResponse:
    deltas = [{"delta": {"content": content}} for content in contents]
    choices = [*deltas, {"delta": {"content": ""}, "finish_reason": finish}]
    chunks = [{"id": "1", "model": "m", "choices": [{"index": 0, **choice}]} for choice in choices]
    data = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(data), *decoder.close()])


def test_thinking_chunks_are_thoughts_plain_and_streamed() -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    whole = plain([CHUNK, {"type": "text", "text": "44"}, reference])
    thought, text, opaque = whole.parts
    assert isinstance(thought, Thinking) and isinstance(opaque, Opaque)
    assert (thought.text, thought.signature, text) == ("Let me count.", "mistral:sig", Text(text="44"))
    pieces = [
        [{"type": "thinking", "thinking": [CHUNK["thinking"][0]]}],
        [{"type": "thinking", "thinking": [REFERENCE], "signature": "sig"}],
        [{"type": "thinking", "thinking": [CHUNK["thinking"][2]], "closed": True}],
        "4",
        "4",
        [reference],
    ]
    again = streamed(*pieces)
    assert _told(again) == _told(whole)


def _told(response: CompletionResponse) -> Any:
    """Metadata is an object: the order of its members says nothing."""
    return json.loads(msgspec.json.encode(response))


def test_thinking_chunks_go_back_as_they_came() -> None:
    whole = plain([CHUNK, {"type": "text", "text": "44"}])
    body, notices = sent(user(Text(text="22+22?")), assistant(*whole.parts), user(Text(text="Sure?")))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Let me count."}, REFERENCE], "signature": "sig"},
        {"type": "text", "text": "44"},
    ]
    assert notices == []


def test_another_providers_signature_does_not_go_to_mistral() -> None:
    body, notices = sent(
        user(Text(text="a")),
        assistant(Thinking(text="b", signature="Anthropic's"), Thinking(redacted="x"), Text(text="c")),
        user(Text(text="d")),
    )
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}
    assert notices == [("omitted_thinking", "messages[1]")]


def test_a_callers_mistral_parts_are_understood() -> None:
    content = [
        {"type": "document_url", "document_url": "https://example.com/a.pdf", "document_name": "a.pdf"},
        {"type": "document_url", "document_url": f"data:application/pdf;base64,{PDF}"},
        {"type": "file", "file_id": "f1"},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
    ]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": [CHUNK]}]
    request = inbound.decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert request.messages[0].content == (
        Document(url="https://example.com/a.pdf", name="a.pdf"),
        Document(data=PDF, media_type="application/pdf"),
        Document(file_id="f1"),
        Image(url="https://example.com/a.png"),
    )
    (thought,) = request.messages[1].content
    assert isinstance(thought, Thinking) and thought.text == "Let me count."
    body = json.loads(outbound.encode_request(request, TARGET, stream=False).body)
    assert body["messages"][0]["content"][:3] == content[:3]


@pytest.mark.parametrize(("said", "finish"), [("model_length", FinishReason.LENGTH), ("error", FinishReason.ERROR)])
def test_mistrals_endings(said: str, finish: FinishReason) -> None:
    assert plain("a", said).finish_reason == streamed("a", finish=said).finish_reason == finish
    assert plain("a", said).raw_finish_reason == said


def test_cached_tokens_are_part_of_the_input() -> None:
    counted = b'{"prompt_tokens":997,"completion_tokens":155,"total_tokens":1152,"num_cached_tokens":976}'
    usage = outbound.decode_usage(msgspec.Raw(counted))
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens) == (997, 976)
    body = b'{"id":"1","model":"m","choices":[{"message":{"content":"a"}}],"usage":%s}' % counted
    assert outbound.decode_response(body, TARGET).usage == usage


def test_an_unknown_model_is_a_400() -> None:
    body = b'{"code":"1500","message":"Invalid model: x","object":"error","param":null,"type":"invalid_model"}'
    assert type(outbound.decode_error(400, {}, body)) is ModelNotFound


# ---------------------------------------------------------------- relayed


def concerns(*messages: dict[str, Any]) -> bool:
    return outbound.concerns({"messages": msgspec.Raw(json.dumps(messages).encode())}, QUIRKS)


CALL = {"id": "cNojwOqrH", "type": "function", "function": {"name": "f", "arguments": '{"id": "x"}'}}


def test_what_fits_goes_as_it_is() -> None:
    asked = {"role": "user", "content": 'Say "refusal" and {"role": "assistant"}'}
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "cNojwOqrH", "name": "f", "content": "a"}
    assert not concerns({"role": "system", "content": "Be brief."}, asked)
    assert not concerns(asked, called, result)
    assert not concerns(asked, called)
    assert not concerns(asked, {"role": "assistant", "content": "Shall I", "prefix": True})
    assert not concerns(asked, {"role": "assistant", "content": [CHUNK]}, asked)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Shall I"},
        {"role": "user", "content": "a", "name": "ann"},
        {"role": "developer", "content": "a"},
        {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a"},
        {"role": "assistant", "tool_calls": [CALL], "refusal": None},
        {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "b"},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
    ],
)
def test_what_does_not_fit_is_translated(message: dict[str, Any]) -> None:
    assert concerns({"role": "user", "content": "a"}, message)


# ---------------------------------------------------------------- anything

words = st.text(min_size=1, max_size=8)
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, text=words),
    st.builds(Thinking, text=words, signature=words | st.none()),
    st.builds(Refusal, text=words),
    st.builds(Image, url=st.just("https://example.com/a.png")),
    st.builds(Document, url=words, name=words | st.none()) | st.builds(Document, data=st.just(PDF)),
)
turns = st.one_of(
    st.builds(user, parts.filter(lambda part: not isinstance(part, Thinking))),
    st.builds(assistant, parts, st.builds(ToolCall, id=words, name=words, arguments=st.just("{}"))),
    st.builds(assistant, parts, parts),
    st.builds(user, st.builds(ToolResult, call_id=words, content=st.builds(Text, text=words).map(lambda t: (t,)))),
    st.builds(Message, role=st.sampled_from(["system", "developer"]), content=words, name=words | st.none()),
)


@pytest.mark.skipif(schema_text() is None, reason=f"no schemas in {ROOT} (GENAI_WIRE)")
@settings(max_examples=60)
@given(st.lists(turns, min_size=1, max_size=4))
def test_any_conversation_fits_the_services_schema(messages: list[Message]) -> None:
    body, _ = sent(*messages)
    assert mistral.fits(json.dumps(body["messages"]).encode())
