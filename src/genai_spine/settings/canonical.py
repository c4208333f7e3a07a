"""The spellings of the five specifications, brought to one: the tree as the structs have it.

`[providers]` holds keys of its own and a table for each id, so that it is mixed in a file and apart in
tree.py; `default_model`, `text_model` and `model` are one key; S1's `retry_delay_ms` is `initial_delay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genai_spine.catalog.rows import find_row
from genai_spine.settings.build import MOST, Text, field_types
from genai_spine.settings.explain import Origins, Path, Problem
from genai_spine.settings.tree import ProvidersSettings

PROVIDER_ALIASES = {
    "default_model": "model",
    "text_model": "model",
    "embedding_model": "embed_model",
    "url": "base_url",
    "provider": "type",
}
RETRY_ALIASES = {"retry_delay_ms": "initial_delay"}
OWN_KEYS = tuple(key for key in field_types(ProvidersSettings) if key != "by_id")


def _seconds(milliseconds: Any) -> Any:
    """None for what is no number of them, or one below 0; nothing, which YAML may say, stays so."""
    if isinstance(milliseconds, Text):
        try:
            milliseconds = float(milliseconds)
        except ValueError:
            return None
    if milliseconds is None or isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    return milliseconds / 1000 if 0 <= milliseconds < MOST else None


Label = Callable[[Path], str | None]
"""What messages call the source of a key, given the path that its author wrote."""


class Canonical:
    """One source's tree, canonical, with the way back to the path that its author wrote."""

    def __init__(self, tree: Mapping[str, Any], label: Label, origins: Origins, problems: list[Problem]) -> None:
        self._written: dict[Path, Path] = {}
        self._label = label
        self._origins = origins
        self._problems = problems
        self.tree: dict[str, Any] = dict(tree)
        if "providers" in tree:
            self.tree["providers"] = self._providers(tree["providers"])
        if isinstance(retry := tree.get("retry"), dict):
            self.tree["retry"] = self._renamed(retry, RETRY_ALIASES, ("retry",), ("retry",))

    def merge_into(self, tree: dict[str, Any]) -> None:
        """Puts this source on top of earlier ones and notes it as the origin of its keys."""
        self._merge(tree, self.tree, ())

    def _merge(self, into: dict[str, Any], new: Mapping[str, Any], path: Path) -> None:
        """Tables are merged, all else is replaced."""
        for key, value in new.items():
            at = (*path, key)
            source = self._source(at)
            if (label := self._label(source)) is not None:
                self._origins.note(at, label, str(source[-1]))
            if isinstance(value, dict):
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                self._merge(into[key], value, at)
            else:
                into[key] = value

    def _source(self, path: Path) -> Path:
        """The path as it stands in the source."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._written:
                return self._written[path[:end]] + path[end:]
        return path

    def _refuse(self, path: Path, written: Path, text: str) -> None:
        if (label := self._label(written)) is not None:
            self._origins.note(path, label)
        self._problems.append(Problem(path, text))

    def _providers(self, value: Any) -> Any:
        if isinstance(value, list):
            value = self._listed(value)
        if not isinstance(value, dict):
            return value
        own: dict[str, Any] = {}
        by_id: dict[str, Any] = {}
        for key, part in value.items():
            path: Path = ("providers", "by_id", key)
            if key in OWN_KEYS or not (isinstance(part, dict) or part is None or find_row(key)):
                own[key] = part
                continue
            written = self._written.setdefault(path, ("providers", key))
            table = {} if part is None else part  # anything else is no table, and refused as such
            by_id[key] = self._renamed(table, PROVIDER_ALIASES, path, written) if isinstance(table, dict) else table
        return {**own, "by_id": by_id} if by_id else own

    def _listed(self, items: list[Any]) -> dict[str, Any]:
        """S1's way: a list of tables, whose `name` is the id."""
        table: dict[str, Any] = {}
        for index, item in enumerate(items):
            id = (item.get("name") or item.get("provider") or item.get("type")) if isinstance(item, dict) else None
            if not isinstance(id, str):
                self._refuse(("providers", index), ("providers", index), "each provider in a list needs a name")
            elif id in table:
                self._refuse(("providers", index), ("providers", index), "another provider has the same name")
            else:
                table[id] = item
                self._written["providers", "by_id", id] = ("providers", index)
        return table

    def _renamed(self, table: dict[str, Any], aliases: dict[str, str], path: Path, written: Path) -> dict[str, Any]:
        result = {key: part for key, part in table.items() if key not in aliases}
        for key, part in table.items():
            name = aliases.get(key)
            if name is None:
                continue
            if key == "retry_delay_ms" and (part := _seconds(part)) is None:
                self._refuse((*path, key), (*written, key), "expected milliseconds, such as 500")
                continue
            if name in result and result[name] != part:
                spelling = self._written.get((*path, name), (*written, name))[-1]
                text = f"the same key as {spelling}, with another value; keep one of the two"
                self._refuse((*path, key), (*written, key), text)
                continue
            if name not in result:
                self._written[*path, name] = (*written, key)
            result[name] = part
        return result
