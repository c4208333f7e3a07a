"""`spine usage`: what was used and what it cost, summed from the ledger, whether the gateway runs or not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import click

from genai_spine.cli.figures import days, forms, write_csv
from genai_spine.cli.ledger_reader import ledger_of
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.engine.costs.spending import budgets_of
from genai_spine.ledger.forecasts import Foretold, budget_forecasts, month_forecasts
from genai_spine.ledger.reading import Usage, UsageReport, told, usage
from genai_spine.settings import Settings

_WAYS = ("provider", "model", "key", "agent", "route", "tag", "day")


@click.command()
@config_option
@click.option("--by", type=click.Choice(_WAYS), help="Group by this.")
@days
@click.option("--key", "caller", metavar="NAME", help="Only this caller's key, as `--by key` names it.")
@click.option("--forecast", "is_forecast", is_flag=True, help="Forecast the end of the month and of each budget.")
@forms
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    by: str | None,
    since: date | None,
    until: date | None,
    caller: str | None,
    is_forecast: bool,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Show usage and costs."""
    settings = load(output, config)
    if is_forecast:
        if since is not None or until is not None:
            raise click.UsageError("--forecast is of windows that are under way: leave --since and --until out")
        _foretell(output, settings, by, caller, is_json=is_json, is_csv=is_csv)
        return
    with ledger_of(output, settings.ledger) as reader:
        report = usage(reader, by, since=since, until=until, caller=caller)
    if is_json:
        output.json(told(report))
    elif is_csv:
        _write_csv(report)
    else:
        _print(output, report)


def _write_csv(report: UsageReport) -> None:
    rows = report.data if report.by is not None else (report.total,)
    write_csv((report.by or "", *Usage.__struct_fields__[1:]), [[*told(row).values()] for row in rows])


def _print(output: Output, report: UsageReport) -> None:
    rows = [_row(row, row.name or "–") for row in report.data]
    rows.append(_row(report.total, "total"))
    columns = [report.by or "", "calls", "failed", "input", "cached", "output", "USD", "unknown"]
    if report.total.cached_calls:
        columns += ["from cache", "saved"]
        for row, used in zip(rows, (*report.data, report.total), strict=True):
            row += [f"{used.cached_calls:,}", _usd(used.saved_usd)]
    output.table(columns, rows, right=columns[1:])
    if (most := report.total.unpriced_at_most_usd) and (known := report.total.cost_usd) is not None:
        output.line(f"known ${known:,f}, and at most ${most:,f} more")


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
    return f"{row.unpriced:,} attempts" + ("" if most is None else f", at most {most:,f}")


# ------------------------------------------------------------ what it will be


def _foretell(
    output: Output, settings: Settings, by: str | None, caller: str | None, *, is_json: bool, is_csv: bool
) -> None:
    """The month, by what is asked for, and where that is nobody's in particular the budgets."""
    now = datetime.now(UTC)
    with ledger_of(output, settings.ledger) as reader:
        lines = month_forecasts(reader, now, by, caller=caller)
        if caller is None:
            lines += budget_forecasts(reader, budgets_of(settings), now)
    if is_json:
        output.json({"as_of": now.isoformat(), "interval": 0.9, "data": told(lines)})
    elif is_csv:
        write_csv(Foretold.__struct_fields__, [[*told(line).values()] for line in lines])
    else:
        columns = ["of", "until", "spent", "expected", "90 %", "limit", "reached", "unknown"]
        output.table(columns, [_forecast_row(line) for line in lines], right=columns[2:6])


def _forecast_row(line: Foretold) -> list[str]:
    name = " ".join(part for part in (line.kind, line.name) if part)
    until = f"{line.last_day:%Y-%m-%d}" if line.last_day is not None else "–"
    expected, interval = "?", ""
    if line.expected is not None:
        expected, interval = _amount(line.expected, line), f"{_amount(line.low, line)} – {_amount(line.high, line)}"
    limit = _amount(line.limit, line) if line.limit is not None else ""
    reached = f"{line.reached_on:%Y-%m-%d}" if line.reached_on is not None else "–" if line.limit is not None else ""
    return [name, until, _amount(line.spent, line), expected, interval, limit, reached, line.why or ""]


def _amount(amount: Decimal | None, line: Foretold) -> str:
    """To the cent, and to three figures below a dollar: more is not known of what is to come."""
    if amount is None:
        return "?"
    if line.unit == "tokens":
        return f"{amount:,f} tokens"
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${float(amount):.3g}"
