"""`spine costs reprice`: what is in the ledger, by the prices of a day or by lists that were mended. Shows what would
change; with `--apply` it is changed, and can be undone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from genai_spine.cli.figures import day, days, forms, in_usd, plain, shown, signed, write_csv
from genai_spine.cli.ledger_reader import ledger_of
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.ledger.opening import database_of
from genai_spine.ledger.repricing import Cost, Done, apply, has_run, undo
from genai_spine.ledger.scan import DAY_S, Counted, Which, attempts, day_of
from genai_spine.model.errors import ConfigError
from genai_spine.policy.repricing import DatedPrices, Outcome, Repriced, reprice
from genai_spine.providers.price_cards import cards_of
from genai_spine.settings import Settings

_LEFT: dict[Outcome, str] = {
    "reported": "cost what the provider itself has reported (--reported reckons them, too)",
    "no_price": "have no known price then: they stay as they are",
    "no_counts": "have an unknown cost and no tokens to reckon with",
    "not_whole": "were broken off: more is charged than was counted, and nobody knows what",
}


class Sums(msgspec.Struct):
    """Of a day, a provider and a model; money in nano-dollars."""

    attempts: int = 0
    changed: int = 0
    known: int = 0
    """Attempts whose cost was not known."""
    before: int = 0
    after: int = 0


class Plan:
    """Says what each attempt costs, and adds up what that changes."""

    def __init__(self, prices: DatedPrices, *, reported: bool) -> None:
        self._prices = prices
        self._reported = reported
        self._sums: dict[tuple[int, str, str], Sums] = {}
        """By the day since 1970, the provider and the model."""
        self.left: dict[Outcome, int] = {}

    def decide(self, row: Counted) -> Cost | None:
        """What the attempt shall cost; None where it stays as it is."""
        price = self._prices.at(row.provider, row.model, row.service, row.begun_at)
        found = reprice(
            row.usage(),
            row.cost_nanousd,
            row.price_source,
            price,
            is_whole=row.is_answered,
            reported=self._reported,
        )
        self._add(row, found)
        if not found.is_new or found.price is None:
            return None
        since = found.price.since
        return Cost(found.cost_nanousd, since.isoformat() if since is not None else None, found.price.source)

    def _add(self, row: Counted, found: Repriced) -> None:
        key = int(row.begun_at // DAY_S), row.provider, row.model
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums()
        sums.attempts += 1
        sums.changed += found.outcome == "changed"
        sums.known += found.outcome == "known"
        sums.before += row.cost_nanousd or 0
        sums.after += found.cost_nanousd or 0
        if found.outcome in _LEFT:
            self.left[found.outcome] = self.left.get(found.outcome, 0) + 1

    @property
    def changed(self) -> list[tuple[tuple[date, str, str], Sums]]:
        found = [(key, sums) for key, sums in sorted(self._sums.items()) if sums.changed or sums.known]
        return [((day_of(day * DAY_S), provider, model), sums) for (day, provider, model), sums in found]

    @property
    def total(self) -> Sums:
        total = Sums()
        for sums in self._sums.values():
            for name in Sums.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(sums, name))
        return total


@click.command()
@config_option
@days
@click.option("--provider", metavar="P", help="Only this provider.")
@click.option("--model", metavar="MODEL", help="Only this model.")
@click.option("--as-of", callback=day, metavar="DATE", help="Use the prices of this day. Default: of each call's day.")
@click.option("--reported", is_flag=True, help="Include costs that the provider reported itself.")
@click.option("--apply", "is_applied", is_flag=True, help="Change the ledger. Default: only show the changes.")
@click.option("--undo", "undone", metavar="RUN", help="Undo the changes of a run.")
@forms
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    since: date | None,
    until: date | None,
    provider: str | None,
    model: str | None,
    as_of: date | None,
    reported: bool,
    is_applied: bool,
    undone: str | None,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Recalculate costs with the prices of a day; shows what would change."""
    settings = load(output, config)
    if undone is not None:
        if any((since, until, provider, model, as_of, reported, is_applied)):
            raise click.UsageError("--undo gives back the whole run: name nothing else")
        _undo(output, settings, undone, is_json)
        return
    which = Which(since=since, until=until, provider=provider, model=model, before=time.time())
    plan = Plan(DatedPrices(cards_of(settings), as_of), reported=reported)
    run = _apply(settings, which, plan.decide) if is_applied else None
    if not is_applied:
        with ledger_of(output, settings.ledger) as reader:
            for row in attempts(reader, which):
                plan.decide(row)
    if is_json:
        output.json(_told(plan, run, as_of))
    elif is_csv:
        _write_csv(plan)
    else:
        _print(output, plan, run)


def _apply(settings: Settings, which: Which, decide: Callable[[Counted], Cost | None]) -> str:
    run = _new_run()
    with database_of(settings.ledger) as database:
        for _ in apply(database, run, which, decide, at=time.time()):
            pass
    return run


def _new_run() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _undo(output: Output, settings: Settings, undone: str, is_json: bool) -> None:
    """Raises: ConfigError where there was no such run."""
    run, total = _new_run(), Done()
    with database_of(settings.ledger) as database:
        if not has_run(database, undone):
            raise ConfigError(f"no run {undone[:60]} has changed this ledger: `--apply` tells the name of a run")
        for done in undo(database, run, undone, at=time.time()):
            total = Done(changed=total.changed + done.changed, left=total.left + done.left)
    if is_json:
        output.json({"run": run, "undone": undone, "changed": total.changed, "left": total.left})
        return
    output.line(f"{total.changed:,} attempts cost again what they did before run {undone}")
    if total.left:
        output.note(f"{total.left:,} are gone, or were priced once more since: they stay as they are")


# ---------------------------------------------------------------- what is told


def _told(plan: Plan, run: str | None, as_of: date | None) -> dict[str, Any]:
    return {
        "as_of": as_of,
        "run": run,
        "total": _plain(plan.total),
        "left": plan.left,
        "data": [
            {"day": day, "provider": provider, "model": model, **_plain(sums)}
            for (day, provider, model), sums in plan.changed
        ],
    }


def _plain(sums: Sums) -> dict[str, Any]:
    before, after = in_usd(sums.before), in_usd(sums.after)
    return {
        "attempts": sums.attempts,
        "changed": sums.changed,
        "now_known": sums.known,
        "before_usd": plain(before),
        "after_usd": plain(after),
        "difference_usd": plain(after - before),
    }


def _write_csv(plan: Plan) -> None:
    rows = [(day, provider, model, *_plain(sums).values()) for (day, provider, model), sums in plan.changed]
    write_csv(("day", "provider", "model", *_plain(plan.total)), rows)


def _print(output: Output, plan: Plan, run: str | None) -> None:
    rows = [[f"{day}", f"{provider}/{model}", *_cells(sums)] for (day, provider, model), sums in plan.changed]
    columns = ["day", "model", "attempts", "changed", "now known", "before", "after", "difference"]
    output.table(columns, [*rows, ["total", "", *_cells(plan.total)]], right=columns[2:])
    for outcome, words in _LEFT.items():
        if number := plan.left.get(outcome):
            output.note(f"{number:,} attempts {words}")
    changed = plan.total.changed + plan.total.known
    if run is not None and changed:
        output.line(f"{changed:,} attempts are changed; `spine costs reprice --undo {run}` gives back what they were")
    elif run is None and changed:
        output.note("nothing is changed yet: --apply does it")


def _cells(sums: Sums) -> list[str]:
    before, after = in_usd(sums.before), in_usd(sums.after)
    counts = [f"{sums.attempts:,}", f"{sums.changed:,}", f"{sums.known:,}"]
    return [*counts, shown(before), shown(after), signed(after - before)]
