"""Faults 1–4, 6, 9, 10, 12–16: what a provider's network and server do wrong, as the caller sees it."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from callers import (
    ANTHROPIC,
    DIALECTS,
    KEY,
    OPENAI,
    PAIR_NAMES,
    PAIRS,
    Dialect,
    ask,
    broken,
    failed_upstream,
    http,
    peer,
)

from genai_spine.testing.fixtures import RunningGateway, running_gateway
from genai_spine.testing.simulator import Simulator

both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
each_pair = pytest.mark.parametrize(("dialect", "provider"), PAIRS, ids=PAIR_NAMES)

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def compatible(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "openai_compatible", "base_url": url, "api_key": KEY, "model": "m", **more}


def settings(*, order: list[str] | None = None, retries: int = 0, **providers: Any) -> dict[str, Any]:
    names = list(providers)
    return {
        "providers": {"default": names[0], "fallback_order": order or [], **providers},
        "retry": {"max_retries": retries, "initial_delay": "10ms", "max_delay": 2},
        "timeouts": {"connect": 1, "first_token": 0.4, "idle": 0.4, "total": 10},
    }


# ── that all is well without faults ───────────────────────────────────────────────────────────────


@both
@each_pair
def test_without_faults_every_caller_is_answered_by_every_provider(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x", stream=stream))
    assert answer.status == 200, answer
    assert answer.is_whole
    assert answer.header("x-spine-provider") == provider
    assert answer.header("x-spine-attempts") == "1"
    if stream:
        assert dialect.ended(answer.body), answer.body
        assert "hello there" in dialect.text(answer.body)
    else:
        assert "hello there" in dialect.answer_text(answer.json())


# ── 1–4: no connection ────────────────────────────────────────────────────────────────────────────


@both
@each_dialect
def test_fault_01_a_refused_connection_is_502(dialect: Dialect, stream: bool) -> None:
    with running_gateway(settings(up=compatible(f"http://127.0.0.1:{free_port()}/v1"))) as gateway:
        error = failed_upstream(dialect, ask(gateway, dialect.path, dialect.request("m", stream=stream)), 502)
    assert "up" in error["message"]
    assert "refused" in error["message"]


@each_dialect
def test_fault_01_every_attempt_is_named_when_none_is_answered(dialect: Dialect) -> None:
    dead = settings(
        order=["one", "two"],
        retries=1,
        one=compatible(f"http://127.0.0.1:{free_port()}"),
        two=compatible(f"http://127.0.0.1:{free_port()}"),
    )
    with running_gateway(dead) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("m"))
    error = failed_upstream(dialect, answer, 502)
    assert answer.header("x-spine-attempts") == "4"
    assert error["message"].count("one: ") == error["message"].count("two: ") == 2


@both
@each_dialect
def test_fault_01_the_next_provider_answers(simulator: Simulator, dialect: Dialect, stream: bool) -> None:
    dead = compatible(f"http://127.0.0.1:{free_port()}/v1")
    live = compatible(simulator.urls.openai)
    with running_gateway(settings(order=["dead", "live"], dead=dead, live=live)) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("m", stream=stream))
    assert answer.status == 200
    assert answer.header("x-spine-provider") == "live"
    assert answer.header("x-spine-attempts") == "2"


@each_dialect
def test_fault_02_a_name_that_does_not_exist_is_502(dialect: Dialect) -> None:
    with running_gateway(settings(up=compatible("http://no-such-host.invalid/v1"))) as gateway:
        error = failed_upstream(dialect, ask(gateway, dialect.path, dialect.request("m")), 502)
        again = ask(gateway, dialect.path, dialect.request("m"))
    assert "no-such-host.invalid" in error["message"] or "up" in error["message"]
    assert again.status == 502


def test_fault_03_a_certificate_that_does_not_fit_is_refused_and_the_next_provider_answers(
    simulator: Simulator, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("wrong.example").configure_cert(context)
    seen: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) as wrapped:
                seen.append(wrapped.recv(65536))
        except (OSError, ssl.SSLError):
            pass

    listener = socket.create_server(("127.0.0.1", 0))
    import threading

    threading.Thread(target=lambda: [talk(listener.accept()[0]) for _ in range(2)], daemon=True).start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
    tls = compatible(url, ca_file=str(tmp_path / "ca.pem"))
    with listener:
        with running_gateway(settings(tls=tls)) as gateway:
            error = failed_upstream(OPENAI, ask(gateway, OPENAI.path, OPENAI.request("m")), 502)
        assert "certificate" in error["message"]
        both_of = settings(order=["tls", "live"], tls=tls, live=compatible(simulator.urls.openai))
        with running_gateway(both_of) as gateway:
            answer = ask(gateway, OPENAI.path, OPENAI.request("m"))
    assert answer.header("x-spine-provider") == "live"
    assert seen in ([], [b""], [b"", b""]), "nothing was said over the connection"


@both
@each_pair
def test_fault_04_a_reset_before_the_first_byte_is_502(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    for fault in ("reset=head", "reset=mid-head", "close=head"):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=stream))
        error = failed_upstream(dialect, answer, 502)
        assert error["message"].startswith(f"{provider}: "), error


@both
@each_dialect
def test_fault_04_a_reset_before_the_first_byte_is_tried_again(
    simulator: Simulator, dialect: Dialect, stream: bool
) -> None:
    with running_gateway(settings(retries=1, up=compatible(simulator.urls.openai))) as gateway:
        simulator.run("reset=head", "ok")
        answer = ask(gateway, dialect.path, dialect.request("m", stream=stream))
    assert answer.status == 200
    assert answer.header("x-spine-attempts") == "2"


# ── 6, 9, 10: connections that break ──────────────────────────────────────────────────────────────


@each_pair
@pytest.mark.parametrize("fault", ["end=4", "close=4", "reset=4", "framing=until-close,end=4"])
def test_fault_06_a_stream_that_stops_ends_with_an_error_event(
    gateway: RunningGateway, dialect: Dialect, provider: str, fault: str
) -> None:
    request = dialect.request(f"{provider}/sim-long-50+{fault}", stream=True)
    answer = ask(gateway, dialect.path, request)
    assert answer.header("x-spine-provider") == provider
    assert broken(dialect, answer)["message"].startswith(f"{provider}: ")
    assert dialect.text(answer.body), "what came before is kept"


@each_pair
def test_fault_06_a_plain_answer_that_stops_is_502(gateway: RunningGateway, dialect: Dialect, provider: str) -> None:
    for fault in ("end=1", "close=1", "reset=1", "length=+5"):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}"))
        failed_upstream(dialect, answer, 502)


@each_pair
def test_fault_07_a_stream_that_falls_silent_ends_with_an_error_event(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    request = dialect.request(f"{provider}/sim-long-50+stall=5", stream=True)
    begun = time.monotonic()
    error = broken(dialect, ask(gateway, dialect.path, request))
    assert time.monotonic() - begun < 10
    assert "idle" in error["message"] or "silent" in error["message"], error


@each_dialect
def test_fault_08_a_provider_that_does_not_begin_is_left_for_the_next(simulator: Simulator, dialect: Dialect) -> None:
    two = settings(
        order=["slow", "live"],
        slow=compatible(simulator.urls.openai, model="m+stall=head"),
        live=compatible(simulator.urls.openai),
    )
    with running_gateway(two) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("slow/m+stall=head", stream=True))
    assert answer.header("x-spine-provider") == "live"


@each_pair
@pytest.mark.parametrize("fault", ["bad_chunk=3", "length=-5", "length=+50"])
def test_fault_09_bad_framing_is_an_error_and_the_connection_is_not_used_again(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str, fault: str
) -> None:
    stream = fault.startswith("bad")
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-long-20+{fault}", stream=stream))
    if stream:
        broken(dialect, answer)
    else:
        failed_upstream(dialect, answer, 502)
    assert ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x")).status == 200
    first, second = list(simulator.received)[-2:]
    assert first.connection != second.connection


def test_fault_09_sound_connections_are_used_again_after_streams_and_answers(
    simulator: Simulator, gateway: RunningGateway
) -> None:
    for dialect, provider in PAIRS:
        for stream in (True, False, True):
            request = dialect.request(f"{provider}/sim-long-20", stream=stream)
            assert ask(gateway, dialect.path, request).status == 200
        used = [request.connection for request in list(simulator.received)[-2:]]
        assert used[0] == used[1], (dialect.name, provider)


@each_dialect
def test_fault_10_a_stale_connection_is_replaced_unseen(dialect: Dialect) -> None:
    def answer_and_leave(sock: socket.socket) -> None:
        sock.sendall(http(ANSWER))
        time.sleep(0.05)  # the close comes after the answer, unannounced
        raise OSError

    with (
        peer(answer_and_leave) as upstream,
        running_gateway(settings(up=compatible(upstream.url))) as gateway,
    ):
        for pause_s in (0.2, 0.06, 0.05, 0.04, 0):
            answer = ask(gateway, dialect.path, dialect.request("m"))
            assert answer.status == 200
            assert answer.header("x-spine-attempts") == "1"
            time.sleep(pause_s)


# ── 12–16: answers that are none ──────────────────────────────────────────────────────────────────


@both
@each_pair
def test_fault_12_a_redirect_is_refused_and_the_key_stays_here(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    with peer(http(ANSWER)) as elsewhere:
        for status in (301, 302, 307, 308):
            target = f"{elsewhere.url}/v1/chat/completions".replace("/", "%2F").replace(":", "%3A")
            fault = f"status={status},redirect={target}"
            answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=stream))
            error = failed_upstream(dialect, answer, 502)
            assert "redirect" in error["message"]
        assert elsewhere.accepted == 0


@both
@each_pair
def test_fault_13_packed_answers_are_read(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    for coding in ("gzip", "deflate"):
        request = dialect.request(f"{provider}/sim-long-20+coding={coding}", stream=stream)
        answer = ask(gateway, dialect.path, request)
        assert answer.status == 200
        assert answer.header("content-encoding") is None
        text = dialect.text(answer.body) if stream else dialect.answer_text(answer.json())
        assert text.startswith("the quick brown fox")


@both
@each_pair
def test_fault_13_a_bomb_is_refused(gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool) -> None:
    begun = time.monotonic()
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+coding=bomb", stream=stream))
    failed_upstream(dialect, answer, 502)
    assert time.monotonic() - begun < 10


@both
@each_pair
def test_fault_14_a_proxys_page_becomes_an_error_of_the_dialect(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    for fault, status in (("body=html", 502), ("body=text", 503), ("body=html,status=520", 520)):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=stream))
        failed_upstream(dialect, answer, status)
        for word in (b"203.0.113.7", b"Ray ID", b"<html", b"<h1", b"termination"):
            assert word not in answer.body


@both
@each_pair
def test_fault_15_an_error_with_status_200_is_an_error(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+body=error", stream=stream))
    assert answer.status >= 500
    error = failed_upstream(dialect, answer, answer.status)
    assert "simulated error" in error["message"]


@both
@each_pair
def test_fault_16_nothing_and_pages_with_status_200_are_errors(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    for fault in ("body=empty", "body=html,status=200", "body=text,status=200", "body=empty,status=204"):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=stream))
        error = failed_upstream(dialect, answer, 502)
        assert "<" not in error["message"]


@both
@each_pair
def test_an_answer_with_another_status_of_success_is_one(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool
) -> None:
    """Frameworks answer a POST with 201 where nobody says otherwise."""
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+body=plain,status=201", stream=stream))
    assert answer.status == 200
    assert "hello there" in (dialect.text(answer.body) if stream else dialect.answer_text(answer.json()))


@each_pair
def test_fault_16_a_whole_answer_where_a_stream_was_asked_for_is_streamed(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    request = dialect.request(f"{provider}/sim-x+body=plain", stream=True)
    answer = ask(gateway, dialect.path, request)
    assert answer.status == 200
    assert (
        answer.header(
            "content-type",
        )
        != "application/json"
    )
    assert dialect.ended(answer.body), answer.body
    assert "hello there" in dialect.text(answer.body)


@each_pair
def test_fault_16_a_stream_under_a_wrong_name_is_no_silent_success(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    request = dialect.request(f"{provider}/sim-x+content_type=text/html", stream=True)
    failed_upstream(dialect, ask(gateway, dialect.path, request), 502)


# ── statuses, and when to come again ──────────────────────────────────────────────────────────────


@both
@each_pair
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 504, 529])
def test_a_providers_status_reaches_the_caller_in_its_dialect(
    gateway: RunningGateway, dialect: Dialect, provider: str, stream: bool, status: int
) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/m+status={status}", stream=stream))
    error = failed_upstream(dialect, answer, status)
    assert error["message"].startswith(f"{provider}: This is a simulated error of status {status}")
    assert answer.header("x-spine-provider") == provider


@each_dialect
def test_fault_65_retry_after_reaches_the_caller_when_all_are_exhausted(
    gateway: RunningGateway, dialect: Dialect
) -> None:
    for given, expected in (("7", "7"), ("1.2", "2"), ("0", "0"), ("-5", None), ("soon", None)):
        fault = f"status=429,retry_after={given}"
        answer = ask(gateway, dialect.path, dialect.request(f"{dialect.provider}/m+{fault}"))
        failed_upstream(dialect, answer, 429)
        assert answer.header("retry-after") == expected, given
    fault = "status=429,retry_after_ms=1500"
    answer = ask(gateway, dialect.path, dialect.request(f"{dialect.provider}/m+{fault}"))
    assert answer.header("retry-after") == "2"


def test_fault_65_retry_after_is_waited_for_and_not_beyond_max_delay(simulator: Simulator) -> None:
    with running_gateway(settings(retries=1, up=compatible(simulator.urls.openai))) as gateway:
        simulator.run("status=429; retry_after_ms=400", "ok")
        begun = time.monotonic()
        answer = ask(gateway, OPENAI.path, OPENAI.request("m"))
        assert answer.status == 200
        assert 0.4 <= time.monotonic() - begun < 10
        simulator.run("status=429; retry_after=30", "ok")
        begun = time.monotonic()
        assert ask(gateway, OPENAI.path, OPENAI.request("m")).status == 429
        assert time.monotonic() - begun < 10


@each_dialect
def test_fault_67_a_callers_own_fault_is_not_tried_elsewhere(simulator: Simulator, dialect: Dialect) -> None:
    two = settings(
        order=["a", "b"],
        retries=2,
        a=compatible(simulator.urls.openai),
        b=compatible(simulator.urls.openai),
    )
    with running_gateway(two) as gateway:
        for status in (400, 413, 422):
            simulator.received.clear()
            simulator.run(f"status={status}", "ok")
            assert ask(gateway, dialect.path, dialect.request("m")).status == status
            assert len(simulator.received) == 1


@both
@each_dialect
def test_fault_15_a_first_event_that_is_an_error_falls_to_the_next_provider(
    simulator: Simulator, dialect: Dialect, stream: bool
) -> None:
    other = {"type": "anthropic", "base_url": simulator.urls.root, "api_key": KEY, "model": "m"}
    bad = other if dialect is ANTHROPIC else compatible(simulator.urls.openai)
    with running_gateway(settings(order=["bad", "an"], bad=bad, an=other)) as gateway:
        faults = ["body=error"]
        if stream:
            faults = [
                "error_at=0",
                "error_at=1",
                "rate=100,error_at=1",
                "pings,rate=100,error_at=1",
                "malformed=0",
                "rate=100,malformed=1",
                "rate=100,end=1",
                "ending=missing,end=0",
            ]
        for fault in faults:
            simulator.run(fault, "ok")
            answer = ask(gateway, dialect.path, dialect.request("m", stream=stream))
            assert answer.status == 200, (fault, answer)
            assert answer.header("x-spine-provider") == "an"


@each_dialect
def test_fault_51_a_refused_key_names_the_provider_and_not_the_key(
    gateway: RunningGateway, simulator: Simulator, dialect: Dialect
) -> None:
    simulator.key = "sk-the-right-one-000000000"
    try:
        for provider in ("oa", "an", "ol"):
            for stream in (False, True):
                request = dialect.request(f"{provider}/m", stream=stream)
                answer = ask(gateway, dialect.path, request)
                error = failed_upstream(dialect, answer, 401)
                assert error["message"].startswith(f"{provider}: Incorrect API key provided")
                assert "sk-upst" not in answer.body.decode()
                assert "cdef" not in answer.body.decode()
    finally:
        simulator.key = None
