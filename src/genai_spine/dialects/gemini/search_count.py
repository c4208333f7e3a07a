"""How many searches of an answer are charged, which its `usageMetadata` does not say.

    "groundingMetadata": {"webSearchQueries": ["weather in Paris", ""], …}

Gemini 3 and later are charged for each query, earlier models once for an answer that searched; "for billing purposes,
we ignore the empty web search queries when counting unique queries" (ai.google.dev/gemini-api/docs/google-search and
…/pricing, 2026-11). What Google gives for nothing, some thousand a month, nobody here knows of.
"""

from __future__ import annotations

import re
from typing import Any

from genai_spine.dialects.lenient import object_of

SEARCHES = "searches charged"
"""The member under which the count stands beside the service's own."""

_ONCE = re.compile(r"(?:models/)?gemini-[12]\b").match


def searches_charged(model: str | None, grounding: Any) -> int:
    """For one answer of `model`, of which this is the `groundingMetadata`."""
    queries = object_of(grounding).get("webSearchQueries")
    asked = {query for query in queries if isinstance(query, str) and query} if isinstance(queries, list) else set()
    return min(1, len(asked)) if _ONCE(model or "") else len(asked)


def with_searches(usage: dict[str, Any], model: str | None, candidate: dict[str, Any]) -> dict[str, Any]:
    """`usageMetadata` with the count, where there is one."""
    count = searches_charged(model, candidate.get("groundingMetadata"))
    return {**usage, SEARCHES: count} if count else usage
