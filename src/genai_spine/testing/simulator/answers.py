"""What the simulator receives and what it answers, before any of it is bytes on a socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from genai_spine.model.errors import SpineError
from genai_spine.testing.simulator.bill import Work
from genai_spine.testing.simulator.faults import NO_FAULT, Fault

EncodeError = Callable[[SpineError, str], tuple[int, bytes]]


class Received(msgspec.Struct, kw_only=True, repr_omit_defaults=True):
    """One request as it came: what tests assert on. Names of `headers` are lower-case."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    request_id: str = ""
    connection: int = 0
    """Which connection it came on, counted from 1."""
    wish: str | None = None
    """The `x-simulate` header."""
    model: str | None = None
    """As it was asked for, without the fault."""
    fault: Fault = NO_FAULT
    status: int | None = None
    """What was answered; None while nothing was."""
    outcome: Literal["open", "answered", "broken", "gone"] = "open"
    """answered: to the last byte; broken: a fault ended it; gone: the client went away first."""

    def header(self, name: str) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), None)

    def json(self) -> Any:
        """The body as a value. Raises: msgspec.DecodeError."""
        return msgspec.json.decode(self.body)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`pieces` are the frames of a stream; of a plain answer the body, in one piece."""

    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: Sequence[bytes] = ()
    streamed: bool = False
    work: Work | None = None
    """What it takes to make; None for what is answered without a model."""

    @property
    def is_ndjson(self) -> bool:
        return self.content_type.startswith(b"application/x-ndjson")


def failure(error: SpineError, request_id: str, encode_error: EncodeError) -> Answer:
    """An error in a dialect's shape."""
    status, body = encode_error(error, request_id)
    return Answer(status=status, pieces=(body,))


HTML_PAGE = b"""<!DOCTYPE html>
<html lang="en-US">
<head><title>api.example.com | 502: Bad gateway</title><meta charset="UTF-8" /></head>
<body>
<div id="cf-error-details"><h1>Bad gateway <span>Error code 502</span></h1>
<p>The web server reported a bad gateway error.</p>
<p>Ray ID: <strong>8f0000000000cafe</strong> &bull; Your IP: 203.0.113.7</p></div>
</body>
</html>
"""
TEXT_LINE = b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
