"""A stream as Google sends it to those who do not say `alt=sse`: one JSON array, element by element.

    data: {"a":1}\\n\\ndata: {"b":2}\\n\\n   ->   [{"a":1}\\n,\\n{"b":2}\\n]

An error in mid-stream is the last element, one before it the only one. Sources (read 2026-11):
cloud.google.com/apis/docs/system-parameters (`alt`, `$alt`); flachesis/gemini-rust#29 and symfony/ai#1988 for the form.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from genai_spine.wire.sse import SSEParser


def wants_array(query: str) -> bool:
    """Whether a caller of streamGenerateContent with this query gets an array."""
    given = parse_qs(query)
    return "sse" not in (*given.get("alt", ()), *given.get("$alt", ()))


class JsonArray:
    """The events of one stream, cut anywhere, as the elements of an array."""

    __slots__ = ("_before", "_events")

    CONTENT_TYPE: bytes = b"application/json; charset=UTF-8"

    def __init__(self) -> None:
        self._events = SSEParser()
        self._before = b"["

    def add(self, data: bytes) -> bytes:
        """The elements that these bytes complete."""
        elements = b""
        for event in self._events.feed(data):
            elements += self._before + event.data
            self._before = b"\n,\n"
        return elements

    def end(self) -> bytes:
        return b"[]" if self._before == b"[" else b"\n]"

    def only(self, element: bytes) -> bytes:
        return b"[%b\n]" % element
