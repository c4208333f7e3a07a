"""Which models answer best: ranking.toml, or the user's own list. Must not know: prices, settings."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import date
from functools import cache, lru_cache
from importlib import resources

import msgspec

from genai_spine.catalog.names import candidates
from genai_spine.catalog.prices import fits


class Band(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    match: tuple[str, ...]


class Ranking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ranking.toml, where what it says is explained."""

    read: date
    source: str
    but: tuple[str, ...]
    band: tuple[Band, ...]


@cache
def load_ranking() -> Ranking:
    text = resources.files("genai_spine.catalog").joinpath("ranking.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Ranking)


def rank_of(provider: str, model: str | None, own: Sequence[str] = ()) -> int:
    """A model's place, 0 the best; models of no place share the last one.

    `own` are patterns in place of ours, each a place: of the model's name, or of `provider/model`.
    """
    if own:
        names = _names(provider, model)
        return next((place for place, pattern in enumerate(own) if _any_fits(names, pattern.lower())), len(own))
    return _our_rank(model or "")


@lru_cache(4096)
def _our_rank(model: str) -> int:
    bands = load_ranking().band
    names = candidates(model)
    if any(_any_fits(names, pattern) for pattern in load_ranking().but):
        return len(bands)
    return next(
        (place for place, band in enumerate(bands) if any(_any_fits(names, pattern) for pattern in band.match)),
        len(bands),
    )


def _names(provider: str, model: str | None) -> tuple[str, ...]:
    if model is None:
        return (provider.lower(),)
    return (f"{provider}/{model}".lower(), *candidates(model))


def _any_fits(names: Sequence[str], pattern: str) -> bool:
    return any(fits(name, pattern) for name in names)
