"""Other packages' entry points that do not hold what they promise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genai_spine import ConfigError, SyncManager
from genai_spine.catalog.entry_points import points
from genai_spine.policy import custom_strategies
from genai_spine.providers import plugins

POINTS = """
[genai_spine.providers]
absent = no_such_module:Parrot
needy = strange_providers:Needy
plain = strange_providers:Plain
voiced = strange_providers:Voiced
tabled = strange_providers:Tabled
openai = strange_providers:Plain
[genai_spine.strategies]
absent = no_such_module:by_carbon
needy = strange_providers:Needy
ordered = strange_providers:Plain
"""


MODULE = """
import os
from genai_spine import CompletionResponse, LLMProvider, Text

class Plain(LLMProvider):
    async def complete(self, request):
        return CompletionResponse(model="m", parts=(Text(text="a"),))

class Voiced(Plain):
    def __init__(self, voice="loud", pitch=3):
        self.said = voice, pitch

class Tabled(Plain):
    def __init__(self, id="", settings=None):
        self.said = id, settings.model

class Needy(Plain):
    def __init__(self):
        self.key = os.environ["NO_SUCH_VARIABLE"]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package whose entry points name a module that is not there."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "strange_providers.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    points.cache_clear()
    yield
    points.cache_clear()


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


@pytest.mark.usefixtures("package")
def test_a_constructor_that_fails_is_named_with_its_package() -> None:
    told = r"providers\.n: needy = strange_providers:Needy, of the package broken, cannot be made: KeyError: 'NO_"
    with pytest.raises(ConfigError, match=told):
        SyncManager.from_settings({"providers": {"n": {"type": "needy"}}})


@pytest.mark.usefixtures("package")
def test_settings_that_a_class_does_not_take_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    table = {"type": "plain", "api_key": "k", "model": "grey", "requests_per_min": 5}
    with SyncManager.from_settings({"providers": {"p": table}}) as manager:
        assert manager.complete("Hi", provider="p").provider == "p"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "genai_spine.providers.plugins"]
    assert said.startswith("providers.p: api_key, model has no effect: plain = strange_providers:Plain, of the package")


@pytest.mark.usefixtures("package")
def test_parameters_of_its_own_are_not_taken_for_id_and_settings() -> None:
    tables = {"v": {"type": "voiced"}, "t": {"type": "tabled", "model": "grey"}}
    with SyncManager.from_settings({"providers": tables}) as manager:
        said = [manager.manager.registry.get(id).said for id in tables]  # type: ignore[attr-defined]  # a stranger's
    assert said == [("loud", 3), ("t", "grey")]


@pytest.mark.usefixtures("package")
def test_a_strategy_that_cannot_be_made_is_named_with_its_package() -> None:
    told = "needy = strange_providers:Needy, of the package broken, cannot be made: KeyError: 'NO_SUCH_VARIABLE'"
    with pytest.raises(ConfigError, match=told):
        SyncManager.from_settings({"providers": {"simulated": {}}, "routing": {"strategy": "needy"}})


@pytest.mark.usefixtures("package")
def test_names_of_ours_are_taken_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert "openai" not in plugins.names()
    assert "ordered" not in custom_strategies.names()
    for group, value in (("providers: the name openai", "Plain"), ("strategies: the name ordered", "Plain")):
        assert f"genai_spine.{group} of strange_providers:{value} is taken by one of ours" in caplog.text
