"""Prices of one's own: `providers.<id>.cost`, part of the tree of tree.py. How a key is documented is here, too."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


def doc(text: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None) -> msgspec.Meta:
    """What is said about a key: its line in the reference, and its bounds."""
    if gt is not None:
        return msgspec.Meta(description=text, gt=gt, le=le)
    return msgspec.Meta(description=text, ge=ge, le=le)


class ModelCostSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price of a model, where the catalog's is not yours. What is left out is as in the catalog."""

    input_cost_per_1k: Annotated[float | None, doc("Price of 1,000 input tokens.", ge=0)] = None
    output_cost_per_1k: Annotated[float | None, doc("Price of 1,000 output tokens.", ge=0)] = None
    input_cost_per_1m: Annotated[float | None, doc("Price of a million input tokens.", ge=0)] = None
    output_cost_per_1m: Annotated[float | None, doc("Price of a million output tokens.", ge=0)] = None
    cached_input_cost_per_1m: Annotated[
        float | None, doc("Price of a million tokens read from a cache; if unknown, as input.", ge=0)
    ] = None
    cache_write_cost_per_1m: Annotated[float | None, doc("Price of a million tokens written to a cache.", ge=0)] = None
    cache_write_1h_cost_per_1m: Annotated[
        float | None, doc("Price of a million tokens written to a cache for an hour.", ge=0)
    ] = None
    reasoning_cost_per_1m: Annotated[
        float | None, doc("Price of a million reasoning tokens; if unknown, as output.", ge=0)
    ] = None
    audio_input_cost_per_1m: Annotated[
        float | None, doc("Price of a million audio input tokens; if unknown, as input.", ge=0)
    ] = None
    audio_output_cost_per_1m: Annotated[
        float | None, doc("Price of a million audio output tokens; if unknown, as output.", ge=0)
    ] = None
    request_cost: Annotated[float | None, doc("Fee of one request.", ge=0)] = None
    search_cost: Annotated[float | None, doc("Price of one web search.", ge=0)] = None
    second_cost: Annotated[
        float | None, doc("Price of a second of compute, where answers report it (Replicate).", ge=0)
    ] = None


class CostSettings(ModelCostSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price of a provider's models, in USD; zeros are free."""

    currency: Annotated[Literal["USD"], doc("Only USD is supported.")] = "USD"
    models: Annotated[
        dict[str, ModelCostSettings],
        doc('Prices of individual models, by name; `*` matches anything: `[providers.x.cost.models."gpt-4o*"]`.'),
    ] = {}
