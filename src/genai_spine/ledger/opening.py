"""From the settings to a ledger that is written, or to one that is read.

    sqlite:///spine.db                    a file, here; sqlite:////var/lib/spine/spine.db: from the root on
    postgresql://user:secret@host/name    Postgres (extra `postgres`)

The journal's folder lies beside the SQLite file (`spine.journal`); for Postgres it is of this machine, under
`$XDG_STATE_HOME` or `~/.local/state`, apart for each database.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from genai_spine.ledger.alerts import AlertBook
from genai_spine.ledger.database import Database, Newer, SqliteDatabase, SqliteReader, said
from genai_spine.ledger.tables import MIGRATIONS
from genai_spine.ledger.writer import Ledger
from genai_spine.model.errors import ConfigError
from genai_spine.settings import LedgerSettings

if TYPE_CHECKING:
    from genai_spine.ledger.reading import Reader

_POSTGRES = ("postgresql", "postgres")
_SHAPES = "`sqlite:///spine.db` or `postgresql://user:secret@host/name`"


class NoLedgerYet(ConfigError):
    """Nothing was written down so far."""


def open_ledger(settings: LedgerSettings, environ: Mapping[str, str] = os.environ) -> Ledger | None:
    """The ledger that the settings name, or None. A database that cannot be reached now is waited for.

    Raises: ConfigError for what waiting does not mend.
    """
    if settings.url is None:
        return None
    url = settings.url.reveal()
    folder = _journal_of(settings, url, environ)
    if (path := _path_of(url)) is not None:
        _check(path)
        if settings.content != "none":
            _close_to_others(path)
    open_database = _opener(url)
    try:
        return Ledger(
            folder,
            open_database,
            retention_days=settings.retention_days,
            content_days=settings.content_days,
        )
    except OSError as error:
        raise ConfigError(
            f"the ledger's journal cannot be written in {folder} ({error.strerror}): "
            "give the gateway's user that folder, or set ledger.journal"
        ) from error


def journal_of(settings: LedgerSettings, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of what the database has not taken yet; None where no ledger is set. Raises: ConfigError."""
    return None if settings.url is None else _journal_of(settings, settings.url.reveal(), environ)


def check_url(settings: LedgerSettings) -> None:
    """Raises: ConfigError for a URL that is no ledger's, or whose extra is not installed. Opens nothing."""
    if settings.url is not None:
        _opener(settings.url.reveal())


def alert_book(settings: LedgerSettings) -> AlertBook | None:
    """What is remembered of alerts beside the ledger; None where no ledger is set. Raises: ConfigError."""
    return None if settings.url is None else AlertBook(_opener(settings.url.reveal()))


def _opener(url: str) -> Callable[[], Database]:
    """Raises: ConfigError."""
    path = _path_of(url)
    if path is not None:
        return partial(SqliteDatabase, path.absolute())
    from genai_spine.ledger.postgres import PostgresDatabase, check  # noqa: PLC0415  # who has no Postgres

    check(url)
    return partial(PostgresDatabase, url)


def open_reader(settings: LedgerSettings) -> Reader:
    """Raises: ConfigError where no ledger is set, or none can be read."""
    if settings.url is None:
        raise ConfigError('no ledger is kept: set ledger.url, such as "sqlite:///spine.db"')
    url = settings.url.reveal()
    path = _path_of(url)
    if path is None:
        from genai_spine.ledger.postgres import PostgresReader, check, psycopg  # noqa: PLC0415  # who has no Postgres

        check(url)
        try:
            reader = PostgresReader(url)
            try:
                is_there = reader.has_tables()
            except BaseException:
                reader.close()
                raise
        except psycopg().Error as error:
            raise ConfigError(f"the ledger's database cannot be reached (ledger.url): {said(error)}") from error
        if is_there:
            return reader
        reader.close()
        raise NoLedgerYet("there is no ledger in that database yet: the gateway makes it when it starts (ledger.url)")
    if not path.exists():
        raise NoLedgerYet(f"there is no ledger at {path} yet: the gateway makes it when it starts")
    try:
        return SqliteReader(path)
    except sqlite3.Error as error:
        raise ConfigError(f"the ledger {path} cannot be read: {error}") from error


@contextmanager
def reader_of(settings: LedgerSettings) -> Iterator[Reader]:
    """A reader for one command. Raises: ConfigError, also where the database fails meanwhile, or where a later version
    wrote it: what its columns mean is not known here."""
    reader = open_reader(settings)
    old = ""
    try:
        if (version := _version_of(reader)) > len(MIGRATIONS):
            raise ConfigError(f"the ledger cannot be read: {Newer(version)}")
        if version < len(MIGRATIONS):
            old = "; it is of an older version, which `spine serve` brings up to date"
        yield reader
    except _errors_of(settings) as error:
        raise ConfigError(f"the ledger cannot be read: {said(error)}{old}") from error
    finally:
        reader.close()


@contextmanager
def database_of(settings: LedgerSettings) -> Iterator[Database]:
    """The ledger that there is, for one command that changes what is in it. Raises: ConfigError, as `reader_of`."""
    open_reader(settings).close()
    url = settings.url.reveal() if settings.url is not None else ""
    try:
        database = _opener(url)()
        try:
            yield database
        finally:
            database.close()
    except Newer as error:
        raise ConfigError(f"the ledger cannot be written: {error}") from error
    except _errors_of(settings) as error:
        raise ConfigError(
            f"the ledger cannot be written: {said(error)}; what is done is whole: run it again"
        ) from error


def _version_of(reader: Reader) -> int:
    """Of the tables; 0 of a file that has none yet. Raises: the driver's errors."""
    statement = "PRAGMA user_version" if isinstance(reader, SqliteReader) else "SELECT version FROM version"
    found = reader.query(statement)
    return int(found[0][0]) if found else 0


def _errors_of(settings: LedgerSettings) -> type[Exception]:
    """What the driver raises, of a ledger that is opened."""
    if settings.url is None or _path_of(settings.url.reveal()) is not None:
        return sqlite3.Error
    from genai_spine.ledger.postgres import psycopg  # noqa: PLC0415  # who has no Postgres

    error: type[Exception] = psycopg().Error
    return error


def _path_of(url: str) -> Path | None:
    """The SQLite file; None for Postgres. Raises: ConfigError. A URL's text is a secret: no message shows it."""
    if url.partition("://")[0] in _POSTGRES:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"ledger.url is no URL: it is {_SHAPES}") from None
    if parts.scheme != "sqlite":
        raise ConfigError(f"ledger.url has the scheme {parts.scheme or 'none'!r}: it is {_SHAPES}")
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or not path or path == ":memory:":
        raise ConfigError('ledger.url names no file: it is "sqlite:///spine.db", or "sqlite:////var/lib/spine.db"')
    return Path(path)


def _check(path: Path) -> None:
    """Raises: ConfigError for a file that will never be a ledger of ours."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the ledger's folder {path.parent} cannot be made ({error.strerror}): ledger.url") from error
    if path.is_dir():
        raise ConfigError(f"the ledger {path} is a folder: name a file in ledger.url")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"the ledger {path} may not be written by this user: mend its rights, or set ledger.url")
    try:
        SqliteDatabase(path, busy_s=1.0).close()
    except Newer as error:
        raise ConfigError(f"{path}: {error}") from error
    except sqlite3.OperationalError:
        pass  # locked, or the disk is full: that passes
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is no ledger ({error}): move it away, or set ledger.url") from error


def _close_to_others(path: Path) -> None:
    """What was said is not for every user of the machine to read. SQLite makes its other files with the same rights."""
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):  # it may be another user's, or not be there
            file.chmod(file.stat().st_mode & ~0o007)


def _journal_of(settings: LedgerSettings, url: str, environ: Mapping[str, str]) -> Path:
    """Each database has a folder of its own: entries must not be adopted into another one. Raises: ConfigError."""
    path = _path_of(url)
    if settings.journal is None and path is not None:
        name = path.stem if path.suffix == ".db" else path.name  # ledger.prod and ledger.test are two
        return path.absolute().with_name(f"{name}.journal")
    where = str(path.absolute()) if path is not None else _place_of(url)
    name = sha256(where.encode()).hexdigest()[:16]
    if settings.journal is not None:
        return _absolute(settings.journal) / name
    return _absolute(environ.get("XDG_STATE_HOME") or "~/.local/state") / "genai-spine" / "journal" / name


def _place_of(url: str) -> str:
    """The database of a Postgres URL, whoever asks for it."""
    rest = url.partition("://")[2]
    who, at, place = rest.partition("@")
    if not at or "/" in who:  # as libpq reads it: a password may hold all but these two
        place = rest
    try:
        parts = urlsplit(f"//{place}")
        return f"{parts.hostname}:{parts.port}{parts.path}?{parts.query}"
    except ValueError:  # several hosts, of which the first that answers is meant
        return place


def _absolute(folder: str) -> Path:
    """Raises: ConfigError where a user without a home is to have it there."""
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(
            f"the ledger's journal cannot be in {folder}, since this user has no home: set ledger.journal, or HOME"
        ) from None
