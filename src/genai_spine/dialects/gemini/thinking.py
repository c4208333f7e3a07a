"""How much to think, said as the model takes it, and read as a caller says it.

Sources: ai.google.dev/gemini-api/docs/thinking, docs.cloud.google.com/vertex-ai/generative-ai/docs/thinking (2026-11).
Generation 2.5 takes a number of tokens (`thinkingBudget`: 0 is off, -1 leaves it to the model), generation 3 a level
(`thinkingLevel`) and cannot be told not to think; both at once are refused. Generation 3 still takes a number where
the caller asks for one (documented for compatibility; recorded with gemini-3-pro-preview and gemini-3.5-flash).
Thoughts are shown where `includeThoughts` asks for them. The card of the target says which, else the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from genai_spine.dialects import effort as efforts
from genai_spine.dialects.gemini.schema import generation, in_camel, is_since_3
from genai_spine.dialects.reading import Reader
from genai_spine.model.card import ModelCard
from genai_spine.model.request import ThinkingConfig

Notify = Callable[[str, str, str | None], None]

_AUTOMATIC = -1
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}

_RANGES: tuple[tuple[re.Pattern[str], int, int, bool], ...] = (
    (re.compile(r"gemini-2\.5-pro"), 128, 32768, False),
    (re.compile(r"gemini-2\.5-flash-lite"), 512, 24576, True),
    (re.compile(r"gemini-2\.5-flash"), 1, 24576, True),
)
"""The least and the most tokens, and whether thinking can be turned off (…/docs/thinking#set-budget, 2026-11)."""


def thinking_of(wanted: ThinkingConfig | None, card: ModelCard, notice: Notify) -> dict[str, Any] | None:
    """`thinkingConfig`; None where there is nothing to say."""
    if wanted is None:
        return None
    style = _style(card)
    is_off = wanted.enabled is False or wanted.effort == "none"
    if style == "none":
        if not is_off:
            notice("dropped", "the model does not think", "thinking")
        return None
    config: dict[str, Any] = {}
    # A caller of this dialect does not say `enabled`: the number is meant for this service, as it stands.
    is_as_said = wanted.budget_tokens is not None and wanted.effort is None and wanted.enabled is None
    is_unknown = style is None and wanted.budget_tokens is None and not is_off
    if (style == "level" or is_unknown) and not is_as_said:
        if (level := _level(wanted, is_off, card.id, notice)) is not None:
            config["thinkingLevel"] = level
    elif (budget := _budget(wanted, is_off, card.id, notice)) is not None:
        config["thinkingBudget"] = budget
    if wanted.display is not None:
        config["includeThoughts"] = wanted.display != "omitted"
    elif wanted.enabled is True and not is_off:
        config["includeThoughts"] = True  # who turns thinking on in other formats is shown the thoughts
    return config or None


def _style(card: ModelCard) -> str | None:
    """level, budget or none; None where neither card nor name tells."""
    style = card.capabilities.thinking_style
    if style in ("level", "budget", "none"):
        return style
    if is_since_3(card.id) or style == "effort":
        return "level"
    found = generation(card.id)
    if found is None:
        return None
    return "budget" if found >= (2, 5) else "none"


def _level(wanted: ThinkingConfig, is_off: bool, model: str, notice: Notify) -> str | None:
    if is_off:
        level = _least_level(model)
        notice("changed", f"the model cannot be told not to think: asked for level {level}", "thinking")
        return level
    if wanted.effort is not None:
        return _level_of_effort(wanted.effort, model, notice)
    if wanted.budget_tokens is not None and not wanted.adaptive:
        effort = efforts.effort_of(wanted.budget_tokens)
        notice("changed", f"the model takes no thinking budget: asked for level {effort}", "thinking")
        return _LEVELS[effort]
    return None


def _level_of_effort(effort: str, model: str, notice: Notify) -> str | None:
    if effort == "minimal" and _least_level(model) != "MINIMAL":
        notice("changed", "effort minimal sent as low", "reasoning_effort")
        return "LOW"
    if effort in ("xhigh", "max"):
        notice("changed", f"effort {effort} sent as high", "reasoning_effort")
        return "HIGH"
    if effort not in _LEVELS:
        notice("dropped", f"no effort is called {effort!r} here", "reasoning_effort")
    return _LEVELS.get(effort)


def _least_level(model: str) -> str:
    """The Pro models have no level below low."""
    return "LOW" if "-pro" in model else "MINIMAL"


def _budget(wanted: ThinkingConfig, is_off: bool, model: str, notice: Notify) -> int | None:
    if is_off:
        budget = 0
    elif wanted.adaptive:
        return _AUTOMATIC
    elif wanted.budget_tokens is not None:
        budget = wanted.budget_tokens
    elif wanted.effort is not None:
        budget = efforts.budget_of(wanted.effort)
    else:
        return _AUTOMATIC if wanted.enabled else None
    fitting = _fitting(budget, model)
    if fitting != budget and (wanted.budget_tokens is not None or is_off):
        notice("changed", f"a thinking budget of {budget} tokens sent as {fitting}", "thinking")
    return fitting


def _fitting(budget: int, model: str) -> int:
    for pattern, least, most, may_be_off in _RANGES:
        if pattern.search(model):
            return 0 if budget == 0 and may_be_off else min(max(budget, least), most)
    return budget


# ---------------------------------------------------------------- from a caller


def read_thinking(config: Reader | None) -> ThinkingConfig | None:
    """{"includeThoughts": true, "thinkingBudget": 512}; the members that are read are taken from `config`.

    Raises: InvalidRequest.
    """
    if config is None:
        return None
    config = in_camel(config)
    shows, level = config.boolean("includeThoughts"), config.text("thinkingLevel")
    budget = config.integer("thinkingBudget", least=-1)
    effort = None if level in (None, "THINKING_LEVEL_UNSPECIFIED") else level.lower()
    if shows is None and budget is None and effort is None:
        return None
    return ThinkingConfig(
        enabled=False if budget == 0 else None,
        budget_tokens=budget if budget is not None and budget > 0 else None,
        effort=effort,
        adaptive=budget == _AUTOMATIC,
        display=None if shows is None else "summarized" if shows else "omitted",
    )
