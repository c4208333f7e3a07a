"""A caller that keeps its connection sends the same head again: it is not parsed again, and means the same."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_peers import PathApp, Served, answer, error_of, read_body, read_response, served

from genai_spine.gateway.known_head import KnownHead
from genai_spine.testing.fixtures import running_gateway, wait_until


class MirrorApp(PathApp):
    """Answers with what it was told."""

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        told = {name: scope[name] for name in ("http_version", "method", "path", "raw_path", "query_string", "scheme")}
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        told |= {"headers": headers, "body": body.decode("latin-1"), "known": scope_is_known(scope)}
        await answer(send, 200, json.dumps(told, default=lambda raw: raw.decode("latin-1")).encode())


def scope_is_known(scope: Any) -> bool:
    return scope["extensions"]["genai_spine.reply"].known_head is not None


@pytest.fixture(scope="module")
def mirror() -> Iterator[Served]:
    app = MirrorApp()
    with served(app) as running:
        yield running


def ask(sock: socket.socket, *pieces: bytes) -> dict[str, Any]:
    for piece in pieces:
        sock.sendall(piece)
    told: dict[str, Any] = json.loads(read_response(sock).partition(b"\r\n\r\n")[2])
    return told


def read_answers(sock: socket.socket, count: int) -> list[dict[str, Any]]:
    """Of requests that were sent together."""
    answers = []
    with sock.makefile("rb") as file:
        for _ in range(count):
            head = list(iter(file.readline, b"\r\n"))[1:]
            fields = dict(line.rstrip().lower().split(b": ", 1) for line in head)
            answers.append(json.loads(file.read(int(fields[b"content-length"]))))
    return answers


def post(body: bytes, *fields: bytes, path: bytes = b"/v1/x?a=1", length: bytes | None = None) -> bytes:
    said = b"".join(field + b"\r\n" for field in fields)
    counted = b"%d" % len(body) if length is None else length
    return b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %b\r\n\r\n%b" % (path, said, counted, body)


def test_a_head_is_known_from_its_third_time_on(mirror: Served) -> None:
    with mirror.connect() as sock:
        told = [ask(sock, post(b"x" * size, b"X-One: 1")) for size in (1, 1, 5, 1000, 0, 60_000)]
    assert [each["known"] for each in told] == [False, False, True, True, True, True]
    assert [len(each["body"]) for each in told] == [1, 1, 5, 1000, 0, 60_000]
    assert [dict(each["headers"])["content-length"] for each in told] == ["1", "1", "5", "1000", "0", "60000"]
    first, *others = ({k: v for k, v in each.items() if k not in ("body", "known", "headers")} for each in told)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: close",),
        (b"Expect: 100-continue",),
        (b"TE: trailers",),
        (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"),
    ],
)
def test_what_is_not_ordinary_is_parsed_each_time(mirror: Served, fields: tuple[bytes, ...]) -> None:
    with mirror.connect() as sock:
        for _ in range(1 if b"Connection: close" in fields else 4):
            sock.sendall(post(b"hello", *fields))
            response = read_response(sock)
            if b" 100 " in response.partition(b"\r\n")[0]:
                response = read_response(sock)
            assert json.loads(response.partition(b"\r\n\r\n")[2])["known"] is False


def test_chunks_and_other_methods_between_known_heads(mirror: Served) -> None:
    chunked = b"POST /v1/x?a=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with mirror.connect() as sock:
        for is_known in (False, True, True):
            assert ask(sock, post(b"one"))["body"] == "one"
            assert ask(sock, chunked)["body"] == "abc"
            assert ask(sock, b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n")["method"] == "GET"
            assert ask(sock, post(b"two"))["known"] is is_known


def test_a_body_in_pieces_and_one_behind_another(mirror: Served) -> None:
    whole = post(b"0123456789")
    with mirror.connect() as sock:
        ask(sock, whole)
        ask(sock, whole)
        for cut in range(len(whole) - 10, len(whole)):
            assert ask(sock, whole[:cut], whole[cut:])["body"] == "0123456789"
        sock.sendall(whole + post(b"next") + post(b"last"))
        assert [told["body"] for told in read_answers(sock, 3)] == ["0123456789", "next", "last"]


@pytest.mark.parametrize("length", [b"-1", b"+3", b"3 4", b"0x3", b"3,3", b"\xb23", b"", b"9" * 40])
def test_a_length_that_is_none_is_refused_though_the_head_is_known(mirror: Served, length: bytes) -> None:
    with mirror.connect() as sock:
        assert [ask(sock, post(b"abc"))["known"] for _ in range(3)] == [False, False, True]
        sock.sendall(post(b"abc", length=length))
        assert error_of(read_response(sock))


FIELDS = st.lists(
    st.sampled_from([b"X-One: 1", b"X-One: 2", b"x-two:  spaced \t", b"Connection: keep-alive", b"TE: trailers"]),
    max_size=3,
    unique=True,
)
REQUESTS = st.tuples(st.binary(max_size=40), FIELDS, st.sampled_from([b"/a", b"/a?b=c", b"/%61"]), st.booleans())


@given(requests=st.lists(REQUESTS, min_size=1, max_size=6), data=st.data())
@settings(max_examples=60)
def test_one_connection_tells_what_many_tell(
    mirror: Served, requests: list[tuple[bytes, list[bytes], bytes, bool]], data: st.DataObject
) -> None:
    sent = [
        post(body, *fields, path=path, length=b"%05d" % len(body) if is_padded else None)
        for body, fields, path, is_padded in requests
        for _ in range(3)
    ]
    apart = []
    for raw in sent:
        with mirror.connect() as sock:
            apart.append(ask(sock, raw))
    stream = b"".join(sent)
    with mirror.connect() as sock:
        while stream:
            cut = data.draw(st.integers(1, min(len(stream), 200)))
            sock.sendall(stream[:cut])
            stream = stream[cut:]
        answers = read_answers(sock, len(sent))
    for one, other in zip(answers, apart, strict=True):
        assert {**one, "known": None} == {**other, "known": None}


def test_a_head_that_is_another_is_not_it() -> None:
    scope = {"method": "POST", "http_version": "1.1", "headers": [(b"host", b"h"), (b"content-length", b"3")]}
    known = KnownHead.of(post(b"abc"), scope)
    assert known is not None
    assert known.read(post(b"abcd")) == (
        {"method": "POST", "http_version": "1.1", "headers": [(b"host", b"h"), (b"content-length", b"4")]},
        b"abcd",
        0,
    )
    for other in (post(b"abc", path=b"/v1/y"), post(b"abc", b"A: b"), post(b"abc")[:30], post(b"abc") + b"x", b""):
        assert known.read(other) is None


# At the gateway


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    settings = {
        "server": {"api_keys": ["one-key-of-ours"]},
        "providers": {"sim": {"type": "simulated"}},
        "ledger": {"url": f"sqlite:///{tmp_path / 'ledger.db'}"},
    }
    with running_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        client.headers["authorization"] = "Bearer one-key-of-ours"
        yield client


CHAT = {"model": "sim/simulated-fast", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_key_is_looked_at_with_every_other_head(client: httpx.Client) -> None:
    for key, status in (("one-key-of-ours", 200), ("one-key-of-theirs", 401), ("one-key-of-ours", 200)):
        headers = {"authorization": f"Bearer {key}"}
        said = [client.post("/v1/chat/completions", json=CHAT, headers=headers).status_code for _ in range(4)]
        assert said == [status] * 4


def test_what_a_header_says_of_a_call_is_heard_each_time(client: httpx.Client) -> None:
    for headers, status in (({"x-spine-tags": "night"}, 200), ({}, 200), ({"x-spine-timeout": "-1"}, 400)):
        said = [client.post("/v1/chat/completions", json=CHAT, headers=headers).status_code for _ in range(4)]
        assert said == [status] * 4

    def tags() -> list[list[str]]:
        return sorted(call["tags"] for call in client.get("/v1/requests").json()["data"])

    wait_until(lambda: tags() == [[]] * 4 + [["night"]] * 4)


def test_each_answer_has_an_id_of_its_own(client: httpx.Client) -> None:
    answers = [client.post("/v1/messages", json={**CHAT, "max_tokens": 5}) for _ in range(4)]
    assert all(answer.headers["request-id"] == answer.headers["x-request-id"] for answer in answers)
    assert len({answer.headers["request-id"] for answer in answers}) == 4
