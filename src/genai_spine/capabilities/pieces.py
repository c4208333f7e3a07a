"""A long text in pieces that fit, cut where a reader would pause; the pieces joined are the text.

Must not know: models, what the pieces are for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

BOUNDARIES = (
    re.compile(r"\n[^\S\n]*\n\s*"),  # a paragraph
    re.compile(r"\n"),
    re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？]"),  # a sentence
    re.compile(r"\s+"),
)
"""What a text is best cut behind, the best first."""

REACH = 0.2
"""How far from the even cut a better place is looked for, in shares of a piece."""

_JOINED = frozenset("\u200d\ufe0e\ufe0f") | {chr(code) for code in range(0x1F3FB, 0x1F400)}
"""Zero-width joiner, variation selectors, skin tones: what goes with the character before."""


def pieces(text: str, most_tokens: int, tokens_of: Callable[[str], int]) -> list[str]:
    """Pieces of about the same size, none with more tokens than `most_tokens` unless it is a single character."""
    tokens = tokens_of(text)
    if tokens <= most_tokens or len(text) <= 1:
        return [text]
    count = -(-tokens // most_tokens)
    cut = _cut(text, len(text) * (count // 2) // count, int(len(text) / count * REACH))
    return [
        *pieces(text[:cut], most_tokens, tokens_of),
        *pieces(text[cut:], most_tokens, tokens_of),
    ]


def _cut(text: str, at: int, reach: int) -> int:
    """The best place near `at` to cut a text of two characters or more; neither side is empty."""
    low, high = max(1, at - reach), min(len(text) - 1, at + reach)
    for boundary in BOUNDARIES:
        ends = (found.end() for found in boundary.finditer(text, low, high))
        nearest = min(ends, key=lambda end: abs(end - at), default=None)
        if nearest is not None:
            return nearest
    at = min(max(1, at), len(text) - 1)
    return next((place for place in range(at, min(at + 32, len(text))) if not _is_within(text, place)), at)


def _is_within(text: str, at: int) -> bool:
    """Whether a cut here would part what is read as one character, or CR from LF."""
    before, after = text[at - 1], text[at]
    return after in _JOINED or before == "\u200d" or bool(unicodedata.combining(after)) or before + after == "\r\n"
