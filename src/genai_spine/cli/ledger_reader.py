"""The ledger for a command that reads it: what is not in it yet is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from genai_spine.cli.output import Output
from genai_spine.ledger.journal import left_by_the_dead
from genai_spine.ledger.opening import journal_of, reader_of
from genai_spine.ledger.reading import Reader
from genai_spine.settings import LedgerSettings


@contextmanager
def ledger_of(output: Output, settings: LedgerSettings) -> Iterator[Reader]:
    """As `reader_of`, with a warning where the last calls of a process that died wait in its journal. Raises:
    ConfigError."""
    with reader_of(settings) as reader:
        folder = journal_of(settings)
        if folder is not None and (dead := left_by_the_dead(folder)):
            whose = "a process" if len(dead) == 1 else f"{len(dead)} processes"
            output.warn(
                f"the last calls of {whose} that did not end by itself may be missing here: they are in {folder}, and "
                "are entered within half a minute once a gateway or a program with this ledger runs"
            )
        yield reader
