"""Which alerts were raised, and whether they reached their webhook: so that each is told once, whoever raises it.

Several processes share the ledger's database, and each may see that a budget has reached its level; after a restart
it is seen again. Who enters an alert first tells it. One whose webhook is not answered yet is that process's until
`due_at`; after that whoever looks takes it over. A connection is opened for each question: there are few.

Works in whichever thread asks. Must not know: budgets, HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

from genai_spine.ledger.database import Database

KEPT_S = 7 * 86_400.0
"""How long an alert is remembered after its window has ended."""
_MOST_OVERDUE = 100

State = Literal["waiting", "told", "given_up"]


class RaisedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """`key` says what it tells of: no two alerts have the same. `id` is of its webhook."""

    id: str
    key: str
    body: str
    raised_at: float
    ends_at: float | None = None
    """When its window ends; None: never."""
    tries: int = 0


class AlertBook:
    """Every method raises the driver's errors."""

    def __init__(self, open_database: Callable[[], Database]) -> None:
        self._open = open_database

    def enter(self, alert: RaisedAlert, due_at: float | None) -> bool:
        """Whether it was raised by nobody before, so that it is the caller's to tell, until `due_at`; None: there is
        no webhook to wait for."""
        state, due = ("told", alert.raised_at) if due_at is None else ("waiting", due_at)
        with self._transaction() as database:
            database.run("DELETE FROM alert WHERE ends_at < ?", (alert.raised_at - KEPT_S,))
            if database.query("SELECT id FROM alert WHERE key = ?", (alert.key,)):
                return False
            database.run(
                "INSERT INTO alert (key, id, body, raised_at, ends_at, state, tries, due_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (alert.key, alert.id, alert.body, alert.raised_at, alert.ends_at, state, alert.tries, due),
            )
            return True

    def take_overdue(self, now: float, due_at: float) -> list[RaisedAlert]:
        """Those that somebody was to tell and did not: they are the caller's now, until `due_at`."""
        with self._transaction() as database:
            rows = database.query(
                "SELECT id, key, body, raised_at, ends_at, tries FROM alert WHERE state = 'waiting' AND due_at < ? "
                "ORDER BY due_at LIMIT ?",
                (now, _MOST_OVERDUE),
            )
            for row in rows:
                database.run("UPDATE alert SET due_at = ? WHERE key = ?", (due_at, row[1]))
        names = ("id", "key", "body", "raised_at", "ends_at", "tries")
        return [RaisedAlert(**dict(zip(names, row, strict=True))) for row in rows]

    def postpone(self, alert: RaisedAlert, due_at: float) -> None:
        """It was tried `alert.tries` times, and is the caller's until `due_at`."""
        with self._transaction() as database:
            database.run(
                "UPDATE alert SET due_at = ?, tries = ? WHERE key = ? AND state = 'waiting'",
                (due_at, alert.tries, alert.key),
            )

    def hold(self, alerts: Sequence[RaisedAlert], due_at: float) -> None:
        """They are the caller's until then; until now: they are anybody's."""
        with self._transaction() as database:
            for alert in alerts:
                database.run("UPDATE alert SET due_at = ? WHERE key = ? AND state = 'waiting'", (due_at, alert.key))

    def close(self, alert: RaisedAlert, state: State) -> None:
        with self._transaction() as database:
            database.run("UPDATE alert SET state = ?, tries = ? WHERE key = ?", (state, alert.tries, alert.key))

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        database = self._open()
        try:
            with database.transaction():
                yield database
        finally:
            database.close()
