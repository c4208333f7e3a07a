"""The ledger in Postgres, by the same statements, in a schema of its own: `genai_spine`.

psycopg 3 is asked for when a ledger is first opened (extra `postgres`). A connection that is lost is not mended:
whoever enters rows opens another one. Must not know: the journal, threads, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from genai_spine.ledger.database import Database, Newer
from genai_spine.ledger.tables import MIGRATIONS
from genai_spine.model.errors import ConfigError

SCHEMA = "genai_spine"
LOCK = 0x67656E6169  # "genai": one writer at a time, and one that migrates
_CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "genai-spine",
    # A server that is gone without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def psycopg() -> ModuleType:
    """Raises: ConfigError."""
    try:
        import psycopg as module  # noqa: PLC0415  # the extra of those who have Postgres
    except ImportError as error:
        raise ConfigError(
            f"a ledger in Postgres needs psycopg ({error}): pip install 'genai-spine[postgres]'"
        ) from error
    return module


def check(url: str) -> None:
    """Raises: ConfigError for a URL that libpq does not read, or reads otherwise than it is meant: with a password that
    is not encoded, parts of which its errors would show in the log."""
    module = psycopg()
    try:
        parts = module.conninfo.conninfo_to_dict(url)
    except module.ProgrammingError:
        parts = None
    ports = str(parts.get("port", "")).split(",") if parts is not None else []
    if parts is None or "@" in str(parts.get("host", "")) or not all(port.isdigit() or not port for port in ports):
        raise ConfigError(
            "ledger.url is no URL that PostgreSQL reads: it is postgresql://user:secret@host/name, and what is special "
            "in a password is percent-encoded, such as %40 for @ and %2F for /"
        )


def connect(url: str) -> Any:
    """Raises: psycopg.Error, ConfigError. No statement is prepared on the server: a pooler may stand between."""
    return psycopg().connect(url, autocommit=True, prepare_threshold=None, **_CONNECTION)


class PostgresDatabase(Database):
    def __init__(self, url: str) -> None:
        """Raises: psycopg.Error, Newer, ConfigError."""
        errors = psycopg()
        super().__init__(errors.IntegrityError, errors.DataError)
        self._connection = connect(url)
        try:
            self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self) -> None:
        with self.transaction():
            # Not IF NOT EXISTS, which asks for the right to make one also where an administrator has made it.
            if not self.query(f"SELECT to_regnamespace('{SCHEMA}') IS NOT NULL")[0][0]:
                self.run(f"CREATE SCHEMA {SCHEMA}")
            if not self.query(f"SELECT to_regclass('{SCHEMA}.version') IS NOT NULL")[0][0]:
                self.run("CREATE TABLE version (version INTEGER NOT NULL)")
            found = self.query("SELECT version FROM version")
            version = found[0][0] if found else 0
            if version > len(MIGRATIONS):
                raise Newer(version)
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self.run(statement.removesuffix(" WITHOUT ROWID"))
            if version < len(MIGRATIONS):
                self.run("DELETE FROM version")
                self.run("INSERT INTO version VALUES (?)", (len(MIGRATIONS),))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            self._connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            self._connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
            yield

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._connection.execute(_in_psycopg(statement), values)

    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(_in_psycopg(statement), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """By COPY, which takes a third of the time that statements take."""
        copying = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for row in rows:
                copy.write_row(row)

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Within a transaction, which names the schema."""
        found: list[tuple[Any, ...]] = self._connection.execute(_in_psycopg(statement), values).fetchall()
        return found

    def close(self) -> None:
        self._connection.close()


class PostgresReader:
    """Reads only, and no statement may take longer than a caller waits."""

    def __init__(self, url: str) -> None:
        """Raises: psycopg.Error, ConfigError."""
        self._connection = connect(url)

    def has_tables(self) -> bool:
        """Whether a gateway has made them. Raises: psycopg.Error."""
        [(found,)] = self.query(f"SELECT to_regclass('{SCHEMA}.daily') IS NOT NULL")
        return bool(found)

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # As tables.py writes a text: Postgres has no NUL in one.
        values = [value.replace("\0", "�") if isinstance(value, str) else value for value in values]
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION READ ONLY")
            self._connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
            self._connection.execute("SET LOCAL statement_timeout TO '30s'")
            found: list[tuple[Any, ...]] = self._connection.execute(_in_psycopg(statement), values).fetchall()
            return found

    def close(self) -> None:
        self._connection.close()


def _in_psycopg(statement: str) -> str:
    return statement.replace("%", "%%").replace("?", "%s")
