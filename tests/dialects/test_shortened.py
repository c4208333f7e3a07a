"""Ids and users that a service takes in so many letters: shorter, the same each time, told once, and told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from genai_spine.dialects.bedrock_converse import outbound as bedrock
from genai_spine.dialects.bedrock_converse.blocks import call_id as bedrocks_id
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.openai_chat import outbound as chat
from genai_spine.dialects.openai_responses import outbound as responses
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.shortened import shortened
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, ToolCall, ToolResult
from genai_spine.model.request import CompletionRequest, Message, Tool, ToolChoice

VLLM = "chatcmpl-tool-" + "0123456789abcdef" * 2
XAI = "call_" + "12345678" * 4 + "-00000"
TWO = (VLLM, f"{VLLM[:-1]}x")


def conversation(*ids: str, tool: str = "sky", **options: Any) -> CompletionRequest:
    calls = tuple(ToolCall(id=call_id, name=tool, arguments="{}") for call_id in ids)
    results = tuple(ToolResult(call_id=call_id, content=(Text(text="blue"),), name=tool) for call_id in ids)
    turns = (Message(role="user", content="Sky?"), Message(role="assistant", content=calls))
    return CompletionRequest(
        messages=(*turns, Message(role="user", content=results)), tools=(Tool(name=tool),), **options
    )


def to_openai(request: CompletionRequest) -> Outgoing:
    target = Target(card=ModelCard(id="m"), quirks=Quirks(message_form="openai_strict"))
    return chat.encode_request(request, target, stream=False)


@pytest.mark.parametrize("longest", [40, 64])
def test_what_is_short_enough_stays_and_the_rest_is_a_hash(longest: int) -> None:
    assert shortened("x" * longest, longest) == "x" * longest
    assert shortened("x" * 65, longest) == hashlib.sha256(b"x" * 65).hexdigest()[:longest]
    with pytest.raises(UnicodeEncodeError):
        shortened("\ud800" * 65, longest)


@pytest.mark.parametrize("call_id", [VLLM, XAI, "x" * 41])
def test_message_form_openai_strict_a_long_id_is_the_same_in_a_call_and_its_result(call_id: str) -> None:
    sent = to_openai(conversation(call_id))
    _, asked, told = json.loads(sent.body)["messages"]
    assert asked["tool_calls"][0]["id"] == told["tool_call_id"] == shortened(call_id, 40)
    assert [(notice.code, notice.param) for notice in sent.notices] == [("changed", "tool_call_id")]


def test_message_form_openai_strict_ids_that_begin_alike_stay_apart() -> None:
    sent = to_openai(conversation(*TWO))
    calls = json.loads(sent.body)["messages"][1]["tool_calls"]
    assert calls[0]["id"] != calls[1]["id"]
    assert len(sent.notices) == 1, "of many ids there is one notice"


def test_other_services_get_their_long_ids_back() -> None:
    sent = chat.encode_request(conversation(VLLM), Target(card=ModelCard(id="m")), stream=False)
    assert json.loads(sent.body)["messages"][2]["tool_call_id"] == VLLM
    assert sent.notices == ()


def test_responses_and_bedrock_take_64() -> None:
    target = Target(card=ModelCard(id="m"))
    for call_id, written in ((VLLM, VLLM), (VLLM * 2, shortened(VLLM * 2, 64))):
        items = json.loads(responses.encode_request(conversation(call_id), target, stream=False).body)["input"]
        assert [item["call_id"] for item in items[1:]] == [written, written]
        assert bedrocks_id(call_id) == written
    assert bedrocks_id("a b/c") == "a_b_c"
    said = json.loads(bedrock.encode_request(conversation(VLLM * 2), target, stream=False).body)["messages"]
    assert said[1]["content"][0]["toolUse"]["toolUseId"] == said[2]["content"][0]["toolResult"]["toolUseId"]


def test_names_of_tools_are_mended_wherever_they_stand() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    allowed["allowed_tools"]["tools"] = [{"type": "function", "function": {"name": "git.log"}}]  # type: ignore[index]  # a dict
    sent = to_openai(conversation("i", tool="git.log", extra={"openai_chat": {"tool_choice": allowed}}))
    text, name = sent.body.decode(), json.loads(sent.body)["tools"][0]["function"]["name"]
    assert "git.log" not in text
    assert text.count(f'"name":"{name}"') == 4, "the tool, its call, its result, and what is allowed"
    assert [(notice.code, notice.param) for notice in sent.notices] == [("changed", "tools")]

    chosen = conversation("i", tool="git.log", tool_choice=ToolChoice(mode="tool", name="git.log"))
    assert json.loads(to_openai(chosen).body)["tool_choice"] == {"type": "function", "function": {"name": name}}

    there = responses.encode_request(chosen, Target(card=ModelCard(id="m")), stream=False)
    assert b"git.log" not in there.body
    assert json.loads(there.body)["tool_choice"] == {"type": "function", "name": name}
    assert [(notice.code, notice.param) for notice in there.notices] == [("changed", "tools")]
