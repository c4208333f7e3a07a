"""Two ways to say how much to think: a name or a number of tokens, and the one table between them.

Budgets are those that Google publishes for the same names in its OpenAI compatibility
(ai.google.dev/gemini-api/docs/openai, read 2026-11); the two ends of the scale are ours. And what a model's card says
of the names: which it takes, and with which of them a temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genai_spine.model.card import Capabilities
from genai_spine.model.request import ThinkingConfig

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 63999}
"""Effort to thinking tokens."""

Notify = Callable[[str, str, str], None]

ONLY_SAMPLING = 1
"""The temperature and top_p that stand where no other is taken: nothing is lost where they are left out."""

_ASCENDING = (("low", 1024), ("medium", 8192), ("high", 24576))
_SCALE = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def budget_of(effort: str) -> int:
    """Thinking tokens for an effort; an unknown name is taken for medium."""
    return BUDGETS.get(effort, BUDGETS["medium"])


def effort_of(budget_tokens: int) -> str:
    """The smallest of low, medium and high whose budget holds this one."""
    return next((effort for effort, budget in _ASCENDING if budget_tokens <= budget), "high")


def said(thinking: ThinkingConfig, notice: Notify) -> str | None:
    """What a caller asks for in OpenAI's words: `none`, his effort or his budget's; None where he says nothing."""
    if thinking.enabled is False:
        return "none"
    if thinking.effort is not None or thinking.budget_tokens is None:
        return thinking.effort
    level = effort_of(thinking.budget_tokens)
    notice("changed", f"{thinking.budget_tokens} tokens of thinking sent as effort {level}", "thinking")
    return level


def is_in_vain(capabilities: Capabilities, thinking: ThinkingConfig, notice: Notify) -> bool:
    """Whether it is a model that does not think: "Unrecognized request argument supplied: reasoning_effort"
    (github.com/AAswordman/Operit/issues/1048, read 2026-11)."""
    if capabilities.thinking is not False:
        return False
    if thinking.enabled is not False and thinking.effort != "none":
        notice("dropped", "the model does not think", "thinking")
    return True


def asked_of(capabilities: Capabilities, thinking: ThinkingConfig, notice: Notify, *, barring: str = "") -> str | None:
    """The effort that a model is asked for in OpenAI's words, one that its card says it takes; None where none is said.

    `barring` is one that the service takes elsewhere only.
    """
    level = said(thinking, notice)
    if level is None:
        if not thinking.enabled or thinking.adaptive:
            return None
        level = "medium"
    taken = nearest(level, [effort for effort in capabilities.efforts or () if effort != barring])
    if taken != level:
        notice("changed", f"the model takes no effort {level}: sent as {taken}", "thinking")
    return taken


def nearest(effort: str, efforts: Sequence[str]) -> str:
    """The least of these that is no less, else the most; the effort itself where they are not known, or it is not."""
    if not efforts or effort in efforts or effort not in _SCALE:
        return effort
    return next((other for other in efforts if _SCALE.index(other) > _SCALE.index(effort)), efforts[-1])


def takes_sampling(capabilities: Capabilities, effort: str | None) -> bool:
    """Whether temperature, top_p and penalties may stand beside this effort; None is that nobody says one."""
    if capabilities.sampling is not None:
        return capabilities.sampling
    return capabilities.sampling_while_thinking is not False or (effort or capabilities.default_effort) == "none"
