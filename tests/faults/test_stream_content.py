"""Faults 16–25: what a provider's stream may hold, and what the caller gets of it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from callers import (
    ANTHROPIC,
    DIALECTS,
    GENERATE,
    KEY,
    OLLAMA,
    OPENAI,
    PAIR_NAMES,
    PAIRS,
    Answer,
    Caller,
    Dialect,
    Peer,
    ask,
    broken,
    failed_upstream,
    http,
    peer,
)

from genai_spine.providers.simulated import UNICODE
from genai_spine.testing.fixtures import RunningGateway, running_gateway
from genai_spine.testing.simulator import Simulator

each_pair = pytest.mark.parametrize(("dialect", "provider"), PAIRS, ids=PAIR_NAMES)
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)

CONTENT_TYPES = {"oa": "text/event-stream", "an": "text/event-stream", "ol": "application/x-ndjson"}


class Upstreams:
    """A gateway in front of three peers that say whatever bytes a test gives them."""

    def __init__(self, gateway: RunningGateway, peers: dict[str, Peer]) -> None:
        self.gateway = gateway
        self.peers = peers

    def stream(
        self, dialect: Dialect, provider: str, body: bytes, *, pieces: list[bytes] | None = None, **more: Any
    ) -> Answer:
        """What the caller gets where the provider's stream is `body`, well framed, in these pieces."""
        self.peers[provider].answers = [chunked(pieces or [body], CONTENT_TYPES[provider])]
        return ask(self.gateway, dialect.path, dialect.request(f"{provider}/m", stream=True, **more))


def chunked(pieces: list[bytes], content_type: str) -> Any:
    def answer(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        sock.sendall(head.encode())
        for piece in pieces:
            if piece:
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\n\r\n")

    return answer


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with peer(b"") as oa, peer(b"") as an, peer(b"") as ol:
        settings = {
            "providers": {
                "oa": {"type": "openai_compatible", "base_url": f"{oa.url}/v1", "api_key": KEY},
                "an": {"type": "anthropic", "base_url": an.url, "api_key": KEY},
                "ol": {"type": "ollama", "base_url": ol.url, "api_key": KEY, "dialect": "ollama_chat"},
            },
            "retry": {"max_retries": 0},
            "timeouts": {"connect": 1, "first_token": 5, "idle": 2, "total": 20},
        }
        with running_gateway(settings) as gateway:
            yield Upstreams(gateway, {"oa": oa, "an": an, "ol": ol})


def spoken(caller_dialect: Dialect, provider: str) -> Dialect:
    """In which a provider answers."""
    if caller_dialect is GENERATE and provider == "ol":
        return GENERATE  # relayed: it has a path of its own there
    return {"oa": OPENAI, "an": ANTHROPIC, "ol": OLLAMA}[provider]


def recorded(
    simulator: Simulator, caller_dialect: Dialect, provider: str, model: str = "sim-unicode", **more: Any
) -> bytes:
    """A whole stream of a provider, as bytes."""
    dialect = spoken(caller_dialect, provider)
    with Caller(simulator) as caller:  # type: ignore[arg-type]  # it has a port, too
        if provider == "oa":
            more = {"stream_options": {"include_usage": True}, **more}
        caller.send("POST", dialect.path, dialect.request(model, stream=True, **more))
        answer = caller.answer()
    assert answer.status == 200
    return answer.body


# ── 16–18: bytes cut anywhere, and what line readers stumble over ─────────────────────────────────


@each_pair
def test_fault_17_bytes_cut_anywhere_give_the_same_text(
    simulator: Simulator, upstreams: Upstreams, dialect: Dialect, provider: str
) -> None:
    stream = recorded(simulator, dialect, provider)
    for body in (stream, stream.replace(b"\n", b"\r\n")):
        for size in (1, 7, 4096):
            if size == 1 and len(body) > 20_000:
                continue
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            answer = upstreams.stream(dialect, provider, body, pieces=pieces)
            assert dialect.ended(answer.body), answer.body[-300:]
            assert dialect.text(answer.body) == UNICODE


ERRORS = {
    "oa": b'data: {"error":{"message":"no more","type":"server_error"}}\n\n',
    "an": b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no more"}}\n\n',
    "ol": b'{"error":"no more"}\n',
}


@each_pair
def test_fault_06_words_that_come_in_one_piece_with_an_error_are_not_lost(
    simulator: Simulator, upstreams: Upstreams, dialect: Dialect, provider: str
) -> None:
    end = b"\n" if provider == "ol" else b"\n\n"
    frames = [frame + end for frame in recorded(simulator, dialect, provider, "sim-long-20").split(end) if frame]
    first, second = b"".join(frames[:8]), b"".join(frames[8:12])

    def answer(sock: socket.socket) -> None:
        sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPES[provider]}\r\n\r\n".encode() + first)
        time.sleep(0.2)
        sock.sendall(second + ERRORS[provider])

    upstreams.peers[provider].answers = [answer]
    answered = ask(upstreams.gateway, dialect.path, dialect.request(f"{provider}/m", stream=True))
    assert "no more" in broken(dialect, answered)["message"]
    said = spoken(dialect, provider).text
    assert dialect.text(answered.body) == said(first + second) != said(first)


@each_pair
def test_fault_06_words_and_an_error_that_come_at_once_are_asked_for_elsewhere(
    simulator: Simulator, dialect: Dialect, provider: str
) -> None:
    end = b"\n" if provider == "ol" else b"\n\n"
    stream = recorded(simulator, dialect, provider, "sim-long-20")
    first = b"".join([frame + end for frame in stream.split(end) if frame][:8]) + ERRORS[provider]
    told = recorded(simulator, dialect, provider)
    kind = {"oa": "openai_compatible", "an": "anthropic", "ol": "ollama"}[provider]
    with peer(chunked([first], CONTENT_TYPES[provider])) as bad, peer(chunked([told], CONTENT_TYPES[provider])) as good:
        tables = {
            id: {"type": kind, "base_url": at.url + ("/v1" if provider == "oa" else ""), "api_key": KEY}
            | ({"dialect": "ollama_chat"} if provider == "ol" else {})
            for id, at in (("bad", bad), ("good", good))
        }
        routes = {"both": {"targets": ["bad/m", "good/m"], "strategy": "ordered"}}
        with running_gateway({"providers": tables, "routes": routes, "retry": {"max_retries": 0}}) as gateway:
            answer = ask(gateway, dialect.path, dialect.request("both", stream=True))
    assert answer.status == 200 and dialect.ended(answer.body), answer
    assert dialect.text(answer.body) == UNICODE


@each_pair
def test_fault_18_separators_comments_and_other_line_ends_lose_nothing(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    for fault in ("ok", "bom", "pings", "newline=crlf", "newline=cr", "bom,pings,newline=crlf,drip=11"):
        if provider == "ol" and ("newline=cr" in fault.split(",") or "bom" in fault):
            continue  # NDJSON has neither
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-unicode+{fault}", stream=True))
        assert answer.status == 200, (fault, answer)
        assert dialect.ended(answer.body), (fault, answer.body[-300:])
        assert dialect.text(answer.body) == UNICODE


def test_fault_18_fields_of_the_standard_are_read_as_it_says(upstreams: Upstreams) -> None:
    chunk = '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}'
    body = (
        "retry: 10\nid: 7\nunknown: x\n\n"
        f"data:{chunk % ('a', 'null')}\n\n"
        ": a comment\n\n"
        'data: {"choices":[{"index":0,\ndata: "delta":{"content":"b"},"finish_reason":null}]}\n\n'
        f"id: 8\ndata: {chunk % ('c', chr(34) + 'stop' + chr(34))}\n\n"
        "data: [DONE]\n\n"
    ).encode()
    for dialect in DIALECTS:
        answer = upstreams.stream(dialect, "oa", body)
        assert dialect.ended(answer.body), answer.body
        assert dialect.text(answer.body) == "abc"


# ── 19, 20: size ──────────────────────────────────────────────────────────────────────────────────


@each_pair
def test_fault_19_an_event_of_five_megabytes_passes(gateway: RunningGateway, dialect: Dialect, provider: str) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/m+huge=5000000", stream=True))
    assert dialect.ended(answer.body)
    assert len(dialect.text(answer.body)) == 5_000_000


@each_pair
def test_fault_19_an_event_beyond_the_cap_is_an_error(gateway: RunningGateway, dialect: Dialect, provider: str) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/m+huge=18000000", stream=True))
    if answer.status == 200:
        broken(dialect, answer)
    else:
        failed_upstream(dialect, answer, 502)
    assert len(answer.body) < 10_000


@each_pair
def test_fault_20_an_endless_line_is_cut_and_the_provider_let_go(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-long-9+endless=4", stream=True))
    broken(dialect, answer)
    end_s = time.monotonic() + 1
    while simulator.received[-1].outcome == "open":
        assert time.monotonic() < end_s, "the provider still sends"
        time.sleep(0.01)
    assert simulator.received[-1].outcome == "gone"


# ── 21–24: events ─────────────────────────────────────────────────────────────────────────────────


@each_pair
def test_fault_21_a_malformed_event_is_not_relayed_and_ends_the_stream(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-long-30+rate=400,malformed=6", stream=True))
    broken(dialect, answer)
    assert 0 < len(dialect.text(answer.body)) < 100


@each_pair
def test_fault_21_an_error_inside_a_stream_ends_it_in_the_callers_words(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    for status in (500, 529, 429):
        request = dialect.request(f"{provider}/sim-long-30+rate=150,error_at=6,status={status}", stream=True)
        error = broken(dialect, ask(gateway, dialect.path, request))
        assert f"This is a simulated error of status {status}." in error["message"]


@each_pair
def test_fault_22_odd_tool_calls_are_assembled_or_refused(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    tool = {"name": "look", "description": "d"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools: Any = [{"type": "function", "function": {**tool, "parameters": schema}}]
    if dialect is ANTHROPIC:
        tools = [{**tool, "input_schema": schema}]
    outcomes = []
    for fault in ("ok", "tool_calls=no-index", "tool_calls=no-id", "tool_calls=no-arguments", "finish=twice"):
        request = dialect.request(f"{provider}/sim-x+{fault}", stream=True, tools=tools)
        answers = [ask(gateway, dialect.path, request) for _ in range(2)]
        for answer in answers:
            if answer.status == 200 and not dialect.ended(answer.body):
                broken(dialect, answer)
            elif answer.status != 200:
                failed_upstream(dialect, answer, 502)
        outcomes.append(answers[0].status == 200 and dialect.ended(answers[0].body))
        assert dialect.ended(answers[0].body) == dialect.ended(answers[1].body)
    assert outcomes[0], "without a fault"


@each_pair
def test_fault_23_odd_usage_breaks_nothing_and_is_never_negative(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    before = gateway.manager.usage()[provider]
    for usage in ("missing", "null", "strings", "negative", "absurd", "twice"):
        for stream in (True, False) if usage != "twice" else (True, True):
            request = dialect.request(f"{provider}/sim-x+usage={usage}", stream=stream)
            answer = ask(gateway, dialect.path, request)
            assert answer.status == 200, (usage, answer)
            if stream:
                assert dialect.ended(answer.body), (usage, answer.body[-300:])
    after = gateway.manager.usage()[provider]
    assert after.call_count == before.call_count + 12
    assert after.total_input >= before.total_input
    assert after.total_cost_usd >= before.total_cost_usd
    assert after.total_input - before.total_input < 10**6


@each_pair
def test_fault_24_what_comes_after_the_end_is_ignored(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    for fault in ("ending=twice", "ending=data-after"):
        answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=True))
        assert dialect.ended(answer.body), (fault, answer.body[-300:])
        assert dialect.text(answer.body).count("hello there") == 1
    ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x"))
    assert simulator.received[-1].status == 200


@each_pair
def test_fault_24_an_ending_that_is_missing_is_no_silent_success(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    request = dialect.request(f"{provider}/sim-long-9+rate=400,ending=missing,finish=missing", stream=True)
    broken(dialect, ask(gateway, dialect.path, request))


@each_pair
def test_fault_25_thousands_of_tiny_events_pass_quickly(
    gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    begun = time.monotonic()
    answer = ask(gateway, dialect.path, dialect.request(f"{provider}/sim-long-4000", stream=True))
    assert dialect.ended(answer.body)
    assert len(dialect.text(answer.body).split()) == 4000
    assert time.monotonic() - begun < 5


# ── the property: never a silent success ──────────────────────────────────────────────────────────


@each_pair
@pytest.mark.parametrize("model", ["sim-think", "sim-unicode"])
def test_fault_06_wherever_a_stream_is_cut_the_caller_gets_all_or_an_error(
    simulator: Simulator, upstreams: Upstreams, dialect: Dialect, provider: str, model: str
) -> None:
    stream = recorded(simulator, dialect, provider, model)
    whole = dialect.text(upstreams.stream(dialect, provider, stream).body)
    assert whole
    frames = [at + 1 for at in range(len(stream)) if stream.startswith(b"\n", at)]
    places = {*range(0, len(stream), max(1, len(stream) // 25)), *frames[-14:], len(stream) - 1}
    outcomes = set()
    for place in sorted(places):
        answer = upstreams.stream(dialect, provider, stream[:place])
        if answer.status != 200:
            failed_upstream(dialect, answer, 502)
            outcomes.add("refused")
        elif dialect.ended(answer.body):
            assert dialect.text(answer.body) == whole, (place, stream[place - 80 : place])
            outcomes.add("whole")
        else:
            broken(dialect, answer)
            assert whole.startswith(dialect.text(answer.body))
            outcomes.add("broken")
    assert {"refused", "broken"} <= outcomes


# ── usage that we ask for ─────────────────────────────────────────────────────────────────────────


def test_usage_is_asked_for_upstream_and_given_only_to_those_who_asked(
    simulator: Simulator, gateway: RunningGateway
) -> None:
    for provider in ("oa", "an", "ol"):
        plain = ask(gateway, OPENAI.path, OPENAI.request(f"{provider}/sim-x", stream=True))
        assert OPENAI.ended(plain.body)
        assert b'"prompt_tokens"' not in plain.body
        if provider == "oa":
            assert simulator.received[-1].json()["stream_options"] == {"include_usage": True}
        asked = OPENAI.request(f"{provider}/sim-x", stream=True, stream_options={"include_usage": True, "other": 1})
        answer = ask(gateway, OPENAI.path, asked)
        chunks = [line[6:] for line in answer.body.split(b"\n\n") if line.startswith(b"data: {")]
        last = json.loads(chunks[-1])
        assert last["choices"] == []
        assert last["usage"]["prompt_tokens"] > 0
        refused_it = OPENAI.request(f"{provider}/sim-x", stream=True, stream_options={"include_usage": False})
        assert b'"prompt_tokens"' not in ask(gateway, OPENAI.path, refused_it).body


@each_pair
def test_usage_is_counted_once_for_each_answer(gateway: RunningGateway, dialect: Dialect, provider: str) -> None:
    for stream, fault in ((True, "ok"), (False, "ok"), (True, "body=plain")):
        before = gateway.manager.usage()[provider]
        ask(gateway, dialect.path, dialect.request(f"{provider}/sim-x+{fault}", stream=stream))
        after = gateway.manager.usage()[provider]
        assert after.call_count == before.call_count + 1, (stream, fault)
        assert after.total_input > before.total_input
        assert after.total_output > before.total_output


def test_a_failed_stream_is_counted_as_one_error(gateway: RunningGateway) -> None:
    for dialect, provider in PAIRS:
        before = gateway.manager.metrics()[provider]
        ask(gateway, dialect.path, dialect.request(f"{provider}/sim-long-20+rate=400,reset=6", stream=True))
        after = gateway.manager.metrics()[provider]
        assert after.error_count == before.error_count + 1
        assert after.request_count == before.request_count + 1


def test_fault_16_an_html_answer_to_a_stream_is_not_shown(upstreams: Upstreams) -> None:
    for dialect, provider in PAIRS:
        page = http(b"<html>secret page</html>", "text/html")
        upstreams.peers[provider].answers = [page]
        answer = ask(upstreams.gateway, dialect.path, dialect.request(f"{provider}/m", stream=True))
        failed_upstream(dialect, answer, 502)
        assert b"secret page" not in answer.body


@each_pair
def test_an_emoji_that_is_cut_between_two_events_does_not_end_a_stream(
    simulator: Simulator, upstreams: Upstreams, dialect: Dialect, provider: str
) -> None:
    r"""Servers that cut texts by UTF-16 write "\ud83d" and "\ude00"; clients join them where they are relayed."""
    stream = recorded(simulator, dialect, provider, "sim-long-5")
    halves = stream.replace(b" quick", b" \\ud83d").replace(b" brown", b"\\ude00")
    answer = upstreams.stream(dialect, provider, halves)
    assert dialect.ended(answer.body), answer.body[-300:]
    is_relayed = spoken(dialect, provider) is dialect
    emoji = "\U0001f600" if is_relayed else "\ufffd\ufffd"
    text = dialect.text(answer.body).encode("utf-16", "surrogatepass").decode("utf-16")
    assert text == f"the {emoji} fox jumps"
