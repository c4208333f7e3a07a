"""Faults 26–28, 78: callers that leave, that read slowly, and a gateway that stops."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from callers import (
    DIALECTS,
    KEY,
    OPENAI,
    PAIR_NAMES,
    PAIRS,
    Answer,
    Caller,
    Dialect,
    ask,
    broken,
    peer,
    plain_settings,
    refused,
)

from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator

each_pair = pytest.mark.parametrize(("dialect", "provider"), PAIRS, ids=PAIR_NAMES)
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def leave(caller: Caller, how: str) -> None:
    """As a browser's tab that closes (FIN), or as a process that is killed (RST)."""
    if how == "reset":
        caller.sock.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER on, 0 s
    caller.sock.close()


def let_go(simulator: Simulator) -> float:
    """Seconds until the provider saw its connection closed."""
    begun = time.monotonic()
    wait_until(lambda: simulator.received[-1].outcome == "gone", 3)
    return time.monotonic() - begun


@each_pair
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_fault_27_who_leaves_before_the_first_token_lets_the_provider_go(
    simulator: Simulator,
    gateway: RunningGateway,
    dialect: Dialect,
    provider: str,
    stream: bool,
    how: str,
) -> None:
    caller = Caller(gateway)
    caller.send("POST", dialect.path, dialect.request(f"{provider}/m+stall=head", stream=stream))
    wait_until(lambda: bool(simulator.received))
    leave(caller, how)
    assert let_go(simulator) < 1


@each_pair
def test_fault_28_who_leaves_in_mid_stream_lets_the_provider_go(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    for how, fault in (("close", "rate=100"), ("reset", "stall=30")):
        simulator.received.clear()
        with Caller(gateway) as caller:
            request = dialect.request(f"{provider}/sim-long-2000+{fault}", stream=True)
            caller.send("POST", dialect.path, request)
            caller.read_until(b"fox")
            leave(caller, how)
        assert let_go(simulator) < 1


@each_dialect
def test_fault_27_who_leaves_during_the_wait_for_a_retry_causes_no_further_attempt(
    simulator: Simulator, dialect: Dialect
) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["retry"] = {"max_retries": 3, "max_delay": 1}
    with running_gateway(settings) as gateway:
        caller = Caller(gateway)
        caller.send("POST", dialect.path, dialect.request(f"{dialect.provider}/m+status=503,retry_after_ms=400"))
        wait_until(lambda: len(simulator.received) == 1)
        time.sleep(0.05)
        caller.sock.close()
        time.sleep(0.6)
        assert len(simulator.received) == 1


def test_fault_27_embeddings_and_counts_are_let_go_too(simulator: Simulator, gateway: RunningGateway) -> None:
    bodies: list[tuple[str, Any]] = [
        ("/v1/embeddings", {"model": "oa/m+stall=head", "input": "x"}),
        ("/api/embed", {"model": "ol/m+stall=head", "input": "x"}),
    ]
    for path, body in bodies:
        simulator.received.clear()
        caller = Caller(gateway)
        caller.send("POST", path, body)
        wait_until(lambda: bool(simulator.received))
        caller.sock.close()
        assert let_go(simulator) < 1


def test_fault_27_who_leaves_is_logged_as_499(
    gateway: RunningGateway, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="genai_spine.access"):
        caller = Caller(gateway)
        caller.send("POST", OPENAI.path, OPENAI.request("oa/m+stall=head"))
        wait_until(lambda: bool(simulator.received))
        caller.sock.close()
        wait_until(lambda: any(" 499 " in record.getMessage() for record in caplog.records))


def test_fault_27_who_leaves_inside_the_body_is_logged_as_499_and_as_no_fault(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="genai_spine"):
        caller = Caller(gateway)
        caller.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: 100\r\n\r\n{")
        time.sleep(0.1)
        caller.sock.close()
        wait_until(lambda: any(" 499 " in record.getMessage() for record in caplog.records))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


FLOODS = {
    "oa": b'data: {"choices":[{"index":0,"delta":{"content":"fox"},"finish_reason":null}]}\n\n',
    "an": b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"fox"}}\n\n',
    "ol": b'{"model":"m","message":{"role":"assistant","content":"fox"},"done":false}\n',
}
BEGINNINGS = {
    "oa": b"",
    "an": b'event: message_start\ndata: {"type":"message_start","message":{"id":"i","type":"message",'
    b'"role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    "ol": b"",
}


@each_pair
def test_fault_26_a_reader_that_stops_is_not_piled_up_for(dialect: Dialect, provider: str) -> None:
    """What the provider may send while nobody reads is bounded by buffers, not by memory."""
    sent = 0
    ended = threading.Event()

    def flood(sock: socket.socket) -> None:
        nonlocal sent
        kind = "application/x-ndjson" if provider == "ol" else "text/event-stream"
        sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n".encode() + BEGINNINGS[provider])
        block = FLOODS[provider] * 100
        try:
            while sent < 500_000_000:
                sock.sendall(block)
                sent += len(block)
        finally:
            ended.set()

    row = {"oa": "openai_compatible", "an": "anthropic", "ol": "ollama"}[provider]
    with peer(flood) as upstream:
        table: dict[str, Any] = {"type": row, "base_url": upstream.url, "api_key": KEY}
        if provider == "ol":
            table["dialect"] = "ollama_chat"
        with running_gateway({provider: table}) as gateway:
            with Caller(gateway, receive_buffer=4096) as caller:
                caller.send("POST", dialect.path, dialect.request(f"{provider}/m", stream=True))
                caller.read_until(b"fox")
                before, end_s = -1, time.monotonic() + 5
                while sent != before:
                    assert time.monotonic() < end_s, "the provider is never held up"
                    before = sent
                    time.sleep(0.1)
                assert sent < 40_000_000
            assert ended.wait(1), "and let go when the caller leaves"


def test_a_connection_serves_many_requests_of_every_kind(gateway: RunningGateway) -> None:
    with Caller(gateway) as caller:
        for dialect, provider in PAIRS:
            for fault in ("ok", "status=503", "malformed=1"):
                for stream in (False, True):
                    request = dialect.request(f"{provider}/sim-x+{fault}", stream=stream)
                    caller.send("POST", dialect.path, request)
                    answer = caller.answer()
                    assert answer.is_whole
                    assert not answer.is_closed, (dialect.name, provider, fault)


# ── 78: the gateway stops ─────────────────────────────────────────────────────────────────────────


def in_background(gateway: RunningGateway, dialect: Dialect, request: Any) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(ask(gateway, dialect.path, request)))
    thread.start()
    return thread, answers


def test_fault_78_streams_end_with_an_error_event_and_waiting_calls_with_503(simulator: Simulator) -> None:
    settings: dict[str, Any] = {**plain_settings(simulator), "server": {"drain_timeout": "300ms"}}
    settings["timeouts"]["idle"] = 10  # that a slow machine is slow ends no stream here
    with running_gateway(settings) as gateway:
        running = []
        for dialect, provider in PAIRS:
            model = f"{provider}/sim-long-500+rate=20"
            running.append((dialect, True, *in_background(gateway, dialect, dialect.request(model, stream=True))))
            model = f"{provider}/sim-long-500+stall=head"
            running.append((dialect, False, *in_background(gateway, dialect, dialect.request(model))))
        wait_until(lambda: len(simulator.received) == len(running))
        time.sleep(0.1)
        begun = time.monotonic()
        gateway.stop()
        gateway.join(5)
        assert 0.3 <= time.monotonic() - begun < 3
        for dialect, stream, thread, answers in running:
            thread.join(2)
            if stream:
                error = broken(dialect, answers[0])
            else:
                error = refused(dialect, answers[0], 503)
            assert "shutting down" in error["message"]
    wait_until(lambda: all(request.outcome == "gone" for request in simulator.received), 1)


def test_fault_78_a_stream_that_ends_in_time_is_whole(simulator: Simulator) -> None:
    settings: dict[str, Any] = {**plain_settings(simulator), "server": {"drain_timeout": 5}}
    with running_gateway(settings) as gateway:
        request = OPENAI.request("oa/sim-long-40+rate=100", stream=True)
        thread, answers = in_background(gateway, OPENAI, request)
        wait_until(lambda: bool(simulator.received))
        time.sleep(0.1)
        gateway.stop()
        time.sleep(0.1)
        assert gateway.gateway.draining
        with pytest.raises(ConnectionRefusedError):
            Caller(gateway)
        thread.join(5)
        assert OPENAI.ended(answers[0].body)
        gateway.join(2)
