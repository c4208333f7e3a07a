"""What holds of a model today: the price in force, and that it is retired. Worked out once, good until a date.

A price begins with a day, some are those of certain hours, and a model is retired on a day: between two of
these moments nothing changes, so a provider keeps the answer for each of its models until the next. All UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from math import inf

import msgspec

from genai_spine.model.card import ModelCard, Price
from genai_spine.model.response import Notice

RETIRED = "retired_model"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model, until `until_s` (seconds since 1970): its price and what every answer of it says beside."""

    price: Price | None = None
    services: dict[str, Price] = {}
    """What another way of asking costs now, by its name: "batch", "flex", "priority" …"""
    notices: tuple[Notice, ...] = ()
    until_s: float = inf

    def price_of(self, service: str | None) -> Price | None:
        """The price of a call that was served so (`TokenUsage.service_tier`); None where that is not known."""
        return self.price if service is None else self.services.get(service)


def standing_of(card: ModelCard, now_s: float) -> Standing:
    """What holds of the model at a moment, in seconds since 1970."""
    now = datetime.fromtimestamp(now_s, UTC)
    retired = card.retired if card.retired is not None and card.retired <= now.date() else None
    return Standing(
        price=card.price_at(now),
        services={
            service: price
            for service in {price.service for price in card.prices if price.service is not None}
            if (price := card.price_at(now, service)) is not None
        },
        notices=(_retired(card, retired),) if retired is not None else (),
        until_s=min((moment.timestamp() for moment in _changes(card, now) if moment > now), default=inf),
    )


def _retired(card: ModelCard, day: date) -> Notice:
    successor = f"; {card.successor} succeeds it" if card.successor is not None else ""
    return Notice(code=RETIRED, message=f"{card.id} was retired on {day.isoformat()}{successor}", param="model")


def _changes(card: ModelCard, now: datetime) -> list[datetime]:
    """The moments at which something of the card begins or ends; those of hours are today's and tomorrow's."""
    days = [card.retired, *(price.since for price in card.prices)]
    changes = [_at(day, time()) for day in days if day is not None]
    for price in card.prices:
        for hour in price.hours or ():
            changes += [_at(now.date(), hour), _at(now.date() + timedelta(days=1), hour)]
    return changes


def _at(day: date, hour: time) -> datetime:
    return datetime.combine(day, hour, UTC)
