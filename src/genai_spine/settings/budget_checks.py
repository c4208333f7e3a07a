"""What can be wrong with budgets that are written well: no such time zone, a name that is taken, workers that do not
count together, calls that are deleted while they still count."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import inf
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from genai_spine.settings.budgets import MOST_USD
from genai_spine.settings.caller_keys import digest_of
from genai_spine.settings.explain import Problem, did_you_mean

if TYPE_CHECKING:
    from genai_spine.settings.budgets import BudgetSettings
    from genai_spine.settings.tree import CostsSettings, Settings

WINDOWS = {"_daily": "day", "_monthly": "month"}
"""The endings of `costs.limits`, and their windows."""
BY_PROVIDER = "by_provider"
"""The name of what counts each provider's costs (`costs.track_by_provider`)."""
COST_LIMIT = "cost_limit"
"""The name of the limit that a request sets for itself."""
_LONGEST_DAYS = {"day": 1, "week": 7, "month": 31, "total": inf}


def has_budgets(costs: CostsSettings) -> bool:
    return bool(costs.budgets or costs.limits) or costs.daily_limit is not None or costs.monthly_budget is not None


def counted_at(settings: Settings) -> str | None:
    """The server at which several processes count together: that of the shared state, or a ledger in PostgreSQL."""
    if settings.state.url:  # an empty one is none: `url = "${REDIS_URL:-}"`
        return settings.state.url.reveal()
    url = None if settings.ledger.url is None else settings.ledger.url.reveal()
    return url if url is not None and is_postgres(url) else None


def is_postgres(url: str) -> bool:
    return url.partition("://")[0] in ("postgresql", "postgres")


def problems(settings: Settings) -> Iterator[Problem]:
    costs = settings.costs
    if (lack := _lack_of_zone(costs.timezone)) is not None:
        yield Problem(("costs", "timezone"), lack)
    for name, limit in costs.limits.items():
        if not name.endswith(tuple(WINDOWS)):
            yield Problem(("costs", "limits", name), "expected <provider>_daily or <provider>_monthly")
        elif not 0 <= limit <= MOST_USD:
            yield Problem(("costs", "limits", name), f"expected an amount in USD, from 0 to {MOST_USD:,.0f}")
    taken = _names_beside(costs)
    for name, budget in costs.budgets.items():
        if budget.limit_usd is None and budget.limit_tokens is None:
            yield Problem(("costs", "budgets", name), "limits nothing: set limit_usd or limit_tokens")
        if name in taken:
            yield Problem(("costs", "budgets", name), "another budget has this name: take another")
        if (costs.mode if budget.mode is None else budget.mode) == "hard" and _is_forgotten(budget, settings):
            yield Problem(("costs", "budgets", name), _FORGOTTEN)
    if costs.mode == "hard" and _begins_amid_a_day(settings, "month"):
        monthly = [("monthly_budget",)] if costs.monthly_budget is not None else []
        for path in (*monthly, *(("limits", name) for name in costs.limits if name.endswith("_monthly"))):
            yield Problem(("costs", *path), _FORGOTTEN)
    if has_budgets(costs) and settings.server.workers > 1 and counted_at(settings) is None:
        yield Problem(
            ("server", "workers"),
            "each worker would spend a whole budget of its own: set state.url (Redis), or a ledger.url of PostgreSQL, "
            "so that they count together",
        )


def _names_beside(costs: CostsSettings) -> set[str]:
    """The names of the budgets that are not in `costs.budgets`."""
    names = {COST_LIMIT, *costs.limits}
    if costs.track_by_provider:
        names.add(BY_PROVIDER)
    return names | {name for name in ("daily_limit", "monthly_budget") if getattr(costs, name) is not None}


def _is_forgotten(budget: BudgetSettings, settings: Settings) -> bool:
    """Whether what it is for is told by calls alone (ledger/spent.py), and those are deleted in its window."""
    if not _outlasts_calls(settings, budget.window):
        return False
    if _begins_amid_a_day(settings, budget.window):
        return True
    parts = {name for name in _PARTS if getattr(budget, name) is not None or budget.each == name}
    fits_many_tags = budget.tag is not None and budget.each != "tag" and is_pattern(budget.tag)
    return fits_many_tags or (len(parts) > 1 and parts != {"provider", "model"})


def _outlasts_calls(settings: Settings, window: str) -> bool:
    kept_days = settings.ledger.retention_days
    return kept_days is not None and kept_days < _LONGEST_DAYS[window]


def _begins_amid_a_day(settings: Settings, window: str) -> bool:
    """Whether it outlasts calls, and begins amid a day of UTC, by which days are summed up."""
    return window != "total" and settings.costs.timezone != "UTC" and _outlasts_calls(settings, window)


_PARTS = ("provider", "model", "agent", "tag")
"""Of which the sums of days, all callers' and each caller's, tell one at a time; a model's name has its provider's."""
_FORGOTTEN = (
    "a restart would forget what was spent: the sums of days do not tell it, and calls are kept for less than its "
    "window (ledger.retention_days)"
)


def is_pattern(text: str) -> bool:
    """Whether it may fit more than one name."""
    return any(mark in text for mark in "*?[")


def _lack_of_zone(name: str) -> str | None:
    """Why there is no such zone. UTC is there without a database of zones (policy/budget.py), which not all have."""
    try:
        if name != "UTC":
            ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        if not available_timezones():
            return "this machine knows no time zone but UTC: install its tzdata, or pip install tzdata"
        return "no time zone of that name: write one such as UTC or Europe/Vienna"
    return None


def warnings(settings: Settings) -> Iterator[str]:
    costs = settings.costs
    if not has_budgets(costs):
        return
    for name in costs.limits:
        provider = name.rpartition("_")[0]
        if settings.providers.find(provider) is None:
            yield f"costs.limits.{name}: no provider {provider!r} is configured, so this limits nothing"
    callers = (*settings.server.keys, *(digest_of(key)[:8].hex() for key in settings.server.api_keys if key))
    for name, budget in costs.budgets.items():
        wanted = budget.provider
        if wanted is not None and not is_pattern(wanted) and settings.providers.find(wanted) is None:
            known = did_you_mean(wanted, settings.providers.by_id)
            yield f"costs.budgets.{name}: no provider {wanted!r} is configured, so this limits nothing{known}"
        if (key := budget.key) is not None and callers and not any(fnmatchcase(caller, key) for caller in callers):
            known = did_you_mean(key, settings.server.keys)
            yield f"costs.budgets.{name}: no key has the name {key!r}, so this limits nothing{known}"
        if _is_forgotten(budget, settings):
            yield f"costs.budgets.{name}: {_FORGOTTEN}"
    if settings.ledger.url is None:
        yield "costs: without ledger.url a restart forgets what was spent, and every budget begins anew"
