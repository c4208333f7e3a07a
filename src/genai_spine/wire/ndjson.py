"""Newline-delimited JSON, as Ollama streams it: bytes to lines.

The counterpart of `sse`: `frames` gives every byte as it was sent beside the line that it carries,
`feed` the lines alone. A line end inside a JSON string is always escaped, so LF alone cuts.

Knows nothing of what a line means. Source: https://github.com/ndjson/ndjson-spec (read 2026-11).
"""

from __future__ import annotations

from genai_spine.model.errors import BadReply

MAX_LINE_BYTES = 16 * 1024 * 1024

_SPACE = b" \t\r\n"


class NDJSONParser:
    """Cuts a byte stream into lines. CR before LF is tolerated, blank lines carry nothing.

    After `BadReply` (a line longer than `max_line_bytes`) the parser is spent.
    """

    __slots__ = ("_max", "tail")

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.tail = bytearray()
        """The bytes of a line that has not ended."""
        self._max = max_line_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete.

        Raises: BadReply, where a line is longer than the cap.
        """
        return [line for _, line in self.frames(data) if line is not None]

    def frames(self, data: bytes) -> list[tuple[bytes, bytes | None]]:
        """The same with each line as it was sent, its end included; None beside a blank one.

        Raises: BadReply, where a line is longer than the cap.
        """
        frames: list[tuple[bytes, bytes | None]] = []
        start = 0
        end = data.find(b"\n") + 1
        if end and self.tail:
            self.tail += data[:end]
            frames.append(self._frame(bytes(self.tail)))
            self.tail.clear()
            start = end
            end = data.find(b"\n", start) + 1
        while end:
            frames.append(self._frame(data[start:end]))
            start = end
            end = data.find(b"\n", start) + 1
        if start < len(data):
            self.tail += data[start:]
            if len(self.tail) > self._max:
                raise self._too_long()
        return frames

    def close(self) -> list[bytes]:
        """The last line, where it came without its line end. `tail` keeps the bytes."""
        line = bytes(self.tail).strip(_SPACE)
        return [line] if line else []

    def _frame(self, raw: bytes) -> tuple[bytes, bytes | None]:
        if len(raw) > self._max:
            raise self._too_long()
        return raw, raw.strip(_SPACE) or None

    def _too_long(self) -> BadReply:
        return BadReply(f"the provider sent a line longer than {self._max} bytes")
