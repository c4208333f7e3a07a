"""What is said of budgets: why a call is refused, why a stream is cut, and how a budget stands."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

from genai_spine.ledger.reading import usd
from genai_spine.model.errors import BudgetExceeded
from genai_spine.policy.budget import Subject, Tally, Unfitting, moment
from genai_spine.policy.budget_need import LEAST_ANSWER, Amount, Need
from genai_spine.settings.budget_checks import COST_LIMIT


class BudgetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One budget, or one of those who have it each, in the window under way. None is no limit in that unit."""

    name: str
    window: str
    mode: str
    limit_usd: Decimal | None
    spent_usd: Decimal
    reserved_usd: Decimal
    left_usd: Decimal | None
    limit_tokens: int | None
    spent_tokens: int
    reserved_tokens: int
    left_tokens: int | None
    starts_at: datetime | None
    resets_at: datetime | None
    of: str | None = None
    """Whose it is, where everybody has one: `key`, `provider` …; the name stands in brackets."""


def exceeded(refused: Unfitting, subject: Subject, need: Need, now_s: float) -> BudgetExceeded:
    """Why a call is not sent."""
    tally = refused.tally
    match refused.why:
        case "unknown_price":
            target = f"{subject.provider}/{subject.model}" if subject.model else subject.provider
            mend = f'set providers.{subject.provider}.cost, or costs.unknown_price = "allow"'
            return _error(tally, f"the price of {target} is not known, and {named(tally)} is in USD: {mend}", now_s)
        case "away":
            said = "is counted by a server that does not answer, and is closed until it does"
            error = _error(tally, f"{named(tally)} {said}", now_s)
            error.status_code, error.code, error.retry_after_s = 503, "budget_unknown", 1.0
            return error
        case _:
            return no_room(tally, _least(tally, need), now_s, is_hard=tally.budget.is_hard)


def no_room(tally: Tally, needed: Amount, now_s: float, *, is_hard: bool = False) -> BudgetExceeded:
    """For a call that needs so much at least."""
    if tally.is_exhausted:
        return _error(tally, used_up(tally), now_s)
    how = "may need" if is_hard else "is likely to need"
    in_usd = tally.budget.limit_nanousd is not None and needed.nanousd
    amount = dollars(needed.nanousd) if in_usd else f"{needed.tokens:,} tokens"
    said = f"has not enough left for a call that {how} {amount}"
    return _error(tally, f"{named(tally)} {said}: {_sums(tally)}{_again(tally)}", now_s)


def cut(tally: Tally, now_s: float) -> BudgetExceeded:
    """The end of a stream for whose rest there is no room."""
    return _error(tally, f"the answer is cut: {used_up(tally)}", now_s, is_cut=True)


def used_up(tally: Tally) -> str:
    return f"{named(tally)} is used up: {_sums(tally)}{_again(tally)}"


def _error(tally: Tally, message: str, now_s: float, *, is_cut: bool = False) -> BudgetExceeded:
    budget, resets_at = tally.budget, moment(tally.ends_s)
    return BudgetExceeded(
        message,
        budget=tally.name,
        limit_nanousd=budget.limit_nanousd,
        spent_nanousd=tally.spent_nanousd,
        reserved_nanousd=tally.reserved_nanousd,
        limit_tokens=budget.limit_tokens,
        spent_tokens=tally.spent_tokens,
        resets_at_s=tally.ends_s if resets_at is not None else None,
        retry_after_s=max(1.0, tally.ends_s - now_s) if resets_at is not None else None,
        is_cut=is_cut,
    )


def named(tally: Tally) -> str:
    """What messages call it: the budget "daily_limit", or the limit that the request set for itself."""
    return "the request's cost_limit" if tally.budget.name == COST_LIMIT else f'the budget "{tally.name}"'


def _sums(tally: Tally) -> str:
    budget = tally.budget
    said = []
    if budget.limit_nanousd is not None:
        held = f" and {dollars(tally.reserved_nanousd)} set aside" if tally.reserved_nanousd else ""
        said.append(f"{dollars(tally.spent_nanousd)}{held} of {dollars(budget.limit_nanousd)}")
    if budget.limit_tokens is not None:
        held = f" and {tally.reserved_tokens:,} set aside" if tally.reserved_tokens else ""
        said.append(f"{tally.spent_tokens:,}{held} of {budget.limit_tokens:,} tokens")
    return f"{' and '.join(said)} spent" if said else "nothing is limited"


def _least(tally: Tally, need: Need) -> Amount:
    """The least with which it would have been sent."""
    if tally.budget.by_estimate:
        need = need.by_estimate()
    return need.most(need.least_output) if tally.budget.is_hard else need.expected(min(need.most_output, LEAST_ANSWER))


def _again(tally: Tally) -> str:
    resets_at = moment(tally.ends_s)
    return "" if resets_at is None else f"; it begins anew at {resets_at:%Y-%m-%d %H:%M} UTC"


def dollars(nanousd: int) -> str:
    amount = usd(nanousd)
    return f"${amount:f}" if nanousd >= 0 else f"-${usd(-nanousd):f}"


def concerns(tally: Tally, key: str, *, is_guest: bool) -> bool:
    """Whether a caller may see how a budget stands: its own, and those that are nobody's in particular. Of what each
    provider, model, agent and tag has, which tells what others use, a guest sees no more than its own."""
    budget = tally.budget
    if budget.key is not None and not fnmatchcase(key, budget.key):
        return False
    if budget.each == "key":
        return tally.whose == key
    return budget.each is None or budget.key == key or not is_guest


def status_of(tally: Tally) -> BudgetStatus:
    budget, resets_at = tally.budget, moment(tally.ends_s)
    starts_at = moment(tally.starts_s)
    limit = budget.limit_nanousd
    return BudgetStatus(
        name=tally.name,
        window=budget.window,
        mode="hard" if budget.is_hard else "expected",
        limit_usd=usd(limit),
        spent_usd=usd(tally.spent_nanousd) or Decimal(0),
        reserved_usd=usd(tally.reserved_nanousd) or Decimal(0),
        left_usd=None if limit is None else usd(max(0, tally.left_nanousd)),
        limit_tokens=budget.limit_tokens,
        spent_tokens=tally.spent_tokens,
        reserved_tokens=tally.reserved_tokens,
        left_tokens=None if budget.limit_tokens is None else max(0, tally.left_tokens),
        starts_at=starts_at if tally.starts_s else None,
        resets_at=resets_at,
        of=budget.each,
    )
