"""Streams between first event and last: kept alive, listed, cancelled; slow, silent and gone on either side."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from callers import ANTHROPIC, GENERATE, KEY, OLLAMA, OPENAI, Caller, Dialect, Peer, ask, broken, failed_upstream, peer

from genai_spine.engine.exchange import Exchange
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.streams import floor
from genai_spine.gateway.app import Gateway
from genai_spine.gateway.inbounds import inbound
from genai_spine.model.errors import StreamBroken
from genai_spine.policy.route import Choice
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.registry import settings_of
from genai_spine.settings import ProviderSettings
from genai_spine.testing.fixtures import RunningGateway, eventually, running_gateway, wait_until

HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n"
KINDS = {"oa": "text/event-stream", "an": "text/event-stream", "ol": "application/x-ndjson"}


def _sse(value: Any) -> bytes:
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def beginning(provider: str) -> bytes:
    """What a stream begins with, without a word of the answer."""
    if provider == "oa":
        return _sse({"id": "a", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})
    message = {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 7},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return _sse({"type": "message_start", "message": message}) + _sse({"type": "ping"}) + _sse(block)


def word(provider: str, text: str) -> bytes:
    match provider:
        case "oa":
            return _sse({"id": "a", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]})
        case "an":
            return _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        case _:
            return json.dumps({"model": "m", "message": {"role": "assistant", "content": text}}).encode() + b"\n"


def ending(provider: str) -> bytes:
    match provider:
        case "oa":
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            last = {"id": "a", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            return _sse(last) + _sse({"id": "a", "model": "m", "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
        case "an":
            delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
            return _sse({"type": "content_block_stop", "index": 0}) + _sse(delta) + _sse({"type": "message_stop"})
        case _:
            return b'{"model":"m","done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":5}\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Tap:
    """A provider's stream whose pieces a test lets out one by one: `send`, then `end`."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._pieces: list[bytes | None] = []
        self._news = threading.Condition()

    def send(self, data: bytes) -> None:
        with self._news:
            self._pieces.append(chunk(data))
            self._news.notify()

    def end(self) -> None:
        self.send(ending(self.provider))
        with self._news:
            self._pieces += [b"0\r\n\r\n", None]
            self._news.notify()

    def __call__(self, sock: socket.socket) -> None:
        sock.sendall(HEAD.format(KINDS[self.provider]).encode())
        while True:
            with self._news:
                while not self._pieces:
                    self._news.wait(0.05)
                    if not self._pieces and _is_closed(sock):
                        raise OSError
                piece = self._pieces.pop(0)
            if piece is None:
                return
            sock.sendall(piece)


def _is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    finally:
        sock.setblocking(True)


@contextmanager
def on_uvicorn(settings: dict[str, Any]) -> Iterator[Any]:
    """A gateway on a server that is not ours."""
    found = settings_of(settings)
    gateway = Gateway(ProviderManager.from_settings(found), found)
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(gateway, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=lambda: server.run(sockets=[sock]), daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield SimpleNamespace(port=sock.getsockname()[1], manager=gateway.manager)
    server.should_exit = True
    thread.join(5)


SERVERS = [running_gateway, on_uvicorn]
on_each_server = pytest.mark.parametrize("server", SERVERS, ids=["own", "uvicorn"])


@contextmanager
def serving(
    *answers: Callable[[socket.socket], None], provider: str = "oa", server: Any = running_gateway, **settings: Any
) -> Iterator[tuple[RunningGateway, Peer]]:
    """A gateway in front of one peer, which is known as `provider`."""
    with peer(*answers) as upstream:
        types = {
            "oa": {"type": "openai_compatible", "base_url": f"{upstream.url}/v1"},
            "an": {"type": "anthropic", "base_url": upstream.url},
            "ol": {"type": "ollama", "base_url": upstream.url, "dialect": "ollama_chat"},
        }
        own = settings.pop("own", {})
        base = {
            "providers": {provider: {**types[provider], "api_key": KEY, **own}},
            "retry": {"max_retries": 0},
            "timeouts": {"connect": 1, "first_token": 5, "idle": 20, "total": 30},
        }
        with server({**base, **settings}) as gateway:
            yield gateway, upstream


def streams_of(gateway: RunningGateway) -> list[dict[str, Any]]:
    found = ask(gateway, "/v1/streams").json()["data"]
    assert isinstance(found, list)
    return found


# ── who waits ─────────────────────────────────────────────────────────────────────────────────────


@on_each_server
@pytest.mark.parametrize("provider", ["oa", "an"])
@pytest.mark.parametrize(("dialect", "filler"), [(OPENAI, b": keep-alive\n\n"), (ANTHROPIC, b"event: ping\n")])
def test_a_waiting_caller_hears_that_the_stream_lives(
    server: Any, provider: str, dialect: Dialect, filler: bytes
) -> None:
    tap = Tap(provider)
    tap.send(beginning(provider) + word(provider, "Hel"))
    with (
        serving(tap, provider=provider, server=server, streams={"keep_alive": 0.2}) as (gateway, _),
        Caller(gateway) as caller,
    ):
        caller.send("POST", dialect.path, dialect.request(f"{provider}/m", stream=True))
        caller.read_until(b"Hel")
        caller.read_until(filler)
        caller.read_until(filler)
        tap.send(word(provider, "lo"))
        tap.end()
        caller.read_until({OPENAI.name: b"[DONE]", ANTHROPIC.name: b"message_stop"}[dialect.name])


def test_a_stream_with_fillers_in_it_reads_as_without() -> None:
    tap = Tap("an")
    tap.send(beginning("an") + word("an", "Hel"))
    with serving(tap, provider="an", streams={"keep_alive": 0.2}) as (gateway, _), Caller(gateway) as caller:
        caller.send("POST", ANTHROPIC.path, ANTHROPIC.request("an/m", stream=True))
        threading.Timer(0.7, lambda: (tap.send(word("an", "lo")), tap.end())).start()
        answer = caller.answer()
    assert answer.body.count(b"event: ping") > 1
    assert ANTHROPIC.ended(answer.body)
    assert ANTHROPIC.text(answer.body) == "Hello"


def test_nothing_is_written_between_lines_that_are_all_read_as_json() -> None:
    tap = Tap("ol")
    tap.send(word("ol", "Hel"))
    with serving(tap, provider="ol", streams={"keep_alive": 0.2}) as (gateway, _), Caller(gateway) as caller:
        caller.send("POST", OLLAMA.path, OLLAMA.request("ol/m", stream=True))
        threading.Timer(0.7, lambda: (tap.send(word("ol", "lo")), tap.end())).start()
        answer = caller.answer()
    assert [json.loads(line) for line in answer.body.splitlines()]
    assert OLLAMA.text(answer.body) == "Hello"


# ── providers that do not get on ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("provider", ["oa", "an"])
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_fault_08_a_stream_that_begins_and_says_nothing_is_no_answer(provider: str, dialect: Dialect) -> None:
    def pings(sock: socket.socket) -> None:
        sock.sendall(HEAD.format(KINDS[provider]).encode() + chunk(beginning(provider)))
        while not _is_closed(sock):
            sock.sendall(chunk(_sse({"type": "ping"}) if provider == "an" else b": wait\n\n"))
            time.sleep(0.02)
        raise OSError

    timeouts = {"connect": 1, "first_token": 0.3, "idle": 20, "total": 30}
    with serving(pings, provider=provider, timeouts=timeouts) as (gateway, upstream):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/m", stream=True))
        failed_upstream(dialect, answer, 504)
        wait_until(lambda: len(upstream.closed_at) == 1)


@pytest.mark.parametrize("provider", ["oa", "an", "ol"])
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC, OLLAMA, GENERATE], ids=lambda dialect: dialect.name)
def test_a_stream_that_drips_is_broken(dialect: Dialect, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "WINDOW_S", 0.2)
    is_generated = (dialect, provider) == (GENERATE, "ol")  # relayed: it is a path of its own
    piece = b'{"model":"m","response":"a"}\n' if is_generated else word(provider, "a")

    def drips(sock: socket.socket) -> None:
        begun = b"" if provider == "ol" else beginning(provider)
        sock.sendall(HEAD.format(KINDS[provider]).encode() + chunk(begun))
        while not _is_closed(sock):
            sock.sendall(chunk(piece))
            time.sleep(0.02)
        raise OSError

    with serving(drips, provider=provider, streams={"min_tokens_per_s": 1000}) as (gateway, upstream):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/m", stream=True))
        assert "too slow" in broken(dialect, answer)["message"]
        wait_until(lambda: len(upstream.closed_at) == 1)


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_an_error_after_an_empty_beginning_is_answered_elsewhere(dialect: Dialect) -> None:
    error = _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    def fails(sock: socket.socket) -> None:
        sock.sendall(HEAD.format(KINDS["an"]).encode() + chunk(beginning("an")))
        time.sleep(0.1)  # so that the beginning is read alone
        sock.sendall(chunk(error) + b"0\r\n\r\n")

    well = Tap("oa")
    well.send(beginning("oa") + word("oa", "Hello"))
    well.end()
    with peer(fails) as first, peer(well) as second:
        settings = {
            "providers": {
                "an": {"type": "anthropic", "base_url": first.url, "api_key": KEY},
                "oa": {"type": "openai_compatible", "base_url": f"{second.url}/v1", "api_key": KEY},
            },
            "routes": {"both": {"targets": ["an/m", "oa/m"]}},
            "retry": {"max_retries": 0},
        }
        with running_gateway(settings) as gateway:
            answer = ask(gateway, dialect.path, dialect.request("both", stream=True))
    assert (answer.status, answer.header("x-spine-provider")) == (200, "oa")
    assert dialect.text(answer.body) == "Hello"


# ── callers that leave, or do not read ────────────────────────────────────────────────────────────


@on_each_server
@pytest.mark.parametrize("provider", ["oa", "an"])
def test_fault_28_who_leaves_ends_the_providers_stream_and_gives_back_what_it_held(server: Any, provider: str) -> None:
    tap = Tap(provider)
    tap.send(beginning(provider) + word(provider, "Hel"))
    with serving(tap, provider=provider, server=server) as (gateway, upstream):
        with Caller(gateway) as caller:
            caller.send("POST", OPENAI.path, OPENAI.request(f"{provider}/m", stream=True))
            caller.read_until(b"Hel")
            assert [stream["provider"] for stream in streams_of(gateway)] == [provider]
        wait_until(lambda: len(upstream.closed_at) == 1, 1.0)
        wait_until(lambda: not streams_of(gateway))
        assert [target.in_flight for target in gateway.manager.targets] == [0]


@on_each_server
@pytest.mark.parametrize("provider", ["oa", "an"])
def test_a_provider_that_is_drained_tells_what_was_used(server: Any, provider: str) -> None:
    tap = Tap(provider)
    tap.send(beginning(provider) + word(provider, "Hel"))
    with serving(tap, provider=provider, server=server, own={"on_disconnect": "drain"}) as (gateway, upstream):
        with Caller(gateway) as caller:
            caller.send("POST", OPENAI.path, OPENAI.request(f"{provider}/m", stream=True))
            caller.read_until(b"Hel")
        wait_until(lambda: [stream["is_draining"] for stream in streams_of(gateway)] == [True])
        assert not upstream.closed_at
        tap.send(word(provider, "lo"))
        tap.end()
        wait_until(lambda: gateway.manager.usage()[provider].call_count == 1)
        assert gateway.manager.usage()[provider].total_output == 5
        wait_until(lambda: not streams_of(gateway))


@on_each_server
def test_fault_26_a_reader_who_does_not_read_is_dropped(server: Any) -> None:
    def floods(sock: socket.socket) -> None:
        sock.sendall(HEAD.format(KINDS["oa"]).encode() + chunk(beginning("oa")))
        while True:
            sock.sendall(chunk(word("oa", "x" * 60_000)))

    with (
        serving(floods, server=server, streams={"write_timeout": 0.4}) as (gateway, upstream),
        Caller(gateway, receive_buffer=4096) as caller,
    ):
        caller.send("POST", OPENAI.path, OPENAI.request("oa/m", stream=True))
        wait_until(lambda: len(upstream.closed_at) == 1)
        wait_until(lambda: not streams_of(gateway))


# ── streams that are listed and cancelled ─────────────────────────────────────────────────────────


@on_each_server
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC, OLLAMA], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("provider", ["oa", "an"])
def test_a_stream_that_is_cancelled_ends_with_an_error_and_closes_the_provider(
    server: Any, dialect: Dialect, provider: str
) -> None:
    tap = Tap(provider)
    tap.send(beginning(provider) + word(provider, "Hel"))
    with serving(tap, provider=provider, server=server) as (gateway, upstream), Caller(gateway) as caller:
        caller.send("POST", dialect.path, dialect.request(f"{provider}/m", stream=True, text="my secret plan"))
        wait_until(lambda: len(streams_of(gateway)) == 1)
        (stream,) = streams_of(gateway)
        assert (stream["provider"], stream["model"], stream["bytes_out"] > 0) == (provider, "m", True)
        assert "secret" not in json.dumps(stream)
        gone = ask(gateway, f"/v1/streams/{stream['id']}", method="DELETE")
        assert gone.json()["cancelled"] is True
        answer = caller.answer()
        assert answer.header("x-request-id") == stream["id"]
        broken(dialect, answer)
        wait_until(lambda: len(upstream.closed_at) == 1, 1.0)
        assert ask(gateway, f"/v1/streams/{stream['id']}", method="DELETE").status == 404
        assert streams_of(gateway) == []


# ── two at once ───────────────────────────────────────────────────────────────────────────────────


class Watcher:
    settled = 0
    max_tokens: int | None = None

    def meter(self) -> None:
        return None

    def has_begun(self) -> None:
        pass

    def settle(self, **_: Any) -> None:
        self.settled += 1


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages"])
async def test_one_request_begun_at_two_targets_at_once_gives_two_streams(dialect: str) -> None:
    taps = {name: Tap("oa") for name in ("one", "other")}
    for name, tap in taps.items():
        tap.send(beginning("oa") + word("oa", name))
    body = {"model": "x", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    exchange = Exchange(dialect, inbound(dialect), json.dumps(body).encode())
    with peer(taps["one"]) as first, peer(taps["other"]) as second:
        providers = [
            HttpProvider("openai_compatible", ProviderSettings(base_url=f"{running.url}/v1"), name=name)
            for name, running in (("one", first), ("other", second))
        ]
        watchers = [Watcher(), Watcher()]
        one, other = await asyncio.gather(
            *(
                exchange.begin(provider, Choice(provider=provider.name, model="m"), watcher)
                for provider, watcher in zip(providers, watchers, strict=True)
            )
        )
        assert [b"one" in one.first, b"one" in other.first] == [True, False]
        await one.aclose()
        assert [watcher.settled for watcher in watchers] == [1, 0]
        await eventually(lambda: len(first.closed_at) == 1)
        taps["other"].end()
        rest = b"".join([chunk async for chunk in other.chunks])
        assert (b"[DONE]" if dialect == "openai_chat" else b"message_stop") in rest
        assert one.write_error(StreamBroken("Oh"), "req_1") == other.write_error(StreamBroken("Oh"), "req_1")
        for provider in providers:
            await provider.close()
