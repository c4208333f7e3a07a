"""How a call was served, in the words of the services: `TokenUsage.service_tier`.

OpenAI "default", "flex", "priority" (developers.openai.com/api/docs/pricing); Anthropic "standard", "priority",
"batch" (platform.claude.com/docs/en/api/service-tiers); Gemini "standard", and Vertex "ON_DEMAND",
"PROVISIONED_THROUGHPUT" (ai.google.dev/api/generate-content#UsageMetadata); Groq "on_demand"; Bedrock and xAI
"default"; all 2026-11, and recorded.
"""

from __future__ import annotations

from typing import Any

_ORDINARY = frozenset({"", "default", "standard", "auto", "on_demand", "service_tier_unspecified", "unspecified"})
_VERTEX = "on_demand_"  # ON_DEMAND_FLEX, ON_DEMAND_PRIORITY
_MOST = 40


def tier_of(*said: Any) -> str | None:
    """The first word that means another way than the ordinary one, in small letters; None where none does."""
    for word in said:
        if word is None or (type(word) is str and word in _ORDINARY):
            continue
        if isinstance(word, dict):  # Bedrock: {"type": "flex"}
            word = word.get("type")
        if isinstance(word, str) and (tier := word.lower()) not in _ORDINARY and len(tier) <= _MOST:
            return tier.removeprefix(_VERTEX)
    return None
