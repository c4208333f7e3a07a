"""Cohere's list of models, `GET /v1/models`, both ends.

    {"models": [{"name": "command-a-03-2025", "endpoints": ["chat"], "context_length": 288000,
                 "features": ["tools", "vision", "json_schema"…]}], "next_page_token": "…"}

Source: docs.cohere.com/reference/list-models (2026-11), and recordings of single models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genai_spine.dialects.cohere_chat.schema import DIALECT
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

_READ = ("name", "context_length")
_FEATURES = {"tools": "tools", "images": "vision", "thinking": "reasoning", "structured_output": "json_schema"}


# ---------------------------------------------------------------- from Cohere


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """One page, of at most a thousand; an entry without a name is passed over.

    Raises: BadReply.
    """
    members = json.decode_outbound(body, json.ANY)
    entries = members.get("models") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise BadReply("a list of models without models")
    return tuple(card_of(entry) for entry in entries if isinstance(entry, dict) and _name(entry))


def card_of(entry: Mapping[str, Any]) -> ModelCard:
    features = entry.get("features")
    claims: dict[str, Any] = {}
    if isinstance(features, list):
        claims = {ours: theirs in features for ours, theirs in _FEATURES.items()}
    return ModelCard(
        id=_name(entry),
        owned_by="cohere",
        context_window=count_of(entry.get("context_length")) or None,
        capabilities=Capabilities(**claims),
        extra=keep(DIALECT, unknown(entry, _READ)),
    )


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    return name if isinstance(name, str) else ""


# ---------------------------------------------------------------- to a caller


def encode_models(cards: Iterable[ModelCard]) -> bytes:
    return json.encode({"models": [_written(card) for card in cards]})


def _written(card: ModelCard) -> dict[str, Any]:
    written: dict[str, Any] = {"name": card.id, "endpoints": ["chat"], "finetuned": False}
    if card.context_window is not None:
        written["context_length"] = card.context_window
    written["features"] = [theirs for ours, theirs in _FEATURES.items() if getattr(card.capabilities, ours)]
    return written
