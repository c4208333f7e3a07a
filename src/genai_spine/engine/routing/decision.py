"""Whom a request is sent to, in which order and on which terms; and why."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Literal

import msgspec

from genai_spine.policy.route import Choice
from genai_spine.settings import TimeoutOverrides

Count = Callable[[str], tuple[int, int]]
"""Tokens in and out of a request, as a model counts them."""


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """One target that a request could have been sent to. Times are seconds; None is not known."""

    provider: str
    model: str | None
    place: int | None
    """When it is asked, from 1; None: it is not."""
    reason: str
    """Why it is asked then, or not at all."""
    health: str
    """closed: it is well; open: it is left alone for a while; half_open: one call may try."""
    is_local: bool
    rank: int | None
    """Its place in the ranking of models, from 1, where that was asked."""
    weight: float
    in_flight: int
    first_s: float | None
    """To the first token, as measured."""
    tokens_per_s: float | None
    input_tokens: int | None
    cost_usd: Decimal | None
    """Estimated, for an answer of ordinary length or of `max_tokens`, whichever is shorter."""
    context_window: int | None


def passing_over(candidates: tuple[Considered, ...], why: Callable[[Choice], str | None]) -> tuple[Considered, ...]:
    """The candidates as they are asked where some of them are not, and why those are not."""
    told: list[Considered] = []
    place = 0
    for each in candidates:
        reason = why(Choice(provider=each.provider, model=each.model)) if each.place is not None else None
        if reason is not None:
            told.append(msgspec.structs.replace(each, place=None, reason=reason))
        elif each.place is not None:
            place += 1
            told.append(msgspec.structs.replace(each, place=place))
        else:
            told.append(each)
    return tuple(sorted(told, key=lambda each: each.place is None))


class LeftOut(msgspec.Struct, frozen=True):
    """A target that is not asked, or not before all the others, and why."""

    choice: Choice
    reason: str
    is_last: bool = False
    """Whether it is asked after the others."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`choices` are asked in order, until one answers."""

    choices: tuple[Choice, ...]
    route: str | None = None
    """The route that the request named."""
    strategy: str = "ordered"
    on_break: Literal["error", "continue"] = "error"
    on_context_length: Literal["error", "fallback"] = "error"
    on_content_filter: Literal["error", "fallback"] = "error"
    timeouts: TimeoutOverrides | None = None
    """The route's own."""
    session: tuple[str | None, str, str | None] | None = None
    """Under which the target that answers is remembered; see `Router.keep`."""
    is_kept: bool = False
    """Whether the first one is first because it answered this session before."""
    left_out: tuple[LeftOut, ...] = ()
    explain: Callable[[Decision, Count | None], tuple[Considered, ...]] | None = None

    def considered(self, count: Count | None = None) -> tuple[Considered, ...]:
        """Every candidate, those that are asked first and in order; with numbers of tokens each with its price."""
        return self.explain(self, count) if self.explain is not None else ()


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its reasons, for people and programs: what `spine route explain` and `/v1/route` show."""

    route: str | None
    strategy: str
    candidates: tuple[Considered, ...]
    not_local: tuple[str, ...] = ()
    """Targets that `routing.local_only` leaves out."""
    on_break: str = "error"
    on_context_length: str = "error"
    on_content_filter: str = "error"
    session: str | None = None
