"""Server-sent events: bytes to frames to events, and back.

A *frame* is everything up to and including a blank line, byte for byte as it was sent; an *event*
is what the frame says. `frames` gives both, so that a relay can forward the one while reading the
other in a single pass; the frames and the tail, joined, are the bytes that were fed.

    b': ping\\n\\nevent: delta\\ndata: {"a":1}\\n\\n'
        -> [(b': ping\\n\\n', None), (b'event: delta\\n...', SSEEvent(data=b'{"a":1}', event=b'delta'))]

Field values stay bytes: JSON decoders take bytes, and decoding to text first is where readers go
wrong (`str.splitlines` breaks lines at U+2028 and U+0085, which stand unescaped in JSON strings).
There is no reconnecting here, so `id` and `retry` are reported and never acted on.

Knows nothing of what the data means. Source: WHATWG HTML, 9.2.5 and 9.2.6
(https://html.spec.whatwg.org/multipage/server-sent-events.html, read 2026-11).
"""

from __future__ import annotations

import re

from msgspec import Struct

from genai_spine.model.errors import BadReply

MAX_EVENT_BYTES = 16 * 1024 * 1024

_LF, _CR = b"\n\r"  # as numbers: `13 in data` costs a sixth of `b"\r" in data`
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class SSEEvent(Struct, frozen=True, gc=False):
    """One dispatched event. `data` is its data lines joined by newlines; `event` is None where unnamed."""

    data: bytes
    event: bytes | None = None
    id: bytes | None = None
    retry_ms: int | None = None


class SSEParser:
    """Cuts a byte stream at its blank lines and reads the events.

    After `BadReply` (a frame longer than `max_event_bytes`, which is also how an endless line
    ends) the parser is spent.
    """

    __slots__ = ("_fresh", "_line", "_max", "_scan", "tail")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.tail = bytearray()
        """The bytes of a frame that has not ended."""
        self._line = 0  # where in the tail its last line begins
        self._scan = 0  # where in the tail to search on: no byte is searched twice
        self._fresh = True  # no frame was read yet: a byte order mark may begin it
        self._max = max_event_bytes

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The events that these bytes complete.

        Raises: BadReply, where a frame is longer than the cap.
        """
        return [event for _, event in self.frames(data) if event is not None]

    def frames(self, data: bytes) -> list[tuple[bytes, SSEEvent | None]]:
        """The frames that these bytes complete, each with its event, or None if it dispatches none.

        Raises: BadReply, where a frame is longer than the cap.
        """
        frames: list[tuple[bytes, SSEEvent | None]] = []
        start = 0
        if self.tail or self._fresh or _CR in data:  # what is left of a frame first, then the whole ones
            start = data.find(b"\n\n") + 2
            if start < 2 or _CR in data:
                return self._frames_cut_anywhere(data)
            frames = self._frames_cut_anywhere(data[:start])

        # Nearly all traffic: whole frames, LF, one data line with or without the event's name before it.
        # One search per line, no copies but the slices; anything else goes through _decode.
        size = len(data)
        line = start
        second = -1  # where the frame's second line begins
        while (end := data.find(b"\n", line)) >= 0:
            after = end + 1
            if end == line:  # a blank line
                frame = data[start:after]
                frames.append((frame, _decode(frame)))
            elif after == size or data[after] != _LF or not data.startswith(b"data: ", line):
                if line == start:
                    second = after
                line = after
                continue
            elif line == start:
                after += 1
                frames.append((data[start:after], SSEEvent(data[start + 6 : end])))
            elif line == second and data.startswith(b"event: ", start):
                after += 1
                name = data[start + 7 : line - 1] or None
                frames.append((data[start:after], SSEEvent(data[line + 6 : end], name)))
            else:
                line = after
                continue
            if after - start > self._max:
                raise self._too_long()
            start = line = after
        if start < size:
            self._keep(data[start:], line - start, size - start)
        return frames

    def plain_frames(self, data: bytes, prefix: bytes) -> list[bytes] | None:
        """The frames that these bytes complete, without `prefix` and their blank lines, where all are of one
        plain kind, as nearly all traffic is: with b"data: " one line each, with b"event: " a line of data after that;
        ended by LF.

            b'data: 1\\n\\ndata: 2\\n\\n'           -> [b'1', b'2']
            b'event: a\\ndata: 1\\n\\n'            -> [b'a\\ndata: 1']

        None where they are not, and nothing was taken then: `frames` reads the same bytes.
        """
        end = data.rfind(b"\n\n")
        if end < 0:
            return None
        whole = data[:end]
        if self.tail:
            whole = bytes(self.tail) + whole
        if not whole.startswith(prefix) or len(whole) > self._max or _CR in whole:
            return None
        frames = whole[len(prefix) :].split(b"\n\n" + prefix)
        if prefix == b"data: ":
            has_more_lines = b"\n" in b"".join(frames)
        else:
            has_more_lines = whole.count(b"\n") != 3 * len(frames) - 2
            has_more_lines = has_more_lines or whole.count(b"\ndata: ") != len(frames)
        if has_more_lines:
            return None
        self._fresh = False
        self.tail.clear()
        self._keep(data[end + 2 :], 0, 0)
        return frames

    def close(self) -> list[SSEEvent]:
        """The event that the end of the stream left without its blank line, if there is one.

        The standard discards it, but many servers end so. What was cut inside its data is broken JSON,
        so a truncated event does not pass for a whole one. `tail` keeps the bytes.
        """
        event = self._decode(bytes(self.tail))
        return [] if event is None else [event]

    def _frames_cut_anywhere(self, data: bytes) -> list[tuple[bytes, SSEEvent | None]]:
        """The same for every kind of line end, and for bytes cut at any place."""
        frames: list[tuple[bytes, SSEEvent | None]] = []
        tail = self.tail
        tail += data
        start, line, scan = 0, self._line, self._scan
        while found := _LINE_END.search(tail, scan):
            end, after = found.span()
            if end == line:  # a blank line; should its CR have an LF to come, that is a blank line of its own
                frame = bytes(tail[start:after])
                if len(frame) > self._max:
                    raise self._too_long()
                frames.append((frame, self._decode(frame)))
                start = line = scan = after
            elif after == len(tail) and tail[end] == _CR:
                scan = end  # half of a CRLF, perhaps
                break
            else:
                line = scan = after
        else:
            scan = len(tail)
        del tail[:start]
        self._keep(b"", line - start, scan - start)
        return frames

    def _keep(self, data: bytes, line: int, scan: int) -> None:
        self.tail += data
        self._line = line
        self._scan = scan
        if len(self.tail) > self._max:
            raise self._too_long()

    def _decode(self, frame: bytes) -> SSEEvent | None:
        if self._fresh:
            self._fresh = False
            frame = frame.removeprefix(_BOM)
        return _decode(frame)

    def _too_long(self) -> BadReply:
        return BadReply(f"the provider sent an event longer than {self._max} bytes")


def encode_event(data: bytes, event: bytes | None = None) -> bytes:
    """One event as a frame. `event` is its name, of one line.

    encode_event(b'{"type":"ping"}', b"ping") == b'event: ping\\ndata: {"type":"ping"}\\n\\n'
    """
    if _LF in data or _CR in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    if event is None:
        return b"data: " + data + b"\n\n"
    return b"event: " + event + b"\ndata: " + data + b"\n\n"


def encode_comment(text: str = "") -> bytes:
    """A frame that every reader ignores, to keep a connection alive."""
    return b": " + b"\n: ".join(_LINE_END.split(text.encode())) + b"\n\n"


def _decode(frame: bytes) -> SSEEvent | None:
    """9.2.6, line by line; None where the frame dispatches nothing."""
    lines: list[bytes] = []
    event: bytes | None = None
    event_id: bytes | None = None
    retry_ms: int | None = None
    for line in frame.splitlines():  # of bytes: CRLF, CR and LF, nothing else
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            event = value or None
        elif field == b"id" and b"\0" not in value:
            event_id = value
        elif field == b"retry" and value.isdigit() and len(value) < 19:
            retry_ms = int(value)
    return SSEEvent(b"\n".join(lines), event, event_id, retry_ms) if lines else None
