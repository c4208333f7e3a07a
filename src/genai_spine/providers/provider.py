"""The interface of every provider, ours or a stranger's.

A provider that works everywhere is one class with `complete`; `stream` too where it can:

    class Parrot(LLMProvider):
        async def complete(self, request):
            return CompletionResponse(model="parrot", parts=(Text(text=request.messages[-1].text),))

Everything else has an answer already; with a `default_model` it is also asked where nobody names a model, as a
fallback or as one of several. Whatever a subclass writes may be called with a request or with
keywords (`complete(messages=[…], temperature=0)`), names itself on the answer, calls tools by the caller's own
names (model/tool_names.py) and is counted in `usage`: the class wraps its own methods once, when it is defined
(fronts.py). The specifications' other spellings are in spellings.py. Must not know: HTTP, dialects, routing.
"""

from __future__ import annotations

import asyncio
import functools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import msgspec

from genai_spine.catalog.names import did_you_mean
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.embedding import EmbeddingResponse
from genai_spine.model.errors import InvalidRequest, ModelNotFound, ProviderError, SpineError
from genai_spine.model.events import StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankResponse
from genai_spine.model.response import CompletionResponse, TokenUsage, UsageTotals
from genai_spine.policy import tokens
from genai_spine.policy.cost import Priced, cost_of, priced, reported_cost
from genai_spine.policy.standing import Standing, standing_of
from genai_spine.providers.fronts import FRONTS
from genai_spine.providers.spellings import Spellings
from genai_spine.providers.status import Counts, ProviderMetrics, ProviderStatus
from genai_spine.settings import ProviderSettings


class LLMProvider(Spellings, ABC):
    """One place where models answer. `name` is its id in the registry."""

    name: str = "provider"
    _status: ProviderStatus | None = None
    _probed_at: datetime | None = None

    # ------------------------------------------------------------ what a subclass writes

    @abstractmethod
    async def complete(self, *args: Any, **options: Any) -> CompletionResponse:
        """Answer a `CompletionRequest`. Raises: ProviderError, InvalidRequest."""

    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[StreamEvent]:
        """The same as events. Without a stream of its own, a provider's whole answer is replayed."""
        async with aclosing(self.batches(*args, **options)) as batches:
            async for events in batches:
                for event in events:
                    yield event

    async def batches(self, *args: Any, **options: Any) -> AsyncGenerator[list[StreamEvent], None]:
        """The stream's events, those that came together in one list: what the engine reads.

        A subclass writes `stream`, or this in its place where many events arrive at a time.
        """
        if type(self).stream is not LLMProvider.stream:
            own = cast("AsyncGenerator[StreamEvent, None]", self.stream(*args, **options))
            async with aclosing(own) as events:
                async for event in events:
                    yield [event]
        else:
            yield list(replay(await self.complete(*args, **options)))

    async def embed(self, *args: Any, **options: Any) -> EmbeddingResponse:
        """Vectors for an `EmbeddingRequest`. Raises: InvalidRequest where there are none."""
        raise InvalidRequest(f"{self.name} makes no embeddings", param="model")

    async def rerank(self, *args: Any, **options: Any) -> RerankResponse:
        """The documents of a `RerankRequest` in order. Raises: InvalidRequest where it cannot be asked for."""
        raise InvalidRequest(f"{self.name} does not rerank documents", param="model")

    async def list_models(self) -> list[ModelCard]:
        """The models on offer, as far as the provider tells."""
        return []

    def card(self, model: str | None = None) -> ModelCard:
        """What is known of a model; the default one without a name."""
        return ModelCard(id=model or self.default_model or "default", provider=self.name)

    async def close(self) -> None:
        """Give connections back. The provider may be used again afterwards."""

    # ------------------------------------------------------------ what follows from it

    @property
    def default_model(self) -> str | None:
        return None

    @property
    def default_embed_model(self) -> str | None:
        """What `embed` asks where no model is named; None where that is not known."""
        settings = getattr(self, "settings", None)
        return settings.embed_model if isinstance(settings, ProviderSettings) else None

    @property
    def provider_type(self) -> str:
        return self.name

    async def is_model_available(self, model: str) -> bool:
        """Whether the provider lists the model now, by this name or by the one that it stands for."""
        names = {model, self.card(model).id}
        return any(card.id in names for card in await self.list_models())

    async def check_model(self, model: str) -> ModelCard:
        """The card of a model that the provider has. Raises: ModelNotFound, with the names that look like it."""
        listed = await self.list_models()
        if await self.is_model_available(model):
            return self.card(model)
        near = did_you_mean(model, [card.id for card in listed]) or self.suggestion(model)
        raise ModelNotFound(f'"{self.name}" has no model "{model}"{near}', provider=self.name, model=model)

    def suggestion(self, model: str) -> str:
        """What may have been meant by a model that the provider does not have: the end of a sentence, or nothing."""
        return ""

    def capabilities(self, model: str | None = None) -> Capabilities:
        return self.card(model).capabilities

    def token_limit(self, model: str | None = None) -> int | None:
        """The context window in tokens; None where it is not known."""
        return self.card(model).context_window

    async def count_tokens(self, content: str | CompletionRequest, model: str | None = None) -> tokens.TokenCount:
        """Input tokens. The number's `method` says how it came about: "exact", "provider" or "estimate"."""
        named = model or (content.model if isinstance(content, CompletionRequest) else None) or self.default_model
        meant = self.card(named).id if named is not None else None
        if tokens.takes_long(content, meant):
            return await asyncio.to_thread(tokens.estimate, content, meant)
        return tokens.estimate(content, meant)

    def calculate_cost(
        self, model: str, input_tokens: int, output_tokens: int, usage: TokenUsage | None = None
    ) -> Decimal | None:
        """USD for these tokens, or for all that `usage` counts; None where a price is not known."""
        counted = usage or TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens)
        return cost_of(counted, self.standing(model).price_of(counted.service_tier))

    def standing(self, model: str | None) -> Standing:
        """What holds of a model now: the price in force, and what its answers say beside where it is retired."""
        return standing_of(self.card(model), time.time())

    async def probe(self) -> None:
        """Ask whether the provider is there, at no cost: for its list of models. Raises: SpineError where it is not."""
        await self.list_models()

    async def is_healthy(self) -> bool:
        """Whether the provider answers a probe now."""
        begun = time.perf_counter()
        error: str | None = None
        try:
            await self.probe()
        except SpineError as failure:
            error = failure.message
        self.probed(error, time.perf_counter() - begun)
        return error is None

    def probed(self, error: str | None, latency_s: float) -> None:
        """Take down what a probe found; None is that the provider answered."""
        self._status = ProviderStatus.now(self.name, error=error, latency_s=latency_s)
        self._probed_at = self._status.last_check

    def status(self) -> ProviderStatus:
        """As of the last health check or call; the capabilities are those of the default model."""
        status = self._status or ProviderStatus(name=self.name, healthy=True)
        able = msgspec.structs.asdict(self.capabilities()) if self.default_model is not None else {}
        names = tuple(name for name, value in able.items() if value is True)
        return msgspec.structs.replace(status, name=self.name, capabilities=names)

    @functools.cached_property
    def counts(self) -> Counts:
        return Counts()  # here and not in __init__, which a subclass need not call

    def usage(self) -> UsageTotals:
        return self.counts.totals

    def reset_usage(self) -> None:
        self.counts.reset()

    @property
    def metrics(self) -> ProviderMetrics:
        return msgspec.structs.replace(self.counts.metrics, last_health_check=self._probed_at)

    def observe(
        self, model: str, usage: TokenUsage | None, duration_s: float, error: ProviderError | None = None
    ) -> Decimal | None:
        """Count one call that went out to this provider; its cost in USD, None where unknown."""
        if error is not None:
            self.counts.failed(duration_s)
            is_shut_out = error.status_code == 401 and error.fault != "caller"
            if not error.has_another_key and (is_shut_out or error.fault in ("network", "provider")):
                self._status = ProviderStatus.now(self.name, error=error.message, latency_s=duration_s)
            return None
        cost = self.cost(model, usage)
        self.counts.answered(usage, cost, duration_s)
        if self._status is None or not self._status.healthy:
            self._status = ProviderStatus.now(self.name, error=None, latency_s=duration_s)
        return cost

    def failed(self, error: ProviderError, model: str | None, begun: float) -> ProviderError:
        """The error with this provider's name on it, counted. `begun` is `time.perf_counter()` at the start."""
        error.provider = error.provider or self.name
        error.model = error.model or model
        if model is not None and isinstance(error, ModelNotFound) and (near := self.suggestion(model)):
            error.message = error.message.rstrip(". ").removesuffix(near) + near
        self.observe(model or "", None, time.perf_counter() - begun, error)
        return error

    def cost(self, model: str, usage: TokenUsage | None) -> Decimal | None:
        """What a call cost: as the provider reports it, else by the model's price, else unknown."""
        if usage is None:
            return None
        if usage.reported_cost_usd is not None and (reported := reported_cost(usage)) is not None:
            return reported
        return self.calculate_cost(model, usage.input_tokens or 0, usage.output_tokens or 0, usage)

    def priced(self, model: str, usage: TokenUsage | None) -> Priced:
        """What a call cost, and which price made it: for the ledger and for people."""
        service = usage.service_tier if usage is not None else None
        return priced(usage, self.standing(model).price_of(service))

    # ------------------------------------------------------------ the wrapping

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for method, front in FRONTS.items():
            if method in cls.__dict__:
                setattr(cls, method, front(cls, cls.__dict__[method]))
