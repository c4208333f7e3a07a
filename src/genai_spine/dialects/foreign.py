"""What a caller says that only another dialect knows. It is left out, and a Notice tells of each member.

What a provider said beside the parts of an earlier answer (ids of items, citations, log probabilities) is another
matter: no caller asked for it, and it goes back to nobody but that provider.
"""

from __future__ import annotations

from collections.abc import Iterator

from genai_spine.dialects.metadata import kept
from genai_spine.model.content import Metadata, Opaque, Part, ToolResult
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.model.response import Notice

_SAID_OTHERWISE: dict[str, frozenset[str]] = {
    "anthropic_messages": frozenset({"type"}),
    "openai_chat": frozenset({"file", "extra_content"}),
    "openai_responses": frozenset({"item", "in_message", "id", "status", "type", "prompt_cache_breakpoint"}),
    "gemini": frozenset(
        {"role", "thought", "thoughtSignature", "parameters", "functionCall", "functionResponse", "inlineData"}
    ),
    "ollama_chat": frozenset({"type"}),
}
"""By dialect: members that are kept to be written as they came, and say nothing that the middle does not."""


def foreign_to(dialect: str, request: CompletionRequest) -> Iterator[Notice]:
    """A Notice for each member that this dialect cannot say."""
    seen: set[tuple[str, str]] = set()
    for known_to, name in _members(dialect, request):
        if (known_to, name) not in seen:
            seen.add((known_to, name))
            yield Notice(code="dropped", message=f"{name} is known to {known_to} only", param=name)


def dialects_needed(request: CompletionRequest) -> set[str]:
    """The dialects without which a part or a tool of the request cannot be said: any other refuses it."""
    parts = (part for message in request.messages for part in message.content)
    opaque = {part.dialect for part in parts if type(part) is Opaque}
    return opaque | {tool.dialect for tool in request.tools if type(tool) is ProviderTool}


_INSTEAD = {
    "previous_response_id": "send the whole conversation as `input`",
    "conversation": "send the whole conversation as `input`",
    "prompt": "send the prompt's own words as `instructions`",
}
"""What says the same as a part that stands for something which OpenAI keeps."""


def only_there(part: Opaque) -> str:
    """Why a part cannot be said in any dialect but its own, and what to send in its place."""
    instead = _INSTEAD.get(part.kind) if part.dialect == "openai_responses" else None
    return f"a part of type {part.kind} can only be said in {part.dialect}" + (f": {instead}" if instead else "")


def _members(dialect: str, request: CompletionRequest) -> Iterator[tuple[str, str]]:
    """The dialect that knows it, and the name."""
    for known_to in request.extra or ():
        if known_to != dialect:
            members = kept(request.extra, known_to)
            yield from ((known_to, name) for name in members if not _is_heeded(name, members[name]))
    for tool in request.tools:
        if isinstance(tool, Tool) and tool.provider_metadata is not None:
            yield from _beside(dialect, tool.provider_metadata)
    for message in request.messages:
        if message.provider_metadata is not None:
            yield from _beside(dialect, message.provider_metadata)
        if message.role != "assistant":
            for part in message.content:
                if part.provider_metadata is not None or type(part) is ToolResult:
                    yield from _of_part(dialect, part)


def _is_heeded(name: str, value: object) -> bool:
    """Whether a member is for whoever writes the answer to the caller, and not for the provider."""
    return name == "stream_options" and isinstance(value, dict) and value.keys() <= {"include_usage"}


def _of_part(dialect: str, part: Part) -> Iterator[tuple[str, str]]:
    if part.provider_metadata is not None:
        yield from _beside(dialect, part.provider_metadata)
    if isinstance(part, ToolResult):
        for inner in part.content:
            yield from _of_part(dialect, inner)


def _beside(dialect: str, metadata: Metadata) -> Iterator[tuple[str, str]]:
    for known_to in metadata:
        if known_to == dialect:
            continue
        for name, value in kept(metadata, known_to).items():
            if name in _SAID_OTHERWISE.get(known_to, ()):
                continue
            if isinstance(value, dict):
                yield from ((known_to, f"{name}.{inner}") for inner in value)
            else:
                yield known_to, name
