"""Budgets by name: `costs.budgets.<name>`, part of the tree of tree.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from genai_spine.settings.prices import doc

MOST_USD = 9_000_000.0
"""What a budget can hold: beyond it, nano-dollars are not exact in every place that counts them."""

BudgetMode = Literal["expected", "hard"]


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be spent in a window on calls of which all that is named here holds; `*` stands for any letters."""

    limit_usd: Annotated[float | None, doc("Limit in USD per window.", ge=0, le=MOST_USD)] = None
    limit_tokens: Annotated[int | None, doc("Limit in tokens per window, input and output together.", ge=0)] = None
    window: Annotated[
        Literal["day", "week", "month", "total"],
        doc("When it resets: at midnight, on Mondays, on the first of a month, or never."),
    ] = "month"
    mode: Annotated[BudgetMode | None, doc("As `costs.mode`.")] = None
    provider: Annotated[str | None, doc("Calls to this provider.")] = None
    model: Annotated[str | None, doc("Calls to this model, as `gpt-4o*` or `openai/gpt-4o*`.")] = None
    key: Annotated[str | None, doc("Calls of this caller's key, by the name that `spine usage --by key` shows.")] = None
    agent: Annotated[str | None, doc("Calls of this agent.")] = None
    tag: Annotated[str | None, doc("Calls that carry this tag.")] = None
    each: Annotated[
        Literal["provider", "model", "key", "agent", "tag"] | None,
        doc("Each of these gets its own such budget; by default all share one."),
    ] = None
