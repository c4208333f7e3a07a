"""Runs a scenario in a process of its own, where time is virtual.

from simulate import simulate
figures = simulate("weather/latency", callers=1000, seed=3)

python tests/resilience/simulate.py weather/latency '{"callers": 1000}'       prints the figures as JSON
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from figures import Figures

TIMEOUT_S = 900


def simulate(scenario: str, **given: Any) -> Figures:
    """The figures of a scenario of scenarios.py. The same seed gives the same figures."""
    done = subprocess.run(
        [sys.executable, __file__, scenario, json.dumps(given)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{scenario}: {done.stderr.decode()[-4000:]}"
    return msgspec.json.decode(done.stdout, type=Figures)


def main(scenario: str, given: str) -> None:
    from virtual_time import take_over

    clock = take_over()
    gc.disable()  # a simulation keeps all that it has counted until it ends: looking through it again and again is vain
    # What is imported only now sees the clock above.
    from scenarios import MADE
    from world import World

    figures = clock.run(World(MADE[scenario](**json.loads(given))).run())
    sys.stdout.buffer.write(msgspec.json.encode(figures))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}")
