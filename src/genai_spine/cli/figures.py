"""What the commands about money have in common: days, amounts, tables for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import click

from genai_spine.ledger.reading import day_of, usd
from genai_spine.model.errors import InvalidRequest

F = TypeVar("F", bound=Callable[..., Any])
_FORMULAS = ("=", "+", "-", "@")
_AMOUNT = re.compile(r"-[0-9]+(\.[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """Raises: BadParameter, also for an end before the beginning: sums of nothing would look like nothing spent."""
    try:
        found = None if value is None else day_of(value, datetime.now(UTC).date())
    except InvalidRequest as error:
        raise click.BadParameter(error.message) from error
    days = {"since": ctx.params.get("since"), "until": ctx.params.get("until"), param.name: found}
    if days["since"] is not None and days["until"] is not None and days["until"] < days["since"]:
        raise click.BadParameter(f"--until {days['until']} is before --since {days['since']}")
    return found


def one_form(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Raises: UsageError where both are asked for."""
    if value and (ctx.params.get("is_json") or ctx.params.get("is_csv")):
        raise click.UsageError("--json or --csv: one at a time")
    return value


def days(command: F) -> F:
    """`--since` and `--until`."""
    command = click.option("--until", callback=day, metavar="DATE", help="Until this day, inclusive (UTC).")(command)
    return click.option("--since", callback=day, metavar="7d|DATE", help="From this day (UTC).")(command)


def forms(command: F) -> F:
    """`--json` and `--csv`."""
    command = click.option("--csv", "is_csv", is_flag=True, callback=one_form, help="For spreadsheets.")(command)
    return click.option("--json", "is_json", is_flag=True, callback=one_form, help="For programs.")(command)


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """No text is one that a spreadsheet takes for a formula, or for a line's end: names are made up by callers."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub("\ufffd", value)
    return f"'{text}" if text.startswith(_FORMULAS) and not _AMOUNT.fullmatch(text) else text


def in_usd(nanousd: int) -> Decimal:
    return usd(nanousd) or Decimal(0)


def plain(amount: Decimal) -> str:
    """In plain digits, without zeros at the end: "0.5", "-1200"."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(amount: Decimal | None) -> str:
    """For people: with thousands, and "?" for what is not known."""
    if amount is None:
        return "?"
    whole, dot, rest = plain(amount).partition(".")
    return f"{int(whole):,}{dot}{rest}" if whole not in ("-0", "") else f"{whole}{dot}{rest}"


def signed(amount: Decimal) -> str:
    return f"+{shown(amount)}" if amount > 0 else shown(amount)


def percent(part: Decimal, whole: Decimal) -> str:
    return f"{100 * part / whole:+.1f} %" if whole else ""
