"""Events of Cohere's streams, one by one: what `collect` does not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genai_spine.dialects.cohere_chat import outbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect

TARGET = Target(card=ModelCard(id="m"))
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}


def event(kind: str, message: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more, **({"delta": {"message": message}} if message is not None else {})}


START = event("message-start", {"role": "assistant"}, id="1")


def content(kind: str, index: int, text: str) -> list[dict[str, Any]]:
    return [
        event("content-start", {"content": {"type": kind, kind: ""}}, index=index),
        event("content-delta", {"content": {kind: text}}, index=index),
        event("content-end", index=index),
    ]


def call(index: int, *, ends: bool = True) -> list[dict[str, Any]]:
    begun = {"id": f"i{index}", "type": "function", "function": {"name": "f", "arguments": ""}}
    events = [
        event("tool-call-start", {"tool_calls": begun}, index=index),
        event("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}, index=index),
    ]
    return [*events, event("tool-call-end", index=index)] if ends else events


def read(*events: dict[str, Any]) -> list[StreamEvent]:
    decoder = outbound.stream_decoder(TARGET)
    data = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in events)
    return [*decoder.feed(data), *decoder.close()]


@pytest.mark.parametrize("ends", [True, False])
def test_every_part_that_begins_ends_once_and_before_the_end(ends: bool) -> None:
    events = read(START, *content("thinking", 0, "a"), *content("text", 1, "b"), *call(0, ends=ends), *call(1), END)
    assert [one.index for one in events if isinstance(one, PartStart)] == [0, 1, 2, 3]
    assert sorted(one.index for one in events if isinstance(one, PartEnd)) == [0, 1, 2, 3]
    assert isinstance(events[0], MessageStart) and isinstance(events[-1], MessageEnd)


def test_a_text_is_shown_as_it_comes() -> None:
    decoder = outbound.stream_decoder(TARGET)
    shown: list[list[str]] = []
    for one in (START, *content("text", 0, "tea"), END):
        events = decoder.feed(b"data: %s\n\n" % json.dumps(one).encode())
        shown.append([type(found).__name__ for found in events])
    assert shown == [["MessageStart"], ["PartStart"], ["PartDelta"], [], ["PartEnd", "MessageEnd"]]


def test_a_citation_without_a_place_is_of_the_first_of_its_kind() -> None:
    of_thought = {"start": 0, "end": 1, "text": "a", "type": "THINKING_CONTENT"}
    thinking, text = content("thinking", 0, "a"), content("text", 1, "b")
    cited = event("citation-start", {"citations": of_thought}, index=0)
    response = collect(read(START, *thinking[:2], cited, thinking[2], *text, END))
    assert kept(response.parts[0].provider_metadata, "cohere_chat") == {"citations": [of_thought]}
    message = {
        "content": [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}],
        "citations": [of_thought],
    }
    plain = outbound.decode_response(json.dumps({"message": message, "finish_reason": "COMPLETE"}).encode(), TARGET)
    assert plain.parts == response.parts


@pytest.mark.parametrize(
    "events",
    [
        (event("content-delta", {"content": {"text": 5}}, index=0),),
        (*content("text", 0, "a"), *content("text", 1, "b"), content("text", 0, "c")[1]),
        (content("text", 0, "a")[0], event("content-delta", {"content": {"thinking": "b"}}, index=0)),
        (event("content-start", {"content": "text"}, index=0),),
        (event("content-start", {"content": {"type": "text", "text": ""}}, index="0"),),
        (call(0)[1],),
        (*call(0), call(0)[1]),
        (*call(0), *call(0)),
        (event("tool-call-start", {"tool_calls": {"id": "i", "function": {"name": ""}}}, index=0),),
        (event("tool-call-start", {"tool_calls": {"function": {"name": "f"}}}, index=0),),
        ({"no": "type"},),
        ([],),
    ],
)
def test_what_no_stream_of_cohere_says_is_a_bad_reply(events: tuple[Any, ...]) -> None:
    with pytest.raises(BadReply):
        read(START, *events, END)


def test_events_that_we_do_not_know_say_nothing() -> None:
    odd = [event("mood", 5), {"type": "mood", "index": "x", "delta": [1]}, {"type": "content-delta", "index": 0}]
    response = collect(read(START, *odd, *content("text", 0, "a"), END))
    assert (response.content, response.extra) == ("a", None)
    assert [one for one in read(START, *odd, END) if isinstance(one, PartDelta)] == []
