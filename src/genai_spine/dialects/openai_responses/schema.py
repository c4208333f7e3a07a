"""The shapes of OpenAI's Responses on the wire, and the tables that are read from both ends.

What only this dialect knows of a part stays in its `provider_metadata`:

    {"item": {"id": "msg_1", "status": "completed"},  members of the item that the part begins
     "annotations": […], "logprobs": […],             members of the content part itself
     "reasoning_text": true,                          a thought in full, not its summary
     "continues": true}                               of the same reasoning item as the thought before

And of a tool in a namespace (namespaces.py):

    {"in_namespace": {"namespace": {"name": "mcp__zoo", …},  the namespace, without its tools
                      "member": {"name": "feed_lion", …}}}   what the tool is called in it, and says itself
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from genai_spine.dialects import signatures
from genai_spine.dialects.lenient import count_of, object_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.openai_chat.usage import reported_by
from genai_spine.dialects.service_tiers import tier_of
from genai_spine.model.content import Part, Thinking, ToolCall
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import FinishReason, TokenUsage, UsageDetails
from genai_spine.wire import json

DIALECT = "openai_responses"
PATH = "/responses"

ITEM, REASONING_TEXT, CONTINUES, IN_MESSAGE = "item", "reasoning_text", "continues", "in_message"
"""Our own members of `provider_metadata`; `in_message` marks an opaque part that stands in a message."""

IN_NAMESPACE = "in_namespace"
"""Our own member of a tool's `provider_metadata`."""

OURS = frozenset({ITEM, REASONING_TEXT, CONTINUES, IN_MESSAGE})

REDACTED, SIGNED = "redacted:", f"{signatures.ANTHROPIC}:"
"""Begin the `encrypted_content` that we write for a thought which another service has redacted, or signed."""

FOREIGN = (REDACTED, *(f"{maker}:" for maker in (signatures.ANTHROPIC, *signatures.OTHERS)))
"""Begins what a service that speaks this dialect has not encrypted, and would refuse."""

LOGPROBS = "message.output_text.logprobs"
"""What is to be included in an answer with log probabilities."""

STATE = frozenset({"previous_response_id", "conversation", "prompt"})
"""Members of a request that stand for a conversation which the service keeps: content, which is never dropped."""

KNOWN_TOP_LEVEL = frozenset(
    {
        "id",
        "object",
        "created_at",
        "model",
        "output",
        "output_text",  # the SDKs' own sum of the texts, written by some services
        "status",
        "incomplete_details",
        "error",
        "usage",
    }
)
"""Members of an answer that the middle has names for."""


@contextmanager
def as_reply() -> Iterator[None]:
    """Items are read by one and the same reader from both ends; what is wrong in an answer is the provider's."""
    try:
        yield
    except InvalidRequest as error:
        raise BadReply(f"the provider's reply cannot be read: {error.message}") from None


def text_of(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def encrypted_of(thought: Thinking) -> str | None:
    """`encrypted_content`: what the service encrypted as it gave it, another's with a name before it."""
    proof = thought.signature or thought.redacted
    if proof is None:
        return None
    maker, bare = signatures.split(proof)
    if maker == signatures.OPENAI:
        return bare
    if thought.signature is None:
        return REDACTED + proof
    return SIGNED + bare if maker == signatures.ANTHROPIC else proof


def signature_of(encrypted: str) -> str:
    """The other way, but for what is redacted."""
    if encrypted.startswith(FOREIGN):
        return encrypted.removeprefix(SIGNED)
    return signatures.named(signatures.OPENAI, encrypted)


# ---------------------------------------------------------------- endings

INCOMPLETE: dict[str, FinishReason] = {
    "max_output_tokens": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,  # some compatible services
    "content_filter": FinishReason.CONTENT_FILTER,
}

_WRITTEN_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}
_UNFINISHED = frozenset({"queued", "in_progress", "cancelled"})


def ending_of(members: Mapping[str, Any], parts: Sequence[Part]) -> tuple[FinishReason | None, str | None]:
    """Why an answer stopped, and the service's word for it: the reason where it is incomplete, else its status.

    A background response is queued or in progress, and a cancelled one has no other word either.
    """
    status = text_of(members.get("status"))
    if status == "incomplete":
        details = members.get("incomplete_details")
        reason = text_of(details.get("reason")) if isinstance(details, dict) else None
        return INCOMPLETE.get(reason or "", FinishReason.OTHER), reason or status
    if status in ("completed", None):
        has_calls = any(isinstance(part, ToolCall) for part in parts)
        return FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP, status
    return FinishReason.OTHER, status


def is_cut(reason: FinishReason | None) -> bool:
    """Whether the answer, and so its last item, is incomplete."""
    return reason in _WRITTEN_INCOMPLETE


def ending_written(reason: FinishReason | None, raw: str | None) -> dict[str, Any]:
    """`status`, `incomplete_details` and `error` of an answer."""
    if reason is FinishReason.ERROR:
        error = {"code": "server_error", "message": "the provider broke off the answer"}
        return {"status": "failed", "incomplete_details": None, "error": error}
    if reason is FinishReason.OTHER and raw in _UNFINISHED:
        return {"status": raw, "incomplete_details": None, "error": None}
    if reason is not None and is_cut(reason):
        details = {"reason": _WRITTEN_INCOMPLETE[reason]}
        return {"status": "incomplete", "incomplete_details": details, "error": None}
    return {"status": "completed", "incomplete_details": None, "error": None}


# ---------------------------------------------------------------- usage

_COUNTERS = frozenset({"input_tokens", "output_tokens", "total_tokens", "cost"})
OWN_TOOLS = "own_tools"
"""Where a relay, which reads no more of an answer than its usage, puts the items of the service's own tools."""


def usage_of(usage: Any, response: Mapping[str, Any] = MappingProxyType({})) -> TokenUsage | None:
    """The usage object; None where there is none. Cached tokens are counted in `input_tokens`, as in the middle.

    How the call was served and which of the service's own tools were used stands elsewhere in the `response`.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    read, written = object_of(usage.get("input_tokens_details")), object_of(usage.get("output_tokens_details"))
    rest = unknown(usage, (*_COUNTERS, "input_tokens_details", "output_tokens_details", OWN_TOOLS))
    if more := unknown(read, ("cached_tokens", "cache_write_tokens")):
        rest["input_tokens_details"] = more
    if more := unknown(written, ("reasoning_tokens",)):
        rest["output_tokens_details"] = more
    return TokenUsage(
        input_tokens=count_of(usage.get("input_tokens")),
        output_tokens=count_of(usage.get("output_tokens")),
        cache_read_tokens=count_of(read.get("cached_tokens")),
        cache_write_tokens=count_of(read.get("cache_write_tokens")),
        reasoning_tokens=count_of(written.get("reasoning_tokens")),
        service_tier=tier_of(response.get("service_tier"), usage.get("service_tier")),
        details=_tools_used(response.get("output") or usage.get(OWN_TOOLS)),
        reported_cost_usd=reported_by(usage),
        provider_metadata=keep(DIALECT, rest),
    )


def usage_written(usage: TokenUsage | None) -> dict[str, Any] | None:
    """The usage object. Clients read its counters without looking: they are 0 where nobody counted."""
    if usage is None:
        return None
    cached = {"cached_tokens": usage.cache_read_tokens or 0, "cache_write_tokens": usage.cache_write_tokens or 0}
    written: dict[str, Any] = {
        "input_tokens": usage.input_tokens or 0,
        "input_tokens_details": cached,
        "output_tokens": usage.output_tokens or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens or 0,
    }
    written = extend(written, usage.provider_metadata, DIALECT)
    if usage.reported_cost_usd is not None and "cost_in_usd_ticks" not in written:
        written.setdefault("cost", float(usage.reported_cost_usd))
    return written


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return usage_of(json.ANY.decode(raw))
    except json.UNREADABLE:
        return None  # a number out of range: nobody counted that


_UNPRICED = frozenset({"code_interpreter_call", "image_generation_call"})


def _tools_used(output: Any) -> UsageDetails | None:
    """The service's own tools, which are charged by the call (developers.openai.com/api/docs/pricing, 2026-11).

    Of web searches those that search: to open a page or to find something in it is free. A session of the code
    interpreter lasts beyond the call and an image is charged as a call of another model: what they cost is not told.
    """
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    kinds = [item.get("type") for item in items if str(item.get("type")).endswith("_call")]
    if not kinds:
        return None
    opened = sum(
        item.get("type") == "web_search_call" and object_of(item.get("action")).get("type", "search") != "search"
        for item in items
    )
    searches, file_searches = kinds.count("web_search_call") - opened, kinds.count("file_search_call")
    unpriced = tuple(str(kind) for kind in kinds if kind in _UNPRICED)
    if not (searches or file_searches or unpriced):
        return None
    return UsageDetails(searches=searches or None, file_searches=file_searches or None, unpriced=unpriced)
