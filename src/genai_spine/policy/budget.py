"""What may be spent: windows of time, what a budget is for, and whether one more call fits. No clock of its own.

A budget counts what is spent in a window, and what calls under way have reserved. `fit` decides over all budgets
that concern a call at once: it fits into each of them, maybe with a shorter answer, or is in none. Money is whole
nano-dollars, tokens are in and out together. What a call may use is in budget_need.py; who keeps the sums, and for
how many processes, is engine/costs/budgets.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from fnmatch import fnmatchcase
from math import ceil, floor, inf
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from genai_spine.policy.budget_need import LEAST_ANSWER, Amount, Need

Window = Literal["day", "week", "month", "total"]
Each = Literal["provider", "model", "key", "agent", "tag"]

FAR = 2**53 - 1
"""More nano-dollars than any limit: some nine million dollars, which a double still holds exactly."""


class BudgetLevel(msgspec.Struct, frozen=True, kw_only=True):
    """A budget has reached a share of its limit: told once for each window."""

    budget: str
    window: str
    window_starts: datetime
    resets_at: datetime | None
    level: float
    """0.8 (`alert_threshold`) or 1.0."""
    limit_nanousd: int | None
    spent_nanousd: int
    limit_tokens: int | None
    spent_tokens: int
    provider: str | None


# ---------------------------------------------------------------- windows


class Span(NamedTuple):
    """From when to when a window is, in seconds since 1970; `ends_s` is inf for one that never ends."""

    starts_s: float
    ends_s: float


def zone_of(name: str) -> tzinfo:
    """UTC needs no database of time zones, which small machines and containers do not have. Raises: as ZoneInfo."""
    return UTC if name == "UTC" else ZoneInfo(name)


def span_of(window: Window, at_s: float, zone: str = "UTC") -> Span:
    """The window that a moment lies in. Days, weeks (from Monday on) and months begin at midnight in the zone: a day
    on which clocks are changed is 23 or 25 hours long."""
    if window == "total":
        return Span(0.0, inf)
    tz = zone_of(zone)
    day = datetime.fromtimestamp(floor(at_s), tz).date()  # which would round up to the next one
    match window:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            after = (first + timedelta(days=32)).replace(day=1)
    return Span(_midnight(first, tz), _midnight(after, tz))


def _midnight(day: date, tz: tzinfo) -> float:
    """The first moment of a day; where clocks are put forward over midnight, that is after it."""
    return datetime.combine(day, time(), tz).timestamp()


def moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds != inf else None


# ---------------------------------------------------------------- budgets


class Subject(NamedTuple):
    """Of what a budget may be: one attempt. `key` is the name of the caller's."""

    provider: str
    model: str
    key: str | None = None
    agent: str | None = None
    tags: tuple[str, ...] = ()


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent in a window on what all of its patterns fit. `*` stands for any letters.

    With `each` everyone has such a budget of their own. Without a limit it only counts.
    """

    name: str
    window: Window = "month"
    zone: str = "UTC"
    limit_nanousd: int | None = None
    limit_tokens: int | None = None
    is_hard: bool = False
    refuses_unknown: bool = True
    """Whether a call whose price is not known is refused; else it counts for nothing."""
    by_estimate: bool = False
    """Whether a hard one takes a call's input for as long as it is estimated to be, not for the most that it can be."""
    is_closed_alone: bool = False
    """Whether nothing is spent while the server that counts for several processes is away."""
    alert_at: float = 0.8
    provider: str | None = None
    model: str | None = None
    key: str | None = None
    agent: str | None = None
    tag: str | None = None
    each: Each | None = None

    @property
    def is_limited(self) -> bool:
        return self.limit_nanousd is not None or self.limit_tokens is not None

    def whose(self, subject: Subject) -> tuple[str, ...]:
        """Whose sums an attempt counts in: one "" where everybody shares them, none where it is not meant."""
        values = (
            (self.provider, subject.provider),
            (self.key, subject.key),
            (self.agent, subject.agent),
        )
        for pattern, value in values:
            if pattern is not None and (value is None or not fnmatchcase(value, pattern)):
                return ()
        if self.model is not None and not fits_model(self.model, subject.provider, subject.model):
            return ()
        tags = subject.tags if self.tag is None else tuple(tag for tag in subject.tags if fnmatchcase(tag, self.tag))
        if self.tag is not None and not tags:
            return ()
        match self.each:
            case None:
                return ("",)
            case "tag":
                return tuple(dict.fromkeys(tags))
            case "model":
                return (f"{subject.provider}/{subject.model}",)
            case name:
                own: str | None = getattr(subject, name)
                return (own,) if own is not None else ()


def fits_model(pattern: str, provider: str, model: str) -> bool:
    """`gpt-4o*` is of any provider, `openai/gpt-4o*` of one."""
    return fnmatchcase(model, pattern) or fnmatchcase(f"{provider}/{model}", pattern)


class Tally:
    """The sums of one budget, or of one of those who have it each, in one window."""

    __slots__ = (
        "__weakref__", "_told", "alert_nanousd", "alert_tokens", "budget", "ends_s", "is_hard", "limit_nanousd",
        "limit_tokens", "reserved_nanousd", "reserved_tokens", "spent_nanousd", "spent_tokens", "starts_s", "whose",
    )  # fmt: skip

    def __init__(self, budget: Budget, whose: str, span: Span) -> None:
        self.budget = budget
        self.is_hard = budget.is_hard
        self.limit_nanousd = FAR if budget.limit_nanousd is None else budget.limit_nanousd
        self.limit_tokens = FAR if budget.limit_tokens is None else budget.limit_tokens
        self.whose = whose
        self.starts_s, self.ends_s = span
        self.spent_nanousd = self.spent_tokens = 0
        self.reserved_nanousd = self.reserved_tokens = 0
        self._told = 0
        self._set_alert()

    @property
    def name(self) -> str:
        return f"{self.budget.name}[{self.whose}]" if self.whose else self.budget.name

    @property
    def left_nanousd(self) -> int:
        return self.limit_nanousd - self.spent_nanousd - self.reserved_nanousd

    @property
    def left_tokens(self) -> int:
        return self.limit_tokens - self.spent_tokens - self.reserved_tokens

    @property
    def is_holding(self) -> bool:
        """Whether calls under way have reserved anything of it."""
        return self.reserved_nanousd > 0 or self.reserved_tokens > 0

    def has_left(self, amount: Amount, *, and_reserved: bool = False) -> bool:
        """Whether so much is left; `and_reserved`: if what is reserved were free, too."""
        nanousd, tokens = self.left_nanousd, self.left_tokens
        if and_reserved:
            nanousd, tokens = nanousd + self.reserved_nanousd, tokens + self.reserved_tokens
        # What costs nothing passes, even where less than nothing is left.
        return (amount.nanousd <= nanousd or not amount.nanousd) and (amount.tokens <= tokens or not amount.tokens)

    @property
    def is_exhausted(self) -> bool:
        limit_nanousd, limit_tokens = self.budget.limit_nanousd, self.budget.limit_tokens
        return (limit_nanousd is not None and self.spent_nanousd >= limit_nanousd) or (
            limit_tokens is not None and self.spent_tokens >= limit_tokens
        )

    def reserve(self, nanousd: int, tokens: int) -> None:
        self.reserved_nanousd += nanousd
        self.reserved_tokens += tokens

    def settle(self, reserved: Amount, nanousd: int, tokens: int) -> None:
        """What was reserved is free again, and this much spent."""
        self.reserved_nanousd -= reserved.nanousd
        self.reserved_tokens -= reserved.tokens
        self.spent_nanousd += nanousd
        self.spent_tokens += tokens

    def has_room_for(self, more: Amount, mine: Amount) -> bool:
        """Whether a call that holds `mine` may hold more. A hard budget has room for what nobody else holds; an
        expected one for what is not spent, since the others may well need less than they hold."""
        if self.budget.is_hard:
            return more.nanousd <= self.left_nanousd and more.tokens <= self.left_tokens
        return (
            more.nanousd <= self.left_nanousd + self.reserved_nanousd - mine.nanousd
            and more.tokens <= self.left_tokens + self.reserved_tokens - mine.tokens
        )

    # ------------------------------------------------------------ levels

    @property
    def reaches_level(self) -> bool:
        return self.spent_nanousd >= self.alert_nanousd or self.spent_tokens >= self.alert_tokens

    def levels_reached(self) -> list[float]:
        """The levels that are reached and were not told yet; from now on they were."""
        reached: list[float] = []
        while self.reaches_level:
            reached.append(self.levels[self._told])
            self._told += 1
            self._set_alert()
        return reached

    def refused(self) -> list[float]:
        """A call did not fit. Past `alert_at` that is the limit, though a little of it is left: the level, where it was
        not told yet."""
        nanousd, tokens = self.alert_of(self.budget.alert_at)
        is_past = self.spent_nanousd >= nanousd or self.spent_tokens >= tokens
        if not is_past or self._told >= len(self.levels):
            return []
        self._told = len(self.levels)
        self._set_alert()
        return [1.0]

    @property
    def levels(self) -> tuple[float, ...]:
        return (self.budget.alert_at, 1.0) if self.budget.alert_at < 1 else (1.0,)

    def alert_of(self, level: float) -> tuple[int, int]:
        """At what is spent a level is reached: nano-dollars, tokens."""
        budget = self.budget
        return (
            FAR if budget.limit_nanousd is None else ceil(level * budget.limit_nanousd),
            FAR if budget.limit_tokens is None else ceil(level * budget.limit_tokens),
        )

    def _set_alert(self) -> None:
        levels = self.levels
        self.alert_nanousd, self.alert_tokens = (
            self.alert_of(levels[self._told]) if self._told < len(levels) else (FAR, FAR)
        )

    def level(self, level: float) -> BudgetLevel:
        budget = self.budget
        return BudgetLevel(
            budget=self.name,
            window=budget.window,
            window_starts=datetime.fromtimestamp(self.starts_s, UTC),
            resets_at=moment(self.ends_s),
            level=level,
            limit_nanousd=budget.limit_nanousd,
            spent_nanousd=self.spent_nanousd,
            limit_tokens=budget.limit_tokens,
            spent_tokens=self.spent_tokens,
            provider=self.whose if budget.each == "provider" else budget.provider,
        )


# ---------------------------------------------------------------- whether a call fits


class Fitting(NamedTuple):
    """A call fits: so much is reserved in each tally, and its answer may be so long; None: as long as it asks for."""

    amounts: tuple[Amount, ...]
    max_tokens: int | None
    of: Tally | None
    """Whose limit it is that makes the answer shorter."""
    output: int
    """How long an answer is expected to be, as far as there is room for that."""


Why = Literal["exhausted", "reserved", "unknown_price", "away"]


class Unfitting(NamedTuple):
    """A call does not fit. `reserved`: it may, once calls under way are settled; `away`: nobody knows, since the server
    that counts for all processes does not answer."""

    tally: Tally
    why: Why


def fit(tallies: Sequence[Tally], need: Need) -> Fitting | Unfitting:
    """What to reserve in all of these for one call, or the first that it does not fit into.

    A hard budget reserves the most that the call can use. Where that is more than is left, the answer is made
    shorter: at once if it may still be as long as answers are, otherwise only when nothing is reserved any more,
    since what others hold comes back for the greater part.
    """
    cap = need.most_output
    capped_by: Tally | None = None
    is_bounded = has_hard = False
    is_priceless = need.tariff is None and not need.is_free
    for tally in tallies:
        is_priced = not need.is_free and tally.limit_nanousd != FAR
        if is_priceless and is_priced:
            if tally.budget.refuses_unknown:
                return Unfitting(tally, "unknown_price")
            is_priced = False
        if not tally.is_hard:
            continue
        has_hard = True
        is_bounded = is_bounded or is_priced or tally.limit_tokens != FAR
        mine = need.by_estimate() if tally.budget.by_estimate else need
        longest = _longest(tally, mine, is_priced)
        if longest is None or longest >= cap:
            continue
        if longest < need.least_output:
            return Unfitting(tally, _why(tally, mine, is_priced, need.least_output))
        if longest < need.output and tally.is_holding:
            return Unfitting(tally, "reserved")
        cap, capped_by = longest, tally
    expected = need.expected(cap)
    nanousd, tokens = expected
    most = need.most(cap) if has_hard else expected
    output = min(need.output, cap)
    amounts: list[Amount] = []
    for tally in tallies:
        if tally.is_hard:
            amounts.append(need.by_estimate().most(cap) if tally.budget.by_estimate else most)
            continue
        if (not nanousd or nanousd <= tally.limit_nanousd - tally.spent_nanousd - tally.reserved_nanousd) and (
            not tokens or tokens <= tally.limit_tokens - tally.spent_tokens - tally.reserved_tokens
        ):
            amounts.append(expected)
            continue
        if not tally.has_left(need.expected(min(cap, LEAST_ANSWER)), and_reserved=True):
            return Unfitting(tally, "exhausted")
        if tally.is_holding:
            return Unfitting(tally, "reserved")
        # Alone it may have the rest, or a small budget could never be used up: it may well need less than is expected.
        amounts.append(Amount(min(nanousd, max(0, tally.left_nanousd)), min(tokens, max(0, tally.left_tokens))))
        output = min(output, max(LEAST_ANSWER, need.output_within(tally.left_nanousd, tally.left_tokens)))
    is_shorter = capped_by is not None or (need.is_unbounded and is_bounded)
    return Fitting(tuple(amounts), cap if is_shorter else None, capped_by, output)


def _longest(tally: Tally, need: Need, is_priced: bool) -> int | None:
    """How long an answer fits, in tokens; negative: not even the input does. None: it has no bound here."""
    longest: int | None = None
    if is_priced and need.tariff is not None:
        longest = need.tariff.output_within(tally.left_nanousd, need.most_input)
    if tally.limit_tokens != FAR:
        by_tokens = tally.left_tokens - need.most_input
        longest = by_tokens if longest is None else min(longest, by_tokens)
    return longest


def _why(tally: Tally, need: Need, is_priced: bool, least: int) -> Why:
    """Whether it would fit if all that is under way cost nothing."""
    if is_priced and need.tariff is not None:
        left = tally.left_nanousd + tally.reserved_nanousd
        if need.tariff.most(need.most_input, least) > left:
            return "exhausted"
    if need.most_input + least > tally.left_tokens + tally.reserved_tokens:
        return "exhausted"
    return "reserved"
