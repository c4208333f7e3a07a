"""Reading a caller's JSON object member by member, with errors that name the place.

A caller's request is read by hand and not by a typed decode, because what is not understood must be
kept (`rest`) and what is wrong must be named as `messages[2].content[0].text`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, overload

from genai_spine.model.errors import InvalidRequest

_LARGEST_INTEGER = 2**63 - 1


class Reader:
    """One JSON object and where it stands. What has been read is no longer in `rest()`.

    Every reading method returns None for a member that is absent or null, and raises InvalidRequest for one
    of the wrong type, or for an absent one that is `required`.
    """

    __slots__ = ("_left", "members", "path")

    def __init__(self, members: Any, path: str) -> None:
        if not isinstance(members, dict):
            where = path or "the request body"
            raise InvalidRequest(f"{where}: expected an object, got {kind_of(members)}", param=path or None)
        self.members: dict[str, Any] = members
        self.path = path
        self._left = dict(members)

    def wrong(self, key: str, why: str) -> InvalidRequest:
        place = self.place(key)
        return InvalidRequest(f"{place}: {why}", param=place)

    def place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        return self.members.get(key) is not None

    def peek(self, key: str) -> Any:
        """The member, still unread."""
        return self.members.get(key)

    def take(self, key: str) -> Any:
        self._left.pop(key, None)
        return self.members.get(key)

    def put_back(self, key: str) -> None:
        """The member counts as not understood after all."""
        self._left[key] = self.members[key]

    def leave(self, key: str, rest: dict[str, Any]) -> None:
        """Of an object that was read, these members were not understood."""
        if rest:
            self._left[key] = rest

    def rest(self) -> dict[str, Any]:
        """The members not read, without nulls."""
        return {key: value for key, value in self._left.items() if value is not None}

    def given(self, readers: Mapping[str, Callable[[Reader, str], Any]]) -> dict[str, Any]:
        """The members that the table has a reader for, each read by it: what is absent costs nothing."""
        return {key: readers[key](self, key) for key in self.members if key in readers}

    @overload
    def text(self, key: str, *, required: Literal[True]) -> str: ...
    @overload
    def text(self, key: str, *, required: bool = False) -> str | None: ...
    def text(self, key: str, *, required: bool = False) -> str | None:
        value = self._taken(key, required)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, f"expected a string, got {kind_of(value)}")
        return value

    def boolean(self, key: str) -> bool | None:
        value = self._taken(key, False)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, f"expected true or false, got {kind_of(value)}")
        return value

    def number(self, key: str) -> float | None:
        value = self._taken(key, False)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.wrong(key, f"expected a number, got {kind_of(value)}")
        return value

    def integer(self, key: str, *, least: int | None = None, most: int = _LARGEST_INTEGER) -> int | None:
        value = self.number(key)
        if value is None:
            return None
        if isinstance(value, float):
            if not value.is_integer():
                raise self.wrong(key, f"expected an integer, got {value}")
            value = int(value)
        if (least is not None and value < least) or value > most:
            raise self.wrong(key, f"{value} is out of range, expected {least if least is not None else ''}…{most}")
        return value

    def amount(self, key: str) -> Decimal | None:
        """USD, 0 or more."""
        value = self.number(key)
        if value is None:
            return None
        amount = Decimal(str(value))
        if not (amount.is_finite() and amount >= 0):
            raise self.wrong(key, "expected an amount in USD, 0 or more")
        return amount

    @overload
    def object(self, key: str, *, required: Literal[True]) -> Reader: ...
    @overload
    def object(self, key: str, *, required: bool = False) -> Reader | None: ...
    def object(self, key: str, *, required: bool = False) -> Reader | None:
        value = self._taken(key, required)
        return None if value is None else Reader(value, self.place(key))

    def mapping(self, key: str) -> dict[str, Any] | None:
        """The member as the object it is, for the user's own JSON."""
        value = self._taken(key, False)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, f"expected an object, got {kind_of(value)}")
        return value

    def items(self, key: str, *, required: bool = False) -> list[Any]:
        """The values of an array, each as it is; `objects` where all are objects."""
        value = self._taken(key, required)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, f"expected an array, got {kind_of(value)}")
        return value

    def objects(self, key: str, *, required: bool = False) -> list[Reader]:
        place = self.place(key)
        return [Reader(item, f"{place}[{index}]") for index, item in enumerate(self.items(key, required=required))]

    def strings(self, key: str) -> tuple[str, ...]:
        """One string or an array of them."""
        value = self._taken(key, False)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.wrong(key, f"expected a string or an array of strings, got {kind_of(value)}")
        return tuple(items)

    def _taken(self, key: str, required: bool) -> Any:
        self._left.pop(key, None)
        value = self.members.get(key)
        if value is None and required:
            raise self.wrong(key, "missing")
        return value


def kind_of(value: Any) -> str:
    """What JSON calls the type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
