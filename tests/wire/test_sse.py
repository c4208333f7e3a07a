"""Server-sent events: frames and events from bytes cut anywhere."""

from __future__ import annotations

import json
import os
import random
import re
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genai_spine.model.errors import BadReply
from genai_spine.wire.sse import SSEEvent, SSEParser, encode_comment, encode_event

WIRE = Path(os.environ.get("GENAI_WIRE", Path(__file__).parents[3] / "shared" / "wire"))

# Bytes that matter to the grammar, and enough of others.
PIECES = [
    b"data",
    b"data:",
    b"data: ",
    b"event: ",
    b"id: 1",
    b"retry: 5",
    b":",
    b" ",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"x",
    b'{"a":1}',
    b"\xef\xbb\xbf",
    "\u2028\u0085é😀".encode(),
    b"\x0b\x0c\x1c\0",
]
streams = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    start = 0
    for place in sorted(place % (len(data) + 1) for place in places):
        yield data[start:place]
        start = place
    yield data[start:]


def read(chunks: Iterator[bytes] | list[bytes]) -> list[SSEEvent]:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close()


def one(frame: bytes) -> SSEEvent:
    """The event of a frame, whichever path reads it: a fresh parser's, or that of one in full flow."""
    (event,) = read([frame])
    assert read([b"\n", frame]) == read([b"\n", frame[:3], frame[3:]]) == [event]
    return event


@given(streams, st.lists(st.integers(0, 500), max_size=8))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_bytes_cut_at_any_place_give_the_same_events(data: bytes, places: list[int]) -> None:
    assert read(cut(data, places)) == read([data])


@given(streams)
def test_bytes_fed_one_by_one_give_the_same_events(data: bytes) -> None:
    assert read([data[i : i + 1] for i in range(len(data))]) == read([data])


@given(streams, st.lists(st.integers(0, 500), max_size=8))
def test_frames_and_tail_joined_are_the_bytes_that_were_fed(data: bytes, places: list[int]) -> None:
    parser = SSEParser()
    frames = [raw for chunk in cut(data, places) for raw, _ in parser.frames(chunk)]
    assert b"".join(frames) + parser.tail == data


@given(streams)
def test_the_fast_path_reads_what_the_general_path_reads(data: bytes) -> None:
    fast = SSEParser()
    fast.feed(b"\n")
    assert fast.feed(data) + fast.close() == read([b"\n", *(data[i : i + 1] for i in range(len(data)))])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_arbitrary_bytes_raise_nothing(data: bytes, places: list[int]) -> None:
    read(cut(data, places))


@given(streams)
def test_events_are_those_of_httpx2(data: bytes) -> None:
    httpx2 = pytest.importorskip("httpx2", reason="httpx2 (dependency group test) is not installed")
    data = data.replace(b"\xef\xbb\xbf", b"")  # httpx2 2.16 keeps a byte order mark
    response = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=data + b"\n\n",
        request=httpx2.Request("GET", "http://test"),
    )
    # httpx2 dispatches frames of a name or an id alone, as events without data: not compared
    theirs = [(event.event, event.data) for event in httpx2.EventSource(response) if event.data]
    ours = [
        ((event.event or b"message").decode(), event.data.decode()) for event in read([data + b"\n\n"]) if event.data
    ]
    assert ours == theirs


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_ends_a_line(end: bytes) -> None:
    data = end.join([b"event: x", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])
    expected = [SSEEvent(b"1\n2", b"x"), SSEEvent(b"3")]
    assert read([data]) == expected
    assert read([data[i : i + 1] for i in range(len(data))]) == expected


def test_line_ends_may_be_mixed_within_a_stream() -> None:
    data = b"data: 1\n\ndata: 2\rdata: 3\n\ndata: 4\r\n\ndata: 5\n\n"
    expected = [SSEEvent(b"1"), SSEEvent(b"2\n3"), SSEEvent(b"4"), SSEEvent(b"5")]
    assert read([data]) == read([b"\n", data]) == read([b"data: ", data[6:]]) == expected


def test_an_event_is_given_as_soon_as_its_blank_line_begins() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: 1\r\n\r") == [SSEEvent(b"1")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: 2\r\n\r\n") == [SSEEvent(b"2")]


@pytest.mark.parametrize("text", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u001c", "\u001d", "\u001e"])
def test_only_cr_and_lf_end_a_line(text: str) -> None:
    data = f'{{"content":"a{text}b"}}'.encode()
    assert one(b"data: " + data + b"\n\n").data == data


def test_data_without_a_space_after_the_colon_is_the_same() -> None:
    assert one(b"data:x\n\n") == one(b"data: x\n\n") == SSEEvent(b"x")


def test_only_one_space_is_taken_off() -> None:
    assert one(b"data:  x\n\n").data == b" x"


def test_lines_of_data_are_joined_by_newlines() -> None:
    assert one(b"data: a\ndata:\ndata: b\n\n").data == b"a\n\nb"


def test_name_id_and_retry_are_read_and_unknown_fields_are_not() -> None:
    frame = b"event: delta\nid: 7\nretry: 250\nfoo: bar\nbaz\ndata: x\n\n"
    assert one(frame) == SSEEvent(b"x", b"delta", b"7", 250)


def test_an_id_with_a_nul_and_a_retry_that_is_no_number_are_ignored() -> None:
    assert one(b"id: a\0b\nretry: 1s\ndata: x\n\n") == SSEEvent(b"x")


def test_a_retry_of_five_thousand_digits_is_ignored() -> None:
    assert one(b"retry: " + b"9" * 5000 + b"\ndata: x\n\n") == SSEEvent(b"x")


def test_the_last_name_holds_and_an_empty_one_is_none() -> None:
    assert one(b"event: a\nevent: b\ndata: x\n\n").event == b"b"
    assert one(b"event: \ndata: x\n\n").event is None


def test_comments_dispatch_nothing_but_are_frames() -> None:
    parser = SSEParser()
    assert parser.feed(b": OPENROUTER PROCESSING\n\n") == []
    assert parser.frames(b": ping\n\ndata: 1\n\n") == [
        (b": ping\n\n", None),
        (b"data: 1\n\n", SSEEvent(b"1")),
    ]


def test_a_frame_without_data_dispatches_nothing() -> None:
    assert read([b"event: x\nid: 1\n\ndata: 1\n\n"]) == [SSEEvent(b"1")]


def test_empty_data_is_an_event() -> None:
    assert read([b"data\n\ndata:\n\ndata: \n\n"]) == [SSEEvent(b"")] * 3


def test_a_byte_order_mark_at_the_start_is_skipped_and_elsewhere_is_not() -> None:
    assert read([b"\xef\xbb", b"\xbfdata: 1\n\n"]) == [SSEEvent(b"1")]
    assert read([b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n"]) == [SSEEvent(b"1")]


def test_the_end_of_the_stream_ends_the_last_event_too() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: 1\n\ndata: [DONE]") == [SSEEvent(b"1")]
    assert parser.tail
    assert parser.close() == [SSEEvent(b"[DONE]")]
    assert parser.tail == b"data: [DONE]"


def test_nothing_is_pending_after_a_whole_frame() -> None:
    parser = SSEParser()
    parser.feed(b"data: 1\n\n")
    assert not parser.tail
    assert parser.close() == []


def test_an_event_of_five_megabytes_passes() -> None:
    data = b"x" * 5_000_000
    frame = encode_event(data)
    assert read([frame[i : i + 65_536] for i in range(0, len(frame), 65_536)]) == [SSEEvent(data)]
    assert read([frame]) == [SSEEvent(data)]


def test_a_frame_of_the_cap_passes_and_one_byte_more_is_refused() -> None:
    frame = encode_event(b"x" * 92)
    for chunks in ([frame], [frame[:50], frame[50:]], [b"\n", frame]):
        parser = SSEParser(max_event_bytes=100)
        assert [event for chunk in chunks for event in parser.feed(chunk)] == [SSEEvent(b"x" * 92)]
        parser = SSEParser(max_event_bytes=99)
        with pytest.raises(BadReply, match="longer than 99 bytes"):
            deque(map(parser.feed, chunks), maxlen=0)


@pytest.mark.parametrize("endless", [b"x", b"data: x\n", b": ping\n", b"data: "])
def test_an_endless_line_or_frame_is_refused_and_not_kept(endless: bytes) -> None:
    parser = SSEParser(max_event_bytes=10_000)
    with pytest.raises(BadReply):
        deque(map(parser.feed, repeat(endless, 20_000)), maxlen=0)
    assert len(parser.tail) <= 10_000 + len(endless)


class CountingPattern:
    """The line-end pattern, counting the bytes that searches were given."""

    def __init__(self, pattern: object) -> None:
        self.pattern = pattern
        self.searched = 0

    def search(self, data: bytearray, start: int) -> object:
        found = self.pattern.search(data, start)  # type: ignore[attr-defined]
        self.searched += (found.end() if found else len(data)) - start
        return found


@pytest.mark.parametrize("line", [b"x" * 64, b"data: x\r"])
def test_no_byte_is_searched_more_than_a_few_times(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = CountingPattern(re.compile(rb"\r\n|\r|\n"))
    monkeypatch.setattr("genai_spine.wire.sse._LINE_END", pattern)
    data = b"data: " + line * (65_536 // len(line)) + b"\n\n"
    assert len(read([data[i : i + 1] for i in range(len(data))])) == 1
    assert pattern.searched <= 3 * len(data)


def test_an_encoded_event_reads_back() -> None:
    assert encode_event(b"{}") == b"data: {}\n\n"
    assert encode_event(b"{}", b"ping") == b"event: ping\ndata: {}\n\n"
    assert one(encode_event(b"a\nb\r\nc", b"x")) == SSEEvent(b"a\nb\nc", b"x")
    assert one(encode_event(b"a\rb")) == SSEEvent(b"a\nb")


def test_an_encoded_comment_is_no_event_whatever_it_says() -> None:
    assert encode_comment("ping") == b": ping\n\n"
    assert read([encode_comment("a\n\ndata: b\rdata: c")]) == []


def recorded() -> list[Path]:
    return sorted(WIRE.glob("exchanges/*/*.json"))


@pytest.mark.skipif(not WIRE.is_dir(), reason=f"no recordings at {WIRE} (GENAI_WIRE)")
def test_recorded_streams_read_the_same_whole_and_cut_and_lose_no_byte() -> None:
    chance = random.Random(7)
    streams = 0
    for path in recorded():
        response = json.loads(path.read_bytes()).get("response") or {}
        headers = {str(name).lower(): str(value) for name, value in (response.get("headers") or {}).items()}
        if response.get("status") != 200 or "text/event-stream" not in headers.get("content-type", ""):
            continue
        streams += 1
        data = response["body"].encode()
        parser = SSEParser()
        frames = parser.frames(data)
        assert b"".join(raw for raw, _ in frames) + parser.tail == data, path
        events = [event for _, event in frames if event] + parser.close()
        assert events, path
        assert read(cut(data, [chance.randrange(len(data)) for _ in range(30)])) == events, path
        if len(data) < 6_000:
            assert read([data[i : i + 1] for i in range(len(data))]) == events, path
    assert streams > 500
