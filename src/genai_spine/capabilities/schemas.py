"""A caller's JSON Schema: what may stand in it, and the check of a value against it.

The check is made by `jsonschema-rs` (`pip install genai-spine[jsonschema]`), whose patterns are bounded. What it
does not bound is refused before: a small schema whose references double at each step would take it hours. Schemas
are never fetched. Source: json-schema.org/draft/2020-12 (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NoReturn

from genai_spine.capabilities.checked import Check
from genai_spine.model.errors import ConfigError, InvalidRequest

MOST_IN_PLACE = 1_000
"""Schemas that one value may have to be checked against, references followed."""
MOST_STEPS = 10_000
"""That a pattern with look-arounds or references may go back in one text; the library's own bound is a hundred times
that, and nothing else of this process runs meanwhile."""
LONGEST_PROBLEM = 300

_LISTS = ("allOf", "anyOf", "oneOf")
_ONES = ("not", "if", "then", "else")
_MAPS = ("dependentSchemas", "dependencies")
"""What applies to the value itself; everything else applies to a part of it."""
_DATA = frozenset({"const", "enum", "default", "examples"})


def checker(schema: dict[str, Any]) -> Check:
    """What finds fault with a value. Raises: InvalidRequest for what is no schema; ConfigError without the extra."""
    try:
        library = import_module("jsonschema_rs")
    except ImportError:
        raise ConfigError('extract needs a JSON Schema validator: pip install "genai-spine[jsonschema]"') from None
    try:
        _Bounds(schema).check()
        patterns = library.FancyRegexOptions(backtrack_limit=MOST_STEPS)
        validator = library.validator_for(schema, retriever=_never_fetched, pattern_options=patterns)
    except ValueError as error:
        reason = str(getattr(error, "message", error))[:LONGEST_PROBLEM]
        raise InvalidRequest(f"schema: no JSON Schema that can be used: {reason}", param="schema") from None

    def problems(value: Any) -> list[str]:
        return [_told(error) for error in validator.iter_errors(value)]

    return problems


def _never_fetched(uri: str) -> NoReturn:
    raise ValueError("schemas elsewhere are not fetched; put it under $defs")


def _told(error: Any) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    message = error.message if len(error.message) <= LONGEST_PROBLEM else error.message[:LONGEST_PROBLEM] + "…"
    return f"at ${path}: {message}"


class _Bounds:
    """Counts, for each schema in a schema, how many others apply to the same value."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._sizes: dict[int, int] = {}
        self._under_way: set[int] = set()

    def check(self) -> None:
        """Raises: ValueError."""
        try:
            for node in _nodes(self._root):
                self._size(node)
        except RecursionError:
            raise ValueError("its references lead too far") from None

    def _size(self, node: dict[str, Any]) -> int:
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in self._under_way:
            raise ValueError("its references lead back to where they began, for one and the same value")
        self._under_way.add(id(node))
        size = 1 + sum(self._size(other) for other in self._in_place(node))
        self._under_way.discard(id(node))
        if size > MOST_IN_PLACE:
            raise ValueError(f"one value would be checked against more than {MOST_IN_PLACE} schemas")
        self._sizes[id(node)] = size
        return size

    def _in_place(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        found = [node.get(name) for name in _ONES]
        for name in _LISTS:
            found += several if isinstance(several := node.get(name), list) else []
        for name in _MAPS:
            found += by_name.values() if isinstance(by_name := node.get(name), dict) else []
        for name in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(target := node.get(name), str):
                found.append(self._resolve(target))
        if node is not self._root and isinstance(node.get("$id"), str):
            raise ValueError("only the whole may have an $id")
        return (other for other in found if isinstance(other, dict))

    def _resolve(self, target: str) -> Any:
        if not (target == "#" or target.startswith("#/")):
            if target.startswith("#"):
                raise ValueError(f"{target}: references are written #/$defs/…")
            _never_fetched(target)
        found: Any = self._root
        for step in target[2:].split("/") if len(target) > 1 else ():
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise ValueError(f"{target} leads nowhere")
        return found


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a schema that may be schemas."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += [part for name, part in one.items() if name not in _DATA]
        elif isinstance(one, list):
            waiting += one
