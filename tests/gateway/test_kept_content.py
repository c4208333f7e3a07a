"""What is kept of prompts and answers by a gateway, and what is not: by default no byte of them, anywhere."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from genai_spine.engine.manager import ProviderManager
from genai_spine.model.errors import SpineError
from genai_spine.model.events import PartDelta
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

TEXT = "CANARY-words ada@example.org"
WORDS = [{"role": "user", "content": TEXT}]
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": WORDS}),
    "openai_responses": ("/v1/responses", {"input": TEXT, "store": False}),
    "openai_completions": ("/v1/completions", {"prompt": TEXT}),
    "anthropic_messages": ("/v1/messages", {"messages": WORDS, "max_tokens": 50}),
    "ollama_chat": ("/api/chat", {"messages": WORDS}),
    "ollama_generate": ("/api/generate", {"prompt": TEXT}),
    "gemini": ("/v1beta/models/", {"contents": [{"parts": [{"text": TEXT}]}]}),
}
PROVIDERS = ("oa", "an", "ol", "go")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def settings(simulator: Simulator, folder: Path, content: str, **more: Any) -> dict[str, Any]:
    simulator.run()
    return {
        "providers": {
            "oa": {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": "k"},
            "an": {"type": "anthropic", "base_url": simulator.urls.anthropic, "api_key": "k"},
            "ol": {"type": "ollama", "base_url": simulator.urls.ollama, "dialect": "ollama_chat"},
            "go": {"type": "gemini", "base_url": simulator.urls.gemini, "api_key": "k"},
        },
        "retry": {"max_retries": 0},
        "ledger": {"url": f"sqlite:///{folder}/spine.db", "content": content, **more.pop("ledger", {})},
        **more,
    }


@contextmanager
def keeping(simulator: Simulator, folder: Path, content: str = "full", **more: Any) -> Iterator[RunningGateway]:
    with running_gateway(settings(simulator, folder, content, **more)) as running:
        yield running


def ask(running: RunningGateway, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, str]:
    """Status, body and request id."""
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(running.url + path, data, {"content-type": "application/json", **named})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers["x-request-id"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["x-request-id"]


def call(running: RunningGateway, dialect: str, provider: str, stream: bool, **headers: str) -> tuple[int, bytes, str]:
    path, body = CALLS[dialect]
    if dialect == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return ask(running, f"{path}{provider}/simulated:{verb}", body, **headers)
    return ask(running, path, {"model": f"{provider}/simulated", **body, "stream": stream}, **headers)


def kept(folder: Path, id: str) -> tuple[Any, Any, int, str] | None:
    """Request, answer, whether cut, level."""
    with sqlite3.connect(folder / "spine.db") as connection:
        statement = "SELECT request, answer, is_cut, level FROM content WHERE call = ?"
        row = connection.execute(statement, (id,)).fetchone()
    if row is None:
        return None
    request, answer, is_cut, level = row
    return json.loads(request), None if answer is None else json.loads(answer), is_cut, level


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def wait_for_rows(folder: Path, count: int) -> None:
    def rows() -> int:
        with sqlite3.connect(folder / "spine.db") as connection:
            return int(connection.execute("SELECT count(*) FROM call").fetchone()[0])

    wait_until(lambda: rows() == count)


# ---------------------------------------------------------------- every way


@pytest.mark.parametrize("dialect", CALLS)
def test_each_dialect_is_kept_plain_and_streamed_relayed_and_translated(
    simulator: Simulator, tmp_path: Path, dialect: str
) -> None:
    done: list[tuple[bool, bytes, str]] = []
    with keeping(simulator, tmp_path) as running:
        for provider in PROVIDERS:
            for stream in (False, True):
                status, body, id = call(running, dialect, provider, stream)
                assert status == 200
                done.append((stream, body, id))
    for stream, body, id in done:
        found = kept(tmp_path, id)
        assert found is not None
        request, answer, is_cut, level = found
        assert TEXT in json.dumps(request) and (is_cut, level) == (0, "full")
        if stream:
            assert [part["text"] for part in answer["parts"]] == [f"You said: {TEXT}"]
            assert (answer["finish_reason"], answer["model"]) == ("stop", "simulated")
        else:
            assert answer == json.loads(body)


@pytest.mark.parametrize("dialect", CALLS)
def test_redacted_no_byte_of_a_secret_is_in_any_file(simulator: Simulator, tmp_path: Path, dialect: str) -> None:
    with keeping(simulator, tmp_path, "redacted") as running:
        for stream in (False, True):
            assert call(running, dialect, "oa", stream)[0] == 200
        wait_for_rows(tmp_path, 2)
        assert b"ada@example" not in bytes_of(tmp_path)
    assert b"ada@example" not in bytes_of(tmp_path)
    assert bytes_of(tmp_path).count(b"CANARY-words [redacted e-mail]") >= 4


@pytest.mark.parametrize("dialect", CALLS)
def test_by_default_no_byte_of_what_is_said_is_in_any_file(simulator: Simulator, tmp_path: Path, dialect: str) -> None:
    with keeping(simulator, tmp_path, "none") as running:
        for stream in (False, True):
            assert call(running, dialect, "an", stream)[0] == 200
        wait_for_rows(tmp_path, 2)
        assert b"CANARY" not in bytes_of(tmp_path)
    assert b"CANARY" not in bytes_of(tmp_path) and b"You said" not in bytes_of(tmp_path)


def test_the_tools_that_were_called_are_told_of_a_stream(simulator: Simulator, tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    body = {"model": "oa/sim-tools", "messages": WORDS, "tools": [tool], "stream": True}
    with keeping(simulator, tmp_path) as running:
        status, raw, id = ask(running, "/v1/chat/completions", body)
        assert status == 200 and b"tool_calls" in raw
    found = kept(tmp_path, id)
    assert found is not None
    assert found[1]["finish_reason"] == "tool_calls"
    assert found[1]["parts"][-1]["type"] == "tool_call" and found[1]["parts"][-1]["name"] == "weather"


# ---------------------------------------------------------------- calls that did not go well


def test_a_stream_that_broke_is_kept_as_far_as_it_came_with_the_error(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        for dialect in ("openai_chat", "anthropic_messages", "ollama_chat", "gemini"):
            simulator.run("reset=3")
            _, body, id = call(running, dialect, "oa", True)
            wait_until(lambda id=id: kept(tmp_path, id) is not None)  # type: ignore[misc]
            found = kept(tmp_path, id)
            assert found is not None
            answer = found[1]
            assert answer["parts"][0]["text"] and f"You said: {TEXT}".startswith(answer["parts"][0]["text"])
            assert answer["error"]["message"], (dialect, body)


def test_what_failed_is_kept_with_what_its_caller_was_told(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        for stream in (False, True):
            simulator.run("status=503")
            status, body, id = call(running, "openai_chat", "oa", stream)
            wait_until(lambda id=id: kept(tmp_path, id) is not None)  # type: ignore[misc]
            found = kept(tmp_path, id)
            assert status == 503 and found is not None
            assert found[1] == json.loads(body) and TEXT in json.dumps(found[0])


def test_a_call_that_reached_nobody_leaves_no_text(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        status, _, id = ask(running, "/v1/chat/completions", {"model": "nobody/none", "messages": WORDS})
        assert status == 404
        assert call(running, "openai_chat", "oa", False)[0] == 200
    assert kept(tmp_path, id) is None


def test_of_a_caller_that_left_is_kept_what_came_so_far(simulator: Simulator, tmp_path: Path) -> None:
    simulator.run()
    with keeping(simulator, tmp_path) as running:
        simulator.run("stall=3; for_s=30")
        body = json.dumps({"model": "oa/simulated", "messages": WORDS, "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            came = b""
            while b"You" not in came:
                came += connection.recv(4096)
        id = came.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
        wait_until(lambda: kept(tmp_path, id) is not None)
        found = kept(tmp_path, id)
        assert found is not None
        assert found[1]["parts"][0]["text"].startswith("You") and "finish_reason" not in found[1]
        assert "error" not in found[1]
    simulator.run()


def test_an_answer_from_the_cache_is_kept_for_the_call_that_got_it(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path, cache={"url": "memory:", "answers": "all"}) as running:
        ids = [call(running, "openai_chat", "oa", stream)[2] for stream in (False, False, True, True)]
    texts = [kept(tmp_path, id) for id in ids]
    assert all(found is not None for found in texts)
    assert texts[0] == texts[1] and texts[2] == texts[3]


# ---------------------------------------------------------------- whose, and how much


def test_a_caller_and_a_key_may_ask_for_less_and_never_for_more(simulator: Simulator, tmp_path: Path) -> None:
    keys = {"quiet": {"key": "key-quiet", "content": "none"}, "shy": {"key": "key-shy", "content": "redacted"}}
    keys |= {"open": {"key": "key-open"}}
    expected = {
        ("quiet", None): None, ("quiet", "full"): None, ("shy", None): "redacted", ("shy", "full"): "redacted",
        ("open", None): "full", ("open", "no"): None, ("open", "NONE"): None, ("open", "redacted"): "redacted",
        ("shy", "no"): None,
    }  # fmt: skip
    ids = {}
    with keeping(simulator, tmp_path, server={"keys": keys}) as running:
        for name, said in expected:
            headers = {"x_spine_content": said} if said is not None else {}
            headers["authorization"] = f"Bearer key-{name}"
            ids[name, said] = call(running, "openai_chat", "oa", False, **headers)[2]
        status, body, _ = call(
            running, "openai_chat", "oa", False, authorization="Bearer key-open", x_spine_content="x"
        )
        assert status == 400 and json.loads(body)["error"]["param"] == "x-spine-content"
    for case, level in expected.items():
        found = kept(tmp_path, ids[case])
        assert (found[3] if found is not None else None) == level, case


def test_where_nothing_more_than_redacted_is_kept_no_header_gets_more(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path, "redacted") as running:
        id = call(running, "openai_chat", "oa", False, x_spine_content="full")[2]
    found = kept(tmp_path, id)
    assert found is not None and found[3] == "redacted" and "ada@" not in json.dumps(found[:2])


def test_of_a_long_text_so_much_is_kept_as_settings_say(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path, ledger={"content_max_kb": 2}) as running:
        body = {"model": "oa/simulated", "messages": [{"role": "user", "content": f"{TEXT} {'word ' * 20_000}"}]}
        status, _, id = ask(running, "/v1/chat/completions", body)
        assert status == 200
    found = kept(tmp_path, id)
    assert found is not None and found[2] == 1
    assert len(json.dumps(found[0])) < 2048 and "letters …]" in found[0]["messages"][0]["content"]


def test_of_an_endless_stream_the_beginning_is_kept(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai_spine.gateway.kept_request.MOST_BYTES", 500)
    with keeping(simulator, tmp_path) as running:
        status, body, id = call(running, "openai_chat", "oa", True)
        assert status == 200 and len(body) > 1000
    found = kept(tmp_path, id)
    assert found is not None and found[2] == 1
    assert found[1]["parts"][0]["text"].startswith("You") and "error" not in found[1]


def test_of_embeddings_nothing_is_kept(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        status, _, id = ask(running, "/v1/embeddings", {"model": "oa/simulated", "input": TEXT})
        assert status == 200
    assert kept(tmp_path, id) is None


def test_what_capabilities_ask_is_kept_and_the_header_holds_for_it(simulator: Simulator, tmp_path: Path) -> None:
    def texts() -> list[str]:
        with sqlite3.connect(tmp_path / "spine.db") as connection:
            return [request for (request,) in connection.execute("SELECT request FROM content")]

    with keeping(simulator, tmp_path) as running:
        wish = {"model": "oa/simulated", "content": f"{TEXT} one"}
        ask(running, "/v1/summarize", wish, x_spine_content="no")
        ask(running, "/v1/summarize", {**wish, "content": f"{TEXT} two"})
    assert texts() and all("two" in text for text in texts())


# ---------------------------------------------------------------- a program's own calls


def test_a_programs_own_calls_are_kept(simulator: Simulator, tmp_path: Path) -> None:
    async def main() -> None:
        async with ProviderManager.from_settings(settings_of(settings(simulator, tmp_path, "redacted"))) as manager:
            await manager.complete(TEXT, model="oa/simulated")
            async for _ in manager.stream(TEXT, model="an/simulated"):
                pass
            simulator.run("stall=3; for_s=30")
            stream = manager.stream(TEXT, model="oa/simulated")
            async for event in stream:
                if isinstance(event, PartDelta):
                    break
            await stream.aclose()
            simulator.run("status=500", "reset=3")
            with pytest.raises(SpineError):
                await manager.complete(TEXT, model="oa/simulated")
            with pytest.raises(SpineError):
                async for _ in manager.stream(TEXT, model="oa/simulated"):
                    pass

    asyncio.run(main())
    with sqlite3.connect(tmp_path / "spine.db") as connection:
        rows = connection.execute(
            "SELECT request, answer FROM content JOIN call ON call.id = content.call ORDER BY ended_at"
        ).fetchall()
    assert len(rows) == 5
    for request, _ in rows:
        assert json.loads(request)["messages"][0]["content"][0]["text"] == "CANARY-words [redacted e-mail]"
    answers = [json.loads(answer) for _, answer in rows]
    said = {"type": "text", "text": "You said: CANARY-words [redacted e-mail]"}
    for whole in answers[:2]:
        assert (whole["parts"], whole["finish_reason"]) == ([said], "stop")
    assert answers[2]["parts"][0]["text"] and "error" not in answers[2] and "finish_reason" not in answers[2]
    assert answers[3]["error"]["type"] == "ServerError"
    assert answers[4]["error"]["message"] and answers[4]["parts"][0]["text"].startswith("You")
    assert b"ada@example" not in bytes_of(tmp_path)


# ---------------------------------------------------------------- over HTTP


def test_over_http_a_key_sees_the_texts_of_its_own_calls(simulator: Simulator, tmp_path: Path) -> None:
    keys = {"one": {"key": "key-one"}, "two": {"key": "key-two"}}
    with keeping(simulator, tmp_path, "redacted", server={"keys": keys}) as running:
        id = call(running, "openai_chat", "oa", True, authorization="Bearer key-one")[2]
        wait_until(lambda: kept(tmp_path, id) is not None)
        status, body, _ = ask(running, f"/v1/requests/{id}?content=1", authorization="Bearer key-one")
        content = json.loads(body)["content"]
        assert (status, content["level"], content["is_cut"]) == (200, "redacted", False)
        assert content["request"]["messages"][0]["content"] == "CANARY-words [redacted e-mail]"
        assert content["answer"]["finish_reason"] == "stop"
        assert ask(running, f"/v1/requests/{id}?content=1", authorization="Bearer key-two")[0] == 404
        assert b"CANARY" not in ask(running, f"/v1/requests/{id}", authorization="Bearer key-one")[1]
        assert b"CANARY" not in ask(running, "/v1/requests", authorization="Bearer key-one")[1]
        assert ask(running, f"/v1/requests/{id}?content=2", authorization="Bearer key-one")[0] == 400


def test_over_http_where_none_is_kept_it_is_said_why(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path, "none") as running:
        id = call(running, "openai_chat", "oa", False)[2]
        told = json.loads(ask(running, f"/v1/requests/{id}?content=1")[1])
        assert (told["content"], told["why_no_content"]) == (None, "no text is kept (ledger.content)")


# ---------------------------------------------------------------- the end of the process, and the next one


def test_what_was_said_before_the_gateway_ended_is_there_for_the_next(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        id = call(running, "openai_chat", "oa", True)[2]
    with keeping(simulator, tmp_path, "none") as running:  # from here on nothing is kept
        later = call(running, "openai_chat", "oa", True)[2]
        told = json.loads(ask(running, f"/v1/requests/{id}?content=1")[1])
        assert told["content"]["level"] == "full"
    assert kept(tmp_path, id) is not None and kept(tmp_path, later) is None


def test_texts_kept_before_go_when_they_are_old_though_none_is_kept_now(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path) as running:
        id = call(running, "openai_chat", "oa", False)[2]
    with sqlite3.connect(tmp_path / "spine.db") as connection:
        connection.execute("UPDATE content SET at = ?", (time.time() - 8 * 86_400,))
    connection.close()
    with keeping(simulator, tmp_path, "none"):
        wait_until(lambda: kept(tmp_path, id) is None)
    with sqlite3.connect(tmp_path / "spine.db") as connection:
        assert connection.execute("SELECT id FROM call").fetchall() == [(id,)]


def test_a_file_with_texts_in_it_is_not_for_others_to_read(simulator: Simulator, tmp_path: Path) -> None:
    with keeping(simulator, tmp_path, "redacted") as running:
        call(running, "openai_chat", "oa", False)
        wait_for_rows(tmp_path, 1)
        assert [file.stat().st_mode & 0o007 for file in tmp_path.glob("spine.db*")] == [0, 0, 0]
