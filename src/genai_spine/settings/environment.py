"""`GENAI_*` variables to the keys that they set.

`GENAI_OPENAI_API_KEY` (a provider's key), `GENAI_SERVER_PORT` (a section's), `GENAI_PROVIDERS__OPENAI__MODEL`
(any key, two underscores between its parts), and the short names of the first specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from genai_spine.catalog.rows import find_row, load_rows
from genai_spine.settings.build import Text, field_types, is_struct, opened, split
from genai_spine.settings.canonical import OWN_KEYS, PROVIDER_ALIASES, RETRY_ALIASES
from genai_spine.settings.explain import Path, did_you_mean
from genai_spine.settings.tree import ProviderSettings, Settings

PREFIX = "GENAI_"
SPECIAL: dict[str, Path] = {
    "GENAI_DEFAULT_PROVIDER": ("providers", "default"),
    "GENAI_FALLBACK_CHAIN": ("providers", "fallback_order"),
}
NOT_SETTINGS = frozenset(
    {
        "GENAI_CONFIG",  # which file to read
        "GENAI_WIRE",  # where our tests find recorded traffic
        "GENAI_CACHE",  # where our tests keep what they build
    }
)
PROVIDER_KEYS = (*field_types(ProviderSettings), *PROVIDER_ALIASES)
SECTIONS = {
    name: (*field_types(split(hint)[0]), *(RETRY_ALIASES if name == "retry" else ()))
    for name, hint in field_types(Settings).items()
    if name not in ("providers", "loaded") and is_struct(split(hint)[0])
}
TABLES = ("providers", "routes", "agents")


def variable_form(id: str) -> str:
    """`groq-fast` as it stands in a variable's name: `GROQ_FAST`."""
    return re.sub(r"[^A-Z0-9]", "_", id.upper())


class Names:
    """The names that a variable may mean: providers, the configured ones and those of the catalog, and whatever else
    has a name in `tree`, as the sources before have filled it."""

    def __init__(self, configured: Mapping[str, str], tree: Mapping[str, Any]) -> None:
        """`configured` is the type of each configured id."""
        self._configured = configured
        self._tree = tree
        self._ids: dict[str, str] = {}
        for row in load_rows().values():
            for name in (row.id, *row.aliases):
                self._ids[variable_form(name)] = name
        self._ids |= {variable_form(id): id for id in configured}

    def forms(self) -> Iterable[str]:
        return self._ids

    def id_of(self, form: str) -> str:
        """The provider's id: a configured one of that name, else the only one of that row, else a new one."""
        name = self._ids.get(form, form.lower())
        if name in self._configured:
            return name
        row = find_row(name)
        same = [id for id, type_ in self._configured.items() if row is not None and find_row(type_) == row]
        return same[0] if len(same) == 1 else name

    def spelled(self, path: Path) -> Path:
        """The path with its names as they are written where they stand already: `Reviewer`, not `reviewer`."""
        table: Any = self._tree
        parts: list[str | int] = []
        for part in path:
            names = table if isinstance(table, Mapping) else {}
            same = [name for name in names if variable_form(name) == variable_form(str(part))]
            parts.append(same[0] if len(same) == 1 else part)
            table = names.get(parts[-1])
        return tuple(parts)


def path_of(variable: str, names: Names) -> Path | None:
    """The key that the variable sets, as it is written in a file; None for a name that means nothing."""
    if variable in SPECIAL:
        return SPECIAL[variable]
    rest = variable.removeprefix(PREFIX)
    if "__" in rest:
        return _nested(rest.split("__"), names)
    for section, keys in SECTIONS.items():
        key = rest.removeprefix(section.upper() + "_").lower()
        if key in keys and rest == f"{section}_{key}".upper():
            return (section, key)
    if rest.startswith("PROVIDERS_") and (key := rest.removeprefix("PROVIDERS_").lower()) in OWN_KEYS:
        return ("providers", key)
    for form in sorted(names.forms(), key=len, reverse=True):
        if rest.startswith(form + "_") and (key := rest[len(form) + 1 :].lower()) in PROVIDER_KEYS:
            return ("providers", names.id_of(form), key)
    return None


def _nested(parts: list[str], names: Names) -> Path | None:
    section, *keys = (part.lower() for part in parts)
    if not keys or "" in keys:
        return None
    if section == "providers" and len(keys) > 1:
        return (section, names.id_of(parts[1]), *keys[1:])
    if section in SECTIONS or section in TABLES:
        return names.spelled((section, *keys))
    return None


def read_variables(
    variables: Mapping[str, str], names: Names, place: str
) -> tuple[dict[str, Any], dict[Path, str], list[str]]:
    """The tree that the variables set, the variable of each path, and warnings. Empty ones set nothing.

    `place` is what stands before a variable's name in messages: "", or ".env: ".
    """
    tree: dict[str, Any] = {}
    labels: dict[Path, str] = {}
    warnings: list[str] = []
    for variable in sorted(name for name in variables if name.startswith(PREFIX)):
        text = variables[variable]
        if variable in NOT_SETTINGS or not text.strip():
            continue
        path = path_of(variable, names)
        if path is None:
            hint = did_you_mean_variable(variable, names)
            warnings.append(f"{place}{variable}: sets nothing: no setting of that name{hint}")
            continue
        table = tree
        for part in path[:-1]:
            inner = opened(table.setdefault(str(part), {}), "{")
            if not isinstance(inner, dict):
                break  # another variable says that it is no table, for which it is refused
            table[str(part)] = inner
            table = inner
        else:
            table[str(path[-1])] = Text(text)
            labels[path] = place + variable
    return tree, labels, warnings


def did_you_mean_variable(variable: str, names: Names) -> str:
    known = [*SPECIAL, "GENAI_CONFIG"]
    known += [f"GENAI_{section}_{key}".upper() for section, keys in SECTIONS.items() for key in keys]
    known += [f"GENAI_{form}_{key}".upper() for form in names.forms() for key in PROVIDER_KEYS]
    return (
        did_you_mean(variable.lower(), [name.lower() for name in known], cutoff=0.85)
        .upper()
        .replace("; DID YOU MEAN", "; did you mean")
    )
