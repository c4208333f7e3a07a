"""The JSON Schema of a tool, or of an answer, as OpenAI takes it.

JSON Schema lets an object say nothing of its `properties`, and an array nothing of its `items`; so do the tools of
MCP's servers, and Anthropic's and Google's services. OpenAI answers 400 to all of a request for one of them: "object
schema missing properties", "array schema missing items" (openai/openai-agents-python#449, bnb-chain/bnbchain-mcp#68,
read 2026-11). Nor does it take a schema that only refers to one of its own definitions, as msgspec writes every class
and Pydantic one that holds itself: "schema must be a JSON Schema of 'type: "object"', got 'type: "None"'"
(jcrist/msgspec#640, read 2026-11). Said in full they mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.json_schema import with_fitted


def fitted(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with their `properties`, and with the items of every array."""
    written = _fitted(rooted(parameters))
    if written.get("type") == "object":
        written.setdefault("properties", {})
    return written


def rooted(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with what it refers to at its root, and among its definitions only where one of them refers to it."""
    reference, definitions = schema.get("$ref"), schema.get("$defs")
    if not isinstance(reference, str) or not isinstance(definitions, Mapping):
        return schema
    name = reference.removeprefix("#/$defs/")
    if not isinstance(meant := definitions.get(name), Mapping):
        return schema
    if f'"{reference}"'.encode() not in msgspec.json.encode(definitions):
        definitions = {other: definitions[other] for other in definitions if other != name}
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
    return {**meant, **beside, **({"$defs": definitions} if definitions else {})}


def _fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    written = {key: with_fitted(key, value, _fitted) for key, value in schema.items()}
    kind = written.get("type")
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "prefixItems" not in written:
        written.setdefault("items", {})
    return written
