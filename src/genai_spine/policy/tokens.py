"""How many tokens a request will be, before it is sent: an estimate, from the length of its text.

Four bytes of UTF-8 a token is the rule of thumb that OpenAI publishes for English
(help.openai.com, "What are tokens", read 2026-11); four more a message for its frame.
"""

from __future__ import annotations

import msgspec

from genai_spine.model.content import Text, Thinking, ToolCall, ToolResult
from genai_spine.model.request import CompletionRequest

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_MEDIA = 800


def estimate(content: str | CompletionRequest) -> int:
    """Input tokens, roughly; media count as a fixed amount each."""
    if isinstance(content, str):
        return _tokens(content)
    total = sum(_PER_MESSAGE + sum(_part(part) for part in message.content) for message in content.messages)
    return total + (_tokens(msgspec.json.encode(content.tools).decode()) if content.tools else 0)


def _part(part: object) -> int:
    match part:
        case Text() | Thinking():
            return _tokens(part.text)
        case ToolCall():
            return _tokens(part.name) + _tokens(part.arguments)
        case ToolResult():
            return sum(_part(item) for item in part.content)
        case _:
            return _PER_MEDIA


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)
