"""JSON Schemas as the service takes them, and the service's own schemas as JSON Schema.

`responseJsonSchema` and `parametersJsonSchema` take JSON Schema, of which only some keywords are heeded
(ai.google.dev/api/generate-content#GenerationConfig, read 2026-11): `fitted` says the others where the model may
heed them, in descriptions. The older `responseSchema` and `parameters` hold a Schema of OpenAPI 3.0: types in
capitals, `nullable`; `plain` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai_spine.dialects.gemini.schema import camel
from genai_spine.dialects.json_schema import LISTED, SINGLE, describe, with_fitted

_UNHEEDED = (
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
_NAMED = ("properties", "$defs")


def fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with `const` as an `enum` of one, `definitions` under their newer name, and bounds that are not
    heeded in the description."""
    written: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "definitions" and isinstance(value, Mapping) and "$defs" not in schema:
            key = "$defs"
        written[key] = with_fitted(key, value, fitted, named=_NAMED)
    reference = written.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/definitions/"):
        written["$ref"] = "#/$defs/" + reference.removeprefix("#/definitions/")
    if isinstance(written.get("const"), str | int | float) and "enum" not in written:
        written["enum"] = [written.pop("const")]
    bounds = {key: written.pop(key) for key in _UNHEEDED if isinstance(written.get(key), int | float)}
    describe(written, bounds)
    return written


_TYPES = (None, "string", "number", "integer", "boolean", "array", "object", "null")
"""By their numbers in the protocol buffers, which a caller may send."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The service's own Schema as JSON Schema.

    {"type": "STRING", "nullable": True} is {"type": ["string", "null"]}.
    """
    members = {camel(key): value for key, value in schema.items() if value is not None}
    written: dict[str, Any] = {}
    is_nullable = members.pop("nullable", None) is True
    for key, value in members.items():
        if key == "type":
            written[key] = _type_of(value)
        elif key in _NAMED or key == "defs":
            written["$defs" if key == "defs" else key] = _each(value)
        elif key == "ref":
            written["$ref"] = value
        elif key in LISTED and isinstance(value, list):
            written[key] = [_plain(item) for item in value]
        elif key in SINGLE:
            written[key] = _plain(value)
        elif key in _COUNTS and isinstance(value, str) and value.isdigit():
            written[key] = int(value)  # 64-bit integers are strings in Google's JSON
        else:
            written[key] = value
    if is_nullable and isinstance(written.get("type"), str):
        written["type"] = [written["type"], "null"]
        if isinstance(written.get("enum"), list):
            written["enum"] = [*written["enum"], None]
    elif is_nullable and isinstance(written.get("anyOf"), list):
        written["anyOf"] = [*written["anyOf"], {"type": "null"}]
    return written


def _each(value: Any) -> Any:
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, Mapping) else value


def _type_of(value: Any) -> Any:
    if type(value) is int and 0 < value < len(_TYPES):
        return _TYPES[value]
    return value.lower() if isinstance(value, str) else value
