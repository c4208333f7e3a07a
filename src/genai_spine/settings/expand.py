"""`${VARIABLE}` and `${VARIABLE:-default}` in the texts of a file, replaced once, after parsing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from genai_spine.settings.build import Text
from genai_spine.settings.explain import Path, Problem

REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LITELLMS = "os.environ/"
"""Left as it is, it would be sent as a key."""

Lookup = Callable[[str], str | None]


def expand(value: Any, path: Path, lookup: Lookup, problems: list[Problem]) -> Any:
    """The value with its references replaced; `$${` stands for `${`.

    A replaced text is not searched again, so that a variable's own text is never a reference. It is
    marked as Text: `port = "${PORT}"` may fill a key that takes a number.
    """
    if isinstance(value, dict):
        return {key: expand(part, (*path, key), lookup, problems) for key, part in value.items()}
    if isinstance(value, list):
        return [expand(part, (*path, index), lookup, problems) for index, part in enumerate(value)]
    if not isinstance(value, str):
        return value
    if value.startswith(_LITELLMS) and NAME.fullmatch(name := value.removeprefix(_LITELLMS)):
        problems.append(Problem(path, f'that is how LiteLLM names a variable: write "${{{name}}}"'))
    if "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, separator, default = match[1].partition(":-")
        if not match[2] or not NAME.fullmatch(name):
            problems.append(Problem(path, 'not a reference: write "${NAME}" or "${NAME:-default}", or "$${" for "${"'))
            return ""
        found = lookup(name)
        if separator:  # as in a shell: the default stands for an empty variable too
            return found or default
        if found is None:
            problems.append(Problem(path, f"the variable {name} is not set; set it, or write ${{{name}:-default}}"))
            return ""
        return found

    return Text(REFERENCE.sub(replace, value))
