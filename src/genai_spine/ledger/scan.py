"""Every attempt of some days, one by one, whatever their number: a few thousand rows are in memory at a time.

Pages follow the attempts' key, so that each is a short read: what a gateway enters meanwhile may be among them or not.
Must not know: prices, the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from genai_spine.ledger.reading import Reader, model_term, more_of, used
from genai_spine.model.response import TokenUsage

AT_ONCE = 5_000
DAY_S = 86_400


class Counted(NamedTuple):
    """An attempt: its columns, and of its call whose it was."""

    call: str
    id: str
    begun_at: float
    provider: str
    model: str
    answered_model: str | None
    status: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None
    is_estimated: int
    cost_nanousd: int | None
    most_nanousd: int | None
    taken_nanousd: int | None
    price_since: str | None
    price_source: str | None
    service: str | None
    agent: str | None
    more: str | None
    caller: str | None
    route: str | None
    tags: str | None
    unpriced: int
    """Attempts of the call whose cost is not known."""

    @property
    def is_answered(self) -> bool:
        return self.status == "answered"

    def usage(self) -> TokenUsage | None:
        """What was used, by counter; None where nothing is known of it."""
        if self.more is None:
            return used(self, None)
        more = more_of(self.more)
        return used(self, more) if more is not None else None

    def owner_tags(self) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(self.tags, type=list[str])) if self.tags else ()


_OF_ATTEMPT = Counted._fields[:-4]
_OF_CALL = Counted._fields[-4:]
_COLUMNS = ", ".join((*(f"attempt.{name}" for name in _OF_ATTEMPT), *(f"call.{name}" for name in _OF_CALL)))
_SELECT = f"SELECT {_COLUMNS} FROM attempt JOIN call ON call.id = attempt.call"
_SELECT_ALONE = f"SELECT {', '.join(_OF_ATTEMPT)}, NULL, NULL, NULL, 0 FROM attempt"
"""Without whose they were, in half the time; those too whose call is not over."""


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Of which attempts: days are whole, in UTC, both included."""

    since: date | None = None
    until: date | None = None
    provider: str | None = None
    model: str | None = None
    """As it was asked for, with its provider (`openai/gpt-4o`) or without."""
    before: float | None = None
    """Those that began before, in seconds since 1970: who reads while others write comes to an end."""

    def terms(self) -> tuple[str, tuple[Any, ...]]:
        """What stands behind WHERE, and its values."""
        terms: list[tuple[str, list[Any]]] = []
        if self.since is not None:
            terms.append(("attempt.begun_at >= ?", [midnight(self.since)]))
        if self.until is not None:
            terms.append(("attempt.begun_at < ?", [midnight(self.until) + DAY_S]))
        if self.before is not None:
            terms.append(("attempt.begun_at < ?", [self.before]))
        if self.provider is not None:
            terms.append(("attempt.provider = ?", [self.provider]))
        if self.model is not None:
            terms.append(model_term(self.model, "attempt."))
        return "".join(f" AND {term}" for term, _ in terms), tuple(value for _, values in terms for value in values)


def midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def day_of(begun_at: float) -> date:
    """UTC."""
    return _FIRST_DAY + timedelta(int(begun_at // DAY_S))


_FIRST_DAY = date(1970, 1, 1)


class Queried(Protocol):
    """A reader, or a database within a transaction."""

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...


def page(
    source: Queried, which: Which, after: tuple[str, str], at_once: int = AT_ONCE, *, alone: bool = False
) -> list[Counted]:
    """The next attempts behind a key (call, id), of calls that are over; `alone`, of others too, and without what
    their calls tell. Raises: the driver's errors."""
    where, values = which.terms()
    select = _SELECT_ALONE if alone else _SELECT
    rows = source.query(
        f"{select} WHERE (attempt.call, attempt.id) > (?, ?){where} ORDER BY attempt.call, attempt.id LIMIT ?",
        (*after, *values, at_once),
    )
    return list(map(Counted._make, rows))


def find(source: Queried, call: str, id: str) -> Counted | None:
    rows = source.query(f"{_SELECT} WHERE attempt.call = ? AND attempt.id = ?", (call, id))
    return Counted._make(rows[0]) if rows else None


def attempts(reader: Reader, which: Which, *, alone: bool = False) -> Iterator[Counted]:
    """All of them. Raises: the driver's errors."""
    after = ("", "")
    while rows := page(reader, which, after, alone=alone):
        yield from rows
        if len(rows) < AT_ONCE:
            return
        after = rows[-1].call, rows[-1].id
