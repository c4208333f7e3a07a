"""The price lists, prices/*.json: one file a row, read when one of the row's models is first looked up.

They are made by scripts/make_catalog.py, which says what stands in them and where it comes from. Must not know:
what models can do, settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

import msgspec

from genai_spine.catalog.names import has_maker
from genai_spine.model.card import Price

FOLDER = resources.files("genai_spine.catalog") / "prices"


class PricedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. `match` are its other names: exact, with `*`, or a regular expression after `~`."""

    id: str
    name: str | None = None
    match: tuple[str, ...] = ()
    context_window: int | None = None
    deprecated: bool | None = None
    prices: tuple[Price, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.id.lower(), *self.match)


class PriceList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one row's services cost, as `source` said on the day `as_of`."""

    source: str = ""
    as_of: date | None = None
    models: tuple[PricedModel, ...] = ()

    def dated(self, model: PricedModel) -> tuple[Price, ...]:
        """The model's prices, with where they come from."""
        return tuple(msgspec.structs.replace(price, as_of=self.as_of, source=self.source) for price in model.prices)


class Index:
    """A list's models by name. An exact name goes before a pattern, and the first before those after it."""

    def __init__(self, models: tuple[PricedModel, ...]) -> None:
        self.exact: dict[str, PricedModel] = {}
        self.patterns: list[tuple[str, PricedModel]] = []
        for model in models:
            for name in model.names:
                if name.startswith("~") or "*" in name:
                    self.patterns.append((name, model))
                else:
                    self.exact.setdefault(name, model)

    def find(self, name: str) -> PricedModel | None:
        """`name` is in lower case."""
        found = self.exact.get(name)
        return found or next((model for pattern, model in self.patterns if fits(name, pattern)), None)

    def owns(self, name: str) -> bool:
        """Whether a bare name means a model of this list.

        That it ends as a pattern says, or holds it somewhere, is enough only where list and name put the maker first.
        """
        return name in self.exact or any(
            fits(name, pattern)
            for pattern, model in self.patterns
            if not pattern.startswith("*") or (has_maker(name) and has_maker(model.id))
        )


def fits(name: str, pattern: str) -> bool:
    """Whether a name in lower case is what the pattern says: shell-style, or a regular expression after `~`."""
    head, star, tail = pattern.partition("*")
    if pattern.startswith("~"):
        return re.search(pattern[1:], name) is not None
    if "[" in head or "?" in head:
        return fnmatchcase(name, pattern)
    if not star:
        return name == pattern
    # Nearly all patterns are the beginning of a name: to compile them all takes longer than all the rest.
    return name.startswith(head) and (not tail or fnmatchcase(name, pattern))


@cache
def rows_with_prices() -> frozenset[str]:
    return frozenset(file.name.removesuffix(".json") for file in FOLDER.iterdir() if file.name.endswith(".json"))


@cache
def load_prices(row: str) -> PriceList:
    """The row's list; an empty one where it has none."""
    if row not in rows_with_prices():
        return PriceList()
    return msgspec.json.decode((FOLDER / f"{row}.json").read_bytes(), type=PriceList)


@cache
def index_of(row: str) -> Index:
    return Index(load_prices(row).models)


def all_prices() -> Mapping[str, PriceList]:
    return {row: load_prices(row) for row in sorted(rows_with_prices())}
