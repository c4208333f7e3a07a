"""The one handler for every chat dialect: read, ask the engine, write the answer or the stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from genai_spine.engine.exchange import Exchange, Streaming
from genai_spine.engine.record import CallRecord, name_provider
from genai_spine.engine.streams.open_streams import StreamCancelled
from genai_spine.gateway import idempotency, inbounds
from genai_spine.gateway.answer_headers import answer_headers
from genai_spine.gateway.call_headers import about_of
from genai_spine.gateway.idempotency import Once
from genai_spine.gateway.request import JSON, HeaderList, Request
from genai_spine.gateway.streams import CANCELLED
from genai_spine.model.errors import ProviderError, SpineError

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

logger = logging.getLogger(__name__)


class ShuttingDown(ProviderError):
    """The gateway is told to stop and has waited for this call as long as it may."""

    status_code = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down; ask again")


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
    answer = _stream if exchange.stream else _answer
    if (key := request.headers.get(idempotency.HEADER)) is None:
        await answer(gateway, request, record, exchange)
        return
    async with gateway.idempotency.once((record.caller, request.path, key), body) as once:
        if once.kept is None:
            await answer(gateway, request, record, exchange, once)
        else:
            await idempotency.replay(request, once.kept)


async def _answer(
    gateway: Gateway, request: Request, record: CallRecord, exchange: Exchange, once: Once | None = None
) -> None:
    answer = await gateway.manager.answer(exchange, record)
    request.notes = f"{answer.provider} {answer.model}"
    headers = answer_headers(answer, record, gateway.manager.limiter, answer.cost_usd)
    if once is not None:
        once.add(answer.body)
        once.keep(JSON, headers)
    await request.reply(200, answer.body, headers)


async def _stream(
    gateway: Gateway, request: Request, record: CallRecord, exchange: Exchange, once: Once | None = None
) -> None:
    inbound = exchange.inbound
    streaming = await gateway.manager.begin(exchange, record)
    request.notes = f"{streaming.provider} {streaming.model}"
    stream = gateway.streams.open(
        request, streaming.provider, streaming.model, exchange.dialect, inbound.KEEP_ALIVE, record.caller
    )
    headers = answer_headers(streaming, record, gateway.manager.limiter, None)
    try:
        await _pump(gateway, request, record, streaming, inbound.STREAM_CONTENT_TYPE, headers, once)
    finally:
        gateway.streams.closed(stream)
    if request.is_gone:
        request.status = 499


async def _pump(
    gateway: Gateway,
    request: Request,
    record: CallRecord,
    streaming: Streaming,
    content_type: bytes,
    headers: HeaderList,
    once: Once | None = None,
) -> None:
    """Chunks as they come; a stream that breaks ends with an error of the caller's dialect."""
    write = request.write
    broken: SpineError | None = None
    try:
        async with aclosing(streaming):
            await request.start(content_type, headers)
            await write(streaming.first)
            if once is None:
                async for chunk in streaming.chunks:
                    await write(chunk)
            else:
                once.add(streaming.first)
                async for chunk in streaming.chunks:
                    once.add(chunk)
                    await write(chunk)
                once.keep(content_type, headers)
    except SpineError as error:
        broken = error
        request.notes += f" broken: {gateway.discretion.for_log(error.message)}"
        name_provider(error)
        gateway.discretion.mend(error)
    except asyncio.CancelledError as cancelled:
        ending = _ENDINGS.get(cancelled.args)
        if ending is None:
            raise
        broken, record.outcome = ending(), "interrupted"
        request.notes += f" broken: {cancelled.args[0]}"
    except Exception:
        logger.exception("request %s failed in mid-stream", request.id)
        request.notes += " broken: the gateway failed"
        broken = SpineError(f"the gateway failed; its log has the details under {request.id}")
    gateway.manager.traffic.close(record)  # it is written down before the caller sees the end
    if broken is not None:
        end = streaming.write_error(broken, request.id)
        broken = None  # else the error and this frame keep each other, and the prompt, alive
        await write(end)
    await request.finish()


SHUTDOWN = "the gateway is shutting down"
"""The message with which a stream's task is cancelled when the gateway stops."""

_ENDINGS: dict[tuple[object, ...], Callable[[], ProviderError]] = {
    (SHUTDOWN,): ShuttingDown,
    (CANCELLED,): lambda: StreamCancelled("the stream was cancelled by whoever runs this gateway"),
}
"""What a caller is told of a stream that was cancelled with such a message; of any other he has no need."""
