"""The event loop of a command that calls providers.

asyncio resolves names in threads and waits for them before a program may end: a name server that does not
answer would hold back Ctrl-C and every timeout. Here such threads are daemons, and nobody waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class _Daemons(ThreadPoolExecutor):
    """A daemon thread for each call; asyncio takes no executor but this class's children."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="spine-blocking-call", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@contextmanager
def new_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_Daemons())
        yield runner


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, without waiting for blocked threads."""
    with new_runner() as runner:
        return runner.run(work)
