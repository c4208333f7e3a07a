"""How much to think, said as the model takes it.

Sources: platform.claude.com/docs/en/build-with-claude/{thinking, thinking-tool-workflows, effort} and
…/models/{opus-5-5/whats-new-opus-5-5, sonnet-5-5/migration-guide} (read 2026-11). Older models take a budget
(`enabled`), newer ones decide for themselves (`adaptive`), guided by `output_config.effort`; some of these always
think, or take another word than `disabled`; the card of the target says which. With thinking on, the service
refuses a temperature other than 1, top_k and a top_p below 0.95; with a budget also a forced tool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from genai_spine.dialects import effort as efforts
from genai_spine.dialects.signatures import ANTHROPIC, is_proven_by
from genai_spine.model.card import Capabilities, ThinkingOff, ThinkingStyle
from genai_spine.model.content import Thinking, ToolCall, ToolResult
from genai_spine.model.request import CompletionRequest, Message, ThinkingConfig

LEAST_BUDGET = 1024
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_ROOM_FOR_ANSWER = 4096

Notify = Callable[[str, str, str | None], None]


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """What goes out: `thinking`, `output_config.effort`, and the `max_tokens` that leave room for both."""

    config: dict[str, Any] | None = None
    effort: str | None = None
    max_tokens: int


def thinking_of(
    request: CompletionRequest,
    card: Capabilities,
    *,
    max_tokens: int,
    most_tokens: int | None,
    is_forced: bool,
    notice: Notify,
) -> Thought:
    """`max_tokens` is what would be sent; `most_tokens` how far it may be raised, None where the caller chose
    it himself. `is_forced` says that the model must call a tool."""
    wanted = request.thinking
    if wanted is None:
        return Thought(max_tokens=max_tokens)
    style = card.thinking_style
    effort, config = _effort(wanted.effort, notice), None
    is_off = wanted.enabled is False or wanted.effort == "none"
    if style == "none":
        if not is_off:
            notice("dropped", "the model does not think", "thinking")
        return Thought(max_tokens=max_tokens)
    if is_off:
        config, effort = _off(card.thinking_off, effort, notice)
        return Thought(config=config, effort=effort, max_tokens=max_tokens)
    budget = _budget(wanted, style, notice)
    if budget is not None:
        config, max_tokens = _with_budget(request, budget, max_tokens, most_tokens, is_forced, notice)
        if wanted.budget_tokens is None:
            effort = None  # it is the budget now
    elif wanted.adaptive or wanted.enabled or wanted.budget_tokens is not None:
        if style != "effort":
            config = {"type": "adaptive"}
        if effort is None and wanted.budget_tokens is not None:
            effort = efforts.effort_of(wanted.budget_tokens)
            notice("changed", f"the model takes no thinking budget: asked for effort {effort}", "thinking")
    if wanted.display is not None and config is not None:
        config["display"] = wanted.display
    elif wanted.display is not None:
        notice("dropped", "whether thoughts are shown is said only with how to think", "thinking.display")
    return Thought(config=config, effort=effort, max_tokens=max_tokens)


def _off(word: ThinkingOff | None, effort: str | None, notice: Notify) -> tuple[dict[str, Any] | None, str | None]:
    """How "do not think" is said, and the effort beside it."""
    if word == "never":
        effort = effort or "low"
        notice("changed", f"the model always thinks: asked for effort {effort}", "thinking")
        return None, effort
    if word == "between_tools":
        notice("changed", "the model does not think before its answer, but may between tools", "thinking")
        if effort in ("xhigh", "max"):
            notice("changed", f"effort {effort} sent as high, the most without thinking", "reasoning_effort")
            effort = "high"
    return {"type": word or "disabled"}, effort


def _effort(effort: str | None, notice: Notify) -> str | None:
    if effort == "minimal":
        notice("changed", "effort minimal sent as low", "reasoning_effort")
        return "low"
    if effort is None or effort == "none" or effort in _EFFORTS:
        return None if effort == "none" else effort
    notice("dropped", f"no effort is called {effort!r} here", "reasoning_effort")
    return None


def _budget(wanted: ThinkingConfig, style: ThinkingStyle | None, notice: Notify) -> int | None:
    """The number of tokens to ask for; None where it is not to be said as a number."""
    if wanted.budget_tokens is not None and not wanted.adaptive:
        return wanted.budget_tokens if style in (None, "budget") else None
    if style == "budget" and (wanted.enabled or wanted.adaptive):
        if wanted.adaptive:
            notice("changed", "the model takes a budget for thinking only: it got one", "thinking")
        return wanted.budget_tokens or efforts.budget_of(wanted.effort or "medium")
    return None


def _with_budget(
    request: CompletionRequest,
    budget: int,
    max_tokens: int,
    most_tokens: int | None,
    is_forced: bool,
    notice: Notify,
) -> tuple[dict[str, Any] | None, int]:
    """`enabled` with its budget, at least 1024 and below max_tokens, or nothing where it cannot be."""
    if is_forced:
        notice("dropped", "the service does not think before a tool that it is forced to call", "thinking")
        return None, max_tokens
    if not _may_go_on(request.messages):
        notice("dropped", "earlier tool calls of this turn came without signed thoughts", "thinking")
        return None, max_tokens
    if most_tokens is not None and max_tokens < budget + _ROOM_FOR_ANSWER:
        max_tokens = max(max_tokens, min(most_tokens, budget + _ROOM_FOR_ANSWER))
    fitting = max(budget, LEAST_BUDGET)
    if fitting >= max_tokens:
        fitting = max(max_tokens * 4 // 5, LEAST_BUDGET)
    if fitting >= max_tokens:
        notice("dropped", f"max_tokens {max_tokens} leaves no room for thinking", "thinking")
        return None, max_tokens
    if fitting != budget:
        notice("changed", f"a thinking budget of {budget} tokens sent as {fitting}", "thinking")
    return {"type": "enabled", "budget_tokens": fitting}, max_tokens


def _may_go_on(messages: Sequence[Message]) -> bool:
    """Whether the turn that the model goes on with began with a thought it can check, or is a new one.

    With a budget, tool calls without a signed thought before them are answered with 400: "Expected
    `thinking` or `redacted_thinking`, but found `tool_use`". In adaptive mode they are not.
    """
    has_calls = False
    for message in reversed(messages):
        if message.role == "assistant":
            if any(isinstance(part, Thinking) and is_proven_by(ANTHROPIC, part) for part in message.content):
                return True
            has_calls = has_calls or any(isinstance(part, ToolCall) for part in message.content)
        elif message.content and not any(isinstance(part, ToolResult) for part in message.content):
            break
    return not has_calls


def refused_sampling(name: str, value: float, card: Capabilities, *, thinks: bool, has_temperature: bool) -> str | None:
    """Why temperature, top_p or top_k may not be sent; None where it may. `has_temperature`: that is sent already."""
    if card.sampling is False:
        return f"the model takes no {name}"
    if thinks and _is_refused_while_thinking(name, value):
        return f"no such {name} is taken while the model thinks"
    if name == "top_p" and has_temperature and card.temperature_with_top_p is False:
        return "the model takes a temperature or a top_p, not both"
    return None


def _is_refused_while_thinking(name: str, value: float) -> bool:
    return (name == "temperature" and value != 1) or name == "top_k" or (name == "top_p" and value < 0.95)
