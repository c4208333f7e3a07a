"""A JSON Schema as structured outputs take it.

Every object must have `additionalProperties: false`, and bounds on numbers, texts, lists and objects are
refused (platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations, read
2026-11); strict tools are refused alike ("tools.25.custom: For 'integer' type, properties maximum, minimum are not
supported", 400, earendil-works/pi#9953). Texts have the formats of a list, and other types none. As the service's own
SDKs do (transform_schema, read 2026-11), bounds and other formats go into the description, where the model may heed
them. The order that Google's clients say apart (`propertyOrdering`) is here that of the properties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genai_spine.dialects.json_schema import describe, with_fitted
from genai_spine.model.card import Capabilities
from genai_spine.model.request import Tool

_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))


def fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with what the service requires, and without what it refuses."""
    written = {key: with_fitted(key, value, fitted, single=("items",)) for key, value in schema.items()}
    if written.get("type") == "object" or "properties" in written:
        written.setdefault("additionalProperties", False)
    bounds = {key: written.pop(key) for key in _BOUNDS if _is_bound(written.get(key))}
    if isinstance(least := written.get("minItems"), int) and least > 1:
        bounds["minItems"] = written.pop("minItems")
    if isinstance(kind := written.get("format"), str) and (
        kind not in _FORMATS or written.get("type") in ("integer", "number")
    ):
        bounds["format"] = written.pop("format")
    if isinstance(written.get("propertyOrdering"), list):
        order = [name for name in written.pop("propertyOrdering") if isinstance(name, str)]
        if isinstance(found := written.get("properties"), dict):
            written["properties"] = {name: found[name] for name in [*order, *found] if name in found}
    describe(written, bounds)
    return written


def schema_of_tool(
    tool: Tool, card: Capabilities, notice: Callable[[str, str, str | None], None]
) -> tuple[Mapping[str, Any], bool]:
    """The schema of a tool's input, and whether it is held to it: what takes no output schema takes no strict tools."""
    schema = input_schema(tool.parameters)
    if not tool.strict:
        return schema, False
    if card.structured_output is False:
        notice("dropped", f"the model takes no strict tools: {tool.name} is an ordinary one", "tools")
        return schema, False
    fit = fitted(schema)
    if fit != schema:
        notice("changed", f"the schema of the tool {tool.name} was fitted to what the service takes", "tools")
    return fit, True


def input_schema(parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A tool's parameters with their type, which must be there ("input_schema.type: Field required", recorded 400)."""
    if parameters is None:
        return {"type": "object", "properties": {}}
    return parameters if "type" in parameters else {"type": "object", **parameters}


def _is_bound(value: Any) -> bool:
    """A bound of a schema, and not a property that happens to have its name."""
    return isinstance(value, int | float)
