"""Histories as clients keep them who stream: pieces in a row, white space alone, results in an order of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.quirks import Quirks
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.card import ModelCard
from genai_spine.providers import codecs

TARGETS = {
    "openai_chat": Target(card=ModelCard(id="m"), quirks=Quirks(schema="strict")),
    "anthropic_messages": Target(card=ModelCard(id="m", max_output_tokens=1000)),
    "bedrock_converse": Target(card=ModelCard(id="m")),
    "gemini": Target(card=ModelCard(id="m")),
    "cohere_chat": Target(card=ModelCard(id="m")),
}


def sent(caller: str, body: dict[str, Any], dialect: str) -> Any:
    request = inbound(caller).decode_request(json.dumps(body).encode())
    return json.loads(codecs.outbound(dialect).encode_request(request, TARGETS[dialect], stream=False).body)


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": [*parts]}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": [*parts]}


CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {"result": "1"}}}


def test_chunks_that_googles_sdk_keeps_are_one_message_of_the_model() -> None:
    contents = [
        user({"text": "hi"}), model({"text": "I "}), model({"text": "look."}), model(CALL), model({"text": ""}),
        user(RESULT),
    ]  # fmt: skip
    messages = sent("gemini", {"model": "m", "contents": contents}, "openai_chat")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["content"] == "I look." and len(messages[1]["tool_calls"]) == 1
    messages = sent("gemini", {"model": "m", "contents": contents}, "cohere_chat")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]


def test_parallel_calls_in_chunks_of_their_own_are_of_one_message() -> None:
    contents = [user({"text": "hi"}), model(CALL), model(CALL), model({"text": ""}), user(RESULT, RESULT)]
    messages = sent("gemini", {"model": "m", "contents": contents}, "openai_chat")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == [each["tool_call_id"] for each in messages[2:]]


@pytest.mark.parametrize("dialect", ["anthropic_messages", "bedrock_converse"])
def test_white_space_alone_is_joined_to_the_text_that_it_was_cut_off(dialect: str) -> None:
    code = ["def f():", "\n", "    ", "return"]
    chunks = [user({"text": "hi"}), *(model({"text": piece}) for piece in code), user({"text": "on"})]
    body = sent("gemini", {"model": "m", "contents": chunks}, dialect)
    assert said(body["messages"][1]) == "".join(code)
    pieces = [{"type": "text", "text": piece} for piece in ["\n", *code, " "]]
    chat = [{"role": "user", "content": pieces}]
    body = sent("openai_chat", {"model": "m", "messages": chat}, dialect)
    assert said(body["messages"][0]) == "".join(["\n", *code, " "])


def said(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def test_gemini_is_told_by_the_order_of_results_without_ids() -> None:
    """Whatever order a caller brings them in: ids that we made are not sent."""
    answered = sent(
        "gemini",
        {"model": "m", "contents": [user({"text": "hi"}), model(CALL, CALL), user(RESULT, RESULT)]},
        "openai_chat",
    )["messages"]
    ids = [call["id"] for call in answered[1]["tool_calls"]]
    results = [
        {"role": "tool", "tool_call_id": id, "content": f"of {place}"} for place, id in reversed([*enumerate(ids)])
    ]
    body = sent("openai_chat", {"model": "m", "messages": [answered[0], answered[1], *results]}, "gemini")
    parts = [part for content in body["contents"] for part in content["parts"] if "functionResponse" in part]
    assert all("id" not in part["functionResponse"] for part in parts)
    assert [
        json.dumps(part["functionResponse"]["response"]).count(f"of {place}") for place, part in enumerate(parts)
    ] == [1, 1]


@pytest.mark.parametrize("dialect", ["anthropic_messages", "openai_chat", "gemini"])
def test_results_of_ollamas_callers_find_calls_that_came_without_an_id(dialect: str) -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}, {"function": {"name": "g", "arguments": {}}}]
    results = [
        {"role": "tool", "tool_call_id": "call_1", "name": "g", "content": "of g"},
        {"role": "tool", "tool_call_id": "call_2", "name": "f", "content": "of f"},
    ]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
    body = sent("ollama_chat", {"model": "m", "messages": messages}, dialect)
    if dialect == "openai_chat":
        names = {call["id"]: call["function"]["name"] for call in body["messages"][1]["tool_calls"]}
        assert [names[each["tool_call_id"]] for each in body["messages"][2:]] == ["g", "f"]
    elif dialect == "anthropic_messages":
        names = {block["id"]: block["name"] for block in body["messages"][1]["content"]}
        assert [names[block["tool_use_id"]] for block in body["messages"][2]["content"]] == ["g", "f"]
    else:
        parts = [
            part["functionResponse"]
            for content in body["contents"]
            for part in content["parts"]
            if "functionResponse" in part
        ]
        assert {part["name"]: str(part["response"]).split("of ")[1][0] for part in parts} == {"f": "f", "g": "g"}


@pytest.mark.parametrize(("caller", "dialect"), [("gemini", "anthropic_messages"), ("openai_chat", "bedrock_converse")])
def test_a_hundred_thousand_pieces_take_no_longer_than_their_length(caller: str, dialect: str) -> None:
    """Joined one by one they would be copied 100,000 times: half a minute, for who sends some megabytes."""
    long, pieces = "x" * 1_000_000, 100_000
    if caller == "gemini":
        contents = [
            user({"text": "hi"}),
            model({"text": long}),
            *[model({"text": "\n"})] * pieces,
            user({"text": "on"}),
        ]
        body = sent(caller, {"model": "m", "contents": contents}, dialect)
    else:
        content = [{"type": "text", "text": text} for text in (long, *["\n"] * pieces)]
        body = sent(caller, {"model": "m", "messages": [{"role": "user", "content": content}]}, dialect)
    assert len(said(body["messages"][1 if caller == "gemini" else 0])) == len(long) + pieces
