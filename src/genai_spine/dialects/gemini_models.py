"""Lists of models in Gemini's shape, `GET /v1beta/models`, both ends.

    {"models": [{"name": "models/gemini-2.5-flash", "displayName": "Gemini 2.5 Flash", "inputTokenLimit": 1048576,
                 "outputTokenLimit": 65536, "supportedGenerationMethods": ["generateContent", "countTokens"],
                 "thinking": true}], "nextPageToken": "…"}

Source: ai.google.dev/api/models (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai_spine.dialects.lenient import most_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

DIALECT = "gemini"

_READ = ("name", "displayName", "inputTokenLimit", "outputTokenLimit")
_METHODS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")


# ---------------------------------------------------------------- from Google


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """One page; `next_page` says where the following one begins. An empty list is left out altogether.

    Raises: BadReply.
    """
    entries = _page(body).get("models", [])
    if not isinstance(entries, list):
        raise BadReply("a list of models that is no list")
    return tuple(_card_of(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str))


def next_page(body: bytes) -> str | None:
    """The `pageToken` of the next page; None where this was the last.

    Raises: BadReply.
    """
    token = _page(body).get("nextPageToken")
    return token if isinstance(token, str) and token else None


def _page(body: bytes) -> Mapping[str, Any]:
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict) or "error" in members:
        raise BadReply("a list of models that is no object")
    return members


def _card_of(entry: Mapping[str, Any]) -> ModelCard:
    name, thinks = entry.get("displayName"), entry.get("thinking")
    return ModelCard(
        id=entry["name"].removeprefix("models/"),
        name=name if isinstance(name, str) else None,
        owned_by="google",
        context_window=most_of(entry.get("inputTokenLimit")),
        max_output_tokens=most_of(entry.get("outputTokenLimit")),
        capabilities=Capabilities(thinking=thinks if isinstance(thinks, bool) else None),
        extra=keep(DIALECT, unknown(entry, _READ)),
    )


# ---------------------------------------------------------------- to a caller


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    return json.encode({"models": [_written(card) for card in cards]})


def encode_model(card: ModelCard) -> bytes:
    return json.encode(_written(card))


def _written(card: ModelCard) -> dict[str, Any]:
    """A model of any provider may be asked for whatever the gateway answers: it lists all of the methods."""
    written: dict[str, Any] = {"name": f"models/{card.id}", "displayName": card.name or card.id}
    if card.context_window is not None:
        written["inputTokenLimit"] = card.context_window
    if card.max_output_tokens is not None:
        written["outputTokenLimit"] = card.max_output_tokens
    extend(written, card.extra, DIALECT)
    written.setdefault("supportedGenerationMethods", _METHODS)
    if card.capabilities.thinking is not None:
        written.setdefault("thinking", card.capabilities.thinking)
    return written
