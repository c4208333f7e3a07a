"""Gateways that a request has come through, so that none asks itself: FAULTS 83.

    x-spine-hop: 1f0c…,9a3e…      the oldest first

It goes only to addresses that the operator has set: no service of the catalog is a gateway of ours. Each process
has a name of its own, forked workers that of their parent.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

HEADER = "x-spine-hop"
HERE = os.urandom(8).hex()
MOST = 8
"""Gateways behind each other; more are a loop that some proxy has hidden."""

_NAME = re.compile("[0-9a-f]{16}")

CAME_BY: ContextVar[str] = ContextVar("came_by", default="")
"""The header of the request that is being answered."""


def arrive(header: str) -> bool:
    """Take note of a request's header; False where it has been here before, or in too many places.

    What is no name of a gateway is a caller's invention, and goes nowhere.
    """
    names = [name for each in header.split(",") if _NAME.fullmatch(name := each.strip())]
    if HERE in names or len(names) > MOST:
        return False
    CAME_BY.set(",".join(names))
    return True


def outgoing() -> str:
    """The header of what is asked on behalf of it."""
    came_by = CAME_BY.get()
    return f"{came_by},{HERE}" if came_by else HERE
