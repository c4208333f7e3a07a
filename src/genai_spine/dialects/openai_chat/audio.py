"""The audio of an answer: `{"id": …, "data": base64, "transcript": …, "expires_at": …}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.model.content import Audio


def says_something(audio: Mapping[str, Any]) -> bool:
    """Some services send the object with empty members for every answer (Snowflake, recorded)."""
    return any(audio.values())


def audio_of(audio: Mapping[str, Any]) -> Audio:
    rest = unknown(audio, ("id", "data", "transcript"))
    return Audio(
        id=_text(audio, "id"),
        data=_text(audio, "data"),
        transcript=_text(audio, "transcript"),
        provider_metadata=keep(DIALECT, rest),
    )


def audio_written(part: Audio) -> dict[str, Any]:
    written = {"id": part.id, "data": part.data, "transcript": part.transcript}
    return extend(written, part.provider_metadata, DIALECT)


def _text(audio: Mapping[str, Any], key: str) -> str | None:
    value = audio.get(key)
    return value if isinstance(value, str) else None
