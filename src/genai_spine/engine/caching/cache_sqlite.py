"""Answers in a SQLite file, shared by the processes of one machine. The file is its user's alone (0600): answers are
what people were told.

It is kept within its bound by the writer: what is over goes with the next answer that is put, and where room is
needed, what is over soonest. The sum of sizes is the database's own
to keep, by triggers, so that several processes agree on it. What the file itself takes is a little more: SQLite's
pages and its log. Reads have a thread and a connection of their own, which no writer holds up (WAL mode,
sqlite.org/wal.html, read 2026-11).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from genai_spine.model.errors import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, until REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answer_until ON answer (until);
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 1), bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS answer_in AFTER INSERT ON answer
    BEGIN UPDATE total SET bytes = bytes + length(NEW.value) + 200; END;
CREATE TRIGGER IF NOT EXISTS answer_out AFTER DELETE ON answer
    BEGIN UPDATE total SET bytes = bytes - length(OLD.value) - 200; END;
"""
ENTRY_BYTES = 200
"""What a row takes beside its value, its place in the index included."""
_BUSY_S = 0.5


class SqliteBackend:
    """One file. The threads are made with the first call, and a file that is not there yet with them."""

    __slots__ = ("_most_bytes", "_path", "_reader", "_reading", "_writer", "_writing", "place")

    def __init__(self, url: str, most_bytes: int) -> None:
        """Raises: ConfigError for a URL that names no file."""
        self._path = _path_of(url)
        self._most_bytes = most_bytes
        self.place = str(self._path)
        self._reading: ThreadPoolExecutor | None = None
        self._writing: ThreadPoolExecutor | None = None
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None

    def check(self) -> None:
        """Raises: ConfigError for a file that will never be a cache of ours."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connect(self._path).close()
        except sqlite3.OperationalError:
            pass  # locked, or the disk is full: that passes
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self._path} is no cache ({error}): move it away, or set cache.url") from error
        except OSError as error:
            message = f"the cache {self._path} cannot be written ({error.strerror}): set cache.url"
            raise ConfigError(message) from error

    async def get(self, key: bytes) -> bytes | None:
        if self._reading is None:
            self._reading = ThreadPoolExecutor(1, "spine-cache-read")
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._get, key)

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        if self._writing is None:
            self._writing = ThreadPoolExecutor(1, "spine-cache-write")
        await asyncio.get_running_loop().run_in_executor(self._writing, self._put, key, value, ttl_s)

    async def close(self) -> None:
        for thread in (self._reading, self._writing):
            if thread is not None:
                await asyncio.to_thread(thread.shutdown)
        self._reading = self._writing = None
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    # ------------------------------------------------------------ in the threads

    def _get(self, key: bytes) -> bytes | None:
        if self._reader is None:
            self._reader = connect(self._path)
        statement = "SELECT value FROM answer WHERE key = ? AND until > ?"
        try:
            found = self._reader.execute(statement, (key, time.time())).fetchone()
        except sqlite3.Error:  # the file may be another by now
            self._reader.close()
            self._reader = None
            raise
        return None if found is None else bytes(found[0])

    def _put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        if len(value) + ENTRY_BYTES > self._most_bytes:
            return
        if self._writer is None:
            self._writer = connect(self._path)
        try:
            self._enter(self._writer, key, value, time.time(), ttl_s)
        except BaseException:  # with which its transaction is undone
            self._writer.close()
            self._writer = None
            raise

    def _enter(self, writer: sqlite3.Connection, key: bytes, value: bytes, now: float, ttl_s: float) -> None:
        writer.execute("BEGIN IMMEDIATE")
        # Not REPLACE: it fires no trigger for the row that goes.
        writer.execute("DELETE FROM answer WHERE key = ? OR until <= ?", (key, now))
        writer.execute("INSERT INTO answer VALUES (?, ?, ?)", (key, value, now + ttl_s))
        first = "SELECT key FROM answer WHERE key <> ? ORDER BY until LIMIT 1"
        while writer.execute("SELECT bytes FROM total").fetchone()[0] > self._most_bytes:
            if not writer.execute(f"DELETE FROM answer WHERE key = ({first})", (key,)).rowcount:
                break
        writer.execute("COMMIT")


def connect(path: Path) -> sqlite3.Connection:
    """Raises: sqlite3.Error, OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    os.chmod(path, 0o600)  # one that was there may have been made by somebody careless; its log is as it is
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")  # what is lost with the machine's power is asked for again
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'answer_out'").fetchone() is None:
            connection.executescript(_SCHEMA)  # it writes, and so waits for who else does
    except BaseException:
        connection.close()
        raise
    return connection


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or not path or path == ":memory:":
        raise ConfigError('cache.url names no file: it is "sqlite:///cache.db", or "sqlite:////var/lib/cache.db"')
    return Path(path).absolute()
