"""What a service counted, in OpenAI's words and in those that compatible services add."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.model.content import Metadata
from genai_spine.model.response import TokenUsage
from genai_spine.wire import json

_USAGE_KNOWN = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cost",
    }
)
_PROMPT_KNOWN = frozenset({"cached_tokens", "cache_write_tokens", "audio_tokens"})
_COMPLETION_KNOWN = frozenset({"reasoning_tokens", "audio_tokens"})
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")  # DeepSeek; Moonshot; Mistral
_LARGEST_COUNT = 10**12


def count_of(value: Any) -> int | None:
    """A counter, or None for what cannot be one: text, negative, absurdly large."""
    if type(value) is not int:
        if not isinstance(value, float) or not value.is_integer():
            return None
        value = int(value)
    return value if 0 <= value <= _LARGEST_COUNT else None


def is_counted(usage: Any) -> bool:
    """Whether this is a usage object that holds at least one count."""
    return isinstance(usage, dict) and (
        count_of(usage.get("prompt_tokens")) is not None or count_of(usage.get("completion_tokens")) is not None
    )


def usage_of(usage: Any) -> TokenUsage | None:
    """The usage object of any OpenAI-compatible service; None where there is none.

    `prompt_tokens` includes cached ones and `completion_tokens` includes reasoning, as in the middle.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    prompt, completion = (
        _details(usage, "prompt_tokens_details"),
        _details(usage, "completion_tokens_details"),
    )
    return TokenUsage(
        input_tokens=count_of(usage.get("prompt_tokens")),
        output_tokens=count_of(usage.get("completion_tokens")),
        cache_read_tokens=_first(prompt.get("cached_tokens"), usage, *_CACHED),
        cache_write_tokens=_first(prompt.get("cache_write_tokens"), usage, "cache_creation_input_tokens"),
        reasoning_tokens=_first(completion.get("reasoning_tokens"), usage, "reasoning_tokens"),
        audio_input_tokens=count_of(prompt.get("audio_tokens")),
        audio_output_tokens=count_of(completion.get("audio_tokens")),
        reported_cost_usd=_cost_of(usage.get("cost")),
        provider_metadata=_uncounted(usage, prompt, completion),
    )


def _uncounted(usage: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]) -> Metadata | None:
    if usage.keys() <= _USAGE_KNOWN and prompt.keys() <= _PROMPT_KNOWN and completion.keys() <= _COMPLETION_KNOWN:
        return None
    rest = unknown(usage, _USAGE_KNOWN)
    if more := unknown(prompt, _PROMPT_KNOWN):
        rest["prompt_tokens_details"] = more
    if more := unknown(completion, _COMPLETION_KNOWN):
        rest["completion_tokens_details"] = more
    return keep(DIALECT, rest)


def _details(usage: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    details = usage.get(key)
    return details if isinstance(details, dict) else {}


def _first(value: Any, usage: Mapping[str, Any], *elsewhere: str) -> int | None:
    """The count, or the first that stands in one of the other places."""
    count = count_of(value)
    for name in elsewhere:
        if count is not None:
            break
        count = count_of(usage.get(name))
    return count


def _cost_of(cost: Any) -> Decimal | None:
    """OpenRouter reports a number, Perplexity an object with a total (recordings, 2026-11)."""
    value = cost.get("total_cost") if isinstance(cost, dict) else cost
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return None
    return Decimal(repr(value))


def usage_written(usage: TokenUsage) -> dict[str, Any]:
    written: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens or 0,
    }
    prompt = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.audio_input_tokens,
    }
    completion = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens}
    if prompt := {key: value for key, value in prompt.items() if value is not None}:
        written["prompt_tokens_details"] = prompt
    if completion := {key: value for key, value in completion.items() if value is not None}:
        written["completion_tokens_details"] = completion
    if usage.reported_cost_usd is not None:
        written["cost"] = float(usage.reported_cost_usd)
    return extend(written, usage.provider_metadata, DIALECT)


# ---------------------------------------------------------------- for a relay


_Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST_COUNT)]


class _Counted(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _Counted | None = None
    completion_tokens_details: _Counted | None = None
    cost: float | dict[str, Any] | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    num_cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


_counts = msgspec.json.Decoder(_Counts)
_NOTHING = _Counted()


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    """`usage_of` for a relay, which only counts: where all counters are what they should be, at a third of the
    cost, and without what the middle has no name for."""
    try:
        counts = _counts.decode(raw)
    except json.UNREADABLE:
        return _usage_in(raw)
    prompt, completion = counts.prompt_tokens_details or _NOTHING, counts.completion_tokens_details or _NOTHING
    others = (
        counts.cost,
        counts.prompt_cache_hit_tokens,
        counts.cached_tokens,
        counts.num_cached_tokens,
        counts.reasoning_tokens,
        counts.cache_creation_input_tokens,
    )
    if others != (None,) * 6:
        return _usage_in(raw)
    return TokenUsage(
        input_tokens=counts.prompt_tokens,
        output_tokens=counts.completion_tokens,
        cache_read_tokens=prompt.cached_tokens,
        cache_write_tokens=prompt.cache_write_tokens,
        reasoning_tokens=completion.reasoning_tokens,
        audio_input_tokens=prompt.audio_tokens,
        audio_output_tokens=completion.audio_tokens,
    )


def _usage_in(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None
