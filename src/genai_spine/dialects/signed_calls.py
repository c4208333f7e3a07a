"""The signature of Gemini's on a tool call, for callers whose calls have no place for one.

Gemini 3 wants it back with the call (ai.google.dev/gemini-api/docs/thought-signatures, 2026-11). Calls of Messages and
Responses hold what their schema names, and typed SDKs drop all else; but thoughts that nobody can read go back as they
came, as their makers demand. So it stands before its call as such a thought, under the name of its maker:

    {"type": "redacted_thinking", "data": "google:call:CiQB…"}, {"type": "tool_use", …}
    {"type": "reasoning", "summary": [], "encrypted_content": "redacted:google:call:Ci…"}, {"type": "function_call", …}

The call that follows gets it back, in the place where it was: of Google's OpenAI compatibility, which is `chat:…`, no
other service is to see it (Fireworks refuses `extra_content`). A client that leaves thoughts out loses no more than
the signature: gemini/history.py has a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.signatures import GOOGLE, named
from genai_spine.model.content import Metadata, Part, Thinking, ToolCall
from genai_spine.model.request import Message

_NATIVE, _OPENAI_CHAT = "gemini", "openai_chat"
_MARK = named(GOOGLE, "call:")
_MARK_BYTES = _MARK.encode()
_OF_CHAT = "chat:"


def signature_in_chat(metadata: Metadata | None) -> str | None:
    """`extra_content.google.thought_signature`, where Google's OpenAI compatibility has it."""
    found: Any = kept(metadata, _OPENAI_CHAT)
    for name in ("extra_content", "google", "thought_signature"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) and found else None


def signed_metadata(members: Mapping[str, Any]) -> Metadata | None:
    """The members beside a function call or an image of Gemini's, a signature also where OpenAI's format has it."""
    metadata = keep(_NATIVE, members)
    if metadata is None or not isinstance(signature := members.get("thoughtSignature"), str):
        return metadata
    return {**metadata, **_signed_in_chat(signature)}


def _signed_in_chat(signature: str) -> Metadata:
    return keep(_OPENAI_CHAT, {"extra_content": {"google": {"thought_signature": signature}}}) or {}


def _signed_as_it_was(proof: str) -> Metadata:
    if proof.startswith(_OF_CHAT):
        return _signed_in_chat(proof.removeprefix(_OF_CHAT))
    return keep(_NATIVE, {"thoughtSignature": proof}) or {}


def proof_of(part: Part) -> Thinking | None:
    """The thought to stand before a signed call."""
    if not isinstance(part, ToolCall) or (metadata := part.provider_metadata) is None:
        return None
    found = kept(metadata, _NATIVE).get("thoughtSignature")
    if isinstance(found, str) and found:
        return Thinking(redacted=_MARK + found)
    found = signature_in_chat(metadata)
    return Thinking(redacted=_MARK + _OF_CHAT + found) if found is not None else None


def with_proofs(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of an answer, before each signed call its proof."""
    for part in parts:
        if (proof := proof_of(part)) is not None:
            yield proof
        yield part


def signed_again(messages: tuple[Message, ...], body: bytes) -> tuple[Message, ...]:
    """A caller's messages, in which such thoughts are the signatures of their calls again. `body` is the request: most
    have none, and are not looked through. One whose call is gone proves nothing, and goes too."""
    if _MARK_BYTES not in body:
        return messages
    written: list[Message] = []
    proof: str | None = None
    for message in messages:
        if message.role != "assistant":
            proof = None
        parts: list[Part] = []
        for part in message.content:
            if isinstance(part, Thinking) and part.redacted is not None and part.redacted.startswith(_MARK):
                proof = part.redacted.removeprefix(_MARK)
                continue
            if isinstance(part, ToolCall) and proof is not None:
                metadata = {**(part.provider_metadata or {}), **_signed_as_it_was(proof)}
                part, proof = msgspec.structs.replace(part, provider_metadata=metadata), None
            parts.append(part)
        if parts or not message.content:
            written.append(msgspec.structs.replace(message, content=tuple(parts)))
    return tuple(written)
