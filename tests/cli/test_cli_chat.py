"""`spine chat` without a terminal: what goes in, what comes out, and what goes wrong."""

from __future__ import annotations

import base64
import json

import pytest
from spine_process import CANARY, Place

from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

NEAR = True  # what commands say: conftest.py

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DIALECTS = ("openai", "anthropic", "ollama")


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_answer_goes_to_stdout_and_its_cost_to_stderr(configured: Place, provider: str) -> None:
    result = configured.run("chat", "-m", f"{provider}/sim", "hello")
    assert (result.code, result.out) == (0, "You said: hello\n")
    last = result.err.splitlines()[-1]
    assert last.startswith(f"{provider}/sim · 1 in, 3 out · ")
    assert "cost unknown" in last or "$" in last


def test_an_answer_that_was_given_before_costs_nothing(configured: Place, simulator: Simulator) -> None:
    file = configured.path / "spine.toml"
    configured.write(f'{file.read_text()}[cache]\nurl = "sqlite:///cache.db"\n')
    asked = [configured.run("chat", "-m", "openai/gpt-4o-mini", "-t", "0", "hello") for _ in range(2)]
    assert [(result.code, result.out) for result in asked] == [(0, "You said: hello\n")] * 2
    assert "costs nothing" in asked[1].err
    assert asked[1].err.splitlines()[-1].startswith("openai/gpt-4o-mini · 1 in, 3 out · $0 · ")
    assert len(simulator.received) == 1


def test_a_budget_of_ours_is_not_said_to_be_an_account_without_credit(configured: Place, simulator: Simulator) -> None:
    file = configured.path / "spine.toml"
    configured.write(f"{file.read_text()}[costs]\ndaily_limit = 0.000001\n")
    for model in ("openai/gpt-4o", "openai/sim-nobody-knows-its-price"):
        result = configured.run("chat", "-m", model, "hello")
        assert (result.code, "daily_limit" in result.err, "credit" in result.err) == (1, True, False)
    assert not simulator.received


def test_what_is_piped_in_is_the_prompt(configured: Place) -> None:
    assert configured.run("chat", stdin="grüße\n".encode()).out == "You said: grüße\n"


def test_what_is_piped_in_comes_behind_a_given_prompt(configured: Place, simulator: Simulator) -> None:
    assert configured.run("chat", "Say what this is:", stdin=b"diff --git\n").code == 0
    assert simulator.received[-1].json()["messages"][-1]["content"] == "Say what this is:\n\ndiff --git"


def test_no_prompt_and_no_terminal_is_wrong_usage(configured: Place) -> None:
    assert configured.run("chat").code == 2
    assert configured.run("chat", stdin=b" \n").code == 2


def test_piped_bytes_that_are_no_text_are_refused(configured: Place) -> None:
    result = configured.run("chat", "what is this?", stdin=PNG)
    assert result.code == 1
    assert "--image" in result.err


def test_options_reach_the_provider(configured: Place, simulator: Simulator) -> None:
    options = ["--system", "Be brief.", "--max-tokens", "5", "-t", "0.5", "--provider", "anthropic"]
    assert configured.run("chat", *options, "hi").code == 0
    sent = simulator.received[-1].json()
    assert sent["max_tokens"] == 5
    assert sent["temperature"] == 0.5
    assert "Be brief." in json.dumps(sent["system"])
    assert sent["stream"] is True


def test_an_answer_that_was_cut_says_so(configured: Place) -> None:
    result = configured.run("chat", "--max-tokens", "2", "hello")
    assert result.code == 0
    assert "limit of output tokens" in result.err


def test_pictures_and_files_are_seen(configured: Place) -> None:
    (configured.path / "dot").write_bytes(PNG)
    (configured.path / "a.pdf").write_bytes(b"%PDF-1.4 x")
    configured.write("the contents\n", "notes.txt")
    result = configured.run("chat", "--image", "dot", "--file", "a.pdf", "--file", "notes.txt", "look")
    assert result.code == 0
    assert "1 image: image/png" in result.out
    assert "1 document: application/pdf" in result.out
    assert "notes.txt:\n\nthe contents" in result.out


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--image", "no.png"], "No such file"),
        (["--image", "spine.toml"], "no PNG"),
        (["--image", "page.png"], "no PNG"),
        (["--image", "empty.heic"], "no PNG"),
        (["--file", "dot"], "--image"),
        (["--file", "home"], "Is a directory"),
        (["--schema", "{"], "no JSON"),
        (["--schema", "no.json"], "No such file"),
        (["--schema", "list.json"], "JSON object"),
        (["--config", "no.toml"], "no.toml"),
    ],
)
def test_what_cannot_be_read_is_one_line(configured: Place, options: list[str], word: str) -> None:
    (configured.path / "dot").write_bytes(PNG)
    configured.write("[1]", "list.json")
    configured.write("<html>", "page.png")
    configured.write("", "empty.heic")
    result = configured.run("chat", *options, "look")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert word in result.err


@pytest.mark.parametrize("is_file", [True, False])
def test_a_schema_shapes_the_answer(configured: Place, is_file: bool) -> None:
    schema = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]}'
    configured.write(schema, "schema.json")
    result = configured.run("chat", "--schema", "schema.json" if is_file else schema, "how old?")
    assert isinstance(json.loads(result.out)["age"], int)


def test_thoughts_stay_out_of_a_pipe(configured: Place, simulator: Simulator) -> None:
    result = configured.run("chat", "--thinking", "--provider", "anthropic", "hi")
    assert result.out == "You said: hi\n"
    assert "thinking" in simulator.received[-1].json()


def test_json_is_the_whole_response(configured: Place) -> None:
    result = configured.run("chat", "--json", "-m", "anthropic/sim-think", "hi")
    told = json.loads(result.out)
    assert told["content"] == "You said: hi"
    assert [part["type"] for part in told["parts"]] == ["thinking", "text"]
    assert told["provider"] == "anthropic"
    assert result.err == ""


def test_escape_sequences_are_raw_in_a_pipe(configured: Place) -> None:
    assert configured.run("chat", stdin=b"\x1b[31mred\x07").raw == b"You said: \x1b[31mred\x07\n"


def test_a_script_gets_canned_answers_only_when_it_asks_for_them(place: Place) -> None:
    result = place.run("chat", "--provider", "simulated", "hi")
    assert (result.code, result.out) == (0, "You said: hi\n")
    assert place.run("chat", "-m", "simulated/sim-long-100", "hi").out.startswith("the quick brown")


@pytest.mark.usefixtures("no_ollama")
def test_nothing_configured_is_one_line_with_the_mend(place: Place) -> None:
    result = place.run("chat", "hi")
    assert (result.code, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1
    assert "OPENAI_API_KEY" in result.err
    assert "Ollama" in result.err
    assert "--provider simulated" in result.err
    for wanted in (("--provider", "anthropic"), ("-m", "claude/claude-sonnet-4-5")):
        assert "set ANTHROPIC_API_KEY" in place.run("chat", *wanted, "hi").err


def test_an_ollama_that_was_asked_for_is_asked(place: Place, free_port: int) -> None:
    refusing = {"OLLAMA_HOST": f"127.0.0.1:{free_port}", "GENAI_RETRY_MAX_RETRIES": "0"}
    result = place.run("chat", "-m", "ollama/llama3.2", "hi", **refusing)
    assert result.code == 1
    assert str(free_port) in result.err


def test_an_unknown_provider_is_one_line(configured: Place) -> None:
    result = configured.run("chat", "--provider", "opnai", "hi")
    assert (result.code, result.out) == (1, "")
    assert result.err == 'Error: no provider "opnai": configured are openai, anthropic, ollama\n'


def test_a_dead_upstream_is_one_line_with_a_mend(place: Place, free_port: int) -> None:
    place.write(
        f'[providers.mine]\ntype = "openai_compatible"\nbase_url = "http://127.0.0.1:{free_port}/v1"\n'
        'model = "m"\n[retry]\nmax_retries = 0\n'
    )
    result = place.run("chat", "hi")
    assert (result.code, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1
    assert f"127.0.0.1:{free_port}" in result.err
    assert "spine doctor" in result.err


def test_a_wrong_key_is_told_by_its_variable_and_never_shown(place: Place) -> None:
    with running_simulator(key="right") as simulator:
        place.write(f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\nmodel = "m"\n')
        result = place.run("chat", "hi", OPENAI_API_KEY=CANARY)
    assert result.code == 1
    assert "check OPENAI_API_KEY" in result.err
    assert CANARY not in result.said


@pytest.mark.parametrize("is_json", [True, False])
def test_an_upstream_that_repeats_our_key_does_not_get_it_printed(place: Place, is_json: bool) -> None:
    with running_simulator() as simulator:
        simulator.run(f"status=401; message=Incorrect API key provided: {CANARY}")
        place.write(f'[providers.openai]\nbase_url = "{simulator.urls.openai}"\nmodel = "m"\n')
        result = place.run("--verbose", "chat", *(["--json"] if is_json else []), "hi", OPENAI_API_KEY=CANARY)
    assert result.code == 1
    assert "Incorrect API key" in result.err
    assert CANARY not in result.said


def test_a_stream_that_breaks_is_a_failure_with_what_was_read(configured: Place, simulator: Simulator) -> None:
    simulator.run("close=6")
    result = configured.run("chat", "-m", "sim-long-100", "hi")
    assert result.code == 1
    assert result.out.startswith("the quick")
    assert result.out.endswith("\n")
    assert len(result.err.splitlines()) == 1


def test_a_provider_that_stands_in_for_another_is_told(configured: Place, simulator: Simulator) -> None:
    text = (configured.path / "spine.toml").read_text()
    configured.write(text.replace("[providers]", '[providers]\nfallback_order = ["openai", "ollama"]'))
    simulator.run(*["status=503"] * 3)
    result = configured.run("chat", "hi")
    assert (result.code, result.out) == (0, "You said: hi\n")
    assert "openai failed" in result.err
    assert "ollama/sim" in result.err
