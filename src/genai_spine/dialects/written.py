"""What several dialects write alike."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from genai_spine.model.content import Part, ToolCall
from genai_spine.wire import json

T = TypeVar("T")


def shortest(content: list[T]) -> str | list[T]:
    """A string where one plain text is all there is."""
    if not content:
        return ""
    only = content[0]
    if len(content) == 1 and isinstance(only, dict) and only.keys() == {"type", "text"}:
        return str(only["text"])
    return content


def input_of(call: ToolCall) -> msgspec.Raw | None:
    """The arguments as the bytes of an object; None where they are something else.

    No arguments are an empty object, and so is `null` (recorded: Llama models on Groq).
    """
    if call.kind == "custom":
        return msgspec.Raw(json.encode({"input": call.arguments}))
    if call.arguments.strip() in ("", "null"):
        return msgspec.Raw(b"{}")
    try:
        encoded = call.arguments.encode()
        return msgspec.Raw(encoded) if isinstance(json.ANY.decode(encoded), dict) else None
    except (*json.UNREADABLE, UnicodeEncodeError):
        return None


def kind_named(part: Part) -> str:
    """As errors name it."""
    return f"a part of type {type(part).__name__.lower()}"
