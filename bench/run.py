"""The bench: `python bench/run.py [--quick] [--only CELL…] [--peers PEER…] [--out FILE]`.

Rounds are interleaved: in every round each peer has its turn in each cell, in an order that rotates,
after a warm-up and when the peer before it has come to rest. Of a peer that cannot be had, or that
answers wrongly, the results say so; it never ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cells
from cells import CELLS, Bench, Cell, Figures, WrongResult
from measure import drain
from peers import (
    BENCH,
    ENVS,
    PEERS,
    Peer,
    Processes,
    Running,
    Unavailable,
    answers,
    free_ports,
    launch,
    make_venv,
    processes,
    venv_version,
)
from report import Results, render
from upstream import Ports, write_configs

OUT = BENCH / "out"
CLIENTS = ("spine", "openai", "litellm")


def public(text: str) -> str:
    """The text without this machine's folders."""
    for folder, shown in (
        (BENCH.parent, "."),
        (Path(sys.prefix), "<python>"),
        (Path(tempfile.gettempdir()), "<tmp>"),
    ):
        text = text.replace(str(folder), shown)
    return text


def say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


class Session:
    """One run: what is up, and what was found so far. Every round's figures are saved as they come."""

    def __init__(self, bench: Bench, started: Processes, file: Path, facts: dict[str, str]) -> None:
        self.bench, self.started, self.file, self.facts = bench, started, file, facts
        self.results: Results = {}

    def note(self, cell: Cell, peer: str, number: int, measure: Callable[[], Figures]) -> None:
        """Measures and keeps the figures, or the reason why there are none."""
        found = self.results.setdefault(cell.name, {}).setdefault(peer, {"rounds": []})
        if "error" in found:
            return
        try:
            figures = measure()
        except (WrongResult, Unavailable) as reason:
            found["error"] = public(str(reason))
            say(f"{cell.name} {peer}: {reason}")
        else:
            found["rounds"].append({"round": number, **figures})
            say(f"{cell.name} {peer} #{number}: " + ", ".join(f"{k} {v:,.1f}" for k, v in figures.items()))
        self.save()

    def save(self) -> None:
        self.file.write_text(json.dumps({"facts": self.facts, "results": self.results}, indent=1))


def rotated(things: list[Any], number: int) -> list[Any]:
    """The same things, another one first in every round."""
    return things[number % len(things) :] + things[: number % len(things)] if things else []


def run_gateways(session: Session, chosen: list[Cell], peers: list[Peer], rounds: int) -> None:
    """Cells of CPU and latency: all peers are up and at rest but the one that is measured."""
    chosen = [cell for cell in chosen if cell.kind in ("cpu", "latency")]
    if not chosen:
        return
    measures = {"cpu": cells.measure_cpu, "latency": cells.measure_latency}
    running: list[Running] = []
    for peer in peers:
        try:
            running.append(launch(peer, session.started, session.bench.ports, session.bench.folder))
        except Unavailable as reason:
            say(str(reason))
            for cell in chosen:
                session.results.setdefault(cell.name, {})[peer.name] = {
                    "rounds": [],
                    "error": public(str(reason)),
                }
    for number in range(rounds):
        for cell in chosen:
            for one in rotated(running, number):
                session.note(cell, one.peer.name, number, partial(measures[cell.kind], session.bench, cell, one))
                drain(one.pid)
    for peer in peers:
        session.started.stop(peer.name)


def run_fresh(session: Session, chosen: list[Cell], peers: list[Peer], rounds: int) -> None:
    """Cells that need a process of its own for every round: start and memory."""
    kinds = {"memory": cells.measure_memory, "start": cells.measure_start}
    chosen = [cell for cell in chosen if cell.kind in kinds]
    for number in range(rounds if chosen else 0):
        for peer in rotated(peers, number):
            for cell in chosen:
                session.note(cell, peer.name, number, partial(fresh, session, cell, peer, kinds[cell.kind]))


def fresh(session: Session, cell: Cell, peer: Peer, measure: Callable[[Bench, Cell, Running], Figures]) -> Figures:
    """Measures a peer that has just been started, and stops it. Raises: Unavailable, WrongResult."""
    running = launch(peer, session.started, session.bench.ports, session.bench.folder)
    try:
        return measure(session.bench, cell, running)
    finally:
        session.started.stop(peer.name)


def run_libraries(session: Session, chosen: list[Cell], names: list[str], rounds: int) -> None:
    """Cells of the libraries: CPU per call on both event loops, import time, installed size."""
    by_name = {cell.name: cell for cell in chosen}

    def both(cell: Cell, name: str) -> Figures:
        figures = cells.measure_library(session.bench, cell, name, "asyncio")
        figures["uvloop_cpu_us"] = cells.measure_library(session.bench, cell, name, "uvloop")["cpu_us"]
        return figures

    for number in range(rounds):
        for name in rotated(names, number):
            if cell := by_name.get("library"):
                session.note(cell, name, number, partial(both, cell, name))
    if cell := by_name.get("start"):
        for name in names:
            session.note(cell, name, 0, partial(cells.measure_import, name))
    if cell := by_name.get("size"):
        for name in [*names, "portkey"]:
            session.note(cell, name, 0, partial(cells.measure_size, name))


def start_upstreams(started: Processes, bench: Bench) -> None:
    """Starts nginx with the static answers and both paced servers. Raises: Unavailable."""
    upstream, _ = write_configs(bench.folder, bench.ports)
    started.start("upstream", ["nginx", "-c", str(upstream)])
    for name, interval, events in (("paced", "1.0", "0"), ("trickle", "0.005", "100")):
        port = str(getattr(bench.ports, name))
        command = [sys.executable, str(BENCH / "paced.py"), "--port", port, "--interval", interval]
        started.start(name, [*command, "--events", events])
    deadline = time.monotonic() + 15
    while not all(answers(port, "/open") for port in (bench.ports.paced, bench.ports.trickle)):
        for name in ("upstream", "paced", "trickle"):
            if last_words := started.ended(name):
                raise Unavailable(f"{name} ended at start: {last_words}")
        if time.monotonic() > deadline:
            raise Unavailable("the upstreams were not ready after 15 s")
        time.sleep(0.05)
    cells.check_upstream(bench)


def prepare(peers: list[Peer], *, upgrade: bool) -> tuple[list[Peer], dict[str, str]]:
    """Makes every environment; returns the peers that can run, and the versions or reasons."""
    ready, versions = [], {}
    for peer in peers:
        say(f"{peer.label}: environment")
        try:
            versions[peer.label] = peer.prepare(upgrade=upgrade)
            ready.append(peer)
        except Unavailable as reason:
            versions[peer.label] = f"not available: {public(str(reason))}"
            say(f"{peer.label}: {reason}")
    try:
        versions["OpenAI SDK"] = venv_version(make_venv("openai", ["openai", "uvloop"], upgrade=upgrade), "openai")
    except Unavailable as reason:
        versions["OpenAI SDK"] = f"not available: {public(str(reason))}"
    return ready, versions


def machine() -> dict[str, str]:
    """What the run ran on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    try:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        node = "none"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=BENCH, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit or "none",
        "CPU": f"{model}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "uvloop, httptools": f"{version('uvloop')}, {version('httptools')}",
        "Node": node,
        "load at start": f"{os.getloadavg()[0]:.2f}",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GenAI Spine beside its peers and the physical floor.")
    parser.add_argument("--quick", action="store_true", help="small numbers and two rounds: a smoke test")
    parser.add_argument("--only", nargs="+", metavar="CELL", choices=[cell.name for cell in CELLS], help="these cells")
    parser.add_argument("--peers", nargs="+", metavar="PEER", choices=[peer.name for peer in PEERS], help="these peers")
    parser.add_argument("--rounds", type=int, help="rounds (5; 2 with --quick)")
    parser.add_argument("--out", type=Path, help="where to write the results (bench/RESULTS.md)")
    parser.add_argument("--upgrade", action="store_true", help="renew the peers' environments first")
    parser.add_argument("--prepare", action="store_true", help="only make the peers' environments")
    return parser.parse_args()


def main() -> int:
    options = parse()
    if not Path("/proc/self/schedstat").exists():
        print("bench: needs Linux's /proc (schedstat)", file=sys.stderr)
        return 1
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ENVS.mkdir(exist_ok=True)
    OUT.mkdir(exist_ok=True)
    wanted = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    ready, versions = prepare(wanted, upgrade=options.upgrade)
    if options.prepare:
        for label, found in versions.items():
            print(f"{label}: {found}")
        return 0
    chosen = [cell for cell in CELLS if not options.only or cell.name in options.only]
    rounds = options.rounds or (2 if options.quick else 5)
    facts = machine() | versions | {"rounds": f"{rounds}{', quick: a smoke test' if options.quick else ''}"}
    target = options.out or (OUT / "QUICK.md" if options.quick or options.only else BENCH / "RESULTS.md")
    names = [name for name in CLIENTS if not options.peers or name in options.peers or name == "openai"]
    ports = Ports(**dict(zip(Ports.__dataclass_fields__, free_ports(6), strict=True)))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, processes(OUT / "logs") as started:
        bench = Bench(ports=ports, folder=Path(folder), quick=options.quick)
        file = OUT / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
        session = Session(bench, started, file, facts)
        try:
            start_upstreams(started, bench)
            run_gateways(session, chosen, ready, rounds)
            run_fresh(session, chosen, ready, min(rounds, 3))
            run_libraries(session, chosen, names, rounds)
        except (WrongResult, Unavailable) as reason:
            print(f"bench: {reason}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("bench: stopped; what was measured is kept", file=sys.stderr)
            return 130
        finally:
            session.save()
            if session.results:
                target.write_text(render(facts, {cell.name: cell.title for cell in CELLS}, session.results))
                say(f"written: {os.path.relpath(target)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
