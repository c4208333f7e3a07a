"""Plain values to the structs of tree.py, collecting every problem on the way.

Written by hand rather than with msgspec.convert because convert stops at the first problem, quotes values,
and cannot be lenient with the one text that came from a variable in a tree that is strict elsewhere.
"""

from __future__ import annotations

import json
import math
import re
import types
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from genai_spine.settings.explain import Path, Problem, did_you_mean, kind_of, unknown_key
from genai_spine.settings.tree import RouteTarget
from genai_spine.settings.values import Duration, Secret

BAD: Any = msgspec.UNSET
"""Stands for a value that could not be built; a problem tells why."""

MOST = 2**53 - 1
"""The largest whole number that every reader of JSON takes exactly (RFC 8259, section 6)."""

DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|)\s*")
SECONDS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}


class Text(str):
    """A text from the environment, an argument or a `${VARIABLE}`: it may stand for a number or a list."""

    __slots__ = ()


@cache
def field_types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotated type of each field, resolved."""
    hints = get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__}


def split(annotation: Any) -> tuple[Any, msgspec.Meta | None]:
    """The type itself, and what is said about it."""
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        return base, next((extra for extra in extras if isinstance(extra, msgspec.Meta)), None)
    return annotation, None


def is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def is_union(type_: Any) -> bool:
    return get_origin(type_) in (Union, types.UnionType)


def words_of(type_: Any) -> list[str] | None:
    """The words that a Literal or an enum allows."""
    if get_origin(type_) is Literal:
        return list(get_args(type_))
    if isinstance(type_, type) and issubclass(type_, StrEnum):
        return [member.value for member in type_]
    return None


def describe(type_: Any) -> str:
    """What is expected, in words."""
    if words := words_of(type_):
        return "one of " + ", ".join(f'"{word}"' for word in words)
    if is_union(type_):
        return " or ".join(describe(member) for member in get_args(type_) if member is not types.NoneType)
    origin = get_origin(type_)
    if origin in (list, tuple):
        return "a list"
    if origin is dict or is_struct(type_):
        return "a table"
    return {
        str: "text",
        Secret: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        Duration: 'a duration such as 30, "30s", "5m" or "250ms"',
    }[type_]


def build(annotation: Any, value: Any, path: Path, problems: list[Problem]) -> Any:
    """The value as `annotation` wants it, or BAD, with the reason appended to `problems`."""
    type_, meta = split(annotation)
    if type_ is Any:
        return _anything(value)
    if is_union(type_):
        return _union(type_, meta, value, path, problems)
    if is_struct(type_):
        return _struct(type_, value, path, problems)
    origin = get_origin(type_)
    if origin in (list, tuple):
        return _list(type_, value, path, problems)
    if origin is dict:
        return _dict(type_, value, path, problems)
    built = _leaf(type_, value)
    if built is BAD:
        reason = f"expected {describe(type_)}"
        if words := words_of(type_):
            reason += did_you_mean(value, words) if isinstance(value, str) else ""
        else:
            reason += f", got {kind_of(value)}"
        problems.append(Problem(path, reason))
    elif meta is not None and (bounds := _out_of_bounds(meta, built)):
        problems.append(Problem(path, bounds))
        return BAD
    return built


def _leaf(type_: Any, value: Any) -> Any:
    if words := words_of(type_):
        if not isinstance(value, str) or value not in words:
            return BAD
        return str(value) if get_origin(type_) is Literal else type_(value)
    if type_ is Duration:
        return _duration(value)
    if type_ in (str, Secret):
        if not isinstance(value, str):
            return BAD
        if type_ is Secret:
            return Secret(value.strip())  # a newline is left by `echo key > file`, and fits in no header
        return str(value)
    if isinstance(value, Text):
        value = _plain(type_, value)
    if type_ is bool:
        return value if isinstance(value, bool) else BAD
    if isinstance(value, bool) or not isinstance(value, int | float):
        return BAD
    if type_ is int:
        return value if isinstance(value, int) and abs(value) <= MOST else BAD
    return float(value) if _is_finite(value) else BAD


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _anything(value: Any) -> Any:
    """A variable's text may stand for whatever JSON can say: `false`, `{"a": 1}`."""
    if not isinstance(value, Text):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return str(value)


def _plain(type_: Any, text: str) -> Any:
    """The number or truth value that a variable's text stands for; BAD if none."""
    word = text.strip().lower()
    if type_ is bool:
        return {"true": True, "1": True, "yes": True, "on": True}.get(
            word, False if word in ("false", "0", "no", "off") else BAD
        )
    try:
        return int(word) if type_ is int else float(word)
    except ValueError:
        return BAD


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        match = DURATION.fullmatch(value.lower())
        return Duration(float(match[1]) * SECONDS[match[2]]) if match else BAD
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value) or value < 0:
        return BAD
    return Duration(value)


def _out_of_bounds(meta: msgspec.Meta, value: Any) -> str | None:
    if (
        (meta.ge is None or value >= meta.ge)
        and (meta.gt is None or value > meta.gt)
        and (meta.le is None or value <= meta.le)
    ):
        return None
    bounds = {"at least": meta.ge, "more than": meta.gt, "at most": meta.le}
    return "must be " + " and ".join(f"{word} {bound:.10g}" for word, bound in bounds.items() if bound is not None)


def _union(type_: Any, meta: msgspec.Meta | None, value: Any, path: Path, problems: list[Problem]) -> Any:
    if value is None:
        return None
    members = [member for member in get_args(type_) if member is not types.NoneType]
    if len(members) == 1:
        return build(Annotated[members[0], meta] if meta else members[0], value, path, problems)
    if isinstance(value, Text):  # which every text would be; what it may stand for comes first
        members.sort(key=lambda member: member is str)
    for member in members:
        built = build(member, value, path, [])
        if built is not BAD:
            return built
    problems.append(Problem(path, f"expected {describe(type_)}, got {kind_of(value)}"))
    return BAD


def opened(value: Any, bracket: str) -> Any:
    """The JSON that a variable's text holds, where it begins like one; BAD where it is none."""
    if isinstance(value, Text) and value.lstrip().startswith(bracket):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return BAD
    return value


def _got(value: Any) -> str:
    """What stands where something else is expected; BAD is of `opened`."""
    return "text that begins like JSON and is none" if value is BAD else kind_of(value)


def _list(type_: Any, value: Any, path: Path, problems: list[Problem]) -> Any:
    value = opened(value, "[")
    if isinstance(value, Text):
        value = [Text(part.strip()) for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        problems.append(Problem(path, f"expected a list, got {_got(value)}"))
        return BAD
    item = get_args(type_)[0]
    items = [build(item, part, (*path, index), problems) for index, part in enumerate(value)]
    return tuple(items) if get_origin(type_) is tuple else items


def _dict(type_: Any, value: Any, path: Path, problems: list[Problem]) -> Any:
    value = opened(value, "{")
    if not isinstance(value, dict):
        problems.append(Problem(path, f"expected a table, got {_got(value)}"))
        return BAD
    item = get_args(type_)[1]
    return {key: build(item, part, (*path, key), problems) for key, part in value.items()}


def _struct(type_: type[msgspec.Struct], value: Any, path: Path, problems: list[Problem]) -> Any:
    value = opened(value, "{")
    if type_ is RouteTarget and isinstance(value, str):
        value = {"target": value}
    if not isinstance(value, dict):
        problems.append(Problem(path, f"expected a table, got {_got(value)}"))
        return BAD
    fields = field_types(type_)
    given: dict[str, Any] = {}
    for key, part in value.items():
        if key not in fields:
            problems.append(Problem((*path, key), unknown_key(key, fields.keys() - {"by_id", "loaded"})))
        elif part is not None:  # YAML's `key:` with nothing behind it is a key left out
            given[key] = build(fields[key], part, (*path, key), problems)
    for field in msgspec.structs.fields(type_):
        if field.required and value.get(field.name) is None:
            problems.append(Problem((*path, field.name), "missing"))
            given[field.name] = BAD
    if any(part is BAD for part in given.values()):
        return BAD
    return type_(**given)
