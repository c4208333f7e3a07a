"""AWS's event streams, `application/vnd.amazon.eventstream`: bytes to messages, and back.

    4 length of all | 4 length of the headers | 4 CRC-32 of these 8 | headers | payload | 4 CRC-32 of all before
    a header: 1 length of its name | name | 1 type | value; numbers are big-endian

The counterpart of `sse` for a format in which nothing is text: a message is whole, and both of its checksums
right, or it is refused. The prelude is judged as soon as its 12 bytes are here, so that a wrong length is an
error and not a long wait.

Knows nothing of what headers and payloads mean. Sources (read 2026-11):
https://smithy.io/2.0/aws/amazon-eventstream.html and docs.aws.amazon.com/lexv2, "Event stream encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias
from uuid import UUID
from zlib import crc32

from msgspec import Struct

from genai_spine.model.errors import BadReply, StreamBroken

CONTENT_TYPE = "application/vnd.amazon.eventstream"
MAX_HEADERS_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 24 * 1024 * 1024
"""The specification's own bounds."""

_PRELUDE = struct.Struct("!III")
_LENGTHS = struct.Struct("!II")
_CRC = struct.Struct("!I")
_OVERHEAD = _PRELUDE.size + _CRC.size
_USUAL_HEADERS_BYTES = 256


class Timestamp(int):
    """Milliseconds since 1970, UTC."""

    __slots__ = ()


HeaderValue: TypeAlias = bool | int | bytes | str | Timestamp | UUID


class EventMessage(Struct, frozen=True):
    """One message. Bedrock's headers are `:message-type` (event, exception, error), `:event-type`, …"""

    headers: Mapping[str, HeaderValue]
    payload: bytes = b""

    def text(self, name: str) -> str | None:
        """A header that is a string; None for any other and for one that is absent."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else None


class EventStreamParser:
    """Cuts a byte stream into messages. After `BadReply` the parser is spent."""

    __slots__ = ("_length", "tail")

    def __init__(self) -> None:
        self.tail = bytearray()
        """The bytes of a message that has not ended."""
        self._length = 0  # of the message that the tail begins with, once its prelude was read

    def feed(self, data: bytes) -> list[EventMessage]:
        """The messages that these bytes complete.

        Raises: BadReply for a wrong checksum, lengths beyond all bounds, or headers that cannot be read.
        """
        if self.tail:
            self.tail += data
            if len(self.tail) < (self._length or _PRELUDE.size):
                return []
            data = bytes(self.tail)
            self.tail.clear()
        messages: list[EventMessage] = []
        start, size = 0, len(data)
        while size - start >= _PRELUDE.size:
            total, length_of_headers, checksum = _PRELUDE.unpack_from(data, start)
            crc = crc32(data[start : start + _LENGTHS.size])
            if crc != checksum:
                raise BadReply("an event stream whose prelude has a wrong checksum")
            _check_lengths(total, length_of_headers)
            end = start + total
            if end > size:
                self._length = total
                break
            payload_ends = end - _CRC.size
            # The checksum goes on from that of the prelude, which was made of the first bytes.
            if crc32(data[start + _LENGTHS.size : payload_ends], crc) != _CRC.unpack_from(data, payload_ends)[0]:
                raise BadReply("an event stream with a message of a wrong checksum")
            payload_begins = start + _PRELUDE.size + length_of_headers
            block = data[start + _PRELUDE.size : payload_begins]
            headers = _usual_headers(block) if length_of_headers <= _USUAL_HEADERS_BYTES else _headers(block)
            messages.append(EventMessage(headers, data[payload_begins:payload_ends]))
            start = end
            self._length = 0
        if start < size:
            self.tail += data[start:] if start else data
        return messages

    def close(self) -> list[EventMessage]:
        """Nothing, as every message tells its length. Raises: StreamBroken where one was cut off."""
        if self.tail:
            raise StreamBroken("the stream ended within a message")
        return []


def _check_lengths(total: int, headers: int) -> None:
    if headers > MAX_HEADERS_BYTES or total - headers - _OVERHEAD > MAX_PAYLOAD_BYTES:
        raise BadReply(f"the provider sent a message of {total} bytes, more than the format allows")
    if total < headers + _OVERHEAD:
        raise BadReply("an event stream with a message shorter than its headers")


# ---------------------------------------------------------------- headers


def _headers(block: bytes) -> Mapping[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(block):
        try:
            name, value, at = _header(block, at)
        except (struct.error, IndexError, UnicodeDecodeError, KeyError, ValueError):
            raise BadReply("an event stream with a header that cannot be read") from None
        if name in headers:
            raise BadReply(f"an event stream with two headers {name[:40]!r}")
        headers[name] = value
    return MappingProxyType(headers)


# Thousands of messages of a stream have the same few headers, byte for byte.
_usual_headers = lru_cache(maxsize=256)(_headers)


def _header(data: bytes, at: int) -> tuple[str, HeaderValue, int]:
    """One header and where the next begins. Raises what a table, a slice or a codec raises for wrong bytes."""
    name, at = _take(data, at + 1, data[at])
    kind, at = data[at], at + 1
    if (size := _SIZES[kind]) is None:
        size, at = int.from_bytes(_take(data, at, 2)[0]), at + 2
    value, at = _take(data, at, size)
    return name.decode(), _READERS[kind](value), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise IndexError
    return data[at : at + size], at + size


def _number(value: bytes) -> int:
    return int.from_bytes(value, signed=True)


_TRUE, _FALSE, _BYTE, _SHORT, _INTEGER, _LONG, _BYTES, _STRING, _TIMESTAMP, _UUID = range(10)
_SIZES: dict[int, int | None] = {
    _TRUE: 0,
    _FALSE: 0,
    _BYTE: 1,
    _SHORT: 2,
    _INTEGER: 4,
    _LONG: 8,
    _BYTES: None,
    _STRING: None,
    _TIMESTAMP: 8,
    _UUID: 16,
}
"""Type to the length of its value; None where two bytes before it tell."""

_READERS: dict[int, Callable[[bytes], HeaderValue]] = {
    _TRUE: lambda _: True,
    _FALSE: lambda _: False,
    _BYTE: _number,
    _SHORT: _number,
    _INTEGER: _number,
    _LONG: _number,
    _BYTES: bytes,
    _STRING: bytes.decode,
    _TIMESTAMP: lambda value: Timestamp(_number(value)),
    _UUID: lambda value: UUID(bytes=value),
}


def encode_message(headers: Mapping[str, HeaderValue], payload: bytes = b"") -> bytes:
    """One message; a number goes out as a long. The reverse of the parser, for those who play the service.

    Raises: ValueError for what the format cannot hold.
    """
    written = b"".join(_encode_header(name, value) for name, value in headers.items())
    if len(written) > MAX_HEADERS_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("more than the format allows")
    lengths = _LENGTHS.pack(len(written) + len(payload) + _OVERHEAD, len(written))
    message = lengths + _CRC.pack(crc32(lengths)) + written + payload
    return message + _CRC.pack(crc32(message))


def _encode_header(name: str, value: HeaderValue) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) < 256:
        raise ValueError("the name of a header has 1 to 255 bytes")
    return bytes([len(encoded)]) + encoded + _encode_value(value)


def _encode_value(value: HeaderValue) -> bytes:
    match value:
        case bool():
            return bytes([_TRUE if value else _FALSE])
        case Timestamp():
            return bytes([_TIMESTAMP]) + _long(value)
        case int():
            return bytes([_LONG]) + _long(value)
        case UUID():
            return bytes([_UUID]) + value.bytes
        case str():
            return bytes([_STRING]) + _sized(value.encode())
        case _:
            return bytes([_BYTES]) + _sized(value)


def _long(value: int) -> bytes:
    if not -(2**63) <= value < 2**63:
        raise ValueError("a number has 64 bits")
    return value.to_bytes(8, signed=True)


def _sized(value: bytes) -> bytes:
    if len(value) >= 2**15:
        raise ValueError("the value of a header has at most 32767 bytes")
    return len(value).to_bytes(2) + value
