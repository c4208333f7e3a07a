"""Takes entries from the journals to the database: this process's own, and those of processes that are gone.

There is one way from an entry to its row, whether it was written a tenth of a second ago or by a process that was
killed; but this process's own last ones are in memory still, and not read back. Where the database cannot be written,
entries stay where they are, and it is tried again. Works in one thread; must not know which, nor how often it runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from genai_spine.ledger.content import WaitingContent, delete_content_before
from genai_spine.ledger.database import Database, said
from genai_spine.ledger.entry import Entry
from genai_spine.ledger.journal import MOST_FRAME, Orphan, decode, left_beside, orphans
from genai_spine.ledger.matching import Matching, Row

ORPHANS_EVERY_S = 30.0
RETENTION_EVERY_S = 600.0
MOST_BYTES = 1024 * 1024
"""Of a journal at a time."""
MOST_DELETED = 500
"""Calls at a time: some ten milliseconds in which nobody else can write."""
REFUSED = "refused.jsonl"
DAY_S = 86_400.0

Take = Callable[[Path, int], tuple[list[Entry], int] | None]

logger = logging.getLogger(__name__)


class Tail:
    """The segments of one process, read from their beginning on. Those that are done with are deleted."""

    def __init__(
        self, process: str, folder: Path, current: Callable[[], Path] | None = None, take: Take | None = None
    ) -> None:
        """Of a process that lives, `current` tells the segment that is being written, and `take` gives what of it is
        in memory still (`Journal.take`)."""
        self._process = process
        self._folder = folder
        self._current = current
        self._take = take
        self._segment: Path | None = None
        self._at = 0
        self._last = ""
        self._read: list[tuple[Path, set[str]]] = []
        """Segments that are read, with the calls that were not over by then."""
        self.is_at_end = False
        """Whether the last `next` has read all that there was."""
        self.matching = Matching()

    def next(self) -> list[Row] | None:
        """The rows of the next entries, which may be none; None where there are no further entries now."""
        segment = self._segment
        if segment is None:
            segment = self._segment = self._next_segment()
            if segment is None:
                self.is_at_end = True
                return None
        fresh = self._take(segment, self._at) if self._take is not None else None
        if fresh is not None:
            entries, self._at = fresh
            self.is_at_end = True
            return self.matching.take(entries) if entries else None
        return self._read_on(segment)

    def _read_on(self, segment: Path) -> list[Row] | None:
        is_written = self._current is not None and segment == self._current()  # to be asked before it is read
        with segment.open("rb") as file:
            file.seek(self._at)
            data = file.read(MOST_BYTES)
        is_end = len(data) < MOST_BYTES
        is_whole = is_end and not is_written
        self.is_at_end = is_end and is_written
        entries, length = decode(data, segment.name, is_whole=is_whole)
        if not length and not is_end:
            length = len(data) - MOST_FRAME - 8
            logger.error("%s: %d bytes are damaged; the entries there are lost", segment.name, length)
        self._at += length
        rows = self.matching.take(entries)
        if is_whole:
            self._finish(segment)
            rows += self.matching.interrupted()
        elif is_end and not length:
            return None
        return rows

    def tidy(self) -> None:
        """Delete the segments of which every call is over; to be called when all that was given is entered."""
        kept = []
        for segment, calls in self._read:
            if self.matching.has_open(calls):
                kept.append((segment, calls))
            else:
                segment.unlink(missing_ok=True)
        self._read = kept

    def _finish(self, segment: Path) -> None:
        self._read.append((segment, self.matching.take_touched()))
        self._segment, self._at, self._last = None, 0, segment.name

    def _next_segment(self) -> Path | None:
        later = (path for path in self._folder.glob(f"{self._process}-*.journal") if path.name > self._last)
        return min(later, default=None)


class Mover:
    def __init__(
        self,
        folder: Path,
        own: Tail,
        open_database: Callable[[], Database],
        *,
        retention_days: float | None = None,
        content: WaitingContent | None = None,
        content_days: float | None = None,
    ) -> None:
        self._folder = folder
        self._own = own
        self._open = open_database
        self._content = content
        self._retention_s = None if retention_days is None else retention_days * DAY_S
        self._content_s = None if content_days is None else content_days * DAY_S
        self._database: Database | None = None
        self._adopted: list[tuple[Orphan, Tail]] = []
        self._unentered: list[Row] = []
        self._look_at = 0.0
        self._delete_at = 0.0
        self._delete_content_at = 0.0

    def move(self) -> None:
        """Enter all that is there. Raises: whatever the database or a file does; it is tried again then."""
        is_to_look = time.monotonic() >= self._look_at
        if is_to_look:
            self._disconnect()  # a later version may have changed it since, or the file may be another: opening tells
        try:
            self._enter()
            self._enter_own()
            if is_to_look:
                self._adopt()
                self._look_at = time.monotonic() + ORPHANS_EVERY_S
            self._enter_adopted()
            if self._content is not None:
                self._content.enter(self._connected())
            self._delete_old()
            self._delete_old_content()
        except BaseException:
            self._disconnect()
            raise

    def close(self) -> None:
        for orphan, _ in self._adopted:
            orphan.close()
        self._disconnect()

    @property
    def has_entered_all(self) -> bool:
        """Whether nothing of this process's journal is still to be entered."""
        return not self._unentered and not self._own.matching

    # ------------------------------------------------------------ journals

    def _enter_own(self) -> None:
        while True:
            self._unentered += self._own.next() or ()
            self._enter()
            self._own.tidy()
            if self._own.is_at_end:
                return  # what is written meanwhile is the next group

    def _adopt(self) -> None:
        if not self._look_at:
            for folder in left_beside(self._folder):
                logger.warning(
                    "calls wait in %s for a ledger at another address; if it is this one, which has moved, move the "
                    "files there into %s: they are entered within half a minute", folder, self._folder,
                )  # fmt: skip
        for orphan in orphans(self._folder):
            self._adopted.append((orphan, Tail(orphan.process, self._folder)))

    def _enter_adopted(self) -> None:
        while self._adopted:
            orphan, tail = self._adopted[0]
            try:
                rows = tail.next()
            except OSError as error:
                logger.error("the journal of process %s cannot be read: %s", orphan.process, error)
                rows = None
            if rows is None:
                rows = tail.matching.interrupted(all_of_them=True)
                self._unentered += rows
                self._enter()
                tail.tidy()
                orphan.close()
                self._adopted.pop(0)
            else:
                self._unentered += rows
                self._enter()
                tail.tidy()

    # ------------------------------------------------------------ the database

    def _connected(self) -> Database:
        if self._database is None:
            self._database = self._open()
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(Exception):  # it may be what has failed
                self._database.close()
            self._database = None

    def _enter(self) -> None:
        if not self._unentered:
            self._connected()
            return
        database = self._connected()
        try:
            database.enter(self._unentered)
        except database.refusals:
            self._enter_one_by_one(database)
        self._unentered = []

    def _enter_one_by_one(self, database: Database) -> None:
        """One row that is never taken must not hold up those behind it."""
        for row in self._unentered:
            try:
                database.enter([row])
            except database.refusals as error:
                logger.error("the ledger's database refuses a row, which is put into %s: %s", REFUSED, said(error))
                self._put_aside([row])

    def _put_aside(self, rows: Sequence[Row]) -> None:
        with (self._folder / REFUSED).open("ab") as file:
            for row in rows:
                file.write(msgspec.json.encode(row) + b"\n")

    def _delete_old(self) -> None:
        """Some of what is older than the retention; the next move deletes more, until nothing is left to delete."""
        if self._retention_s is None or time.monotonic() < self._delete_at:
            return
        if not self._connected().delete_before(time.time() - self._retention_s, MOST_DELETED):
            self._delete_at = time.monotonic() + RETENTION_EVERY_S

    def _delete_old_content(self) -> None:
        """The same of texts, which go before their calls; also of those that a process before this one has kept."""
        if self._content_s is None or time.monotonic() < self._delete_content_at:
            return
        if not delete_content_before(self._connected(), time.time() - self._content_s):
            self._delete_content_at = time.monotonic() + RETENTION_EVERY_S
