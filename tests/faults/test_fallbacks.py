"""What comes after a target that cannot be asked, strangers' providers that crash, and other ASGI servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from callers import DIALECTS, KEY, OPENAI, Caller, Dialect, ask, broken, failed_upstream, plain_settings, refused

from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.app import Gateway
from genai_spine.model.content import Text
from genai_spine.model.events import MessageStart, PartDelta, PartStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

AUDIO = {
    "messages": [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}
    ]
}


@both
def test_what_one_provider_cannot_be_told_another_is(simulator: Simulator, stream: bool) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["providers"]["oa"]["model"] = "m"
    settings["providers"]["fallback_order"] = ["oa"]
    with running_gateway(settings) as gateway:
        answer = ask(gateway, OPENAI.path, {"model": "an/m", "stream": stream, **AUDIO})
        assert answer.status == 200, answer
        assert answer.header("x-spine-provider") == "oa"
        alone = ask(gateway, OPENAI.path, {"model": "m", "provider": "an", "stream": stream, **AUDIO})
        error = refused(OPENAI, alone, 400)
        assert "audio" in error["message"]
    assert len(simulator.received) == 1


def test_a_body_that_cannot_be_read_is_refused_once_and_not_by_every_provider(simulator: Simulator) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    for id in ("an", "ol"):
        settings["providers"][id]["model"] = "m"
    settings["providers"]["fallback_order"] = ["an", "ol"]
    with running_gateway(settings) as gateway:
        error = refused(OPENAI, ask(gateway, OPENAI.path, {"model": "an/m", "messages": {}}), 400)
    assert error["message"].startswith("messages")
    assert not simulator.received


@each_dialect
def test_without_enable_fallback_nobody_else_is_asked(simulator: Simulator, dialect: Dialect) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["providers"]["oa"]["model"] = "m"
    settings["providers"]["fallback_order"] = ["oa"]
    settings["retry"]["enable_fallback"] = False
    with running_gateway(settings) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("an/m+status=503"))
        failed_upstream(dialect, answer, 503)
        assert answer.header("x-spine-attempts") == "1"


@each_dialect
def test_a_limited_provider_is_told_and_not_the_one_that_has_no_key(simulator: Simulator, dialect: Dialect) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["providers"]["keyless"] = {"type": "openai", "base_url": simulator.urls.openai, "model": "m"}
    settings["providers"]["fallback_order"] = ["keyless"]
    with running_gateway(settings) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("an/m+status=429,retry_after=9"))
        error = failed_upstream(dialect, answer, 429)
        assert answer.header("retry-after") == "9"
        assert "keyless: no API key" in error["message"]


# ── strangers' providers ──────────────────────────────────────────────────────────────────────────


class Crashing(LLMProvider):
    name = "crashing"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise RuntimeError(f"a fault of a stranger's, with {KEY} in it")

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartStart(index=0, part=Text(text=""))
        if request.model == "early":
            raise RuntimeError("early")
        yield PartDelta(0, "some text")
        raise RuntimeError("late")


def test_a_provider_that_crashes_is_a_500_or_an_error_event_and_the_log_knows(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    running = RunningGateway(settings_of(plain_settings(simulator)))
    running.manager.registry.register("crashing", Crashing())
    running.start()
    try:
        for dialect in DIALECTS:
            answer = ask(running, dialect.path, dialect.request("crashing/m"))
            error = refused(dialect, answer, 500)
            assert "crashing: its complete failed: RuntimeError" in error["message"]
            assert "stranger" not in error["message"]
            error = broken(dialect, ask(running, dialect.path, dialect.request("crashing/m", stream=True)))
            assert "its stream failed: RuntimeError" in error["message"]
            assert ask(running, dialect.path, dialect.request("oa/m")).status == 200
        assert len([record for record in caplog.records if record.exc_info]) == 6
    finally:
        running.stop()
        running.join()


# ── other ASGI servers ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def on_uvicorn(_simulator: Simulator) -> Iterator[Any]:
    settings = settings_of({**plain_settings(_simulator), "server": {"max_body_mb": 0.5, "body_timeout": "300ms"}})
    with served_by_uvicorn(Gateway(ProviderManager.from_settings(settings), settings)) as served:
        yield served


@contextmanager
def served_by_uvicorn(application: Any, **config: Any) -> Iterator[Any]:
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="on", **config))
    thread = threading.Thread(target=lambda: server.run(sockets=[sock]), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield SimpleNamespace(port=sock.getsockname()[1])
    server.should_exit = True
    thread.join(5)


@pytest.mark.parametrize("root", ["/llm", "/llm/", "/v1"])
def test_the_gateway_may_be_mounted_at_a_path_of_another_application(simulator: Simulator, root: str) -> None:
    settings = settings_of(plain_settings(simulator))
    gateway = Gateway(ProviderManager.from_settings(settings), settings)

    async def without_it(scope: Any, receive: Any, send: Any) -> None:
        """As those frameworks mount that leave the root out of the path."""
        scope = dict(scope)
        if scope["type"] == "http":
            scope["path"] = scope["path"].removeprefix(root.rstrip("/"))
        await gateway(scope, receive, send)

    for application in (gateway, without_it) if root == "/llm" else (gateway,):
        with served_by_uvicorn(application, root_path=root) as served:
            for dialect in DIALECTS:
                assert ask(served, dialect.path, dialect.request("oa/sim-x")).status == 200
                refused(dialect, ask(served, f"{dialect.path}/nowhere", b"{}"), 404)


@both
@each_dialect
def test_the_gateway_is_plain_asgi(simulator: Simulator, on_uvicorn: Any, dialect: Dialect, stream: bool) -> None:
    for provider in ("oa", "an", "ol"):
        answer = ask(on_uvicorn, dialect.path, dialect.request(f"{provider}/sim-x", stream=stream))
        assert answer.status == 200
        assert dialect.ended(answer.body) if stream else dialect.answer_text(answer.json())
    if stream:
        request = dialect.request("oa/sim-long-20+rate=400,reset=6", stream=True)
        broken(dialect, ask(on_uvicorn, dialect.path, request))
    else:
        failed_upstream(dialect, ask(on_uvicorn, dialect.path, dialect.request("oa/m+status=503")), 503)
        refused(dialect, ask(on_uvicorn, dialect.path, b"{"), 400)
        refused(dialect, ask(on_uvicorn, dialect.path, b" " * 30_000_000), 413)
        with Caller(on_uvicorn) as caller:
            caller.send("POST", dialect.path, b"{", {"content-length": "99"})
            refused(dialect, caller.answer(), 408)
    caller = Caller(on_uvicorn)
    simulator.received.clear()
    caller.send("POST", dialect.path, dialect.request("an/m+stall=head", stream=stream))
    wait_until(lambda: bool(simulator.received))
    caller.sock.close()
    wait_until(lambda: simulator.received[-1].outcome == "gone", 1)


async def test_a_websocket_is_refused_on_other_servers_too() -> None:
    """ASGI: a close before an accept is a 403."""
    settings = settings_of({"providers": {"simulated": {}}})
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await Gateway(ProviderManager.from_settings(settings), settings)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


async def test_a_gateway_that_cannot_start_does_not_serve_on_other_servers(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    settings = settings_of({"providers": {"simulated": {}}, "ledger": {"url": f"sqlite:///{tmp_path}/file/x.db"}})
    config = uvicorn.Config(Gateway(ProviderManager.from_settings(settings), settings), port=0, log_level="error")
    server = uvicorn.Server(config)  # lifespan="auto", as it is unless told otherwise
    with pytest.raises(SystemExit):
        await server.serve()
    assert not server.started
