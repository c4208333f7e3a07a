"""White space where Claude refuses it, whichever service asks it: in stop sequences, and at the end of a prefill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai_spine.dialects.anthropic_messages.thinking import Notify


def sayable_stop(stop: Sequence[str], notice: Notify) -> tuple[str, ...]:
    """Those that are taken: "each stop sequence must contain non-whitespace" (400, BerriAI/litellm#3286)."""
    sayable = tuple(text for text in stop if text.strip())
    if len(sayable) < len(stop):
        notice("dropped", "a stop sequence of white space alone is not taken", "stop")
    return sayable


def trim(holder: Any, key: str, notice: Notify) -> None:
    """What the assistant begins "cannot end with trailing whitespace" (400, langchain-ai/langchain-google#1514,
    langchain-aws#532). `holder` has the last of its texts as `key`, if a text is the last."""
    if isinstance(holder, dict) and isinstance(text := holder.get(key), str) and text != text.rstrip():
        holder[key] = text.rstrip()
        notice("changed", "white space at the end of what the assistant begins is left out", "messages")
