"""`spine costs whatif`: what the traffic in the ledger would have cost on another model. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from genai_spine.cli.figures import day, days, forms, in_usd, percent, plain, shown, write_csv
from genai_spine.cli.ledger_reader import ledger_of
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.ledger.scan import Counted, Which, attempts, day_of
from genai_spine.model.card import ModelCard, Price
from genai_spine.model.errors import ConfigError
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import nanousd
from genai_spine.policy.repricing import DatedPrices
from genai_spine.policy.whatif import REASONS, Reason, corrected, token_ratio, would_cost
from genai_spine.providers.price_cards import cards_of

_OF_CALL = ("key", "route", "tag")
_WAYS = ("provider", "model", "key", "agent", "route", "tag", "day")


class Sums(msgspec.Struct):
    """Of attempts that can be compared; money in nano-dollars."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    spent: int = 0
    would: int = 0
    corrected: int | None = 0
    """With the tokens that the other model's tokenizer would have made; None where that is not known of all."""


class Excluded(msgspec.Struct):
    attempts: int = 0
    spent: int = 0


class Comparison:
    """With the model of a card, attempt by attempt."""

    def __init__(self, provider: str, card: ModelCard, prices: DatedPrices) -> None:
        self._provider, self._model, self._card = provider, card.id, card
        self._prices = prices
        self._now = time.time()
        self._ratios: dict[str, Decimal | None] = {}
        self.later = 0
        """Attempts from before the model had a price, reckoned by today's."""
        self.total = Sums()
        self.by: dict[str, Sums] = {}
        self.excluded: dict[Reason, Excluded] = {}

    def add(self, row: Counted, names: Iterator[str]) -> None:
        found = self._compare(row)
        if isinstance(found, str):
            excluded = self.excluded.setdefault(found, Excluded())
            excluded.attempts += 1
            excluded.spent += row.cost_nanousd or 0
            return
        for sums in (self.total, *(self.by.setdefault(name, Sums()) for name in names)):
            sums.attempts += 1
            sums.input_tokens += row.input_tokens or 0
            sums.output_tokens += row.output_tokens or 0
            sums.spent += row.cost_nanousd or 0
            sums.would += found[0]
            sums.corrected = None if sums.corrected is None or found[1] is None else sums.corrected + found[1]

    @property
    def ratios(self) -> dict[str, Decimal | None]:
        """By how much tokens of each model were multiplied; None where nobody knows."""
        return {model: ratio for model, ratio in sorted(self._ratios.items()) if ratio != 1}

    def _compare(self, row: Counted) -> tuple[int, int | None] | Reason:
        """What it would have cost, and the same with other tokens."""
        usage = row.usage()
        if row.cost_nanousd == 0 and not row.is_answered:
            return 0, 0  # nothing was charged, and would not be
        if usage is None:
            return "no_counts"
        if row.cost_nanousd is None:
            return "unknown"
        is_same = (row.provider, row.model) == (self._provider, self._model)
        price = self._price(row)
        would = would_cost(usage, self._card, price, is_same=is_same)
        if isinstance(would, str):
            return would
        cost = nanousd(would) or 0
        return cost, cost if is_same else self._corrected(row.answered_model or row.model, usage, price)

    def _price(self, row: Counted) -> Price | None:
        price = self._prices.at(self._provider, self._model, row.service, row.begun_at)
        if price is None:
            price = self._prices.at(self._provider, self._model, row.service, self._now)
            self.later += price is not None
        return price

    def _corrected(self, model: str, usage: TokenUsage, price: Price | None) -> int | None:
        if model not in self._ratios:
            self._ratios[model] = token_ratio(model, self._model)
        ratio = self._ratios[model]
        if ratio is None:
            return None
        cost = would_cost(corrected(usage, ratio), self._card, price, is_same=True)
        return nanousd(cost) if isinstance(cost, Decimal) else None


@click.command()
@config_option
@click.option("--model", required=True, metavar="PROVIDER/MODEL", help="The model to compare with.")
@days
@click.option("--provider", metavar="P", help="Only calls to this provider.")
@click.option("--by", type=click.Choice(_WAYS), help="Group by this.")
@click.option("--as-of", callback=day, metavar="DATE", help="Use its prices of this day. Default: of each call's day.")
@forms
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    model: str,
    since: date | None,
    until: date | None,
    provider: str | None,
    by: str | None,
    as_of: date | None,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Show what the same calls would have cost with another model."""
    settings = load(output, config)
    at, slash, name = model.partition("/")
    if not slash or not at or not name:
        raise click.UsageError(f"--model {model} names no model: write PROVIDER/MODEL, such as openai/gpt-4o-mini")
    prices = DatedPrices(cards_of(settings), as_of)
    card = prices.card(at, name)
    if card is None:
        raise ConfigError(
            f'no provider "{at}": neither the settings nor the catalog know it; `spine providers` lists them'
        )
    if prices.at(at, name, None, time.time()) is None:
        raise ConfigError(
            f"no price of {model} is known: `spine models --provider {at}` lists names, providers.{at}.cost sets prices"
        )
    comparison = Comparison(at, msgspec.structs.replace(card, id=name), prices)
    which = Which(since=since, until=until, provider=provider, before=time.time())
    with ledger_of(output, settings.ledger) as reader:
        for row in attempts(reader, which, alone=by not in _OF_CALL):
            comparison.add(row, _names(row, by))
    if is_json:
        output.json(_told(comparison, model, by))
    elif is_csv:
        _write_csv(comparison, by)
    else:
        _print(output, comparison, model, by)


def _names(row: Counted, by: str | None) -> Iterator[str]:
    found: dict[str | None, str | None] = {
        "provider": row.provider,
        "model": f"{row.provider}/{row.model}",
        "key": row.caller,
        "agent": row.agent,
        "route": row.route,
    }
    if by == "tag":
        yield from dict.fromkeys(row.owner_tags())
    elif by == "day":
        yield day_of(row.begun_at).isoformat()
    elif (name := found.get(by)) is not None:
        yield name


# ---------------------------------------------------------------- what is told


def _rows(comparison: Comparison, by: str | None) -> list[tuple[str, Sums]]:
    rows = list(comparison.by.items())
    return sorted(rows) if by == "day" else sorted(rows, key=lambda row: (-row[1].spent, row[0]))


def _plain(sums: Sums) -> dict[str, Any]:
    return {
        "attempts": sums.attempts,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "spent_usd": plain(in_usd(sums.spent)),
        "would_cost_usd": plain(in_usd(sums.would)),
        "difference_usd": plain(in_usd(sums.would) - in_usd(sums.spent)),
        "with_its_tokens_usd": None if sums.corrected is None else plain(in_usd(sums.corrected)),
    }


def _told(comparison: Comparison, model: str, by: str | None) -> dict[str, Any]:
    return {
        "model": model,
        "by": by,
        "total": _plain(comparison.total),
        "data": [{"name": name, **_plain(sums)} for name, sums in _rows(comparison, by)],
        "not_compared": {
            reason: {"why": REASONS[reason], "attempts": found.attempts, "spent_usd": plain(in_usd(found.spent))}
            for reason, found in comparison.excluded.items()
        },
        "by_a_later_price": comparison.later,
        "token_ratios": {name: None if ratio is None else plain(ratio) for name, ratio in comparison.ratios.items()},
    }


def _write_csv(comparison: Comparison, by: str | None) -> None:
    rows = _rows(comparison, by) if by is not None else [("", comparison.total)]
    write_csv((by or "", *_plain(comparison.total)), [(name, *_plain(sums).values()) for name, sums in rows])


def _print(output: Output, comparison: Comparison, model: str, by: str | None) -> None:
    columns = [by or "", "attempts", "input", "output", "spent", "would cost", "", "with its tokens"]
    rows = [[name, *_cells(sums)] for name, sums in _rows(comparison, by)]
    output.table(columns, [*rows, ["total", *_cells(comparison.total)]], right=columns[1:])
    for reason, found in comparison.excluded.items():
        output.note(f"not compared: {found.attempts:,} attempts for {shown(in_usd(found.spent))}: {REASONS[reason]}")
    if comparison.later:
        output.note(f"{comparison.later:,} attempts are older than its first price: today's is taken")
    for name, ratio in comparison.ratios.items():
        said = "is not known" if ratio is None else f"is {plain(ratio)} by an estimate"
        output.note(f"tokens of {model} for one of {name}: {said}")


def _cells(sums: Sums) -> list[str]:
    spent, would = in_usd(sums.spent), in_usd(sums.would)
    counts = [f"{sums.attempts:,}", f"{sums.input_tokens:,}", f"{sums.output_tokens:,}"]
    its_own = None if sums.corrected is None else in_usd(sums.corrected)
    return [*counts, shown(spent), shown(would), percent(would - spent, spent), shown(its_own)]
