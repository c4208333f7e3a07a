"""`spine providers` and `spine models`."""

from __future__ import annotations

import json
import re
import time

import pytest
from spine_process import CANARY, Place

from genai_spine.testing.simulator import Simulator

NEAR = True  # what commands say: conftest.py


def test_providers_say_what_is_configured(configured: Place, simulator: Simulator) -> None:
    result = configured.run("providers")
    assert result.code == 0
    header, *lines = result.out.splitlines()
    for column in ("provider", "state", "key", "dialects", "base URL", "default model"):
        assert column in header
    assert [line.split()[0] for line in lines] == ["openai", "anthropic", "ollama"]
    assert simulator.urls.openai in lines[0]
    assert len({line.index("configured") for line in lines}) == 1
    assert simulator.received.maxlen
    assert not simulator.received, "nobody is asked"


def test_providers_as_json(place: Place) -> None:
    place.write('[providers.fast]\ntype = "groq"\n[providers.claude]\napi_key = "k"\n')
    told = json.loads(place.run("providers", "--json").out)
    fast, claude = told["providers"]
    assert (fast["id"], fast["type"], fast["key"], fast["key_from"]) == ("fast", "groq", "missing", "GROQ_API_KEY")
    assert (claude["type"], claude["key"], claude["state"]) == ("anthropic", "set", "configured")
    assert claude["dialects"] == ["anthropic_messages"]


def test_all_providers_include_those_that_could_be(place: Place) -> None:
    told = json.loads(place.run("providers", "--all", "--json", GROQ_API_KEY="k").out)["providers"]
    by_id = {provider["id"]: provider for provider in told}
    assert by_id["groq"]["state"] == "found"
    assert by_id["mistral"]["state"] == "available"
    assert by_id["mistral"]["docs"].startswith("https://")
    assert by_id["azure"]["state"] == "available"
    assert "anyscale" in by_id
    assert "own" in by_id["anyscale"]["note"]


@pytest.mark.usefixtures("no_ollama")
def test_without_any_provider_the_mend_is_told(place: Place) -> None:
    result = place.run("providers")
    assert result.code == 0
    assert "OPENAI_API_KEY" in result.err
    result = place.run("models")
    assert result.code == 1
    assert "simulated" in result.err


def test_models_come_from_every_provider(configured: Place) -> None:
    result = configured.run("models")
    assert result.code == 0
    assert result.out.splitlines()[0].startswith("model")
    for id in ("openai", "anthropic", "ollama"):
        assert re.search(rf"^{id}/\S+ ", result.out, re.MULTILINE)


def test_models_carry_what_the_catalog_knows(place: Place, simulator: Simulator) -> None:
    place.write(f'[providers.openai]\napi_key="k"\nbase_url="{simulator.urls.openai}"\nmodels=["gpt-4o-mini"]\n')
    (card,) = json.loads(place.run("models", "--json").out)["models"]
    assert card["id"] == "openai/gpt-4o-mini"
    assert card["context_window"] == 128_000
    assert float(card["price"]["input"]) == 0.15
    assert "128,000" in place.run("models").out


def test_a_provider_that_fails_does_not_spoil_the_others(configured: Place, free_port: int) -> None:
    configured.write(
        (configured.path / "spine.toml").read_text()
        + f'[providers.dead]\ntype = "openai_compatible"\nbase_url = "http://127.0.0.1:{free_port}/v1"\n'
    )
    result = configured.run("models")
    assert result.code == 0
    assert "openai/" in result.out
    assert result.err.startswith("Error: dead: ")
    assert str(free_port) in result.err
    told = json.loads(configured.run("models", "--json").out)
    assert [failure["provider"] for failure in told["failures"]] == ["dead"]
    assert configured.run("models", "--provider", "dead").code == 1


def test_models_of_one_provider(configured: Place, simulator: Simulator) -> None:
    result = configured.run("models", "--provider", "ollama", "--json")
    assert {card["provider"] for card in json.loads(result.out)["models"]} == {"ollama"}
    assert {request.path for request in simulator.received} == {"/api/tags"}


def test_an_unknown_provider_is_named_with_those_there_are(configured: Place) -> None:
    result = configured.run("models", "--provider", "opnai")
    assert result.code == 1
    assert result.err == 'Error: no provider "opnai": registered are openai, anthropic, ollama\n'


def test_providers_are_asked_at_the_same_time(configured: Place, simulator: Simulator) -> None:
    simulator.run(*["stall=head; for_s=2"] * 3)
    begun = time.monotonic()
    assert configured.run("models").code == 0
    assert time.monotonic() - begun < 5.5


def test_a_refused_key_is_told_by_its_variable_and_not_shown(place: Place) -> None:
    from genai_spine.testing.fixtures import running_simulator

    with running_simulator(key="right") as simulator:
        place.write(f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\n')
        result = place.run("models", OPENAI_API_KEY=CANARY)
    assert result.code == 1
    assert "OPENAI_API_KEY" in result.err
    assert CANARY not in result.said


def test_a_terminal_gets_a_table_with_colour_and_no_color_takes_it_away(place: Place) -> None:
    with place.terminal("models", "--provider", "simulated") as terminal:
        assert terminal.wait() == 0
        assert "\x1b[" in terminal.screen
        assert "simulated/sim-think" in terminal.screen
    with place.terminal("models", "--provider", "simulated", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.screen


def test_a_narrow_terminal_breaks_lines_and_not_words(place: Place) -> None:
    place.write('[providers.anthropic]\napi_key = "k"\nmodel = "m"\n')
    with place.terminal("providers", COLUMNS="40") as terminal:
        assert terminal.wait() == 0
        for word in ("anthropic", "configured", "https://api.", "default model"):
            assert word in terminal.screen


def test_a_hostile_name_in_a_list_is_neutralised(place: Place) -> None:
    place.write('[providers.openai]\napi_key = "k"\nmodels = ["\\u001b]0;evil\\u0007"]\n')
    result = place.run("models")
    assert "\x1b" not in result.out
    assert "openai/␛]0;evil␇" in result.out


def test_models_with_what_they_can_do(configured: Place) -> None:
    result = configured.run("models", "--provider", "openai", "--capabilities")
    assert result.code == 0
    header, *lines = result.out.splitlines()
    for column in ("model", "context", "tools", "images", "schema", "thinking", "retired"):
        assert column in header
    assert all(line.startswith("openai/") for line in lines)


def test_the_name_of_the_settings_stands_beside_the_id(place: Place) -> None:
    place.write('[providers.fast]\ntype = "groq"\nname = "Fast one"\n[providers.simulated]\n')
    fast, simulated = json.loads(place.run("providers", "--json").out)["providers"]
    assert (fast["name"], simulated["name"]) == ("Fast one", None)
    assert 'fast "Fast one" (groq)' in place.run("providers").out
