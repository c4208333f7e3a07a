"""Inbound dialects by name, each imported when it is first spoken."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from genai_spine.dialects.interface import Inbound

INBOUND = {
    "openai_chat": "genai_spine.dialects.openai_chat.inbound",
    "openai_responses": "genai_spine.dialects.openai_responses.inbound",
    "openai_completions": "genai_spine.dialects.openai_completions.inbound",
    "anthropic_messages": "genai_spine.dialects.anthropic_messages.inbound",
    "gemini": "genai_spine.dialects.gemini.inbound",
    "ollama_chat": "genai_spine.dialects.ollama_chat.inbound",
    "ollama_generate": "genai_spine.dialects.ollama_chat.inbound_generate",
}


@cache
def inbound(dialect: str) -> Inbound:
    return cast("Inbound", import_module(INBOUND[dialect]))
