"""What stands before the methods that a provider's class writes, put there once, when the class is defined.

A request may be given as one or as keywords; an answer names who gave it, calls tools by the caller's own names and
is counted; an exception is one of the tree; and what a stranger's class gives is looked at. Where a class calls
`super()`, only the outermost method does all that.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from genai_spine.model import accept
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.errors import InvalidRequest, ProviderError, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, StreamEvent
from genai_spine.model.keywords import as_embedding_request, as_request, as_rerank_request
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankResponse
from genai_spine.model.response import CompletionResponse, Notice
from genai_spine.model.told_back import teller_of, told_back
from genai_spine.policy import tokens
from genai_spine.providers.answer_check import StreamCheck, fault_of_answer, fault_of_models
from genai_spine.providers.foreign_failure import CODE as FAILED
from genai_spine.providers.foreign_failure import failure_of, provider_failed, throw

if TYPE_CHECKING:
    from genai_spine.providers.provider import LLMProvider

logger = logging.getLogger(__name__)

V = TypeVar("V", EmbeddingResponse, RerankResponse)


def _is_outermost(provider: LLMProvider, owner: type, method: str) -> bool:
    """Whether `owner` is the class whose method was called, and not one reached through `super()`."""
    return _definer(type(provider), method) is owner


@functools.lru_cache(1000)
def _definer(kind: type, method: str) -> type:
    return next(base for base in kind.__mro__ if method in base.__dict__)


def _told(provider: LLMProvider, error: Exception, model: str | None, begun: float, method: str) -> SpineError:
    """What a caller hears of an exception of `method`: an error of the tree, counted; the log has what was none."""
    if isinstance(error, UnicodeEncodeError):
        return accept.unsayable(error)
    if accept.is_not_json(error):
        return InvalidRequest(f"the request holds what is not JSON: {error}")
    failure = failure_of(error, method)
    if failure.code == FAILED:
        logger.error("%s.%s failed", provider.name, method, exc_info=error)
    return provider.failed(failure, model, begun) if isinstance(failure, ProviderError) else failure


def _front_complete(owner: type, complete: Callable[..., Awaitable[CompletionResponse]]) -> Any:
    is_strangers = not owner.__module__.startswith("genai_spine.")  # ours gives the types that it says

    @functools.wraps(complete)
    async def front(self: LLMProvider, request: Any = None, **options: Any) -> CompletionResponse:
        request = as_request(request, options)
        if not _is_outermost(self, owner, "complete"):
            return await complete(self, request)
        begun = time.perf_counter()
        try:
            response = await complete(self, request)
        except Exception as error:
            throw(_told(self, error, request.model, begun, "complete"))
        if is_strangers and (fault := fault_of_answer(response)) is not None:
            raise self.failed(provider_failed(f"{type(self).__name__}.complete {fault}"), request.model, begun)
        duration_s = time.perf_counter() - begun
        cost = self.observe(response.model, response.usage, duration_s)
        if request.tools:
            response = told_back(response, request.tools)
        notices = (*self.standing(request.model).notices, *response.notices)
        return msgspec.structs.replace(
            response, provider=self.name, cost_usd=cost, duration_s=duration_s, notices=notices
        )

    return front


def _closing(provider: LLMProvider, events: Any) -> AbstractAsyncContextManager[Any]:
    """What a provider's `stream` gave, closed at the end where it can be. Raises: ProviderError."""
    if isinstance(events, AsyncIterable):
        return aclosing(events) if hasattr(events, "aclose") else nullcontext(events)
    if isinstance(events, Coroutine):
        events.close()  # it will not be awaited
    raise provider_failed(
        f"{type(provider).__name__}.stream gave {type(events).__name__}, which is no async iterator of events: "
        "write `async def stream` with `yield` in it"
    )


def _front_stream(owner: type, stream: Callable[..., AsyncGenerator[StreamEvent, None]]) -> Any:
    @functools.wraps(stream)
    async def batches(self: LLMProvider, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        check = StreamCheck()
        async with _closing(self, stream(self, request)) as events:
            async for event in events:
                if (fault := check.fault_of(event)) is not None:
                    raise provider_failed(f"{type(self).__name__}.stream {fault}")
                yield [event]

    fronted = _front_batches(owner, batches, "stream")

    @functools.wraps(stream)
    async def front(self: LLMProvider, request: Any = None, **options: Any) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(fronted(self, request, **options)) as groups:
            async for events in groups:
                for event in events:
                    yield event

    return front


def _front_batches(
    owner: type, batches: Callable[..., AsyncGenerator[list[StreamEvent], None]], method: str = "batches"
) -> Any:
    @functools.wraps(batches)
    async def front(self: LLMProvider, request: Any = None, **options: Any) -> AsyncGenerator[list[StreamEvent], None]:
        request = as_request(request, options)
        is_outermost = _is_outermost(self, owner, method)
        notices = self.standing(request.model).notices if is_outermost else ()
        teller = teller_of(request.tools) if request.tools else None
        begun = time.perf_counter()
        try:
            async with aclosing(batches(self, request)) as groups:
                async for events in groups:
                    if not events:
                        continue
                    if notices:
                        events, notices = with_notices(events, notices), ()
                    if teller is not None and not (events := teller(events)):
                        continue
                    if is_outermost and type(end := events[-1]) is MessageEnd:
                        self.observe(request.model or "", end.usage, time.perf_counter() - begun)
                    yield events
        except Exception as error:
            if not is_outermost:
                raise
            throw(_told(self, error, request.model, begun, method))

    return front


def _require(provider: LLMProvider, method: str, answer: object, kind: type) -> None:
    """Raises: ProviderError where a method gave something else."""
    if not isinstance(answer, kind):
        what = f"{type(provider).__name__}.{method} gave {type(answer).__name__}, which is no {kind.__name__}"
        raise provider_failed(what)


def _front_embed(owner: type, embed: Callable[..., Awaitable[EmbeddingResponse]]) -> Any:
    return _front_of_values(owner, "embed", embed, as_embedding_request, EmbeddingResponse)


def _front_rerank(owner: type, rerank: Callable[..., Awaitable[RerankResponse]]) -> Any:
    return _front_of_values(owner, "rerank", rerank, as_rerank_request, RerankResponse)


def _front_of_values(
    owner: type,
    name: str,
    method: Callable[..., Awaitable[V]],
    made: Callable[[Any, dict[str, Any]], Any],
    kind: type[V],
) -> Any:
    @functools.wraps(method)
    async def front(self: LLMProvider, request: Any = None, **options: Any) -> V:
        request = made(request, options)
        if not _is_outermost(self, owner, name):
            return await method(self, request)
        begun = time.perf_counter()
        try:
            response: V = await method(self, request)
            _require(self, name, response, kind)
        except Exception as error:
            throw(_told(self, error, request.model, begun, name))
        usage = response.usage
        if usage is not None and usage.input_tokens is not None and usage.output_tokens is None:
            # Vectors and scores are no tokens.
            usage = msgspec.structs.replace(usage, output_tokens=0)
        self.observe(response.model, usage, time.perf_counter() - begun)
        model: str = request.model or response.model
        return msgspec.structs.replace(
            response,
            usage=usage,
            provider=self.name,
            cost_usd=self.priced(model, usage).cost_usd,
            notices=(*self.standing(model).notices, *response.notices),
        )

    return front


def with_notices(events: list[StreamEvent], notices: tuple[Notice, ...]) -> list[StreamEvent]:
    """The first events of a stream, and what is said beside: callers hear of it before the answer."""
    if isinstance(first := events[0], MessageStart):
        events[0] = msgspec.structs.replace(first, notices=(*notices, *first.notices))
    return events


def _front_list_models(owner: type, list_models: Callable[..., Awaitable[list[ModelCard]]]) -> Any:
    @functools.wraps(list_models)
    async def front(self: LLMProvider) -> list[ModelCard]:
        is_outermost = _is_outermost(self, owner, "list_models")
        try:
            cards = await list_models(self)
            if is_outermost and (fault := fault_of_models(cards)) is not None:
                raise provider_failed(f"{type(self).__name__}.list_models {fault}")
        except Exception as error:
            if not is_outermost or isinstance(error, SpineError):
                raise
            throw(failure_of(error, "list_models", tells=True))
        return cards

    return front


def _front_count_tokens(owner: type, count_tokens: Callable[..., Awaitable[tokens.TokenCount]]) -> Any:
    @functools.wraps(count_tokens)
    async def front(self: LLMProvider, *args: Any, **options: Any) -> tokens.TokenCount:
        try:
            return await count_tokens(self, *args, **options)
        except Exception as error:
            if isinstance(error, SpineError) or not _is_outermost(self, owner, "count_tokens"):
                raise
            logger.error("%s.count_tokens failed", self.name, exc_info=error)
            throw(failure_of(error, "count_tokens"))

    return front


FRONTS: dict[str, Callable[[type, Any], Any]] = {
    "complete": _front_complete,
    "stream": _front_stream,
    "batches": _front_batches,
    "embed": _front_embed,
    "rerank": _front_rerank,
    "list_models": _front_list_models,
    "count_tokens": _front_count_tokens,
}
