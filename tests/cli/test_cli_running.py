"""`spine providers --running`: what only the gateway knows."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from spine_process import CANARY, Place

from genai_spine.testing.simulator import Simulator


def ask(url: str, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {CANARY}"}
    )
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError as error:
        error.close()


def write(configured: Place, port: int, key: str) -> Place:
    """The place's settings, with a provider at which nobody listens, and a gateway that wants this key."""
    text = (configured.path / "spine.toml").read_text()
    text += '[providers.gone]\ntype = "vllm"\nbase_url = "http://127.0.0.1:1/v1"\n'
    configured.write(text + f'[server]\nport = {port}\napi_keys = ["{key}"]\n[breaker]\nmin_calls = 1\n')
    return configured


def test_it_tells_how_each_provider_fares(configured: Place, free_port: int) -> None:
    place = write(configured, free_port, CANARY)
    with place.started("serve") as running:
        running.expect("OPENAI_BASE_URL")
        ask(f"http://127.0.0.1:{free_port}", "openai/sim")
        ask(f"http://127.0.0.1:{free_port}", "gone/m")
        result = place.run("providers", "--running")
        assert result.code == 0, result
        lines = {line.split()[0]: line for line in result.out.splitlines()}
        assert "well" in lines["openai"]
        assert "closed" in lines["openai"]
        assert "failing: " in lines["gone"]
        assert "m open" in lines["gone"]
        told = json.loads(place.run("providers", "--running", "--json").out)["data"]
        assert {provider["id"]: provider["metrics"]["error_count"] for provider in told}["gone"] >= 1
        assert CANARY not in result.said


def test_a_gateway_that_does_not_run_is_said(place: Place, free_port: int) -> None:
    place.write(f"[server]\nport = {free_port}\n")
    result = place.run("providers", "--running")
    assert result.code == 1
    assert f"no gateway runs at 127.0.0.1:{free_port}: start it with `spine serve`" in result.err


@pytest.mark.parametrize("answer", [b"[1]", b"{}", b"null", b'"data"', b"<html>"])
def test_another_server_at_the_port_is_no_gateway(place: Place, answer: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place.write(f"[server]\nport = {server.server_port}\n")
        for command in (("providers", "--running"), ("streams",)):
            result = place.run(*command)
            assert (result.code, "is no gateway" in result.err) == (1, True), result
        server.shutdown()


def test_a_key_of_which_settings_have_the_hash_comes_from_the_environment(configured: Place, free_port: int) -> None:
    place = write(configured, free_port, "sha256:" + hashlib.sha256(CANARY.encode()).hexdigest())
    with place.started("serve") as running:
        running.expect("OPENAI_BASE_URL")
        refused = place.run("providers", "--running")
        assert refused.code == 1
        assert "set SPINE_KEY" in refused.err
        assert place.run("providers", "--running", SPINE_KEY=CANARY).code == 0


def test_all_and_running_exclude_each_other(place: Place) -> None:
    assert place.run("providers", "--running", "--all").code == 2


def test_what_is_no_gateway_is_said(place: Place, simulator: Simulator) -> None:
    port = simulator.urls.root.rpartition(":")[2]
    place.write(f"[server]\nport = {port}\n")
    result = place.run("providers", "--running")
    assert result.code == 1
    assert "404" in result.err or "no gateway" in result.err
