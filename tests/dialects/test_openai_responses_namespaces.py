"""Tools in a namespace, as Codex sends those of MCP servers: what Responses says of them, and what others do."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages import outbound as anthropic_messages
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_responses import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Part, Text, ToolCall
from genai_spine.model.events import PartStart
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason

TARGET = Target(card=ModelCard(id="gpt"), quirks=Quirks(schema="strict"))


def encoded(members: Any) -> bytes:
    return json.dumps(members).encode()


def answer(part: Part) -> CompletionResponse:
    return CompletionResponse(model="gpt", id="resp_1", parts=(part,), finish_reason=FinishReason.STOP)


def plain(response: CompletionResponse, asked: CompletionRequest) -> dict[str, Any]:
    return json.loads(inbound.encode_response(response, asked))  # type: ignore[no-any-return]  # an object


def streamed(told: Any, asked: CompletionRequest) -> list[dict[str, Any]]:
    encoder = inbound.stream_encoder(asked)
    data = b"".join(encoder.encode(event) for event in told).decode()
    return [json.loads(line.removeprefix("data: ")) for line in data.splitlines() if line.startswith("data: ")]


ZOO = {
    "type": "namespace",
    "name": "mcp__zoo",
    "description": "Animals live here.",
    "tools": [
        {"type": "function", "name": "count", "description": "Counts", "strict": False},
        {"type": "function", "name": "feed_lion", "parameters": {"type": "object", "properties": {}}},
    ],
}
FED = {"call_id": "call_1", "namespace": "mcp__zoo", "name": "feed_lion", "arguments": "{}"}


def asked_of_the_zoo() -> CompletionRequest:
    return inbound.decode_request(
        encoded(
            {
                "model": "gpt",
                "tools": [ZOO, {"type": "function", "name": "exec"}],
                "input": [
                    {"role": "user", "content": "Feed"},
                    {"type": "function_call", "id": "fc_1", **FED},
                    {"type": "function_call_output", "call_id": "call_1", "output": "fed"},
                ],
            }
        )
    )


def test_tools_of_a_namespace_are_tools_for_every_other_dialect() -> None:
    asked = asked_of_the_zoo()
    sent = anthropic_messages.encode_request(asked, TARGET, stream=False)
    body = json.loads(sent.body)
    assert [(tool["name"], tool.get("description")) for tool in body["tools"]] == [
        ("mcp__zoo__count", "Animals live here.\n\nCounts"),
        ("mcp__zoo__feed_lion", None),
        ("exec", None),
    ]
    assert body["messages"][1]["content"][0]["name"] == "mcp__zoo__feed_lion"
    assert [notice for notice in sent.notices if "namespace" in notice.message] == []


def test_tools_of_a_namespace_go_to_responses_as_they_came() -> None:
    asked = asked_of_the_zoo()
    body = json.loads(outbound.encode_request(asked, TARGET, stream=False).body)
    assert body["tools"][0] == ZOO
    assert body["input"][1] == {**FED, "type": "function_call", "id": "fc_1"}
    assert inbound.decode_request(encoded(body)) == msgspec.structs.replace(asked, model=TARGET.model)
    assert plain(answer(Text(text="Fed")), asked)["tools"][0] == ZOO


@pytest.mark.parametrize("by", ["another service", "responses"])
def test_a_call_of_a_tool_in_a_namespace_names_both(by: str) -> None:
    """Codex refuses a call of `mcp__zoo__feed_lion` as one of an unknown tool."""
    item = {"type": "function_call", "id": "fc_7", "status": "completed", **FED}
    response = answer(ToolCall(id="call_1", name="mcp__zoo__feed_lion", arguments="{}"))
    if by == "responses":
        response = outbound.decode_response(encoded({"id": "resp_1", "output": [item]}), TARGET)
        assert [call.name for call in response.tool_calls] == ["mcp__zoo__feed_lion"]
    asked = asked_of_the_zoo()
    written = plain(response, asked)["output"][0]
    assert (written["namespace"], written["name"]) == ("mcp__zoo", "feed_lion")
    told = streamed(replay(response), asked)
    assert [event["item"]["name"] for event in told if event["type"].startswith("response.output_item.")] == [
        "feed_lion",
        "feed_lion",
    ]
    assert next(event["name"] for event in told if event["type"].endswith("arguments.done")) == "feed_lion"
    assert told[-1]["response"]["output"][0] == written


def test_a_stream_names_the_tool_in_a_namespace_from_its_begin_on() -> None:
    item = {"type": "function_call", "id": "fc_7", "status": "completed", **FED}
    decoder = outbound.stream_decoder(TARGET)
    said = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_7", "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "resp_1", "model": "gpt", "output": [item]}},
    ]
    told = decoder.feed(b"".join(b"data: " + encoded(event) + b"\n\n" for event in said))
    begun = next(event.part for event in told if isinstance(event, PartStart))
    assert isinstance(begun, ToolCall) and begun.name == "mcp__zoo__feed_lion"
    again = streamed(told, asked_of_the_zoo())
    assert {event["item"]["name"] for event in again if "item" in event} == {"feed_lion"}
