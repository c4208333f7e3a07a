"""A running simulator for tests, with what it received to assert on. Needs no test framework.

    with running_simulator() as simulator:                      # in a thread: for any kind of test
        client = openai.OpenAI(base_url=simulator.urls.openai, api_key="unused")
        simulator.run("status=503", "ok")                       # faults of the next requests
        ...
        assert [request.status for request in simulator.received] == [503, 200]

As a pytest fixture:

    @pytest.fixture
    def simulator():
        with running_simulator() as simulator:
            yield simulator

`async with Simulator() as simulator` runs in the loop of the test itself; there a client that blocks the
loop blocks the simulator, too.

A gateway, and a gateway in front of a simulator:

    with running_simulator() as simulator, running_gateway(
        {"providers": {"up": {"type": "openai_compatible", "base_url": simulator.urls.openai}}}
    ) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused")
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import uvloop

from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.app import Gateway
from genai_spine.gateway.server import serve
from genai_spine.providers.registry import settings_of
from genai_spine.settings import Settings
from genai_spine.testing.simulator.bill import DEFAULT_RATES, Rates
from genai_spine.testing.simulator.script import Script
from genai_spine.testing.simulator.server import Simulator


@contextmanager
def running_simulator(
    *,
    script: Script | None = None,
    key: str | None = None,
    port: int = 0,
    keep: int = 1000,
    rates: Mapping[str, Rates] = DEFAULT_RATES,
) -> Iterator[Simulator]:
    """A simulator on loopback, in a thread with a loop of its own. Raises: ConfigError as `start` does."""
    simulator = Simulator(script=script, key=key, keep=keep, rates=rates)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(port=port), loop).result(10)
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(simulator.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class RunningGateway:
    """A gateway on loopback, on a port of its own, in a thread with a loop of its own."""

    def __init__(self, settings: Settings) -> None:
        server = msgspec.structs.replace(settings.server, host="127.0.0.1", port=0)
        self.settings = msgspec.structs.replace(settings, server=server)
        self.gateway = Gateway(ProviderManager.from_settings(self.settings), self.settings)
        self.manager = self.gateway.manager
        self.port = 0
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    @property
    def url(self) -> str:
        """For clients of Anthropic and Ollama; those of OpenAI take `/v1` behind it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it listens. Raises: what its start raises."""
        self._thread.start()
        self._ready.wait(10)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask it to end, as SIGTERM does; a second time to hurry."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self, timeout_s: float = 10) -> None:
        """Raises: AssertionError where it does not end in time."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the gateway did not end within {timeout_s} s"

    def _run(self) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(lambda: self.gateway, self.settings.server, ready=self._note, stop=self._stop)

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def _note(self, host: str, port: int) -> None:
        self.port = port
        self._ready.set()


@contextmanager
def running_gateway(settings: Settings | Mapping[str, Any]) -> Iterator[RunningGateway]:
    """A gateway with these settings: a mapping is a whole settings file, or only its `providers` table.

    Raises: ConfigError for settings that cannot work.
    """
    running = RunningGateway(settings_of(settings))
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.join()


def wait_until(claim: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Block until the claim is true. Raises: AssertionError when it does not become so in time."""
    end_s = time.monotonic() + timeout_s
    while not claim():
        if time.monotonic() > end_s:
            raise AssertionError(f"not so after {timeout_s} s")
        time.sleep(0.005)


async def eventually(claim: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """The same, for tests whose loop must go on meanwhile."""
    end_s = time.monotonic() + timeout_s
    while not claim():
        if time.monotonic() > end_s:
            raise AssertionError(f"not so after {timeout_s} s")
        await asyncio.sleep(0.005)
