"""A caller's own bytes sent on, and the provider's own bytes sent back: caller and provider speak one dialect.

Only the model's name changes on the way there, and a tap (dialects/relay.py) reads along on the way back. This is
the hot path: nothing here is done per frame that could be done per stream. Must not know: other targets, retries.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from genai_spine.dialects import relayed_request
from genai_spine.dialects.interface import Outbound
from genai_spine.dialects.relay import StreamTap
from genai_spine.engine.streams.event_stream import DRAIN_S, Watched
from genai_spine.engine.streams.floor import Floor, over_bytes
from genai_spine.model.errors import BadReply, BudgetExceeded, ProviderError
from genai_spine.model.fold import replay
from genai_spine.model.response import CompletionResponse, TokenUsage
from genai_spine.policy.route import Choice
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider, is_stream
from genai_spine.providers.transport import HttpResponse

if TYPE_CHECKING:
    from genai_spine.engine.exchange import Exchange

_PROMISES = {"openai_chat": 1, "openai_responses": 2}
"""With how many events a stream of the dialect begins that say nothing of the answer."""
_SAYING = {
    "anthropic_messages": re.compile(
        rb'"type"\s*:\s*"(?:content_block_delta|message_delta|message_stop|\w*tool_use|\w*thinking)"'
    )
}
"""What is in the first event that says something, where the number of those before it is not known: Anthropic's
pings may come at any time, and the beginning of a text is none of it yet. A model's name may hold such a word."""
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
"""In an event that is not of the answer: Azure's word on the prompt, which comes first."""
_MOST_SUCH = 8
"""Of more events not all are such: a whole stream that came at once is not searched."""
_LINES = ("ollama_chat", "ollama_generate")


def post(exchange: Exchange, provider: HttpProvider, model: str) -> Coroutine[Any, Any, HttpResponse]:
    """The caller's bytes sent on; the answer's head, whatever its status. Raises: ProviderError, InvalidRequest."""
    body = relayed_request.rewrite(
        exchange.peek, model=model, dialect=exchange.dialect, force_usage=provider.quirks.stream_usage == "option"
    )
    if provider.settings.auto_cache:
        body = provider.marked(exchange.dialect, body, provider.target(model))
    path = codecs.path(exchange.dialect, model, stream=exchange.stream)
    return provider.send(exchange.dialect, path, body, exchange.headers, model=model)


def open_tap(exchange: Exchange, provider: HttpProvider, choice: Choice) -> StreamTap:
    model = provider.target(choice.model).model
    return codecs.tapping(exchange.dialect).open_tap(model=model, strip_usage=not exchange.peek.wants_usage)


async def stream(
    exchange: Exchange, provider: HttpProvider, choice: Choice, attempt: Watched, tap: StreamTap
) -> AsyncGenerator[bytes, None]:
    """Frames as they come; the first piece once it says something, and from then on `attempt` is settled here.

    Raises: ProviderError, InvalidRequest.
    """
    begun = time.perf_counter()
    dialect = exchange.dialect
    model = provider.target(choice.model).model
    feed = tap.feed
    meter = attempt.meter()
    broken: ProviderError | None = None
    usage: TokenUsage | None = None
    has_begun = has_said = is_whole = False
    held = b""
    try:
        response = await post(exchange, provider, model)
        if response.status >= 300:
            raise await provider.error_of(response, dialect)
        try:
            if is_stream(response):
                chunks: AsyncIterator[bytes] = response.chunks()
                if exchange.min_tokens_per_s:
                    decoder = _codec(dialect).stream_decoder(provider.target(model))
                    chunks = over_bytes(chunks, decoder, Floor(exchange.min_tokens_per_s))
                async for data in chunks:
                    out = feed(data)
                    if meter is not None:
                        meter.add_bytes(out, dialect)
                    if not has_begun:
                        held += out
                        out = b""
                        has_said = _says_something(dialect, held)
                    if tap.finished:
                        break  # its end goes out when it is written down
                    if has_begun:
                        if out:
                            yield out
                    elif tap.failure is None and has_said:
                        has_begun = True
                        attempt.has_begun()
                        yield held
                        held = b""
                    if tap.failure is not None:
                        break
                else:
                    out = b""
                out += tap.close()
                usage, is_whole = usage_of(dialect, tap.usage), True
            else:
                answer = await _whole_answer(dialect, provider, response, model)
                usage, tap.model, is_whole, out = answer.usage, answer.model, True, _replayed(exchange, answer)
            out = held + out
            if not has_begun and out:
                has_begun = True
                attempt.has_begun()
            provider.observe(model, usage, time.perf_counter() - begun)
            if has_begun:
                attempt.settle(usage=usage, model=tap.model)
            if out:
                yield out
            await _drained(response)
        finally:
            await response.aclose()
    except BudgetExceeded as cut:  # by us: no failure of the provider's
        broken = cut
        raise
    except ProviderError as error:
        if is_whole:
            return
        broken = provider.failed(classified(error, dialect), model, begun)
        broken.is_uncertain |= has_said  # it had worked, though its words and its error came together
        raise broken from error.__cause__
    except (GeneratorExit, asyncio.CancelledError):
        if not is_whole and tap.usage is not None:  # the caller has left; what was counted so far is charged
            provider.observe(model, usage_of(dialect, tap.usage), time.perf_counter() - begun)
        is_whole = is_whole or tap.finished
        raise
    finally:
        if has_begun:
            if usage is None:
                usage = usage_of(dialect, tap.usage)
            attempt.settle(usage=usage, model=tap.model, error=broken, left=not is_whole and broken is None)
        broken = None  # else the error and this frame keep each other, and the prompt, alive


def _says_something(dialect: str, out: bytes) -> bool:
    """Whether a stream has begun for good: with Anthropic's and OpenAI's first event alone a provider
    promises nothing, and comments say that it is not yet ready. Until then another may take over."""
    if dialect in _LINES:
        return bool(out)
    if (saying := _SAYING.get(dialect)) is not None:
        return saying.search(out) is not None
    # What an event says of the request may hold the word `data:`; a new line in it is escaped.
    events = out.startswith(b"data:") + out.count(b"\ndata:") + out.count(b"\rdata:")
    more = events - _PROMISES.get(dialect, 0)
    return more > _MOST_SUCH or more > len(_NO_CHOICES.findall(out))


async def _whole_answer(dialect: str, provider: HttpProvider, response: HttpResponse, model: str) -> CompletionResponse:
    """A whole answer where a stream was asked for: some servers do not stream everything."""
    return _codec(dialect).decode_response(await provider.json_body(response), provider.target(model))


def _codec(dialect: str) -> Outbound:
    """What reads the dialect's answers; those of /api/generate are read as those of the chat."""
    return codecs.outbound("ollama_chat" if dialect == "ollama_generate" else dialect)


def _replayed(exchange: Exchange, answer: CompletionResponse) -> bytes:
    encode = exchange.inbound.stream_encoder(exchange.request).encode
    return b"".join([encode(event) for event in replay(answer)])


async def _drained(response: HttpResponse) -> None:
    """Read on to the body's end, which is there already as a rule, so that the connection can be kept."""
    if response.is_over:
        return
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(DRAIN_S):
            await response.receive()


def usage_of(dialect: str, raw: msgspec.Raw | None) -> TokenUsage | None:
    return codecs.relayed(dialect).decode_usage(raw) if raw is not None else None


def classified(error: ProviderError, dialect: str) -> ProviderError:
    """An error that came inside a 200, as the dialect's own table reads it."""
    if isinstance(error, BadReply) and isinstance(error.body, bytes):
        return codecs.relayed(dialect).decode_embedded_error(error.body) or error
    return error
