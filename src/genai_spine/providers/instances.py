"""JSON Schema to a small value that satisfies it: what a simulated model writes where JSON is asked of it.

The same schema gives the same value. Required members only; the first branch that works of `anyOf` and
`oneOf`; the least number, the shortest array. Read: type, enum, const, default, examples, properties,
required, minProperties, additionalProperties, items, prefixItems, minItems, uniqueItems, contains, string
lengths, formats, number bounds, multipleOf, allOf, anyOf, oneOf, and `$ref` within the schema. A `pattern` is
met only by trying a few likely words; `not`, `if` and `dependent…` are not read.

Source: json-schema.org/draft/2020-12 (read 2026-11). Must not know: requests, dialects, tools.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from genai_spine.model.errors import InvalidRequest

_MALFORMED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
_MOST_STEPS = 20_000
_LONGEST_STRING = 1_000_000
_DEEPEST = 40

FORMATS = {
    "date-time": "2026-01-0{}T12:00:00Z",
    "date": "2026-01-0{}",
    "time": "12:00:0{}Z",
    "duration": "P{}D",
    "email": "user{}@example.com",
    "idn-email": "user{}@example.com",
    "hostname": "host{}.example.com",
    "ipv4": "192.0.2.{}",
    "ipv6": "2001:db8::{}",
    "uri": "https://example.com/{}",
    "url": "https://example.com/{}",
    "uri-reference": "/{}",
    "iri": "https://example.com/{}",
    "uuid": "00000000-0000-4000-8000-00000000000{}",
    "json-pointer": "/{}",
    "regex": "a{}",
}
"""A word of each format; the braces are a digit, so that several may differ."""

_LIKELY = (
    *("a", "A", "1", "ab", "AB", "a1", "A1", "abc", "ABC", "123", "1.0", "1.0.0", "a-b", "a_b", "#000000"),
    *("en-US", "+15555550100", "12:00", "2026-01-01", "user@example.com", "https://example.com"),
)


class _Impossible(Exception):
    """No value was found for a schema."""


def instance_of(schema: Any) -> Any:
    """A value that satisfies the schema, the same for the same schema.

    instance_of({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
        == {"city": "city"}

    Raises: InvalidRequest where none was found.
    """
    try:
        return _Maker(schema).make(schema, "value", 0, ())
    except _Impossible as reason:
        why = str(reason)
    except _MALFORMED as error:  # a keyword with a value that the specification forbids
        why = f"it is no JSON Schema ({type(error).__name__}: {str(error)[:200]})"
    raise InvalidRequest(f"no value was found for the schema: {why}", code="unsupported_schema")


class _Maker:
    """`name` words the strings; `variant` tells several values of one schema apart; `open_refs` are those
    on the way down, so that a recursive schema comes to an end."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.steps = 0

    def make(self, schema: Any, name: str, variant: int, open_refs: tuple[str, ...]) -> Any:
        self.steps += 1
        if self.steps > _MOST_STEPS or len(open_refs) > _DEEPEST:
            raise _Impossible("it is too deep or too large")
        if schema is True:
            return name
        if not isinstance(schema, Mapping):
            raise _Impossible(f"{name}: nothing is allowed here" if schema is False else f"{name}: no schema")
        if "const" in schema:
            return _only(schema["const"], variant)
        if isinstance(options := schema.get("enum"), list):
            return _nth(options, variant, name)
        if isinstance(ref := schema.get("$ref"), str):
            rest = {key: schema[key] for key in schema if key not in ("$ref", "$defs", "definitions")}
            target = self.resolved(ref)
            return self.make(_merged(target, rest) if rest else target, name, variant, (*open_refs, ref))
        if isinstance(parts := schema.get("allOf"), list):
            return self.make(self.all_of(schema, parts), name, variant, (*open_refs, "allOf"))
        for key in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(key), list):
                return self.any_of(schema, key, branches, name, variant, open_refs)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[min(variant, len(kind) - 1)] if kind else None
        given = schema.get("default", _nth_or(schema.get("examples"), variant))
        if variant == 0 and given is not None and _plain(kind, given, schema):
            return given
        maker = _MAKERS.get(kind or _implied(schema))
        if maker is None:
            raise _Impossible(f"{name}: unknown type {kind!r}")
        return maker(self, schema, name, variant, open_refs)

    def resolved(self, ref: str) -> Any:
        if not ref.startswith("#"):
            raise _Impossible(f"$ref {ref!r} leads outside of the schema")
        found = self.root
        for step in ref[1:].split("/")[1:]:
            step = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise _Impossible(f"$ref {ref!r} leads nowhere") from None
        return found

    def all_of(self, schema: Mapping[str, Any], parts: list[Any]) -> Mapping[str, Any]:
        merged: Mapping[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            while isinstance(part, Mapping) and isinstance(ref := part.get("$ref"), str):
                self.steps += 1
                if self.steps > _MOST_STEPS:
                    raise _Impossible(f"$ref {ref!r} refers to itself")
                rest = {key: value for key, value in part.items() if key != "$ref"}
                part = _merged(self.resolved(ref), rest)
            if isinstance(part, Mapping) and isinstance(inner := part.get("allOf"), list):
                part = self.all_of(part, inner)
            merged = _merged(part, merged)
        return merged

    def any_of(
        self,
        schema: Mapping[str, Any],
        key: str,
        branches: list[Any],
        name: str,
        variant: int,
        open_refs: tuple[str, ...],
    ) -> Any:
        rest = {k: v for k, v in schema.items() if k not in (key, "default", "examples")}

        def again(branch: Any) -> bool:
            return isinstance(branch, Mapping) and branch.get("$ref") in open_refs

        reason = _Impossible(f"{name}: {key} is empty")
        ordered = sorted(branches, key=again)  # a way back into what is open only where there is no other
        if variant and len(ordered) > 1:
            ordered = ordered[variant % len(ordered) :] + ordered[: variant % len(ordered)]
        for branch in ordered:
            try:
                return self.make(_merged(branch, rest), name, variant, (*open_refs, key))
            except _Impossible as why:
                reason = why
        raise reason

    def object(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> Any:
        properties = schema.get("properties") or {}
        more = schema.get("additionalProperties", True)
        value = {}
        for key in schema.get("required") or ():
            value[key] = self.make(properties.get(key, more), key, variant, open_refs)
        least = min(max(schema.get("minProperties") or 0, min(variant, 1)), _MOST_STEPS)
        names = [*properties, *(f"key{number}" for number in range(1, least + 1))]
        for key in names:
            if len(value) >= least:
                break
            if key not in value:
                try:
                    value[key] = self.make(properties.get(key, more), key, variant, open_refs)
                except _Impossible:
                    continue
        return value

    def array(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> Any:
        first = schema.get("prefixItems") or []
        items = schema.get("items", True)
        if isinstance(items, list):  # a tuple, before draft 2020-12
            first, items = items, schema.get("additionalItems", True)
        contains = schema.get("contains")
        least = max(schema.get("minItems") or 0, min(variant, 1))
        wanted = (schema.get("minContains", 1)) if contains is not None else 0
        value: list[Any] = []
        offset = variant
        while len(value) < max(least, wanted):
            position = len(value)
            here = first[position] if position < len(first) else items
            if position < wanted:
                here = _merged(contains, here if isinstance(here, Mapping) else {})
            for _ in range(100):
                item = self.make(here, name, offset, open_refs)
                offset += bool(schema.get("uniqueItems"))
                if not schema.get("uniqueItems") or not any(_same(item, other) for other in value):
                    break
            else:
                raise _Impossible(f"{name}: not enough different items")
            value.append(item)
        return value

    def string(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> str:
        least, most = schema.get("minLength") or 0, schema.get("maxLength")
        if least > _LONGEST_STRING:
            raise _Impossible(f"{name}: longer than {_LONGEST_STRING} characters")
        tail = str(variant) if variant else ""
        words: Iterator[str]
        if (pattern := schema.get("pattern")) is not None:
            words = (word for word in (name, *_likely(pattern)) if _matches(pattern, word))
        elif (form := FORMATS.get(schema.get("format", ""))) is not None:
            words = iter((form.format(variant % 9 + 1),))
        else:
            word = name + tail
            if most is not None and len(word) > most:
                word = name[: max(most - len(tail), 0)] + tail
            words = iter((word + "x" * (least - len(word)),))
        fitting = [word for word in words if len(word) >= least and (most is None or len(word) <= most)]
        return str(_nth(fitting, variant if pattern is not None else 0, name))

    def number(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> Any:
        whole = schema.get("type") != "number"
        least, above = schema.get("minimum"), _bound(schema, "exclusiveMinimum", "minimum")
        most, below = schema.get("maximum"), _bound(schema, "exclusiveMaximum", "maximum")
        low = max((bound for bound in (least, above) if bound is not None), default=None)
        high = min((bound for bound in (most, below) if bound is not None), default=None)

        def fits(value: Any) -> bool:
            return (
                (least is None or value >= least)
                and (above is None or value > above)
                and (most is None or value <= most)
                and (below is None or value < below)
                and (not whole or isinstance(value, int) or value.is_integer())
            )

        start = low if low is not None else min(high, 0) if high is not None else 0
        steps = range(variant + 3)
        if (step := schema.get("multipleOf") or (1 if whole else None)) is not None:
            grid = -(-start // step) if low is not None else start // step
            values = [grid * step + sign * index * step for sign in (1, -1) for index in steps]
        else:
            values = [start + sign * index for sign in (1, -1) for index in steps]
            if low is not None and high is not None:
                values += [low + (high - low) * (index + 1) / (len(steps) + 1) for index in steps]
        fitting = dict.fromkeys(int(value) if whole else value for value in values if fits(value))
        return _nth(list(fitting), variant, name)

    def boolean(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> bool:
        return variant % 2 == 0

    def null(self, schema: Mapping[str, Any], name: str, variant: int, open_refs: tuple[str, ...]) -> None:
        return None


_MAKERS: dict[str, Callable[[_Maker, Mapping[str, Any], str, int, tuple[str, ...]], Any]] = {
    "object": _Maker.object,
    "array": _Maker.array,
    "string": _Maker.string,
    "number": _Maker.number,
    "integer": _Maker.number,
    "boolean": _Maker.boolean,
    "null": _Maker.null,
}

_IMPLYING = {
    "object": ("properties", "required", "minProperties", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def _implied(schema: Mapping[str, Any]) -> str:
    """The type that a schema without one speaks of; a string where it speaks of none."""
    return next((kind for kind, keys in _IMPLYING.items() if any(key in schema for key in keys)), "string")


_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def _merged(schema: Any, more: Any) -> Any:
    """Both schemas at once, as far as their members can be joined."""
    if not isinstance(schema, Mapping) or not isinstance(more, Mapping):
        return False if schema is False or more is False else more if schema is True else schema
    merged = dict(schema)
    for key, value in more.items():
        present = merged.get(key)
        if key == "properties" and isinstance(present, Mapping):
            both = {name: _merged(present[name], value[name]) for name in value if name in present}
            merged[key] = {**present, **value, **both}
        elif key == "required" and isinstance(present, list):
            merged[key] = [*present, *(item for item in value if item not in present)]
        elif key == "enum" and isinstance(present, list):
            merged[key] = [item for item in present if any(_same(item, other) for other in value)]
        elif key in _LEAST and present is not None:
            merged[key] = max(present, value)
        elif key in _MOST and present is not None:
            merged[key] = min(present, value)
        elif key == "type" and present is not None and present != value:
            merged[key] = _narrower(present, value)
        elif key in ("anyOf", "oneOf") and present is not None:
            merged["allOf"] = [*merged.get("allOf", ()), {key: value}]
        elif key == "allOf" and present is not None:
            merged[key] = [*present, *value]
        else:
            merged[key] = value
    return merged


def _narrower(one: Any, other: Any) -> Any:
    names = one if isinstance(one, list) else [one]
    others = other if isinstance(other, list) else [other]
    common = [name for name in names if name in others or (name == "integer" and "number" in others)]
    common += [name for name in others if name == "integer" and "number" in names and name not in common]
    return common or "nothing"


def _bound(schema: Mapping[str, Any], key: str, plain: str) -> Any:
    """An exclusive bound; before draft 6 it was a boolean beside the plain one."""
    value = schema.get(key)
    return schema.get(plain) if value is True else None if value is False else value


def _plain(kind: Any, given: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a default or an example may be taken as it is: only plain values are, and within no bounds."""
    if kind == "string":
        return isinstance(given, str) and not {"pattern", "minLength", "maxLength"} & schema.keys()
    return kind == "boolean" and isinstance(given, bool)


def _likely(pattern: str) -> Iterator[str]:
    """Words that a pattern may match: the likely ones, the pattern as plain text, runs of one character."""
    yield from _LIKELY
    yield re.sub(r"[\^$\\]", "", pattern)
    yield from (char * length for length in range(1, 41) for char in "a0A")


def _matches(pattern: str, word: str) -> bool:
    try:
        return re.search(pattern, word) is not None
    except (re.error, RecursionError):
        raise _Impossible(f"the pattern {pattern[:80]!r} cannot be read") from None


def _only(value: Any, variant: int) -> Any:
    return value


def _nth(options: list[Any], variant: int, name: str) -> Any:
    if not options:
        raise _Impossible(f"{name}: nothing fits")
    return options[variant % len(options)]


def _nth_or(options: Any, variant: int) -> Any:
    return options[variant % len(options)] if isinstance(options, list) and options else None


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON, where 1 is not true."""
    return msgspec.json.encode(one) == msgspec.json.encode(other)
