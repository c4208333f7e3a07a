"""GET /v1/usage and /v1/requests: each key sees its own, amounts are exact, a ledger that is down is said to be."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens
from genai_spine.ledger.matching import Matching
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until

KEYS = ("key-of-one", "key-of-another")


def name_of(key: str) -> str:
    return hashlib.sha256(key.encode()).digest()[:8].hex()


def fill(path: Path, callers: tuple[str | None, ...], calls: int = 5) -> None:
    entries: list[Entry] = []
    for caller in callers:
        for number in range(calls):
            id = f"req_{caller}_{number}"
            whose: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "caller": caller}
            entries += [
                Begun(id=f"{id}-1", call=id, at=float(number), **whose),
                Ended(id=f"{id}-1", at=1.0, status="answered", duration_s=1.0, tokens=Tokens(input=1), cost_nanousd=3),
                Call(id=id, at=number + 1.0, duration_s=1.0, status="answered", attempts=1, cost_nanousd=3, **whose),
            ]  # fmt: skip
    database = SqliteDatabase(path)
    database.enter(Matching().take(entries))
    database.close()


def ask(running: RunningGateway, path: str, key: str | None = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{running.url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def settings(path: Path | None, **server: Any) -> dict[str, Any]:
    ledger = {"ledger": {"url": f"sqlite:///{path}"}} if path is not None else {}
    return {"providers": {"sim": {"type": "simulated"}}, "server": server, **ledger}


def test_usage_and_calls_are_told_and_paged(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    fill(path, (None,))
    with running_gateway(settings(path)) as running:
        status, usage = ask(running, "/v1/usage?by=provider")
        assert (status, usage["object"], usage["total"]["calls"]) == (200, "usage", 5)
        assert usage["data"][0]["cost_usd"] == "0.000000015"
        ids: list[str] = []
        query = "limit=2"
        while query:
            status, page = ask(running, f"/v1/requests?{query}")
            assert status == 200
            ids += [call["id"] for call in page["data"]]
            query = f"limit=2&before={page['next']}" if page["next"] else ""
        assert ids == [f"req_None_{number}" for number in (4, 3, 2, 1, 0)]
        status, one = ask(running, "/v1/requests/req_None_3")
        assert (status, one["request_id"], one["cost_usd"]) == (200, "req_None_3", "0.000000003")
        assert one["attempts"][0]["arithmetic"].startswith("$0.000000003")


def test_a_call_of_late_is_told_as_after_a_restart_and_more(tmp_path: Path) -> None:
    tables = settings(tmp_path / "spine.db")
    body = json.dumps({"model": "sim/sim-chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
    with running_gateway(tables) as running:
        request = urllib.request.Request(f"{running.url}/v1/chat/completions", body, {"x-spine-tags": "blue"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            id = answer.headers["x-request-id"]
        path = f"/v1/requests/{id}"
        wait_until(lambda: "arithmetic" in ask(running, path)[1]["attempts"][0])
        of_late = ask(running, path)[1]
    with running_gateway(tables) as running:
        later = ask(running, path)[1]
    assert of_late.keys() > later.keys() and of_late["attempts"][0].keys() > later["attempts"][0].keys()
    assert {name: of_late[name] for name in later if name != "attempts"} == {
        name: value for name, value in later.items() if name != "attempts"
    }
    assert (later["status"], later["tags"], of_late["passed_over"]) == ("answered", ["blue"], [])


def test_each_key_sees_its_own(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    names = tuple(map(name_of, KEYS))
    fill(path, names)
    with running_gateway(settings(path, api_keys=list(KEYS))) as running:
        for key, name in zip(KEYS, names, strict=True):
            usage = ask(running, "/v1/usage?by=model", key)[1]
            assert (usage["total"]["calls"], usage["data"][0]["calls"]) == (5, 5)
            calls = ask(running, f"/v1/requests?caller={names[0]}", key)[1]["data"]
            assert {call["caller"] for call in calls} == {name}
        assert ask(running, f"/v1/requests/req_{names[0]}_1", KEYS[0])[0] == 200
        assert ask(running, f"/v1/requests/req_{names[0]}_1", KEYS[1])[0] == 404
        assert ask(running, "/v1/usage")[0] == 401


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/usage?by=planet", "by"),
        ("/v1/usage?since=lately", "since"),
        ("/v1/usage?until=lately", "until"),
        ("/v1/usage?since=2026-11-21&until=2026-11-20", "until"),
        ("/v1/usage?from=2026-01-01", "from"),
        ("/v1/requests?limit=0", "limit"),
        ("/v1/requests?limit=9999", "limit"),
        ("/v1/requests?limit=000000001" + "0" * 5_000, "limit"),
        ("/v1/requests?before=x:y", "before"),
    ],
)
def test_what_cannot_be_asked_is_told(tmp_path: Path, path: str, param: str) -> None:
    fill(tmp_path / "spine.db", (None,), 1)
    with running_gateway(settings(tmp_path / "spine.db")) as running:
        status, answer = ask(running, path)
        assert (status, answer["error"]["param"]) == (400, param)


def test_a_gateway_without_a_ledger_says_so(tmp_path: Path) -> None:
    with running_gateway(settings(None)) as running:
        for path in ("/v1/usage", "/v1/requests"):
            status, answer = ask(running, path)
            assert (status, answer["error"]["code"]) == (404, "no_ledger")
        assert ask(running, "/v1/requests/req_1")[0] == 404


def test_a_ledger_that_cannot_be_read_is_no_fault_of_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    fill(path, (None,), 1)
    with running_gateway(settings(path)) as running:
        broken = sqlite3.connect(path)
        broken.execute("DROP TABLE daily")
        broken.commit()
        broken.close()
        status, answer = ask(running, "/v1/usage")
        assert (status, answer["error"]["code"]) == (503, "ledger_unreadable")
        assert str(path) not in answer["error"]["message"]


def test_tags_in_a_header_are_counted_whether_or_not_routes_look_at_them(tmp_path: Path) -> None:
    with running_gateway(settings(tmp_path / "spine.db")) as running:
        body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": "hi"}]}).encode()
        headers = {"content-type": "application/json", "x-spine-tags": "night, eval,"}
        request = urllib.request.Request(f"{running.url}/v1/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        wait_until(lambda: bool(ask(running, "/v1/usage?by=tag")[1]["data"]))
        assert {row["name"] for row in ask(running, "/v1/usage?by=tag")[1]["data"]} == {"night", "eval"}
        assert ask(running, "/v1/requests")[1]["data"][0]["tags"] == ["night", "eval"]


def test_the_month_is_foretold_for_each_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    fill(path, tuple(map(name_of, KEYS)))
    with running_gateway(settings(path, api_keys=list(KEYS))) as running:
        told = ask(running, "/v1/usage?by=key&forecast=month", KEYS[0])[1]["forecast"]
        assert [(line["kind"], line["window"], line["why"]) for line in told][-1] == (
            "total", "month", "too few full days: 0",
        )  # fmt: skip
        assert {line["name"] for line in told} <= {"", name_of(KEYS[0])}
        status, answer = ask(running, "/v1/usage?forecast=year", KEYS[0])
        assert (status, answer["error"]["param"]) == (400, "forecast")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_names_another_model_is_kept_with_that_name(tmp_path: Path, path: str, stream: bool) -> None:
    """A bill names the snapshot that answered, and `spine reconcile` compares by that name."""
    with snapshots() as url:
        configured = settings(tmp_path / "spine.db")
        configured["providers"]["open"] = {"type": "openai", "base_url": url, "api_key": "k"}
        with running_gateway(configured) as running:
            body = {"model": "open/gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            request = urllib.request.Request(
                f"{running.url}{path}",
                json.dumps({**body, "stream": stream}).encode(),
                {"content-type": "application/json", "anthropic-version": "2023-06-01"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()
                id = answer.headers["x-request-id"]
            [remembered] = ask(running, f"/v1/requests/{id}")[1]["attempts"]
        with running_gateway(configured) as running:  # which remembers nothing
            [written] = ask(running, f"/v1/requests/{id}")[1]["attempts"]
    for attempt in (remembered, written):
        assert (attempt["model"], attempt["answered_model"]) == ("gpt-4o", "gpt-4o-2024-08-06")


@contextmanager
def snapshots() -> Iterator[str]:
    """An OpenAI whose answers name the snapshot of the model."""
    choice = {"index": 0, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    said = {"id": "c", "created": 1, "model": "gpt-4o-2024-08-06", "usage": usage}
    whole = {**said, "object": "chat.completion", "choices": [{**choice, "message": {"content": "Hi"}}]}
    chunk = {**said, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": "Hi"}}]}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            is_stream = json.loads(self.rfile.read(int(self.headers["content-length"]))).get("stream")
            body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n" if is_stream else json.dumps(whole)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
