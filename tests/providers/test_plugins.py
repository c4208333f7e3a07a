"""Other packages' entry points that do not hold what they promise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genai_spine import ConfigError, SyncManager
from genai_spine.policy import custom_strategies
from genai_spine.providers import plugins

POINTS = """
[genai_spine.providers]
absent = no_such_module:Parrot
[genai_spine.strategies]
absent = no_such_module:by_carbon
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package whose entry points name a module that is not there."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in (plugins, custom_strategies):
        module._found.cache_clear()
    yield
    for module in (plugins, custom_strategies):
        module._found.cache_clear()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "settings",
    [
        {"providers": {"a": {"type": "absent"}}},
        {"providers": {"simulated": {}}, "routing": {"strategy": "absent"}},
    ],
    ids=["a provider", "a strategy"],
)
def test_what_cannot_be_loaded_is_named_with_its_package(settings: dict[str, object]) -> None:
    told = r"absent = no_such_module:\w+, of the package broken, cannot be loaded: ModuleNotFoundError: "
    with pytest.raises(ConfigError, match=told):
        SyncManager.from_settings(settings)
