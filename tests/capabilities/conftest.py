from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from genai_spine.capabilities import registry
from genai_spine.catalog.entry_points import points
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adding-capabilities.md").read_text(encoding="utf-8")
MORE_POINTS = {"broken": "haiku:missing", "nothing": "haiku:ROLE", "summarize": "haiku:haiku"}
"""What a package may get wrong."""


def _block(mark: str, language: str) -> str:
    return PAGE.partition(f"<!-- test: {mark} -->\n```{language}\n")[2].partition("\n```")[0]


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of docs/adding-capabilities.md, installed as far as importlib can tell, and more points."""
    (tmp_path / "haiku.py").write_text(_block("file haiku.py", "python"), encoding="utf-8")
    project = tomllib.loads(_block("toml", "toml"))["project"]
    offered = {**project["entry-points"][registry.GROUP], **MORE_POINTS}
    info = tmp_path / "genai_spine_haiku-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in offered.items())
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield tmp_path
    sys.modules.pop("haiku", None)
    _forget()


def _forget() -> None:
    points.cache_clear()
    registry.resolve.cache_clear()
