"""Pieces of text are read by a short way, which takes nothing that is more, or other, than text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from genai_spine.dialects.bedrock_converse.decoder import ConverseStreamDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text
from genai_spine.model.errors import BadReply, RateLimitError
from genai_spine.model.events import PartDelta, StreamEvent
from genai_spine.model.fold import collect
from genai_spine.wire.eventstream import encode_message

TARGET = Target(card=ModelCard(id="m"))
EVENT = {":message-type": "event"}
STOP = ("messageStop", {"stopReason": "end_turn"})


def event(kind: str, payload: dict[str, Any] | bytes, headers: Mapping[str, str] = EVENT) -> bytes:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return encode_message({":event-type": kind, **headers}, body)


def delta(block: int = 0, **members: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": block, "delta": members, "p": "abc"}


def told(*events: tuple[str, Any]) -> list[StreamEvent]:
    decoder = ConverseStreamDecoder(TARGET)
    shown = decoder.feed(b"".join(event(kind, payload) for kind, payload in events))
    return shown + decoder.close()


def texts(events: list[StreamEvent]) -> list[str]:
    return [each.text for each in events if isinstance(each, PartDelta)]


def test_blocks_grow_side_by_side_and_empty_text_is_not_shown() -> None:
    events = told(
        delta(0, text="a"), delta(1, text="x"), delta(0, text=""), delta(1, text="é"), delta(0, text="b"), STOP
    )
    assert texts(events) == ["a", "x", "é", "b"]
    assert collect(events).parts == (Text(text="ab"), Text(text="xé"))


def test_what_stands_beside_a_text_is_kept() -> None:
    cited = {"location": {"web": {"url": "u"}}}
    events = told(
        delta(text="a"), delta(text="b", citation=cited), ("contentBlockStop", {"contentBlockIndex": 0}), STOP
    )
    (part,) = collect(events).parts
    assert isinstance(part, Text) and part.text == "ab"
    assert kept(part.provider_metadata, "bedrock_converse") == {"citations": [cited]}


def test_text_for_a_block_of_another_kind_is_refused() -> None:
    call = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "c", "name": "f"}}})
    for first in (call, delta(reasoningContent={"text": "hm"})):
        with pytest.raises(BadReply, match="a delta of text"):
            told(first, delta(text="a"))


def test_an_exception_is_one_whatever_else_its_headers_say() -> None:
    decoder = ConverseStreamDecoder(TARGET)
    kind, payload = delta(text="a")
    decoder.feed(event(kind, payload))
    with pytest.raises(RateLimitError):
        decoder.feed(event(kind, payload, {":message-type": "exception", ":exception-type": "throttlingException"}))


def test_text_that_is_no_text_is_refused() -> None:
    broken = json.dumps(delta(text="@")[1]).encode().replace(b"@", b"\xff")
    for payload in (broken, delta(text=1)[1], b"{", b""):
        with pytest.raises(BadReply):
            told(delta(text="a"), ("contentBlockDelta", payload))


def test_text_after_the_end_is_not_shown() -> None:
    late = told(delta(text="a"), STOP, ("metadata", {"usage": {"inputTokens": 1}}), delta(text="b"))
    assert texts(late) == ["a"]
