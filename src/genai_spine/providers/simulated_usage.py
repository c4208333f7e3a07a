"""How the simulated model counts: a token is up to twelve characters and the space before them.

An image is 85 tokens, another file 100. Cached tokens are those up to the last cache mark: written in the
first turn of a conversation, read in later ones, so that a single request tells what it would have cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from genai_spine.model.content import (
    CacheMark,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.request import CompletionRequest, Tool
from genai_spine.model.response import TokenUsage

_TOKEN = re.compile(r"\s*\S{1,12}|\s+")
_IMAGE_TOKENS, _FILE_TOKENS = 85, 100


def tokens_of(text: str) -> list[str]:
    """The text cut into tokens; joined, they are the text."""
    return _TOKEN.findall(text)


def input_tokens_of(request: CompletionRequest) -> int:
    """Tokens of the prompt: messages, tools and the schema of the answer."""
    return sum(count for count, _ in _prompt(request))


def usage_of(request: CompletionRequest, parts: Sequence[Part]) -> TokenUsage:
    """What a simulated call has used."""
    prompt = list(_prompt(request))
    cached, mark = _cached(request, prompt)
    reasoning = sum(len(tokens_of(part.text)) for part in parts if isinstance(part, Thinking))
    thought = any(isinstance(part, Thinking) for part in parts)
    answered = any(message.role == "assistant" for message in request.messages)
    usage = TokenUsage(
        input_tokens=sum(count for count, _ in prompt),
        output_tokens=sum(_tokens_in(part) for part in parts),
        reasoning_tokens=reasoning if thought else None,
    )
    if mark is None:
        return usage
    if answered:
        return msgspec.structs.replace(usage, cache_read_tokens=cached, cache_write_tokens=0)
    hourly = cached if mark.ttl == "1h" else None
    return msgspec.structs.replace(usage, cache_read_tokens=0, cache_write_tokens=cached, cache_write_1h_tokens=hourly)


def _cached(request: CompletionRequest, prompt: list[tuple[int, CacheMark | None]]) -> tuple[int, CacheMark | None]:
    """Tokens up to the last cache mark, and that mark."""
    if request.cache is not None:
        return sum(count for count, _ in prompt), request.cache
    total, cached, last = 0, 0, None
    for count, mark in prompt:
        total += count
        if mark is not None:
            cached, last = total, mark
    return cached, last


def _prompt(request: CompletionRequest) -> Iterator[tuple[int, CacheMark | None]]:
    """The prompt piece by piece, in the order in which a provider caches it: tools, then messages."""
    for tool in request.tools:
        mark = tool.cache if isinstance(tool, Tool) else None
        yield len(tokens_of(msgspec.json.encode(tool).decode())), mark
    if request.output_schema is not None:
        yield len(tokens_of(msgspec.json.encode(request.output_schema).decode())), None
    for message in request.messages:
        for part in message.content:
            yield _tokens_in(part), part.cache


def _tokens_in(part: Part) -> int:
    match part:
        case Text() | Thinking() | Refusal():
            return len(tokens_of(part.text))
        case ToolCall():
            return len(tokens_of(part.name)) + len(tokens_of(part.arguments))
        case ToolResult():
            return sum(_tokens_in(inner) for inner in part.content)
        case Image():
            return _IMAGE_TOKENS
        case Document() if part.text is not None:
            return len(tokens_of(part.text))
        case _:
            return _FILE_TOKENS
