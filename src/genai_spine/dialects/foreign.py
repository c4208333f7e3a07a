"""What a caller says that only another dialect knows. It is left out, and a Notice tells of each member.

What a provider said beside the parts of an earlier answer (ids of items, citations, log probabilities) is another
matter: no caller asked for it, and it goes back to nobody but that provider.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.model.content import Metadata, Opaque, Part, ToolResult
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.model.response import Notice

_SAID_OTHERWISE: dict[str, frozenset[str]] = {
    "anthropic_messages": frozenset({"type", "search_result"}),
    "openai_chat": frozenset({"file", "extra_content"}),
    "openai_responses": frozenset(
        {"item", "in_message", "id", "status", "type", "prompt_cache_breakpoint", "namespace", "in_namespace"}
    ),
    "gemini": frozenset(
        {"role", "thought", "thoughtSignature", "parameters", "functionCall", "functionResponse", "inlineData"}
    ),
    "ollama_chat": frozenset({"type"}),
}
"""By dialect: members that are kept to be written as they came, and say nothing that the middle does not."""

_READ_IN_PART: dict[str, frozenset[str]] = {
    "anthropic_messages": frozenset({"output_config", "thinking"}),
    "openai_chat": frozenset({"reasoning", "thinking"}),
    "openai_responses": frozenset({"text", "reasoning"}),
    "gemini": frozenset({"generationConfig", "toolConfig"}),
    "ollama_chat": frozenset({"options"}),
    "ollama_generate": frozenset({"options"}),
}
"""By dialect: top-level objects of which the middle understands some members. What is kept of one are the others, so
that a Notice names these: who is told that `generationConfig` was dropped takes the temperature in it for lost."""


def foreign_to(dialect: str, request: CompletionRequest) -> Iterator[Notice]:
    """A Notice for each member that this dialect cannot say."""
    seen: set[tuple[str, str]] = set()
    for known_to, name in _members(dialect, request):
        if (known_to, name) not in seen:
            seen.add((known_to, name))
            if (known_to, name) == _BARE_PROMPT:
                yield Notice(code="changed", message="a bare prompt is sent as a user's message", param=name)
            else:
                yield Notice(code="dropped", message=f"{name} is known to {known_to} only", param=name)


_COMPLETING = "openai_completions"
_BARE_PROMPT = (_COMPLETING, "prompt")


def dialects_needed(request: CompletionRequest) -> set[str]:
    """The dialects without which a part or a tool of the request cannot be said: any other refuses it."""
    parts = (part for message in request.messages for part in message.content)
    opaque = {part.dialect for part in parts if type(part) is Opaque}
    state = {_THREADED} if _continues_thread(request) else set()
    return opaque | state | {tool.dialect for tool in request.tools if type(tool) is ProviderTool}


THREAD_LOST = "thread_not_found"
_THREADED = "anthropic_messages"


def check_thread(dialect: str, request: CompletionRequest) -> None:
    """Whether the conversation is all here, and not kept in part where nobody who speaks this dialect can look.

    OpenAI's Responses name it in members of the request (`previous_response_id`). A request that goes on with a message
    thread of Anthropic's has its new messages alone; what was said before, and the tools, only Anthropic knows. Clients
    must be ready to send it all: "If the API can no longer continue a thread, the continue request returns a 404
    error", `thread_not_found`, upon which the SDKs' helpers do so unasked
    (platform.claude.com/docs/en/build-with-claude/message-threads, 2026-11).

    Raises: InvalidRequest, for a thread with that status and code.
    """
    if dialect != _KEEPING:
        for message in request.messages:
            for part in message.content:
                if type(part) is Opaque and part.dialect == _KEEPING and part.kind in _KEPT:
                    raise cannot_be_said(part, "")
    if dialect != _THREADED and _continues_thread(request):
        raise InvalidRequest(
            "thread: the conversation is kept by Anthropic and can only be continued there; "
            "send the whole of it, as for a new thread",
            param="thread",
            status_code=404,
            code=THREAD_LOST,
        )


def _continues_thread(request: CompletionRequest) -> bool:
    if not request.extra or _THREADED not in request.extra:
        return False
    thread = kept(request.extra, _THREADED).get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def dialects_wished(request: CompletionRequest) -> set[str]:
    """The dialects that know something of the request which any other leaves out with a Notice."""
    return {known_to for known_to, _ in _members("", request)}


_KEEPING = "openai_responses"
_KEPT = {
    "previous_response_id": "send the whole conversation as `input`",
    "conversation": "send the whole conversation as `input`",
    "prompt": "send the prompt's own words as `instructions`",
}
"""What says the same as a member of the request."""
_INSTEAD = {
    **{(_KEEPING, kind): instead for kind, instead in _KEPT.items()},
    (_KEEPING, "item_reference"): "send the item itself (in the Vercel AI SDK: the option `store: false`)",
    (_COMPLETING, "prompts"): "send one prompt, as a string that is not empty",
}
"""What says the same as such a part, by its dialect and kind."""


def only_there(part: Opaque) -> str:
    """Why a part cannot be said in any dialect but its own, and what to send in its place."""
    instead = _INSTEAD.get((part.dialect, part.kind))
    return f"a part of type {part.kind} can only be said in {part.dialect}" + (f": {instead}" if instead else "")


def cannot_be_said(part: Opaque, path: str) -> InvalidRequest:
    """The refusal of such a part at this place, or of the member of the request that it stands for."""
    if part.dialect == _KEEPING and part.kind in _KEPT:
        why = f"{part.kind}: it can only be said in {part.dialect}: {_KEPT[part.kind]}"
        return InvalidRequest(why, param=part.kind)
    if part.dialect == _COMPLETING:
        path = "prompt"
    return InvalidRequest(f"{path}: {only_there(part)}", param=path)


def own_bytes(part: Opaque, dialect: str, path: str) -> msgspec.Raw:
    """Such a part as this dialect has said it. Raises: InvalidRequest for another's."""
    if part.dialect == dialect:
        return part.raw
    raise cannot_be_said(part, path)


def _members(dialect: str, request: CompletionRequest) -> Iterator[tuple[str, str]]:
    """The dialect that knows it, and the name."""
    for known_to in request.extra or ():
        if known_to != dialect:
            for name, value in kept(request.extra, known_to).items():
                for full, said in _parted(known_to, name, value):
                    if not _is_heeded(full, said):
                        yield known_to, full
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


def _parted(known_to: str, name: str, value: object) -> Iterator[tuple[str, object]]:
    """What is kept under this name: of an object that was read in part, each member by itself."""
    if isinstance(value, dict) and value and name in _READ_IN_PART.get(known_to, ()):
        yield from ((f"{name}.{inner}", said) for inner, said in value.items())
    else:
        yield name, value


def _is_heeded(name: str, value: object) -> bool:
    """Whether nothing is lost with a member: it is for whoever writes the answer to the caller, it is an empty list, as
    LangChain's `safetySettings` and the `include` of OpenAI's agents, or it asks for the text that all answer with."""
    if name == "stream_options":
        return isinstance(value, dict) and value.keys() <= {"include_usage"}
    return value == [] or (name == "generationConfig.responseModalities" and value == ["TEXT"])


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
