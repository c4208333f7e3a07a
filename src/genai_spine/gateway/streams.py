"""The streams that this gateway writes: kept alive, listed, cancelled, and ended where their callers are slow or gone.

No timer is made for a stream or a chunk: one look at all of them every tick compares how much was written with how
much was written before, so a wait is late by at most a tick. Must not know: dialects, how an answer came about.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from genai_spine.engine.record import CallRecord
from genai_spine.engine.streams.open_streams import ActiveStream, StreamInfo, StreamManager
from genai_spine.gateway.request import Request
from genai_spine.model.errors import InvalidRequest
from genai_spine.settings import Settings

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

CANCELLED = "the stream was cancelled"
"""The message with which the task of a stream is cancelled that somebody ends from outside."""
DRAIN_S = 30.0
DRAIN_BYTES = 4_000_000
"""How long, and how much of it, a stream is read on whose caller has left (`on_disconnect = "drain"`)."""


class OpenStream(ActiveStream):
    """One answer that is being written."""

    __slots__ = ("caller", "gone_at_bytes", "gone_s", "keep_alive", "request", "since_s", "written")

    def __init__(
        self, request: Request, provider: str, model: str, dialect: str, keep_alive: bytes, caller: str | None = None
    ) -> None:
        super().__init__(request.id, provider, model, dialect)
        self.request = request
        self.caller = caller
        self.keep_alive = keep_alive
        self.written = 0
        """As of the last look, and since when it is so."""
        self.since_s = 0.0
        self.gone_s: float | None = None
        self.gone_at_bytes = 0

    def cancel(self) -> None:
        self.request.task.cancel(CANCELLED)

    def info(self) -> StreamInfo:
        more = {"bytes_out": self.request.bytes_out, "is_draining": self.gone_s is not None}
        return msgspec.structs.replace(super().info(), **more)


class OpenStreams(StreamManager):
    """All of one gateway."""

    __slots__ = ("_drained", "_is_looking", "_keep_alive_s", "_tick_s", "_write_timeout_s")

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        streams = settings.streams
        self._keep_alive_s = streams.keep_alive or None
        self._write_timeout_s = streams.write_timeout
        self._tick_s = min(1.0, max(0.05, min(streams.keep_alive or 5.0, streams.write_timeout) / 5))
        self._is_looking = False
        self._drained = frozenset(
            id
            for id, provider in settings.providers.by_id.items()
            if (provider.on_disconnect or streams.on_disconnect) == "drain"
        )

    def open(
        self, request: Request, provider: str, model: str, dialect: str, keep_alive: bytes, caller: str | None = None
    ) -> OpenStream:
        stream = OpenStream(request, provider, model, dialect, keep_alive, caller)
        self._active[stream.id] = stream
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(self._tick_s, self._look)
        if provider in self._drained:
            request.when_gone(lambda: self._read_on(stream))
        return stream

    def _read_on(self, stream: OpenStream) -> None:
        """The caller has left: what still comes is read and dropped, as far as `DRAIN_S` and `DRAIN_BYTES` go."""
        stream.gone_s = asyncio.get_running_loop().time()
        stream.gone_at_bytes = stream.request.bytes_out

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_looking = len(self) > 0
        if self._is_looking:
            loop.call_later(self._tick_s, self._look)
        now_s = loop.time()
        for stream in self:
            if isinstance(stream, OpenStream):
                self._check(stream, now_s)

    def _check(self, stream: OpenStream, now_s: float) -> None:
        request = stream.request
        if stream.gone_s is not None:
            if now_s - stream.gone_s > DRAIN_S or request.bytes_out - stream.gone_at_bytes > DRAIN_BYTES:
                request.task.cancel()
        elif stream.written != request.bytes_out or not stream.since_s:
            stream.written, stream.since_s = request.bytes_out, now_s
        elif request.is_held_up:
            if not request.is_timed and now_s - stream.since_s > self._write_timeout_s:
                request.task.cancel()
        elif self._keep_alive_s is not None and stream.keep_alive and now_s - stream.since_s >= self._keep_alive_s:
            request.poke(stream.keep_alive)


# ------------------------------------------------------------ GET /v1/streams, DELETE /v1/streams/{id}


async def listed(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The open streams, the oldest first: id, provider, model, age, bytes written; no prompts and no keys. A named key
    sees its own.

    {"object": "list", "data": [{"id": "req_…", "provider": "openai", "model": "gpt-4o", "age_s": 3.2, …}]}
    """
    data = [stream.info() for stream in gateway.streams if _is_seen(gateway, stream, record)]
    await request.reply(200, msgspec.json.encode({"object": "list", "data": data}))


async def cancelled(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Ends a stream: its caller gets an error event, and the request to its provider is closed.

    Raises: InvalidRequest with status 404 where there is none of this id.
    """
    id = request.path.rpartition("/")[2]
    stream = next((stream for stream in gateway.streams if stream.id == id), None)
    if stream is None or not _is_seen(gateway, stream, record):
        raise InvalidRequest(f"no stream {id[:100]} is under way", status_code=404, code="not_found")
    stream.cancel()
    await request.reply(200, msgspec.json.encode({"id": id, "object": "stream.cancelled", "cancelled": True}))


def _is_seen(gateway: Gateway, stream: ActiveStream, record: CallRecord) -> bool:
    """A key without a name is that of whoever runs the gateway: it sees all."""
    return record.caller not in gateway.keys.named or getattr(stream, "caller", None) == record.caller
