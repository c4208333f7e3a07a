"""What is wrong, where, and how to mend it: problems are collected, then raised as one ConfigError.

A message never quotes a value, only keys and variable names: any value may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from math import isfinite
from typing import Any, NoReturn

import msgspec

from genai_spine.model.errors import ConfigError

Path = tuple[str | int, ...]
"""Keys and list positions from the root of the tree."""

MAX_PROBLEMS = 20
"""More in one message would not be read."""


class Problem(msgspec.Struct, frozen=True):
    path: Path
    text: str


def dotted(path: Path) -> str:
    """`providers.openai.model`, as it is written in a file: `by_id` is ours, not the user's."""
    parts = path[:1] + path[2:] if path[:2] == ("providers", "by_id") else path
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`; did you mean "openai"?`, or nothing."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
    near = near or [name for name in known if len(word) > 3 and name.startswith(word.lower())]
    return f'; did you mean "{near[0]}"?' if near else ""


_LITELLMS = {
    "model_list": "providers.<id> says where a model is, routes.<name> what a name stands for",
    "litellm_settings": "retries, times and caches are in retry, timeouts and cache",
    "router_settings": "strategies are in routing and routes.<name>",
    "general_settings": "keys are in server.api_keys and server.keys.<name>, the database in ledger.url",
}
"""Keys of the files that most who come to us have, and where the same is said here."""


def unknown_key(word: str, known: Iterable[str]) -> str:
    known = sorted(known)
    if word in _LITELLMS:
        return f'unknown key, as of LiteLLM\'s file: {_LITELLMS[word]}; "Coming from LiteLLM" in the docs has the rest'
    return "unknown key" + (did_you_mean(word, known) or f"; the keys here are {', '.join(known)}")


def kind_of(value: Any) -> str:
    """What a value is, in words, without saying the value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case float() if not isfinite(value):
            return "one that is infinite or NaN"
        case int() | float():
            return "a number below 0" if value < 0 else "a number" if value < 2**53 else "one that is too large"
        case str():
            return "text"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


class Origins:
    """Which source set which key, for messages: `spine.toml:12`, a variable's name, or an argument."""

    def __init__(self) -> None:
        self._labels: dict[Path, str] = {}
        self._spelled: dict[Path, str] = {}

    def note(self, path: Path, label: str, key: str | None = None) -> None:
        """`key` is the last part of the path as its author spelled it: `text_model` for `model`."""
        self._labels[path] = label
        if path and key is not None and isinstance(path[-1], str):
            self._spelled[path] = key

    def label(self, path: Path) -> str | None:
        """That of the key, or of the nearest table around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._labels:
                return self._labels[path[:end]]
        return None

    def keys(self) -> tuple[str, ...]:
        return tuple(sorted({dotted(path) for path in self._labels}))

    def _as_spelled(self, path: Path) -> Path:
        return tuple(self._spelled.get(path[: end + 1], part) for end, part in enumerate(path))

    def text(self, problem: Problem) -> str:
        label = self.label(problem.path)
        where = dotted(self._as_spelled(problem.path))
        return ": ".join(part for part in (label, where, problem.text) if part)


def fail(problems: Iterable[Problem], origins: Origins) -> NoReturn:
    """All problems at once, one a line, in the order of the sources."""
    texts = list(dict.fromkeys(origins.text(problem) for problem in problems))
    texts.sort(key=_place)
    if len(texts) > MAX_PROBLEMS:
        texts[MAX_PROBLEMS:] = [f"and {len(texts) - MAX_PROBLEMS} more"]
    raise ConfigError("\n".join(texts))


def _place(text: str) -> tuple[str, int]:
    """File, then line as a number, so that line 9 comes before line 10."""
    name, _, rest = text.partition(":")
    line = rest.partition(":")[0]
    return name, int(line) if line.isdecimal() else 0
