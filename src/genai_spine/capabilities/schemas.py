"""A caller's JSON Schema: what may stand in it, and the check of a value against it.

The check is made by `jsonschema-rs` (`pip install genai-spine[jsonschema]`), while nothing else of this process runs.
What it does not bound is refused before: a small schema whose references double at each step would take it hours, and
so would patterns that go back, each as far as it may, in every text of a long answer. Schemas are never fetched.
Source: json-schema.org/draft/2020-12 (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NoReturn

from genai_spine.capabilities.checked import Check
from genai_spine.model.errors import ConfigError, InvalidRequest

MOST_IN_PLACE = 1_000
"""Schemas that one value may have to be checked against, references followed."""
MOST_PATTERNS = 200
"""Different ones in a schema: to read one may take some milliseconds."""
MOST_STEPS = 10_000
"""That a pattern with look-arounds or references may go back in one text; the library's own bound is a hundred times
that."""
MOST_STEPS_IN_ALL = 1_000_000
"""That all of these may go back in all texts of a value, which takes a second at most; in each text at least
`LEAST_STEPS`, where ordinary ones take five."""
LEAST_STEPS = 50
MOST_MATCHES = 1_000_000
"""Patterns without these, whose time is that of the text, times the texts of a value."""
MOST_PAIRS = 50_000_000
"""Values in a schema times values in what is checked: a long `enum`, say, at each of many places."""
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
        work = _Work(library, schema)
        validator = work.validator(MOST_STEPS)
    except ValueError as error:
        reason = str(getattr(error, "message", error))[:LONGEST_PROBLEM]
        raise InvalidRequest(f"schema: no JSON Schema that can be used: {reason}", param="schema") from None

    def problems(value: Any) -> list[str]:
        steps = work.steps_for(value)
        if not steps:
            return ["it holds too many values to be checked against this schema: make it shorter"]
        fit = validator if steps == MOST_STEPS else work.validator(steps)
        return [_told(error) for error in fit.iter_errors(value)]

    return problems


class _Work:
    """How much there is to do for a schema, and the validators that do no more."""

    def __init__(self, library: Any, schema: dict[str, Any]) -> None:
        """Raises: ValueError."""
        self._library = library
        self._schema = schema
        self._size = _count(schema)[0]
        self._plain = library.RegexOptions()
        patterns = set(_patterns(schema))
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"it has more than {MOST_PATTERNS} patterns")
        going_back = sum(not self._is_plain(pattern) for pattern in patterns)
        self._plain_patterns, self._going_back = len(patterns) - going_back, going_back

    def validator(self, steps: int) -> Any:
        """One whose patterns go back so far at most. Raises: ValueError."""
        options = self._library.FancyRegexOptions(backtrack_limit=steps) if self._going_back else self._plain
        return self._library.validator_for(self._schema, retriever=_never_fetched, pattern_options=options)

    def steps_for(self, value: Any) -> int:
        """How far a pattern may go back in each text of this value; 0: there is too much to check."""
        values, texts = _count(value)
        if self._size * values > MOST_PAIRS or self._plain_patterns * texts > MOST_MATCHES:
            return 0
        steps = min(MOST_STEPS, MOST_STEPS_IN_ALL // max(1, self._going_back * texts))
        return steps if steps >= LEAST_STEPS else 0

    def _is_plain(self, pattern: str) -> bool:
        """Whether it has no look-arounds or references; one that is none at all is told later."""
        try:
            self._library.validator_for({"pattern": pattern}, pattern_options=self._plain)
        except ValueError:
            return False
        return True


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(schema):
        if isinstance(pattern := node.get("pattern"), str):
            yield pattern
        if isinstance(by_pattern := node.get("patternProperties"), dict):
            yield from by_pattern


def _count(value: Any) -> tuple[int, int]:
    """The values in a value, itself included; and the texts among them, and among the names of members."""
    values = texts = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        values += 1
        if isinstance(one, str):
            texts += 1
        elif isinstance(one, dict):
            texts += len(one)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return values, texts


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
