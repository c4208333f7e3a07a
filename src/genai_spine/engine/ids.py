"""Names for calls, requests and streams: unique over all processes, and not secret.

    _ids = Ids("call_")
    _ids.new()                          "call_c7496dd857bd003b0000002a"

The ledger knows a call by its name, so that it is entered once: two processes with the same names lose calls.
"""

from __future__ import annotations

import os
from itertools import count


class Ids:
    """Names of one kind. A process that is forked, as a web server's workers are, begins names of its own."""

    __slots__ = ("_kind", "_numbers", "_prefix")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._begin()
        if hasattr(os, "register_at_fork"):  # Windows does not fork
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._prefix = f"{self._kind}{os.urandom(8).hex()}"
        self._numbers = count()

    def new(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"
