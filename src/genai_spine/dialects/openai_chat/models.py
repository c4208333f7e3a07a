"""Lists of models in OpenAI's shape, `GET {base_url}/models`, both ends.

OpenAI itself says four things of a model: id, object, created, owned_by. Services add what they please,
each under names of its own; the table below knows those of the recordings (2026-11). The rest of an
entry is kept in the card's `extra`, and not written to a caller: it is the provider's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

_WINDOWS = (
    "context_length",  # OpenRouter, Together, Venice, Cerebras; ours
    "context_window",  # Groq
    "max_model_len",  # vLLM
    "max_context_length",  # Mistral
    "meta.n_ctx",  # llama.cpp
    "capabilities.limits.max_context_window_tokens",  # Copilot
)
_LONGEST_ANSWERS = (
    "max_output_tokens",  # ours
    "max_completion_tokens",  # Groq
    "top_provider.max_completion_tokens",  # OpenRouter
    "model_spec.maxCompletionTokens",  # Venice
    "capabilities.limits.max_output_tokens",  # Copilot
)
_OWNERS = ("owned_by", "organization", "vendor")  # OpenAI; Together; Copilot
_NAMES = ("name", "display_name", "model_spec.name")

# Mistral; Copilot; Venice.
_CLAIMS: dict[str, tuple[str, ...]] = {
    "tools": (
        "capabilities.function_calling",
        "capabilities.supports.tool_calls",
        "model_spec.capabilities.supportsFunctionCalling",
    ),
    "images": (
        "capabilities.vision",
        "capabilities.supports.vision",
        "model_spec.capabilities.supportsVision",
    ),
    "thinking": ("capabilities.reasoning", "model_spec.capabilities.supportsReasoning"),
    "structured_output": (
        "capabilities.supports.structured_outputs",
        "model_spec.capabilities.supportsResponseSchema",
    ),
    "audio": ("model_spec.capabilities.supportsAudioInput",),
}

_READ = ("id", "object", "created", "owned_by", "name")


# ---------------------------------------------------------------- from a provider


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """{"data": […]}, or the bare list that Together sends; an entry without an id is passed over.

    Raises: BadReply.
    """
    members = json.decode_outbound(body, json.ANY)
    entries = members.get("data") if isinstance(members, dict) else members
    if not isinstance(entries, list):
        raise BadReply("a list of models without data")
    return tuple(_card_of(entry) for entry in entries if isinstance(entry, dict) and _text(entry, ("id",)))


def _card_of(entry: Mapping[str, Any]) -> ModelCard:
    created = entry.get("created")
    return ModelCard(
        id=entry["id"],
        name=_text(entry, _NAMES),
        created_s=int(created) if isinstance(created, int | float) and 0 < created < 1e11 else None,
        owned_by=_text(entry, _OWNERS),
        context_window=_count(entry, _WINDOWS),
        max_output_tokens=_count(entry, _LONGEST_ANSWERS),
        capabilities=_capabilities_of(entry),
        extra=keep(DIALECT, unknown(entry, _READ)),
    )


def _capabilities_of(entry: Mapping[str, Any]) -> Capabilities:
    claims = {name: _first(entry, paths, bool) for name, paths in _CLAIMS.items()}
    # OpenRouter names the request's fields, and says what goes in.
    if isinstance(fields := entry.get("supported_parameters"), list):
        claims["tools"] = "tools" in fields
        claims["thinking"] = "reasoning" in fields
        claims["structured_output"] = "structured_outputs" in fields
    modalities = _at(entry, "architecture.input_modalities") or entry.get("input_modalities")
    if isinstance(modalities, list):
        claims.update(images="image" in modalities, audio="audio" in modalities, documents="file" in modalities)
    return Capabilities(**claims)


def _at(entry: Any, path: str) -> Any:
    for key in path.split("."):
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry


def _first(entry: Mapping[str, Any], paths: Iterable[str], kind: type) -> Any:
    return next((value for path in paths if type(value := _at(entry, path)) is kind), None)


def _text(entry: Mapping[str, Any], paths: Iterable[str]) -> str | None:
    return _first(entry, paths, str) or None


def _count(entry: Mapping[str, Any], paths: Iterable[str]) -> int | None:
    return next((value for path in paths if type(value := _at(entry, path)) is int and 0 < value < 10**12), None)


# ---------------------------------------------------------------- to a caller


def encode_models(cards: Iterable[ModelCard]) -> bytes:
    return json.encode({"object": "list", "data": [_written(card) for card in cards]})


def encode_model(card: ModelCard) -> bytes:
    return json.encode(_written(card))


def _written(card: ModelCard) -> dict[str, Any]:
    """OpenAI's four members, which its clients require, and what else is known."""
    more = {
        "name": card.name,
        "context_length": card.context_window,
        "max_output_tokens": card.max_output_tokens,
    }
    return {
        "id": card.id,
        "object": "model",
        "created": card.created_s or 0,
        "owned_by": card.owned_by or card.provider or "",
        **{name: value for name, value in more.items() if value is not None},
    }
