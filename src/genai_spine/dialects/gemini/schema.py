"""The shapes of Gemini's messages on the wire, and the tables that are read from both ends.

Members are written in camelCase, as the service writes them; a caller may use the names of the protocol buffers
(snake_case), which the service takes, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from genai_spine.dialects.gemini.search_count import SEARCHES
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.reading import Reader
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.response import FinishReason, TokenUsage, UsageDetails

DIALECT = "gemini"

CACHED = "cachedContent"
"""The member that names a prompt which the service keeps, and which comes before the contents (…/api/caching,
2026-11): content, which is never dropped."""

# ---------------------------------------------------------------- URLs

_COLLECTIONS = ("models", "tunedModels")


def resource_of(model: str) -> str:
    """`models/gemini-2.5-flash` for `gemini-2.5-flash`; percent-encoded, so that no name reaches another path."""
    collection, slash, name = model.partition("/")
    if not slash or collection not in _COLLECTIONS:
        collection, name = "models", model
    return f"{collection}/{quote(name, safe='')}"


@lru_cache(maxsize=1000)
def method_path(model: str, method: str) -> str:
    return f"/{resource_of(model)}:{method}"


def path(model: str, *, stream: bool) -> str:
    """Where a request for this model goes, relative to the base URL.

    path("gemini-2.5-flash", stream=True) == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    """
    return method_path(model, "streamGenerateContent?alt=sse" if stream else "generateContent")


# ---------------------------------------------------------------- models

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?![\d])")
_LATEST = re.compile(r"gemini-(?:pro|flash|flash-lite)-latest")


def generation(model: str) -> tuple[int, int] | None:
    """(2, 5) for gemini-2.5-flash; None for a model whose name does not tell. The aliases that end in `-latest`
    have meant models of generation 3 since 2026."""
    if found := _GENERATION.search(model):
        return int(found[1]), int(found[2] or 0)
    return (3, 0) if _LATEST.search(model) else None


@lru_cache(maxsize=1000)
def is_since_3(model: str) -> bool:
    """Gemini 3 and later: levels of thinking, calls that must be signed, media in a function's response."""
    return (generation(model) or (0, 0)) >= (3, 0)


# ---------------------------------------------------------------- names


def camel(name: str) -> str:
    """`inline_data` is `inlineData`."""
    if "_" not in name or name.startswith("_"):
        return name
    head, *tail = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in tail)


def in_camel(reader: Reader) -> Reader:
    """The same object with its members' names in camelCase; what they hold is left alone."""
    if not any("_" in name for name in reader.members):
        return reader
    return Reader({camel(name): value for name, value in reader.members.items()}, reader.path)


def objects(reader: Reader, key: str, *, required: bool = False) -> list[Reader]:
    """The objects of a list. One that stands alone is a list of one: the service takes it so, and callers write
    `"parts": {"text": "Hi"}`. Raises: InvalidRequest."""
    if isinstance(reader.peek(key), dict):
        return [reader.object(key, required=True)]
    return reader.objects(key, required=required)


# ---------------------------------------------------------------- ids of calls

_MINTED = re.compile(r"gemini_[0-9a-f]{16}")


def minted_call_id(*place: object) -> str:
    """An id for a function call that came without one, as those of models before Gemini 3 do. The same place, the
    same id: a stream and the plain answer agree."""
    digest = hashlib.blake2s("\0".join(map(str, place)).encode(errors="replace"), digest_size=8)
    return f"gemini_{digest.hexdigest()}"


def is_minted(call_id: str) -> bool:
    """Whether the id is one of ours, which the service has never heard of: it is not sent."""
    return _MINTED.fullmatch(call_id) is not None


# ---------------------------------------------------------------- finish reasons

# ai.google.dev/api/generate-content#FinishReason, and the enumeration of the SDK 3.4 (2026-11)
FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.ERROR,
    "MALFORMED_RESPONSE": FinishReason.ERROR,
    "UNEXPECTED_TOOL_CALL": FinishReason.ERROR,
    "MISSING_THOUGHT_SIGNATURE": FinishReason.ERROR,
    "CONTINUATION": FinishReason.PAUSE,
}

_BY_NUMBER = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION"}
"""The numbers that both services give the same meaning; sent under `$alt=json;enum-encoding=int` (recorded)."""

WRITTEN_FINISH: dict[FinishReason, str] = {
    FinishReason.STOP: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.PAUSE: "OTHER",
    FinishReason.ERROR: "OTHER",
    FinishReason.OTHER: "OTHER",
}


def finish_name(value: Any) -> str | None:
    """The reason as its name; None where the answer is not at its end."""
    if type(value) is int:
        return _BY_NUMBER.get(value, str(value)) if value else None
    return value if isinstance(value, str) and value not in ("", "FINISH_REASON_UNSPECIFIED") else None


def finish_of(name: str | None, *, has_calls: bool) -> FinishReason | None:
    """The service says STOP after function calls, too."""
    if name is None:
        return None
    found = FINISH_REASONS.get(name, FinishReason.OTHER)
    return FinishReason.TOOL_CALLS if has_calls and found is FinishReason.STOP else found


def finish_written(reason: FinishReason | None, raw: str | None) -> str:
    """The reason in Gemini's words; its own spelling where it came in this dialect."""
    if raw is not None and reason in (FINISH_REASONS.get(raw), FinishReason.TOOL_CALLS if raw == "STOP" else None):
        return raw
    return WRITTEN_FINISH[reason or FinishReason.STOP]


# ---------------------------------------------------------------- usage

_COUNTED = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
    SEARCHES,
)


def usage_of(usage: Any) -> TokenUsage | None:
    """`usageMetadata`; None where nothing was counted.

    {"promptTokenCount": 27, "toolUsePromptTokenCount": 118, "candidatesTokenCount": 56, "thoughtsTokenCount": 173,
    "totalTokenCount": 374} is 145 input tokens, for what the service's own tools say is input, too, and 229 output
    tokens. The prompt holds what was cached of it; the candidates do not hold the thoughts.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    prompt, tools = count_of(usage.get("promptTokenCount")), count_of(usage.get("toolUsePromptTokenCount"))
    answer, thoughts = count_of(usage.get("candidatesTokenCount")), count_of(usage.get("thoughtsTokenCount"))
    given, made = _sum(prompt, tools), _sum(answer, thoughts)
    if (total := count_of(usage.get("totalTokenCount"))) is not None:  # counts that are 0 are left out
        given = max(0, total - made) if given is None and made is not None else given
        made = max(0, total - given) if made is None and given is not None else made
    return TokenUsage(
        input_tokens=given,
        output_tokens=made,
        cache_read_tokens=count_of(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        audio_input_tokens=_of_kind(usage.get("promptTokensDetails"), "AUDIO"),
        audio_output_tokens=_of_kind(usage.get("candidatesTokensDetails"), "AUDIO"),
        service_tier=tier_of(usage.get("serviceTier"), usage.get("trafficType")),
        details=_details_of(usage),
        provider_metadata=keep(DIALECT, unknown(usage, _COUNTED)),
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)


_DETAILS = {
    "cached_audio_tokens": ("cacheTokensDetails", "AUDIO"),
    "cached_image_tokens": ("cacheTokensDetails", "IMAGE"),
    "image_input_tokens": ("promptTokensDetails", "IMAGE"),
    "video_input_tokens": ("promptTokensDetails", "VIDEO"),
    "image_output_tokens": ("candidatesTokensDetails", "IMAGE"),
    "video_output_tokens": ("candidatesTokensDetails", "VIDEO"),
}


def _details_of(usage: dict[str, Any]) -> UsageDetails | None:
    counts = {name: _of_kind(usage.get(member), kind) for name, (member, kind) in _DETAILS.items()}
    counts["searches"] = count_of(usage.get(SEARCHES))
    used: dict[str, Any] = {name: count for name, count in counts.items() if count}
    return UsageDetails(**used) if used else None


def _of_kind(details: Any, modality: str) -> int | None:
    """[{"modality": "AUDIO", "tokenCount": 25}, …]"""
    if not isinstance(details, list):
        return None
    for entry in details:
        if isinstance(entry, dict) and entry.get("modality") == modality:
            return count_of(entry.get("tokenCount"))
    return None


def newer_usage(known: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """In a stream every count is of the whole so far: one with a total replaces what was known, also the counts that
    it leaves out (recorded); one without says something beside (Vertex: `trafficType`)."""
    return newer if "totalTokenCount" in newer else known | newer


def usage_written(usage: TokenUsage | None) -> dict[str, Any]:
    """`usageMetadata` of what was counted; empty where nothing was."""
    if usage is None:
        return {}
    written: dict[str, Any] = extend({}, usage.provider_metadata, DIALECT)
    tools = count_of(written.get("toolUsePromptTokenCount")) or 0
    thoughts = usage.reasoning_tokens
    if usage.input_tokens is not None:
        written["promptTokenCount"] = max(0, usage.input_tokens - tools)
    if usage.output_tokens is not None:
        written["candidatesTokenCount"] = max(0, usage.output_tokens - (thoughts or 0))
    if thoughts is not None:
        written["thoughtsTokenCount"] = thoughts
    if usage.cache_read_tokens is not None:
        written["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.total_tokens is not None:
        written["totalTokenCount"] = usage.total_tokens
    for name, count in (
        ("promptTokensDetails", usage.audio_input_tokens),
        ("candidatesTokensDetails", usage.audio_output_tokens),
    ):
        if count is not None:
            written.setdefault(name, [{"modality": "AUDIO", "tokenCount": count}])
    return written


def merged(known: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """What a stream says of its answer, chunk by chunk: the last word counts, but log probabilities are those of
    the chunk's own tokens and add up."""
    result = {**known, **newer}
    before, after = known.get("logprobsResult"), newer.get("logprobsResult")
    if isinstance(before, dict) and isinstance(after, dict):
        result["logprobsResult"] = {name: _joined(before.get(name), after.get(name)) for name in {**before, **after}}
    return result


def _joined(before: Any, after: Any) -> Any:
    if isinstance(before, list) and isinstance(after, list):
        return [*before, *after]
    return before if after is None else after
