"""Faults 50, 51, 56, 60, 77, 80: a real `spine serve`, canaries in all it knows, and settings that cannot work."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from callers import ANTHROPIC, DIALECTS, OPENAI, Caller, ask, failed_upstream, http, peer

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider, PermissionDenied, ProviderSettings
from genai_spine.providers import plugins
from genai_spine.testing.fixtures import running_gateway
from genai_spine.testing.simulator import Simulator

SPINE = [sys.executable, "-m", "genai_spine"]

CANARIES = {
    "OA_KEY": "sk-canary-openai-1f2e3d4c5b6a7988",
    "AN_KEY": "canaryplainanthropic0011223344556677",
    "OL_KEY": "Canary.Ollama~Key/With+Odd=Characters==",
    "EXTRA": "canary-header-value-5566778899",
    "GATE_KEY": "canary-gateway-key-99aabbccddee",
    "PROXY": "http://canary-user:canary-proxy-password@127.0.0.1:9",
    "LEDGER": "postgres://canary:canary-ledger-password@127.0.0.1/spine",
}
WORDS = [*CANARIES.values(), "canary-proxy-password", "canary-ledger-password", "1f2e3d4c5b6a7988"]
CALLERS_WRONG_KEY = "canary-wrong-key-of-a-caller"


class Process:
    """One `spine serve`, all of whose words are kept."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
        self.process = process
        self.folder = folder
        self.port = port

    def said(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


@contextmanager
def serving(folder: Path, config: str, environ: Mapping[str, str]) -> Iterator[Process]:
    (folder / "spine.toml").write_text(config)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [*SPINE, "-v", "serve", "--port", "0"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1", **environ},
            stdout=out,
            stderr=err,
        )
        try:
            end_s = time.monotonic() + 10
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", (folder / "out").read_text())):
                assert process.poll() is None, (folder / "err").read_text()
                assert time.monotonic() < end_s
                time.sleep(0.02)
            yield Process(process, folder, int(found[1]))
        finally:
            process.kill()
            process.wait()


def run(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [*SPINE, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environ or {})},
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def config_for(simulator: Simulator, echo: str) -> str:
    return f"""
[server]
api_keys = ["${{GATE_KEY}}"]
drain_timeout = 0
metrics = "keyed"
[logging]
level = "debug"
[retry]
max_retries = 1
initial_delay = 0
[timeouts]
connect = 1
first_token = 0.3
idle = 0.3
[ledger]
url = "${{LEDGER}}"
[providers.oa]
type = "openai_compatible"
base_url = "{simulator.urls.openai}"
api_key = "${{OA_KEY}}"
headers = {{ x-extra = "${{EXTRA}}" }}
[providers.an]
type = "anthropic"
base_url = "{simulator.urls.anthropic}"
api_key = "${{AN_KEY}}"
[providers.ol]
type = "ollama"
base_url = "{simulator.urls.ollama}"
api_key = "${{OL_KEY}}"
dialect = "ollama_chat"
[providers.proxied]
type = "openai_compatible"
base_url = "http://upstream.invalid/v1"
proxy = "${{PROXY}}"
api_key = "${{OA_KEY}}"
[providers.echo]
type = "openai_compatible"
base_url = "{echo}"
api_key = "${{AN_KEY}}"
headers = {{ x-extra = "${{EXTRA}}" }}
"""


FAULTS = (
    "ok", "status=401", "status=500", "body=html", "body=error", "malformed=1", "reset=head", "close=2", "redirect=/x",
    "end=1", "bad_chunk=1", "stall=head", "body=empty",
)  # fmt: skip


SLOW = ("stall=head", "reset=head", "close=2")


def echoing(sock: socket.socket) -> None:
    """A provider that tells each caller all about its key."""
    told = f"Incorrect API key provided: {CANARIES['AN_KEY']}; header {CANARIES['EXTRA']}; Bearer {CANARIES['AN_KEY']}"
    sock.sendall(http(json.dumps({"error": {"message": told, "code": told, "type": told}}).encode(), status="401 No"))


def test_fault_50_no_secret_leaves_by_any_door(simulator: Simulator, tmp_path: Path) -> None:
    heard: list[str] = []
    with peer(echoing) as echo, serving(tmp_path, config_for(simulator, echo.url), CANARIES) as process:
        key = {"x-api-key": CANARIES["GATE_KEY"]}
        gateway: Any = process
        for dialect in DIALECTS:
            for provider in ("oa", "an", "ol"):
                for fault in FAULTS:
                    for stream in (False, True):
                        if fault in SLOW and (stream or provider != "oa"):
                            continue
                        body = dialect.request(f"{provider}/m+{fault}", stream=stream)
                        heard.append(str(ask(gateway, dialect.path, body, key)))
            for provider in ("echo", "proxied"):
                for stream in (False, True):
                    body = dialect.request(f"{provider}/m", stream=stream)
                    heard.append(str(ask(gateway, dialect.path, body, key)))
            wrong = {"authorization": f"Bearer {CALLERS_WRONG_KEY}"}
            heard.append(str(ask(gateway, dialect.path, dialect.request("oa/m"), wrong)))
            heard.append(str(ask(gateway, dialect.path, b"{" + CALLERS_WRONG_KEY.encode(), wrong)))
        for path in ("/v1/models", "/api/tags", "/v1/providers", "/health/ready", "/metrics", "/none", "/v1/models/x"):
            heard.append(str(ask(gateway, path, headers=key)))
        for path in ("/v1/embeddings", "/v1/messages/count_tokens", "/api/show"):
            for provider in ("oa", "an", "echo"):
                body = {"model": f"{provider}/m", "input": "x", "messages": []}
                heard.append(str(ask(gateway, path, body, key)))
        with Caller(gateway) as caller:
            caller.sock.sendall(b"GET / HTTP/1.1\r\nhost: " + CALLERS_WRONG_KEY.encode() + b" x\r\n\r\n")
            heard.append(str(caller.answer()))
        assert process.stop() == 0
        logged = process.said()
    for arguments in (
        ("config", "check"), ("config", "check", "--json"), ("config", "schema"), ("config", "show"),
        ("providers",), ("providers", "--json"), ("doctor", "--json", "--timeout", "2"), ("models", "--json"),
    ):  # fmt: skip
        code, text = run(tmp_path, *arguments, environ=CANARIES)
        assert code in (0, 1, 2)
        heard.append(text)
    assert len(heard) > 200
    for word in WORDS:
        assert not [text for text in heard if word in text], word
        assert word not in logged, word
    assert CALLERS_WRONG_KEY not in logged
    assert CALLERS_WRONG_KEY not in "".join(heard)
    assert not [text for text in heard if "Traceback" in text]
    assert "Traceback" not in logged
    assert logged.count("genai_spine.access") > 100 or logged.count(" attempts=") > 100, "the log was looked at"
    assert f"127.0.0.1:{simulator.port}" in logged, "the log tells the operator where"
    assert not [text for text in heard[:200] if f"127.0.0.1:{simulator.port}" in text], "and callers not"


def test_fault_51_an_echoed_key_is_struck_out_whatever_it_looks_like(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="genai_spine")
    with peer(echoing) as echo:
        table = {
            "type": "openai_compatible",
            "base_url": echo.url,
            "api_key": CANARIES["AN_KEY"],
            "headers": {"x-extra": CANARIES["EXTRA"]},
        }
        with running_gateway({"providers": {"echo": table}, "retry": {"max_retries": 0}}) as gateway:
            for dialect in DIALECTS:
                for stream in (False, True):
                    answer = ask(gateway, dialect.path, dialect.request("m", stream=stream))
                    failed_upstream(dialect, answer, 401)
                    assert CANARIES["AN_KEY"] not in str(answer)
                    assert CANARIES["EXTRA"] not in str(answer)
                    assert b"Incorrect API key provided: [redacted]" in answer.body
    assert "Incorrect API key provided: [redacted]" in caplog.text
    assert not [word for word in WORDS if word in caplog.text]


class Telltale(LLMProvider):
    """A stranger's provider, whose service repeats the key and where it is."""

    def __init__(self, id: str, settings: ProviderSettings) -> None:
        assert settings.api_key is not None
        self.said = f"wrong key {settings.api_key.reveal()} at {settings.base_url}"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise PermissionDenied(self.said)


def test_fault_51_the_key_of_a_strangers_provider_is_struck_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="telltale", value=f"{__name__}:Telltale", group=plugins.GROUP)
    monkeypatch.setattr(plugins, "_found", lambda: {"telltale": point})
    table = {"type": "telltale", "api_key": CANARIES["AN_KEY"], "base_url": "http://llm.internal:8443/v1"}
    with running_gateway({"providers": {"told": table}, "retry": {"max_retries": 0}}) as gateway:
        for dialect in DIALECTS:
            for stream in (False, True):
                answer = ask(gateway, dialect.path, dialect.request("told/m", stream=stream))
                assert b"wrong key [redacted] at http://[address]/v1" in answer.body


def test_fault_51_an_error_inside_a_stream_is_struck_out_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="genai_spine")
    key = CANARIES["AN_KEY"]
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    error = b'data: {"error":{"message":"key %b is over its limit"}}\n\n' % key.encode()
    stream = http(chunk * 2 + error, "text/event-stream")

    def breaking(sock: socket.socket) -> None:
        sock.sendall(stream.removesuffix(error))
        time.sleep(0.1)
        sock.sendall(error)

    with peer(stream, stream, stream, breaking) as upstream:
        table = {"type": "openai_compatible", "base_url": upstream.url, "api_key": key}
        with running_gateway({"providers": {"up": table}, "retry": {"max_retries": 0}}) as gateway:
            for dialect in (*DIALECTS, *DIALECTS):
                answer = ask(gateway, dialect.path, dialect.request("m", stream=True))
                assert key not in str(answer)
                assert b"over its limit" in answer.body
    assert "broken: " in caplog.text
    assert key not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_fault_51_the_details_of_an_error_of_anthropics_are_struck_out_too(stream: bool) -> None:
    key = CANARIES["AN_KEY"]
    details = {"error_code": "odd", "said": f"x-api-key was {key}"}
    error = {"type": "error", "error": {"type": "not_found_error", "message": "Gone.", "details": details}}
    with peer(http(json.dumps(error).encode(), status="404 No")) as upstream:
        table = {"type": "anthropic", "base_url": upstream.url.removesuffix("/v1"), "api_key": key}
        with running_gateway({"providers": {"up": table}, "retry": {"max_retries": 0}}) as gateway:
            answer = ask(gateway, "/v1/messages", ANTHROPIC.request("up/m", stream=stream))
    told = json.loads(answer.body)["error"]["details"]
    assert told == {"error_code": "odd", "said": "x-api-key was [redacted]"}


def test_fault_56_escape_sequences_of_callers_and_models_do_not_reach_the_terminals_log(
    simulator: Simulator, tmp_path: Path
) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\x9b31m"
    with serving(tmp_path, config_for(simulator, "http://127.0.0.1:9"), CANARIES) as process:
        gateway: Any = process
        key = {"x-api-key": CANARIES["GATE_KEY"]}
        for body in (
            OPENAI.request(f"oa/{nasty}", text=nasty),
            OPENAI.request(nasty),
            OPENAI.request("oa/m", provider=nasty),
            OPENAI.request("oa/m+status=500,message=bad"),
        ):
            ask(gateway, OPENAI.path, body, key)
        ask(gateway, "/%1b[2J%9b31m", headers=key)
        assert process.stop() == 0
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", process.said())


def test_fault_56_no_word_of_a_provider_begins_a_line_of_the_log(simulator: Simulator, tmp_path: Path) -> None:
    forged = "2026-11-22 00:00:00,000 INFO genai_spine.access: POST /v1/chat/completions 200"
    told = http(json.dumps({"error": {"message": f"bad\n{forged}"}}).encode(), status="500 No")
    with peer(told) as odd, serving(tmp_path, config_for(simulator, odd.url), CANARIES) as process:
        gateway: Any = process
        ask(gateway, "/v1/models", headers={"x-api-key": CANARIES["GATE_KEY"]})
        assert process.stop() == 0
        logged = process.said()
    assert f"echo does not list its models: bad {forged}" in logged
    assert not [line for line in logged.splitlines() if line.startswith(forged)]


# ── 60, 77, 80: settings and systems that cannot work ─────────────────────────────────────────────

BROKEN = {
    "syntax": ("spine.toml", "[server\nport = 1", "spine.toml"),
    "unknown key": ("spine.toml", "[server]\nprot = 1", "did you mean"),
    "wrong type": ("spine.toml", '[server]\nworkers = "many"', "server.workers"),
    "missing variable": ("spine.toml", '[server]\napi_keys = ["${NOT_SET_ANYWHERE}"]', "NOT_SET_ANYWHERE"),
    "variable in a variable": ("spine.toml", '[server]\nhost = "${A:-${A:-${A}}}"', "spine.toml"),
    "empty key": ("spine.toml", '[server]\napi_keys = [""]', "api_keys"),
    "no provider": ("spine.toml", '[server]\nhost = "127.0.0.1"', "provider"),
    "not UTF-8": ("spine.toml", "[server]\nhost = '\udcff'", "spine.toml"),
    "python object": ("spine.yaml", "server: !!python/object/apply:os.system ['true']", "spine.yaml"),
    "yaml bomb": (
        "spine.yaml",
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "spine.yaml",
    ),
    "exposed": ("spine.toml", '[server]\nhost = "0.0.0.0"\n[providers.ollama]', "api_keys"),
    "unresolvable": ("spine.toml", '[server]\nhost = "no-such-host.invalid"\n[providers.ollama]', "server.host"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_fault_60_and_77_broken_settings_end_the_start_with_one_clear_line(tmp_path: Path, case: str) -> None:
    name, text, words = BROKEN[case]
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    begun = time.monotonic()
    code, said = run(tmp_path, "serve", "--port", "0", environ={"SECRET": "canary"})
    assert code == 1, said
    assert time.monotonic() - begun < 5
    assert words in said
    assert "Traceback" not in said


def test_fault_80_a_port_in_use_is_told_and_a_home_is_not_needed(simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "spine.toml").write_text("[providers.simulated]\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run(tmp_path, "serve", "--port", str(taken.getsockname()[1]), environ={"HOME": "/nonexistent"})
    assert code == 1
    assert "in use" in said
    assert "--port" in said
    assert "Traceback" not in said


def test_fault_80_a_read_only_folder_without_a_home_serves(simulator: Simulator, tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    (tmp_path / "w").mkdir()
    environ = {**CANARIES, "HOME": "/nonexistent", "TMPDIR": "/nonexistent", "GENAI_CONFIG": str(folder / "spine.toml")}
    (folder / "spine.toml").write_text(config_for(simulator, "http://127.0.0.1:9"))
    folder.chmod(0o555)
    with serving(tmp_path / "w", config_for(simulator, "http://127.0.0.1:9"), environ) as process:
        gateway: Any = process
        answer = ask(gateway, OPENAI.path, OPENAI.request("oa/m"), {"x-api-key": CANARIES["GATE_KEY"]})
        assert answer.status == 200
        assert process.stop(signal.SIGINT) == 0
