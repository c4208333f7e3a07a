"""The list of models and what stands around it: `/api/tags`, `/api/ps`, `/api/show`, `/api/version`.

Read from an Ollama (`decode_`), written for a caller of one (`encode_`). Facts that only the provider
knows (size, digest, quantisation) are kept in a card's `extra` and written from there; a caller that
asks for a model elsewhere gets them empty.

Source: docs.ollama.com/api/tags, /ps, /show and /capabilities/thinking (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.lenient import most_of, object_of, text_of
from genai_spine.dialects.metadata import keep, kept, unknown
from genai_spine.dialects.ollama_chat.schema import DIALECT
from genai_spine.dialects.reading import Reader
from genai_spine.model.card import Capabilities, ModelCard, ThinkingStyle
from genai_spine.model.errors import BadReply
from genai_spine.wire import json

# ---------------------------------------------------------------- an Ollama's lists


def decode_models(body: bytes) -> tuple[ModelCard, ...]:
    """`/api/tags`, all models it has, or `/api/ps`, those it has loaded.

    Raises: BadReply.
    """
    members = json.decode_outbound(body, json.ANY)
    models = members.get("models") if isinstance(members, dict) else None
    if models is None and isinstance(members, dict) and "models" in members:
        return ()  # Go's nil list: nothing is loaded
    if not isinstance(models, list):
        raise BadReply("a list of models without `models`")
    return tuple(card for entry in models if (card := _card_of(entry)) is not None)


def _card_of(entry: Any) -> ModelCard | None:
    if not isinstance(entry, dict):
        return None
    name = entry.get("model") or entry.get("name")
    if not isinstance(name, str):
        return None
    modified_at = entry.get("modified_at")
    return ModelCard(
        id=name,
        created_s=rfc3339.seconds_of(modified_at) if isinstance(modified_at, str) else None,
        owned_by=text_of(object_of(entry.get("details")).get("family")),
        context_window=most_of(entry.get("context_length")),
        capabilities=_capabilities_of(entry),
        extra=keep(DIALECT, unknown(entry, ("model", "name", "context_length", "capabilities"))),
    )


def decode_show(body: bytes, card: ModelCard) -> ModelCard:
    """The card with what `/api/show` says of the model: its window, what it can do, how it is asked to think.

    Raises: BadReply.
    """
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("a description of a model that is no object")
    info = object_of(members.get("model_info"))
    window = next((most_of(value) for key, value in info.items() if key.endswith(".context_length")), None)
    return msgspec.structs.replace(
        card,
        owned_by=card.owned_by or text_of(object_of(members.get("details")).get("family")),
        context_window=card.context_window or window,
        capabilities=_capabilities_of(members),
    )


def _capabilities_of(members: Mapping[str, Any]) -> Capabilities:
    """`capabilities` names all that a model can do, so what it does not name, the model cannot."""
    named = members.get("capabilities")
    if not isinstance(named, list):
        return Capabilities()
    return Capabilities(
        tools="tools" in named,
        images="vision" in named,
        audio="audio" in named,
        thinking="thinking" in named,
        thinking_style=_thinking_style(members),
    )


def _thinking_style(members: Mapping[str, Any]) -> ThinkingStyle | None:
    """`thinking.values` holds the names of levels, or true and false, which is no style but a switch."""
    values = object_of(members.get("thinking")).get("values")
    if not isinstance(values, list):
        return None
    if any(isinstance(value, str) for value in values):
        return "effort"
    return None if True in values else "none"


# ---------------------------------------------------------------- what a caller asks


def encode_show_request(model: str) -> bytes:
    return json.encode({"model": model})


def decode_model_name(body: bytes) -> str:
    """The model that `/api/show`, `/api/delete`, `/api/pull` and their like speak of; older clients, and
    LiteLLM, say `name`.

    Raises: InvalidRequest.
    """
    request = Reader(json.decode_inbound(body, json.ANY), "")
    return request.text("model") or request.text("name") or request.text("model", required=True)


# ---------------------------------------------------------------- what a caller is answered


def encode_models(cards: Iterable[ModelCard]) -> bytes:
    """`GET /api/tags`."""
    return json.encode({"models": [_entry(card) for card in cards]})


def encode_running(cards: Iterable[ModelCard], expires_at: str) -> bytes:
    """`GET /api/ps`. `expires_at` is RFC 3339: until when a model is sure to be there."""
    models = [{**_entry(card), "expires_at": expires_at, "size_vram": 0, **_own(card)} for card in cards]
    return json.encode({"models": models})


def encode_version(version: str) -> bytes:
    """`GET /api/version`."""
    return json.encode({"version": version})


def encode_loaded(model: str, created_s: int, *, shape: str = "message") -> bytes:
    """The answer to a request without messages; `shape` is "response" for `/api/generate`."""
    empty: dict[str, Any] = (
        {"message": {"role": "assistant", "content": ""}} if shape == "message" else {"response": ""}
    )
    head = {"model": model, "created_at": rfc3339.text_of(created_s)}
    return json.encode({**head, **empty, "done": True, "done_reason": "load"})


def encode_show(card: ModelCard) -> bytes:
    """`POST /api/show`. Only what is known to be there is claimed."""
    entry = _entry(card)
    family = entry["details"]["family"] or "unknown"
    info: dict[str, Any] = {"general.architecture": family}
    if card.context_window is not None:
        info[f"{family}.context_length"] = card.context_window
    can = card.capabilities
    claims = {"tools": can.tools, "vision": can.images, "audio": can.audio, "thinking": can.thinking}
    shown = {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": entry["details"],
        "model_info": info,
        "capabilities": ["completion", *(name for name, claim in claims.items() if claim)],
        "modified_at": entry["modified_at"],
    }
    if can.thinking:
        levels: list[Any] = ["low", "medium", "high"] if can.thinking_style == "effort" else [True, False]
        shown["thinking"] = {"values": levels}
    return json.encode(shown)


def _own(card: ModelCard) -> dict[str, Any]:
    return kept(card.extra, DIALECT)


def _entry(card: ModelCard) -> dict[str, Any]:
    family = card.owned_by or card.provider or ""
    details = {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "",
        "quantization_level": "",
    }
    own = _own(card)
    details.update(object_of(own.pop("details", None)))
    entry: dict[str, Any] = {
        "name": card.id,
        "model": card.id,
        "modified_at": rfc3339.text_of(card.created_s),
        "size": 0,
        "digest": "",
        **own,
        "details": details,
    }
    if card.context_window is not None:
        entry["context_length"] = card.context_window
    return entry
