"""What a service counted, in OpenAI's words and in those that compatible services add."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from genai_spine.dialects.lenient import LARGEST_COUNT, count_of, object_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.content import Metadata
from genai_spine.model.response import TokenUsage, UsageDetails
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
_PLAIN = _USAGE_KNOWN - {"cost"}
_PROMPT_KNOWN = frozenset({"cached_tokens", "cache_write_tokens", "audio_tokens"})
_COMPLETION_KNOWN = frozenset({"reasoning_tokens", "audio_tokens"})
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")  # DeepSeek; Moonshot; Mistral


def is_counted(usage: Any) -> bool:
    """Whether this is a usage object that holds at least one count."""
    return isinstance(usage, dict) and (
        count_of(usage.get("prompt_tokens")) is not None or count_of(usage.get("completion_tokens")) is not None
    )


def usage_of(usage: Any, service_tier: Any = None) -> TokenUsage | None:
    """The usage object of any OpenAI-compatible service; None where there is none.

    `prompt_tokens` includes cached ones and `completion_tokens` includes reasoning, as in the middle. `service_tier`
    is the answer's, which stands beside its usage; Mistral's stands within.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    prompt, completion = (
        object_of(usage.get("prompt_tokens_details")),
        object_of(usage.get("completion_tokens_details")),
    )
    # Most say no more than this; what follows finds the same in it.
    if usage.keys() <= _PLAIN and prompt.keys() <= _PROMPT_KNOWN and completion.keys() <= _COMPLETION_KNOWN:
        reasoning = count_of(completion.get("reasoning_tokens"))
        return TokenUsage(
            input_tokens=_input_of(usage),
            output_tokens=_output_of(usage, reasoning),
            cache_read_tokens=count_of(prompt.get("cached_tokens")),
            cache_write_tokens=count_of(prompt.get("cache_write_tokens")),
            reasoning_tokens=reasoning,
            audio_input_tokens=count_of(prompt.get("audio_tokens")),
            audio_output_tokens=count_of(completion.get("audio_tokens")),
            service_tier=tier_of(service_tier, None),
        )
    reasoning = _first(completion.get("reasoning_tokens"), usage, "reasoning_tokens")
    written = _first(prompt.get("cache_write_tokens"), prompt, "cache_creation_input_tokens")  # the latter: Alibaba
    return TokenUsage(
        input_tokens=_input_of(usage),
        output_tokens=_output_of(usage, reasoning),
        cache_read_tokens=_first(prompt.get("cached_tokens"), usage, *_CACHED),
        cache_write_tokens=_first(written, usage, "cache_creation_input_tokens"),
        reasoning_tokens=reasoning,
        audio_input_tokens=count_of(prompt.get("audio_tokens")),
        audio_output_tokens=count_of(completion.get("audio_tokens")),
        service_tier=tier_of(service_tier, usage.get("service_tier")),
        details=_details_of(usage, prompt, completion),
        reported_cost_usd=reported_by(usage),
        provider_metadata=_uncounted(usage, prompt, completion),
    )


def _input_of(usage: Mapping[str, Any]) -> int | None:
    prompt = count_of(usage.get("prompt_tokens"))
    return _rest_of_total(usage, "completion_tokens") if prompt is None else prompt


def _rest_of_total(usage: Mapping[str, Any], counted: str) -> int | None:
    """What is not said, where the total and the other count tell it; of vectors both are the same."""
    total, other = count_of(usage.get("total_tokens")), count_of(usage.get(counted))
    return None if total is None or other is None or total <= other else total - other


def _output_of(usage: Mapping[str, Any], reasoning: int | None) -> int | None:
    """xAI counts its reasoning beside the completion (recorded 2026): {"prompt_tokens": 291, "completion_tokens": 26,
    "total_tokens": 513} with 196 of reasoning is 222 output tokens. The total tells."""
    output = count_of(usage.get("completion_tokens"))
    if output is None:
        return _rest_of_total(usage, "prompt_tokens")
    if not reasoning or output is None or (prompt := count_of(usage.get("prompt_tokens"))) is None:
        return output
    is_beside = count_of(usage.get("total_tokens")) == prompt + output + reasoning
    return output + reasoning if is_beside else output


def _details_of(
    usage: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]
) -> UsageDetails | None:
    """What few answers count: images, video, what was cited and searched for; None where all of it is 0."""
    seen, drawn, film = prompt.get("image_tokens"), completion.get("image_tokens"), prompt.get("video_tokens")
    cited, searches = usage.get("citation_tokens"), usage.get("num_search_queries")  # Perplexity's deep research
    seconds = usage.get("prompt_audio_seconds")  # Mistral's Voxtral, which is priced by time
    if not (seen or drawn or film or cited or searches or seconds):
        return None
    details = UsageDetails(
        image_input_tokens=count_of(seen) or None,
        image_output_tokens=count_of(drawn) or None,
        video_input_tokens=count_of(film) or None,
        citation_tokens=count_of(cited) or None,
        searches=count_of(searches) or None,
        audio_input_s=_seconds(seconds) or None,
    )
    return None if details == _NO_DETAILS else details


_NO_DETAILS = UsageDetails()


def _seconds(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else None


def _uncounted(usage: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]) -> Metadata | None:
    if usage.keys() <= _USAGE_KNOWN and prompt.keys() <= _PROMPT_KNOWN and completion.keys() <= _COMPLETION_KNOWN:
        return None
    rest = unknown(usage, _USAGE_KNOWN)
    if usage.get("is_byok") is True and "cost" in usage:
        rest["cost"] = usage["cost"]  # what the caller of the service is shown; the cost is more than that
    if more := unknown(prompt, _PROMPT_KNOWN):
        rest["prompt_tokens_details"] = more
    if more := unknown(completion, _COMPLETION_KNOWN):
        rest["completion_tokens_details"] = more
    return keep(DIALECT, rest)


def _first(value: Any, usage: Mapping[str, Any], *elsewhere: str) -> int | None:
    """The count, or the first that stands in one of the other places."""
    count = count_of(value)
    for name in elsewhere:
        if count is not None:
            break
        count = count_of(usage.get(name))
    return count


def reported_by(usage: Mapping[str, Any]) -> Decimal | None:
    """What the service says that the call cost (recordings, 2026-11).

    OpenRouter a number, and of a call with one's own key at the maker's beside it what that charges; Perplexity an
    object with a total; xAI `cost_in_usd_ticks`, of which ten thousand million are a dollar.
    """
    if ticks := usage.get("cost_in_usd_ticks"):  # 0 where somebody else sells xAI's models: no word on it
        return Decimal(f"{counted}e-10") if (counted := count_of(ticks)) is not None else None
    if (cost := usage.get("cost")) is not None:
        cost = _dollars(cost)
    if cost is not None and usage.get("is_byok") is True:
        upstream = _dollars(object_of(usage.get("cost_details")).get("upstream_inference_cost"))
        return None if upstream is None else cost + upstream
    return cost


def _dollars(cost: Any) -> Decimal | None:
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
    written = extend(written, usage.provider_metadata, DIALECT)
    if usage.reported_cost_usd is not None and "cost_in_usd_ticks" not in written:
        written.setdefault("cost", float(usage.reported_cost_usd))
    return written


# ---------------------------------------------------------------- for a relay


_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]


class _Counted(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    image_tokens: _Count | None = None
    video_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    """What nearly every usage is. What is None here takes more to understand, where it is there."""

    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _Counted | None = None
    completion_tokens_details: _Counted | None = None
    total_tokens: int | None = None
    cost: None = None
    cost_in_usd_ticks: None = None
    service_tier: None = None
    prompt_audio_seconds: None = None
    citation_tokens: None = None
    num_search_queries: None = None
    prompt_cache_hit_tokens: None = None
    cached_tokens: None = None
    num_cached_tokens: None = None
    reasoning_tokens: None = None
    cache_creation_input_tokens: None = None


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
    is_alibabas = prompt.cache_creation_input_tokens is not None
    if is_alibabas or prompt.image_tokens or prompt.video_tokens or completion.image_tokens:
        return _usage_in(raw)
    if completion.reasoning_tokens and counts.total_tokens != counts.prompt_tokens + counts.completion_tokens:
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
