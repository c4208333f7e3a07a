"""White space where Claude refuses it, whichever service asks it: in stop sequences, in texts of nothing else, and at
the end of a prefill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages.thinking import Notify
from genai_spine.model.content import Part, Refusal, Text


def sayable_stop(stop: Sequence[str], notice: Notify) -> tuple[str, ...]:
    """Those that are taken: "each stop sequence must contain non-whitespace" (400, BerriAI/litellm#3286)."""
    sayable = tuple(text for text in stop if text.strip())
    if len(sayable) < len(stop):
        notice("dropped", "a stop sequence of white space alone is not taken", "stop")
    return sayable


def is_blank(part: Part) -> bool:
    return isinstance(part, Text | Refusal) and (not part.text or part.text.isspace())


def spoken(content: Sequence[Part], is_blank: Callable[[Part], bool] = is_blank) -> list[tuple[int, Part]]:
    """The parts that say something, with their places. A text of white space alone is refused ("text content blocks
    must contain non-whitespace text", 400): it is joined to the text beside it, of which it was cut off, as clients of
    Gemini do who keep each chunk of a stream."""
    found: list[tuple[int, Part]] = []
    ahead = ""
    for place, part in enumerate(content):
        if isinstance(part, Text | Refusal) and is_blank(part):
            if found and isinstance(last := found[-1][1], Text):
                joined = msgspec.structs.replace(last, text=last.text + part.text, cache=part.cache or last.cache)
                found[-1] = found[-1][0], joined
            else:
                ahead += part.text
            continue
        if ahead and isinstance(part, Text):
            part = msgspec.structs.replace(part, text=ahead + part.text)
        ahead = ""
        found.append((place, part))
    return found


def trim(holder: Any, key: str, notice: Notify) -> None:
    """What the assistant begins "cannot end with trailing whitespace" (400, langchain-ai/langchain-google#1514,
    langchain-aws#532). `holder` has the last of its texts as `key`, if a text is the last."""
    if isinstance(holder, dict) and isinstance(text := holder.get(key), str) and text != text.rstrip():
        holder[key] = text.rstrip()
        notice("changed", "white space at the end of what the assistant begins is left out", "messages")
