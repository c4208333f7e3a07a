"""The form before tools: one `function_call` a turn, without an id, and its result in a message of role `function`.

    {"role": "assistant", "content": null, "function_call": {"name": "sky", "arguments": "{}"}}
    {"role": "function", "name": "sky", "content": "blue"}

Source: platform.openai.com/docs/api-reference/chat (deprecated, 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from genai_spine.model.content import ToolCall, ToolResult
from genai_spine.model.request import Message


def call_id_of(name: str | None, number: int = 1) -> str:
    return f"call_{name}" if number == 1 else f"call_{name}_{number}"


def told_apart(messages: Sequence[Message], said: Sequence[dict[str, Any]]) -> tuple[Message, ...]:
    """The messages with an id of its own for each call; a result is that of the last call of its name.

    `said` are the same messages as they came.
    """
    numbers: dict[str, int] = {}
    told: list[Message] = []
    for message, members in zip(messages, said, strict=True):
        last = message.content[-1] if message.content else None
        if isinstance(last, ToolCall) and isinstance(members.get("function_call"), dict):
            number = numbers[last.name] = numbers.get(last.name, 0) + 1
            message = _with_last(message, msgspec.structs.replace(last, id=call_id_of(last.name, number)))
        elif isinstance(last, ToolResult) and members.get("role") == "function":
            number = numbers.get(last.name or "", 1)
            message = _with_last(message, msgspec.structs.replace(last, call_id=call_id_of(last.name, number)))
        told.append(message)
    return tuple(told)


def _with_last(message: Message, last: ToolCall | ToolResult) -> Message:
    return msgspec.structs.replace(message, content=(*message.content[:-1], last))
