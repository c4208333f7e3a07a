"""What can be wrong with budgets that are written well: no such time zone, workers that do not count together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from genai_spine.settings.explain import Problem

if TYPE_CHECKING:
    from genai_spine.settings.tree import CostsSettings, Settings

WINDOWS = {"_daily": "day", "_monthly": "month"}
"""The endings of `costs.limits`, and their windows."""


def has_budgets(costs: CostsSettings) -> bool:
    return bool(costs.budgets or costs.limits) or costs.daily_limit is not None or costs.monthly_budget is not None


def counted_at(settings: Settings) -> str | None:
    """The server at which several processes count together: that of the shared state, or a ledger in PostgreSQL."""
    if settings.state.url is not None:
        return settings.state.url.reveal()
    url = None if settings.ledger.url is None else settings.ledger.url.reveal()
    return url if url is not None and is_postgres(url) else None


def is_postgres(url: str) -> bool:
    return url.partition("://")[0] in ("postgresql", "postgres")


def problems(settings: Settings) -> Iterator[Problem]:
    costs = settings.costs
    try:
        ZoneInfo(costs.timezone)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        yield _no_zone()
    except KeyError:
        yield _no_zone()
    for name, limit in costs.limits.items():
        if not name.endswith(tuple(WINDOWS)):
            yield Problem(("costs", "limits", name), "expected <provider>_daily or <provider>_monthly")
        elif not limit >= 0:
            yield Problem(("costs", "limits", name), "expected an amount in USD, 0 or more")
    for name, budget in costs.budgets.items():
        if budget.limit_usd is None and budget.limit_tokens is None:
            yield Problem(("costs", "budgets", name), "limits nothing: set limit_usd or limit_tokens")
    if has_budgets(costs) and settings.server.workers > 1 and counted_at(settings) is None:
        yield Problem(
            ("server", "workers"),
            "each worker would spend a whole budget of its own: set state.url (Redis), or a ledger.url of PostgreSQL, "
            "so that they count together",
        )


def _no_zone() -> Problem:
    return Problem(("costs", "timezone"), "no time zone of that name: write one such as UTC or Europe/Vienna")


def warnings(settings: Settings) -> Iterator[str]:
    costs = settings.costs
    if not has_budgets(costs):
        return
    for name in costs.limits:
        provider = name.rpartition("_")[0]
        if settings.providers.find(provider) is None:
            yield f"costs.limits.{name}: no provider {provider!r} is configured, so this limits nothing"
    if settings.ledger.url is None:
        yield "costs: without ledger.url a restart forgets what was spent, and every budget begins anew"
