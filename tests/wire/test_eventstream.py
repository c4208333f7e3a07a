"""AWS's event streams, with botocore's reader as the judge."""

from __future__ import annotations

import base64
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.wire.eventstream import (
    MAX_PAYLOAD_BYTES,
    EventMessage,
    EventStreamParser,
    Timestamp,
    encode_message,
)

WIRE = Path(os.environ.get("GENAI_WIRE") or Path(__file__).parents[3] / "shared" / "wire")

numbers = st.integers(-(2**63), 2**63 - 1)
values = st.one_of(
    st.booleans(),
    numbers,
    numbers.map(Timestamp),
    st.binary(max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.uuids(),
)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
messages = st.builds(EventMessage, st.dictionaries(names, values, max_size=6), st.binary(max_size=400))


def written(message: EventMessage) -> bytes:
    return encode_message(message.headers, message.payload)


def botocores(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def as_botocore_says(message: EventMessage) -> tuple[dict[str, Any], bytes]:
    plain = {name: value.bytes if isinstance(value, UUID) else value for name, value in message.headers.items()}
    return plain, message.payload


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 3000), max_size=5))
def test_messages_are_read_as_they_were_written_however_they_are_cut(sent: list[EventMessage], cuts: list[int]) -> None:
    data = b"".join(map(written, sent))
    parser = EventStreamParser()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    read = [message for start, end in pairwise(places) for message in parser.feed(data[start:end])]
    assert read == sent
    assert [type(value) for message in read for value in message.headers.values()] == [
        type(value) for message in sent for value in message.headers.values()
    ]
    assert not parser.tail
    assert parser.close() == []


@given(st.lists(messages, max_size=3))
def test_botocore_reads_what_we_write(sent: list[EventMessage]) -> None:
    assert botocores(b"".join(map(written, sent))) == [as_botocore_says(message) for message in sent]


@given(messages, st.data())
def test_one_wrong_bit_is_refused_or_waited_on(message: EventMessage, data: st.DataObject) -> None:
    bits = bytearray(written(message))
    place = data.draw(st.integers(0, len(bits) * 8 - 1))
    bits[place // 8] ^= 1 << place % 8
    with pytest.raises(BadReply):
        EventStreamParser().feed(bytes(bits))
    with pytest.raises(ParserError):
        botocores(bytes(bits))


@given(st.binary(max_size=300))
def test_garbage_raises_only_bad_reply(data: bytes) -> None:
    parser = EventStreamParser()
    try:
        parser.feed(data)
        parser.close()
    except BadReply:
        pass


def crafted(headers: bytes, payload: bytes = b"") -> bytes:
    """A message whose checksums are right, whatever its headers are."""
    whole = encode_message({}, headers + payload)
    lengths = whole[:4] + len(headers).to_bytes(4)
    message = lengths + crc32(lengths).to_bytes(4) + whole[12:-4]
    return message + crc32(message).to_bytes(4)


@given(st.binary(min_size=1, max_size=60))
def test_headers_of_any_bytes_are_read_or_refused_as_botocore_does(headers: bytes) -> None:
    try:
        (read,) = EventStreamParser().feed(crafted(headers))
    except BadReply:
        return  # botocore also takes values that are cut short
    assert botocores(crafted(headers)) == [as_botocore_says(read)]


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (0, b"", True),
        (1, b"", False),
        (2, b"\xff", -1),
        (3, b"\x80\x00", -(2**15)),
        (4, b"\x7f\xff\xff\xff", 2**31 - 1),
        (5, b"\xff" * 8, -1),
        (6, b"\x00\x02ab", b"ab"),
        (7, b"\x00\x02\xc3\xa9", "é"),
        (8, bytes(8), Timestamp(0)),
        (9, bytes(range(16)), UUID(bytes=bytes(range(16)))),
    ],
)
def test_every_type_of_value_is_read(kind: int, value: bytes, read: Any) -> None:
    (message,) = EventStreamParser().feed(crafted(b"\x01n" + bytes([kind]) + value))
    assert (message.headers["n"], type(message.headers["n"])) == (read, type(read))
    if value:
        with pytest.raises(BadReply, match="header"):
            EventStreamParser().feed(crafted(b"\x01n" + bytes([kind]) + value[:-1]))


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (b"\x01n\x0a", "cannot be read"),
        (b"\x05n", "cannot be read"),
        (b"\x01n", "cannot be read"),
        (b"\x01n\x07\x00", "cannot be read"),
        (b"\x01\xff\x00", "cannot be read"),
        (b"\x01n\x00\x01n\x01", "two headers"),
    ],
)
def test_a_wrong_header_is_refused(headers: bytes, why: str) -> None:
    with pytest.raises(BadReply, match=why):
        EventStreamParser().feed(crafted(headers))


def prelude(total: int, headers: int) -> bytes:
    lengths = total.to_bytes(4) + headers.to_bytes(4)
    return lengths + crc32(lengths).to_bytes(4)


@pytest.mark.parametrize(
    ("total", "headers", "why"),
    [
        (MAX_PAYLOAD_BYTES + 17, 0, "more than the format allows"),
        (2**32 - 1, 0, "more than the format allows"),
        (200_000, 150_000, "more than the format allows"),
        (15, 0, "shorter than its headers"),
        (20, 8, "shorter than its headers"),
    ],
)
def test_a_wrong_length_is_refused_before_its_bytes_are_awaited(total: int, headers: int, why: str) -> None:
    with pytest.raises(BadReply, match=why):
        EventStreamParser().feed(prelude(total, headers))


def test_messages_with_the_same_headers_share_them_and_nobody_can_change_them() -> None:
    usual, long = encode_message({":event-type": "a"}, b"1"), encode_message({"n": "x" * 300}, b"2")
    messages = EventStreamParser().feed(usual + long + usual)
    assert [message.payload for message in messages] == [b"1", b"2", b"1"]
    assert messages[0].headers is messages[2].headers
    for message in messages:
        with pytest.raises(TypeError):
            message.headers["n"] = "y"  # type: ignore[index]  # a Mapping


def test_the_largest_message_is_waited_for() -> None:
    parser = EventStreamParser()
    assert parser.feed(prelude(MAX_PAYLOAD_BYTES + 16, 0)) == []
    assert parser.tail
    with pytest.raises(StreamBroken):
        parser.close()


def test_what_the_format_cannot_hold_is_not_written() -> None:
    for headers in ({"": "x"}, {"n" * 256: "x"}, {"n": 2**63}, {"n": "x" * 2**15}):
        with pytest.raises(ValueError, match="has"):
            encode_message(headers)
    with pytest.raises(ValueError, match="more than the format allows"):
        encode_message({}, bytes(MAX_PAYLOAD_BYTES + 1))


def recorded_bodies() -> list[Any]:
    found = []
    for path in sorted((WIRE / "exchanges" / "bedrock").glob("*stream*.json")):
        exchange = json.loads(path.read_text())
        if body := exchange["response"].get("body_base64"):
            found.append(pytest.param(base64.b64decode(body), id=path.stem[:60]))
    reason = f"no recordings in {WIRE}: set GENAI_WIRE to the folder of the recorded exchanges"
    return found or [pytest.param(b"", marks=pytest.mark.skip(reason=reason))]


@pytest.mark.parametrize("body", recorded_bodies())
def test_every_recorded_body_is_read_as_botocore_reads_it(body: bytes) -> None:
    parser = EventStreamParser()
    read = [message for start in range(0, len(body), 97) for message in parser.feed(body[start : start + 97])]
    assert parser.close() == []
    assert [as_botocore_says(message) for message in read] == botocores(body)
    assert b"".join(map(written, read)) == body
