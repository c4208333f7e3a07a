"""The one handler for every chat dialect: read, ask the engine, write the answer or the stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from genai_spine.engine.exchange import Answered, Exchange, Streaming
from genai_spine.engine.record import CallRecord, name_provider
from genai_spine.engine.streams import StreamCancelled
from genai_spine.gateway import inbounds
from genai_spine.gateway.request import HeaderList, Request, header_value
from genai_spine.gateway.routing import about_of
from genai_spine.gateway.streams import CANCELLED
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.model.response import Notice

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

logger = logging.getLogger(__name__)


class ShuttingDown(ProviderError):
    """The gateway is told to stop and has waited for this stream as long as it may."""

    status_code = 503
    code = "shutting_down"


async def chat(
    gateway: Gateway,
    request: Request,
    record: CallRecord,
    dialect: str,
    *,
    streams_unasked: bool,
    body: bytes | None = None,
) -> None:
    """Answers one request of a dialect; `body` where it was read already. Raises: SpineError, as long as nothing
    was written."""
    inbound = inbounds.inbound(dialect)
    if body is None:
        body = await gateway.body_of(request)
    headers = request.values(inbound.FORWARDED_HEADERS)
    exchange = Exchange(
        dialect,
        inbound,
        body,
        headers=headers,
        stream=streams_unasked,
        min_tokens_per_s=gateway.settings.streams.min_tokens_per_s,
    )
    if gateway.manager.router.looks_about:
        record.about = about_of(request.headers, exchange.peek.members)
    request.cancel_when_gone()
    if not exchange.stream:
        answer = await gateway.manager.answer(exchange, record)
        request.notes = f"{answer.provider} {answer.model}"
        await request.reply(200, answer.body, _headers_of(answer, record))
        return
    streaming = await gateway.manager.begin(exchange, record)
    request.notes = f"{streaming.provider} {streaming.model}"
    stream = gateway.streams.open(request, streaming.provider, streaming.model, dialect, inbound.KEEP_ALIVE)
    try:
        await _pump(gateway, request, streaming, inbound.STREAM_CONTENT_TYPE, _headers_of(streaming, record))
    finally:
        gateway.streams.closed(stream)
    if request.is_gone:
        request.status = 499


async def _pump(
    gateway: Gateway, request: Request, streaming: Streaming, content_type: bytes, headers: HeaderList
) -> None:
    """Chunks as they come; a stream that breaks ends with an error of the caller's dialect."""
    write = request.write
    try:
        async with aclosing(streaming):
            await request.start(content_type, headers)
            await write(streaming.first)
            async for chunk in streaming.chunks:
                await write(chunk)
    except SpineError as error:
        request.notes += f" broken: {error.message}"
        name_provider(error)
        gateway.discretion.mend(error)
        await write(streaming.error(error, request.id))
    except asyncio.CancelledError as cancelled:
        ending = _ENDINGS.get(cancelled.args)
        if ending is None:
            raise
        request.notes += f" broken: {cancelled.args[0]}"
        await write(streaming.error(ending(), request.id))
    except Exception:
        logger.exception("request %s failed in mid-stream", request.id)
        request.notes += " broken: the gateway failed"
        failure = SpineError(f"the gateway failed; its log has the details under {request.id}")
        await write(streaming.error(failure, request.id))
    await request.finish()


SHUTDOWN = "the gateway is shutting down"
"""The message with which a stream's task is cancelled when the gateway stops."""

_ENDINGS: dict[tuple[object, ...], Callable[[], ProviderError]] = {
    (SHUTDOWN,): lambda: ShuttingDown("the gateway is shutting down; ask again"),
    (CANCELLED,): lambda: StreamCancelled("the stream was cancelled by whoever runs this gateway"),
}
"""What a caller is told of a stream that was cancelled with such a message; of any other he has no need."""


def _headers_of(answer: Answered | Streaming, record: CallRecord) -> HeaderList:
    headers = [
        (b"x-spine-provider", header_value(answer.provider)),
        (b"x-spine-model", header_value(answer.model)),
        (b"x-spine-attempts", b"%d" % len(record.attempts)),
    ]
    if isinstance(answer, Answered) and answer.cost_usd is not None:
        headers.append((b"x-spine-cost-usd", format(answer.cost_usd, "f").encode()))
    if answer.notices:
        headers.append((b"x-spine-notices", notices_value(answer.notices)))
    return headers


def notices_value(notices: Iterable[Notice]) -> bytes:
    """`code param: message` of each, in one line."""
    said = dict.fromkeys(f"{n.code} {n.param}: {n.message}" if n.param else f"{n.code}: {n.message}" for n in notices)
    return header_value("; ".join(said))
