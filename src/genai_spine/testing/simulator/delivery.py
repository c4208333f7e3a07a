"""An answer onto a socket, with what may go wrong there: silence, resets, wrong framing, slow drips.

`whole` is the fast way, for answers without a fault; `deliver` is the careful one, which counts pieces.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from genai_spine.testing.simulator.answers import Answer
from genai_spine.testing.simulator.damage import halves
from genai_spine.testing.simulator.faults import NO_FAULT, Fault

_RESET_DELAY_S = 0.03
"""A reset drops what the peer's kernel has not taken yet, so it waits until all before it has arrived."""
_ENDLESS_PIECE = b"x" * 65536
_ENDLESS_BYTES = 1 << 30


class Broken(Exception):
    """The fault has ended the connection."""


class Wire:
    """The writing side of one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._writable = asyncio.Event()
        self._writable.set()

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    async def send(self, data: bytes, fault: Fault = NO_FAULT) -> None:
        if fault.drip is None:
            self.transport.write(data)
            await self._writable.wait()
            return
        for start in range(0, len(data), fault.drip):
            self.transport.write(data[start : start + fault.drip])
            await self._writable.wait()
            await asyncio.sleep((fault.every_ms or 0) / 1000)

    async def reset(self) -> None:
        """RST, once what was sent has arrived. Raises: Broken."""
        self.transport.set_write_buffer_limits(high=0)  # writable again is now: everything is sent
        await self._writable.wait()
        await asyncio.sleep(_RESET_DELAY_S)
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        raise Broken

    async def close(self) -> None:
        """FIN after what was sent. Raises: Broken."""
        self.transport.close()
        raise Broken


def whole(answer: Answer, *, keep_alive: bool, old: bool, bodiless: bool) -> list[bytes]:
    """A faultless answer as writes; `old` is HTTP/1.0, which has no chunks, `bodiless` the answer to HEAD."""
    framing = ("until-close" if old else "chunked") if answer.streamed else "length"
    head = head_of(answer, framing, keep_alive=keep_alive)
    if answer.work is not None:
        answer.work.pieces = None
    if bodiless:
        return [head]
    if framing == "length":
        return [head + b"".join(answer.pieces)]
    if framing == "until-close":
        return [head, *answer.pieces]
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in answer.pieces), b"0\r\n\r\n"]


def head_of(answer: Answer, framing: str, *, keep_alive: bool, length_error: int = 0) -> bytes:
    fields = [b"HTTP/1.1 %d %b" % (answer.status, _phrase(answer.status)), b"date: " + date_header()]
    fields.extend(b"%b: %b" % field for field in answer.headers)
    fields.append(b"content-type: " + answer.content_type)
    if framing == "chunked":
        fields.append(b"transfer-encoding: chunked")
    elif framing == "length":
        length = max(sum(map(len, answer.pieces)) + length_error, 0)
        fields.append(b"content-length: %d" % length)
    if not keep_alive or framing == "until-close":
        fields.append(b"connection: close")
    return b"\r\n".join(fields) + b"\r\n\r\n"


async def deliver(wire: Wire, answer: Answer, fault: Fault, *, keep_alive: bool, old: bool, bodiless: bool) -> None:
    """Send the answer as the fault will have it. Raises: Broken where the fault ends the connection."""
    framing = _framing(answer, fault, old)
    head = head_of(answer, framing, keep_alive=keep_alive, length_error=fault.length or 0)
    await _at("head", wire, fault)
    if "mid-head" in (fault.stall, fault.reset, fault.close):
        await wire.send(head[: len(head) // 2], fault)
        await _at("mid-head", wire, fault)
        head = head[len(head) // 2 :]
    await wire.send(head, fault)
    if bodiless:
        return
    await _body(wire, answer, fault, framing)
    if framing == "chunked":
        await wire.send(b"0\r\n\r\n", fault)
    if fault.length is not None:  # too long: the peer waits for bytes that do not come; too short: it has too many
        await wire.close()


async def _body(wire: Wire, answer: Answer, fault: Fault, framing: str) -> None:
    pieces: Sequence[bytes] = halves(answer.pieces, answer.streamed) if _counted(fault) else answer.pieces
    last = len(pieces)
    for index, piece in enumerate(pieces):
        await _at(index, wire, fault, last)
        if fault.bad_chunk == index:
            await wire.send(b"zz\r\n" + piece + b"\r\n", fault)
            continue
        if fault.endless == index:
            await _endless(wire, answer, framing)
        if answer.work is not None:  # what is packed is packed whole
            answer.work.pieces = index + 1 if fault.coding is None else None
        if piece:
            await wire.send(_chunk(piece) if framing == "chunked" else piece, fault)
        if fault.rate is not None and index + 1 < last:
            await asyncio.sleep(1 / fault.rate)
    await _at(last, wire, fault, last)
    if fault.bad_chunk is not None and fault.bad_chunk >= last:
        await wire.send(b"zz\r\n\r\n", fault)
    if fault.endless is not None and fault.endless >= last:
        await _endless(wire, answer, framing)


async def _at(place: int | str, wire: Wire, fault: Fault, last: int | None = None) -> None:
    """What the fault has for this place: silence first, then the break."""

    def is_here(wanted: int | str | None) -> bool:
        if isinstance(wanted, int) and last is not None:
            wanted = min(wanted, last)
        return wanted == place

    if is_here(fault.stall):
        await asyncio.sleep(fault.for_s if fault.for_s is not None else 10**8)
    if is_here(fault.reset):
        await wire.reset()
    if is_here(fault.close):
        await wire.close()


async def _endless(wire: Wire, answer: Answer, framing: str) -> None:
    """A line without an end, until the peer has enough; a gibibyte at most. Raises: Broken."""
    start = b'{"message":{"content":"' if answer.is_ndjson else b"data: " if answer.streamed else b' "'
    for piece in (start, *[_ENDLESS_PIECE] * (_ENDLESS_BYTES // len(_ENDLESS_PIECE))):
        await wire.send(_chunk(piece) if framing == "chunked" else piece)
        await asyncio.sleep(0)
    await wire.close()


def _framing(answer: Answer, fault: Fault, old: bool) -> str:
    if fault.framing is not None:
        return fault.framing
    if fault.length is not None:
        return "length"
    if fault.bad_chunk is not None:
        return "chunked"
    if fault.endless is not None or answer.streamed:
        return "until-close" if old else "chunked"
    return "length"


def _counted(fault: Fault) -> bool:
    """Whether a plain answer must come in pieces for this fault."""
    places = (fault.stall, fault.reset, fault.close, fault.bad_chunk, fault.endless)
    return fault.rate is not None or any(isinstance(place, int) for place in places)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@lru_cache(maxsize=64)
def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Status"


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def date_header() -> bytes:
    return _date(int(time.time()))
