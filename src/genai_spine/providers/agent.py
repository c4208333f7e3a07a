"""A provider as one agent sees it: the agent's model and limits where a request says nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from genai_spine.model.card import ModelCard
from genai_spine.model.events import StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
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

    async def list_models(self) -> list[ModelCard]:
        return await self.provider.list_models()

    async def close(self) -> None:
        await self.provider.close()
