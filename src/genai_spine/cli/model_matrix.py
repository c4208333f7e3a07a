"""`spine models --capabilities`: what each model can do, as a table. Only formatting: facts are on the cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from genai_spine.model.card import Capabilities, ModelCard

COLUMNS = {
    "tools": "tools",
    "images": "images",
    "documents": "documents",
    "audio": "audio",
    "video": "video",
    "structured_output": "schema",
    "thinking": "thinking",
    "sampling": "temperature",
    "system_messages": "system",
    "code_execution": "code",
}
"""Each capability, and the heading above it."""

HEADINGS = ("model", "context", "max output", *COLUMNS.values(), "retired")


def rows(cards: Iterable[ModelCard]) -> list[list[str]]:
    """One row a model, a cell for each of `HEADINGS`: yes, no, how it thinks; `–` is not known."""
    return [
        [
            f"{card.provider}/{card.id}" if card.provider else card.id,
            number(card.context_window),
            number(card.max_output_tokens),
            *claims(card.capabilities),
            day(card.retired),
        ]
        for card in cards
    ]


def claims(capabilities: Capabilities) -> list[str]:
    return [_claim(name, getattr(capabilities, name), capabilities.thinking_style) for name in COLUMNS]


def _claim(name: str, value: bool | None, style: str | None) -> str:
    if value is None:
        return "–"
    return (style if name == "thinking" and value and style else "yes") if value else "no"


def number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def day(value: date | None) -> str:
    return "–" if value is None else value.isoformat()


def right() -> Sequence[str]:
    """The columns of numbers."""
    return HEADINGS[1:3]
