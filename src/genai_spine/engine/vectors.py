"""A call for vectors, or for scores: whom it goes to, and what becomes of it. One target, or none: vectors of two
models cannot be mixed, nor their scores compared.

Where no model is named it is the provider's own for vectors that is asked, and so it is that one which the caller's key
must be allowed, which limits and budgets are asked about and whose price is charged; never the provider's chat model.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.costs import asks
from genai_spine.engine.record import CallRecord
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import SpineError
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import Notice
from genai_spine.policy.route import Choice, Wanted

if TYPE_CHECKING:
    from genai_spine.engine.manager import ProviderManager
    from genai_spine.engine.routing.router import Router

_NO_CHOICE = Notice(
    code="dropped",
    message="vectors of two models cannot be mixed: it is the model that is named which answers, or the default one",
    param="provider_hint",
)


async def embed(manager: ProviderManager, wanted: EmbeddingRequest, record: CallRecord) -> EmbeddingResponse:
    """Raises: SpineError."""
    asked = _aimed(wanted, manager.router)
    names_model = asked.model is not None

    async def send(choice: Choice, attempt: Attempt) -> EmbeddingResponse:
        provider = manager.registry.get(choice.provider)
        return await provider.embed(msgspec.structs.replace(wanted, model=choice.model if names_model else None))

    record.operation = "embeddings"
    record.asks = partial(asks.asks_of_embedding, wanted)
    record.tokens = partial(asks.tokens_of_embedding, wanted)
    record.cost_limit = wanted.cost_limit
    slot = None
    if manager.cache is not None:
        slot = manager.cache.slot_of_embedding(wanted, record, manager.router.first(asked, record.caller))
    if slot is not None and (kept := await slot.vectors()) is not None:
        manager.traffic.close(record)
        return _noticed(kept, wanted, ())
    response = await manager.ask_first(send, asked, record)
    if response.id is None:  # OpenAI gives none, and Mistral's client takes no answer without one
        response = msgspec.structs.replace(response, id=record.call_id)
    if slot is not None:
        slot.keep_vectors(response)
    return _noticed(response, wanted, record.billing_notices())


async def rerank(manager: ProviderManager, wanted: RerankRequest, record: CallRecord) -> RerankResponse:
    """Raises: SpineError."""

    async def send(choice: Choice, attempt: Attempt) -> RerankResponse:
        provider = manager.registry.get(choice.provider)
        model = choice.model if wanted.model is not None else None
        return await provider.rerank(msgspec.structs.replace(wanted, model=model))

    record.operation = "rerank"
    record.asks = partial(asks.asks_of_rerank, wanted)
    record.tokens = partial(asks.tokens_of_rerank, wanted)
    record.cost_limit = wanted.cost_limit
    response = await manager.ask_first(send, Wanted(model=wanted.model, provider=wanted.provider), record)
    return msgspec.structs.replace(response, notices=(*response.notices, *record.billing_notices()))


def _noticed(response: EmbeddingResponse, wanted: EmbeddingRequest, more: tuple[Notice, ...]) -> EmbeddingResponse:
    if wanted.provider_hint is not None:
        more = (*more, _NO_CHOICE)
    return msgspec.structs.replace(response, notices=(*response.notices, *more)) if more else response


def _aimed(wanted: EmbeddingRequest, router: Router) -> Wanted:
    """Where it is to go, with the model by name, as far as there is one for vectors."""
    asked = unnamed = Wanted(model=wanted.model or None, provider=wanted.provider, hint=wanted.provider_hint)
    if asked.model is not None:
        if asked.provider is not None or asked.model in router.book.routes:
            return asked
        if (named := router.book.find(asked.model.removesuffix("/"))) is None:
            return asked
        unnamed = msgspec.structs.replace(asked, model=None, provider=named.id)
    try:
        (choice,) = router.first(unnamed).choices
        model = router.provider_of(choice).default_embed_model
    except SpineError:  # it is asked for once more, and a caller's key decides what he is told of it
        return asked
    return asked if model is None else Wanted(model=model, provider=choice.provider, hint=wanted.provider_hint)
