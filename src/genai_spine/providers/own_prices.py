"""The prices that the settings name, over those of the catalog: `providers.<id>.cost`.

What a table names stands in place of the catalog's rate, in every tier and since ever; a model's own table stands over
its provider's. What is served in another way ("batch", "flex" …) costs what the catalog says.
"""

from __future__ import annotations

from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from genai_spine.model.card import ModelCard, Price, over
from genai_spine.settings import CostSettings, ModelCostSettings

SOURCE = "settings"
LOCAL = Price(input=Decimal(0), output=Decimal(0), cached_input=Decimal(0), source="local")
"""What runs on a machine of one's own costs nothing by the call, whatever is said of it elsewhere."""

_RATES = {
    "input_cost_per_1k": ("input", 1000),
    "output_cost_per_1k": ("output", 1000),
    "input_cost_per_1m": ("input", 1),
    "output_cost_per_1m": ("output", 1),
    "cached_input_cost_per_1m": ("cached_input", 1),
    "cache_write_cost_per_1m": ("cache_write", 1),
    "cache_write_1h_cost_per_1m": ("cache_write_1h", 1),
    "reasoning_cost_per_1m": ("reasoning_output", 1),
    "audio_input_cost_per_1m": ("audio_input", 1),
    "audio_output_cost_per_1m": ("audio_output", 1),
    "request_cost": ("requests_per_1k", 1000),
    "search_cost": ("searches_per_1k", 1000),
    "second_cost": ("second", 1),
}
"""Key of the settings → rate of the price, and what to multiply with."""


def with_own_price(card: ModelCard, cost: CostSettings | None, *names: str, is_local: bool = False) -> ModelCard:
    """The card with the prices of the settings, by any of its names; the same card where these say nothing of it."""
    own = _price_of(cost, (card.id, *names)) if cost is not None else None
    if own is None:
        has_none = is_local and card.price is None and not card.prices
        return msgspec.structs.replace(card, price=LOCAL, prices=(LOCAL,)) if has_none else card
    known = card.prices or ((card.price,) if card.price is not None else ())
    prices = tuple(_put(own, price) if price.service is None else price for price in known)
    if not any(price.service is None and price.since is None and price.hours is None for price in prices):
        prices = (_put(own, Price()), *prices)
    price = _put(own, card.price if card.price is not None else Price())
    return msgspec.structs.replace(card, price=price, prices=prices)


def _put(own: Price, price: Price) -> Price:
    put = msgspec.structs.replace(over(own, price), since=price.since, hours=price.hours)
    return put if put.cached_input is not None else msgspec.structs.replace(put, cached_input=put.input)


def _price_of(cost: CostSettings, names: tuple[str, ...]) -> Price | None:
    """What the settings say of a model; None where they say nothing."""
    tables: list[ModelCostSettings] = [cost]
    lowered = [name.lower() for name in names]
    for pattern, table in cost.models.items():
        if any(fnmatchcase(name, pattern.lower()) for name in lowered):
            is_exact = pattern.lower() in lowered
            tables.append(table) if is_exact else tables.insert(1, table)
    rates: dict[str, Any] = {}
    for table in tables:
        for key, (rate, times) in _RATES.items():
            if (value := getattr(table, key)) is not None:
                rates[rate] = Decimal(repr(value)) * times
    return Price(**rates, source=SOURCE) if rates else None
