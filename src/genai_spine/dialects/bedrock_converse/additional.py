"""What only some makers' models take, said in `additionalModelRequestFields`: how much to think, and top_k.

Anthropic's models take their own `thinking` and `output_config`, with the rules of Anthropic's own service;
Nova 2 takes `reasoningConfig` (docs.aws.amazon.com/nova/latest/nova2-userguide/using-converse-api.html); gpt-oss
and Qwen take an effort (recorded 200s). Read 2026-11. For any other maker's model the caller's own
`additionalModelRequestFields` go through, and what we would have to guess is left out with a Notice.
"""

from __future__ import annotations

from typing import Any

from genai_spine.dialects import effort as efforts
from genai_spine.dialects.anthropic_messages.thinking import Notify, thinking_of
from genai_spine.dialects.bedrock_ids import bare_id, maker_of
from genai_spine.dialects.interface import Target
from genai_spine.model.request import CompletionRequest, ThinkingConfig

# What a model of Anthropic's can write where its card says nothing: only to judge a thinking budget by.
_MOST_TOKENS = 64_000

_EFFORT_FIELDS = {"openai": "reasoning_effort", "qwen": "reasoning_config"}
_EFFORTS = ("low", "medium", "high")


def thinking_fields(request: CompletionRequest, target: Target, *, is_forced: bool, notice: Notify) -> dict[str, Any]:
    """The fields that ask for as much thinking as the request wants. `is_forced`: a tool must be called."""
    wanted = request.thinking
    if wanted is None:
        return {}
    maker = maker_of(target.model)
    if maker == "anthropic":
        return _anthropic(request, target, is_forced=is_forced, notice=notice)
    if bare_id(target.model).startswith("amazon.nova-2"):
        return {"reasoningConfig": _nova(wanted, notice)}
    field = _EFFORT_FIELDS.get(maker or "")
    if field is None or _is_off(wanted):
        why = "how it is told to think is not known" if field is None else "it cannot be told not to think"
        notice("dropped", f"{target.model}: {why}", "thinking")
        return {}
    return {field: _effort(wanted, notice)}


def _anthropic(request: CompletionRequest, target: Target, *, is_forced: bool, notice: Notify) -> dict[str, Any]:
    """The service takes the model's limit where `maxTokens` is left out, so a budget need not fit a smaller one."""
    thought = thinking_of(
        request,
        target.card.capabilities,
        max_tokens=request.max_tokens or target.card.max_output_tokens or _MOST_TOKENS,
        most_tokens=None,
        is_forced=is_forced,
        notice=notice,
    )
    fields: dict[str, Any] = {}
    if thought.config is not None:
        fields["thinking"] = thought.config
    if thought.effort is not None:
        fields["output_config"] = {"effort": thought.effort}
    return fields


def _nova(wanted: ThinkingConfig, notice: Notify) -> dict[str, Any]:
    if _is_off(wanted):
        return {"type": "disabled"}
    return {"type": "enabled", "maxReasoningEffort": _effort(wanted, notice)}


def _is_off(wanted: ThinkingConfig) -> bool:
    return wanted.enabled is False or wanted.effort == "none"


def _effort(wanted: ThinkingConfig, notice: Notify) -> str:
    """One of the three efforts that are taken; a Notice where the caller said it otherwise."""
    if wanted.effort in _EFFORTS:
        return str(wanted.effort)
    if wanted.effort is not None:
        effort = {"minimal": "low", "xhigh": "high", "max": "high"}.get(wanted.effort, "medium")
    else:
        effort = efforts.effort_of(wanted.budget_tokens) if wanted.budget_tokens is not None else "medium"
    notice("changed", f"the model takes an effort of low, medium or high: asked for {effort}", "thinking")
    return effort


def top_k_fields(top_k: int, model: str) -> dict[str, Any] | None:
    """None where it is not known how the model takes it."""
    if maker_of(model) == "anthropic":
        return {"top_k": top_k}
    return {"inferenceConfig": {"topK": top_k}} if bare_id(model).startswith("amazon.nova") else None
