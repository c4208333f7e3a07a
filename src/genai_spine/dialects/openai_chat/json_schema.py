"""The JSON Schema of a tool as OpenAI takes it.

JSON Schema lets an object say nothing of its `properties`, and an array nothing of its `items`; so do the tools of
MCP's servers, and Anthropic's and Google's services. OpenAI answers 400 to all of a request for one of them: "object
schema missing properties", "array schema missing items" (openai/openai-agents-python#449, bnb-chain/bnbchain-mcp#68,
read 2026-11). Said in full they mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai_spine.dialects.json_schema import with_fitted


def fitted(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with their `properties`, and with the items of every array."""
    written = _fitted(parameters)
    if written.get("type") == "object":
        written.setdefault("properties", {})
    return written


def _fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    written = {key: with_fitted(key, value, _fitted) for key, value in schema.items()}
    kind = written.get("type")
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "prefixItems" not in written:
        written.setdefault("items", {})
    return written
