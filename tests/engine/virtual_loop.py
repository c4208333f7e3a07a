"""An event loop whose time does not pass: where it would sleep, the clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing; the time that it was to wait has passed."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now_s

    def clock_ns(self) -> int:
        return round(self.jumping.now_s * 1e9)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.run_until_complete(what)

    def pass_s(self, seconds: float) -> None:
        """So much time passes, and all that is due by then is done."""
        self.run(asyncio.sleep(seconds))
        self.settle_down()

    def settle_down(self) -> None:
        """All that can go on without time passing has done so."""
        for _ in range(10):
            self.run(asyncio.sleep(0))
