"""Timeouts of one call, tighter or looser than its provider's: those of a route or a request, and what is left of
a deadline over several attempts.

    with overriding(route.timeouts, until_s=deadline):
        answer = await provider.complete(request)

They hold for every request that is sent in the block, and in tasks made in it. Of a stream, the request is sent
when its first event is asked for: only that belongs in the block. Must not know: HTTP, routes, attempts.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token

import msgspec

from genai_spine.providers.transport import Timeouts
from genai_spine.settings import TimeoutOverrides

_LEAST_S = 0.001
"""What is left of a deadline that has passed: enough for an error that says so."""


class overriding:  # it reads as a verb: with overriding(…)
    """A block with timeouts of its own. `until_s` is a moment of `time.monotonic()`, by which all must be over."""

    __slots__ = ("_outer", "_overrides", "_until_s")

    def __init__(self, overrides: TimeoutOverrides | None = None, *, until_s: float | None = None) -> None:
        self._overrides = overrides
        self._until_s = until_s

    def __enter__(self) -> None:
        self._outer: Token[overriding | None] = CURRENT.set(self)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._outer)

    def over(self, base: Timeouts) -> Timeouts:
        """`base` with these on top."""
        connect_s, first_byte_s, idle_s, total_s = base.connect_s, base.first_byte_s, base.idle_s, base.total_s
        is_of_call = False
        if (given := self._overrides) is not None:
            connect_s = connect_s if given.connect is None else given.connect
            first_byte_s = first_byte_s if given.first_token is None else given.first_token
            idle_s = idle_s if given.idle is None else given.idle
            total_s = total_s if given.total is None else given.total
        if self._until_s is not None:
            left_s = max(_LEAST_S, self._until_s - time.monotonic())
            is_of_call = total_s is None or left_s < total_s
            total_s = left_s if is_of_call else total_s
        return msgspec.structs.replace(
            base,
            connect_s=connect_s,
            first_byte_s=first_byte_s,
            idle_s=idle_s,
            total_s=total_s,
            is_of_call=is_of_call,
        )


CURRENT: ContextVar[overriding | None] = ContextVar("timeout_overrides", default=None)
"""The block that we are in."""


def in_force(timeouts: Timeouts) -> Timeouts:
    """A provider's timeouts, or those of the block that we are in."""
    override = CURRENT.get()
    return timeouts if override is None else override.over(timeouts)
