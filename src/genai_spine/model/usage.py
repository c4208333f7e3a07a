"""What the parts of one answer used, added up. Every counter counts: one that is added to the model is one here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from genai_spine.model.response import TokenUsage, UsageDetails

S = TypeVar("S", TokenUsage, UsageDetails)


def together(one: TokenUsage | None, other: TokenUsage | None) -> TokenUsage | None:
    """Both. What only one of them counted is as much as that said; but a price that a service reported of one alone is
    not what both cost, and what was served in two ways has no price as a whole."""
    if one is None or other is None:
        return other if one is None else one
    tier = one.service_tier if one.service_tier == other.service_tier else None
    reported: Decimal | None = None
    if one.reported_cost_usd is not None and other.reported_cost_usd is not None:
        reported = one.reported_cost_usd + other.reported_cost_usd
    both = _added(one, other, service_tier=tier, reported_cost_usd=reported)
    if one.service_tier != other.service_tier:
        tiers = f"service tiers {one.service_tier or 'standard'} and {other.service_tier or 'standard'}"
        details = _added(both.details or UsageDetails(), UsageDetails(unpriced=(tiers,)))
        both = msgspec.structs.replace(both, details=details)
    return both


def _added(one: S, other: S, **told: Any) -> S:
    names = [name for name in one.__struct_fields__ if name not in told]
    return type(one)(**{name: _sum(getattr(one, name), getattr(other, name)) for name in names}, **told)


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    match one:
        case bool():
            return one or other
        case int() | float() | Decimal():
            return one + other
        case UsageDetails():
            return _added(one, other)
        case TokenUsage():
            return together(one, other)
        case tuple():
            return tuple(dict.fromkeys((*one, *other)))
        case Mapping():
            return {**one, **other}
    raise TypeError(f"no sum of {type(one).__name__}")
