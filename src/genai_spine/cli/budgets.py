"""`spine budgets`: what may be spent, what is, and what is left, whether the gateway runs or not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click

from genai_spine.cli.loop import run
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.engine.costs.budget_words import BudgetStatus
from genai_spine.engine.costs.spending import Spending
from genai_spine.ledger.reading import told
from genai_spine.settings import Settings


@click.command()
@config_option
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(output: Output, config: Path | None, is_json: bool) -> None:
    """Show how much of each budget is left.

    What is spent is read from the ledger, or from the shared state if several gateways count together. What is
    reserved for calls in progress is known only there and to the running gateway's GET /v1/budgets.
    """
    settings = load(output, config)
    found = run(_status(settings))
    if is_json:
        output.json(told(found))
    elif not found:
        output.line("no budget is set: see [costs] in the settings")
    else:
        columns = ["budget", "window", "mode", "limit", "spent", "left", "tokens left", "begins anew (UTC)"]
        output.table(columns, [_row(each) for each in found], right=columns[3:7])


async def _status(settings: Settings) -> list[BudgetStatus]:
    spending = Spending(settings)
    if not spending.is_on:
        return []
    if settings.ledger.url is not None:
        spending.remember(settings)
    try:
        await spending.budgets.refresh(as_guest=True)
        return spending.budgets.status()
    finally:
        await spending.close()


def _row(each: BudgetStatus) -> list[str]:
    return [
        each.name,
        each.window,
        each.mode,
        _usd(each.limit_usd),
        _usd(each.spent_usd),
        _usd(each.left_usd),
        "–" if each.left_tokens is None else f"{each.left_tokens:,}",
        "never" if each.resets_at is None else f"{each.resets_at:%Y-%m-%d %H:%M}",
    ]


def _usd(amount: Decimal | None) -> str:
    return "–" if amount is None else f"{amount:,f}"
