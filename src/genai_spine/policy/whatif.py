"""What an attempt would have cost on another model, and why it sometimes cannot be said.

Tokens are taken as they were counted. Another model's tokenizer would have made others of the same text:
`token_ratio` is by how much, after the texts that each family's weights were fitted to (tokens.py), where these can
tell. Pure.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

import msgspec

from genai_spine.catalog.names import plain
from genai_spine.model.card import ModelCard, Price
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of
from genai_spine.policy.tokens import FAMILIES, family_of, load_weights, vocabulary_of

Reason = Literal["no_counts", "vectors", "media", "beside", "too_long", "service", "cache", "price", "unknown"]
REASONS: dict[Reason, str] = {
    "no_counts": "no tokens were told of",
    "vectors": "vectors or scores, which that model does not give",
    "media": "sound, images or video, which every model counts otherwise",
    "beside": "searches, pages or seconds, which are charged beside tokens",
    "too_long": "longer than that model's window",
    "service": "served in a tier that has no price there",
    "cache": "caches that have no price there",
    "price": "no price there for what was used",
    "unknown": "what it did cost is not known",
}
_MEDIA = (
    "cached_audio_tokens", "image_input_tokens", "image_output_tokens", "cached_image_tokens", "video_input_tokens",
    "video_output_tokens", "audio_input_s",
)  # fmt: skip
_COUNTS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "reasoning_tokens",
)  # fmt: skip
_CREDIBLE = (0.8, 1.6)
"""Tokenizers of our time differ by no more; a weight outside was fitted to too little text to say anything."""


def would_cost(usage: TokenUsage, card: ModelCard, price: Price | None, *, is_same: bool = False) -> Decimal | Reason:
    """USD of the same counts on a model of that card, by its `price`; or why that cannot be compared.

    `is_same`: it is the model that has answered, and what it counted is what it would count.
    """
    if price is None:
        return "service" if usage.service_tier is not None else "price"
    if not is_same and (reason := _incomparable(usage, card)) is not None:
        return reason
    cost = cost_of(usage, price)
    if cost is not None:
        return cost
    rates = price.rates(usage.input_tokens or 0)
    is_cached = usage.cache_read_tokens and rates.cached_input is None
    is_written = usage.cache_write_tokens and (rates.cache_write is None or rates.cache_write_1h is None)
    return "cache" if is_cached or is_written else "price"


def _incomparable(usage: TokenUsage, card: ModelCard) -> Reason | None:
    details = usage.details
    if not usage.output_tokens and card.price is not None and card.price.output is not None:
        return "vectors"
    if usage.audio_input_tokens or usage.audio_output_tokens:
        return "media"
    if details is not None and any(getattr(details, name) for name in _MEDIA):
        return "media"
    if usage.compute_s is not None or details is not None:
        return "beside"
    if card.context_window is not None and (usage.input_tokens or 0) > card.context_window:
        return "too_long"
    return None


def token_ratio(of: str, to: str) -> Decimal | None:
    """How many tokens the model `to` counts for a token of the model `of`, of ordinary text; None where nobody knows.

    An estimate: what surrounds messages and tools is in neither.
    """
    if _is_told(of) and _is_told(to):
        before, after = family_of(of), family_of(to)
        if before == after:
            return Decimal(1)
        weights = [load_weights().families[family].text for family in (before, after)]
        is_credible = all(_CREDIBLE[0] <= weight <= _CREDIBLE[1] for weight in weights)
        if is_credible and vocabulary_of(before) == vocabulary_of(after):
            return Decimal(repr(round(weights[1] / weights[0], 3)))
    return None


def corrected(usage: TokenUsage, ratio: Decimal) -> TokenUsage:
    """The counts as another tokenizer would have made them, rounded."""
    counts = {
        name: int((count * ratio).to_integral_value(ROUND_HALF_EVEN))
        for name in _COUNTS
        if (count := getattr(usage, name)) is not None
    }
    return msgspec.structs.replace(usage, **counts)


def _is_told(model: str) -> bool:
    """Whether a name tells the model's family: what no name tells is counted as OpenAI's."""
    family = family_of(model)
    return family in load_weights().families and re.search(FAMILIES[family], plain(model)) is not None
