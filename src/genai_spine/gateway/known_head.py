"""The head of a request that is the last one's on its connection, byte for byte but for the length of the body.

A client that keeps its connection sends the same head again and again: some 700 bytes and 18 fields of OpenAI's SDK.
What was parsed once is known then, and only the number in Content-Length is read. Whatever differs in any other byte
goes through the parser as before; so does all that is not ordinary: other methods, chunked bodies, HTTP/1.0, `Expect`,
`Upgrade`, a connection that is to be closed. Must not know: sockets, tasks.
"""

from __future__ import annotations

import re
from typing import Any

from genai_spine.gateway.exchange import Scope

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]{1,12})\r\n", re.IGNORECASE)
_MOST_DIGITS = 12
_UNUSUAL = frozenset((b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"))


class KnownHead:
    """A head as it was sent, cut in two where the length stands, and what the parser made of it."""

    __slots__ = ("_after", "_before", "_fields", "_meant", "_place", "admitted")

    def __init__(self, before: bytes, after: bytes, scope: Scope, place: int) -> None:
        self._before = before
        self._after = after
        self._meant: dict[str, Any] = {key: scope[key] for key in scope if key not in ("headers", "extensions")}
        self._fields: list[tuple[bytes, bytes]] = scope["headers"].copy()
        self._place = place
        self.admitted: Any = None
        """What the application found of such a request before it read the body: whom it is from, and where it goes."""

    @classmethod
    def of(cls, data: bytes, scope: Scope) -> KnownHead | None:
        """Of the bytes that a request began with, and its scope; None where it was not an ordinary one."""
        end = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, end)
        names = [name for name, _ in scope["headers"]]
        if length is None or scope["method"] != "POST" or scope["http_version"] != "1.1":
            return None
        if names.count(b"content-length") != 1 or not _UNUSUAL.isdisjoint(names):
            return None
        if any(name == b"connection" and value.lower() != b"keep-alive" for name, value in scope["headers"]):
            return None
        return cls(data[: length.start(1)], data[length.end(1) : end], scope, names.index(b"content-length"))

    def read(self, data: bytes) -> tuple[Scope, bytes, int] | None:
        """Of bytes that begin with this head: the scope, what came of the body, and how many bytes of it are left to
        come. None where they begin otherwise, or hold more than this request."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        begin = len(before)
        end = data.find(b"\r", begin, begin + _MOST_DIGITS + 1)
        length = data[begin:end]
        if end < 0 or not length.isdigit() or not data.startswith(after, end):
            return None
        body = data[end + len(after) :]
        left = int(length) - len(body)
        if left < 0:
            return None
        fields = self._fields.copy()
        fields[self._place] = (b"content-length", length)
        return {**self._meant, "headers": fields}, body, left
