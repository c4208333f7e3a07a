"""The shapes of Anthropic's messages on the wire, and the tables that are read from both ends.

Wire structs are lenient inwards: what a service leaves out or sends as null is None, what we do not
know is kept by the reader. They never leave this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from genai_spine.dialects.failure import failed
from genai_spine.dialects.lenient import LARGEST_COUNT, count_of, object_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.content import CacheMark, Part, Refusal, ToolCall
from genai_spine.model.errors import (
    AuthenticationError,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    SpineError,
)
from genai_spine.model.response import FinishReason, TokenUsage, UsageDetails

DIALECT = "anthropic_messages"
PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
IN_WORDS = {
    "tool_reference": "The tool {} can be called now.",
    "tool_addition": "The tool {} can be called now.",
    "tool_removal": "The tool {} can no longer be called.",
}
"""Blocks about a tool of the request, and what they say where nobody knows them: a client's own search has found it
(platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool), or it comes and goes amid the conversation
(platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages, both read 2026-11)."""

KNOWN_TOP_LEVEL = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
"""Members of an answer that the middle has names for."""


def message_id(name: str | None) -> str:
    """The id of an answer; clients tell messages by `msg_`."""
    return name if name is not None and name.startswith("msg_") else f"msg_{name or 'unnamed'}"


# ---------------------------------------------------------------- stop reasons

# platform.claude.com/docs/en/build-with-claude/handling-stop-reasons (2026-11)
STOP_REASONS: dict[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
    "pause_turn": FinishReason.PAUSE,
}

WRITTEN_STOP: dict[FinishReason, str] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.PAUSE: "pause_turn",
    # There is no word for it; of those there are, this one says that the answer is not whole.
    FinishReason.ERROR: "max_tokens",
    FinishReason.OTHER: "end_turn",
}


def finish_of(reason: str | None) -> FinishReason | None:
    return STOP_REASONS.get(reason, FinishReason.OTHER) if reason else None


def stop_written(reason: FinishReason | None, raw: str | None, stop_sequence: str | None, parts: Sequence[Part]) -> str:
    """The stop reason in Anthropic's words; its own spelling where it came in this dialect.

    Agents loop on `tool_use`, and several services that end with a tool call say only that they
    stopped; a model that refused says so in a part of its own (OpenAI).
    """
    if raw is not None and reason is not None and STOP_REASONS.get(raw) is reason:
        return raw
    if reason in (FinishReason.STOP, None):
        if any(isinstance(part, ToolCall) for part in parts):
            return "tool_use"
        if any(isinstance(part, Refusal) for part in parts):
            return "refusal"
        if stop_sequence is not None:
            return "stop_sequence"
    return WRITTEN_STOP[reason or FinishReason.STOP]


# ---------------------------------------------------------------- usage

_COUNTERS = frozenset({"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"})
_KNOWN_WITHIN = {
    "cache_creation": frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"}),
    "output_tokens_details": frozenset({"thinking_tokens"}),
}
_KNOWN_OF_USAGE = _COUNTERS | _KNOWN_WITHIN.keys()


_Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)] | None


class _Creation(msgspec.Struct, frozen=True):
    ephemeral_1h_input_tokens: _Count = None


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: _Count = None


class _Counted(msgspec.Struct, frozen=True):
    """The counters of a usage object, each as `count_of` has it."""

    input_tokens: _Count = None
    output_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_creation: _Creation = _Creation()
    output_tokens_details: _OutputDetails = _OutputDetails()


def _counted(usage: dict[str, Any]) -> _Counted:
    try:
        return msgspec.convert(usage, _Counted)
    except msgspec.ValidationError:  # one of them is no count: those that are, stand
        creation, details = object_of(usage.get("cache_creation")), object_of(usage.get("output_tokens_details"))
        return _Counted(
            **{name: count_of(usage.get(name)) for name in _COUNTERS},
            cache_creation=_Creation(count_of(creation.get("ephemeral_1h_input_tokens"))),
            output_tokens_details=_OutputDetails(count_of(details.get("thinking_tokens"))),
        )


def merged_usage(known: dict[str, Any], newer: Any) -> dict[str, Any]:
    """Usage in a stream is cumulative: the last valid count of each kind stands."""
    if not isinstance(newer, dict):
        return known
    merged = dict(known)
    for key, value in newer.items():
        if value is None or (key in _COUNTERS and count_of(value) is None):
            continue
        before = merged.get(key)
        merged[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def usage_of(usage: Any) -> TokenUsage | None:
    """A usage object; None where there is none.

    Anthropic counts cached input beside `input_tokens`, the middle counts it inside:
    {"input_tokens": 2, "cache_read_input_tokens": 1590, …} is 1592 input tokens.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    counted = _counted(usage)
    fresh = counted.input_tokens
    cache_read, cache_write = counted.cache_read_input_tokens, counted.cache_creation_input_tokens
    is_plain = "iterations" not in usage and "server_tool_use" not in usage
    rest = unknown(usage, _KNOWN_OF_USAGE)
    for inner, known in _KNOWN_WITHIN.items():
        members = object_of(usage.get(inner))
        if not members.keys() <= known and (more := unknown(members, known)):
            rest[inner] = more
    return TokenUsage(
        input_tokens=None if fresh is None else fresh + (cache_read or 0) + (cache_write or 0),
        output_tokens=counted.output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=counted.cache_creation.ephemeral_1h_input_tokens,
        reasoning_tokens=counted.output_tokens_details.thinking_tokens,
        service_tier=_tier_of(usage),
        details=None if is_plain else _details_of(usage),
        provider_metadata=keep(DIALECT, rest),
    )


def _tier_of(usage: Mapping[str, Any]) -> str | None:
    """Fast mode has a price of its own, and so has a call that stays in the USA (1.1 times the ordinary one:
    platform.claude.com/docs/en/build-with-claude/data-residency, 2026-11)."""
    if usage.get("inference_geo") == "us":
        return "inference_geo=us"
    return tier_of(usage.get("speed"), usage.get("service_tier"))


def _details_of(usage: Mapping[str, Any]) -> UsageDetails | None:
    """Searches, and what was used beside the answer: the totals do not hold what compaction read and wrote, which
    is charged as the answer is, nor what another model advised, whose price is not ours to know
    (platform.claude.com/docs/en/build-with-claude/compaction, …/agents-and-tools/tool-use/advisor-tool, 2026-11)."""
    searches = count_of(object_of(usage.get("server_tool_use")).get("web_search_requests"))
    turns = usage.get("iterations")
    beside = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    compacted = [used for turn in beside if turn.get("type") == "compaction" and (used := usage_of(turn)) is not None]
    compacted = [msgspec.structs.replace(used, provider_metadata=None) for used in compacted]
    advice = tuple(f"{turn['type']}" for turn in beside if turn.get("type") not in ("message", "compaction", None))
    if not (searches or compacted or advice):
        return None
    return UsageDetails(searches=searches or None, apart=_added(compacted), unpriced=advice)


def _added(usages: list[TokenUsage]) -> TokenUsage | None:
    if len(usages) < 2:
        return usages[0] if usages else None
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    return TokenUsage(**{name: sum(getattr(one, name) or 0 for one in usages) for name in names})  # type: ignore[arg-type]  # counts


def usage_written(usage: TokenUsage | None) -> dict[str, Any]:
    """The usage object; its two required counters are 0 where nobody counted, the others null."""
    if usage is None:
        usage = TokenUsage()
    read_tokens, write_tokens = usage.cache_read_tokens, usage.cache_write_tokens
    fresh = (usage.input_tokens or 0) - (read_tokens or 0) - (write_tokens or 0)
    written: dict[str, Any] = {
        "input_tokens": max(0, fresh),
        "output_tokens": usage.output_tokens or 0,
        "cache_creation_input_tokens": write_tokens,
        "cache_read_input_tokens": read_tokens,
    }
    if (hour := usage.cache_write_1h_tokens) is not None:
        minutes = max(0, (write_tokens or 0) - hour)
        written["cache_creation"] = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
    if usage.reasoning_tokens is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    extend(written, usage.provider_metadata, DIALECT)
    if usage.details is not None and usage.details.searches:
        written.setdefault("server_tool_use", {"web_search_requests": usage.details.searches, "web_fetch_requests": 0})
    return written


# ---------------------------------------------------------------- errors

# platform.claude.com/docs/en/api/errors (2026-11). `invalid_request_error` says no more than 400 does.
ERROR_CODES: dict[str, type[ProviderError]] = {
    "authentication_error": AuthenticationError,
    "billing_error": QuotaExceeded,
    "not_found_error": ModelNotFound,
    "rate_limit_error": RateLimitError,
    "overloaded_error": Overloaded,
}

ERROR_TYPES: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Both ways: an error inside a stream has no status, only its type."""

_STATUSES = {kind: status for status, kind in ERROR_TYPES.items() if status not in (408, 503)}

# The account is empty, said as a 400 `invalid_request_error` (anthropics/claude-code#66314, 2026-06).
_OUT_OF_CREDIT = re.compile("credit balance is too low", re.IGNORECASE)


def error_of(members: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """{"type": "error", "error": {"type", "message"}, "request_id"}, and what other services say instead."""
    envelope = members if isinstance(members, dict) else {}
    error = envelope.get("error", members)
    if isinstance(error, dict):
        kind = error.get("type")
        message = error.get("message") or msgspec.json.encode(error).decode()
    else:
        kind, message = None, error
    code = kind if isinstance(kind, str) else None
    if _OUT_OF_CREDIT.search(str(message)):
        code = "billing_error"
    if status is None and code is not None:
        status = _STATUSES.get(code)
    found = failed(status, headers, message=str(message), code=code, codes=ERROR_CODES)
    if found.request_id is None and isinstance(request_id := envelope.get("request_id"), str):
        found.request_id = request_id
    return found


def error_written(error: SpineError, status: int, request_id: str) -> dict[str, Any]:
    """The error as Anthropic's clients read it, with our request's id."""
    kind = ERROR_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}


# ---------------------------------------------------------------- cache marks


def cache_control(mark: CacheMark) -> dict[str, Any]:
    return {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl is not None else {})


# ---------------------------------------------------------------- models

_SYSTEM_ANYWHERE = re.compile(r"claude-(?:opus-4[-.][89]\b|(?:opus|sonnet|haiku|fable|mythos)-(?:[5-9]|\d\d)\b)")


@lru_cache(1000)
def takes_system_anywhere(model: str) -> bool | None:
    """Whether a model takes system messages after the first turn: Opus 4.8 and all of generation 5. None for models
    that are not Claude by their name.

    …/build-with-claude/mid-conversation-system-messages and langchain's model profiles (2026-11). Older
    models answer 400 ("role 'system' is not supported on this model", anthropics/claude-code#61412), and so do most
    services that copy the format.
    """
    if _SYSTEM_ANYWHERE.search(model) is not None:
        return True
    return False if "claude-" in model else None
