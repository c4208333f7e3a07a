"""The shapes of Cohere's chat on the wire, and the tables of its words.

Wire structs are lenient inwards and never leave this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.citations import citation_of, named
from genai_spine.dialects.failure import failed
from genai_spine.dialects.lenient import count_of, object_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.content import Citation, Metadata, Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, ContentFiltered, ProviderError, QuotaExceeded
from genai_spine.model.response import FinishReason, TokenUsage

DIALECT = "cohere_chat"

FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR": FinishReason.ERROR,
    "TIMEOUT": FinishReason.ERROR,
}

PLAN = "tool_plan"
"""The member of a `Thinking`'s metadata that marks it as a tool plan, as the wire calls it."""


def finish_of(reason: Any) -> FinishReason | None:
    return FINISH_REASONS.get(reason, FinishReason.OTHER) if isinstance(reason, str) and reason else None


# ---------------------------------------------------------------- parts


def plan_of(text: str) -> Thinking:
    return Thinking(text=text, provider_metadata=keep(DIALECT, {PLAN: True}))


def part_of_content(content: Any) -> Part:
    """An entry of `content`.

    Raises: BadReply.
    """
    if not isinstance(content, dict):
        raise BadReply("content that is no object")
    kind = content.get("type")
    if kind == "text" and isinstance(text := content.get("text"), str):
        return Text(text=text, provider_metadata=keep(DIALECT, unknown(content, ("type", "text"))))
    if kind == "thinking" and isinstance(text := content.get("thinking"), str):
        return Thinking(text=text, provider_metadata=keep(DIALECT, unknown(content, ("type", "thinking"))))
    return Opaque(dialect=DIALECT, kind=str(kind), raw=msgspec.Raw(msgspec.json.encode(content)))


_KNOWN_OF_CALL = ("id", "type", "function")


def tool_call_of(call: Any) -> ToolCall:
    """{"id", "type": "function", "function": {"name", "arguments"}}, the arguments as JSON text.

    Raises: BadReply.
    """
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(name := function.get("name"), str) or not name:
        raise BadReply("a tool call without a name")
    if not isinstance(call_id := call.get("id"), str) or not call_id:
        raise BadReply("a tool call without an id")
    arguments = function.get("arguments")
    metadata = keep(DIALECT, unknown(call, _KNOWN_OF_CALL))
    return ToolCall(id=call_id, name=name, arguments=arguments_of(arguments), provider_metadata=metadata)


def arguments_of(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


# ---------------------------------------------------------------- citations


def cited_part(citation: Mapping[str, Any], kinds: Sequence[str]) -> int | None:
    """Which of the parts a citation is about; `kinds` says of each what it is on the wire.

    `content_index` counts the entries of `content`; older models leave it out, and mean the first text. A citation
    of a plan (PLAN) has nothing to count.
    """
    if citation.get("type") == "PLAN":
        return next((index for index, kind in enumerate(kinds) if kind == PLAN), None)
    contents = [index for index, kind in enumerate(kinds) if kind not in (PLAN, "tool_call")]
    place = citation.get("content_index")
    if type(place) is int:
        return contents[place] if 0 <= place < len(contents) else None
    wanted = "thinking" if citation.get("type") == "THINKING_CONTENT" else "text"
    return next((index for index in contents if kinds[index] == wanted), None)


def citations_of(citations: Sequence[Any]) -> tuple[Citation, ...]:
    """One for each source of each: a document of the request, or what a tool gave back.

    {"start": 33, "end": 60, "text": "…", "sources": [{"type": "document", "id": "…", "document": {"title": "…", …}}]}
    """
    found: list[Citation] = []
    for citation in citations:
        sources = citation.get("sources") if isinstance(citation, dict) else None
        for source in sources if isinstance(sources, list) else ():
            said = source.get("document") or source.get("tool_output") if isinstance(source, dict) else None
            if not isinstance(said, dict):
                continue
            words = said.get("text") or said.get("snippet") or said.get("content") or said.get("data")
            place = {"start": citation.get("start"), "end": citation.get("end")}
            name = said.get("title") or source.get("id")
            found.append(citation_of(url=said.get("url"), title=name, cited_text=words, **place))
    return named(found)


def with_citations(metadata: Metadata | None, citations: Sequence[Any]) -> Metadata | None:
    """A part's metadata and the citations that stand on it."""
    if not citations:
        return metadata
    own = msgspec.json.decode(metadata[DIALECT]) if metadata is not None else {}
    return keep(DIALECT, {**own, "citations": list(citations)})


# ---------------------------------------------------------------- usage

_COUNTED = ("input_tokens", "output_tokens")


def usage_of(usage: Any) -> TokenUsage | None:
    """{"billed_units": {…}, "tokens": {…}, "cached_tokens": 704}; None where there is none.

    Cohere counts twice. `billed_units` are the caller's own texts and the answer, and are what is paid for;
    `tokens` are all that the model read, with Cohere's instructions of some thousand tokens, and `cached_tokens`
    are a part of those and often more than all that is billed. A TokenUsage is what a cost is made of, so it holds
    the billed ones; `tokens` and `cached_tokens` are kept as they came. A deployment of one's own that bills
    nothing has only `tokens`: there they are what is held, the cached among them.
    """
    if not isinstance(usage, dict) or not usage:
        return None
    billed, tokens = object_of(usage.get("billed_units")), object_of(usage.get("tokens"))
    counted = billed if _is_counted(billed) else tokens
    output = count_of(counted.get("output_tokens"))
    reasoning = count_of(tokens.get("reasoning_tokens"))
    return TokenUsage(
        input_tokens=count_of(counted.get("input_tokens")),
        output_tokens=output,
        cache_read_tokens=count_of(usage.get("cached_tokens")) if counted is tokens else None,
        reasoning_tokens=reasoning if reasoning is None or output is None else min(reasoning, output),
        provider_metadata=keep(DIALECT, _uncounted(usage, billed, tokens, counted)),
    )


def _is_counted(counts: Mapping[str, Any]) -> bool:
    return any(count_of(counts.get(name)) is not None for name in _COUNTED)


def _uncounted(
    usage: Mapping[str, Any], billed: Mapping[str, Any], tokens: Mapping[str, Any], counted: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept beside the counts that the middle holds, which are those of `counted`."""
    if counted is billed:
        rest = unknown(usage, ("billed_units",))
        of_counted = {"billed_units": unknown(billed, _COUNTED)}
    else:
        rest = unknown(usage, ("tokens", "cached_tokens"))
        of_counted = {"tokens": unknown(tokens, (*_COUNTED, "reasoning_tokens"))}
    return rest | {name: more for name, more in of_counted.items() if more}


# ---------------------------------------------------------------- errors

# docs.cohere.com/reference/errors (2026-11). The body says no more than {"id", "message"}.
_DENIED_TOKEN = 498  # "a request or response contains a deny-listed token"
_CANCELLED = 499  # "cancelled … try the request again"

# A trial key's allowance, which comes as a 429 like any haste: "limited to 1000 API calls / month".
_OUT_OF_CALLS = re.compile(r"calls ?/ ?month", re.IGNORECASE)

ERROR_CODES: dict[str, type[ProviderError]] = {
    "deny_listed_token": ContentFiltered,
    "monthly_limit": QuotaExceeded,
}


def error_of(members: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """{"id": "2da0…", "message": "model 'x' not found, …"}; a stream says `error` and `error_type` at its end."""
    said: Mapping[str, Any] = members if isinstance(members, dict) else {}
    message = said.get("message") or said.get("error") or members
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    code = said.get("error_type")
    if status == _DENIED_TOKEN:
        code = "deny_listed_token"
    elif status == 429 and _OUT_OF_CALLS.search(message):
        code = "monthly_limit"
    name = code if isinstance(code, str) else None
    error = failed(status, headers, message=message, code=name, codes=ERROR_CODES)
    if status == _CANCELLED:
        error.retryable = error.fallback = True
    if error.request_id is None and isinstance(error_id := said.get("id"), str):
        error.request_id = error_id
    return error
