"""`spine logs`: the calls of the ledger, and one of them with its attempts and what each cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from genai_spine.cli.ledger_reader import ledger_of
from genai_spine.cli.loop import run
from genai_spine.cli.output import Output, one_line
from genai_spine.cli.sources import config_option, load
from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.accounts import detail
from genai_spine.ledger.content import Content, find_content, forget_content, told_content, why_none
from genai_spine.ledger.opening import database_of
from genai_spine.ledger.reading import MOST_LISTED, LoggedAttempt, LoggedCall, Reader, find_call, recent_calls, told
from genai_spine.model.errors import SpineError
from genai_spine.settings import Settings
from genai_spine.settings.ledger import ContentLevel

_EVERY_S = 0.5
_LATEST_S = 5.0
_COLUMNS = ("time (UTC)", "request", "status", "model", "s", "USD", "key", "attempts", "error")
_WIDTHS = (19, 28, 11, 32, 8, 12, 16, 8, 0)


@click.command()
@config_option
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Number of calls.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new calls.")
@click.option("--provider", metavar="P", help="Only this provider.")
@click.option("--model", metavar="MODEL", help="Only this model.")
@click.option("--key", "caller", metavar="NAME", help="Only this caller's key.")
@click.option(
    "--status", type=click.Choice(("answered", "failed", "left", "interrupted")), help="Only calls that ended so."
)
@click.option(
    "--content", "has_content", is_flag=True, help="Also show the texts of the call REQUEST_ID, if they are kept."
)
@click.option("--forget", is_flag=True, help="Delete the texts of the call REQUEST_ID; its costs stay.")
@click.option("--json", "is_json", is_flag=True, help="One line of JSON per call.")
@click.argument("request_id", required=False)
@click.pass_obj
def command(
    output: Output,
    config: Path | None,
    limit: int,
    follow: bool,
    provider: str | None,
    model: str | None,
    caller: str | None,
    status: str | None,
    has_content: bool,
    forget: bool,
    is_json: bool,
    request_id: str | None,
) -> None:
    """Show the last calls, or one call with its attempts.

    Times are UTC.
    """
    if request_id is None and (has_content or forget):
        raise click.UsageError("--content and --forget are of one call: name its REQUEST_ID")
    settings = load(output, config)
    if request_id is not None and forget:
        _forget(output, settings, request_id)
        return
    with ledger_of(output, settings.ledger) as reader:
        if request_id is not None:
            _show(output, settings, reader, request_id, is_json, has_content)
            return
        filters = {"provider": provider, "model": model, "caller": caller, "status": status}
        found = recent_calls(reader, limit=MOST_LISTED if follow else limit, **filters)[::-1]
        _list(output, found[-limit:], is_json, has_head=True)
        if follow:
            for some in _following(reader, found, filters):
                _list(output, some, is_json)


def _following(reader: Reader, found: list[LoggedCall], filters: dict[str, str | None]) -> Iterator[list[LoggedCall]]:
    """The calls that come. Each process enters its own now and then, so that some come later than others that ended
    after them."""
    seen = {call.id: call.ended_at.timestamp() for call in found}
    newest = max(seen.values(), default=time.time())
    oldest = min(seen.values(), default=0.0) if len(seen) == MOST_LISTED else 0.0
    while True:
        after: str | None = f"{max(oldest, newest - _LATEST_S)!r}:"
        while after is not None:
            some = recent_calls(reader, limit=MOST_LISTED, after=after, **filters)
            after = some[-1].cursor if len(some) == MOST_LISTED else None
            fresh = [call for call in some if call.id not in seen]
            seen |= {call.id: call.ended_at.timestamp() for call in fresh}
            if fresh:
                yield fresh
        newest = max(newest, *seen.values()) if seen else newest
        seen = {id: at for id, at in seen.items() if at >= newest - _LATEST_S}
        time.sleep(_EVERY_S)


def _list(output: Output, found: list[LoggedCall], is_json: bool, *, has_head: bool = False) -> None:
    if is_json:
        for call in found:
            output.json(told(call), indent=None)
        return
    if has_head:
        output.line(_line(_COLUMNS))
    for call in found:
        output.line(_line(_row(call)))


def _line(cells: tuple[str, ...]) -> str:
    """Columns of a fixed width, since nobody knows yet what is still to come."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _row(call: LoggedCall) -> tuple[str, ...]:
    cost = _amount_of(call)
    model = "/".join(name for name in (call.provider, call.model) if name)
    when = f"{call.ended_at:%Y-%m-%d %H:%M:%S}"
    error = " ".join(str(part) for part in (call.status_code, call.error_type) if part is not None)
    texts = (when, call.id, call.status, model, f"{call.duration_s:.2f}", cost, call.caller or "–")
    return (*(" ".join(text.split()) for text in texts), str(call.attempts), error)


def _amount_of(call: LoggedCall) -> str:
    """What is not known is said with its bound, that of the whole call: `≤0.004`; `?` or `0.001+` where none is."""
    if not call.unpriced:
        return "?" if call.cost_usd is None else f"{call.cost_usd:f}"
    if (most := call.unpriced_at_most_usd) is not None:
        return f"≤{(call.cost_usd or 0) + most:f}"
    return "?" if call.cost_usd is None else f"{call.cost_usd:f}+"


def _forget(output: Output, settings: Settings, id: str) -> None:
    """Raises: SpineError where the ledger has no such call: nobody is to take a slip for a deletion."""
    with database_of(settings.ledger) as database:
        if forget_content(database, id):
            output.line(f"what was said in {id} is deleted")
            return
    with ledger_of(output, settings.ledger) as reader:
        _find(reader, id)
    output.line(f"{id}: {why_none(settings.ledger.content)}")


def _show(output: Output, settings: Settings, reader: Reader, id: str, is_json: bool, has_content: bool) -> None:
    """Raises: SpineError."""
    told_of = run(_detail(settings, *_find(reader, id)))
    content = find_content(reader, id) if has_content else None
    if has_content and is_json:
        told_of["content"] = None if content is None else told_content(content)
    if is_json:
        output.json(told_of)
        return
    for name in ("id", "ended_at", "status", "duration_s", "provider", "model", "caller", "agent", "route", "dialect"):
        if (value := told_of[name]) is not None:
            output.line(f"{name:12} {f'{value:.3f}' if isinstance(value, float) else one_line(str(value))}")
    output.line(f"{'cost':12} {_cost_of(told_of)}")
    for number, attempt in enumerate(told_of["attempts"], 1):
        output.line()
        target = one_line(f"{attempt['provider']}/{attempt['model']}")
        output.line(f"attempt {number}    {target}: {_end_of(attempt)}")
        if attempt["answered_model"] is not None:
            output.line(f"{'answered by':12} {one_line(attempt['answered_model'])}")
        output.line(f"{'tokens':12} {_tokens_of(attempt)}")
        output.line(f"{'cost':12} {attempt['arithmetic']}")
        if (price := _price_of(attempt)) is not None:
            output.line(f"{'price':12} {price}")
    if has_content:
        _show_content(output, content, settings.ledger.content)


def _find(reader: Reader, id: str) -> tuple[LoggedCall, tuple[LoggedAttempt, ...]]:
    """Raises: SpineError."""
    if (found := find_call(reader, id)) is None:
        raise SpineError(f"no call {id} is in the ledger: `spine logs` lists the last ones")
    return found


def _show_content(output: Output, content: Content | None, level: ContentLevel) -> None:
    output.line()
    if content is None:
        output.line(why_none(level))
        return
    told_of = told_content(content)
    for name in ("request", "answer"):
        text = told_of[name]
        kept = f"{content.level}, not all of it" if content.is_cut else content.level
        output.line(f"{name:12} {'none' if text is None else kept}")
        if isinstance(text, msgspec.Raw):
            output.json(text)
        elif text is not None:  # what is left of it, without what a terminal would obey
            output.line("".join(char if char.isprintable() or char == "\n" else "?" for char in text))


def _cost_of(call: dict[str, Any]) -> str:
    cost = "not known" if call["cost_usd"] is None else f"${call['cost_usd']}"
    if not (unpriced := call["unpriced"]):
        return cost
    attempts = "1 attempt" if unpriced == 1 else f"{unpriced} attempts"
    most = call["unpriced_at_most_usd"]
    if most is None:
        return f"{cost}, and {attempts} of unknown cost"
    bound = f"at most ${most}" if call["cost_usd"] is None else f"{cost}, and at most ${most} more"
    return f"{bound} ({attempts})"


_COUNTERS = (
    ("input", "input_tokens"), ("output", "output_tokens"), ("read from a cache", "cache_read_tokens"),
    ("written to one", "cache_write_tokens"), ("for an hour", "cache_write_1h_tokens"),
    ("reasoning", "reasoning_tokens"), ("sound in", "audio_input_tokens"), ("sound out", "audio_output_tokens"),
)  # fmt: skip


def _tokens_of(attempt: dict[str, Any]) -> str:
    """Those that were told of; the last ones are among input or output."""
    counts = [f"{attempt[name]:,} {word}" for word, name in _COUNTERS if attempt[name] is not None]
    counted = ", ".join(counts) or "none were told of"
    return f"{counted} (by estimate)" if attempt["is_estimated"] else counted


def _price_of(attempt: dict[str, Any]) -> str | None:
    """Which price it was: since when, from where, for which service."""
    parts = [f"since {attempt['price_since']}"] if attempt["price_since"] is not None else []
    parts += [f"from {attempt['price_source']}"] if attempt["price_source"] is not None else []
    parts += [f"of the service {attempt['service']}"] if attempt["service"] is not None else []
    return ", ".join(parts) or None


def _end_of(attempt: dict[str, Any]) -> str:
    times = [f"{attempt['duration_s'] or 0:.3f} s"]
    if attempt["first_s"] is not None:
        times.append(f"the first word after {attempt['first_s']:.3f} s")
    why = [str(attempt[name]) for name in ("status_code", "error_type") if attempt[name] is not None]
    return ", ".join([attempt["status"], *why, *times])


async def _detail(settings: Settings, call: LoggedCall, attempts: tuple[LoggedAttempt, ...]) -> dict[str, Any]:
    """With the prices of these settings. No ledger is opened for writing: one may be running."""
    silent = msgspec.structs.replace(settings, ledger=type(settings.ledger)())
    manager = ProviderManager.from_settings(silent)
    try:
        return detail(manager.registry, call, attempts)
    finally:
        await manager.close()
