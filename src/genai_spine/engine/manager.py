"""The facade: everything a program or the gateway asks for goes through here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from genai_spine.engine.call import call
from genai_spine.engine.exchange import Answered, Exchange, Streaming
from genai_spine.engine.local_models import LocalModels
from genai_spine.engine.record import CallRecord
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import SpineError, StreamBroken
from genai_spine.model.events import MessageStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import CompletionResponse, Notice, UsageTotals
from genai_spine.policy.route import Candidate, Choice, RouteBook, Wanted, plan, unmet
from genai_spine.providers import plugins
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.model_lists import ModelLists
from genai_spine.providers.presence import OllamaProbe, without_absent_ollama
from genai_spine.providers.provider import LLMProvider, as_request
from genai_spine.providers.registry import ProviderRegistry, build_providers, settings_of
from genai_spine.providers.spellings import failed_response, text_of
from genai_spine.providers.status import ProviderMetrics, ProviderStatus
from genai_spine.settings import Duration, RetrySettings, Settings, load_settings

LISTING_S = 5.0
T = TypeVar("T", CompletionResponse, MessageStart, Answered, Streaming)

_MOST_PLANS = 1000

logger = logging.getLogger(__name__)


class ManagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Retries and fallback in the words of the first specification: the same wait before each retry."""

    enable_fallback: bool = True
    max_retries: int = 2
    retry_delay_ms: int = 1000

    @property
    def retry(self) -> RetrySettings:
        delay = Duration(self.retry_delay_ms / 1000)
        return RetrySettings(
            enable_fallback=self.enable_fallback,
            max_retries=self.max_retries,
            initial_delay=delay,
            max_delay=max(delay, RetrySettings().max_delay),
            backoff_factor=1.0,
        )


class ProviderManager:
    """Providers, which of them to ask, and what to do when one does not answer.

    async with ProviderManager.from_settings() as manager:
        answer = await manager.complete("Why is the sky blue?", model="ollama/llama3.2")
        print(answer.content)
    """

    def __init__(
        self,
        providers: ProviderRegistry | Mapping[str, LLMProvider] | Iterable[LLMProvider] = (),
        *,
        settings: Settings | None = None,
        retry: RetrySettings | None = None,
    ) -> None:
        self.registry: ProviderRegistry = (
            providers if isinstance(providers, ProviderRegistry) else ProviderRegistry(providers)
        )
        self.settings = settings or Settings()
        self.retry = retry or self.settings.retry
        self._fallbacks: list[str] = []
        self._book: RouteBook | None = None
        self._plans: dict[Wanted, tuple[Choice, ...]] = {}
        self._lists = ModelLists()

    # ------------------------------------------------------------ making one

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | Path | str | None = None) -> ProviderManager:
        """From settings, a mapping of them, or a file; from nothing: as `spine serve` finds them.

        Raises: ConfigError.
        """
        if settings is None or isinstance(settings, Path | str):
            path = Path(settings) if settings is not None else None
            loaded = load_settings(path, environ=os.environ, cwd=Path.cwd(), plugins=plugins.names())
            loaded = without_absent_ollama(loaded, OllamaProbe(loaded))
        else:
            loaded = settings_of(settings)
        return cls(ProviderRegistry(build_providers(loaded)), settings=loaded)

    @classmethod
    def new_ollama(cls, config: Mapping[str, Any] | None = None) -> ProviderManager:
        """Ollama first; `with_fallback` adds what comes after it."""
        return cls.from_settings({"providers": {"default": "ollama", "ollama": dict(config or {})}})

    def with_fallback(self, provider: LLMProvider) -> ProviderManager:
        """This manager, with one more provider to ask when those before it fail."""
        self.registry.register(provider.name, provider)
        self._fallbacks.append(provider.name)
        self._forget_plans()
        return self

    def with_config(self, config: ManagerConfig) -> ProviderManager:
        self.retry = config.retry
        return self

    async def __aenter__(self) -> ProviderManager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.registry.close()

    # ------------------------------------------------------------ routing

    @property
    def default_provider(self) -> str | None:
        return self.book.default

    @property
    def book(self) -> RouteBook:
        """What routing looks at; made anew when a provider is added."""
        if self._book is None or len(self._book.candidates) != len(self.registry):
            self._book = self._new_book()
            self._plans.clear()
        return self._book

    def _new_book(self) -> RouteBook:
        settings = self.settings
        candidates = {provider.name: _candidate(provider) for provider in self.registry}
        tables = settings.providers
        order = [*tables.fallback_order, *self._fallbacks]
        default = tables.default or (next(iter(candidates)) if self._fallbacks else None)
        names = {alias: found for alias in ("claude", "anthropic") if (found := self._id_of(alias)) is not None}
        return RouteBook(
            candidates=candidates,
            aliases=names,
            default=default if default in candidates else None,
            fallback_order=tuple(id for id in order if id in candidates),
            routes={name: tuple(t.target for t in route.targets) for name, route in settings.routes.items()},
        )

    def _id_of(self, alias: str) -> str | None:
        if alias in self.registry:
            return None
        try:
            return self.registry.get(alias).name
        except KeyError:
            return None

    def _forget_plans(self) -> None:
        self._book = None
        self._plans.clear()

    def plan(self, wanted: Wanted) -> tuple[Choice, ...]:
        """The targets for a request, in order. Raises: ProviderNotFound."""
        book = self.book
        found = self._plans.get(wanted)
        if found is None:
            found = plan(wanted, book)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[wanted] = found
        return found

    # ------------------------------------------------------------ asking

    async def complete(
        self,
        request: Any = None,
        *,
        raise_errors: bool = True,
        record: CallRecord | None = None,
        **options: Any,
    ) -> CompletionResponse:
        """One answer. `request` is a `CompletionRequest`, messages in any form, or a string.

        Raises: SpineError; with `raise_errors=False` the answer says `success` False and `error`.
        """
        try:
            wanted = as_request(request, options)

            async def send(choice: Choice) -> CompletionResponse:
                provider = self.registry.get(choice.provider)
                return await provider.complete(wanted.aimed_at(choice.model))

            response = await call(send, self.plan(_wanted(wanted)), self.retry, record or CallRecord())
            return _noticed(response, unmet(wanted.provider_hint, wanted.cost_limit))
        except SpineError as error:
            if raise_errors:
                raise
            return failed_response(error, options.get("model") or getattr(request, "model", None))

    async def stream(
        self, request: Any = None, *, record: CallRecord | None = None, **options: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        """The answer as events. Until the first one says something, another provider can still take over."""
        wanted = as_request(request, options)

        async def send(choice: Choice) -> tuple[list[StreamEvent], AsyncGenerator[list[StreamEvent], None]]:
            provider = self.registry.get(choice.provider)
            batches = provider.batches(wanted.aimed_at(choice.model, stream=True))
            first: list[StreamEvent] = []
            async for events in batches:
                first.extend(events)
                if type(first[-1]) is not MessageStart:
                    return first, batches
            raise StreamBroken("the provider's stream was empty", provider=provider.name)

        first, rest = await call(send, self.plan(_wanted(wanted)), self.retry, record or CallRecord())
        if isinstance(start := first[0], MessageStart):
            first[0] = _noticed(start, unmet(wanted.provider_hint, wanted.cost_limit))
        async with aclosing(rest):
            for event in first:
                yield event
            async for events in rest:
                for event in events:
                    yield event

    def text_stream(self, request: Any = None, **options: Any) -> AsyncIterator[str]:
        """The answer's text as it comes."""
        return text_of(self.stream(request, **options))

    async def embed(
        self, request: Any = None, *, record: CallRecord | None = None, **options: Any
    ) -> EmbeddingResponse:
        """Vectors for a text, a list of texts or an `EmbeddingRequest`. Raises: SpineError."""
        if not isinstance(request, EmbeddingRequest):
            request = EmbeddingRequest(input=request, **options)
        wanted: EmbeddingRequest = request

        async def send(choice: Choice) -> EmbeddingResponse:
            provider = self.registry.get(choice.provider)
            model = choice.model if wanted.model is not None else None
            return await provider.embed(msgspec.structs.replace(wanted, model=model))

        # Vectors of two models cannot be compared: a named model is asked for where it is, or nowhere.
        choices = self.plan(Wanted(model=wanted.model, provider=wanted.provider))
        return await call(send, choices[:1], self.retry, record or CallRecord())

    async def rerank(self, request: Any = None, *, record: CallRecord | None = None, **options: Any) -> RerankResponse:
        """The documents that answer a query, the best first: `rerank("…", documents=[…], model="cohere/rerank-v3.5")`.

        `request` is the query or a `RerankRequest`. Raises: SpineError.
        """
        if not isinstance(request, RerankRequest):
            request = RerankRequest(query=request, **options)
        wanted: RerankRequest = request

        async def send(choice: Choice) -> RerankResponse:
            provider = self.registry.get(choice.provider)
            model = choice.model if wanted.model is not None else None
            return await provider.rerank(msgspec.structs.replace(wanted, model=model))

        # Scores of two models cannot be compared: a named model is asked for where it is, or nowhere.
        choices = self.plan(Wanted(model=wanted.model, provider=wanted.provider))
        return await call(send, choices[:1], self.retry, record or CallRecord())

    generate = chat = complete
    chat_stream = stream
    stream_complete = text_stream

    # ------------------------------------------------------------ for the gateway

    async def answer(self, exchange: Exchange, record: CallRecord) -> Answered:
        """A caller's request in its dialect, answered in it. Raises: SpineError."""

        async def send(choice: Choice) -> Answered:
            return await exchange.answer(self.registry.get(choice.provider), choice)

        answer = await call(send, self.plan(exchange.wanted), self.retry, record)
        return _noticed(answer, exchange.unmet)

    async def begin(self, exchange: Exchange, record: CallRecord) -> Streaming:
        """The same as a stream that has begun. Raises: SpineError."""

        async def send(choice: Choice) -> Streaming:
            return await exchange.begin(self.registry.get(choice.provider), choice)

        streaming = await call(send, self.plan(exchange.wanted), self.retry, record)
        return _noticed(streaming, exchange.unmet)

    # ------------------------------------------------------------ what there is

    @property
    def local(self) -> LocalModels:
        """The models on the user's own machines: pulled, updated, shown, removed."""
        return LocalModels(self.registry)

    async def list_models(self, provider: str | None = None, *, refresh: bool = False) -> list[ModelCard]:
        """The models of one provider, or of all that answer, each given `LISTING_S` seconds.

        A list is believed for some minutes; `refresh` asks for it anew.
        """
        if provider is not None:
            return await self._lists.of(self.registry.get(provider), refresh=refresh)

        async def listed(provider: LLMProvider) -> list[ModelCard]:
            try:
                async with asyncio.timeout(LISTING_S):
                    return await self._lists.of(provider, refresh=refresh)
            except (SpineError, TimeoutError) as error:
                logger.info("%s does not list its models: %s", provider.name, error or "no answer in time")
                return []

        found = await asyncio.gather(*(listed(provider) for provider in self.registry))
        return [card for cards in found for card in cards]

    async def status(self) -> list[ProviderStatus]:
        """Each provider, asked now."""
        await asyncio.gather(*(provider.is_healthy() for provider in self.registry))
        return [provider.status() for provider in self.registry]

    def metrics(self) -> dict[str, ProviderMetrics]:
        return {provider.name: provider.metrics for provider in self.registry}

    def usage(self) -> dict[str, UsageTotals]:
        return self.registry.get_total_usage()

    def get_usage_summary(self) -> dict[str, Any]:
        return self.registry.get_usage_summary()

    def reset_all_usage(self) -> None:
        self.registry.reset_all_usage()


def _noticed(answer: T, notices: tuple[Notice, ...]) -> T:
    """The answer, or the beginning of one, with these notices before its own."""
    return msgspec.structs.replace(answer, notices=(*notices, *answer.notices)) if notices else answer


def _wanted(request: CompletionRequest) -> Wanted:
    return Wanted(
        model=request.model,
        provider=request.provider,
        hint=request.provider_hint,
        fallbacks=request.fallbacks,
    )


def _candidate(provider: LLMProvider) -> Candidate:
    settings = provider.settings if isinstance(provider, HttpProvider) else None
    return Candidate(
        id=provider.name,
        row=provider.provider_type,
        is_local=getattr(provider, "is_local", False),
        default_model=provider.default_model,
        models=tuple(settings.models) if settings is not None else (),
        names=settings.custom_models if settings is not None else {},
    )
