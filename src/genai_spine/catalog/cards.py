"""What models.toml knows of a model. Must not know: settings, HTTP."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources

import msgspec

from genai_spine.model.card import Capabilities, ModelCard, Price


class CardEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of models.toml: everything but `match` is as on `ModelCard`."""

    match: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    price: Price | None = None


@cache
def load_entries() -> dict[str, tuple[CardEntry, ...]]:
    """The entries by provider row, in the order of the file; read once."""
    text = resources.files("genai_spine.catalog").joinpath("models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, tuple[CardEntry, ...]])


@lru_cache(maxsize=1024)
def card_of(row: str, provider: str, model: str) -> ModelCard:
    """The card of a model of a provider; one that knows nothing where no entry fits."""
    for entry in load_entries().get(row, ()):
        if fnmatchcase(model, entry.match):
            return ModelCard(
                id=model,
                provider=provider,
                context_window=entry.context_window,
                max_output_tokens=entry.max_output_tokens,
                capabilities=entry.capabilities,
                price=entry.price,
            )
    return ModelCard(id=model, provider=provider)


def rows_knowing(model: str) -> tuple[str, ...]:
    """The rows of which an entry fits a bare model name; a pattern that fits everything does not count."""
    return tuple(
        row
        for row, entries in load_entries().items()
        if any(entry.match != "*" and fnmatchcase(model, entry.match) for entry in entries)
    )
