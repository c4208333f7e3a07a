"""What one model asked in Responses takes and another answers with 400, seen in a caller's own bytes.

    {"temperature": 0.2, "reasoning": {"effort": "minimal"}}     gpt-5 refuses the first, o4-mini the second (recorded)

As openai_chat/particular.py, which says why such a request is written anew and not mended in its bytes. It is written
in this dialect again (`with_headers`), since its caller may go on from the answer by its id. Log probabilities:
"logprobs are not supported with reasoning models" (400, at `include`; github.com/vllm-project/vllm/pull/23319, read
2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from genai_spine.dialects import effort
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat.particular import is_over, own_headers, value_of, with_members
from genai_spine.dialects.openai_chat.schema import EXTRA_HEADERS, limits_sampling
from genai_spine.dialects.openai_responses.schema import DIALECT, LOGPROBS
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities
from genai_spine.model.request import CompletionRequest
from genai_spine.wire.http import Headers

_SAMPLING = ("temperature", "top_p")


def refused(members: Mapping[str, msgspec.Raw], target: Target) -> bool:
    """Whether the target's model is known to refuse a request with these members, and the writer to mend it."""
    card = target.card
    if target.quirks.effort == "reasoning":
        return False  # OpenRouter leaves out by itself what a model does not take
    looked_at = _looked_at(card.capabilities, target.quirks)
    if not looked_at.isdisjoint(members) and _is_one_refused(members, card.capabilities, looked_at):
        return True
    most = card.max_output_tokens
    return most is not None and is_over(members, "max_output_tokens", most)


@lru_cache(maxsize=1024)
def _looked_at(able: Capabilities, quirks: Quirks) -> frozenset[str]:
    """The members at which a request to such a model must be looked at, beside the limit; none of most models."""
    names: list[str] = []
    if limits_sampling(able):
        names += [*_SAMPLING, "top_logprobs", "include"]
    if quirks.effort == "reasoning_effort" and (able.thinking is False or able.efforts):
        names.append("reasoning")
    return frozenset(names)


def _is_one_refused(members: Mapping[str, msgspec.Raw], able: Capabilities, looked_at: frozenset[str]) -> bool:
    reasoning = value_of(members, "reasoning")
    said = reasoning if isinstance(reasoning, dict) else {}
    level = said.get("effort")
    level = level if isinstance(level, str) else None
    takes_sampling = effort.takes_sampling(able, level)

    def is_refused(name: str, value: Any) -> bool:
        if name == "reasoning":
            if able.thinking is False:
                return any(inner is not None for inner in said.values())
            return level is not None and effort.nearest(level, able.efforts or ()) != level
        if takes_sampling:
            return False
        if name in _SAMPLING:
            return bool(value != effort.ONLY_SAMPLING)
        return bool(value) if name == "top_logprobs" else isinstance(value, list) and LOGPROBS in value

    found = ((name, value_of(members, name)) for name in looked_at.intersection(members))
    return any(value is not None and is_refused(name, value) for name, value in found)


def with_headers(request: CompletionRequest, headers: Headers) -> CompletionRequest:
    """The request with the caller's own headers of OpenAI's, and as one that is to be asked in this dialect: whether
    its answer is kept is for the service to say where the caller does not."""
    said: dict[str, Any] = {} if "store" in kept(request.extra, DIALECT) else {"store": None}
    if own := own_headers(headers):
        said[EXTRA_HEADERS] = own
    return with_members(request, DIALECT, said) if said else request
