"""Upstreams that speak the real wire formats, deterministic, with faults on demand; no keys, no network.

    server.py      the server, and `serve` for the command line
    services.py    which paths are answered, by which dialect
    faults.py      what can go wrong, and how it is written
    script.py      what goes wrong when
    damage.py      faults in the bytes of an answer; delivery.py: faults on the socket
    bill.py        what it would charge for all that

What is answered is decided in `genai_spine.providers.simulated`.
"""

from genai_spine.testing.simulator.answers import Received
from genai_spine.testing.simulator.faults import KNOBS, Fault, Knob, parse_fault
from genai_spine.testing.simulator.script import Script, Step, load_script, parse_script
from genai_spine.testing.simulator.server import DEFAULT_PORT, BaseUrls, Simulator, serve

__all__ = [
    "DEFAULT_PORT",
    "KNOBS",
    "BaseUrls",
    "Fault",
    "Knob",
    "Received",
    "Script",
    "Simulator",
    "Step",
    "load_script",
    "parse_fault",
    "parse_script",
    "serve",
]
