"""Lists of models in Anthropic's shape, `GET /v1/models`, both ends.

Source: platform.claude.com/docs/en/api/models/list (2026-11); `created_at` is the epoch where a model's
day is not known, which is how Anthropic says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai_spine.dialects import rfc3339
from genai_spine.dialects.lenient import most_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.card import Capabilities, ModelCard, ThinkingStyle
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

DIALECT = "anthropic_messages"

_READ = ("type", "id", "display_name", "created_at", "max_input_tokens", "max_tokens", "capabilities")
_CLAIMS = {
    "images": "image_input",
    "documents": "pdf_input",
    "thinking": "thinking",
    "structured_output": "structured_outputs",
    "code_execution": "code_execution",
}


# ---------------------------------------------------------------- from Anthropic


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """One page; `next_page` says where the following one begins.

    Raises: BadReply.
    """
    entries = _page(body).get("data")
    if not isinstance(entries, list):
        raise BadReply("a list of models without data")
    return tuple(_card_of(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))


def next_page(body: bytes) -> str | None:
    """The `after_id` of the next page; None where this was the last.

    Raises: BadReply.
    """
    members = _page(body)
    last = members.get("last_id")
    return last if members.get("has_more") is True and isinstance(last, str) else None


def _page(body: bytes) -> Mapping[str, Any]:
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("a list of models that is no object")
    return members


def _card_of(entry: Mapping[str, Any]) -> ModelCard:
    created_at, name = entry.get("created_at"), entry.get("display_name")
    return ModelCard(
        id=entry["id"],
        name=name if isinstance(name, str) else None,
        created_s=(rfc3339.seconds_of(created_at) or None) if isinstance(created_at, str) else None,
        owned_by="anthropic",
        context_window=most_of(entry.get("max_input_tokens")),
        max_output_tokens=most_of(entry.get("max_tokens")),
        capabilities=_capabilities_of(entry.get("capabilities")),
        extra=keep(DIALECT, unknown(entry, _READ)),
    )


def _capabilities_of(members: Any) -> Capabilities:
    if not isinstance(members, dict):
        return Capabilities()
    claims: dict[str, Any] = {ours: _supported(members.get(theirs)) for ours, theirs in _CLAIMS.items()}
    return Capabilities(**claims, thinking_style=_thinking_style(members.get("thinking")))


def _thinking_style(thinking: Any) -> ThinkingStyle | None:
    """Which `thinking.type` the model takes: adaptive, or enabled with a budget."""
    types = thinking.get("types") if isinstance(thinking, dict) else None
    if not isinstance(types, dict):
        return None
    if _supported(types.get("adaptive")):
        return "adaptive"
    return "budget" if _supported(types.get("enabled")) else "none"


def _supported(claim: Any) -> bool | None:
    said = claim.get("supported") if isinstance(claim, dict) else None
    return said if isinstance(said, bool) else None


# ---------------------------------------------------------------- to a caller


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    return json.encode(
        {
            "data": [_written(card) for card in cards],
            "has_more": False,
            "first_id": cards[0].id if cards else None,
            "last_id": cards[-1].id if cards else None,
        }
    )


def encode_model(card: ModelCard) -> bytes:
    return json.encode(_written(card))


def _written(card: ModelCard) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": "model",
        "id": card.id,
        "display_name": card.name or card.id,
        "created_at": rfc3339.text_of(card.created_s),
    }
    if card.context_window is not None:
        written["max_input_tokens"] = card.context_window
    if card.max_output_tokens is not None:
        written["max_tokens"] = card.max_output_tokens
    return written
