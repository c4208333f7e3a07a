"""A stream is five events.

    MessageStart
      PartStart(index, part)       the part with its text still empty; a part without text is whole
      PartDelta(index, text)*      more text for it: of an answer, a thought, a refusal, a call's arguments
      PartEnd(index)               what is only known at the end, a thought's signature for one
    MessageEnd                     why it stopped and what it used

Indices count up from 0 in order of `PartStart`. Several parts may be open at once (OpenAI can interleave
tool calls). A stream without `MessageEnd` is a broken one.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from genai_spine.model.content import Citation, Metadata, Part, Text
from genai_spine.model.response import FinishReason, Notice, TokenUsage


class MessageStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="message_start"):
    """An answer begins: who gives it. Once, before everything else."""

    model: str
    id: str | None = None
    created_s: int | None = None
    usage: TokenUsage | None = None
    """What is known of the usage already; `MessageEnd.usage` replaces it."""
    notices: tuple[Notice, ...] = ()
    """What is known from the start, as what the provider could not be told; `MessageEnd.notices` adds to it."""


class PartStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="part_start"):
    """A part begins, with its text still empty; one that has no text is whole."""

    index: int
    part: Part


class PartDelta(msgspec.Struct, frozen=True, gc=False, tag="part_delta"):
    """More text for the open part of that index."""

    index: int
    text: str


class PartEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="part_end"):
    """A part is complete; what is only known then is here: a thought's signature, a text's citations."""

    index: int
    signature: str | None = None
    citations: tuple[Citation, ...] = ()
    provider_metadata: Metadata | None = None
    """Replaces the part's metadata where it is set."""


class MessageEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="message_end"):
    """The answer is complete: why it stopped and what it used. Once, after everything else."""

    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    stop_sequence: str | None = None
    usage: TokenUsage | None = None
    notices: tuple[Notice, ...] = ()
    extra: Metadata | None = None


StreamEvent: TypeAlias = MessageStart | PartStart | PartDelta | PartEnd | MessageEnd


def promises(event: StreamEvent) -> bool:
    """Whether an event says nothing of the answer yet: that one begins, or that a text does."""
    return type(event) is MessageStart or (
        type(event) is PartStart and type(event.part) is Text and not event.part.text
    )
