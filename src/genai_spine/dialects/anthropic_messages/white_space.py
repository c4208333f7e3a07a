"""White space where Claude refuses it, whichever service asks it: in stop sequences, in texts of nothing else, and at
the end of a prefill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages.thinking import Notify
from genai_spine.model.content import CacheMark, Part, Refusal, Text


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
    ahead: list[str] = []  # of the text that is next
    behind: list[str] = []  # of the one that is last
    mark: CacheMark | None = None
    for place, part in enumerate(content):
        if isinstance(part, Text | Refusal) and is_blank(part):
            is_behind = bool(found) and isinstance(found[-1][1], Text)
            (behind if is_behind else ahead).append(part.text)
            mark = part.cache or mark
            continue
        _close(found, behind, mark)
        if ahead and isinstance(part, Text):
            part = msgspec.structs.replace(part, text="".join((*ahead, part.text)))
        ahead, behind, mark = [], [], None
        found.append((place, part))
    _close(found, behind, mark)
    return found


def _close(found: list[tuple[int, Part]], behind: list[str], mark: CacheMark | None) -> None:
    if behind and isinstance(last := found[-1][1], Text):
        text = "".join((last.text, *behind))
        found[-1] = found[-1][0], msgspec.structs.replace(last, text=text, cache=mark or last.cache)


def trim(holder: Any, key: str, notice: Notify) -> None:
    """What the assistant begins "cannot end with trailing whitespace" (400, langchain-ai/langchain-google#1514,
    langchain-aws#532). `holder` has the last of its texts as `key`, if a text is the last."""
    if isinstance(holder, dict) and isinstance(text := holder.get(key), str) and text != text.rstrip():
        holder[key] = text.rstrip()
        notice("changed", "white space at the end of what the assistant begins is left out", "messages")
