"""Rows into tables, each once whatever is replayed; and SQLite, which needs nothing that Python has not.

A row's id decides: what is there already is left as it is, and counted in no roll-up twice, since rows and roll-ups
change in one transaction. Must not know: the journal, threads, HTTP.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from genai_spine.ledger import tables
from genai_spine.ledger.entry import Call
from genai_spine.ledger.matching import Attempt, Row
from genai_spine.ledger.tables import MIGRATIONS, RollUps

_AT_ONCE = 500
"""Ids in one statement."""
_ROWS_AT_ONCE = 512
"""Rows in one statement. SQLite runs it without holding up Python's other threads, but each time it is done this thread
has to wait for its turn among them: the fewer times the better."""

R = TypeVar("R", bound=Row)


class Newer(Exception):
    """The database was written by a later version than this."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the ledger is of version {version}, and this program knows {len(MIGRATIONS)}: update it")


def said(error: BaseException) -> str:
    """A driver's words in one line, or what it is: libpq tells of each address in lines of its own."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__


class Database(ABC):
    """One connection, for one thread at a time. Whatever fails raises an error of the driver's."""

    def __init__(self, conflict: type[Exception], refusal: type[Exception]) -> None:
        self._conflict = conflict
        """What is raised for a row whose id is there already, and for some that will never be taken."""
        self.refusals: tuple[type[Exception], ...] = (conflict, refusal, OverflowError, ValueError)
        """What is raised for a row that will never be taken."""
        self._roll_ups = RollUps()

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what is run within; one writer at a time."""

    @abstractmethod
    def run(self, statement: str, values: Sequence[Any] = ()) -> None: ...

    @abstractmethod
    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None: ...

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None: ...

    @abstractmethod
    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def close(self) -> None: ...

    def give_back(self) -> None:
        """Return to the file system what deleted rows have left."""
        return

    def erase(self) -> None:
        """Leave nothing of deleted rows in the files, as far as that is this program's to say."""
        return

    def enter(self, rows: Sequence[Row]) -> None:
        """All or nothing; rows that are there already change nothing. Raises: the driver's errors."""
        calls = [row for row in rows if isinstance(row, Call)]
        attempts = [row for row in rows if isinstance(row, Attempt)]
        try:
            with self.transaction():
                self._add(calls, attempts)
        except self._conflict:  # rare: to look for each row before costs more than to begin again
            with self.transaction():
                self._add(
                    self._new(tables.HAS_CALL, calls, _id_of_call),
                    self._new(tables.HAS_ATTEMPT, attempts, _id_of_attempt),
                )

    def _add(self, calls: Sequence[Call], attempts: Sequence[Attempt]) -> None:
        """Rows of which none is there, and what they add to their days."""
        roll_ups = self._roll_ups
        roll_ups.take()  # of a transaction that failed
        self.insert("attempt", tables.ATTEMPT, map(tables.attempt_row, attempts))
        self.insert("call", tables.CALL, map(tables.call_row, calls))
        late = [tables.late_row(attempt) for attempt in attempts if attempt.is_late]
        self.run_many(tables.ADD_LATE, [row for row in late if row is not None])
        for call in calls:
            roll_ups.add_call(call)
        for attempt in attempts:
            roll_ups.add_attempt(attempt)
        self.run_many(tables.ADD_UP, roll_ups.take())

    def _new(self, statement: str, rows: Sequence[R], id_of: Callable[[R], tuple[str, str]]) -> list[R]:
        """Those that the table does not have yet. `statement` finds ids by the ids of calls."""
        by_id = {id: (call, row) for row in rows for id, call in (id_of(row),)}
        calls = list(dict.fromkeys(call for call, _ in by_id.values()))
        found: set[str] = set()
        for begin in range(0, len(calls), _AT_ONCE):
            some = calls[begin : begin + _AT_ONCE]
            found.update(id for (id,) in self.query(f"{statement} ({', '.join('?' * len(some))})", some))
        return [row for id, (_, row) in by_id.items() if id not in found]

    def delete_before(self, at: float, most: int) -> bool:
        """Delete the oldest calls that ended before, so many at most; whether there may be more. Roll-ups stay."""
        with self.transaction():
            if not self.query(tables.OLDEST, (at, 1)):
                return False
            for statement in tables.DELETE_OLD:
                self.run(statement, (at, most))
        self.give_back()
        return True


def _id_of_call(call: Call) -> tuple[str, str]:
    return call.id, call.id


def _id_of_attempt(attempt: Attempt) -> tuple[str, str]:
    return attempt.begun.id, attempt.begun.call


class SqliteDatabase(Database):
    """A file, in WAL mode: it can be read while it is written."""

    def __init__(self, path: Path | str, *, busy_s: float = 5.0) -> None:
        """Raises: sqlite3.Error, Newer."""
        super().__init__(sqlite3.IntegrityError, sqlite3.DataError)
        self._connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            self._set_up()
            self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        run = self._connection.execute
        run("PRAGMA auto_vacuum = INCREMENTAL")  # in force where there is no table yet
        with suppress(sqlite3.OperationalError):  # another process that starts now may be setting it
            run("PRAGMA journal_mode = WAL")
        # A segment of the journal is deleted when its entries are here: they must have reached the disk by then.
        run("PRAGMA synchronous = FULL")
        run("PRAGMA journal_size_limit = 67108864")
        run("PRAGMA secure_delete = ON")  # what somebody has said is not to stay in pages that are free

    def _migrate(self) -> None:
        with self.transaction():  # of two processes that start at once one waits here
            [(version,)] = self.query("PRAGMA user_version")
            if version > len(MIGRATIONS):
                raise Newer(version)
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self.run(statement)
            self.run(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            yield
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(statement, values)

    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._connection.executemany(statement, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Columns that all the rows of a statement have nothing in are left out of it: to bind a None takes Python's
        sqlite3 ten times as long as a number."""
        at_once = min(_ROWS_AT_ONCE, self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(columns))
        rows = iter(rows)
        while some := list(islice(rows, at_once)):
            nones, by_column = (None,) * len(some), zip(*some, strict=True)
            named = [(name, values) for name, values in zip(columns, by_column, strict=True) if values != nones]
            into = f"INSERT INTO {table} ({', '.join(name for name, _ in named)}) VALUES "
            self._insert_together(into, list(zip(*(values for _, values in named), strict=True)))

    def _insert_together(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        """In few statements, and in few different ones, which are kept prepared: of powers of two of rows."""
        row = f"({', '.join('?' * len(rows[0]))})"
        begin = 0
        while begin < len(rows):
            count = 1 << (len(rows) - begin).bit_length() - 1
            values = chain.from_iterable(rows[begin : begin + count])
            self._connection.execute(into + ", ".join([row] * count), tuple(values))
            begin += count

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def give_back(self) -> None:
        # Which is done a page a step, and only a script is stepped to its end.
        self._connection.executescript("PRAGMA incremental_vacuum(500)")

    def erase(self) -> None:
        # The log has what the pages were before; a reader of these may hold it up.
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._connection.close()


class SqliteReader:
    """The same file, for reading only: nothing of it is made or changed."""

    def __init__(self, path: Path) -> None:
        """Raises: sqlite3.Error where there is no such file."""
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0, check_same_thread=False
        )

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        self._connection.close()
