"""Message threads of Anthropic's: a request that goes on with one holds the new messages alone. Who else is asked
could only answer out of context, so its client is told to send the whole conversation, as the SDKs' helpers then do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

CREATE: dict[str, Any] = {
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Hi"}],
    "thread": {"type": "create"},
}
CONTINUE: dict[str, Any] = {
    "max_tokens": 50,
    "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]}],
    "thread": {"type": "continue", "previous_message_id": "msg_1"},
}
OTHERS = ("openai", "compatible", "gemini", "ollama", "cohere")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def url(simulator: Simulator) -> Iterator[str]:
    urls = simulator.urls
    providers = {
        "anthropic": {"base_url": urls.anthropic, "api_key": "k"},
        "openai": {"base_url": urls.openai, "api_key": "k"},
        "compatible": {"type": "openai_compatible", "base_url": urls.openai, "api_key": "k"},
        "gemini": {"base_url": urls.gemini, "api_key": "k"},
        "ollama": {"base_url": urls.ollama},
        "cohere": {"base_url": urls.anthropic, "api_key": "k"},
    }
    with running_gateway({"providers": providers}) as running:
        yield running.url


def ask(url: str, model: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json", "anthropic-beta": "message-threads-2026-08-12"}
    request = Request(f"{url}/v1/messages", json.dumps({"model": model, **body}).encode(), headers)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", OTHERS)
def test_who_does_not_keep_the_thread_is_not_asked_to_go_on(
    simulator: Simulator, url: str, provider: str, stream: bool
) -> None:
    simulator.received.clear()
    status, body = ask(url, f"{provider}/m", {**CONTINUE, "stream": stream})
    assert (status, body["error"]["type"]) == (404, "not_found_error")
    assert body["error"]["details"] == {"error_code": "thread_not_found"}
    assert "send the whole" in body["error"]["message"]
    assert not simulator.received


@pytest.mark.parametrize("provider", OTHERS)
def test_who_begins_a_thread_is_answered_by_all(url: str, provider: str) -> None:
    status, body = ask(url, f"{provider}/m", CREATE)
    assert (status, body["content"][0]["text"]) == (200, "You said: Hi")


def test_anthropic_is_sent_the_thread(simulator: Simulator, url: str) -> None:
    simulator.received.clear()
    assert ask(url, "anthropic/claude-sonnet-4-5", CONTINUE)[0] == 200
    (received,) = simulator.received
    assert received.json()["thread"] == CONTINUE["thread"]
    assert received.header("anthropic-beta") == "message-threads-2026-08-12"


class _Forgetful(BaseHTTPRequestHandler):
    """Anthropic's answer to a request that goes on with a thread it no longer has."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        details = {"error_code": "thread_not_found"}
        error = {"type": "not_found_error", "message": "The thread is gone.", "details": details}
        body = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
        self.send_response(404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_anthropics_own_word_on_a_lost_thread_reaches_its_client() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Forgetful)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        anthropic = {"base_url": f"http://127.0.0.1:{server.server_port}", "api_key": "k"}
        with running_gateway({"providers": {"anthropic": anthropic}}) as running:
            status, body = ask(running.url, "claude-sonnet-4-5", CONTINUE)
    finally:
        server.shutdown()
        server.server_close()
    assert (status, body["error"]["details"]) == (404, {"error_code": "thread_not_found"})
