"""What an attempt that is over costs by the prices of another day, or by today's lists where these were mended.

`DatedPrices` says which price that is, `reprice` what comes of it. Pure: reads no ledger and changes none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Literal

import msgspec

from genai_spine.model.card import ModelCard, Price
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import REPORTED, cost_of, nanousd

_DAY_S = 86_400
_MOST_NANOUSD = 10**17
"""No call costs so much: its counts cannot be."""
_MOST = 100_000
"""Prices that are kept at hand: of each model, for each day that was asked for."""

Outcome = Literal["same", "changed", "known", "reported", "no_price", "no_counts", "not_whole"]
"""`changed`: another cost. `known`: it was not known before. The others leave the attempt as it is: `reported` by the
provider itself, `no_price` that is known, `no_counts` of tokens to multiply with, `not_whole` where it was broken off:
more is charged than was counted."""


class Repriced(msgspec.Struct, frozen=True, gc=False):
    outcome: Outcome
    cost_nanousd: int | None
    """By the price; as it was where that leaves it."""
    price: Price | None = None

    @property
    def is_new(self) -> bool:
        return self.outcome in ("changed", "known")


def reprice(
    usage: TokenUsage | None,
    stood: int | None,
    source: str | None,
    price: Price | None,
    *,
    is_whole: bool = True,
    reported: bool = False,
) -> Repriced:
    """`stood` is what the attempt costs as yet, in nano-dollars, by a price of `source`; `price` is that of its tier.
    `is_whole`: it was answered; what failed or was left costs nothing, or nobody knows what.

    A cost that is known never becomes unknown. What the provider has reported itself stands, unless `reported`.
    """
    if usage is None or not is_whole:
        if stood is not None:
            return Repriced("same", stood)
        return Repriced("no_counts" if usage is None else "not_whole", None)
    if source == REPORTED and not reported:
        return Repriced("reported", stood)
    cost = nanousd(cost_of(usage, price))
    if cost is None or cost > _MOST_NANOUSD:
        return Repriced("no_price", stood)
    if cost == stood:
        return Repriced("same", stood)
    return Repriced("known" if stood is None else "changed", cost, price)


class DatedPrices:
    """The prices of models at moments. `card_of` gives a provider's model, or None where nobody knows the provider.

    With a day `as_of` they are those of that day, at the hour of the attempt; without, each attempt's own.
    """

    def __init__(self, card_of: Callable[[str, str], ModelCard | None], as_of: date | None = None) -> None:
        self._card_of = card_of
        self._as_of = as_of
        self._cards: dict[tuple[str, str], ModelCard | None] = {}
        self._by_hour: dict[tuple[str, str], bool] = {}
        self._prices: dict[tuple[str, str, str | None, int], Price | None] = {}

    def card(self, provider: str, model: str) -> ModelCard | None:
        key = provider, model
        if key not in self._cards:
            if len(self._cards) >= _MOST:  # callers make up names
                self._cards.clear()
                self._by_hour.clear()
            card = self._cards[key] = self._card_of(provider, model)
            self._by_hour[key] = card is not None and any(price.hours is not None for price in card.prices)
        return self._cards[key]

    def at(self, provider: str, model: str, service: str | None, begun_at: float) -> Price | None:
        """The price of a call that began at a moment, in seconds since 1970; None where none is known."""
        card = self.card(provider, model)
        if card is None:
            return None
        if self._by_hour[provider, model]:
            return card.price_at(self._moment(begun_at), service)
        key = provider, model, service, int(begun_at // _DAY_S)
        if key not in self._prices:
            if len(self._prices) >= _MOST:
                self._prices.clear()
            self._prices[key] = card.price_at(self._moment(begun_at), service)
        return self._prices[key]

    def _moment(self, begun_at: float) -> datetime:
        moment = datetime.fromtimestamp(begun_at, UTC)
        return moment if self._as_of is None else datetime.combine(self._as_of, moment.timetz())
