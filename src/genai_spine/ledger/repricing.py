"""Costs that were reckoned anew: into the attempts, their calls and the sums of their days, in one transaction.

What stood before is kept, append-only, under the id of the run, which can be undone: that is a run, too. Some hundred
attempts are a transaction, so that a gateway that writes to the same ledger waits no longer than for another one's
group; a run that is broken off has done some of them wholly, and may be run again. Attempts of a call that is not over
are left alone: its row is still to come, with what it cost by then. Must not know: prices, the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from genai_spine.ledger.database import Database
from genai_spine.ledger.scan import DAY_S, Counted, Which, find, page
from genai_spine.ledger.tables import OTHERS, Key, Whose, keys_of

AT_ONCE = 500

_COLUMNS = (
    "run", "call", "attempt", "at", "cost_nanousd", "price_since", "price_source", "new_cost_nanousd",
    "new_price_since", "new_price_source", "unpriced_change",
)  # fmt: skip
_OF_PAGE = "r.run = ? AND (r.call, r.attempt) >= (?, ?) AND (r.call, r.attempt) <= (?, ?)"
SET_ATTEMPTS = (
    "UPDATE attempt SET cost_nanousd = r.new_cost_nanousd, price_since = r.new_price_since, "
    f"price_source = r.new_price_source FROM repricings AS r WHERE {_OF_PAGE} "
    "AND (attempt.call, attempt.id) >= (?, ?) AND (attempt.call, attempt.id) <= (?, ?) "
    "AND attempt.call = r.call AND attempt.id = r.attempt"
)
ADD_TO_CALLS = (
    "UPDATE call SET cost_nanousd = coalesce(call.cost_nanousd, 0) + page.more, "
    "unpriced = call.unpriced + page.unpriced FROM (SELECT r.call AS id, "
    "sum(coalesce(r.new_cost_nanousd, 0) - coalesce(r.cost_nanousd, 0)) AS more, "
    f"sum(r.unpriced_change) AS unpriced FROM repricings AS r WHERE {_OF_PAGE} GROUP BY r.call) AS page "
    "WHERE call.id >= ? AND call.id <= ? AND call.id = page.id"
)
"""The bounds are said of both tables: whichever one a planner begins with, it reads no more of it than the page."""
FORGET_CALL = (
    "UPDATE call SET cost_nanousd = NULL WHERE id = ? AND NOT EXISTS "
    "(SELECT 1 FROM attempt WHERE attempt.call = call.id AND attempt.cost_nanousd IS NOT NULL)"
)
MEND_DAY = (
    "UPDATE daily SET cost_nanousd = cost_nanousd + ?, unpriced = unpriced + ?, most_nanousd = most_nanousd + ?, "
    "unbounded = unbounded + ?, taken_nanousd = taken_nanousd + ? "
    "WHERE kind = ? AND caller = ? AND day = ? AND name = coalesce("
    "(SELECT d.name FROM daily AS d WHERE d.kind = ? AND d.caller = ? AND d.day = ? AND d.name = ?), ?)"
)
"""A name that has no row of its own was added to the others'."""
OF_RUN = (
    "SELECT repricings.call, repricings.attempt, repricings.cost_nanousd, repricings.price_since, "
    "repricings.price_source, new_cost_nanousd, new_price_since, new_price_source, unpriced_change "
    "FROM repricings WHERE run = ? AND (repricings.call, repricings.attempt) > (?, ?) "
    "ORDER BY repricings.call, repricings.attempt LIMIT ?"
)


class Cost(NamedTuple):
    """As the ledger has it of an attempt."""

    nanousd: int | None
    since: str | None
    source: str | None


class Change(NamedTuple):
    """An attempt is to cost something else. `unpriced` is by how much its call's number of unknown costs changes."""

    row: Counted
    new: Cost
    unpriced: int | None = None
    """None: as it follows from the costs."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    changed: int = 0
    left: int = 0
    """Attempts that an undoing run leaves: they are gone, or were priced once more since."""


def apply(
    database: Database, run: str, which: Which, decide: Callable[[Counted], Cost | None], *, at: float
) -> Iterator[int]:
    """Give attempts the cost that `decide` says, None for those that keep theirs; yields how many were given one.

    `at` is now, in seconds since 1970. Raises: the driver's errors; what was yielded before is done.
    """
    which = msgspec.structs.replace(which, before=at)
    after = ("", "")
    while True:
        with database.transaction():
            rows = page(database, which, after, AT_ONCE)
            changes = [Change(row, cost) for row in rows if (cost := decide(row)) is not None]
            _write(database, run, at, changes)
        yield len(changes)
        if len(rows) < AT_ONCE:
            return
        after = rows[-1].call, rows[-1].id


def undo(database: Database, run: str, of: str, *, at: float) -> Iterator[Done]:
    """Give the attempts of the run `of` what they cost before, where they still cost what it gave them.

    Raises: the driver's errors; what was yielded before is done.
    """
    after = ("", "")
    while True:
        with database.transaction():
            kept = database.query(OF_RUN, (of, *after, AT_ONCE))
            changes = _undone(database, kept)
            _write(database, run, at, changes)
        yield Done(changed=len(changes), left=len(kept) - len(changes))
        if len(kept) < AT_ONCE:
            return
        after = kept[-1][0], kept[-1][1]


def has_run(database: Database, run: str) -> bool:
    with database.transaction():
        return bool(database.query("SELECT 1 FROM repricings WHERE run = ? LIMIT 1", (run,)))


def _undone(database: Database, kept: Iterable[tuple[Any, ...]]) -> list[Change]:
    changes = []
    for call, id, *costs, unpriced in kept:
        before, given = Cost._make(costs[:3]), Cost._make(costs[3:])
        found = find(database, call, id)
        if found is not None and _cost_of(found) == given:
            changes.append(Change(found, before, -unpriced))
    return changes


def _cost_of(row: Counted) -> Cost:
    return Cost(row.cost_nanousd, row.price_since, row.price_source)


def _write(database: Database, run: str, at: float, changes: list[Change]) -> None:
    """Within a transaction."""
    if not changes:
        return
    left: dict[str, int] = {}
    """Attempts of a call that it counts as unknown."""
    days: dict[Whose, list[int]] = {}
    kept = []
    for row, new, unpriced in changes:
        old = _cost_of(row)
        by = (new.nanousd or 0) - (old.nanousd or 0)
        unknown = (new.nanousd is None) - (old.nanousd is None)
        if unpriced is None:
            # An attempt that was not to be charged is not among those that its call counts.
            unpriced = max(unknown, -left.get(row.call, row.unpriced))
        left[row.call] = left.get(row.call, row.unpriced) + unpriced
        taken = row.most_nanousd if row.taken_nanousd is None else row.taken_nanousd
        most = (unknown * (row.most_nanousd or 0), unknown * (row.most_nanousd is None), unknown * (taken or 0))
        _add(days.setdefault(_whose(row), [0] * 5), (by, unknown, *most))
        kept.append((run, row.call, row.id, at, *old, *new, unpriced))
    forgotten = sorted({row.call for row, new, _ in changes if new.nanousd is None})
    first, last = changes[0].row, changes[-1].row
    bounds = (first.call, first.id, last.call, last.id)
    database.insert("repricings", _COLUMNS, kept)
    database.run(SET_ATTEMPTS, (run, *bounds, *bounds))
    database.run(ADD_TO_CALLS, (run, *bounds, first.call, last.call))
    database.run_many(FORGET_CALL, [(id,) for id in forgotten])
    database.run_many(MEND_DAY, [(*sums, *key[:3], *key, OTHERS) for key, sums in sorted(_by_key(days).items())])


def _whose(row: Counted) -> Whose:
    day = int(row.begun_at // DAY_S)
    return day, row.caller, row.provider, row.model, row.agent, row.route, row.owner_tags()


def _by_key(days: dict[Whose, list[int]]) -> dict[Key, list[int]]:
    by_key: dict[Key, list[int]] = {}
    for whose, sums in days.items():
        for key in keys_of(whose):
            _add(by_key.setdefault(key, [0] * 5), sums)
    return by_key


def _add(to: list[int], numbers: Iterable[int]) -> None:
    for index, number in enumerate(numbers):
        to[index] += number
