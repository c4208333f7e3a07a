"""Tables about models for docs/models.md and docs/tokens.md, made of the catalog and of measured errors."""

from __future__ import annotations

import json
from pathlib import Path

from genai_spine.catalog.cards import card_of, known_models
from genai_spine.catalog.prices import all_prices
from genai_spine.cli import model_matrix
from genai_spine.model.card import ModelCard
from genai_spine.policy.tokens import FAMILIES

Table = tuple[list[str], list[list[str]]]

MAKERS = ("openai", "anthropic", "gemini", "mistral", "deepseek", "cohere", "groq")
"""Rows whose models are in the matrix; the others mostly sell these."""

_ERRORS = Path(__file__).with_name("token_errors.json")
_KINDS = ("all", "answers", "requests", "requests with tools")


def matrix() -> Table:
    """What each model that takes tools can do, of those whose service still answers, as far as the catalog knows."""
    cards = [card for row in MAKERS for card in _present(row)]
    heads = [heading for heading in model_matrix.HEADINGS if heading != "retired"]
    return heads, [[f"`{row[0]}`", *row[1:-1]] for row in model_matrix.rows(cards)]


def _present(row: str) -> list[ModelCard]:
    day = all_prices()[row].as_of
    cards = [card_of(row, row, model) for model in known_models(row)]
    return [
        card
        for card in cards
        if card.capabilities.tools
        and not card.deprecated
        and (card.retired is None or day is None or card.retired > day)
    ]


def sources() -> Table:
    """Where prices are from."""
    rows = [
        [f"`{row}`", str(len(listed.models)), str(listed.as_of), f"<{listed.source}>"]
        for row, listed in all_prices().items()
    ]
    return ["row", "models", "read", "source"], rows


def token_errors() -> Table:
    """By family: the median error of estimates, and what nine of ten stay below."""
    measured = json.loads(_ERRORS.read_text(encoding="utf-8"))
    head = ["family", "contents", *(f"{kind}: median (90 %)" for kind in _KINDS)]
    rows = []
    for family in FAMILIES:
        kinds = measured.get(family)
        if kinds and kinds["all"]:
            cells = [_error(kinds[kind]) for kind in _KINDS]
            rows.append([f"`{family}`", str(kinds["all"][0]), *cells])
    return head, rows


def _error(error: list[float] | None) -> str:
    return "–" if error is None else f"{error[1]:.1%} ({error[2]:.0%})"
