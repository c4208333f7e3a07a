"""Why a row of providers.toml is as it is: the comments beside its lines, read back.

A comment stands above the lines that it is about, as far as the next comment or the end of the table; or behind one
line. At the head of a row it is about the service. Nothing is written twice: the file says it to who edits it, and
the generated pages say it to who reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

_TABLE = re.compile(r"\[+([\w.]+)\]+")
_KEY = re.compile(r"(\w+) = ")
_BEHIND = re.compile(r"^\w+ = .*?[\"\]}\w]  # (.+)$")


@dataclass
class Reasons:
    """What is said of one row."""

    service: list[str] = field(default_factory=list)
    """About the service, a paragraph each."""
    settings: dict[str, str] = field(default_factory=dict)
    """Key of the row to what is said of it."""
    quirks: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """Quirks and what is said of them together; without a name, what is said of a quirk that is not set."""


@cache
def load_reasons() -> dict[str, Reasons]:
    """By the row's id."""
    text = resources.files("genai_spine.catalog").joinpath("providers.toml").read_text(encoding="utf-8")
    found: dict[str, Reasons] = {}
    for name, lines in _tables(text):
        row, _, table = name.partition(".")
        reasons = found.setdefault(row, Reasons())
        for keys, comment in _said(lines):
            if table == "quirks":
                reasons.quirks.append((keys, comment))
            elif table:
                reasons.service.append(comment)
            elif _is_behind(lines, keys, comment):
                reasons.settings[keys[0]] = comment
            else:
                reasons.service.append(comment)
    return found


def _tables(text: str) -> list[tuple[str, list[str]]]:
    """The tables in their order with their lines."""
    tables: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if (found := _TABLE.fullmatch(line)) is not None:
            tables.append((found[1], []))
        elif not line.strip():
            tables.append(("", []))  # what stands between rows is of none
        elif tables:
            tables[-1][1].append(line)
    return [(name, lines) for name, lines in tables if name]


def _said(lines: list[str]) -> list[tuple[tuple[str, ...], str]]:
    """Each comment of a table with the keys that it is about."""
    said: list[tuple[list[str], list[str]]] = []
    above: list[str] = []
    """The keys of the last comment that stood above its lines."""
    is_open = False
    for line in lines:
        if line.startswith("#"):
            if not is_open:
                above = []
                said.append((above, []))
            said[-1][1].append(line.removeprefix("#").strip())
            is_open = True
        elif (key := _KEY.match(line)) is not None:
            is_open = False
            above.append(key[1])
            if (behind := _BEHIND.match(line)) is not None:
                said.append(([key[1]], [behind[1]]))
    return [(tuple(keys), " ".join(words)) for keys, words in said]


def _is_behind(lines: list[str], keys: tuple[str, ...], comment: str) -> bool:
    return any(line.endswith(f"  # {comment}") for line in lines if keys and line.startswith(f"{keys[0]} = "))
