"""`spine costs reconcile`: the ledger beside what OpenAI or Anthropic say was used and charged. Changes nothing.

Exit codes: 0 within the tolerance, 1 beyond it, 2 for a file of another shape.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from genai_spine.cli.figures import forms, plain, shown, signed, write_csv
from genai_spine.cli.ledger_reader import ledger_of
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load
from genai_spine.ledger.reading import Reader
from genai_spine.ledger.scan import Which, attempts, day_of
from genai_spine.model.errors import InvalidRequest
from genai_spine.policy.exports import Export, merged, read_export
from genai_spine.policy.reconcile import Key, Line, Ours, Reconciled, Total, count, reconcile
from genai_spine.providers.price_cards import providers_of
from genai_spine.settings import Settings

_MOST_BYTES = 256 * 1024 * 1024
_BEYOND = 1


@click.command()
@config_option
@click.argument("files", type=click.Path(path_type=Path, dir_okay=False, exists=True), nargs=-1, required=True)
@click.option("--provider", metavar="P", help="The provider of the settings. Default: all of that service.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    default=0.5,
    show_default=True,
    metavar="PERCENT",
    help="Largest difference with exit code 0.",
)
@forms
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    files: tuple[Path, ...],
    provider: str | None,
    tolerance: float,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Compare the ledger with a provider's export of usage or costs."""
    settings = load(output, config)
    exports = _read(files)
    share = Decimal(repr(tolerance)) / 100
    with ledger_of(output, settings.ledger) as reader:
        found = [reconcile(one, _ours(reader, one, _ids(settings, one, provider)), share) for one in exports]
    if is_json:
        output.json({"is_within": all(one.is_within for one in found), "files": [_told(one) for one in found]})
    elif is_csv:
        _write_csv(found)
    else:
        for one in found:
            _print(output, one)
    if not all(one.is_within for one in found):
        raise click.exceptions.Exit(_BEYOND)


def _read(files: Sequence[Path]) -> list[Export]:
    """Raises: BadParameter."""
    exports = []
    for file in files:
        if file.stat().st_size > _MOST_BYTES:
            raise click.BadParameter(f"{file} has more than {_MOST_BYTES >> 20} MiB: export fewer days at a time")
        try:
            exports.append(read_export(file.read_bytes()))
        except InvalidRequest as error:
            raise click.BadParameter(f"{file}: {error.message}") from error
    try:
        return merged(exports)
    except InvalidRequest as error:
        raise click.BadParameter(error.message) from error


def _ids(settings: Settings, export: Export, provider: str | None) -> frozenset[str]:
    """Raises: BadParameter where the provider is asked at another service than the file is from."""
    ids = providers_of(settings, export.provider)
    if provider is None:
        return ids
    if provider in settings.providers.by_id and provider not in ids:
        raise click.BadParameter(f'the provider "{provider}" is not asked at the service that {export.name} are of')
    if provider not in ids:
        raise click.BadParameter(f'no provider "{provider}" is configured: {", ".join(sorted(ids))}')
    return frozenset((provider,))


def _ours(reader: Reader, export: Export, ids: frozenset[str]) -> dict[Key, Ours]:
    only = next(iter(ids)) if len(ids) == 1 else None
    which = Which(since=export.since, until=export.until, provider=only, before=time.time())
    ours: dict[Key, Ours] = {}
    left_out = 0
    for row in attempts(reader, which, alone=True):
        is_refused = row.cost_nanousd == 0 and not row.is_answered  # which is on no bill
        day = day_of(row.begun_at)
        if row.provider in ids and not is_refused and export.tells_of(day):
            model, cost, most = row.answered_model or row.model, row.cost_nanousd, row.most_nanousd
            usage = row.usage()
            kind = "vectors" if usage is not None and not usage.output_tokens else "answers"
            if kind in export.kinds:
                count(ours, day, model, usage, cost, most, is_whole=row.is_answered)
            else:
                left_out += 1
    if left_out:
        others = "vectors" if "answers" in export.kinds else "answers"
        export.notes.append(f"{left_out:,} calls for {others} are left out: name the file of their usage, too")
    return ours


# ---------------------------------------------------------------- what is told


def _told(found: Reconciled) -> dict[str, Any]:
    return {
        "what": found.name,
        "since": found.since,
        "until": found.until,
        "tolerance_percent": plain(found.tolerance * 100),
        "is_within": found.is_within,
        "totals": [_total_of(total) for total in found.totals],
        "gaps": [_line_of(line) for line in found.gaps],
        "agreeing": found.agreeing,
        "notes": found.notes,
    }


def _total_of(total: Total) -> dict[str, Any]:
    return {
        "counter": total.measure,
        "there": plain(total.there),
        "here": plain(total.here),
        "gap": plain(total.gap),
        "off": plain(total.off),
        "off_percent": None if total.share is None else plain(round(total.share * 100, 3)),
        "is_within": total.is_within,
    }


def _line_of(line: Line) -> dict[str, Any]:
    return {
        "day": line.day,
        "model": line.model or None,
        "counter": line.measure,
        "there": plain(line.there),
        "here": plain(line.here),
        "gap": plain(line.gap),
        "why": line.why,
    }


def _write_csv(found: Sequence[Reconciled]) -> None:
    rows = [
        (one.name, line.day, line.model, line.measure, line.there, line.here, line.gap, "; ".join(line.why))
        for one in found
        for line in one.gaps
    ]
    write_csv(("what", "day", "model", "counter", "there", "here", "gap", "why"), rows)


def _print(output: Output, found: Reconciled) -> None:
    output.line(f"{found.name}, {found.since} to {found.until}")
    columns = ["counter", "there", "here", "gap", "off"]
    rows = [
        [total.measure, shown(total.there), shown(total.here), signed(total.gap), _share(total)]
        for total in found.totals
    ]
    output.table(columns, rows, right=columns[1:])
    if found.gaps:
        output.line()
        columns = ["day", "model", "counter", "there", "here", "gap", "known causes"]
        output.table(
            columns,
            [
                [
                    f"{line.day}",
                    line.model or "all",
                    line.measure,
                    shown(line.there),
                    shown(line.here),
                    signed(line.gap),
                    "; ".join(line.why),
                ]
                for line in found.gaps
            ],
            right=columns[3:6],
        )
    for note in found.notes:
        output.note(note)
    within = "within" if found.is_within else "beyond"
    output.line(f"{within} the tolerance of {plain(found.tolerance * 100)} %; {found.agreeing:,} figures agree")
    output.line()


def _share(total: Total) -> str:
    return "?" if total.share is None else f"{plain(round(total.share * 100, 2))} %"
