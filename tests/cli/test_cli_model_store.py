"""`spine models pull` and its like, as processes and on a terminal."""

from __future__ import annotations

import json

import pytest
from spine_process import Place

from genai_spine.testing.simulator import Simulator

NEAR = True  # what commands say: conftest.py


def test_pull_tells_each_step_once(configured: Place, simulator: Simulator) -> None:
    result = configured.run("models", "pull", "sim-echo")
    assert result.code == 0, result
    assert result.out == ""
    lines = result.err.splitlines()
    assert lines[0] == "sim-echo: pulling manifest"
    assert lines[-1] == "sim-echo: success"
    assert len(lines) == len(set(lines))
    assert simulator.received[-1].path == "/api/pull"


def test_pull_as_json(configured: Place) -> None:
    result = configured.run("models", "pull", "ollama/sim-echo", "--json")
    steps = [json.loads(line) for line in result.out.splitlines()]
    assert steps[-1] == {"model": "sim-echo", "status": "success"}
    assert any(step.get("completed_bytes") == step.get("total_bytes") for step in steps if "total_bytes" in step)


def test_a_pull_that_fails_says_why_and_how_to_go_on(configured: Place, simulator: Simulator) -> None:
    result = configured.run("models", "pull", "no-such")
    assert result.code == 1
    assert "file does not exist" in result.err
    assert "ollama.com/library" in result.err
    simulator.run("error_at=3; message=write /x%3A no space left on device")
    result = configured.run("models", "pull", "sim-echo")
    assert result.code == 1
    assert "make room" in result.err.splitlines()[-1]
    assert "Traceback" not in result.said


def test_a_bar_on_a_terminal(configured: Place) -> None:
    with configured.terminal("models", "pull", "sim-echo") as terminal:
        terminal.expect("100 %  2.0 GB of 2.0 GB")
        terminal.expect("sim-echo: success")
        assert terminal.wait() == 0


def test_update_show_ps_copy_and_delete(configured: Place, simulator: Simulator) -> None:
    assert "sim-echo: success" in configured.run("models", "update", "sim-echo").err
    shown = configured.run("models", "show", "sim-think").out
    assert "thinking" in shown
    assert json.loads(configured.run("models", "show", "sim-think", "--json").out)["capabilities"]["thinking"]
    assert "2099-01-01" in configured.run("models", "ps").out
    assert json.loads(configured.run("models", "ps", "--json").out)["models"]
    assert configured.run("models", "copy", "sim-echo", "mine").code == 0
    assert configured.run("models", "delete", "mine").code == 0
    assert simulator.received[-1].method == "DELETE"
    for command in ("show", "delete"):
        missing = configured.run("models", command, "no-such")
        assert missing.code == 1
        assert "not found" in missing.err
        assert missing.err.endswith("`spine models` lists the models there are\n")


def test_the_list_is_still_what_models_alone_gives(configured: Place) -> None:
    assert "ollama/simulated" in configured.run("models", "--provider", "ollama").out
    assert configured.run("models", "paint").code == 2
    before = configured.run("models", "--json", "ps")
    assert before.code == 2
    assert "options stand behind the command: spine models ps" in before.err


@pytest.mark.usefixtures("no_ollama")
@pytest.mark.parametrize("command", [("pull", "llama3.2"), ("ps",), ("copy", "a", "b")], ids=lambda words: words[0])
def test_without_an_ollama_it_is_an_ollama_that_is_missing(place: Place, command: tuple[str, ...]) -> None:
    """A key would not help, and there is no option `--provider` here."""
    result = place.run("models", *command)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: no Ollama runs at http://localhost:11434")
    assert "simulated" not in result.err
