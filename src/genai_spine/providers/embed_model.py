"""The model that a provider's `embed` asks where none is named: the settings', or its row's."""

from __future__ import annotations

from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import ProviderSettings


def embed_model_of(provider: LLMProvider) -> str | None:
    """None where it is not known, as of a provider of somebody's own."""
    settings = getattr(provider, "settings", None)
    if isinstance(settings, ProviderSettings) and settings.embed_model is not None:
        return settings.embed_model
    return provider.row.embed_model if isinstance(provider, HttpProvider) else None
