"""`spine serve` and `spine simulate` as processes: start, answer, stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from spine_process import CANARY, Place, Running

from genai_spine.providers import presence
from genai_spine.providers.presence import OllamaProbe, without_absent_ollama
from genai_spine.settings import load_settings
from genai_spine.testing.simulator import Simulator


def post(url: str, body: object, key: str = "any") -> dict[str, object]:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def url_of(running: Running, needle: str = "OLLAMA_HOST=") -> str:
    out = running.expect(needle)
    running.expect("\n")
    found = re.search(r"OPENAI_BASE_URL=(\S+)", out)
    assert found is not None
    return found[1]


CHAT = {"model": "sim", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_serve_answers_and_a_signal_ends_it_cleanly(configured: Place, number: signal.Signals) -> None:
    with configured.started("serve", "--port", "0") as running:
        url = url_of(running)
        answer = post(f"{url}/chat/completions", CHAT)
        assert "You said: hello" in json.dumps(answer)
        running.signal(number)
        assert running.wait() == 0
        assert "Traceback" not in running.err


def test_the_banner_names_the_providers_and_the_lines_to_copy(configured: Place, simulator: Simulator) -> None:
    with configured.started("serve", "--port", "0") as running:
        root = url_of(running).removesuffix("/v1")
        running.expect("insist")
        out = running.out
        assert f"on {root}\n" in out
        assert "openai     default model sim" in out
        assert "the default" in out
        assert simulator.urls.ollama in out
        assert f"  export OPENAI_BASE_URL={root}/v1\n" in out
        assert f"  export ANTHROPIC_BASE_URL={root}\n" in out
        assert f"  export GOOGLE_GEMINI_BASE_URL={root}\n" in out
        assert f"  export OLLAMA_HOST={root}\n" in out
        assert "CANNED" not in out


@pytest.mark.usefixtures("no_ollama")
def test_with_nothing_configured_answers_are_canned_and_that_is_said_loudly(place: Place) -> None:
    with place.started("serve", "--port", "0") as running:
        url = url_of(running)
        assert "ANSWERS ARE CANNED" in running.out
        assert "OPENAI_API_KEY" in running.err
        answer = post(f"{url}/chat/completions", {**CHAT, "model": "gpt-4o"})
        assert "You said: hello" in json.dumps(answer)


@pytest.mark.usefixtures("no_ollama")
def test_a_file_without_providers_is_no_reason_for_canned_answers(place: Place) -> None:
    place.write("[server]\nport = 0\n")
    result = place.run("serve")
    assert (result.code, result.out) == (1, "")
    assert "spine.toml" in result.err
    assert "[providers.simulated]" in result.err


@pytest.mark.usefixtures("no_ollama")
def test_a_key_in_the_environment_is_enough(place: Place) -> None:
    with place.started("serve", "--port", "0", ANTHROPIC_API_KEY=CANARY) as running:
        url_of(running)
        assert "anthropic  default model" in running.out
        assert "ollama     not running" in running.out
        assert "CANNED" not in running.out
        assert CANARY not in running.out + running.err


def test_an_ollama_that_runs_is_found(place: Place, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, is_there in ((simulator.urls.ollama, True), ("http://127.0.0.1:9", False)):
        monkeypatch.setattr(presence, "OLLAMA_URL", url)
        settings = load_settings(environ={"OLLAMA_HOST": url}, cwd=place.path)
        probe = OllamaProbe(settings)
        assert probe.answers is is_there
        assert list(without_absent_ollama(settings, probe).providers.by_id) == ["ollama"] * is_there
        assert list(without_absent_ollama(settings, probe, {"ollama"}).providers.by_id) == ["ollama"]


def test_an_ollama_that_hangs_delays_nothing_for_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(presence, "OLLAMA_URL", url)
        settings = load_settings(environ={"OLLAMA_HOST": url}, cwd=place.path)
        begun = time.monotonic()
        assert OllamaProbe(settings).answers is False
        assert time.monotonic() - begun < 5


def test_a_gateway_does_not_take_itself_for_a_provider(place: Place, free_port: int) -> None:
    with place.started(
        "serve",
        "--port",
        str(free_port),
        OLLAMA_HOST=f"http://127.0.0.1:{free_port}",
        OPENAI_BASE_URL=f"http://127.0.0.1:{free_port}/v1",
        OPENAI_API_KEY="any",
    ) as running:
        url_of(running)
        assert running.err.count("own address") == 1
        assert "OPENAI_API_KEY is taken for the client's, and openai is left out" in running.err
        assert "openai " not in running.out


def test_warnings_are_told_at_the_start(configured: Place) -> None:
    file = configured.path / "spine.toml"
    configured.write(file.read_text() + "[costs]\ndaily_limit = 10\n")
    with configured.started("serve", "--port", "0") as running:
        url_of(running)
        assert "warning: costs" in running.err


def test_arguments_win_over_the_file(configured: Place, free_port: int) -> None:
    file = configured.path / "spine.toml"
    configured.write(file.read_text() + "[server]\nport = 1\n", "other.toml")
    with configured.started("serve", "-c", "other.toml", "--port", str(free_port)) as running:
        assert url_of(running) == f"http://127.0.0.1:{free_port}/v1"


@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_a_port_in_use_is_one_line_with_the_mend(place: Place, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = place.run(command, "--port", port, OPENAI_API_KEY="k")
    assert (result.code, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1
    assert port in result.err
    assert "--port" in result.err


def test_beyond_loopback_it_wants_a_key(place: Place) -> None:
    result = place.run("serve", "--host", "0.0.0.0", "--port", "0", OPENAI_API_KEY="k")
    assert (result.code, result.out) == (1, "")
    assert "api_keys" in result.err


def test_broken_settings_do_not_start(place: Place) -> None:
    place.write("[server]\nprot = 1\n")
    result = place.run("serve")
    assert (result.code, result.out) == (1, "")
    assert result.err == 'Error: spine.toml:2: server.prot: unknown key; did you mean "port"?\n'


def test_several_workers_serve_and_stop(configured: Place) -> None:
    with configured.started("serve", "--port", "0", "--workers", "2") as running:
        url = url_of(running)
        assert ", 2 workers" in running.out
        for _ in range(4):
            assert "You said: hello" in json.dumps(post(f"{url}/chat/completions", CHAT))
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert "Traceback" not in running.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_terminal_ends_it_unless_nohup_says_otherwise(configured: Place, workers: str) -> None:
    serve = ("serve", "--port", "0", "--workers", workers)
    with configured.started(*serve) as running:
        url_of(running)
        os.killpg(running.process.pid, signal.SIGHUP)  # the workers, too
        assert running.wait() == 0
        assert "Traceback" not in running.err
    with configured.started(*serve, under=("nohup",)) as running:
        url = url_of(running)
        os.killpg(running.process.pid, signal.SIGHUP)
        assert post(f"{url}/chat/completions", CHAT)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_a_gateway_survives_whoever_started_it(configured: Place) -> None:
    with configured.started("serve", "--port", "0") as running:
        url = url_of(running)
        running.process.stdout.close()  # type: ignore[union-attr]
        assert post(f"{url}/chat/completions", CHAT)


def test_logs_as_json_hold_no_key(configured: Place, simulator: Simulator) -> None:
    text = (configured.path / "spine.toml").read_text().replace("sk-test-key", CANARY)
    configured.write(text + f'[server]\napi_keys = ["{CANARY}-ours"]\n[logging]\nformat = "json"\nlevel = "debug"\n')
    simulator.run(f"status=401; message=wrong key {CANARY}", "ok")
    with configured.started("serve", "--port", "0") as running:
        url = url_of(running)
        with pytest.raises(urllib.error.HTTPError):
            post(f"{url}/chat/completions", {**CHAT, "model": "openai/sim"}, key=f"{CANARY}-ours")
        post(f"{url}/chat/completions", CHAT, key=f"{CANARY}-ours")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        lines = [json.loads(line) for line in running.err.splitlines() if line.startswith("{")]
        refused, answered = (line for line in lines if line["logger"] == "genai_spine.access")
        assert refused["message"].startswith("POST /v1/chat/completions 401 ")
        assert (refused["status"], refused["attempts"], answered["status"]) == (401, 1, 200)
        assert refused["notes"].startswith("AuthenticationError: ")
        shown = {name: answered[name] for name in ("method", "path", "attempts", "notes")}
        assert shown == {"method": "POST", "path": "/v1/chat/completions", "attempts": 1, "notes": "openai sim"}
        for name in ("duration_ms", "bytes", "request_id"):
            assert str(answered[name]) in answered["message"]
        assert CANARY not in running.out + running.err


def test_simulate_speaks_the_wire_formats_with_faults(place: Place) -> None:
    place.write('[[steps]]\nfault = "status=503"\n', "script.toml")
    with place.started("simulate", "--port", "0", "--script", "script.toml") as running:
        url = url_of(running)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            post(f"{url}/chat/completions", CHAT)
        assert "You said: hello" in json.dumps(post(f"{url}/chat/completions", CHAT))
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert "Traceback" not in running.err


def test_a_script_that_is_none_is_one_line(place: Place) -> None:
    place.write("[[steps]]\nfault = 'nonsense=1'\n", "script.toml")
    for name in ("script.toml", "no.toml"):
        result = place.run("simulate", "--port", "0", "--script", name)
        assert (result.code, result.out) == (1, "")
        assert name in result.err
        assert len(result.err.splitlines()) == 1
