"""`spine usage`: what was used and what it cost, summed from the ledger, whether the gateway runs or not."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.ledger.opening import reader_of
from genai_spine.ledger.reading import Usage, UsageReport, day_of, told, usage
from genai_spine.model.errors import InvalidRequest

_WAYS = ("provider", "model", "key", "agent", "route", "tag", "day")


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """Raises: BadParameter."""
    try:
        return None if value is None else day_of(value, datetime.now(UTC).date())
    except InvalidRequest as error:
        raise click.BadParameter(error.message) from error


@click.command()
@config_option
@click.option("--by", type=click.Choice(_WAYS), help="One line for each of these.")
@click.option("--since", callback=_day, metavar="7d|DATE", help="From this day on (UTC).")
@click.option("--until", callback=_day, metavar="DATE", help="To this day, itself included.")
@click.option("--key", "caller", metavar="NAME", help="Of one caller's key alone, as `--by key` names it.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.option("--csv", "is_csv", is_flag=True, help="For spreadsheets.")
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    by: str | None,
    since: date | None,
    until: date | None,
    caller: str | None,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Sum up what was used and what it cost."""
    with reader_of(load(output, config).ledger) as reader:
        report = usage(reader, by, since=since, until=until, caller=caller)
    if is_json:
        output.json(told(report))
    elif is_csv:
        _write_csv(report)
    else:
        _print(output, report)


def _write_csv(report: UsageReport) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    rows = report.data if report.by is not None else (report.total,)
    writer.writerow((report.by or "", *Usage.__struct_fields__[1:]))
    for row in rows:
        plain = told(row)
        writer.writerow([_cell(plain[name]) for name in Usage.__struct_fields__])


def _cell(value: Any) -> Any:
    """What a spreadsheet would take for a formula is a text: names are made up by callers."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def _print(output: Output, report: UsageReport) -> None:
    rows = [_row(row, row.name or "–") for row in report.data]
    columns = [report.by or "", "calls", "failed", "input", "cached", "output", "USD", "unknown"]
    output.table(columns, [*rows, _row(report.total, "total")], right=columns[1:])


def _row(row: Usage, name: str) -> list[str]:
    """What is not known is said to be, with its bound: never a 0."""
    counts = (row.calls, row.failed, row.input_tokens, row.cache_read_tokens, row.output_tokens)
    return [name, *(f"{count:,}" for count in counts), _usd(row.cost_usd), _unknown(row)]


def _usd(amount: Decimal | None) -> str:
    return "?" if amount is None else f"{amount:,f}"


def _unknown(row: Usage) -> str:
    if not row.unpriced:
        return ""
    most = row.unpriced_at_most_usd
    return f"{row.unpriced:,} calls" + ("" if most is None else f", at most {most:,f}")
