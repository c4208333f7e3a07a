"""`routing.local_only`: the promise that nothing leaves this machine.

It is kept where providers are handed out, so that it holds for whatever asks one: conversations, embeddings,
lists of models, counts of tokens, health checks.
"""

from __future__ import annotations

from genai_spine.catalog.rows import find_row
from genai_spine.engine.routing.book import stays_here
from genai_spine.model.errors import ConfigError
from genai_spine.policy.route import not_local
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry


class LocalRegistry(ProviderRegistry):
    """The providers of another registry that are on this machine. The others are known by name, and never given."""

    def __init__(self, registry: ProviderRegistry) -> None:
        self.remote: dict[str, LLMProvider] = {
            provider.name: provider for provider in registry if not stays_here(provider)
        }
        super().__init__([provider for provider in registry if provider.name not in self.remote])

    def register(self, provider_id: str, provider: LLMProvider) -> None:
        """Raises: ConfigError also where the provider is not on this machine."""
        if not stays_here(provider):
            raise ConfigError(f'"{provider_id}" is not on this machine, and routing.local_only lets nothing leave it')
        super().register(provider_id, provider)

    def get(self, provider_id: str) -> LLMProvider:
        """Raises: ProviderNotFound; NotLocal for a provider that is not asked."""
        try:
            return super().get(provider_id)
        except KeyError:
            if self._is_remote(provider_id):
                raise not_local(provider_id) from None
            raise

    def _is_remote(self, name: str) -> bool:
        row = find_row(name)
        return name in self.remote or any(row and provider.provider_type == row.id for provider in self.remote.values())
