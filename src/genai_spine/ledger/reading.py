"""What the ledger tells: sums of usage from the roll-ups, recent calls page by page, and one call with its attempts.

Amounts are Decimal USD (strings in JSON), None where nothing of them is known; times are UTC. Days are whole, of a
call's beginning. Must not know: HTTP, the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from genai_spine.ledger.entry import NANO
from genai_spine.ledger.tables import SUMS
from genai_spine.model.card import Price
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import REPORTED, arithmetic, cost_of

BY = {
    "provider": "provider", "model": "model", "key": "caller", "caller": "caller", "agent": "agent",
    "route": "route", "tag": "tag", "day": "all",
}  # fmt: skip
"""What usage can be summed by, with the kind of its roll-ups. A key goes by the name that the gateway gives it."""
MOST_LISTED = 1000
_OTHER_RATES = frozenset(
    ("cost_nanousd", "unpriced", "most_nanousd", "unbounded", "saved_nanousd", "uncounted_tokens", "taken_nanousd")
)


class Reader(Protocol):
    """A database that is read: SqliteReader, PostgresReader."""

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...
    def close(self) -> None: ...


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was used: by one provider, model, caller …, or on one day. Calls count where they ended, the rest where
    it was spent."""

    name: str
    calls: int = 0
    failed: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """Of the attempts whose cost is known; None where there are attempts, and that of none is."""
    unpriced: int = 0
    """Attempts whose cost is not known."""
    unpriced_at_most_usd: Decimal | None = Decimal(0)
    """What those may have cost at most; None where that is not known either."""
    cached_calls: int = 0
    """Calls that were answered from the cache."""
    saved_usd: Decimal | None = Decimal(0)
    """What their answers cost when they were first given, as far as that is known."""


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    since: date | None
    until: date | None
    by: str | None
    total: Usage
    data: tuple[Usage, ...] = ()


class LoggedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is over: the columns of its row."""

    id: str
    ended_at: datetime
    duration_s: float
    status: str
    attempts: int
    caller: str | None
    agent: str | None
    route: str | None
    tags: tuple[str, ...]
    dialect: str | None
    is_stream: bool
    provider: str | None
    model: str | None
    cost_usd: Decimal | None
    """Of the attempts whose cost is known."""
    unpriced: int
    unpriced_at_most_usd: Decimal | None
    """What the others may have cost at most, beside that; None where it is not known."""
    error_type: str | None
    status_code: int | None
    is_cached: bool
    """Whether the answer was one that was given before; `saved_usd` is what it cost then."""
    saved_usd: Decimal | None
    cursor: str
    """For the page of those before it, or after it."""


class LoggedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    begun_at: datetime
    provider: str
    model: str
    answered_model: str | None
    dialect: str | None
    is_stream: bool
    is_hedge: bool
    status: str
    duration_s: float | None
    first_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None
    is_estimated: bool
    cost_usd: Decimal | None
    at_most_usd: Decimal | None
    """What it may have cost."""
    price_since: str | None
    price_source: str | None
    error_type: str | None
    status_code: int | None
    service: str | None
    agent: str | None
    more: TokenUsage | None
    """What few calls use: searches, images, seconds."""

    def usage(self) -> TokenUsage | None:
        """What was used, by counter; None where the provider told of nothing."""
        return used(self, self.more)


class Counts(Protocol):
    """What a row of an attempt says of its tokens."""

    @property
    def is_estimated(self) -> bool | int: ...
    @property
    def service(self) -> str | None: ...


_COUNTERS = tuple(name for name in LoggedAttempt.__struct_fields__ if name.endswith("_tokens"))


def used(row: Counts, more: TokenUsage | None) -> TokenUsage | None:
    """What a row with all the counters of an attempt, and what few calls use, come to; None where there is nothing."""
    counts = {name: count for name in _COUNTERS if (count := getattr(row, name)) is not None}
    if not counts and more is None:
        return None
    known = {"estimated": bool(row.is_estimated), "service_tier": row.service, **counts}
    return TokenUsage(**known) if more is None else msgspec.structs.replace(more, **known)


def arithmetic_of(attempt: LoggedAttempt, price: Price | None) -> str:
    """How an attempt's cost came about, by the price that was in force. Counts that the ledger does not keep, such
    as searches, and prices that were others then, are told by the difference."""
    if attempt.cost_usd is None:
        most = f", {attempt.at_most_usd:f} USD at most" if attempt.at_most_usd is not None else ""
        return f"not known{most}"
    used = attempt.usage()
    if attempt.price_source == REPORTED or used is None:
        words = "as the provider says" if attempt.price_source == REPORTED else "no tokens were told of"
        return f"${attempt.cost_usd:f}, {words}"
    text = arithmetic(used, price)
    again = cost_of(used, price)
    same = again is not None and round(again * NANO) == round(attempt.cost_usd * NANO)
    return text if same else f"${attempt.cost_usd:f}, by what is not kept; today's list says {text}"


# ---------------------------------------------------------------- sums


def usage(
    reader: Reader,
    by: str | None = None,
    *,
    since: date | None = None,
    until: date | None = None,
    caller: str | None = None,
) -> UsageReport:
    """Sums from the day `since` to the day `until`, both included; of one caller, or of all. The dearest first.

    Raises: InvalidRequest, and the driver's errors.
    """
    if by is not None and by not in BY:
        raise InvalidRequest(f"usage is summed by {', '.join(BY)}, not by {by[:50]}", param="by")
    where = (caller or "", *_days(since, until))
    [total] = _sums(reader, "all", "''", where) or [Usage(name="")]
    if by is None:
        return UsageReport(since=since, until=until, by=by, total=total)
    if caller is not None and BY[by] == "caller":
        rows = [msgspec.structs.replace(total, name=caller)] if total.attempts or total.calls else []
        return UsageReport(since=since, until=until, by=by, total=total, data=tuple(rows))
    rows = _sums(reader, BY[by], "day" if by == "day" else "name", where)
    rows.sort(key=lambda row: row.name if by == "day" else (-(row.cost_usd or 0), -row.calls, row.name))
    return UsageReport(since=since, until=until, by=by, total=total, data=tuple(rows))


def _days(since: date | None, until: date | None) -> tuple[str, str]:
    return (since or date.min).isoformat(), (until or date.max).isoformat()


def _sums(reader: Reader, kind: str, name: str, where: tuple[str, str, str]) -> list[Usage]:
    sums = ", ".join(f"sum({column})" for column in SUMS)
    grouped = "" if kind == "all" and name != "day" else f" GROUP BY {name}"
    rows = reader.query(
        f"SELECT {name}, {sums} FROM daily WHERE kind = ? AND caller = ? AND day >= ? AND day <= ?{grouped}",
        (kind, *where),
    )
    return [_usage(row[0], [int(value) for value in row[1:]]) for row in rows if row[1] is not None]


def _usage(name: str, values: list[int]) -> Usage:
    sums = dict(zip(SUMS, values, strict=True))
    is_known = sums["unpriced"] < sums["attempts"] or not sums["attempts"]
    return Usage(
        name=name,
        **{column: value for column, value in sums.items() if column not in _OTHER_RATES},
        cost_usd=usd(sums["cost_nanousd"]) if is_known else None,
        unpriced=sums["unpriced"],
        unpriced_at_most_usd=None if sums["unbounded"] else usd(sums["most_nanousd"]),
        saved_usd=usd(sums["saved_nanousd"]),
    )


# ---------------------------------------------------------------- calls

_CALL = (
    "id, ended_at, duration_s, status, attempts, caller, agent, route, tags, dialect, is_stream, provider, model, "
    "cost_nanousd, unpriced, error_type, status_code, is_cached, saved_nanousd"
)
_MOST = (
    "CASE WHEN c.unpriced > 0 THEN (SELECT CASE WHEN count(*) = count(a.most_nanousd) "
    "THEN CAST(sum(a.most_nanousd) AS BIGINT) END FROM attempt a WHERE a.call = c.id AND a.cost_nanousd IS NULL) END"
)
_ATTEMPT = (
    "id, begun_at, provider, model, answered_model, dialect, is_stream, is_hedge, status, duration_s, first_s, "
    "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, "
    "audio_input_tokens, audio_output_tokens, is_estimated, cost_nanousd, most_nanousd, price_since, price_source, "
    "error_type, status_code, service, agent, more"
)
FILTERS = ("provider", "model", "caller", "status")


def recent_calls(
    reader: Reader, *, limit: int = 50, before: str | None = None, after: str | None = None, **filters: str | None
) -> list[LoggedCall]:
    """The last calls, the latest first: `limit` of those before or after a cursor (`LoggedCall.cursor`), of which
    all `FILTERS` that are given hold. After a cursor they are the next ones, the earliest first. A model is named with
    its provider or without.

    Raises: InvalidRequest, and the driver's errors.
    """
    terms: list[str] = []
    values: list[Any] = []
    for name in FILTERS:
        if (value := filters.get(name)) is not None:
            term, of_it = model_term(value) if name == "model" else (f"{name} = ?", [value])
            terms.append(term)
            values += of_it
            if name == "status" and value != "answered":
                terms.append("status <> 'answered'")  # those have an index of their own
    for cursor, sign in ((before, "<"), (after, ">")):
        if cursor is not None:
            ended_at, id = _cursor(cursor)
            terms.append(f"ended_at {sign}= ? AND (ended_at, id) {sign} (?, ?)")
            values += [ended_at, ended_at, id]
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    order = "ASC" if after is not None else "DESC"
    rows = reader.query(
        f"SELECT {_CALL}, {_MOST} FROM call c{where} ORDER BY ended_at {order}, id {order} LIMIT ?",
        (*values, max(1, min(limit, MOST_LISTED))),
    )
    return [_call(row) for row in rows]


def model_term(name: str, table: str = "") -> tuple[str, list[str]]:
    """What holds of a model's rows, and its values. A model's own name may have a slash in it, too."""
    provider, slash, model = name.partition("/")
    if not slash:
        return f"{table}model = ?", [name]
    return f"({table}model = ? OR {table}provider = ? AND {table}model = ?)", [name, provider, model]


def find_call(reader: Reader, id: str) -> tuple[LoggedCall, tuple[LoggedAttempt, ...]] | None:
    """A call and its attempts, the first one first."""
    rows = reader.query(f"SELECT {_CALL}, {_MOST} FROM call c WHERE id = ?", (id,))
    if not rows:
        return None
    attempts = reader.query(f"SELECT {_ATTEMPT} FROM attempt WHERE call = ? ORDER BY begun_at, id", (id,))
    return _call(rows[0]), tuple(map(_attempt, attempts))


def _cursor(text: str) -> tuple[float, str]:
    at, _, id = text.partition(":")
    try:
        return float(at), id
    except ValueError:
        raise InvalidRequest("that is no cursor of a list of calls", param="before") from None


def _call(row: tuple[Any, ...]) -> LoggedCall:
    *columns, most = row
    named = dict(zip(_CALL.split(", "), columns, strict=True))
    cost, saved = named.pop("cost_nanousd"), named.pop("saved_nanousd")
    tags = tuple(msgspec.json.decode(named["tags"])) if named["tags"] else ()
    known = {"ended_at": _moment(named["ended_at"]), "tags": tags, "is_stream": bool(named["is_stream"])}
    known |= {"is_cached": bool(named["is_cached"]), "saved_usd": usd(saved)}
    known["unpriced_at_most_usd"] = usd(most) if named["unpriced"] else Decimal(0)
    cursor = f"{named['ended_at']!r}:{named['id']}"
    return LoggedCall(**{**named, **known}, cost_usd=usd(cost), cursor=cursor)


def _attempt(row: tuple[Any, ...]) -> LoggedAttempt:
    named = dict(zip(_ATTEMPT.split(", "), row, strict=True))
    cost, most = named.pop("cost_nanousd"), named.pop("most_nanousd")
    truths = {name: bool(value) for name, value in named.items() if name.startswith("is_")}
    known = {**truths, "begun_at": _moment(named["begun_at"]), "more": more_of(named["more"])}
    return LoggedAttempt(**{**named, **known}, cost_usd=usd(cost), at_most_usd=usd(most))


def more_of(text: str | None) -> TokenUsage | None:
    """What an attempt used beside the usual counters; None where there is nothing, or nothing that can be read."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=TokenUsage)
    except msgspec.DecodeError:
        return None


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def usd(nanousd: int | None) -> Decimal | None:
    return None if nanousd is None else Decimal(f"{nanousd // NANO}.{nanousd % NANO:09d}".rstrip("0").rstrip("."))


def told(value: Any) -> Any:
    """As plain data for JSON; amounts as text in plain digits, "0.0000012" rather than 1.2E-6."""
    return _plain(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def day_of(text: str, today: date, param: str | None = None) -> date:
    """`2026-11-01`, or `7d`: the day a week ago. Raises: InvalidRequest."""
    number = text.removesuffix("d")
    try:
        return today - timedelta(int(number)) if number != text else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{text[:50]!r} is no day: write 2026-11-01, or 7d", param=param) from None
