"""Thoughts as OpenRouter's `reasoning_details`: an array that comes back to it as it went out.

Source: openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11).

    {"type": "reasoning.text", "text": "…", "signature": "…", "format": "anthropic-claude-v1", "index": 0}
    {"type": "reasoning.summary", "summary": "…"}
    {"type": "reasoning.encrypted", "data": "…", "id": "rs_…"}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.model.content import Thinking


def thinking_of_detail(detail: Mapping[str, Any]) -> Thinking:
    """One entry; a kind that we do not know is a thought without a text, kept whole."""
    match detail.get("type"):
        case "reasoning.encrypted" if isinstance(data := detail.get("data"), str):
            return Thinking(redacted=data, provider_metadata=_kept(detail, "type", "data"))
        case "reasoning.text":
            metadata = _kept(detail, "type", "text", "signature")
            return Thinking(
                text=_text(detail, "text") or "",
                signature=_text(detail, "signature") or None,
                provider_metadata=metadata,
            )
        case "reasoning.summary":
            # Its type is kept, which tells a summary from a text on the way back.
            return Thinking(text=_text(detail, "summary") or "", provider_metadata=_kept(detail, "summary"))
        case _:
            return Thinking(provider_metadata=_kept(detail))


def thinking_of(details: Sequence[Mapping[str, Any]] | None, text: str | None) -> list[Thinking]:
    """The thoughts of a message: `text` is its `reasoning_content`, which repeats what details say."""
    thoughts = [thinking_of_detail(detail) for detail in details or ()]
    if text and not any(part.text for part in thoughts):
        return [Thinking(text=text), *thoughts]
    return thoughts


def detail_of_thinking(part: Thinking, index: int) -> dict[str, Any]:
    own = kept(part.provider_metadata, DIALECT)
    detail: dict[str, Any]
    if part.redacted is not None:
        detail = {"type": "reasoning.encrypted", "data": part.redacted}
    elif own.get("type") == "reasoning.summary":
        detail = {"type": "reasoning.summary", "summary": part.text}
    elif "type" in own:
        detail = {}
    else:
        detail = {"type": "reasoning.text", "text": part.text}
        if part.signature is not None:
            detail["signature"] = part.signature
    detail["index"] = index
    return extend(detail, part.provider_metadata, DIALECT)


def chunk_of_thinking(part: Thinking) -> dict[str, Any]:
    """A thought as an entry of the content, as Mistral writes it (docs.mistral.ai/capabilities/reasoning, 2026-11):
    {"type": "thinking", "thinking": [{"type": "text", "text": "…"}]}. A signature goes back where it is Mistral's."""
    own = kept(part.provider_metadata, DIALECT)
    texts: list[Any] = [{"type": "text", "text": part.text}] if part.text else []
    chunk: dict[str, Any] = {"type": "thinking", "thinking": [*texts, *(own.get("references") or ())]}
    if "type" not in own:  # OpenRouter's detail, which has one
        chunk.update({name: own[name] for name in ("signature", "closed") if name in own})
    return chunk


def needs_detail(part: Thinking) -> bool:
    """Whether `reasoning_content` alone would lose something of the thought."""
    own = part.provider_metadata is not None and DIALECT in part.provider_metadata
    return own or part.signature is not None or part.redacted is not None


def _kept(detail: Mapping[str, Any], *known: str) -> Any:
    """The other members, the type first, as we write it: metadata is compared by its bytes."""
    rest = unknown(detail, (*known, "index"))
    return keep(DIALECT, {"type": rest.pop("type"), **rest} if "type" in rest else rest)


def _text(detail: Mapping[str, Any], key: str) -> str | None:
    value = detail.get(key)
    return value if isinstance(value, str) else None
