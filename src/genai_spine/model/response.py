"""An answer, what it used and what could not be said on the way.

Pure values. `collect` in fold.py makes a response of events; a dialect's `decode_response` makes one
of an answer's bytes.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from genai_spine.model.content import Citation, Metadata, Part, Refusal, Text, Thinking, ToolCall


class FinishReason(StrEnum):
    """Why the model stopped. What the provider called it stays in `raw_finish_reason`."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    PAUSE = "pause"
    ERROR = "error"
    OTHER = "other"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that could not be said to the provider as the caller said it, or that the caller should know.

    `code` is for programs (`dropped`, `changed`, `omitted_thinking`, `retired_model` …), `param` is the caller's
    name of it.
    """

    code: str
    message: str
    param: str | None = None


class UsageDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What few calls use and what is charged at rates of its own; None where the provider did not say.

    Tokens are parts of the usage's own: `cached_audio_tokens` and `cached_image_tokens` of its cache reads (and of
    `audio_input_tokens` and `image_input_tokens`), the other input of its input, the output of its output; those of
    `citation_tokens` are beside both. Searches and pages are counted one by one. `apart` is what the same model used
    beside the answer, at the same rates, and `unpriced` names what is charged beside and has no rate here: such a
    call's cost is not known.
    """

    cached_audio_tokens: int | None = None
    image_input_tokens: int | None = None
    image_output_tokens: int | None = None
    cached_image_tokens: int | None = None
    video_input_tokens: int | None = None
    video_output_tokens: int | None = None
    citation_tokens: int | None = None
    searches: int | None = None
    file_searches: int | None = None
    pages: int | None = None
    audio_input_s: float | None = None
    apart: TokenUsage | None = None
    unpriced: tuple[str, ...] = ()


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one call, as the provider counted them; None where it did not say.

    `input_tokens` includes the cached ones: `cache_read_tokens` and `cache_write_tokens` are parts of it,
    `cache_write_1h_tokens` is a part of the writes. `output_tokens` includes `reasoning_tokens`.
    `compute_s` is the seconds of computing that are charged, where models are priced by time.
    `service_tier` is how the call was served, where that is not the ordinary way: "batch", "flex", "priority" …
    `reported_cost_usd` is what the provider itself says the call cost.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    compute_s: float | None = None
    service_tier: str | None = None
    details: UsageDetails | None = None
    reported_cost_usd: Decimal | None = None
    estimated: bool = False
    provider_metadata: Metadata | None = None

    @property
    def prompt_tokens(self) -> int | None:
        return self.input_tokens

    @property
    def completion_tokens(self) -> int | None:
        return self.output_tokens

    @property
    def tokens_input(self) -> int | None:
        return self.input_tokens

    @property
    def tokens_output(self) -> int | None:
        return self.output_tokens

    @property
    def total_tokens(self) -> int | None:
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


class CompletionResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer. `content` is its text; `parts` are all of it, in order.

    `success` is False and `error` says why only where errors were asked for as values
    (`raise_errors=False`); everything else raises. `cost_usd` is None where a price is unknown.
    `extra` keeps, by dialect, the top-level members of the answer that the model has no name for.
    """

    model: str
    parts: tuple[Part, ...] = ()
    id: str | None = None
    created_s: int | None = None
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    stop_sequence: str | None = None
    usage: TokenUsage | None = None
    provider: str | None = None
    cost_usd: Decimal | None = None
    duration_s: float | None = None
    notices: tuple[Notice, ...] = ()
    success: bool = True
    error: str | None = None
    extra: Metadata | None = None
    raw: msgspec.Raw | None = None

    @property
    def content(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def text(self) -> str:
        return self.content

    @property
    def thinking(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Thinking))

    @property
    def refusal(self) -> str | None:
        refusals = [part.text for part in self.parts if isinstance(part, Refusal)]
        return "".join(refusals) if refusals else None

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Of all its texts; `start` and `end` of each are places in its own part."""
        return tuple(citation for part in self.parts if isinstance(part, Text) for citation in part.citations)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def input_tokens(self) -> int:
        return (self.usage.input_tokens if self.usage else None) or 0

    @property
    def output_tokens(self) -> int:
        return (self.usage.output_tokens if self.usage else None) or 0

    @property
    def tokens_input(self) -> int:
        return self.input_tokens

    @property
    def tokens_output(self) -> int:
        return self.output_tokens

    @property
    def raw_response(self) -> Any:
        """The provider's answer as it came, decoded; None where it came as a stream."""
        return msgspec.json.decode(self.raw) if self.raw is not None else None

    def json(self) -> Any:
        """The text as a value, for answers to an `output_schema`.

        Raises: msgspec.DecodeError where the text is not JSON.
        """
        return msgspec.json.decode(self.content)


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over calls. `unpriced_calls` are those whose cost is unknown and so not in `total_cost_usd`."""

    total_input: int = 0
    total_output: int = 0
    total_cost_usd: Decimal = Decimal(0)
    call_count: int = 0
    unpriced_calls: int = 0


LLMResponse = CompletionResponse
ChatResponse = CompletionResponse
