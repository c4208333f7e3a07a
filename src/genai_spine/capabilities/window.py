"""How many tokens fit a model, as far as anybody tells."""

from __future__ import annotations

from genai_spine.engine.manager import ProviderManager
from genai_spine.model.errors import SpineError
from genai_spine.policy.route import Choice
from genai_spine.providers.ollama_provider import OllamaProvider
from genai_spine.providers.provider import LLMProvider

OLLAMA_WINDOW = 4096
"""What Ollama gives a model on a small machine, whatever that could hold; it cuts a longer prompt without a word
(docs.ollama.com/context-length, 2026-11)."""


async def window_of(manager: ProviderManager, choice: Choice) -> int | None:
    """In tokens, in and out; None where nobody knows.

    What the settings or the catalog say, else what the provider's list of models says.
    """
    provider = manager.router.provider_of(choice)
    if isinstance(provider, OllamaProvider):
        return provider.settings.num_ctx or await _loaded(provider, choice.model) or OLLAMA_WINDOW
    known = provider.token_limit(choice.model)
    return known if known is not None else await _listed(manager, provider, choice.model)


async def _loaded(provider: OllamaProvider, model: str | None) -> int | None:
    """The window of a model that is in memory."""
    name = provider.card(model).id
    try:
        running = await provider.running()
    except SpineError:
        return None
    return next((card.context_window for card in running if card.id in (name, f"{name}:latest")), None)


async def _listed(manager: ProviderManager, provider: LLMProvider, model: str | None) -> int | None:
    name = provider.card(model).id
    try:
        cards = await manager.list_models(provider.name)
    except SpineError:
        return None
    return next((card.context_window for card in cards if card.id == name), None)
