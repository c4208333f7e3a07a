"""What was said in a call, where settings have it kept: one row a call, apart from what was spent, with a shorter life.

A text does not go through the journal. Until the ledger's thread has written it down, half a second later, it is in
memory alone: kill -9 takes it, and so does a bound, `MOST_WAITING_BYTES`, where the database cannot be written for
long. What is promised is what was spent; a text helps to find out why.

How a text comes about, and what is taken out of it, is for whoever gives it (`Unwritten.text`), which is asked in the
ledger's thread. Must not know: dialects, HTTP, what may be kept.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from genai_spine.ledger.database import Database
from genai_spine.ledger.reading import Reader

MOST_WAITING_BYTES = 64 * 1024 * 1024
"""Of texts as they came, in this process."""
MOST_DELETED = 200
"""Rows at a time, each of up to two texts."""
_AT_ONCE = 100
"""Rows in one transaction."""

logger = logging.getLogger(__name__)


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one call. `is_cut` where not all of them is there; `level` is how they were kept."""

    call: str
    at: float
    request: str | None
    answer: str | None
    is_cut: bool
    level: str


class Unwritten(Protocol):
    """Texts that wait. `size` is about what they take in memory, in bytes."""

    @property
    def size(self) -> int: ...

    def text(self) -> Content:
        """What is to be written down; may take some milliseconds."""
        ...


class WaitingContent:
    """Texts on their way into the database. Any thread may add some; one enters them."""

    def __init__(self, most_bytes: int = MOST_WAITING_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Unwritten] = deque()
        self._bytes = 0
        self.lost = 0
        """Texts that there was no room for, or that could not be written down."""

    def add(self, text: Unwritten) -> None:
        with self._lock:
            if self._bytes + text.size <= self._most_bytes:
                self._waiting.append(text)
                self._bytes += text.size
                return
        self._lose("there is no room for it in memory: the database does not keep up")

    def enter(self, database: Database) -> None:
        """Write down all that waits. Raises: the driver's errors; what was not written waits on."""
        while rows := self._next():
            try:
                _enter(database, rows)
            except database.refusals:
                for row in rows:
                    self._enter_one(database, row)
            except BaseException:
                with self._lock:
                    kept = [_Written(row) for row in rows]
                    self._waiting.extendleft(reversed(kept))
                    self._bytes += sum(row.size for row in kept)
                raise

    def _next(self) -> list[Content]:
        rows: list[Content] = []
        while len(rows) < _AT_ONCE:
            with self._lock:
                if not self._waiting:
                    break
                text = self._waiting.popleft()
                self._bytes -= text.size
            try:
                rows.append(text.text())
            except Exception as error:  # whose words may be those of the text
                self._lose(f"it could not be put into words: {type(error).__name__}")
        return rows

    def _enter_one(self, database: Database, row: Content) -> None:
        try:
            _enter(database, [row])
        except database.refusals as error:
            self._lose(f"the database refuses it: {type(error).__name__}")

    def _lose(self, why: str) -> None:
        if not self.lost:
            logger.error("the text of a call is not kept: %s; further ones are counted alone", why)
        self.lost += 1


class _Written(msgspec.Struct, frozen=True):
    """A row that is to be tried again."""

    row: Content

    @property
    def size(self) -> int:
        return len(self.row.request or "") + len(self.row.answer or "")

    def text(self) -> Content:
        return self.row


def _enter(database: Database, rows: list[Content]) -> None:
    """A call that is there already keeps what it has."""
    with database.transaction():
        database.run_many(
            "INSERT INTO content (call, at, request, answer, is_cut, level) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (call) DO NOTHING",
            [(row.call, row.at, _plain(row.request), _plain(row.answer), int(row.is_cut), row.level) for row in rows],
        )


def _plain(text: str | None) -> str | None:
    """Postgres has no NUL in a text, and no database half a character of two."""
    return None if text is None else text.replace("\0", "�").encode("utf-8", "replace").decode()


# ---------------------------------------------------------------- what is there


def find_content(reader: Reader, call: str) -> Content | None:
    rows = reader.query("SELECT call, at, request, answer, is_cut, level FROM content WHERE call = ?", (call,))
    if not rows:
        return None
    [(call, at, request, answer, is_cut, level)] = rows
    return Content(call=call, at=at, request=request, answer=answer, is_cut=bool(is_cut), level=level)


def told_content(content: Content) -> dict[str, Any]:
    """As JSON tells it: a text that is JSON as that, what is left of one as a text.

    {"at": "2026-11-22T01:22:30+00:00", "level": "redacted", "is_cut": false, "request": {"model": …}, "answer": {…}}
    """
    return {
        "at": datetime.fromtimestamp(content.at, UTC).isoformat(),
        "level": content.level,
        "is_cut": content.is_cut,
        "request": _told(content.request),
        "answer": _told(content.answer),
    }


def why_none(level: str) -> str:
    """Why there is no text of a call, where settings have `level` kept."""
    if level == "none":
        return "no text is kept (ledger.content)"
    return "no text of this call is kept: it asked for that, it was too much, it is deleted, or not written down yet"


def _told(text: str | None) -> msgspec.Raw | str | None:
    if text is None:
        return None
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


# ---------------------------------------------------------------- what goes


def delete_content_before(database: Database, at: float, most: int = MOST_DELETED) -> bool:
    """Delete the oldest texts from before, so many at most; whether there may be more."""
    oldest = "SELECT call FROM content WHERE at < ? ORDER BY at LIMIT ?"
    with database.transaction():
        if not database.query(oldest, (at, 1)):
            return False
        database.run(f"DELETE FROM content WHERE call IN ({oldest})", (at, most))
    database.give_back()
    return True


def forget_content(database: Database, call: str) -> bool:
    """Delete the texts of one call, and what the file still has of them; whether there were any."""
    with database.transaction():
        found = bool(database.query("SELECT call FROM content WHERE call = ?", (call,)))
        database.run("DELETE FROM content WHERE call = ?", (call,))
    database.give_back()
    database.erase()
    return found
