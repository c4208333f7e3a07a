"""The facade: everything a program or the gateway asks for goes through here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Unpack

import msgspec

from genai_spine.engine import vectors
from genai_spine.engine.attempt import Attempt
from genai_spine.engine.caching import cached_exchanges
from genai_spine.engine.caching.response_cache import ResponseCache
from genai_spine.engine.call import Send, call
from genai_spine.engine.content.answers import Heard
from genai_spine.engine.content.keeping import ContentKeeper
from genai_spine.engine.costs import asks
from genai_spine.engine.costs.accounts import unopened
from genai_spine.engine.costs.alerts import Alerts
from genai_spine.engine.costs.must_write import MustWrite
from genai_spine.engine.exchange import Answered, Exchange, Streaming
from genai_spine.engine.health import checker_for, metrics_of
from genai_spine.engine.keywords import StreamCall
from genai_spine.engine.limits.limiter import Limiter, state_of
from genai_spine.engine.limits.shared_targets import SharedTargets
from genai_spine.engine.local_models import LocalModels
from genai_spine.engine.manager_config import ManagerConfig as ManagerConfig
from genai_spine.engine.manager_config import settings_with
from genai_spine.engine.observers import Observers
from genai_spine.engine.record import CallRecord, record_of, tell_terms
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.routing.local_only import LocalRegistry
from genai_spine.engine.routing.request_facts import wanted_of
from genai_spine.engine.routing.router import Router
from genai_spine.engine.single_flight import SingleFlight
from genai_spine.engine.streams import event_stream
from genai_spine.engine.streams.continuation import continued
from genai_spine.engine.streams.event_stream import EventStream
from genai_spine.engine.streams.resumption import Resumption
from genai_spine.engine.targets import Targets
from genai_spine.engine.traffic import Traffic
from genai_spine.ledger.opening import alert_book, open_ledger
from genai_spine.ledger.writer import Ledger
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingKeywords, EmbeddingResponse
from genai_spine.model.errors import ConfigError, SpineError
from genai_spine.model.events import MessageStart, StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.keywords import as_embedding_request, as_request, as_rerank_request
from genai_spine.model.request import CompletionKeywords
from genai_spine.model.rerank import RerankKeywords, RerankResponse
from genai_spine.model.response import CompletionResponse, Notice, UsageTotals
from genai_spine.policy import custom_strategies
from genai_spine.policy.route import Choice, Wanted
from genai_spine.providers import plugins
from genai_spine.providers.model_lists import ModelLists
from genai_spine.providers.presence import OllamaProbe, without_absent_ollama
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry, build_providers, settings_of
from genai_spine.providers.spellings import failed_response, text_of
from genai_spine.providers.status import ProviderMetrics, ProviderStatus
from genai_spine.settings import RetrySettings, Settings, load_settings

LISTING_S = 5.0
A = TypeVar("A")
S = TypeVar("S", CompletionResponse, MessageStart, Answered, Streaming)

logger = logging.getLogger(__name__)


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
        self.settings = settings_with(settings or Settings(), retry)
        given = providers if isinstance(providers, ProviderRegistry) else ProviderRegistry(providers)
        self.registry = LocalRegistry(given) if self.settings.routing.local_only else given
        self._fallbacks: list[str] = []
        self.limiter = Limiter(self.settings, state_of(self.settings))
        self.traffic = Traffic(self.registry, self.settings, self.settings.retry, self.limiter)
        SharedTargets(self.traffic.targets).join(self.limiter.state)
        self.router = Router(self.registry, self.settings, self.traffic.targets, fallbacks=self._fallbacks)
        self.traffic.keep = self.router.keep
        self.router.objections.append(self.limiter.why_not)
        self.budgets = self.traffic.spending.join(self.router)
        """What may be spent, and what is left of it."""
        self.cache = ResponseCache.of(self.settings, self.router, self.traffic.recent)
        """Answers that are given again, if settings say so."""
        self.alerts = Alerts(self.settings.costs.alerts)
        """Who is told when a budget is nearly used up, and when it is: `alerts.callbacks`."""
        self.budgets.on_level.append(self.alerts.raised)
        self.ledger: Ledger | None = None
        """Where what is spent is written down, from `start` on, if settings say so."""
        self.traffic.write_to(unopened(self.settings))
        self.observers = Observers.of(self.settings.logging.observers, self.traffic.watch)
        """Who is told of each call that is over: `observers.add`."""
        self.content: ContentKeeper | None = None
        """What is kept of prompts and answers, if settings say so."""
        self._flights = SingleFlight() if self.settings.routing.single_flight else None
        self.health = checker_for(self.registry, self.settings, self.traffic.targets)
        self._lists = ModelLists()

    # ------------------------------------------------------------ making one

    @classmethod
    def from_settings(cls, settings: Settings | Mapping[str, Any] | Path | str | None = None) -> ProviderManager:
        """From settings, a mapping of them, or a file; from nothing: as `spine serve` finds them.

        Raises: ConfigError.
        """
        if settings is None or isinstance(settings, Path | str):
            path = Path(settings) if settings is not None else None
            loaded = load_settings(
                path,
                environ=os.environ,
                cwd=Path.cwd(),
                plugins=plugins.names(),
                strategies=custom_strategies.names,
            )
            for warning in loaded.loaded.warnings:
                logger.warning("%s", warning)
            loaded = without_absent_ollama(loaded, OllamaProbe(loaded))
        else:
            loaded = settings_of(settings)
        return cls(ProviderRegistry(build_providers(loaded)), settings=loaded)

    @classmethod
    def new_ollama(cls, config: Mapping[str, Any] | None = None) -> ProviderManager:
        """Ollama first; `with_fallback` adds what comes after it."""
        return cls.from_settings({"providers": {"default": "ollama", "ollama": dict(config or {})}})

    def with_fallback(self, provider: LLMProvider) -> ProviderManager:
        """This manager, with one more provider to ask, for a model that it has, when those before it fail."""
        self.registry.register(getattr(provider, "name", ""), provider)
        self._fallbacks.append(provider.name)
        self.router.forget()
        return self

    def with_config(self, config: ManagerConfig) -> ProviderManager:
        """This manager, with these retries and this fallback; the rest is as it was."""
        if not isinstance(config, ManagerConfig):
            raise ConfigError(f"with_config: expected a ManagerConfig, got {type(config).__name__}")
        self.traffic.retry = config.over(self.traffic.retry)
        self.settings = msgspec.structs.replace(self.settings, retry=self.traffic.retry)
        return self

    async def __aenter__(self) -> ProviderManager:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ProviderManager cannot be pickled or copied: make one of the settings in each process")

    async def start(self) -> None:
        """Begin what runs beside the calls: health probes, the connection to shared state, the ledger.

        Calls may come before, and no ledger tells of them, of which a warning is logged. Raises: ConfigError.
        """
        self.health.start()
        await self.limiter.state.start()
        if self.cache is not None:
            self.cache.store.check()
        if self.ledger is None and self.settings.ledger.url is not None:
            self.ledger = open_ledger(self.settings.ledger)
            self.traffic.write_to(self.ledger.write if self.ledger is not None else None)
            self.content = ContentKeeper.of(self.settings, self.ledger)
            self.traffic.must_write = MustWrite.of(self.ledger, self.settings, self.traffic.spending.budgets.all)
        try:
            self.alerts.start(alert_book(self.settings.ledger))
            await self.traffic.spending.start(self.settings, self.ledger)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self.health.close()
        await self.traffic.close_streams()
        await self.registry.close()
        await self.limiter.state.close()
        await self.traffic.spending.close()
        await self.alerts.close()
        if self.cache is not None:
            await self.cache.store.close()
        self.traffic.under_way.close()
        ledger, self.ledger, self.traffic.must_write, self.content = self.ledger, None, None, None
        self.traffic.write_to(unopened(self.settings))
        await self.observers.close()
        if ledger is not None:
            try:
                await asyncio.to_thread(ledger.close)  # it waits for the database
            except RuntimeError:  # the interpreter ends, and gives no more threads
                ledger.close()

    # ------------------------------------------------------------ routing

    @property
    def default_provider(self) -> str | None:
        return self.router.book.default

    @property
    def targets(self) -> Targets:
        """How each model that was asked fares."""
        return self.traffic.targets

    # ------------------------------------------------------------ asking

    async def complete(
        self,
        request: Any = None,
        *,
        raise_errors: bool = True,
        timeout: float | None = None,
        cache_control: str | None = None,
        record: CallRecord | None = None,
        **options: Unpack[CompletionKeywords],
    ) -> CompletionResponse:
        """One answer. `request` is a `CompletionRequest`, messages in any form, or a string.

        `timeout` is for the whole call with all its attempts, in seconds; `cache_control` is as the gateway's header.
        Raises: SpineError; with `raise_errors=False` the answer says `success` False and `error`.
        """
        record = record or CallRecord()
        wanted, response = None, None
        try:
            tell_terms(record, timeout, cache_control)
            wanted = as_request(request, options)
            asks.tell(record, wanted)

            async def send(choice: Choice, attempt: Attempt) -> CompletionResponse:
                asked = wanted.aimed_at(choice.model, max_tokens=attempt.max_tokens)
                return await self.router.provider_of(choice).complete(asked)

            decision = self.router.decide(wanted_of(wanted), lambda: wanted, about=record.about, caller=record.caller)
            slot = self.cache.slot_of_request(wanted, record, decision) if self.cache is not None else None
            if slot is not None and (response := await slot.response()) is not None:
                return response
            response = await call(send, decision, self.traffic, record)
            if slot is not None:
                slot.keep_response(response, wanted.max_tokens)
            return _noticed(response, record)
        except SpineError as error:
            if raise_errors:
                raise
            response = failed_response(error, options.get("model") or getattr(request, "model", None))
            return response
        finally:
            self.traffic.close(record)
            if self.content is not None:
                self.content.keep_asked(record, wanted, response)

    async def stream(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        cache_control: str | None = None,
        record: CallRecord | None = None,
        **options: Unpack[CompletionKeywords],
    ) -> AsyncGenerator[StreamEvent, None]:
        """The answer as events. Until the first one says something, another provider can still take over."""
        wanted = as_request(request, options)
        record = record or record_of(timeout, cache_control)
        record.is_stream = True
        asks.tell(record, wanted)
        said: CompletionResponse | Heard | None = Heard() if self.content is not None else None

        async def send(choice: Choice, attempt: Attempt) -> EventStream:
            provider = self.router.provider_of(choice)
            request = wanted.aimed_at(choice.model, stream=True, max_tokens=attempt.max_tokens)
            least = self.settings.streams.min_tokens_per_s
            return await event_stream.begin(provider, request, attempt, min_tokens_per_s=least)

        try:
            decision = self.router.decide(wanted_of(wanted), lambda: wanted, about=record.about, caller=record.caller)
            slot = self.cache.slot_of_request(wanted, record, decision) if self.cache is not None else None
            if slot is not None and (kept := await slot.response()) is not None:
                said = kept
                for event in replay(kept):
                    yield event
                return
            stream = await call(send, decision, self.traffic, record, discard=EventStream.aclose)
            begun = stream.first[0]
            if isinstance(begun, MessageStart):
                stream.first[0] = _noticed(begun, record)
            resume = Resumption.of(record, self.traffic, self.router.provider_of)
            batches = stream.batches() if resume is None else continued(stream, wanted, resume)
            if slot is not None:
                batches = slot.keeping(batches, begun, wanted.max_tokens)
            if isinstance(said, Heard):
                batches = said.hear(batches)
            async with self.traffic.reading(record, batches):
                async for events in batches:
                    for event in events:
                        yield event
        finally:
            self.traffic.close(record)
            if self.content is not None:
                self.content.keep_asked(record, wanted, said)

    def text_stream(self, request: Any = None, **options: Unpack[StreamCall]) -> AsyncGenerator[str, None]:
        """The answer's text as it comes."""
        return text_of(self.stream(request, **options))

    async def embed(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        cache_control: str | None = None,
        record: CallRecord | None = None,
        **options: Unpack[EmbeddingKeywords],
    ) -> EmbeddingResponse:
        """Vectors for a text, a list of texts or an `EmbeddingRequest`. Raises: SpineError."""
        wanted = as_embedding_request(request, options)
        return await vectors.embed(self, wanted, record or record_of(timeout, cache_control))

    async def rerank(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        record: CallRecord | None = None,
        **options: Unpack[RerankKeywords],
    ) -> RerankResponse:
        """The documents that answer a query, the best first: `rerank("…", documents=[…], model="cohere/rerank-v3.5")`.

        `request` is the query or a `RerankRequest`. Raises: SpineError.
        """
        return await vectors.rerank(self, as_rerank_request(request, options), record or record_of(timeout, None))

    async def ask_first(self, send: Send[A], wanted: Wanted, record: CallRecord) -> A:
        """The answer of the first target or none: vectors, scores and counts of two models cannot be exchanged.

        Raises: SpineError.
        """
        try:
            return await call(send, self.router.first(wanted, record.caller), self.traffic, record)
        finally:
            self.traffic.close(record)

    generate = chat = complete
    chat_stream = stream
    stream_complete = text_stream

    async def run(self, capability: str, /, **members: Any) -> Any:
        """What a capability gives: `run("summarize", content="…")`. Raises: SpineError.

        Capabilities stand above the engine, so they are looked up by name.
        """
        registry = import_module("genai_spine.capabilities.registry")
        return await registry.run(self, capability, **members)

    # ------------------------------------------------------------ for the gateway

    async def answer(self, exchange: Exchange, record: CallRecord) -> Answered:
        """A caller's request in its dialect, answered in it. Raises: SpineError."""

        def send(choice: Choice, attempt: Attempt) -> Coroutine[Any, Any, Answered]:
            return exchange.answer(self.router.provider_of(choice), choice, attempt.max_tokens)

        def ask() -> Coroutine[Any, Any, Answered]:
            return call(send, decision or self._decision_of(exchange, record), self.traffic, record)

        exchange.tell(record)
        decision, slot = None, None
        try:
            if self.cache is not None:
                decision = self._decision_of(exchange, record)
                slot = self.cache.slot_of_exchange(exchange, record, decision)
                if slot is not None and (kept := await cached_exchanges.answered(slot, exchange)) is not None:
                    return kept
            answer = await (ask() if self._flights is None else self._shared(ask, exchange, record))
        finally:
            self.traffic.close(record)
        if slot is not None:
            cached_exchanges.keep(slot, exchange, answer)
        return _noticed(answer, record)

    async def _shared(
        self, ask: Callable[[], Coroutine[Any, Any, Answered]], exchange: Exchange, record: CallRecord
    ) -> Answered:
        """One answer for all who ask the same at the same time; those who join follow the first one's record."""
        assert self._flights is not None

        async def work() -> tuple[Answered, CallRecord]:
            with self.traffic.lending(record):
                return await ask(), record

        terms = (record.caller, record.timeout_s, record.about)
        answer, made = await self._flights.share((*terms, *exchange.identity), work)
        if made is not record:
            record.follow(made)
            self.traffic.recent.add(record)
        return answer

    async def begin(self, exchange: Exchange, record: CallRecord) -> Streaming:
        """The same as a stream that has begun; the record is closed by who reads it to its end. Raises: SpineError."""

        def send(choice: Choice, attempt: Attempt) -> Coroutine[Any, Any, Streaming]:
            resume = Resumption.of(record, self.traffic, self.router.provider_of)
            return exchange.begin(self.router.provider_of(choice), choice, attempt, resume)

        exchange.tell(record)
        record.is_stream = True
        decision = self._decision_of(exchange, record)
        slot = self.cache.slot_of_exchange(exchange, record, decision) if self.cache is not None else None
        if slot is not None and (kept := await cached_exchanges.streaming(slot, exchange)) is not None:
            return kept
        streaming = await call(send, decision, self.traffic, record, discard=Streaming.aclose)
        if slot is not None:
            streaming = await cached_exchanges.keeping(slot, exchange, streaming)
        return _noticed(streaming, record)

    def _decision_of(self, exchange: Exchange, record: CallRecord) -> Decision:
        return self.router.decide(
            exchange.wanted,
            exchange.asked,
            body=exchange.body,
            members=exchange.peek.members,
            about=record.about,
            caller=record.caller,
            is_plain=exchange.is_plain,
        )

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
        return await self.health.check_all()

    def metrics(self) -> dict[str, ProviderMetrics]:
        return {provider.name: metrics_of(provider, self.targets) for provider in self.registry}

    def usage(self) -> dict[str, UsageTotals]:
        return self.registry.get_total_usage()

    def get_usage_summary(self) -> dict[str, Any]:
        return self.registry.get_usage_summary()

    def reset_all_usage(self) -> None:
        self.registry.reset_all_usage()


def _noticed(answer: S, record: CallRecord) -> S:
    """The answer, or the beginning of one, with what there is to say beside it before its own notices."""
    if len(record.attempts) == 1 and record.attempts[0].reservation is None:
        return answer
    notices: tuple[Notice, ...] = (*record.cap_notices(), *record.billing_notices())
    return msgspec.structs.replace(answer, notices=(*notices, *answer.notices)) if notices else answer
