"""What one model of OpenAI's form takes and another answers with 400, seen in a caller's own bytes.

    {"temperature": 0.2, "max_tokens": 100, "stop": ["\\n"]}      gpt-4o takes it; gpt-5 refuses each of the three

A caller writes for the model that he names; a route or a fallback may have it answered by another. Such a request is
not relayed but written anew for its model (outbound.py), with a Notice of what that cost.

Why the whole of it is written anew, and not these members alone taken out of the caller's bytes: what is refused is
said in one place, the writer, and cannot drift from what is told; the caller hears of it, which a relayed answer has no
place for; and the row may want the model asked in Responses. The price is an answer that is written anew, too. So it
is asked of few: only what the target's card knows to be refused, with values that differ from the one that stands
anyway (`temperature: 1`: "You can send the defaults=1 successfully", OpenAI's forum as quoted in
github.com/CopilotKit/CopilotKit/pull/7191, read 2026-11). A request that asks for what no answer through the model
could give, several choices or the calls of the form before tools, is relayed as ever: the service's refusal is clearer
than an answer that its client cannot read.

Unknown members, of the request, of its messages and of the answer, are kept in `extra` both ways, and the caller's
headers go along (`with_headers`). Sources: catalog/models.toml's, by model, and outbound.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat.schema import (
    DIALECT,
    EXTRA_HEADERS,
    NOT_OF_REASONING,
    NOT_WHILE_REASONING,
    OF_EXTRA_HEADERS,
    efforts_taken,
    limits_sampling,
)
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json
from genai_spine.wire.http import Headers

_SAMPLING = ("temperature", "top_p")
_PENALTIES = ("frequency_penalty", "presence_penalty")
_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_OLD_CALLS = ("functions", "function_call")


def refused(members: Mapping[str, msgspec.Raw], target: Target) -> bool:
    """Whether the target's model is known to refuse a request with these members, and the writer to mend it."""
    card = target.card
    if target.quirks.effort == "reasoning":
        # "providers will receive only the parameters they support, and ignore the rest" (OpenRouter's openapi.yaml,
        # `require_parameters`, 2026-11).
        return False
    if not (looked_at := _looked_at(card.capabilities, target.quirks)).isdisjoint(members):
        return _is_one_refused(members, target, looked_at)
    most = card.max_output_tokens
    return most is not None and not _LIMITS.isdisjoint(members) and _asks_for_more(members, most)


@lru_cache(maxsize=1024)
def _looked_at(able: Capabilities, quirks: Quirks) -> frozenset[str]:
    """The members at which a request to such a model must be looked at, beside the limit; none of most models."""
    is_reasoning = limits_sampling(able)
    said = {
        _SAMPLING: is_reasoning,
        _PENALTIES: is_reasoning or able.penalties is False,
        (*NOT_WHILE_REASONING, *NOT_OF_REASONING): is_reasoning,
        # "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead"
        # (400, Kuingsmile/word-GPT-Plus#109, mlcommons/modelbench#1190, read 2026-11); other models take either.
        ("max_tokens",): is_reasoning and quirks.max_tokens_field == "max_completion_tokens",
        ("stop",): able.stop is False,
        ("parallel_tool_calls",): able.parallel_tools is False,
        ("reasoning_effort",): quirks.effort == "reasoning_effort" and (able.thinking is False or bool(able.efforts)),
    }
    return frozenset([name for names, is_so in said.items() if is_so for name in names])


def _is_one_refused(members: Mapping[str, msgspec.Raw], target: Target, looked_at: frozenset[str]) -> bool:
    able, most = target.card.capabilities, target.card.max_output_tokens
    takes_sampling = effort.takes_sampling(able, _effort_in(members))

    def is_refused(name: str, value: Any) -> bool:
        if name in _SAMPLING:
            return not takes_sampling and value != effort.ONLY_SAMPLING
        if name in _PENALTIES:  # xAI's refuse 0 as well
            return able.penalties is False or (not takes_sampling and value != 0)
        if name in NOT_WHILE_REASONING:
            return not takes_sampling and value is not False
        if name == "reasoning_effort":
            return able.thinking is False or effort.nearest(str(value), efforts_taken(able)) != value
        return value not in ([], "")

    said = [(name, value) for name in looked_at.intersection(members) if (value := value_of(members, name)) is not None]
    if any(is_refused(name, value) for name, value in said):
        return _can_be_written_anew(members)
    return most is not None and _asks_for_more(members, most)


def _asks_for_more(members: Mapping[str, msgspec.Raw], most: int) -> bool:
    for name in _LIMITS:
        if name in members and is_over(members, name, most):
            return _can_be_written_anew(members)
    return False


def is_over(members: Mapping[str, msgspec.Raw], name: str, most: int) -> bool:
    """Whether this member asks for more tokens than the model writes. A number of fewer digits is not read."""
    return (
        len(members.get(name, b"")) >= len(str(most)) and type(asked := value_of(members, name)) is int and asked > most
    )


def _can_be_written_anew(members: Mapping[str, msgspec.Raw]) -> bool:
    return value_of(members, "n") in (None, 1) and all(value_of(members, name) is None for name in _OLD_CALLS)


def _effort_in(members: Mapping[str, msgspec.Raw]) -> str | None:
    said = value_of(members, "reasoning_effort")
    if said is None and isinstance(reasoning := value_of(members, "reasoning"), dict):
        said = reasoning.get("effort")
    return said if isinstance(said, str) else None


def value_of(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    """A member; None where it is not there, or null, or holds what cannot be read: the service will say so."""
    if name not in members:
        return None
    try:
        return json.ANY.decode(members[name])
    except json.UNREADABLE:
        return None


def with_headers(request: CompletionRequest, headers: Headers) -> CompletionRequest:
    """The request with the caller's own headers of OpenAI's, who pays and for which project, as outbound.py takes them:
    in the member that OpenAI's SDKs call them by."""
    said = own_headers(headers)
    return with_members(request, DIALECT, {EXTRA_HEADERS: said}) if said else request


def own_headers(headers: Headers) -> dict[str, str]:
    """The headers of OpenAI's among a caller's."""
    return {
        name: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in headers
        if (name := key if isinstance(key, str) else key.decode("latin-1")) in OF_EXTRA_HEADERS
    }


def with_members(request: CompletionRequest, dialect: str, said: Mapping[str, Any]) -> CompletionRequest:
    """The request with these members among those that its caller's dialect alone knows; there they win."""
    extra = request.extra or {}
    own = json.OBJECT.decode(extra[dialect]) if dialect in extra else {}
    own.update({name: msgspec.Raw(json.encode(value)) for name, value in said.items()})
    return msgspec.structs.replace(request, extra={**extra, dialect: msgspec.Raw(json.join_object(own))})
