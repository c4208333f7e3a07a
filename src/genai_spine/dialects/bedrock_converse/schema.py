"""The tables of Converse, and its counters.

Must not know: which provider it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.content import CacheMark
from genai_spine.model.response import FinishReason, TokenUsage

DIALECT = "bedrock_converse"


# ---------------------------------------------------------------- stop reasons

# The enumeration StopReason of the service's model (2026-11).
STOP_REASONS: dict[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "malformed_model_output": FinishReason.ERROR,
    "malformed_tool_use": FinishReason.ERROR,
}


def finish_of(reason: str | None) -> FinishReason | None:
    return STOP_REASONS.get(reason, FinishReason.OTHER) if reason else None


# ---------------------------------------------------------------- media

IMAGE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}

DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}

AUDIO_FORMATS = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")
)


# ---------------------------------------------------------------- usage

# The service sends both spellings of the cached ones (recorded 2026).
_COUNTERS = frozenset(
    ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "cacheReadInputTokenCount",
     "cacheWriteInputTokenCount", "totalTokens")
)  # fmt: skip


def usage_of(usage: Any, reply: Mapping[str, Any] = MappingProxyType({})) -> TokenUsage | None:
    """A usage object; None where there is none. How the call was served stands beside it in the `reply`.

    Cached input is counted beside `inputTokens`, the middle counts it inside:
    {"inputTokens": 3, "cacheReadInputTokens": 1712, "cacheWriteInputTokens": 236, …} is 1951 input tokens.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    fresh = count_of(usage.get("inputTokens"))
    cache_read = _either(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
    cache_write = _either(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    rest = {key: value for key, value in unknown(usage, _COUNTERS).items() if value not in ({}, [])}
    return TokenUsage(
        input_tokens=None if fresh is None else fresh + (cache_read or 0) + (cache_write or 0),
        output_tokens=count_of(usage.get("outputTokens")),
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=_written_for(usage.get("cacheDetails"), "1h"),
        service_tier=_tier_of(reply),
        provider_metadata=keep(DIALECT, rest),
    )


def _tier_of(reply: Mapping[str, Any]) -> str | None:
    """{"serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}"""
    performance = reply.get("performanceConfig")
    return tier_of(reply.get("serviceTier"), performance.get("latency") if isinstance(performance, dict) else None)


def _either(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := count_of(usage.get(name))) is not None), None)


def _written_for(details: Any, ttl: str) -> int | None:
    """What went into the cache for so long: [{"ttl": "1h", "inputTokens": 236}, …]."""
    found = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    counts = [count_of(each.get("inputTokens")) or 0 for each in found if each.get("ttl") == ttl]
    return sum(counts) if counts else None


# ---------------------------------------------------------------- cache marks


def cache_point(mark: CacheMark) -> dict[str, Any]:
    """The block that follows what may be cached."""
    return {"cachePoint": {"type": "default"} | ({"ttl": mark.ttl} if mark.ttl is not None else {})}
