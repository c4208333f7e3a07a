"""What is known of a model: models.toml's word on what it can do, and prices/*.json on what it costs.

A model that nothing is known of has a card that says so. Must not know: settings, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import msgspec

from genai_spine.catalog.names import candidates, did_you_mean, plain
from genai_spine.catalog.prices import PricedModel, fits, index_of, load_prices, rows_with_prices
from genai_spine.model.card import Capabilities, ModelCard, Price

FAMILY = "family"


class CardEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of models.toml, where what its fields mean is said; the others are as on `ModelCard`."""

    match: tuple[str, ...]
    source: str
    read: date
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    price: Price | None = None
    price_since: date | None = None
    earlier: tuple[Price, ...] = ()
    retired: date | None = None
    successor: str | None = None

    def describes(self, names: tuple[str, ...]) -> bool:
        return any(fits(name, pattern) for pattern in self.match for name in names)

    def dated(self, price: Price) -> Price:
        return msgspec.structs.replace(price, as_of=self.read, source=self.source)


class _Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    names: dict[str, dict[str, str]]
    entries: dict[str, tuple[CardEntry, ...]]


@cache
def _overlay() -> _Overlay:
    """models.toml, as scripts/make_catalog.py has compiled it: TOML takes ten times as long to read."""
    return msgspec.json.decode(
        resources.files("genai_spine.catalog").joinpath("cards.json").read_bytes(), type=_Overlay
    )


def load_entries() -> dict[str, tuple[CardEntry, ...]]:
    """The entries of models.toml by provider row, in the order of the file; read once."""
    return _overlay().entries


def own_name(row: str, model: str) -> str:
    """What the row's service calls a model that people also name otherwise; else the name as it is."""
    return _overlay().names.get(row, {}).get(model.lower(), model)


@lru_cache(maxsize=4096)
def card_of(row: str, provider: str, model: str) -> ModelCard:
    """The card of a model of a provider; one that knows nothing where nothing fits."""
    names = candidates(model)
    found: dict[str, Any] = {"capabilities": Capabilities()}
    for entry in _entries(row, names):
        for field in ("context_window", "max_output_tokens", "retired", "successor"):
            if found.get(field) is None:
                found[field] = getattr(entry, field)
        found["capabilities"] = found["capabilities"].over(entry.capabilities)
    priced = next((one for name in names if (one := index_of(row).find(name)) is not None), None)
    if priced is not None:
        found["name"], found["deprecated"] = priced.name, priced.deprecated
        found["context_window"] = found.get("context_window") or priced.context_window
    prices = _prices(row, names, priced)
    return ModelCard(id=model, provider=provider, prices=prices, price=_present(row, prices), **found)


def joined(listed: ModelCard, known: ModelCard) -> ModelCard:
    """The provider's own word on a model, filled up with the catalog's."""
    return msgspec.structs.replace(
        listed,
        provider=known.provider,
        context_window=listed.context_window or known.context_window,
        max_output_tokens=listed.max_output_tokens or known.max_output_tokens,
        capabilities=known.capabilities.over(listed.capabilities),
        price=known.price,
        prices=known.prices,
        deprecated=known.deprecated,
        retired=known.retired,
        successor=known.successor,
    )


def _entries(row: str, names: tuple[str, ...]) -> Iterator[CardEntry]:
    """The entries that describe a model: its row's, then, where the row sells others' models, its family's."""
    entries = load_entries()
    yield from (entry for entry in entries.get(row, ()) if entry.describes(names))
    if row in rows_with_prices():
        yield from (entry for entry in entries.get(FAMILY, ()) if entry.describes(names[-1:]))


def _prices(row: str, names: tuple[str, ...], priced: PricedModel | None) -> tuple[Price, ...]:
    entries = [entry for entry in load_entries().get(row, ()) if entry.describes(names)]
    stated = next((entry.dated(entry.price) for entry in entries if entry.price is not None), None)
    if stated is not None:
        return (stated,)
    prices = load_prices(row).dated(priced) if priced is not None else ()
    for entry in entries:
        if entry.price_since is not None and prices and prices[0].since is None:
            prices = (msgspec.structs.replace(prices[0], since=entry.price_since), *prices[1:])
        prices = (*(entry.dated(price) for price in entry.earlier), *prices)
    return prices


def _present(row: str, prices: tuple[Price, ...]) -> Price | None:
    """The ordinary price of the day the list was read."""
    day = load_prices(row).as_of or date.max
    return ModelCard(id="", prices=prices).price_at(day) if prices else None


def rows_knowing(model: str, rows: frozenset[str] | None = None) -> tuple[str, ...]:
    """The rows, of these or of all, that know a bare model name; a pattern that fits everything does not count."""
    name = model.lower()
    wanted = sorted(rows) if rows is not None else sorted(rows_with_prices() | load_entries().keys() - {FAMILY})
    return tuple(row for row in wanted if _knows(row, name))


def _knows(row: str, name: str) -> bool:
    if row != FAMILY and index_of(row).owns(name):
        return True
    own = (pattern for entry in load_entries().get(row, ()) for pattern in entry.match if pattern != "*")
    return name in _overlay().names.get(row, {}) or any(fits(name, pattern) for pattern in own)


@cache
def known_models(row: str) -> tuple[str, ...]:
    """The models of a row that the catalog has by name, in the order of its price list."""
    return tuple(dict.fromkeys(model.id for model in load_prices(row).models))


def suggestion(row: str, model: str) -> str:
    """The end of an error about a model that a provider does not have: what may have been meant."""
    listed = known_models(row)
    return did_you_mean(model, (*listed, *(plain(one) for one in listed)))
