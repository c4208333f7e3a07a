"""What is written down of every call, and the thread that moves it into the database.

ledger = Ledger(folder, lambda: SqliteDatabase(path))
ledger.write(entry)          one append to the journal, no waiting: the event loop may do it
ledger.close()               what is left is entered, or stays in the journal for the next process
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from genai_spine.ledger.content import Unwritten, WaitingContent
from genai_spine.ledger.database import Database, said
from genai_spine.ledger.entry import Entry
from genai_spine.ledger.journal import Journal
from genai_spine.ledger.mover import Mover, Tail

EVERY_S = 0.5
"""How often entries are moved; a group of them is one transaction."""
LONGEST_WAIT_S = 5.0
MOST_HELD = 10_000
"""Entries that are kept in memory while the journal cannot be written; beyond it they are lost, and counted."""
_MOST_CAUGHT_UP = 100
"""Of those, how many are written on the occasion of another: some tenths of a millisecond."""

logger = logging.getLogger(__name__)


class Ledger:
    """What was spent, written down. Any thread may write; entries of one thread keep their order."""

    def __init__(
        self,
        folder: Path,
        open_database: Callable[[], Database],
        *,
        every_s: float = EVERY_S,
        retention_days: float | None = None,
        content_days: float | None = None,
    ) -> None:
        """Raises: OSError where the folder cannot be written."""
        self._journal = Journal(folder)
        self._lock = threading.Lock()
        self._held: deque[Entry] = deque()
        self.lost = 0
        """Entries that neither the journal nor memory had room for."""
        self.trouble: str | None = None
        """Why the database is not written at the moment; None: it is."""
        self.content = WaitingContent()
        """What was said, on its way into the database."""
        own = Tail(self._journal.process, folder, lambda: self._journal.path, self._take)
        self._mover = Mover(
            folder,
            own,
            open_database,
            retention_days=retention_days,
            content=self.content,
            content_days=content_days,
        )
        self._process = os.getpid()
        self._is_told_of_fork = False
        self._every_s = every_s
        self._is_closing = threading.Event()
        self._is_closed = False
        self._is_entered = False
        self._has_moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="genai-spine-ledger", daemon=True)
        self._thread.start()

    def write(self, *entries: Entry) -> bool:
        """Whether the entries are in the journal, by one write: they are kept in memory where the disk is full, and
        may be lost. In a process that was forked meanwhile, which has no copy of the thread, they are."""
        if os.getpid() != self._process:
            if not self._is_told_of_fork:
                self._is_told_of_fork = True
                logger.error(
                    "calls of this process do not come into the ledger, since their manager was started before a fork: "
                    "make and start one in each process"
                )
            return False
        with self._lock:
            if self._held or self._is_closed:
                return self._hold(entries) and self._catch_up(_MOST_CAUGHT_UP)
            try:
                self._journal.append(*entries)
            except OSError as error:
                logger.error("the ledger's journal cannot be written: %s; entries are kept in memory", error)
                self._hold(entries)
                return False
            if self._journal.is_full:
                self._turn()
            return True

    def keep(self, text: Unwritten) -> None:
        """What was said in a call: written down by the ledger's thread, or lost with the process."""
        self.content.add(text)

    def _take(self, segment: Path, at: int) -> tuple[list[Entry], int] | None:
        with self._lock:
            return self._journal.take(segment, at)

    def _hold(self, entries: tuple[Entry, ...]) -> bool:
        if len(self._held) + len(entries) <= MOST_HELD and not self._is_closed:
            self._held.extend(entries)
            return True
        if self._is_closed:
            logger.error("an entry came when the ledger was closed already: %s", entries[0].id)
        if not self.lost:
            logger.error("the ledger keeps %d entries in memory, and no more: those that come are lost", MOST_HELD)
        self.lost += len(entries)
        return False

    def _catch_up(self, most: int) -> bool:
        """Whether nothing is kept in memory any more."""
        try:
            while self._held and most:
                self._journal.append(self._held[0])
                self._held.popleft()
                most -= 1
        except OSError:
            return False
        if not self._held:
            logger.warning("the ledger's journal is written again; %d entries were lost", self.lost)
        if self._journal.is_full:
            self._turn()
        return not self._held

    def _catch_up_with_all(self) -> None:
        """In steps, between which others may write."""
        left = 0
        while self._held and len(self._held) != left:
            with self._lock:
                left = len(self._held)
                if left and not self._is_closed:
                    self._catch_up(_MOST_CAUGHT_UP)

    def _turn(self) -> None:
        try:
            self._journal.turn()
        except OSError as error:
            logger.error("the ledger cannot begin a new journal: %s; the old one grows", error)

    @property
    def current(self) -> Path:
        """The segment that is being written."""
        return self._journal.path

    def wait_for_adoption(self, timeout_s: float = 10.0) -> bool:
        """Whether all that processes before this one have written is in the database, waited for."""
        return self._has_moved.wait(timeout_s)

    @property
    def held(self) -> int:
        """Entries that are kept in memory, the journal not being writable."""
        return len(self._held)

    def close(self, timeout_s: float = 10.0) -> None:
        """Enter what is there; what cannot be entered in time stays in the journal. Takes no entry any more."""
        if os.getpid() != self._process:  # what is there is the parent's
            return
        with self._lock:
            if self._is_closed:
                return
            if self._held:
                self._catch_up(MOST_HELD)
            self.lost += len(self._held)
            self._is_closed = True
        self._is_closing.set()
        self._thread.join(timeout_s)
        if self.lost:
            logger.error("%d entries of the ledger are lost", self.lost)
        if self.content.lost:
            logger.error("the texts of %d calls were not kept", self.content.lost)
        self._journal.close(is_entered=self._is_entered)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        wait_s = 0.0
        while True:
            is_last = self._is_closing.wait(wait_s)
            self._catch_up_with_all()
            try:
                self._mover.move()
            except Exception as error:
                if self.trouble is None:
                    logger.error(
                        "the ledger's database cannot be written: %s; entries wait in the journal", said(error)
                    )
                self.trouble = said(error)
                wait_s = min(LONGEST_WAIT_S, max(self._every_s, 2 * wait_s))
            else:
                if self.trouble is not None:
                    logger.warning("the ledger's database is written again")
                    self.trouble = None
                self._has_moved.set()
                wait_s = self._every_s
            if is_last:
                self._is_entered = self.trouble is None and self._mover.has_entered_all
                self._mover.close()
                return
