"""The two kinds of values that settings have beside those of TOML: durations and secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Duration(float):
    """Seconds. Written as `30`, `"30s"`, `"5m"`, `"250ms"` or `"1h"`."""

    __slots__ = ()


class Secret:
    """A text that is never shown: repr, str and format give `***`; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        # For comparing settings; a caller's key is compared by the gateway, in constant time.
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)


def secrets_of(value: Any) -> Iterator[str]:
    """Every secret text in settings, or in a part of them."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from secrets_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from secrets_of(part)
