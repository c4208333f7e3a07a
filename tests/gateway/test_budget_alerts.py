"""A budget of a gateway that is used up: its webhook hears of it once for each level, over a restart too."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of one who takes webhooks, and what it was sent."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chat(running: RunningGateway, **more: Any) -> int:
    said = [{"role": "user", "content": "hi"}]
    body = json.dumps({"model": "openai/gpt-4o", "messages": said, "max_tokens": 5, **more})
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{running.url}/v1/chat/completions", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_webhook_hears_of_each_level_once_also_after_a_restart(tmp_path: Path) -> None:
    with running_simulator() as simulator, receiver() as (url, heard):
        settings = {
            "providers": {"openai": {"api_key": "sk-unused", "base_url": simulator.urls.openai}},
            "ledger": {"url": f"sqlite:///{tmp_path}/spine.db"},
            "costs": {"daily_limit": 0.0004, "alerts": {"webhook": url}},
        }
        statuses: list[int] = []
        for _ in range(2):
            with running_gateway(settings) as running:
                while (status := chat(running)) == 200:
                    statuses.append(status)
                assert status == 402
        told = sorted((each["type"], each["data"]["budget"], each["data"]["limit_usd"]) for each in heard)
    assert len(statuses) >= 2
    assert told == [("budget.limit", "daily_limit", "0.0004"), ("budget.threshold", "daily_limit", "0.0004")]


def test_a_callers_own_limit_is_none_of_the_operators_business(tmp_path: Path) -> None:
    with running_simulator() as simulator, receiver() as (url, heard):
        settings = {
            "providers": {
                "up": {
                    "type": "openai_compatible",
                    "base_url": simulator.urls.openai,
                    "cost": {"input_cost_per_1m": 10, "output_cost_per_1m": 50},
                }
            },
            "ledger": {"url": f"sqlite:///{tmp_path}/spine.db"},
            "costs": {"budgets": {"all": {"limit_usd": 0.006}}, "alerts": {"webhook": url}},
        }
        with running_gateway(settings) as running:  # the answer costs more than 0.8 of both limits
            assert chat(running, model="up/sim-long-100", max_tokens=100, cost_limit=0.006) == 200
    assert {each["data"]["budget"] for each in heard} == {"all"}
