"""Exact counts for OpenAI's models: `tiktoken` with the vocabularies that are in this package.

Optional: `pip install genai-spine[tokens]`. tiktoken by itself downloads its vocabularies; here they are read from
catalog/ranks (see ranks.py), and nothing is downloaded, ever. Where it is not installed `count` is None.

The patterns that split a text are those of tiktoken 0.14, tiktoken_ext/openai_public.py (MIT, read 2026-11).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from genai_spine.catalog.ranks import load_ranks

_LETTERS = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERNS = {
    "cl100k_base": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k_base": "|".join(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_LETTERS[0]}]*[{_LETTERS[1]}]+{_SUFFIX}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_LETTERS[0]}]+[{_LETTERS[1]}]*{_SUFFIX}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
}

_MOST_AT_ONCE = 100_000
"""A pattern that backtracks fails on a run of some hundred thousand spaces; so a long text goes in pieces."""


def is_installed() -> bool:
    return _tiktoken() is not None


@cache
def _tiktoken() -> Any:
    try:
        return import_module("tiktoken")
    except ImportError:
        return None


@cache
def _encoding(vocabulary: str) -> Any:
    tiktoken = _tiktoken()
    if tiktoken is None:
        return None
    return tiktoken.Encoding(
        vocabulary, pat_str=PATTERNS[vocabulary], mergeable_ranks=load_ranks(vocabulary), special_tokens={}
    )


def count(text: str, vocabulary: str) -> int | None:
    """How many tokens a text is; None where tiktoken is not installed, or cannot say.

    Text that looks like a special token is text. In pieces of a hundred thousand characters: at each seam the
    count may be one too high.
    """
    encoding = _encoding(vocabulary)
    if encoding is None:
        return None
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    try:
        return sum(
            len(encoding.encode_ordinary(text[at : at + _MOST_AT_ONCE])) for at in range(0, len(text), _MOST_AT_ONCE)
        )
    except BaseException as error:
        # What goes wrong in its Rust comes as pyo3's PanicException, which is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return None
        raise
