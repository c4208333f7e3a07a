"""Append-only files that hold each entry until the database has it.

A journal is a folder of segments, `<process>-<number>.journal`. Each process writes segments of its own, and holds a
lock on `<process>.lock` while it lives: segments whose process holds none are orphans, which any other process
may adopt. A segment is frames of

    length (u32, little-endian) · CRC-32 of the payload (u32) · payload (MessagePack of an Entry)

A frame is written by one write() and so is in the operating system's hands when `append` returns: kill -9 of this
process cannot take it back. A power cut can take what has not reached the disk. A torn end of a segment was never
acknowledged; damage in the middle costs the entries that it hits, and no others. Must not know: the database.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import msgspec

from genai_spine.ledger.entry import Entry

SEGMENT_BYTES = 8 * 1024 * 1024
_HEAD = struct.Struct("<II")
MOST_FRAME = 64 * 1024
MOST_FRESH = 10_000
"""Entries in memory, for the process's own reader: some megabytes."""
_LONGEST_TEXT = 500
_OF_ADDRESS = re.compile("[0-9a-f]{16}")
_MOST_TAGS = 32
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode

logger = logging.getLogger(__name__)


class Journal:
    """The segments of this process. One thread at a time appends, takes, turns and closes."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError where the folder cannot be made or written."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.process = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._lock = _new_lock(folder / f"{self.process}.lock")
        self._number = 0
        self._written = 0
        self._fresh: list[Entry] | None = []
        """The segment's entries from the byte `_fresh_at` on; None where there were too many."""
        self._fresh_at = 0
        self._file = self._open(0)

    def append(self, *entries: Entry) -> None:
        """Raises: OSError, as when the disk is full or the journal closed; nothing of the entries is kept then."""
        try:
            frames = _frame(entries[0]) if len(entries) == 1 else b"".join(map(_frame, entries))
        except UnicodeEncodeError:  # half of a surrogate pair in a name that a program has made up
            entries = tuple(_changed(entry, _mended) for entry in entries)
            frames = b"".join(map(_frame, entries))
        if len(frames) > MOST_FRAME:
            entries = tuple(map(_shortened, entries))
            frames = b"".join(map(_frame, entries))
        written = os.write(self._file, frames)
        if written != len(frames):
            # A disk that fills up takes a part: it is cut off, so that what follows can be read.
            os.ftruncate(self._file, self._written)
            raise OSError(errno.ENOSPC, f"only {written} of {len(frames)} bytes were written", str(self.path))
        self._written += written
        fresh = self._fresh
        if fresh is not None:
            fresh += entries
            if len(fresh) > MOST_FRESH:
                self._fresh = None

    def take(self, segment: Path, at: int) -> tuple[list[Entry], int] | None:
        """The entries of a segment from the byte `at` to its present end, without reading them back, and that end;
        None where they are to be read. Another thread may ask, while nobody appends."""
        entries = self._fresh
        if entries is None or at != self._fresh_at or segment != self.path:
            return None
        if entries:
            self._fresh, self._fresh_at = [], self._written
        return entries, self._fresh_at

    @property
    def path(self) -> Path:
        """The segment that is being written. Another thread may ask: any other one is not written any more."""
        return self._path(self._number)

    @property
    def is_full(self) -> bool:
        return self._written >= SEGMENT_BYTES

    def turn(self) -> None:
        """Begin a new segment. Raises: OSError; the old one is written on then."""
        file = self._open(self._number + 1)
        os.close(self._file)
        self._file, self._written = file, 0
        self._fresh, self._fresh_at = [], 0
        self._number += 1  # last: from now on the old segment counts as whole

    def close(self, *, is_entered: bool = False) -> None:
        """Segments stay, and the lock file with them, by which they are found, unless all of them is entered."""
        os.close(self._file)
        self._file = -1  # a late entry must not reach a file of somebody else's
        if is_entered or not self._written:
            self.path.unlink(missing_ok=True)
        if not _segments(self.folder, self.process):
            (self.folder / f"{self.process}.lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.process}-{number:08d}.journal"

    def _open(self, number: int) -> int:
        return os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _frame(entry: Entry) -> bytes:
    payload = _encode(entry)
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def _shortened(entry: Entry) -> Entry:
    """One that no frame holds is kept without most of the texts that a caller has made longer than any name is."""
    if len(_encode(entry)) <= MOST_FRAME:
        return entry
    return _changed(entry, lambda text: text[:_LONGEST_TEXT])


def _changed(entry: Entry, change: Callable[[str], str]) -> Entry:
    """With its texts changed, and no more tags than a call may have."""
    changes: dict[str, object] = {}
    for name in entry.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, str):
            changes[name] = change(value)
        elif isinstance(value, tuple):
            changes[name] = tuple(change(str(tag)) for tag in value[:_MOST_TAGS])
    return msgspec.structs.replace(entry, **changes)


def _mended(text: str) -> str:
    return text.encode(errors="replace").decode()


# ---------------------------------------------------------------- what others have left


class Orphan:
    """What a process that is gone has left. Held until `close`, so that no other process adopts it too."""

    def __init__(self, folder: Path, process: str, lock: int) -> None:
        self._folder = folder
        self.process = process
        self._lock = lock

    @property
    def segments(self) -> list[Path]:
        return _segments(self._folder, self.process)

    def close(self) -> None:
        if not self.segments:
            (self._folder / f"{self.process}.lock").unlink(missing_ok=True)
        os.close(self._lock)


def orphans(folder: Path) -> Iterator[Orphan]:
    """The processes that have left segments and do not live, each locked for us. What cannot be opened, as when it
    belongs to another user, is passed over."""
    left = {path.stem for path in folder.glob("*.lock")}
    left |= {path.stem.rpartition("-")[0] for path in folder.glob("*.journal")}
    for process in sorted(left):
        try:
            lock = _try_lock(folder / f"{process}.lock")
        except OSError as error:
            logger.warning("the journal of process %s cannot be adopted: %s", process, error)
            continue
        if lock is not None:
            yield Orphan(folder, process, lock)


def left_by_the_dead(folder: Path) -> list[str]:
    """The processes that have left segments with entries and do not live. Nothing is written, nor held."""
    left = set()
    for segment in folder.glob("*.journal"):
        with suppress(FileNotFoundError):  # entered meanwhile
            left |= {segment.stem.rpartition("-")[0]} if segment.stat().st_size else set()
    return [process for process in sorted(left) if not _lives(folder, process)]


def _lives(folder: Path, process: str) -> bool:
    """Or somebody adopts it at this moment, or it is not ours to see."""
    try:
        file = os.open(folder / f"{process}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def left_beside(folder: Path) -> list[Path]:
    """Other databases' folders beside one that is named after its database's address, which hold segments of processes
    that do not live: the address may have been changed before they were entered."""
    left = []
    for other in sorted(folder.parent.glob("*")) if _OF_ADDRESS.fullmatch(folder.name) else ():
        if other != folder and _OF_ADDRESS.fullmatch(other.name):
            for orphan in orphans(other):
                left += [other] if orphan.segments and other not in left else []
                orphan.close()
    return left


def _segments(folder: Path, process: str) -> list[Path]:
    return sorted(folder.glob(f"{process}-*.journal"))


def _new_lock(path: Path) -> int:
    """A lock file that is locked as soon as others can see it under its name."""
    unseen = path.with_suffix(".new")
    file = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unseen.rename(path)
    return file


def _try_lock(path: Path) -> int | None:
    """None where its process lives, or another one has adopted it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(file).st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass  # held; or adopted, entered and removed between our two steps
    os.close(file)
    return None


# ---------------------------------------------------------------- reading


def read(segment: Path) -> list[Entry]:
    """All entries of a segment that are whole."""
    return decode(segment.read_bytes(), segment.name, is_whole=True)[0]


def decode(data: bytes, name: str, *, is_whole: bool) -> tuple[list[Entry], int]:
    """The entries of a segment's bytes, and how many bytes are done with.

    What follows them is the beginning of a frame of which more may come, or, where the bytes are the whole
    segment, an end that was torn: then it is told, and left out, as what is damaged between two whole frames is.
    """
    entries: list[Entry] = []
    at = 0
    while at < len(data):
        payload = _payload_at(data, at)
        if payload is None:
            begin = _next_frame(data, at + 1)
            if begin is None:
                break
            logger.error("%s: %d bytes are damaged; the entries there are lost", name, begin - at)
            at = begin
            continue
        try:
            entries.append(_decode(payload))
        except msgspec.DecodeError as error:
            logger.error("%s: an entry of another version is left out: %s", name, error)
        at += _HEAD.size + len(payload)
    if is_whole and at < len(data):
        logger.warning("%s: the last %d bytes are no whole entry", name, len(data) - at)
    return entries, at


def _payload_at(data: bytes, at: int) -> bytes | None:
    """The payload of a frame that begins here; None where none does, or not all of it is there."""
    begin = at + 8
    if begin > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    payload = data[begin : begin + length]
    if not 0 < length <= MOST_FRAME or len(payload) < length or crc32(payload) != checksum:
        return None
    return payload


def _next_frame(data: bytes, begin: int) -> int | None:
    """Where after damaged bytes the next frame is. A chance hit takes a checksum to be right by chance."""
    return next((at for at in range(begin, len(data) - _HEAD.size) if _payload_at(data, at) is not None), None)
