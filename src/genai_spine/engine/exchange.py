"""A caller's request in its own dialect, and the answer in the same, whoever gives it.

Where the provider speaks the caller's dialect too, the caller's bytes are relayed: only the model's name
changes, and a tap reads along. Where it does not, or where a quirk or setting of the provider concerns
this request, it goes through the model. Both are one `send` of the same call (call.py), with the same
plan, retries and counting. Must not know: HTTP of the gateway, keys of callers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from decimal import Decimal
from itertools import count
from typing import TypeVar

import msgspec

from genai_spine.dialects import relayed_request
from genai_spine.dialects.interface import Inbound, StreamEncoder
from genai_spine.model.content import Opaque, Refusal, Text, ToolCall
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError, SpineError, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.policy.route import Choice, Wanted, unmet
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider, is_stream
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.transport import HttpResponse
from genai_spine.wire.http import Headers

_DRAIN_S = 0.05
_PROMISES = {"openai_chat": 1, "anthropic_messages": 1, "openai_responses": 2}
"""With how many events a stream of the dialect begins that say nothing of the answer."""
_LINES = ("ollama_chat", "ollama_generate")
_ID_PREFIX = f"gen-{os.urandom(8).hex()}"  # of this process: ids are unique, not secret
_numbers = count()
_Said = TypeVar("_Said", CompletionResponse, MessageStart)
_SHOWN = (Text, Refusal, ToolCall)
"""The parts that every dialect shows."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in the caller's dialect."""

    body: bytes
    provider: str
    model: str
    cost_usd: Decimal | None = None
    notices: tuple[Notice, ...] = ()


class Streaming(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in the caller's dialect, begun: its first bytes are known to be good.

    `chunks` raises ProviderError where the stream breaks; `Exchange.stream_error` then writes its end.
    """

    chunks: AsyncIterator[bytes]
    provider: str
    model: str
    notices: tuple[Notice, ...] = ()


class Exchange:
    """One request of one caller. `headers` are those of its dialect, which go on where it is spoken."""

    __slots__ = ("_encoder", "_notices", "_request", "body", "dialect", "headers", "inbound", "peek", "stream")

    def __init__(
        self,
        dialect: str,
        inbound: Inbound,
        body: bytes,
        *,
        headers: Headers = (),
        stream: bool | None = None,
    ) -> None:
        """`stream` is what the dialect takes where the caller does not say. Raises: InvalidRequest."""
        self.dialect = dialect
        self.inbound = inbound
        self.body = body
        self.headers = headers
        self.peek = relayed_request.peek(body)
        self.stream = bool(self.peek.stream if self.peek.stream is not None else stream)
        self._request: CompletionRequest | None = None
        self._encoder: StreamEncoder | None = None
        self._notices: tuple[Notice, ...] = ()

    @property
    def wanted(self) -> Wanted:
        peek = self.peek
        return Wanted(
            model=peek.model or None,
            provider=peek.provider,
            hint=peek.provider_hint,
            fallbacks=peek.fallbacks,
        )

    @property
    def unmet(self) -> tuple[Notice, ...]:
        return unmet(self.peek.provider_hint, self.peek.cost_limit)

    @property
    def request(self) -> CompletionRequest:
        """The request through the model, read when it is first needed. Raises: InvalidRequest."""
        if self._request is None:
            try:
                self._request = self.inbound.decode_request(self.body)
            except InvalidRequest as error:
                error.fallback = False  # no other provider would understand it better
                raise
        return self._request

    def _is_relayed(self, provider: LLMProvider) -> bool:
        return isinstance(provider, HttpProvider) and provider.relays(self.dialect, self.peek.members)

    # ------------------------------------------------------------ a whole answer

    async def answer(self, provider: LLMProvider, choice: Choice) -> Answered:
        """Raises: ProviderError, InvalidRequest."""
        if isinstance(provider, HttpProvider) and self._is_relayed(provider):
            return await self._relay(provider, choice)
        response = _identified(await provider.complete(self.request.aimed_at(choice.model)))
        return Answered(
            body=self.inbound.encode_response(response, self.request),
            provider=provider.name,
            model=response.model,
            cost_usd=response.cost_usd,
            notices=(*response.notices, *_unshown(self.inbound, response)),
        )

    async def _relay(self, provider: HttpProvider, choice: Choice) -> Answered:
        begun = time.perf_counter()
        model = provider.target(choice.model).model
        try:
            response = await self._post(provider, model)
            body = await provider.json_body(response)
            said = codecs.tapping(self.dialect).tap_answer(body)
        except ProviderError as error:
            raise provider.failed(_classified(error, self.dialect), model, begun) from error.__cause__
        cost = provider.observe(model, self._usage(said.usage), time.perf_counter() - begun)
        notices = provider.standing(choice.model).notices
        return Answered(body=body, provider=provider.name, model=said.model or model, cost_usd=cost, notices=notices)

    async def _post(self, provider: HttpProvider, model: str) -> HttpResponse:
        """The caller's bytes sent on; the head of an answer of status 200."""
        body = relayed_request.rewrite(
            self.peek, model=model, dialect=self.dialect, force_usage=provider.quirks.stream_usage == "option"
        )
        path = codecs.path(self.dialect, model, stream=self.stream)
        response = await provider.send(self.dialect, path, body, self.headers, model=model)
        if response.status != 200:
            raise await provider.error_of(response, self.dialect)
        return response

    # ------------------------------------------------------------ a stream

    async def begin(self, provider: LLMProvider, choice: Choice) -> Streaming:
        """Returns once the first bytes worth showing are there. Raises: ProviderError, InvalidRequest."""
        self._encoder = None
        self._notices = ()
        if isinstance(provider, HttpProvider) and self._is_relayed(provider):
            chunks = self._relayed(provider, choice)
        else:
            chunks = self._translated(provider, choice)
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            raise StreamBroken("the provider's stream was empty", provider=provider.name) from None
        return Streaming(
            chunks=_Continued(first, chunks),
            provider=provider.name,
            model=provider.card(choice.model).id,
            notices=self._notices,
        )

    async def _translated(self, provider: LLMProvider, choice: Choice) -> AsyncIterator[bytes]:
        request = self.request.aimed_at(choice.model, stream=True)
        encoder = self._encoder = self.inbound.stream_encoder(self.request)
        encode = encoder.encode
        held = b""
        ended = False
        async with aclosing(provider.batches(request)) as batches:
            async for events in batches:
                if type(beginning := events[0]) is MessageStart:
                    events[0] = _identified(beginning)
                    self._notices = beginning.notices
                out = b"".join([encode(event) for event in events])
                # The beginning alone promises nothing yet: it waits for what comes after it.
                if held or len(events) > 1 or type(events[0]) is not MessageStart:
                    yield held + out
                    held = b""
                else:
                    held = out
                ended = ended or type(events[-1]) is MessageEnd
        if held:
            yield held
        if not ended:
            raise StreamBroken("the provider's stream stopped before its end", provider=provider.name)

    async def _relayed(self, provider: HttpProvider, choice: Choice) -> AsyncIterator[bytes]:
        begun = time.perf_counter()
        model = provider.target(choice.model).model
        self._notices = provider.standing(choice.model).notices
        tap = codecs.tapping(self.dialect).open_tap(model=model, strip_usage=not self.peek.wants_usage)
        feed = tap.feed
        held: bytes | None = b""
        try:
            response = await self._post(provider, model)
            try:
                if not is_stream(response):
                    answer = await self._whole_answer(provider, response, model)
                    provider.observe(model, answer.usage, time.perf_counter() - begun)
                    yield self._replayed(answer)
                    return
                async for data in response.chunks():
                    out = feed(data)
                    if held is None:
                        if out:
                            yield out
                    elif self._says_something(held := held + out) or (tap.finished and held):
                        yield held
                        held = None
                    if tap.over:
                        break
                if out := (held or b"") + tap.close():
                    yield out
                await _drained(response)
            finally:
                await response.aclose()
        except ProviderError as error:
            raise provider.failed(_classified(error, self.dialect), model, begun) from error.__cause__
        except (GeneratorExit, asyncio.CancelledError):
            if tap.usage is not None:  # the caller has left; what the provider has counted, it charges
                provider.observe(model, self._usage(tap.usage), time.perf_counter() - begun)
            raise
        provider.observe(model, self._usage(tap.usage), time.perf_counter() - begun)

    def _says_something(self, out: bytes) -> bool:
        """Whether a stream has begun for good: with Anthropic's and OpenAI's first event alone a provider
        promises nothing, and comments say that it is not yet ready. Until then another may take over."""
        return out.count(b"data:") > _PROMISES.get(self.dialect, 0) or (self.dialect in _LINES and bool(out))

    def _usage(self, raw: msgspec.Raw | None) -> TokenUsage | None:
        return codecs.relayed(self.dialect).decode_usage(raw) if raw is not None else None

    async def _whole_answer(self, provider: HttpProvider, response: HttpResponse, model: str) -> CompletionResponse:
        """A whole answer where a stream was asked for: some servers do not stream everything."""
        codec = codecs.outbound("ollama_chat" if self.dialect == "ollama_generate" else self.dialect)
        return codec.decode_response(await provider.json_body(response), provider.target(model))

    def _replayed(self, answer: CompletionResponse) -> bytes:
        encode = self.inbound.stream_encoder(self.request).encode
        return b"".join([encode(event) for event in replay(answer)])

    def stream_error(self, error: SpineError, request_id: str) -> bytes:
        """The end of a stream that broke, as the caller's dialect says it."""
        encoder = self._encoder or self.inbound.stream_encoder(CompletionRequest(messages=()))
        return encoder.error(error, request_id)


def _unshown(inbound: Inbound, response: CompletionResponse) -> list[Notice]:
    """What the answer holds and its caller does not see. The head of a stream goes out before this is known."""
    notices: list[Notice] = []
    for index, part in enumerate(response.parts):
        if not isinstance(part, _SHOWN) and not inbound.shows(part):
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            message = f"a part of the answer, {kind}, cannot be shown to clients of this API"
            notices.append(Notice(code="dropped", message=message, param=f"content[{index}]"))
    return notices


def _identified(said: _Said) -> _Said:
    """With an id and a time, which not every provider gives: clients tell answers apart by them."""
    if said.id and said.created_s:
        return said
    id = said.id or f"{_ID_PREFIX}{next(_numbers):08x}"
    return msgspec.structs.replace(said, id=id, created_s=said.created_s or int(time.time()))


class _Continued:
    """The first chunk, then the others."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> _Continued:
        return self

    async def __anext__(self) -> bytes:
        if (first := self._first) is not None:
            self._first = None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()  # type: ignore[attr-defined]  # an async generator


async def _drained(response: HttpResponse) -> None:
    """Read on to the body's end, which is there already as a rule, so that the connection can be kept."""
    if response.is_over:
        return
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_DRAIN_S):
            await response.receive()


def _classified(error: ProviderError, dialect: str) -> ProviderError:
    """An error that came inside a 200, as the dialect's own table reads it."""
    if isinstance(error, BadReply) and isinstance(error.body, bytes):
        return codecs.relayed(dialect).decode_embedded_error(error.body) or error
    return error
