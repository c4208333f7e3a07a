"""The seam: one method sends a request and gives back a response whose body is still coming.

Values on both sides, so that everything above can be tested with bytes. `HttpTransport` (ours, the
default) and `AiohttpTransport` (extra `aiohttp`) implement it. Errors that a transport raises:

    APIConnectionError  no connection (refused, DNS, TLS, proxy), or it was reset. The message names host:port
    ProviderTimeout     code is connect_timeout, first_byte_timeout, idle_timeout or total_timeout
    PoolExhausted       every connection to the host is busy and none came free in pool_s
    BadReply            what came is not HTTP, is over a cap, or is packed in a way that we refuse
    StreamBroken        the peer ended the body before its end
    InvalidRequest      a header or target that could break the framing; nothing was sent

`ProviderError.sent` is False only where no byte of the request left. The caller fills in `provider`.
Nothing is retried here but one stale kept-alive connection, and no redirect is followed.

Must not know: providers, models, dialects, what a body means, why a call is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import msgspec

from genai_spine.model.errors import BadReply, ProviderTimeout, SpineError
from genai_spine.wire.codings import BodyDecoder, decoder_for
from genai_spine.wire.http import Headers, Url

MAX_BODY_BYTES = 64 * 1024 * 1024


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long each part of an exchange may take, in seconds; None is for ever.

    `connect_s` is DNS, TCP, proxy and TLS together. `first_byte_s` runs from the request's last
    byte to the response's head: with a model that thinks before it speaks that is minutes.
    `idle_s` is the silence between two pieces of the body (and between two of a large upload).
    `total_s` is the whole exchange until the body's end. `pool_s` is the wait for a free connection.
    """

    connect_s: float | None = 5.0
    first_byte_s: float | None = 120.0
    idle_s: float | None = 60.0
    total_s: float | None = 600.0
    pool_s: float | None = 10.0
    is_of_call: bool = False
    """Whether `total_s` is what was left of a call's own time, which may be anything: that it was not enough says
    nothing of the peer."""


DEFAULT_TIMEOUTS = Timeouts()


def total_timeout(message: str, timeouts: Timeouts, *, sent: bool = True) -> ProviderTimeout:
    """The error for an exchange that was not done within `total_s`."""
    error = ProviderTimeout(message, code="total_timeout", sent=sent)
    if timeouts.is_of_call:
        error.fault = "caller"
    return error


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Host, content-length and framing are written by the transport.

    Answers come unpacked where content-encoding says that they are packed. Packed ones are only
    asked for when `headers` has an `accept-encoding`.
    Headers that are the same from call to call are best kept as one tuple: their bytes are cached. The last
    `unique` of them are of this request alone, as a signature is, and not worth caching.
    """

    method: str
    url: Url
    headers: Headers = ()
    body: bytes = b""
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    unique: int = 0

    def __repr__(self) -> str:
        """Without headers, query and body: they hold keys and people's words."""
        url = self.url
        path = url.target.partition("?")[0]
        return f"HttpRequest({self.method} {url.scheme}://{url.authority}{path}, {len(self.body)} bytes)"


class BodySource(Protocol):
    """Where a response's body comes from; what a transport has to supply."""

    async def receive(self) -> bytes:
        """The bytes that are there, waiting only if there are none; b"" is the end."""
        ...

    def take(self, most: int) -> bytes | None:
        """The rest of the body, where it is there in one piece of at most so many bytes; None: ask `receive`."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the end was read, so that `receive` would say so at once."""
        ...

    def close(self) -> None:
        """Drop what is still to come, and the connection with it. Nothing if the end was read. Idempotent."""
        ...

    def abandon(self) -> None:
        """`close` from a finaliser: in any thread, perhaps after the loop has closed."""
        ...


class HttpResponse:
    """A response whose head is here. Names of `headers` are lower-case, values as sent.

    Read it to the end or `aclose()` it: until then it holds a connection. `mark` is for whoever sent the
    request to note something on it; nothing here looks at it.
    """

    __slots__ = ("_decoder", "_pieces", "_source", "headers", "mark", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], source: BodySource) -> None:
        """Raises: BadReply for a content-encoding that we cannot undo; the source is closed then."""
        self.status = status
        self.headers = headers
        self.mark: object = None
        self._source = source
        self._decoder: BodyDecoder | None = None
        self._pieces: Iterator[bytes] | None = None
        if b"content-encoding" in dict(headers):
            try:
                # Asked for again by name: a field may be sent twice.
                self._decoder = decoder_for(self.header("content-encoding") or "")
            except BadReply:
                source.close()
                raise

    def __repr__(self) -> str:
        return f"HttpResponse({self.status})"

    def __del__(self) -> None:
        # Dropped unread, as after a cancelled caller: the connection must not stay.
        self._source.abandon()

    def header(self, name: str) -> str | None:
        """The value of a field, several joined by ", " (RFC 9110 §5.3); None when absent."""
        wanted = name.lower().encode()
        values = [value for field, value in self.headers if field == wanted]
        return b", ".join(values).decode("latin-1").strip(" \t") if values else None

    @property
    def is_over(self) -> bool:
        """Whether the body has ended and nothing of it is left. False may also mean that it is not known yet."""
        return self._decoder is None and self._source.is_over

    async def receive(self) -> bytes:
        """The next bytes of the body as they come, unpacked; b"" is the end. Raises as the module says."""
        if self._decoder is None:
            return await self._source.receive()
        try:
            return await self._receive_unpacked(self._decoder)
        except SpineError:
            self._source.close()
            raise

    async def _receive_unpacked(self, decoder: BodyDecoder) -> bytes:
        while True:
            if self._pieces is not None:
                piece = next(self._pieces, None)
                if piece is not None:
                    return piece
                self._pieces = None
            data = await self._source.receive()
            if not data:
                decoder.finish()
                return b""
            self._pieces = decoder.feed(data)

    async def read(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The rest of the body. Raises: BadReply when it is longer than `max_bytes`, unpacked."""
        if self._decoder is None and (body := self._source.take(max_bytes)) is not None:
            return body
        parts = []
        size = 0
        while not self.is_over and (part := await self.receive()):
            size += len(part)
            if size > max_bytes:
                self._source.close()
                raise BadReply(f"the answer is longer than {max_bytes} bytes", code="body_too_large", retryable=False)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes: nothing is held back, and while nobody asks, the peer is held up."""
        return _Chunks(self)

    async def aclose(self) -> None:
        """Close the connection unless the body came to its end, in which case it went back to the pool."""
        self._source.close()


class _Chunks:
    """`async for` over a response. No generator: leaving the loop early leaves nothing to be finalised."""

    __slots__ = ("_response",)

    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        data = await self._response.receive()
        if not data:
            raise StopAsyncIteration
        return data


class Transport(Protocol):
    """What carries requests to providers."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send, and return as soon as the response's head is there. Raises as the module says."""
        ...

    async def close(self) -> None:
        """Close every connection. Exchanges that are under way fail with APIConnectionError."""
        ...
