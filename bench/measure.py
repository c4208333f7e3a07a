"""What a process tree costs: CPU time and memory, read from /proc (Linux only).

CPU is taken from every thread's `schedstat` in nanoseconds. Where threads ended in between (their time
would be lost) it is taken from `stat` in clock ticks of 10 ms, which the kernel scales from the same
counter. Kernel work done on behalf of a process (system calls, most of the loopback's packets) is part
of it; waiting is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _threads(pids: list[int]) -> Iterator[tuple[int, int]]:
    for pid in pids:
        try:
            tasks = list((PROC / str(pid) / "task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                yield int(task.name), int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue


def _ticks(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Fields 14–17 of proc(5): utime, stime, and those of children that have ended.
        total += sum(int(field) for field in fields[11:15])
    return total


@dataclass(frozen=True, kw_only=True)
class CpuReading:
    """CPU time of a process tree at one moment."""

    threads_ns: dict[int, int]
    ticks_ns: int

    def until(self, later: CpuReading) -> int:
        """Nanoseconds of CPU between this reading and a later one."""
        if self.threads_ns.keys() - later.threads_ns.keys():
            return later.ticks_ns - self.ticks_ns
        return sum(ns - self.threads_ns.get(thread, 0) for thread, ns in later.threads_ns.items())


def read_cpu(pid: int) -> CpuReading:
    """CPU time so far of the process and its descendants."""
    pids = tree(pid)
    return CpuReading(threads_ns=dict(_threads(pids)), ticks_ns=_ticks(pids) * TICK_NS)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of a process tree, in KB of 1,024 bytes."""

    rss_kb: int
    pss_kb: int


def read_memory(pid: int) -> Memory:
    """Memory of the tree: RSS summed (shared pages count twice), and PSS (they count once)."""
    rss = pss = 0
    for one in tree(pid):
        try:
            lines = (PROC / str(one) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
        rss += sizes.get("Rss:", 0)
        pss += sizes.get("Pss:", 0)
    return Memory(rss_kb=rss, pss_kb=pss)


def drain(pid: int, *, share: float = 0.03, window_s: float = 0.25, patience_s: float = 30.0) -> bool:
    """Waits until the tree uses less than `share` of a core, twice running; False when patience runs out.

    Slow gateways go on working (logging, collecting garbage) after the last answer; that work belongs to
    their own measurement and must not fall into the next one.
    """
    deadline = time.monotonic() + patience_s
    quiet = 0
    while time.monotonic() < deadline:
        before, started = read_cpu(pid), time.monotonic_ns()
        time.sleep(window_s)
        used = before.until(read_cpu(pid)) / (time.monotonic_ns() - started)
        quiet = quiet + 1 if used < share else 0
        if quiet == 2:
            return True
    return False
