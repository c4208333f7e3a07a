"""Faults that are in the bytes of a body: a good answer goes in, a bad one comes out.

Pure functions over the pieces of an answer. What a socket is needed for is in delivery.py.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from genai_spine.testing.simulator.answers import Answer
from genai_spine.testing.simulator.faults import Fault

_FINISH = re.compile(rb'"(?:finish_reason|stop_reason)": ?"|"done": ?true')
_COUNTER = re.compile(r"(_tokens|_count)$")
_LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
_BROKEN_COUNTS: dict[str, Callable[[int], Any]] = {
    "null": lambda count: None,
    "strings": lambda count: f"{count} tokens",
    "negative": lambda count: -count - 1,
    "absurd": lambda count: 10**18 + count,
}
_BLOCK = 1 << 20
DEFAULT_BOMB_BYTES = 256 * _BLOCK


def damaged(answer: Answer, fault: Fault, error_event: bytes | None) -> Answer:
    """The answer with the fault in its body; `error_event` is an error as one event of its stream."""
    pieces: Sequence[bytes] = answer.pieces
    for harm in (_usage_harmed, _tool_calls_harmed, _finish_harmed, _malformed):
        pieces = harm(pieces, fault)
    if answer.streamed:
        pieces = _ending_harmed(pieces, fault)
        if fault.error_at is not None and error_event is not None:
            pieces = [*pieces[: fault.error_at], error_event]
        pieces = _framed(pieces, fault, answer.is_ndjson)
    if fault.end is not None:
        pieces = halves(pieces, answer.streamed)[: fault.end]
    if fault.bom:
        pieces = [b"\xef\xbb\xbf", *pieces] if not pieces else [b"\xef\xbb\xbf" + pieces[0], *pieces[1:]]
    headers = answer.headers
    if fault.coding is not None:
        pieces = _packed(pieces, fault)
        headers = (
            *headers,
            (b"content-encoding", b"gzip" if fault.coding == "bomb" else fault.coding.encode()),
        )
    return msgspec.structs.replace(answer, pieces=pieces, headers=headers)


def halves(pieces: Sequence[bytes], streamed: bool) -> Sequence[bytes]:
    """The pieces that places are counted in: a plain answer has two."""
    if streamed or len(pieces) != 1:
        return pieces
    middle = len(pieces[0]) // 2
    return [pieces[0][:middle], pieces[0][middle:]]


def _usage_harmed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    if fault.usage is None:
        return pieces
    if fault.usage == "twice":
        last = max((index for index, piece in enumerate(pieces) if _counts(piece)), default=-1)
        return [copy for index, piece in enumerate(pieces) for copy in [piece] * (1 + (index == last))]
    if fault.usage == "missing":
        return [with_json(piece, _without_usage) if _counts(piece) else piece for piece in pieces]
    broken = _BROKEN_COUNTS[fault.usage]

    def harm(value: Any) -> Any:
        if isinstance(value, list):
            return [harm(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: broken(inner) if type(inner) is int and _COUNTER.search(key) else harm(inner)
            for key, inner in value.items()
        }

    return [with_json(piece, harm) if _counts(piece) else piece for piece in pieces]


def _without_usage(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if key != "usage" and not _COUNTER.search(key)}
    return {key: _without_usage(inner) for key, inner in kept.items()}


def _counts(piece: bytes) -> bool:
    return b'_tokens"' in piece or b'_count"' in piece


def _tool_calls_harmed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    if fault.tool_calls is None:
        return pieces
    missing = fault.tool_calls.removeprefix("no-")

    def harm(value: Any) -> Any:
        for choice in value.get("choices") or () if isinstance(value, dict) else ():
            for call in (choice.get("delta") or choice.get("message") or {}).get("tool_calls") or ():
                call.pop(missing, None)
                if isinstance(function := call.get("function"), dict):
                    function.pop(missing, None)
        return value

    return [with_json(piece, harm) if b'"tool_calls"' in piece else piece for piece in pieces]


def _finish_harmed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    if fault.finish is None:
        return pieces
    count = 2 if fault.finish == "twice" else 0
    return [copy for piece in pieces for copy in [piece] * (count if _FINISH.search(piece) else 1)]


def _malformed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    if fault.malformed is None or not pieces:
        return pieces
    at = min(fault.malformed, len(pieces) - 1)
    line = _json_line(pieces[at])
    start, end = line if line else (0, len(pieces[at]))
    cut = pieces[at][: start + max((end - start) // 2, 1)] + pieces[at][end:]
    return [*pieces[:at], cut, *pieces[at + 1 :]]


def _ending_harmed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    match fault.ending:
        case "missing":
            return pieces[:-1]
        case "twice":
            return [*pieces, *pieces[-1:]]
        case "data-after":
            return [*pieces, *pieces[len(pieces) // 2 : len(pieces) // 2 + 1]]
        case _:
            return pieces


def _framed(pieces: Sequence[bytes], fault: Fault, ndjson: bool) -> Sequence[bytes]:
    if fault.pings:
        ping = b"\n" if ndjson else b": keep-alive\n\n"
        pieces = [ping + piece for piece in pieces]
    if fault.newline is not None:
        pieces = [piece.replace(b"\n", _LINE_ENDS[fault.newline]) for piece in pieces]
    return pieces


def _json_line(piece: bytes) -> tuple[int, int] | None:
    """Where the JSON of a frame, a line or a body is."""
    if piece.startswith((b"{", b"[")):
        return 0, len(piece.rstrip(b"\n"))
    if found := re.search(rb"^data: (.*)$", piece, re.MULTILINE):
        return found.span(1)
    return None


def with_json(piece: bytes, change: Callable[[Any], Any]) -> bytes:
    """The piece with its JSON changed; a piece without JSON as it is."""
    if (line := _json_line(piece)) is None:
        return piece
    start, end = line
    try:
        value = msgspec.json.decode(piece[start:end])
    except msgspec.DecodeError:
        return piece
    return piece[:start] + msgspec.json.encode(change(value)) + piece[end:]


def _packed(pieces: Sequence[bytes], fault: Fault) -> Sequence[bytes]:
    if fault.coding == "bomb":
        return [bomb(fault.bomb_bytes or DEFAULT_BOMB_BYTES)]
    packer = zlib.compressobj(wbits=31 if fault.coding == "gzip" else 15)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed, packer.flush()]


@lru_cache(maxsize=4)
def bomb(size: int) -> bytes:
    """Gzip that unpacks to that many bytes, whole mebibytes of spaces, about a thousand times its length."""
    blocks = -(-size // _BLOCK)
    spaces = b" " * _BLOCK
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)  # may stand anywhere, any number of times
    checksum = 0
    for _ in range(blocks):
        checksum = zlib.crc32(spaces, checksum)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    tail = checksum.to_bytes(4, "little") + (blocks * _BLOCK % 2**32).to_bytes(4, "little")
    return head + packed * blocks + packer.flush() + tail
