"""A caller's request in its own dialect, and the answer in the same, whoever gives it.

Where the provider speaks the caller's dialect too, the caller's bytes are relayed (relaying.py). Where it does
not, or where a quirk or setting of the provider concerns this request, it goes through the model. Both are one
`send` of the same call (call.py), with the same plan, retries and counting. One exchange may be begun at two
targets at once: all that belongs to one stream is in its `Streaming`. Must not know: HTTP of the gateway, keys
of callers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from copy import copy
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from genai_spine.dialects import relayed_request
from genai_spine.dialects.interface import Inbound, StreamEncoder
from genai_spine.dialects.plain_request import is_plain
from genai_spine.dialects.relay import StreamTap
from genai_spine.engine.costs.asks import USUAL_BYTES_PER_TOKEN, asks_of_exchange
from genai_spine.engine.ids import Ids
from genai_spine.engine.routing.request_facts import expected
from genai_spine.engine.streams import event_stream, relaying
from genai_spine.engine.streams.continuation import Resume, continued
from genai_spine.engine.streams.event_stream import Watched
from genai_spine.engine.streams.first_event import first_of
from genai_spine.engine.streams.joint import can_be_continued
from genai_spine.model.content import Opaque, Refusal, Text, ToolCall
from genai_spine.model.errors import InvalidRequest, ProviderError, SpineError
from genai_spine.model.events import MessageStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.policy.budget_need import Asks
from genai_spine.policy.route import Choice, Wanted
from genai_spine.policy.strategy import ANSWER_TOKENS
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.wire.http import Headers
from genai_spine.wire.sse import encode_comment

if TYPE_CHECKING:
    from genai_spine.engine.record import CallRecord

_ids = Ids("gen-")
_Said = TypeVar("_Said", CompletionResponse, MessageStart)
_ORDINARY_BYTES = 20_000
_SHOWN = (Text, Refusal, ToolCall)
"""The parts that every dialect shows."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in the caller's dialect. `usage` is None where the provider did not count."""

    body: bytes
    provider: str
    model: str
    usage: TokenUsage | None = None
    cost_usd: Decimal | None = None
    notices: tuple[Notice, ...] = ()


class Streaming(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in the caller's dialect, begun: its first bytes are known to be good.

    After `first` come `chunks`, which raise ProviderError where the stream breaks; `write_error` then gives the bytes
    of its end, of the error and the request's id. Whoever has it reads the chunks to their end, or closes them: the
    attempt is settled then.
    """

    first: bytes
    chunks: AsyncGenerator[bytes, None]
    provider: str
    model: str
    write_error: Callable[[SpineError, str], bytes]
    source: AsyncGenerator[object, None] | None = None
    """What the chunks are made of, where that is another stream: it has begun, though they may not have."""
    notices: tuple[Notice, ...] = ()

    async def aclose(self) -> None:
        await self.chunks.aclose()
        if self.source is not None:
            await self.source.aclose()


class Exchange:
    """One request of one caller. `headers` are those of its dialect, which go on where it is spoken."""

    __slots__ = ("_is_plain", "_request", "body", "dialect", "headers", "inbound", "min_tokens_per_s", "peek", "stream")

    def __init__(
        self,
        dialect: str,
        inbound: Inbound,
        body: bytes,
        *,
        headers: Headers = (),
        stream: bool | None = None,
        min_tokens_per_s: float = 0.0,
    ) -> None:
        """`stream` is what the dialect takes where the caller does not say; `min_tokens_per_s` is as in the settings.

        Raises: InvalidRequest.
        """
        self.dialect = dialect
        self.inbound = inbound
        self.body = body
        self.headers = headers
        self.peek = relayed_request.peek(body)
        self.stream = bool(self.peek.stream if self.peek.stream is not None else stream)
        self.min_tokens_per_s = min_tokens_per_s
        self._request: CompletionRequest | None = None
        self._is_plain: bool | None = None

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
    def identity(self) -> tuple[str, bytes, Headers]:
        """What makes two requests of one caller the same."""
        return self.dialect, self.body, self.headers

    def asked(self) -> CompletionRequest:
        """The request through the model. Raises: InvalidRequest."""
        return self.request

    def expected_tokens(self) -> int:
        """Tokens that the call may use, in and out: what a limit sets aside until the usage is known.

        Of an ordinary request by the length of its bytes: to count better costs more than it is worth, since it is
        corrected anyway. A long one may hold images, which are few tokens for their bytes. Raises: InvalidRequest.
        """
        if len(self.body) <= _ORDINARY_BYTES or self.is_plain():
            return len(self.body) // USUAL_BYTES_PER_TOKEN + ANSWER_TOKENS
        return expected(self.request, self.peek.model)

    def is_plain(self) -> bool:
        """Whether a look at it tells that it is words and functions alone."""
        if self._is_plain is None:
            self._is_plain = is_plain(self.peek.members)
        return self._is_plain

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

    def tell(self, record: CallRecord) -> None:
        """What the call's record is to know of it."""
        record.dialect = self.dialect
        record.tokens, record.asks = self.expected_tokens, self.asks
        record.cost_limit = self.peek.cost_limit

    def asks(self) -> Asks:
        """What it asks for that costs."""
        return asks_of_exchange(self)

    def _relayed(self, provider: LLMProvider, choice: Choice, max_tokens: int | None) -> Exchange | None:
        """What goes on in the caller's own bytes; None where it goes through the model. So does what must be shorter,
        for each dialect has its own word for that; but several answers can be asked for in the caller's bytes alone."""
        if not isinstance(provider, HttpProvider):
            return None
        if not provider.relays(self.dialect, self.peek.members, choice.model):
            return None
        if max_tokens is None:
            return self
        if self.asks().answers == 1:
            return None
        shorter = copy(self)
        shorter.peek = relayed_request.with_limit(
            self.peek, dialect=self.dialect, field=provider.quirks.max_tokens_field, max_tokens=max_tokens
        )
        return shorter

    def _asked_of(self, provider: LLMProvider) -> CompletionRequest:
        """The request through the model, with what the caller's headers add where they are understood."""
        if isinstance(provider, HttpProvider) and self.dialect in codecs.PARTICULAR and provider.speaks(self.dialect):
            return codecs.particular(self.dialect).with_headers(self.request, self.headers)
        return self.request

    def answer(
        self, provider: LLMProvider, choice: Choice, max_tokens: int | None = None
    ) -> Coroutine[Any, Any, Answered]:
        """`max_tokens` where the answer must be shorter than was asked for. Raises: ProviderError, InvalidRequest."""
        relayed = self._relayed(provider, choice, max_tokens)
        if relayed is not None and isinstance(provider, HttpProvider):
            return relayed._relay(provider, choice)
        return self._translate(provider, choice, max_tokens)

    async def _translate(self, provider: LLMProvider, choice: Choice, max_tokens: int | None) -> Answered:
        request = self._asked_of(provider).aimed_at(choice.model, max_tokens=max_tokens)
        response = _identified(await provider.complete(request))
        return Answered(
            body=self.inbound.encode_response(response, self.request),
            provider=provider.name,
            model=response.model,
            usage=response.usage,
            cost_usd=response.cost_usd,
            notices=(*response.notices, *_unshown(self.inbound, response)),
        )

    async def _relay(self, provider: HttpProvider, choice: Choice) -> Answered:
        begun = time.perf_counter()
        model = provider.target(choice.model).model
        try:
            response = await relaying.post(self, provider, model)
            if response.status >= 300:
                raise await provider.error_of(response, self.dialect)
            body = await provider.json_body(response)
            said = codecs.tapping(self.dialect).tap_answer(body)
        except ProviderError as error:
            raise provider.failed(relaying.classified(error, self.dialect), model, begun) from error.__cause__
        usage = relaying.usage_of(self.dialect, said.usage)
        return Answered(
            body=body,
            provider=provider.name,
            model=said.model or model,
            usage=usage,
            cost_usd=provider.observe(model, usage, time.perf_counter() - begun),
            notices=provider.standing(choice.model).notices,
        )

    async def begin(
        self, provider: LLMProvider, choice: Choice, attempt: Watched, resume: Resume | None = None
    ) -> Streaming:
        """Returns once the first bytes worth showing are there; `attempt` is then settled when the stream ends.

        With `resume` it goes through the model, so that another target can go on where this one breaks; unless what is
        asked for is such that none could.
        Raises: ProviderError, InvalidRequest; the attempt is left to who called.
        """
        if resume is not None and not can_be_continued(self.request):
            resume = None
        relayed = self._relayed(provider, choice, attempt.max_tokens) if resume is None else None
        if relayed is not None and isinstance(provider, HttpProvider):
            tap = relaying.open_tap(relayed, provider, choice)
            chunks = relaying.stream(relayed, provider, choice, attempt, tap)
            return Streaming(
                first=await first_of(chunks, provider, choice.model),
                chunks=chunks,
                provider=provider.name,
                model=provider.card(choice.model).id,
                write_error=partial(self.write_error, tap=tap),
                notices=provider.standing(choice.model).notices,
            )
        encoder = self.inbound.stream_encoder(self.request)
        request = self._asked_of(provider).aimed_at(choice.model, stream=True, max_tokens=attempt.max_tokens)
        stream = await event_stream.begin(provider, request, attempt, min_tokens_per_s=self.min_tokens_per_s)
        batches, said = stream.rest, list[Notice]()
        if resume is not None:
            batches = continued(stream, self.request, resume, said.append)
            await anext(batches)  # the first events, which stand in `stream` too
        notices: tuple[Notice, ...] = ()
        if type(start := stream.first[0]) is MessageStart:
            stream.first[0], notices = _identified(start), start.notices
        return Streaming(
            first=b"".join(map(encoder.encode, stream.first)),
            chunks=_encoded(batches, encoder) if resume is None else self._joined(batches, encoder, said),
            provider=provider.name,
            model=provider.card(choice.model).id,
            write_error=encoder.error,
            source=batches,
            notices=notices,
        )

    async def _joined(
        self, batches: AsyncGenerator[list[StreamEvent], None], encoder: StreamEncoder, said: list[Notice]
    ) -> AsyncGenerator[bytes, None]:
        """What is said on the way goes out as comments: headers are long gone. NDJSON and Gemini have none."""
        encode = encoder.encode
        async with aclosing(batches):
            async for events in batches:
                out = b"".join([encode(event) for event in events])
                if said and self.inbound.KEEP_ALIVE:
                    out = b"".join([encode_comment(f"{each.code}: {each.message}") for each in said]) + out
                said.clear()
                yield out

    def write_error(self, error: SpineError, request_id: str, tap: StreamTap | None = None) -> bytes:
        """The end of a stream that was relayed, through `tap`."""
        encoder = self.inbound.stream_encoder(CompletionRequest(messages=()))
        if tap is not None:
            tap.hand_over(encoder)
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
    id = said.id or _ids.new()
    return msgspec.structs.replace(said, id=id, created_s=said.created_s or int(time.time()))


async def _encoded(
    batches: AsyncGenerator[list[StreamEvent], None], encoder: StreamEncoder
) -> AsyncGenerator[bytes, None]:
    encode = encoder.encode
    async with aclosing(batches):
        async for events in batches:
            yield encode(events[0]) if len(events) == 1 else b"".join([encode(event) for event in events])
