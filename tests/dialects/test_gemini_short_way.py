"""Chunks that hold nothing but text are read by a short way: it tells what the long way tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded_exchanges import exchanges

from genai_spine.dialects.gemini.decoder import GeminiStreamDecoder
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply, ProviderError
from genai_spine.model.events import MessageEnd, PartDelta, StreamEvent

TARGET = Target(card=ModelCard(id="asked-model"))
COUNTED = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}


def chunk(*parts: dict[str, Any], finish: str | None = None, **members: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": COUNTED, "modelVersion": "g", "responseId": "r", **members}


def told(pieces: list[bytes]) -> list[StreamEvent] | str:
    """The events, or the error."""
    decoder = GeminiStreamDecoder(TARGET)
    try:
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
    except ProviderError as error:
        return f"{type(error).__name__}: {error.message}"


def both(chunks: list[dict[str, Any] | bytes], end: bytes = b"\r\n\r\n") -> list[StreamEvent] | str:
    """What the short way tells, which is what the long way does: a comment before each event forces that."""
    encoded = [one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() for one in chunks]
    frames = [b"data: " + data + end for data in encoded]
    short, long = told([b"".join(frames)]), told([b": \n\n" + frame for frame in frames])
    assert short == long
    assert told(frames) == long
    return short


def test_text_thoughts_and_text_again() -> None:
    thought = {"text": "hm", "thought": True}
    events = both(
        [chunk(thought), chunk(thought), chunk({"text": "é"}, {"text": ""}), chunk({"text": "b"}, finish="STOP")]
    )
    assert [event.text for event in events if isinstance(event, PartDelta)] == ["hm", "hm", "é", "b"]


OTHERS: dict[str, Any] = {
    "a signature": chunk({"text": "s", "thoughtSignature": "c2ln"}),
    "a call": chunk({"functionCall": {"name": "f", "args": {"a": 1.50}}}),
    "a member of the chunk": chunk({"text": "x"}, somethingNew={"a": [1]}),
    "a member of a part": chunk({"text": "x", "partMetadata": {"a": 1}}),
    "another candidate": chunk({"text": "x"}) | {"candidates": [*chunk({"text": "x"})["candidates"], {"index": 1}]},
    "another index": {"candidates": [{"content": {"parts": [{"text": "x"}]}, "index": 2}]},
    "no content": {"candidates": [{"index": 0}]},
    "no candidate": {"usageMetadata": COUNTED},
    "no counts": {"candidates": [{"content": {"parts": [{"text": "x"}]}}]},
    "counts of something else": chunk({"text": "x"}, usageMetadata={"trafficType": "ON_DEMAND"}),
    "counts that are none": chunk({"text": "x"}, usageMetadata=[1]),
    "a null thought": chunk({"text": "x", "thought": None}),
    "a time": chunk({"text": "x"}, createTime="2026-05-19T14:59:42.780296Z"),
    "another time": chunk({"text": "x"}, createTime="2026-05-19T15:59:42Z"),
    "an error": {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}},
    "no JSON": b"{",
    "no UTF-8": json.dumps(chunk({"text": "@"})).encode().replace(b"@", b"\xff"),
    "an empty text": chunk({"text": ""}),
}


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_what_is_more_than_text_is_read_the_long_way(end: bytes) -> None:
    text, last = chunk({"text": "a"}), chunk({"text": "z"}, finish="STOP")
    for other in OTHERS.values():
        for chunks in ([other, text, last], [text, other, text, other, last], [text, text, last, other]):
            both(chunks, end)


def test_counts_are_those_of_the_last_total_and_what_came_after() -> None:
    more = {**COUNTED, "candidatesTokenCount": 9, "totalTokenCount": 12}
    events = both(
        [
            chunk({"text": "a"}),
            chunk({"text": "b"}, usageMetadata={"trafficType": "ON_DEMAND"}),
            chunk({"text": "c"}, usageMetadata=more),
            chunk({"text": "d"}, usageMetadata={"cachedContentTokenCount": 2}),
            chunk({"text": "e"}, usageMetadata={}, finish="STOP"),
        ]
    )
    assert isinstance(end := events[-1], MessageEnd) and end.usage is not None
    assert (end.usage.output_tokens, end.usage.cache_read_tokens) == (9, 2)


def test_counts_that_nest_too_deep_are_refused() -> None:
    deep = json.dumps(chunk({"text": "a"}, usageMetadata="@")).encode().replace(b'"@"', b"[" * 600 + b"]" * 600)
    decoder = GeminiStreamDecoder(TARGET)
    decoder.feed(b"data: " + json.dumps(chunk({"text": "a"})).encode() + b"\n\n")
    decoder.feed(b"data: " + deep + b"\n\n")  # what it says beside them was said
    with pytest.raises(BadReply):
        decoder.close()


def test_every_recorded_stream() -> None:
    recorded = [one for service in ("gemini", "vertex") for one in exchanges("generate_content", service)]
    streams = [one for one in recorded if one.status == 200 and one.body.startswith(b"data: ")]
    assert not recorded or len(streams) > 20
    for exchange in streams:
        frames = [frame.strip() for frame in exchange.body.replace(b"\r\n", b"\n").split(b"\n\n") if frame.strip()]
        both([frame.removeprefix(b"data: ") for frame in frames if frame.startswith(b"data: ")])
