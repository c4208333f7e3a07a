"""A provider as one agent sees it: the agent's model and limits where a request says nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.events import StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import CompletionResponse
from genai_spine.policy.tokens import TokenCount
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import AgentSettings


class AgentProvider(LLMProvider):
    """`usage()` counts this agent's calls only; the provider behind it counts everyone's."""

    def __init__(self, provider: LLMProvider, agent: AgentSettings) -> None:
        self.name = provider.name
        self.provider = provider
        self.agent = agent

    @property
    def provider_type(self) -> str:
        return self.provider.provider_type

    @property
    def default_model(self) -> str | None:
        return self.agent.model or self.provider.default_model

    def card(self, model: str | None = None) -> ModelCard:
        return self.provider.card(model or self.agent.model)

    def _with_defaults(self, request: CompletionRequest) -> CompletionRequest:
        fields = ("model", "temperature", "max_tokens")
        missing = {name: getattr(self.agent, name) for name in fields if getattr(request, name) is None}
        changes: dict[str, Any] = {name: value for name, value in missing.items() if value is not None}
        return msgspec.structs.replace(request, **changes) if changes else request

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return await self.provider.complete(self._with_defaults(request))

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        async with aclosing(self.provider.batches(self._with_defaults(request))) as batches:
            async for events in batches:
                yield events

    # The agent's model is one to talk to: what follows is the provider's own, as if the agent had said nothing.

    @property
    def default_embed_model(self) -> str | None:
        return self.provider.default_embed_model

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        return await self.provider.embed(request)

    async def rerank(self, request: RerankRequest) -> RerankResponse:
        return await self.provider.rerank(request)

    async def count_tokens(self, content: str | CompletionRequest, model: str | None = None) -> TokenCount:
        if isinstance(content, CompletionRequest):
            return await self.provider.count_tokens(self._with_defaults(content), model)
        return await self.provider.count_tokens(content, model or self.agent.model)

    def suggestion(self, model: str) -> str:
        return self.provider.suggestion(model)

    async def list_models(self) -> list[ModelCard]:
        return await self.provider.list_models()

    async def close(self) -> None:
        await self.provider.close()
