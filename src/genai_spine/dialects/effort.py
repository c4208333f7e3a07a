"""Two ways to say how much to think: a name or a number of tokens, and the one table between them.

Budgets are those that Google publishes for the same names in its OpenAI compatibility
(ai.google.dev/gemini-api/docs/openai, read 2026-11); the two ends of the scale are ours.
"""

from __future__ import annotations

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 63999}
"""Effort to thinking tokens."""

_ASCENDING = (("low", 1024), ("medium", 8192), ("high", 24576))


def budget_of(effort: str) -> int:
    """Thinking tokens for an effort; an unknown name is taken for medium."""
    return BUDGETS.get(effort, BUDGETS["medium"])


def effort_of(budget_tokens: int) -> str:
    """The smallest of low, medium and high whose budget holds this one."""
    return next((effort for effort, budget in _ASCENDING if budget_tokens <= budget), "high")
