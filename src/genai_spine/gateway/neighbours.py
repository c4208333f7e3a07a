"""The processes of one gateway tell each other their numbers: each leaves its own in a file of a folder of theirs.

Whichever is asked answers for all. A process that takes the place of another counts on from where that one was, as far
as it had told.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import msgspec

from genai_spine.engine.metrics.families import Family, counters

FRESH_S = 10.0
"""A process that has told nothing for so long is gone: what it counted stays, what it was doing does not."""

logger = logging.getLogger(__name__)


class Told(msgspec.Struct):
    """The numbers of one process; `at_s` is monotonic, which is one clock for all processes of a machine."""

    pid: int
    at_s: float
    families: list[Family]


class Neighbours:
    """Those of the process that has `place` in `folder`."""

    def __init__(self, folder: Path, place: int) -> None:
        self._file = folder / f"{place}.json"
        before = _read(self._file)
        self.before = counters(before.families) if before is not None else []
        """What the process counted whose place this one has taken."""
        self._has_failed = False

    def tell(self, families: list[Family]) -> None:
        """Whoever reads finds all of it, or all of what was told before."""
        told = Told(pid=os.getpid(), at_s=time.monotonic(), families=families)
        new = self._file.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(told))
            new.replace(self._file)
        except OSError as error:
            if not self._has_failed:  # it is tried again every second
                logger.warning("the numbers of this process cannot be written to %s: %s", self._file, error)
            self._has_failed = True
        else:
            self._has_failed = False

    def others(self) -> list[Told]:
        """What the others told last, within a second or so."""
        told = [_read(file) for file in sorted(self._file.parent.glob("*.json")) if file != self._file]
        return [each for each in told if each is not None]


def _read(file: Path) -> Told | None:
    try:
        told = msgspec.json.decode(file.read_bytes(), type=Told)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("the numbers of another process cannot be read from %s: %s", file, error)
        return None
    if time.monotonic() - told.at_s > FRESH_S:
        return Told(pid=0, at_s=told.at_s, families=counters(told.families))
    return told
