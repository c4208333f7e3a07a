"""Fields of a request that hold one plain value each: a string, a number, a switch.

They are looked at whenever a request is made, also of one that came over the wire: what callers send is of the same
types again and again, and those are told by one look.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from operator import attrgetter
from typing import Any

from genai_spine.model.errors import InvalidRequest

_MOST_REMEMBERED = 1000


class Scalars:
    """The fields of one class, by what each takes. None is a field that is not given."""

    __slots__ = ("_fields", "_numbers", "_right", "_values")

    def __init__(
        self,
        *,
        strings: Iterable[str] = (),
        numbers: Iterable[str] = (),
        counts: Iterable[str] = (),
        switches: Iterable[str] = (),
    ) -> None:
        numbers = tuple(numbers)
        self._fields: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
            *((name, str, "a string") for name in strings),
            *((name, (int, float), "a number") for name in numbers),
            *((name, int, "a whole number") for name in counts),
            *((name, bool, "True or False") for name in switches),
        )
        names = [name for name, _, _ in self._fields]
        self._values = attrgetter(*names, names[0])  # of one name alone it would give no tuple
        self._numbers = numbers
        self._right: set[tuple[type, ...]] = set()
        """The types of all fields together, where they were right."""

    def check(self, value: Any) -> None:
        """Raises: InvalidRequest, naming the field."""
        for name in self._numbers:
            given = getattr(value, name)
            if type(given) is float and not isfinite(given):  # JSON has no such number
                raise InvalidRequest(f"{name}: expected a number, got {given}", param=name)
        types = tuple(map(type, self._values(value)))
        if types in self._right:
            return
        for name, kind, wanted in self._fields:
            given = getattr(value, name)
            if given is None:
                continue
            if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
                raise InvalidRequest(f"{name}: expected {wanted}, got {kind_of(given)}", param=name)
        if len(self._right) < _MOST_REMEMBERED:
            self._right.add(types)


def kind_of(value: Any) -> str:
    """What Python calls the type of a value."""
    return "null" if value is None else type(value).__name__
