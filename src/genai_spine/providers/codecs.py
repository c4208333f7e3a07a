"""Dialects by name. Each is imported when it is first spoken: starting costs nothing for the others."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from genai_spine.dialects.interface import Counting, Embeddings, ModelList, Outbound, Relayed, Tapping

OUTBOUND = {
    "openai_chat": "genai_spine.dialects.openai_chat.outbound",
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.outbound",
    "ollama_chat": "genai_spine.dialects.ollama_chat.outbound",
}
RELAYED = {"ollama_generate": "genai_spine.dialects.ollama_chat.relay_generate"}
TAPS = {
    "openai_chat": "genai_spine.dialects.openai_chat.tap",
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.tap",
    "ollama_chat": "genai_spine.dialects.ollama_chat.tap",
    "ollama_generate": "genai_spine.dialects.ollama_chat.tap",
}
EMBEDDINGS = {
    "openai_embeddings": "genai_spine.dialects.openai_embeddings",
    "ollama_embed": "genai_spine.dialects.ollama_embed",
    "ollama_embeddings": "genai_spine.dialects.ollama_embeddings",  # inbound only: the older path
}


MODEL_LISTS = {
    "openai_chat": "genai_spine.dialects.openai_chat.models",
    "anthropic_messages": "genai_spine.dialects.anthropic_models",
    "ollama_chat": "genai_spine.dialects.ollama_chat.models",
}
COUNTING = frozenset({"anthropic_messages"})
"""Dialects whose services count tokens: their outbound module has the functions of `Counting`."""


@cache
def outbound(dialect: str) -> Outbound:
    return cast("Outbound", import_module(OUTBOUND[dialect]))


@cache
def relayed(dialect: str) -> Relayed:
    """Also the dialects that are only ever relayed."""
    return cast("Relayed", import_module(RELAYED.get(dialect) or OUTBOUND[dialect]))


@cache
def tapping(dialect: str) -> Tapping:
    """How the dialect's answers are read along while they are relayed."""
    return cast("Tapping", import_module(TAPS[dialect]))


@cache
def embeddings(dialect: str) -> Embeddings:
    return cast("Embeddings", import_module(EMBEDDINGS[dialect]))


@cache
def counting(dialect: str) -> Counting:
    return cast("Counting", import_module(OUTBOUND[dialect]))


@cache
def model_list(dialect: str) -> ModelList:
    """How a service that speaks this dialect lists its models."""
    return cast("ModelList", import_module(MODEL_LISTS[dialect]))
