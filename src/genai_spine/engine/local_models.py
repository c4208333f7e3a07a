"""The models on the user's own machines: fetched, looked at, removed. `ProviderManager.local`.

    async for progress in manager.local.pull("ollama/llama3.2"):
        print(progress.status, progress.fraction)

A model is named `provider/model`, or bare where one provider keeps models.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from genai_spine.model.card import ModelCard
from genai_spine.model.errors import InvalidRequest, ProviderNotFound
from genai_spine.model.pull import PullProgress
from genai_spine.providers.model_store import ModelStore
from genai_spine.providers.registry import ProviderRegistry


class LocalModels:
    """What the providers of a registry keep. All raise ProviderError, and ProviderNotFound for a name without one."""

    def __init__(self, registry: ProviderRegistry) -> None:
        self._registry = registry

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Fetch a model, or what is new of it. Leaving the loop early stops the pull; what came is kept."""
        store, name = self._find(model)
        async with aclosing(store.pull(name)) as pull:  # type: ignore[type-var]  # an async generator
            async for progress in pull:
                yield progress

    async def update(self, model: str | None = None) -> AsyncGenerator[PullProgress, None]:
        """Fetch what is new of a model, or of every model that is there."""
        stores = list(self._stores().values())
        name: str | None = None
        if model is not None:
            store, name = self._find(model)
            stores = [store]
        elif not stores:
            self._only()
        for store in stores:
            async with aclosing(store.update(name)) as update:  # type: ignore[type-var]  # the same
                async for progress in update:
                    yield progress

    async def show(self, model: str) -> ModelCard:
        """What is known of a model: its context window, what it can do, and the store's own words in `extra`."""
        store, name = self._find(model)
        return await store.show(name)

    async def running(self) -> list[ModelCard]:
        """The models in memory, of every provider that keeps models."""
        return [card for store in self._stores().values() for card in await store.running()]

    async def delete(self, model: str) -> None:
        store, name = self._find(model)
        await store.delete(name)

    async def copy(self, source: str, destination: str) -> None:
        """A second name for a model; `destination` names no provider, or the same one."""
        store, name = self._find(source)
        prefix = source.removesuffix(name)
        if not prefix:
            other, destination = self._find(destination)
            if other is not store:
                raise InvalidRequest("a model is copied within one provider", param="destination")
        await store.copy(name, destination.removeprefix(prefix))

    def _stores(self) -> dict[str, ModelStore]:
        found = {id: self._registry.get(id) for id in self._registry.list_providers()}
        return {id: provider for id, provider in found.items() if isinstance(provider, ModelStore)}

    def _find(self, model: str) -> tuple[ModelStore, str]:
        """`ollama/llama3.2` or `llama3.2`; a first part that is no provider belongs to the model's name."""
        provider, _, name = model.partition("/")
        if name and (store := self._stores().get(provider)) is not None:
            return store, name
        return self._only(), model

    def _only(self) -> ModelStore:
        stores = self._stores()
        if len(stores) == 1:
            return next(iter(stores.values()))
        if stores:
            raise ProviderNotFound(f"several providers keep models: say which, as in {next(iter(stores))}/MODEL")
        raise ProviderNotFound("no configured provider keeps models of its own: configure ollama, or start it")
