"""Calls in a stream, as callers of each dialect get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_responses import inbound as responses_inbound
from genai_spine.dialects.openai_responses import outbound as responses_outbound
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.card import ModelCard
from genai_spine.model.content import ToolCall
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.providers import codecs

TARGET = Target(card=ModelCard(id="m"))
each_dialect = pytest.mark.parametrize(
    "dialect", ["openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama_chat"]
)


def shown(dialect: str, *events: StreamEvent) -> CompletionResponse:
    """What a caller of the dialect reads in the stream."""
    start, end = MessageStart(model="m", id="x", created_s=1), MessageEnd(finish_reason=FinishReason.TOOL_CALLS)
    encoder = inbound(dialect).stream_encoder(CompletionRequest(messages=()))
    decoder = codecs.outbound(dialect).stream_decoder(TARGET)
    read = decoder.feed(b"".join(encoder.encode(event) for event in (start, *events, end)))
    return collect([*read, *decoder.close()])


def calls(answer: CompletionResponse) -> list[tuple[str, Any]]:
    return [(part.name, json.loads(part.arguments)) for part in answer.parts if isinstance(part, ToolCall)]


@each_dialect
@pytest.mark.parametrize("ends", [(0, 1, 2), (2, 1, 0), (1, 2), ()], ids=str)
def test_calls_that_come_interleaved_stay_in_the_order_of_their_beginnings(dialect: str, ends: tuple[int, ...]) -> None:
    begun = [PartStart(index=at, part=ToolCall(id=f"call_{at}", name=f"f{at}")) for at in range(3)]
    said = [PartDelta(at, piece) for piece in ('{"a"', ":1}") for at in (2, 0, 1)]
    answer = shown(dialect, *begun, *said, *[PartEnd(index=at) for at in ends])
    assert calls(answer) == [("f0", {"a": 1}), ("f1", {"a": 1}), ("f2", {"a": 1})]


@pytest.mark.parametrize("said", ["", "null", " null\n"])
def test_no_arguments_are_no_input_for_callers_of_messages(said: str) -> None:
    """Llama models on Groq say `null` (recorded). The SDKs read a null input of it, which is refused when it comes
    back."""
    encoder = inbound("anthropic_messages").stream_encoder(CompletionRequest(messages=()))
    begun = PartStart(index=0, part=ToolCall(id="a", name="f", arguments=said))
    assert b"input_json_delta" not in encoder.encode(begun) + encoder.encode(PartEnd(index=0))
    started = (PartStart(index=0, part=ToolCall(id="a", name="f")), PartDelta(0, '{"a":'), PartDelta(0, "null"))
    assert calls(shown("anthropic_messages", *started, PartDelta(0, "}"), PartEnd(index=0))) == [("f", {"a": None})]


@pytest.mark.parametrize("annotations", [True, 1.5, {"a": 1}, "x", None])
def test_annotations_that_are_no_list_do_not_end_a_stream(annotations: Any) -> None:
    text = {"type": "output_text", "text": "Hi", "annotations": annotations, "x": 1}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    response = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
    at = {"output_index": 0, "content_index": 0, "item_id": "msg_1", "part": text}
    events = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at},
        {"type": "response.content_part.done", **at},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    decoder = responses_outbound.stream_decoder(TARGET)
    read = decoder.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))
    encoder = responses_inbound.stream_encoder(CompletionRequest(messages=()))
    out = b"".join(encoder.encode(event) for event in [*read, *decoder.close()])
    assert b"response.completed" in out
    assert b"annotation.added" not in out
