"""The two kinds of values that settings have beside those of TOML: durations and secrets."""

from __future__ import annotations


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
