"""A caller's answers in the cache: the very bytes that were sent, given again.

A stream is given again as that stream, ids and times included: it is the same answer. Where the caller asks for the
other form, the stream of a whole answer or the whole of a stream, the bytes are read and written anew in his dialect
(fold.py has both directions); an answer to a request of which only one form tells all is given in that form alone.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal

import msgspec

from genai_spine.dialects.interface import Target
from genai_spine.engine.caching.response_cache import MOST_BYTES, Entry, Slot, is_whole
from genai_spine.engine.exchange import Answered, Exchange, Streaming
from genai_spine.model.errors import SpineError
from genai_spine.model.fold import collect, replay
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider

_WHOLE = {
    "openai_chat": ("stop", "tool_calls", "function_call"),
    "openai_responses": ("completed",),
    "openai_completions": ("stop",),
    "anthropic_messages": ("end_turn", "stop_sequence", "tool_use"),
    "ollama_chat": ("stop",),
    "ollama_generate": ("stop",),
    "gemini": ("STOP",),
}
_CUT = {
    "openai_chat": "length",
    "openai_responses": "max_output_tokens",
    "openai_completions": "length",
    "anthropic_messages": "max_tokens",
    "ollama_chat": "length",
    "ollama_generate": "length",
    "gemini": "MAX_TOKENS",
}
"""In each dialect's words: the model came to its end, or was stopped at a number of tokens."""
ONE_FORM = re.compile(
    rb'"(?:n|best_of|logprobs|top_logprobs|modalities|audio|candidateCount|responseLogprobs|responseModalities)"'
    rb'\s*:\s*(?!null|false|1\s*[,}])|"prompt"\s*:\s*\['
)
"""What a request may ask for that the model of the middle does not hold in full: several answers, to several prompts
too, chances, sound."""
_PIECE = 64 * 1024


def form_of(exchange: Exchange) -> str:
    """How the caller wants the answer written: whole, or streamed with these events beside."""
    if not exchange.stream:
        return "whole"
    return "stream " + bytes(exchange.peek.members.get("stream_options", b"")).decode("utf-8", "replace")


async def answered(slot: Slot, exchange: Exchange) -> Answered | None:
    """The answer that was kept; None where there is none."""
    found = await _found(slot, exchange)
    if found is None:
        return None
    entry, body = found
    return Answered(
        body=body,
        provider=entry.provider,
        model=entry.model,
        usage=entry.token_usage(),
        cost_usd=Decimal(0),
        notices=entry.notices,
    )


async def streaming(slot: Slot, exchange: Exchange) -> Streaming | None:
    """The stream that was kept, begun; None where there is none."""
    found = await _found(slot, exchange)
    if found is None:
        return None
    entry, body = found
    return Streaming(
        first=body[:_PIECE],
        chunks=_pieces(body),
        provider=entry.provider,
        model=entry.model,
        write_error=exchange.write_error,
        notices=entry.notices,
    )


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for begin in range(_PIECE, len(body), _PIECE):
        yield body[begin : begin + _PIECE]


async def _found(slot: Slot, exchange: Exchange) -> tuple[Entry, bytes] | None:
    """What was kept, and as this caller gets it."""
    entry = await slot.find()
    body = _body_for(entry, exchange, slot.provider) if entry is not None else None
    if entry is None or body is None:
        return None
    slot.use(entry)
    return entry, body


def _body_for(entry: Entry, exchange: Exchange, provider: LLMProvider) -> bytes | None:
    if entry.form == form_of(exchange):
        return entry.body
    if ONE_FORM.search(exchange.body):
        return None
    try:
        return _rewritten(entry, exchange, provider)
    except SpineError:  # what cannot be read again is asked for again
        return None


def _rewritten(entry: Entry, exchange: Exchange, provider: LLMProvider) -> bytes:
    """The answer in the other form. Raises: SpineError."""
    response = _response(entry, exchange, provider)
    if not exchange.stream:
        return exchange.inbound.encode_response(response, exchange.request)
    encode = exchange.inbound.stream_encoder(exchange.request).encode
    return b"".join([encode(event) for event in replay(response)])


def _response(entry: Entry, exchange: Exchange, provider: LLMProvider) -> CompletionResponse:
    codec = codecs.outbound("ollama_chat" if exchange.dialect == "ollama_generate" else exchange.dialect)
    if isinstance(provider, HttpProvider) and provider.speaks(exchange.dialect):
        target = provider.target(entry.model)
    else:
        target = Target(card=provider.card(entry.model))
    if entry.form == "whole":
        response = codec.decode_response(entry.body, target)
    else:
        decoder = codec.stream_decoder(target)
        response = collect([*decoder.feed(entry.body), *decoder.close()])
    if response.usage is None:  # a stream may not have been asked to tell it
        response = msgspec.structs.replace(response, usage=entry.token_usage())
    return response


# ---------------------------------------------------------------- keeping


def keep(slot: Slot, exchange: Exchange, answer: Answered) -> None:
    """Keeps an answer, if it is whole."""
    try:
        finish = codecs.tapping(exchange.dialect).tap_answer(answer.body).finish_reason
    except SpineError:
        return
    if _came_to_its_end(finish, slot, exchange):
        slot.keep(answer.body, form_of(exchange), answer.provider, answer.model, answer.notices)


async def keeping(slot: Slot, exchange: Exchange, stream: Streaming) -> Streaming:
    """The stream, which is kept once its last byte has been taken, and only then."""
    chunks = _kept(slot, exchange, stream)
    await anext(chunks)  # begun: to close it is to close what it reads
    return msgspec.structs.replace(stream, chunks=chunks, source=None)


async def _kept(slot: Slot, exchange: Exchange, stream: Streaming) -> AsyncGenerator[bytes, None]:
    parts, size = [stream.first], len(stream.first)
    async with aclosing(stream):
        yield b""
        async for chunk in stream.chunks:
            size += len(chunk)
            if size <= MOST_BYTES:
                parts.append(chunk)
            else:
                parts.clear()
            yield chunk
    if size <= MOST_BYTES:
        _keep_stream(slot, exchange, stream, b"".join(parts))


def _keep_stream(slot: Slot, exchange: Exchange, stream: Streaming, body: bytes) -> None:
    tap = codecs.tapping(exchange.dialect).open_tap(model=stream.model)
    try:
        tap.feed(body)
        tap.close()
    except SpineError:
        return
    if _came_to_its_end(tap.finish_reason, slot, exchange):
        slot.keep(body, form_of(exchange), stream.provider, stream.model, stream.notices)


def _came_to_its_end(finish: str | None, slot: Slot, exchange: Exchange) -> bool:
    if finish in _WHOLE[exchange.dialect]:
        return True
    if finish != _CUT[exchange.dialect]:
        return False
    usage = next((attempt.usage for attempt in reversed(slot.record.attempts) if attempt.usage is not None), None)
    try:
        return is_whole(FinishReason.LENGTH, usage, exchange.request.max_tokens)
    except SpineError:
        return False
