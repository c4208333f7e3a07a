"""The specifications' other names for what a provider does: one thin alias each, here and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from genai_spine.model.content import Text
from genai_spine.model.errors import SpineError
from genai_spine.model.events import PartDelta, PartStart, StreamEvent
from genai_spine.model.response import CompletionResponse, UsageTotals

if TYPE_CHECKING:
    from genai_spine.providers.provider import LLMProvider
    from genai_spine.providers.status import ProviderStatus


async def text_of(events: AsyncIterator[StreamEvent]) -> AsyncGenerator[str, None]:
    """The answer's text as it comes, without thoughts, calls and refusals."""
    texts: set[int] = set()
    async with aclosing(cast("AsyncGenerator[StreamEvent, None]", events)):
        async for event in events:
            if isinstance(event, PartDelta) and event.index in texts:
                yield event.text
            elif isinstance(event, PartStart) and isinstance(event.part, Text):
                texts.add(event.index)
                if event.part.text:
                    yield event.part.text


def failed_response(error: SpineError, model: str | None) -> CompletionResponse:
    """An error as a value, for callers who asked for that."""
    provider = getattr(error, "provider", None)
    return CompletionResponse(model=model or "", provider=provider, success=False, error=error.message)


class Spellings:
    @property
    def _provider(self) -> LLMProvider:
        return cast("LLMProvider", self)

    async def generate(self, request: Any = None, **options: Any) -> CompletionResponse:
        return await self._provider.complete(request, **options)

    async def chat(self, request: Any = None, **options: Any) -> CompletionResponse:
        return await self._provider.complete(request, **options)

    def chat_stream(self, request: Any = None, **options: Any) -> AsyncIterator[StreamEvent]:
        return self._provider.stream(request, **options)

    def text_stream(self, request: Any = None, **options: Any) -> AsyncGenerator[str, None]:
        return text_of(self._provider.stream(request, **options))

    def stream_complete(self, request: Any = None, **options: Any) -> AsyncGenerator[str, None]:
        return self.text_stream(request, **options)

    async def complete_safe(self, request: Any = None, **options: Any) -> CompletionResponse:
        """Errors as values: an answer with `success` False and `error` in place of an exception."""
        try:
            return await self._provider.complete(request, **options)
        except SpineError as error:
            return failed_response(error, options.get("model") or getattr(request, "model", None))

    async def models(self) -> list[str]:
        return [card.id for card in await self._provider.list_models()]

    def supports_tools(self, model: str | None = None) -> bool:
        return self._provider.capabilities(model).tools is not False

    def supports_functions(self, model: str | None = None) -> bool:
        return self.supports_tools(model)

    def supports_system_messages(self, model: str | None = None) -> bool:
        return self._provider.capabilities(model).system_messages is not False

    def supports_images(self, model: str | None = None) -> bool:
        return self._provider.capabilities(model).images is not False

    def supports_thinking(self, model: str | None = None) -> bool:
        return bool(self._provider.capabilities(model).thinking)

    def supports_code_execution(self, model: str | None = None) -> bool:
        return bool(self._provider.capabilities(model).code_execution)

    def get_token_limit(self, model: str | None = None) -> int | None:
        return self._provider.token_limit(model)

    def get_usage(self) -> UsageTotals:
        return self._provider.usage()

    def get_status(self) -> ProviderStatus:
        return self._provider.status()
