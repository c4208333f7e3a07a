"""The cards of all models that ever answered, for those who reckon with their prices: no call is made of them."""

from __future__ import annotations

from collections.abc import Callable

from genai_spine.catalog.cards import card_of, own_name
from genai_spine.catalog.rows import find_row
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import ConfigError
from genai_spine.providers.own_prices import with_own_price
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import build_provider
from genai_spine.settings import Settings


def cards_of(settings: Settings) -> Callable[[str, str], ModelCard | None]:
    """Provider and model → card, with the prices that the settings name. A provider that is not configured any more
    has the catalog's, if it is called as a row is; of any other nothing is known: None."""
    built: dict[str, LLMProvider | None] = {}

    def card(provider: str, model: str) -> ModelCard | None:
        if provider not in built:
            built[provider] = _build(settings, provider)
        known = built[provider]
        if known is not None:
            return known.card(model)
        row = find_row(provider)
        if row is None:
            return None
        return with_own_price(card_of(row.id, provider, own_name(row.id, model)), None, model, is_local=row.local)

    return card


def _build(settings: Settings, provider: str) -> LLMProvider | None:
    table = settings.providers.by_id.get(provider)
    if table is None:
        return None
    try:
        return build_provider(provider, table, settings.timeouts)
    except ConfigError:  # a plug-in that is gone: its prices are not known
        return None


def providers_of(settings: Settings, service: str) -> frozenset[str]:
    """The ids of the providers that are asked at this service (the id of a catalog row)."""
    ids = {service}
    for id, table in settings.providers.by_id.items():
        row = find_row(table.type or id)
        if row is not None and row.id == service:
            ids.add(id)
        elif id == service:
            ids.discard(id)
    return frozenset(ids)
