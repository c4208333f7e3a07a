"""What fitting a JSON Schema to a service takes, whichever the service: the way through the schemas in it, and the
words for what is not heeded as a keyword."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NAMED = ("properties", "$defs", "definitions")
LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalProperties")


def with_fitted(
    key: str,
    value: Any,
    fit: Callable[[Mapping[str, Any]], Any],
    *,
    named: Sequence[str] = NAMED,
    single: Sequence[str] = SINGLE,
) -> Any:
    """The value of a schema's member, with the schemas in it fitted: those under names, in a list, or alone."""

    def fitted(schema: Any) -> Any:
        return fit(schema) if isinstance(schema, Mapping) else schema

    if key in named and isinstance(value, Mapping):
        return {name: fitted(item) for name, item in value.items()}
    if key in LISTED and isinstance(value, list | tuple):
        return [fitted(item) for item in value]
    return fitted(value) if key in single else value


def describe(written: dict[str, Any], bounds: Mapping[str, Any]) -> None:
    """Says bounds in the schema's description, where the model may heed them."""
    if bounds:
        said = "{" + ", ".join(f"{key}: {value}" for key, value in bounds.items()) + "}"
        description = written.get("description")
        written["description"] = f"{description}\n\n{said}" if description else said
