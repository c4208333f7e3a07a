"""What a request needs of a model, and what a model is known to lack.

Only a card's plain False is a lack, and only a window that is known can be too small: what is not known is
given the benefit of the doubt. Who is left out of a call is engine/routing/router.py's decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.request import CompletionRequest

TOLD = {
    "tools": "takes no tools",
    "images": "takes no images",
    "documents": "takes no documents",
    "audio": "takes no audio",
    "thinking": "does not think",
    "structured_output": "keeps to no schema",
}
"""The capabilities that a request can need, and what is said of a model that lacks one."""

MEMBERS: dict[str, frozenset[str]] = {
    "tools": frozenset({"tools", "functions"}),
    "thinking": frozenset({"thinking", "think", "reasoning", "reasoning_effort", "output_config", "generationConfig"}),
    "structured_output": frozenset({"response_format", "text", "format", "output_config", "generationConfig"}),
}
"""Without one of these top-level members a body of no dialect asks for the thing."""
MARKS: dict[str, tuple[bytes, ...]] = {
    "images": (b"image",),
    "audio": (b"audio",),
    "documents": (b"document", b"file", b"pdf"),
}
"""Without one of these words in it a body of no dialect holds the thing, letters written as escapes apart."""

_KINDS: dict[type, str] = {Image: "images", Audio: "audio", Document: "documents"}


def lacks(capabilities: Capabilities) -> frozenset[str]:
    """What a model is known not to do, of what a request can need."""
    return frozenset(name for name in TOLD if getattr(capabilities, name) is False)


def may_need(name: str, body: bytes, members: Collection[str]) -> bool:
    """Whether a request with this body and these top-level members could need a thing: a look instead of a decoding."""
    if (named := MEMBERS.get(name)) is not None:
        return not named.isdisjoint(members)
    return any(mark in body for mark in MARKS[name])


def needs_of(request: CompletionRequest) -> frozenset[str]:
    """The capabilities without which a model cannot answer this as it is asked."""
    needs = {kind for message in request.messages for kind in _kinds(message.content)}
    if request.tools:
        needs.add("tools")
    if request.output_schema is not None and request.output_schema.schema is not None:
        needs.add("structured_output")
    thinking = request.thinking
    if thinking is not None and thinking.enabled is not False and thinking.effort != "none":
        needs.add("thinking")
    return frozenset(needs)


def _kinds(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        if (kind := _KINDS.get(type(part))) is not None:
            yield kind
        elif isinstance(part, ToolResult):
            yield from _kinds(part.content)


def most_tokens(request: CompletionRequest) -> int:
    """A bound that costs little: more tokens than this a request cannot have, media of unusual size apart."""
    return sum(_bound(message.content) for message in request.messages) + _MUCH * len(request.tools)


_MUCH = 10_000


def _bound(parts: Iterable[Part]) -> int:
    bound = 8
    for part in parts:
        match part:
            case Text() | Refusal() | Thinking():
                bound += _most_of(part.text)
            case ToolCall():
                bound += _most_of(part.arguments) + _most_of(part.name)
            case ToolResult():
                bound += _bound(part.content)
            case _:
                bound += _MUCH
    return bound


def texts_of(request: CompletionRequest) -> Iterator[str]:
    """All its texts, in order."""
    return (text for message in request.messages for text in _texts(message.content))


def text_length(request: CompletionRequest) -> int:
    """Characters of all its texts."""
    return sum(len(text) for text in texts_of(request))


def media_count(request: CompletionRequest) -> int:
    """Images, sounds and documents in it."""
    return sum(1 for message in request.messages for _ in _kinds(message.content))


def _texts(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        match part:
            case Text() | Refusal() | Thinking():
                yield part.text
            case ToolCall():
                yield part.arguments
            case ToolResult():
                yield from _texts(part.content)
            case Document() if part.text:
                yield part.text
            case Opaque(dialect="openai_completions"):  # prompts that no message can say
                yield bytes(part.raw).decode()
            case _:
                pass


def _most_of(text: str) -> int:
    """Every token is a byte at least."""
    return len(text) if text.isascii() else 4 * len(text)


def window_of(card: ModelCard, *caps: int | None) -> int | None:
    """The context window in tokens: the card's, or what settings or a request make it, the least of them."""
    return min((known for known in (card.context_window, *caps) if known is not None), default=None)
