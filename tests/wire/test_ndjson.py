"""Newline-delimited JSON: lines from bytes cut anywhere."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import BadReply
from genai_spine.wire.ndjson import NDJSONParser

streams = st.lists(st.sampled_from([b"{}", b'{"a":1}', b"\n", b"\r\n", b" ", b"\r", "é\u2028".encode()])).map(b"".join)


def read(chunks: list[bytes]) -> list[bytes]:
    parser = NDJSONParser()
    return [line for chunk in chunks for line in parser.feed(chunk)] + parser.close()


@given(streams, st.integers(1, 5))
def test_bytes_cut_at_any_place_give_the_same_lines(data: bytes, size: int) -> None:
    whole = [line for piece in data.split(b"\n") if (line := piece.strip(b" \t\r"))]
    assert read([data]) == whole
    assert read([data[i : i + size] for i in range(0, len(data), size)]) == whole


@given(streams, st.integers(1, 5))
def test_frames_and_tail_joined_are_the_bytes_that_were_fed(data: bytes, size: int) -> None:
    parser = NDJSONParser()
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert b"".join(raw for chunk in chunks for raw, _ in parser.frames(chunk)) + parser.tail == data


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing(data: bytes) -> None:
    read([data])


def test_carriage_returns_and_blank_lines_carry_nothing() -> None:
    assert read([b'{"a":1}\r\n\r\n\n{"b":2}\n']) == [b'{"a":1}', b'{"b":2}']


def test_separators_of_other_alphabets_do_not_end_a_line() -> None:
    line = '{"a":"x\u2028y\u0085z"}'.encode()
    assert read([line + b"\n"]) == [line]


def test_the_last_line_may_lack_its_end() -> None:
    parser = NDJSONParser()
    assert parser.feed(b'{"a":1}\n{"b":2}') == [b'{"a":1}']
    assert parser.tail
    assert parser.close() == [b'{"b":2}']


def test_a_line_of_five_megabytes_passes() -> None:
    line = b"x" * 5_000_000
    assert read([(line + b"\n")[i : i + 65_536] for i in range(0, len(line) + 1, 65_536)]) == [line]


@pytest.mark.parametrize("chunk", [b"x", b"x" * 101, b"x" * 200 + b"\n"])
def test_an_endless_line_is_refused(chunk: bytes) -> None:
    parser = NDJSONParser(max_line_bytes=100)
    with pytest.raises(BadReply, match="longer than 100 bytes"):
        deque(map(parser.feed, [chunk] * 101), maxlen=0)
