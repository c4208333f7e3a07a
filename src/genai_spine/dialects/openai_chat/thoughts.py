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
from genai_spine.dialects.signatures import ANTHROPIC, GOOGLE, MISTRAL, OPENAI, XAI, named, split
from genai_spine.model.content import Thinking

_MAKERS = {
    "openai-responses-v1": OPENAI,
    "azure-openai-responses-v1": OPENAI,
    "xai-responses-v1": XAI,
    "google-gemini-v1": GOOGLE,
}
"""Whose proof a detail holds, by its `format`: else Anthropic's, as the page says."""

_FORMATS = {maker: name for name, maker in reversed(_MAKERS.items())}


def thinking_of_detail(detail: Mapping[str, Any]) -> Thinking:
    """One entry; a kind that we do not know is a thought without a text, kept whole."""
    maker = _MAKERS.get(_text(detail, "format") or "", ANTHROPIC)
    match detail.get("type"):
        case "reasoning.encrypted" if isinstance(data := detail.get("data"), str):
            return Thinking(redacted=named(maker, data), provider_metadata=_kept(detail, "type", "data"))
        case "reasoning.text":
            signature = _text(detail, "signature")
            return Thinking(
                text=_text(detail, "text") or "",
                signature=named(maker, signature) if signature else None,
                provider_metadata=_kept(detail, "type", "text", "signature"),
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
    proof = part.redacted if part.redacted is not None else part.signature or ""
    maker, bare = split(proof)
    if maker in _FORMATS:
        proof = bare
    detail: dict[str, Any]
    if part.redacted is not None:
        detail = {"type": "reasoning.encrypted", "data": proof}
    elif own.get("type") == "reasoning.summary":
        detail = {"type": "reasoning.summary", "summary": part.text}
    elif "type" in own:
        detail = {}
    else:
        detail = {"type": "reasoning.text", "text": part.text}
        if part.signature is not None:
            detail["signature"] = proof
    detail["index"] = index
    extend(detail, part.provider_metadata, DIALECT)
    if maker in _FORMATS:
        detail.setdefault("format", _FORMATS[maker])
    return detail


def chunk_of_thinking(part: Thinking) -> dict[str, Any]:
    """A thought as an entry of the content, as Mistral writes it (docs.mistral.ai/capabilities/reasoning, 2026-11):
    {"type": "thinking", "thinking": [{"type": "text", "text": "…"}]}. A signature goes back where it is Mistral's."""
    own = kept(part.provider_metadata, DIALECT)
    texts: list[Any] = [{"type": "text", "text": part.text}] if part.text else []
    chunk: dict[str, Any] = {"type": "thinking", "thinking": [*texts, *(own.get("references") or ())]}
    maker, proof = split(part.signature or "")
    if maker == MISTRAL:
        chunk["signature"] = proof
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
