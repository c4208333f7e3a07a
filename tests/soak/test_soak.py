"""FAULTS 82: hours of mixed traffic with faults and disconnects leave nothing behind.

A real `spine serve` and a real `spine simulate`, each a process of its own. Traffic for `GENAI_SOAK_MINUTES` (20);
every few seconds the gateway's resident memory is read. Then all is quiet, and

    memory       a line is laid through the second half of the readings by least squares. Its rise may be explained by
                 chance (three standard errors) or stay below 1 MB an hour; what it rose in all is bounded, too
    sockets      as many as before, after a first minute of the same traffic and the same quiet
    tasks        no stream is listed, nothing in flight at any target
    reservations as many calls at a time as the limit says are let in at once, and one more is not
    answers      no 500 by the gateway, no answer cut off, no traceback in its log

`make soak`; the figures are printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from soak_traffic import Traffic

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from spine_process import Place, Running

MINUTES = float(os.environ.get("GENAI_SOAK_MINUTES", "20"))
CALLERS = int(os.environ.get("GENAI_SOAK_CALLERS", "12"))
WARM_UP_S = min(60.0, MINUTES * 60 / 5)
EVERY_S = 2.0
QUIET_S = 25.0
"""Longer than any timeout of the settings below, and than idle connections to providers are kept."""
LIMIT = 40
SETTINGS = """
[server]
api_keys = ["soak-key"]
access_log = false
[providers]
default = "oa"
fallback_order = ["oa", "an", "ol"]
[providers.oa]
type = "openai_compatible"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "k"
model = "sim-long-40"
[providers.an]
type = "anthropic"
base_url = "http://127.0.0.1:{port}"
api_key = "k"
model = "sim-long-40"
max_concurrency = 30
[providers.ol]
type = "ollama"
dialect = "ollama_chat"
base_url = "http://127.0.0.1:{port}"
model = "sim-long-40"
[retry]
max_retries = 1
initial_delay = "5ms"
max_delay = "50ms"
[timeouts]
connect = 1
first_token = 0.5
idle = 0.5
total = 5
[breaker]
open_for = 1
[hedge]
budget = 0.05
after = 0.2
[routing]
single_flight = true
[limits]
max_concurrency = {limit}
tokens_per_min = 1000000000
max_wait = 5
[streams]
keep_alive = 0.2
on_break = "continue"
"""


class Line(NamedTuple):
    """A line through readings, and how sure its slope is."""

    slope: float
    error: float


def line_through(readings: list[tuple[float, float]]) -> Line:
    """Least squares; the error is the slope's standard error."""
    count = len(readings)
    mean_x = sum(x for x, _ in readings) / count
    mean_y = sum(y for _, y in readings) / count
    spread = sum((x - mean_x) ** 2 for x, _ in readings)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in readings) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in readings)
    return Line(slope, (rest / max(count - 2, 1) / spread) ** 0.5)


class Gateway:
    """The process under test, from outside."""

    def __init__(self, process: Running) -> None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.expect("http://127.0.0.1:"))
        assert found
        self.port = int(found[1])
        self.process = process
        self.pid = process.process.pid

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def sockets(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def get(self, path: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"authorization": "Bearer soak-key", "connection": "close"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def under_way(self) -> tuple[int, int]:
        """Streams that are listed, and calls that are in flight at any target."""
        targets = [model for provider in self.get("/v1/providers")["data"] for model in provider["models"]]
        return len(self.get("/v1/streams")["data"]), sum(target["in_flight"] for target in targets)


async def drive(gateway: Gateway, seconds: float, seed: int, readings: list[tuple[float, float]]) -> Traffic:
    traffic = Traffic(gateway.port, "soak-key", seed)
    callers = [asyncio.create_task(traffic.caller()) for _ in range(CALLERS)]
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        readings.append((now - begun, gateway.memory_mb()))
        _ = gateway.process.err  # what it logs is read, or it would wait for us
        for caller in callers:
            if caller.done():
                caller.result()
        await asyncio.sleep(EVERY_S)
    traffic.stop()
    await asyncio.gather(*callers)
    return traffic


async def admitted(gateway: Gateway, calls: int) -> list[int]:
    """The statuses of so many calls at the same time."""

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        body = json.dumps(
            {
                "model": "oa/sim-long-40+stall=head,for_s=0.4",
                "provider": "oa",
                "messages": [{"role": "user", "content": f"{number}"}],
            }
        )
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer soak-key\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        await reader.read()
        writer.close()
        return status

    return await asyncio.gather(*(one(number) for number in range(calls)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.soak
def test_fault_82_hours_of_traffic_leave_nothing_behind(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.started("simulate", "--port", "0") as simulator:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", simulator.expect("http://127.0.0.1:"))
        assert found
        place.write(SETTINGS.format(port=found[1], limit=LIMIT))
        with place.started("serve", "--port", "0") as process:
            gateway = Gateway(process)
            figures = asyncio.run(soak(gateway))
            with capsys.disabled():
                print("\n" + "\n".join(f"{name:>28}  {value}" for name, value in figures.items()))
            assert "Traceback" not in process.err, process.err[-3000:]


async def soak(gateway: Gateway) -> dict[str, Any]:
    await drive(gateway, WARM_UP_S, 0, [])
    await asyncio.sleep(QUIET_S)
    sockets, threads = gateway.sockets(), gateway.threads()

    readings: list[tuple[float, float]] = []
    traffic = await drive(gateway, MINUTES * 60, 1, readings)
    await asyncio.sleep(QUIET_S)
    half = readings[len(readings) // 2 :]
    line = line_through(half)
    hourly, error = line.slope * 3600, line.error * 3600
    risen = line.slope * (half[-1][0] - half[0][0])
    streams, in_flight = gateway.under_way()
    figures = {
        "calls": traffic.calls,
        "statuses": dict(sorted(traffic.statuses.items())),
        "left": traffic.left,
        "cut off": traffic.cut,
        "memory, first and last (MB)": f"{readings[0][1]:.1f} {readings[-1][1]:.1f}",
        "slope (MB/h, standard error)": f"{hourly:+.2f} ± {error:.2f} over the last {half[-1][0] - half[0][0]:.0f} s",
        "sockets, before and after": f"{sockets} {gateway.sockets()}",
        "threads, before and after": f"{threads} {gateway.threads()}",
        "streams, in flight": f"{streams} {in_flight}",
    }
    print(figures)
    assert traffic.statuses[500] == 0, traffic.server_errors[:3]
    assert traffic.cut == 0
    assert (streams, in_flight) == (0, 0)
    assert gateway.sockets() <= sockets + 2
    assert gateway.threads() <= threads + 1
    assert hourly - 3 * error < 1.0, figures
    assert risen < 3.0, figures
    statuses = await admitted(gateway, LIMIT)
    assert statuses == [200] * LIMIT, "a place was never given back"
    return figures
