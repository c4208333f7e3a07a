"""`routing.local_only`: a socket that listens where a remote provider would be must never see a connection."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from genai_spine import ConfigError, HttpProvider, InvalidRequest, ProviderManager, ProviderSettings, SpineError
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator


class Witness:
    """Listens on an address that is not a loopback one, and counts who comes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("0.0.0.0", 0))
        self.visits = 0
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    @property
    def url(self) -> str:
        # Linux connects it to this machine, and no setting says so: for all that is known it is another one.
        return f"http://0.0.0.0:{self.port}"

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()


@pytest.fixture
def witness() -> Iterator[Witness]:
    made = Witness()
    yield made
    made.listener.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def tables(simulator: Simulator, witness: Witness, **more: Any) -> dict[str, Any]:
    return {
        "providers": {
            "ollama": {"base_url": simulator.urls.ollama},
            "openai": {"api_key": "sk-abcdefgh", "base_url": f"{witness.url}/v1"},
            "claude": {"type": "anthropic", "api_key": "sk-abcdefgh", "base_url": witness.url},
            "gpu": {"type": "ollama", "base_url": witness.url},
            "behind": {"type": "ollama", "base_url": simulator.urls.ollama, "proxy": witness.url},
            "cohere": {"api_key": "sk-abcdefgh", "base_url": witness.url},
            "fallback_order": ["openai", "claude", "gpu", "behind", "ollama"],
        },
        "routes": {
            "away": {"targets": ["openai/gpt-4o", "claude/claude-sonnet-4-5"]},
            "mixed": {"targets": ["openai/gpt-4o", "ollama/llama3.2"], "strategy": "round_robin"},
        },
        "agents": {"reviewer": {"provider": "openai", "model": "gpt-4o"}},
        "routing": {"local_only": True},
        "retry": {"max_retries": 0},
        **more,
    }


@pytest.fixture
def gateway(simulator: Simulator, witness: Witness) -> Iterator[RunningGateway]:
    with running_gateway(tables(simulator, witness)) as running:
        yield running


HELLO = [{"role": "user", "content": "a secret"}]
HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "provider/model": ("/v1/chat/completions", {"model": "openai/gpt-4o", "messages": HELLO}),
    "a provider": ("/v1/chat/completions", {"model": "openai", "messages": HELLO}),
    "a row's alias": ("/v1/chat/completions", {"model": "anthropic/claude-sonnet-4-5", "messages": HELLO}),
    "a model of its": ("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}),
    "an explicit provider": ("/v1/chat/completions", {"model": "x", "provider": "openai", "messages": HELLO}),
    "a provider by alias": ("/v1/chat/completions", {"model": "x", "provider": "anthropic", "messages": HELLO}),
    "a fallback": ("/v1/chat/completions", {"model": "llama3.2", "fallbacks": ["openai/gpt-4o"], "messages": HELLO}),
    "a route": ("/v1/chat/completions", {"model": "away", "messages": HELLO}),
    "an agent": ("/v1/chat/completions", {"model": "agent:reviewer", "messages": HELLO}),
    "a server elsewhere": ("/v1/chat/completions", {"model": "gpu/llama3.2", "messages": HELLO}),
    "a server behind a proxy": ("/v1/chat/completions", {"model": "behind/llama3.2", "messages": HELLO}),
    "a model that Ollama passes on": ("/v1/chat/completions", {"model": "gpt-oss:120b-cloud", "messages": HELLO}),
    "Anthropic's dialect": (
        "/v1/messages",
        {"model": "claude/claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO},
    ),
    "counting": ("/v1/messages/count_tokens", {"model": "claude/claude-sonnet-4-5", "messages": HELLO}),
    "Responses": ("/v1/responses", {"model": "openai/gpt-4o", "input": "a secret"}),
    "Ollama's dialect": ("/api/chat", {"model": "gpu/llama3.2", "messages": HELLO, "stream": False}),
    "Ollama's card": ("/api/show", {"model": "gpu/llama3.2"}),
    "embeddings": ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "a secret"}),
    "embeddings by name": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a secret"}),
    "Gemini's path": (
        "/v1beta/models/openai%2Fgpt-4o:generateContent",
        {"contents": [{"parts": [{"text": "a secret"}]}]},
    ),
    "a summary": ("/v1/summarize", {"content": "a secret", "provider": "openai"}),
    "a dry run": ("/v1/route", {"model": "openai/gpt-4o", "messages": HELLO}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_a_request_names_nothing_leaves(case: str, gateway: RunningGateway, witness: Witness) -> None:
    path, body = HOSTILE[case]
    for stream in (False, True):
        answer = httpx2.post(gateway.url + path, json={**body, "stream": stream} if stream else body, timeout=20)
        assert answer.status_code in (400, 403, 404), answer.text
        if answer.status_code == 403:
            assert "routing.local_only lets nothing leave it" in answer.text
    assert witness.visits == 0


HINTS = ("best_quality", "cheapest", "cloud_preferred", "local_preferred")


@pytest.mark.parametrize(
    "body", [{}, {"model": "mixed"}, *({"provider_hint": hint} for hint in HINTS), {"model": "llama3.2"}], ids=str
)
def test_what_is_here_answers_in_their_place(body: dict[str, Any], gateway: RunningGateway, witness: Witness) -> None:
    for _ in range(3):
        answer = httpx2.post(f"{gateway.url}/v1/chat/completions", json={"messages": HELLO, **body}, timeout=20)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-spine-provider"] == "ollama"
    assert witness.visits == 0


def test_nobody_elsewhere_is_asked_for_models_or_health(gateway: RunningGateway, witness: Witness) -> None:
    for path in ("/v1/models", "/v1/models/gpt-4o", "/v1/providers", "/api/tags", "/api/ps", "/health/ready"):
        answer = httpx2.get(gateway.url + path, timeout=20)
        assert answer.status_code in (200, 403, 404), answer.text
    assert json.loads(httpx2.get(f"{gateway.url}/v1/models", timeout=20).text)["data"]
    assert witness.visits == 0


def test_a_failure_here_is_no_reason_to_ask_elsewhere(
    simulator: Simulator, gateway: RunningGateway, witness: Witness
) -> None:
    simulator.run("status=503")
    answer = httpx2.post(f"{gateway.url}/v1/chat/completions", json={"messages": HELLO}, timeout=20)
    simulator.run()
    assert answer.status_code >= 500
    assert witness.visits == 0


async def test_the_library_keeps_the_promise(simulator: Simulator, witness: Witness) -> None:
    async with ProviderManager.from_settings(tables(simulator, witness)) as manager:
        with pytest.raises(InvalidRequest, match="is not on this machine"):
            await manager.complete("a secret", model="openai/gpt-4o")
        with pytest.raises(InvalidRequest, match="is not on this machine"):
            await manager.embed("a secret", model="openai/text-embedding-3-small")
        with pytest.raises(InvalidRequest, match="is not on this machine"):
            await manager.rerank("a secret", documents=["x"], model="cohere/rerank-v3.5")
        with pytest.raises(SpineError):
            await manager.list_models("openai")
        assert {card.provider for card in await manager.list_models()} == {"ollama"}
        assert [status.name for status in await manager.status()] == ["ollama"]
        assert list(manager.metrics()) == ["ollama"]
        remote = HttpProvider("openai", ProviderSettings(base_url=witness.url, api_key=None), name="late")
        with pytest.raises(ConfigError, match='"late" is not on this machine'):
            manager.with_fallback(remote)
        assert (await manager.complete("hello")).provider == "ollama"
    assert witness.visits == 0


async def test_a_proxy_of_the_environment_is_a_way_out(
    simulator: Simulator, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", witness.url)
    settings = settings_of(
        {"providers": {"ollama": {"base_url": simulator.urls.ollama}}, "routing": {"local_only": True}}
    )
    async with ProviderManager.from_settings(settings) as manager:
        with pytest.raises(SpineError, match="no provider is on this machine: configured are ollama"):
            await manager.complete("a secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    async with ProviderManager.from_settings(settings) as manager:
        assert (await manager.complete("hello")).provider == "ollama"
    assert witness.visits == 0


@pytest.mark.parametrize("command", ["doctor", "models", "providers", "models show openai/gpt-4o", "route explain"])
def test_the_command_line_keeps_it_too(command: str, simulator: Simulator, witness: Witness, tmp_path: Path) -> None:
    (tmp_path / "spine.yaml").write_text(json.dumps(tables(simulator, witness)))  # JSON is YAML
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "genai_spine", *command.split()],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done.stderr
    assert witness.visits == 0
    if command == "doctor":
        assert "not asked: it is not on this machine (routing.local_only)" in done.stdout
