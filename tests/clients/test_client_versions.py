"""The same scenarios in each SDK version's own environment: newest, and the majors before it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anthropic_scenarios
import ollama_scenarios
import openai_scenarios
import pytest
from client_environments import VERSIONS, python_of
from client_stage import Place, scenarios_of, upstreams_of

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
MODULES = {"openai": openai_scenarios, "anthropic": anthropic_scenarios, "ollama": ollama_scenarios}


class Worker:
    """A process in an SDK's environment that plays scenarios."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def play(self, scenario: str, place: Place) -> None:
        """Raises: AssertionError with the traceback of over there."""
        self._say({"scenario": scenario, "url": place.url, "upstream": place.upstream})
        while "ask" in (said := self._hear()):
            self._say(place.received())
        assert said["error"] is None, said["error"]

    def _say(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the worker ended with {self._process.wait()}"
        value: dict[str, Any] = json.loads(line)
        return value


@contextmanager
def _started(name: str, version: str) -> Iterator[Worker]:
    environ = {key: os.environ[key] for key in ("PATH", "LANG", "HOME") if key in os.environ}
    process = subprocess.Popen(
        [str(python_of(name, version)), str(HERE / "client_worker.py"), f"{name}_scenarios"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


CASES = [
    pytest.param((name, version), scenario, upstream, id=f"{name}-{version}-{upstream}-{scenario}")
    for name, versions in VERSIONS.items()
    for version in versions
    for scenario, function in scenarios_of(MODULES[name]).items()
    for upstream in upstreams_of(function)
]


@pytest.fixture(scope="module")
def worker_of() -> Iterator[Callable[[tuple[str, str]], Worker]]:
    """One process for all tests of a version."""
    with ExitStack() as stack:
        yield cache(lambda client: stack.enter_context(_started(*client)))


@pytest.mark.parametrize(("client", "scenario", "upstream"), CASES)
def test_client(
    client: tuple[str, str],
    scenario: str,
    upstream: str,
    worker_of: Callable[[tuple[str, str]], Worker],
    place_of: Callable[[str], Place],
) -> None:
    worker_of(client).play(scenario, place_of(upstream))
