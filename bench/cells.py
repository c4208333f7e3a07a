"""The cells of the bench: what each one does, and how often. One function per kind; no printing here.

A measuring function returns one round's figures for one peer as a flat dict of floats. It raises
`WrongResult` when an answer was wrong, so that a cell with errors has no figures at all.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from answers import EVENTS, LAST_WORD, MARKER
from client import Load
from measure import drain, read_cpu, read_memory
from peers import (
    BENCH,
    ENVS,
    Ask,
    Call,
    Nginx,
    Peer,
    Running,
    Unavailable,
    clean_environment,
    run_quietly,
    spine_environment,
)
from upstream import Ports

Figures = dict[str, float]


class WrongResult(Exception):
    """A peer answered wrongly, or not at all; the message says how."""


PLAIN = Call(upstream="plain")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of the results."""

    name: str
    title: str
    kind: str  # cpu | latency | memory | start | library | size
    call: Call = PLAIN
    count: int = 0  # requests per round of a peer of weight 1
    quick: int = 0  # the same under --quick
    concurrency: int = 32
    weights: dict[str, float] = field(default_factory=dict)  # peers whose share is another here


CELLS = [
    Cell(name="relay", title="Relay, plain", kind="cpu", count=20_000, quick=1_000),
    Cell(
        name="relay_stream",
        title="Relay, stream of 100 events",
        kind="cpu",
        call=Call(upstream="stream", stream=True),
        count=4_000,
        quick=200,
    ),
    Cell(
        name="cross",
        title="OpenAI in, Anthropic out, plain",
        kind="cpu",
        call=Call(upstream="plain", dialect="anthropic"),
        count=20_000,
        quick=1_000,
    ),
    Cell(
        name="cross_stream",
        title="OpenAI in, Anthropic out, 100 events",
        kind="cpu",
        call=Call(upstream="stream", dialect="anthropic", stream=True),
        count=4_000,
        quick=200,
    ),
    *(
        Cell(
            name=dialect + suffix,
            title=f"OpenAI in, {title} out, {'100 events' if suffix else 'plain'}",
            kind="cpu",
            call=Call(upstream="stream" if suffix else "plain", dialect=dialect, stream=bool(suffix)),
            count=4_000 if suffix else 20_000,
            quick=200 if suffix else 1_000,
        )
        for dialect, title in (("gemini", "Gemini"), ("bedrock", "Bedrock Converse"))
        for suffix in ("", "_stream")
    ),
    Cell(
        name="agent",
        title="Relay, plain, an agent's request of 45 KB",
        kind="cpu",
        call=Call(upstream="plain", is_long=True),
        count=8_000,
        quick=400,
    ),
    Cell(
        name="relay_tls",
        title="Relay, plain, TLS to the upstream",
        kind="cpu",
        call=Call(upstream="tls"),
        count=20_000,
        quick=1_000,
    ),
    Cell(
        name="trickle",
        title="Relay, 100 events, each a packet of its own",
        kind="cpu",
        call=Call(upstream="trickle", stream=True),
        count=640,
        quick=96,
        weights={"litellm": 0.1, "portkey": 0.5},
    ),
    Cell(
        name="latency",
        title="Added latency, one at a time",
        kind="latency",
        count=3_000,
        quick=200,
        weights={"litellm": 0.1},
    ),
    Cell(
        name="memory",
        title="Open streams, one event a second each",
        kind="memory",
        call=Call(upstream="paced", stream=True),
        count=1_000,
        quick=200,
        weights={"litellm": 0.25, "portkey": 1.0},  # 1,000 events a second are more than LiteLLM can do
    ),
    Cell(name="start", title="Start", kind="start"),
    Cell(name="library", title="Library, in process", kind="library", count=2_000, quick=100),
    Cell(name="size", title="Installed size", kind="size"),
]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs to know of the run."""

    ports: Ports
    folder: Path
    quick: bool

    def count(self, cell: Cell, peer: Peer, least: int) -> int:
        """How many requests a peer gets in a round."""
        full = cell.quick if self.quick else cell.count
        return max(least, round(full * cell.weights.get(peer.name, peer.weight)))


class Client:
    """A load generator's process: warm, then told to go, then done."""

    def __init__(self, load: Load) -> None:
        command = [sys.executable, str(BENCH / "client.py"), json.dumps(asdict(load))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def warm(self) -> None:
        """Waits for the end of the warm-up. Raises: WrongResult."""
        line = self.read()
        if line != "warm":
            raise WrongResult(self.error(line))

    @staticmethod
    def error(line: str) -> str:
        try:
            return str(json.loads(line)["error"])
        except (ValueError, KeyError, TypeError):
            return line or "the load generator ended without a word"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> dict[str, Any]:
        """Lets it run (or, in mode "open", lets go); returns its outcome. Raises: WrongResult."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its last line says why
        line = self.read()
        try:
            outcome = json.loads(line)
        except ValueError:
            raise WrongResult(f"the load generator's last line is cut: {line[:200] or '(nothing)'}") from None
        if "error" in outcome:
            raise WrongResult(outcome["error"])
        return dict(outcome)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def client(load: Load) -> Iterator[Client]:
    """A load generator that is warm, and gone at the end of the block. Raises: WrongResult."""
    one = Client(load)
    try:
        one.warm()
        yield one
    finally:
        one.close()


def load_for(cell: Cell, ask: Ask, count: int, warmup: int) -> Load:
    """The load of a cell: the peer's request, and what every right answer has."""
    markers, events = [MARKER], 0
    if cell.call.stream:
        markers, events = [LAST_WORD], EVENTS - 5  # of 100 events Anthropic's carry 95 words, the others' more
        if cell.call.dialect == "openai":
            markers, events = ["data: [DONE]", '"finish_reason":"stop"'], EVENTS - 3
    return Load(
        port=ask.port,
        path=ask.path,
        headers=ask.headers,
        body=ask.body.decode(),
        count=count,
        warmup=warmup,
        concurrency=min(cell.concurrency, count),
        markers=markers,
        events=events,
        event_mark=ask.event_mark,
    )


def measure_cpu(bench: Bench, cell: Cell, running: Running) -> Figures:
    """CPU per request: the peer's process tree, from drained to drained."""
    ask = running.peer.ask(cell.call, running.port, bench.ports)
    count = bench.count(cell, running.peer, 32)
    with client(load_for(cell, ask, count, max(64, count // 4))) as one:
        drain(running.pid)
        before = read_cpu(running.pid)
        outcome = one.go()
        drain(running.pid)
        used_us = before.until(read_cpu(running.pid)) / 1000
    figures = {"cpu_us": used_us / count, "count": count, "per_s": count / outcome["seconds"]}
    if cell.call.stream:
        figures["event_us"] = figures["cpu_us"] / EVENTS
    return figures


def _one_at_a_time(bench: Bench, cell: Cell, ask: Ask, count: int) -> dict[str, Any]:
    with client(replace(load_for(cell, ask, count, max(20, count // 10)), concurrency=1)) as one:
        return one.go()


def measure_latency(bench: Bench, cell: Cell, running: Running) -> Figures:
    """Latency with one request at a time, through the peer and straight to the upstream in turn."""
    count = bench.count(cell, running.peer, 50)
    direct = Nginx().ask(cell.call, bench.ports.plain, bench.ports)
    direct = replace(direct, path="/v1/chat/completions")
    straight = _one_at_a_time(bench, cell, direct, max(count, 500))
    drain(running.pid)
    through = _one_at_a_time(bench, cell, running.peer.ask(cell.call, running.port, bench.ports), count)
    figures = {}
    for name in ("p50_us", "p95_us"):
        figures[f"direct_{name}"] = straight[name]
        figures[f"added_{name}"] = through[name] - straight[name]
    return figures


def open_upstream(port: int) -> int:
    """How many paced streams the upstream serves now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/open")
        return int(connection.getresponse().read())
    finally:
        connection.close()


def measure_memory(bench: Bench, cell: Cell, running: Running) -> Figures:
    """Memory per open stream of a fresh peer, and how long it keeps upstreams after callers left."""
    streams = bench.count(cell, running.peer, 50)
    warm = Cell(name="warm", title="", kind="cpu", call=Call(upstream="stream", stream=True))
    warm_ask = running.peer.ask(warm.call, running.port, bench.ports)
    with client(load_for(warm, warm_ask, 32, 32)) as one:
        one.go()
    drain(running.pid)
    before = read_memory(running.pid)
    ask = running.peer.ask(cell.call, running.port, bench.ports)
    load = replace(load_for(cell, ask, streams, 0), mode="open", markers=[], events=0, concurrency=50)
    with client(load) as one:
        time.sleep(3 if bench.quick else 10)
        during, cpu, began = read_memory(running.pid), read_cpu(running.pid), time.perf_counter()
        time.sleep(2 if bench.quick else 5)
        used_us = cpu.until(read_cpu(running.pid)) / 1000 / (time.perf_counter() - began)
        held = open_upstream(bench.ports.paced)
        outcome = one.go()
    if held < streams:
        raise WrongResult(f"only {held} of {streams} streams were open at the upstream")
    if outcome["least_events"] < 1:
        raise WrongResult(f"a stream of {streams} stood still for {outcome['seconds']:.0f} s")
    left, deadline = time.perf_counter(), time.perf_counter() + 15
    while open_upstream(bench.ports.paced) and time.perf_counter() < deadline:
        time.sleep(0.05)
    return {
        "kb_per_stream": (during.rss_kb - before.rss_kb) / streams,
        "pss_kb_per_stream": (during.pss_kb - before.pss_kb) / streams,
        "streams": streams,
        "rss_before_mb": before.rss_kb / 1024,
        "rss_open_mb": during.rss_kb / 1024,
        "paced_event_us": used_us / (outcome["events"] / outcome["seconds"]),
        "released_s": time.perf_counter() - left,
    }


def measure_start(bench: Bench, cell: Cell, running: Running) -> Figures:
    """Start of the process that has just been launched, and what it holds before its first request."""
    drain(running.pid)
    memory = read_memory(running.pid)
    return {
        "ready_s": running.ready_s,
        "rss_mb": memory.rss_kb / 1024,
        "pss_mb": memory.pss_kb / 1024,
    }


def library_python(name: str) -> tuple[str, dict[str, str]]:
    """The interpreter and the environment of a client library. Raises: Unavailable."""
    if name == "spine":
        return sys.executable, spine_environment()
    python = ENVS / name / "bin" / "python"
    if not python.exists():
        raise Unavailable(f"its environment is missing: bench/.envs/{name}")
    return str(python), clean_environment(LITELLM_LOCAL_MODEL_COST_MAP="True")


def measure_library(bench: Bench, cell: Cell, name: str, loop: str) -> Figures:
    """CPU per `complete`, in a fresh process with the library's own environment."""
    python, env = library_python(name)
    count = cell.quick if bench.quick else cell.count
    base_url = f"{bench.ports.origin('plain')}/v1"
    command = [python, str(BENCH / "library.py"), name, base_url, str(count), "--loop", loop]
    figures: Figures = json.loads(run_quietly(command, env=env).strip().splitlines()[-1])
    return figures


def measure_import(name: str) -> Figures:
    """Milliseconds that `import NAME` adds to a Python that starts, and to its memory: medians of five."""
    python, env = library_python(name)
    module = {"spine": "genai_spine"}.get(name, name)
    with_ms: list[float] = []
    bare_ms: list[float] = []
    run_quietly([python, "-c", f"import {module}"], env=env)  # writes the bytecode
    for _ in range(5):
        for code, times in ((f"import {module}", with_ms), ("pass", bare_ms)):
            began = time.perf_counter()
            run_quietly([python, "-c", code], env=env)
            times.append((time.perf_counter() - began) * 1000)
    return {"import_ms": statistics.median(with_ms) - statistics.median(bare_ms)}


def _weigh(entries: Iterable[Path]) -> Figures:
    """Megabytes (10⁶ bytes) of files and folders, with and without Python's bytecode."""
    files = [file for entry in entries for file in [entry, *entry.rglob("*")] if file.is_file()]
    bytecode = sum(file.stat().st_size for file in files if file.suffix == ".pyc") / 1e6
    size = sum(file.stat().st_size for file in files) / 1e6
    return {"size_mb": size, "source_mb": size - bytecode}


def measure_size(name: str) -> Figures:
    """Megabytes and packages that an installation brings, without pip and setuptools. Raises: Unavailable."""
    if name == "portkey":
        modules = ENVS / "portkey" / "node_modules"
        if not modules.exists():
            raise Unavailable("its environment is missing: bench/.envs/portkey")
        packages = [file for file in modules.rglob("package.json") if _is_package(file)]
        return _weigh([modules]) | {"packages": len(packages)}
    if name == "spine":
        python = _install_core()
    else:
        python = Path(library_python(name)[0])
    folder = Path(run_quietly([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    tools = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth", "pkg_resources")
    kept = [entry for entry in folder.iterdir() if not entry.name.startswith(tools)]
    packages = [entry for entry in kept if entry.name.endswith(".dist-info")]
    return _weigh(kept) | {"packages": len(packages)}


def _is_package(file: Path) -> bool:
    parent = file.parent.parent
    return parent.name == "node_modules" or (parent.name.startswith("@") and parent.parent.name == "node_modules")


def _install_core() -> Path:
    """A fresh environment with nothing but this checkout, installed as a user would."""
    python = ENVS / "core" / "bin" / "python"
    run_quietly([sys.executable, "-m", "venv", "--clear", ENVS / "core"])
    run_quietly([python, "-m", "pip", "install", "--quiet", str(BENCH.parent)])
    return python


def check_upstream(bench: Bench) -> None:
    """Asks the upstream everything once, directly. Raises: WrongResult when the bench itself is broken."""
    for cell in CELLS:
        if cell.kind not in ("cpu", "latency") or cell.call.upstream == "tls":
            continue
        ask = Nginx().ask(cell.call, getattr(bench.ports, cell.call.upstream), bench.ports)
        path = ask.path.removeprefix(f"/{cell.call.upstream}")
        with client(load_for(cell, replace(ask, path=path), 4, 0)) as one:
            one.go()
