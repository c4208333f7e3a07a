"""The type `litellm` with LiteLLM itself, in an environment of its own, before a simulated upstream."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import litellm_scenarios
import pytest
from client_environments import python_of
from client_stage import Place, scenarios_of
from test_client_versions import Worker

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VERSION = "1.106.2"
"""The newest that could be installed in 2026-11: later ones want a certifi that PyPI did not have."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extra,) = project["optional-dependencies"]["litellm"]
    python = python_of("litellm", VERSION, extra, *project["dependencies"])
    environ = {key: os.environ[key] for key in ("PATH", "LANG", "HOME") if key in os.environ}
    process = subprocess.Popen(
        [str(python), str(HERE / "client_worker.py"), "litellm_scenarios"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


CASES = [
    pytest.param(name, service, id=f"{service}-{name}")
    for name, scenario in scenarios_of(litellm_scenarios).items()
    for service in getattr(scenario, "upstreams", tuple(litellm_scenarios.MODELS))
]


@pytest.mark.parametrize(("scenario", "service"), CASES)
def test_litellm(scenario: str, service: str, worker: Worker, upstream_of: Callable[[str], Place]) -> None:
    worker.play(scenario, upstream_of(service))
