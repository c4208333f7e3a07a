from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from server_peers import (
    GET,
    POST,
    PathApp,
    Served,
    error_of,
    eventually,
    is_still,
    read_response,
    read_until_closed,
    served,
    status_of,
)

from genai_spine.gateway.exchange import encode_headers

HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


# What is served


def test_a_whole_answer_has_length_date_and_body(server: Served) -> None:
    response = server.ask(POST % (b"/echo", 5, b"hello"))
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 5" in head
    assert b"\r\ndate: " in head
    assert body == b"hello"


def test_the_date_goes_on() -> None:
    with served(header_timeout=0.3) as server:
        first = server.ask(GET % b"/plain")
        assert eventually(lambda: server.ask(GET % b"/plain") != first)


def test_the_fast_reply_is_the_same_on_the_wire(server: Served) -> None:
    response = server.ask(POST % (b"/reply", 2, b"{}"))
    assert response.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert response.endswith(b"content-type: text/plain\r\ncontent-length: 4\r\n\r\nfast")


@pytest.mark.parametrize("path", [b"/stream", b"/fast-stream"])
def test_a_stream_is_chunked_and_ended(server: Served, path: bytes) -> None:
    body = server.ask(POST % (path, 2, b"{}")).partition(b"\r\n\r\n")[2]
    assert body == b"".join(b"9\r\ndata: %d\n\n\r\n" % n for n in range(3)) + b"0\r\n\r\n"


def test_a_connection_is_kept_and_used_again(server: Served) -> None:
    with server.connect() as sock:
        for number in range(3):
            sock.sendall(POST % (b"/echo", 1, b"%d" % number))
            assert read_response(sock).endswith(b"%d" % number)


def test_a_request_may_come_in_single_bytes(server: Served) -> None:
    with server.connect() as sock:
        for byte in POST % (b"/echo?x=1", 5, b"hello"):
            sock.sendall(bytes([byte]))
        assert read_response(sock).endswith(b"\r\n\r\nhello")


def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(POST % (b"/stream", 2, b"{}") + POST % (b"/echo", 3, b"two") + POST % (b"/echo", 5, b"three"))
        data = b""
        while not data.endswith(b"three"):
            data += sock.recv(65536)
    assert data.index(b"data: 2") < data.index(b"two") < data.index(b"three")


def test_more_pipelined_requests_than_are_queued_are_all_answered(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"".join(POST % (b"/echo", 4, b"%04d" % n) for n in range(200)))
        data = b""
        while not data.endswith(b"0199"):
            data += sock.recv(65536)
    assert [data.index(b"\r\n\r\n%04d" % n) for n in range(200)] == sorted(
        data.index(b"\r\n\r\n%04d" % n) for n in range(200)
    )


def test_pipelined_requests_are_not_read_without_bound(server: Served) -> None:
    with server.connect(timeout_s=1) as sock:
        sock.sendall(GET % b"/silent")
        with pytest.raises(TimeoutError):
            sock.sendall(GET % b"/plain" * 500_000)


def test_what_is_pipelined_while_others_wait_is_read_in_its_turn(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(GET % b"/unhurried" + GET % b"/plain" * 900)
        time.sleep(0.1)
        sock.sendall(GET % b"/plain" * 900 + b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = read_until_closed(sock)
    assert data.count(b"HTTP/1.1 200") == 1802


def test_no_more_is_asked_for_one_who_takes_no_answer() -> None:
    app = PathApp()
    with served(app) as server, server.connect(timeout_s=1, receive_buffer=4096) as sock:
        with pytest.raises(TimeoutError):
            sock.sendall(POST % (b"/reply-64k", 2, b"{}") * 200_000)
        assert eventually(lambda: is_still(lambda: app.written))
        assert app.written < 30_000_000


def test_more_requests_at_once_than_anyone_sends_are_refused(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(GET % b"/unhurried" + GET % b"/plain" * 20)
        time.sleep(0.1)  # now it reads no further until one of these is answered, and then all of the next at once
        sock.sendall(GET % b"/plain" * 3000)
        data = read_until_closed(sock)
    assert data.count(b"HTTP/1.1 200") > 1000
    assert error_of(data[data.rindex(b"HTTP/1.1") :])["code"] == "too_many_pipelined"


def test_a_bad_request_behind_a_good_one_is_refused_in_its_turn(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(POST % (b"/stream", 2, b"{}") + b"BREW / HTTP/1.1\r\n\r\n")
        data = read_until_closed(sock)
    assert data.index(b"data: 2") < data.index(b"HTTP/1.1 400")


def test_connection_close_is_respected(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = read_until_closed(sock)
    assert b"connection: close" in response
    assert response.endswith(b"plain")


def test_what_follows_connection_close_is_not_answered(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % b"/plain" * 2)
        sock.sendall(b"\0\0")
        response = read_until_closed(sock)
    assert response.endswith(b"0\r\n\r\n")
    assert response.count(b"HTTP/1.1 ") == 1


def test_http_1_0_is_answered_and_closed(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET /plain HTTP/1.0\r\n\r\n")
        assert read_until_closed(sock).endswith(b"plain")


def test_a_stream_to_http_1_0_has_no_chunks(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        response = read_until_closed(sock)
    assert b"chunked" not in response
    assert response.endswith(b"data: 0\n\ndata: 1\n\ndata: 2\n\n")


def test_expect_100_continue_is_answered_when_the_body_is_wanted(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert read_response(sock).endswith(b"hello")


def test_expect_100_continue_is_not_answered_when_the_body_is_refused(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        response = read_until_closed(sock)
    assert response.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in response


def test_fault_32_a_refusal_reaches_a_caller_that_is_still_sending(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
        for _ in range(20):
            sock.sendall(b"x" * 50_000)
        assert read_until_closed(sock).startswith(b"HTTP/1.1 413")


def test_a_large_body_arrives_whole(server: Served) -> None:
    body = bytes(range(256)) * 20_000
    with server.connect() as sock:
        sock.settimeout(10)
        sock.sendall(POST % (b"/echo", len(body), body))
        assert read_response(sock).endswith(body)


def test_a_chunked_body_arrives_and_its_trailers_do_not() -> None:
    with served() as server:
        raw = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nAuthorization: evil\r\n\r\n"
        assert server.ask(HEAD + raw).endswith(b"\r\n\r\nabcde")
        assert [name for name, _ in server.app.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


def test_head_has_the_length_and_no_body(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(b"HEAD /plain HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"/plain")
        data = b""
        while not data.endswith(b"plain"):
            data += sock.recv(65536)
    assert data.count(b"content-length: 5\r\n") == 2
    assert data.count(b"plain") == 3  # text/plain twice, and one body


def test_204_has_neither_length_nor_body(server: Served) -> None:
    response = server.ask(GET % b"/bodyless")
    assert response.startswith(b"HTTP/1.1 204")
    assert b"content-length" not in response
    assert b"transfer-encoding" not in response


def test_a_crash_of_the_application_is_a_500_in_json(server: Served) -> None:
    response = server.ask(GET % b"/crash")
    assert status_of(response) == 500
    assert error_of(response)["code"] == "internal_error"
    assert b"a fault of" not in response


def test_a_crash_in_mid_stream_leaves_the_stream_unended(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(GET % b"/crash-later")
        response = read_until_closed(sock)
    assert not response.endswith(b"0\r\n\r\n")


# 34, 35, 48: what is refused


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 2, 2\r\n\r\nab",
        HEAD + b"Content-Length: +2\r\n\r\nab",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nab",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\nHost: a\nContent-Length: 2\n\nab",
        HEAD + b"X: y\nContent-Length: 2\r\n\r\nab",
        HEAD + b"X: a\rb\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b"X: a\r\n b\r\n\r\n",
        HEAD + b"Content-Length : 2\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\n Host: a\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b": no name\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabX0\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        bytes.fromhex("1603010200010001fc0303"),
    ],
)  # fmt: skip
def test_fault_35_what_could_be_read_in_two_ways_is_400_and_close(server: Served, raw: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(raw)
        response = read_until_closed(sock)
    assert status_of(response) == 400
    assert response.count(b"HTTP/1.1 4") == 1
    assert error_of(response)["type"] == "invalid_request_error"
    assert error_of(response)["param"] is None
    assert b"connection: close" in response


def test_a_body_that_breaks_off_its_framing_later_is_400_too(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        time.sleep(0.05)
        sock.sendall(b"nonsense\r\n")
        assert status_of(read_until_closed(sock)) == 400
    assert eventually(lambda: "/echo" in server.app.cancelled)


@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
def test_other_versions_of_http_are_505(server: Served, version: bytes) -> None:
    assert status_of(server.ask(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)) == 505


@pytest.mark.parametrize(
    "host", [b"a/b", b"a?b", b"a#b", b"a@b", b"a b", b"a\tb", b"a:b", b"[::1", b"a\\b", b"\xc3\xa9"]
)
def test_fault_48_a_malformed_host_is_400(server: Served, host: bytes) -> None:
    response = server.ask(b"GET /plain HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert status_of(response) == 400
    assert error_of(response)["code"] == "bad_host"


@pytest.mark.parametrize("host", [b"a", b"a:80", b"[::1]:8100", b"10.0.0.1:1", b"", b"a-b_c.example."])
def test_fault_48_a_well_formed_host_passes(server: Served, host: bytes) -> None:
    assert status_of(server.ask(b"GET /plain HTTP/1.1\r\nHost: %b\r\n\r\n" % host)) == 200


def test_fault_48_no_host_is_400_and_two_hosts_are_400(server: Served) -> None:
    assert status_of(server.ask(b"GET /plain HTTP/1.1\r\n\r\n")) == 400
    assert status_of(server.ask(b"GET /plain HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")) == 400


@pytest.mark.parametrize("name", [b"Authorization", b"X-Api-Key", b"api-key", b"x-goog-api-key"])
def test_two_keys_in_one_header_are_400(server: Served, name: bytes) -> None:
    """A proxy in front may have let the caller in for the other one."""
    head = b"GET /plain HTTP/1.1\r\nHost: a\r\n%b: Bearer one\r\n%b: Bearer %b\r\n\r\n"
    response = server.ask(head % (name, name.lower(), b"two"))
    assert status_of(response) == 400
    assert error_of(response)["code"] == "bad_credentials"
    assert "send one" in error_of(response)["message"]
    assert status_of(server.ask(head % (name, name.lower(), b"one"))) == 200


def test_a_host_checked_once_is_checked_when_it_changes(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(GET % b"/plain")
        read_response(sock)
        sock.sendall(b"GET /plain HTTP/1.1\r\nHost: a/b\r\n\r\n")
        assert status_of(read_response(sock)) == 400


def test_fault_34_a_header_of_200_kb_is_431(server: Served) -> None:
    response = server.ask(HEAD + b"X: " + b"a" * 200_000 + b"\r\n\r\n")
    assert status_of(response) == 431
    assert error_of(response)["code"] == "headers_too_large"


def test_fault_34_a_header_that_never_ends_is_431(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(HEAD + b"X: ")
        for _ in range(8):
            sock.sendall(b"a" * 10_000)
            time.sleep(0.005)
        assert status_of(read_response(sock)) == 431


def test_fault_34_5000_headers_are_431(server: Served) -> None:
    response = server.ask(HEAD + b"X: y\r\n" * 5_000 + b"\r\n")
    assert status_of(response) == 431
    assert error_of(response)["code"] == "too_many_headers"


def test_fault_34_a_long_url_is_414(server: Served) -> None:
    assert status_of(server.ask(GET % (b"/" + b"a" * 20_000))) == 414


def test_a_head_within_the_limits_passes_with_a_large_body(server: Served) -> None:
    raw = HEAD + b"X: " + b"a" * 60_000 + b"\r\nContent-Length: 200000\r\n\r\n" + b"b" * 200_000
    assert status_of(server.ask(raw)) == 200


def test_endless_chunk_extensions_are_refused(server: Served) -> None:
    with server.connect() as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;")
        for _ in range(20):
            sock.sendall(b"a" * 10_000)
            time.sleep(0.002)
        assert status_of(read_response(sock)) == 400


# 41: methods and targets


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET //v1/x HTTP/1.1", "//v1/x"),
        (b"GET /a/%2e%2e/b HTTP/1.1", "/a/../b"),
        (b"GET /v1/models/?x=%20 HTTP/1.1", "/v1/models/"),
        (b"GET http://other/v1/x?y HTTP/1.1", "/v1/x"),
        (b"GET http://other HTTP/1.1", "/"),
        (b"GET /a#b?c HTTP/1.1", "/a"),
        (b"GET /%ff%00 HTTP/1.1", "/\ufffd\0"),
        (b"OPTIONS * HTTP/1.1", "*"),
        (b"TRACE /v1/x HTTP/1.1", "/v1/x"),
        (b'GET /"<>\\^`{|} HTTP/1.1', '/"<>\\^`{|}'),
    ],
)
def test_fault_41_raw_targets_reach_the_application_decoded(server: Served, line: bytes, path: str) -> None:
    response = server.ask(line + b"\r\nHost: a\r\n\r\n")
    assert status_of(response) == 404
    assert json.loads(response.partition(b"\r\n\r\n")[2])["path"] == path


def test_fault_41_connect_is_405(server: Served) -> None:
    assert status_of(server.ask(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")) == 405


@pytest.mark.parametrize("size", [2, 100_000])
def test_an_upgrade_is_ignored_and_the_body_is_read(server: Served, size: int) -> None:
    # Java's HttpClient asks for h2c with its first request on a connection.
    raw = (
        HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
        b"Content-Length: %d\r\n\r\n" % size
    )
    with server.connect() as sock:
        sock.sendall(raw + b"a" * size)
        assert read_response(sock).endswith(b"a" * size)
        sock.sendall(POST % (b"/echo", 2, b"ok"))
        assert read_response(sock).endswith(b"ok")


def test_any_number_of_upgrades_may_come_at_once(server: Served) -> None:
    raw = b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    last = b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(raw * 600 + last)
        assert read_until_closed(sock).count(b"HTTP/1.1 200 OK") == 601


def test_a_websocket_handshake_is_an_ordinary_get(server: Served) -> None:
    raw = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert status_of(server.ask(raw)) == 404


# 43: response headers


def test_fault_43_a_header_value_with_crlf_is_not_emitted(server: Served) -> None:
    response = server.ask(GET % b"/split-header")
    assert status_of(response) == 500
    assert b"evil" not in response


@pytest.mark.parametrize("header", [(b"a", b"b\nc"), (b"a", b"\0"), (b"a\r\nb", b"c"), (b"a b", b"c"), (b"", b"c")])
def test_fault_43_bad_headers_cannot_be_encoded(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        encode_headers([header])


# 27, 28: the caller goes away


def test_fault_27_a_disconnect_before_the_first_byte_is_told_at_once() -> None:
    with served() as server:
        with server.connect() as sock:
            sock.sendall(POST % (b"/silent", 2, b"{}"))
            assert eventually(lambda: bool(server.app.scopes))
            time.sleep(0.05)
        left = time.monotonic()
        assert eventually(lambda: bool(server.app.gone))
        assert server.app.gone[0] - left < 1
        assert eventually(lambda: server.app.cancelled == ["/silent"])


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_fault_28_a_disconnect_in_mid_stream_is_told_at_once(how: str, caplog: pytest.LogCaptureFixture) -> None:
    with served() as server:
        sock = server.connect()
        sock.sendall(POST % (b"/endless", 2, b"{}"))
        sock.recv(1000)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-close":
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.close()
        left = time.monotonic()
        assert eventually(lambda: bool(server.app.gone))
        assert server.app.gone[0] - left < 1
        assert eventually(lambda: server.app.cancelled == ["/endless"])
        assert len(server.app.gone) == 1
        sock.close()
    assert "failed" not in caplog.text


def test_no_disconnect_is_told_after_a_complete_response() -> None:
    with served() as server:
        server.ask(POST % (b"/echo", 2, b"{}"))
        time.sleep(0.1)
        assert server.app.gone == []


def test_a_disconnect_is_seen_while_a_pipelined_request_waits() -> None:
    with served() as server:
        with server.connect() as sock:
            sock.sendall(POST % (b"/silent", 2, b"{}") + POST % (b"/echo", 2, b"{}"))
            assert eventually(lambda: bool(server.app.scopes))
            time.sleep(0.05)
        assert eventually(lambda: bool(server.app.gone))
        assert [scope["path"] for scope in server.app.scopes] == ["/silent"]


# 25, 26: slow readers


@pytest.mark.parametrize("path", [b"/flood", b"/tiny-flood"])
def test_fault_25_and_26_a_slow_reader_is_bounded_and_closed(path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from genai_spine.gateway import connections

    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.5)
    with served() as server, server.connect(receive_buffer=4096) as sock:
        sock.sendall(GET % path)
        assert eventually(lambda: is_still(lambda: server.app.written))  # it waits for the reader
        assert server.app.written < 8_000_000
        assert eventually(lambda: bool(server.app.gone))
        assert eventually(lambda: server.app.cancelled == [path.decode()])


def test_a_slow_reader_that_reads_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from genai_spine.gateway import connections

    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.3)
    with served() as server, server.connect(receive_buffer=4096) as sock:
        sock.sendall(GET % b"/flood")
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            assert sock.recv(65536)
            time.sleep(0.01)
        assert server.app.gone == []


# 29, 30: slow senders


def test_fault_29_a_head_that_dribbles_is_closed_at_header_timeout() -> None:
    with served(header_timeout=0.4) as server, server.connect() as sock:
        begun = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nX-Slow: ":
            sock.sendall(bytes([byte]))
            time.sleep(0.005)
        response = read_until_closed(sock)
        assert 0.3 < time.monotonic() - begun < 5
        assert status_of(response) == 408


def test_fault_29_a_connection_that_sends_nothing_is_closed() -> None:
    with served(header_timeout=0.3) as server, server.connect() as sock:
        begun = time.monotonic()
        assert read_until_closed(sock) == b""
        assert time.monotonic() - begun < 5


def test_fault_29_the_head_of_a_later_request_is_timed_too() -> None:
    with served(header_timeout=0.3, idle_timeout=30) as server, server.connect() as sock:
        sock.sendall(GET % b"/plain")
        read_response(sock)
        time.sleep(0.5)  # idle is allowed
        sock.sendall(b"GET /plain HTTP/1.1\r\n")
        assert status_of(read_until_closed(sock)) == 408


@pytest.mark.parametrize("size", [0, 70_000])
def test_fault_29_a_head_that_begins_where_another_request_ends_is_timed_too(size: int) -> None:
    with served(header_timeout=0.3, idle_timeout=30) as server, server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: local")
        time.sleep(0.05)
        sock.sendall(b"host\r\nContent-Length: %d\r\n\r\n%b" % (size, b"a" * size) + b"GET /plain HT")
        response = read_until_closed(sock)
        assert status_of(response) == 200
        assert b"HTTP/1.1 408 " in response


def test_fault_29_a_head_that_began_while_another_request_was_answered_is_timed_too() -> None:
    with served(header_timeout=0.2, idle_timeout=30) as server, server.connect() as sock:
        sock.sendall(GET % b"/unhurried")
        time.sleep(0.05)
        sock.sendall(b"GET /plain HT")
        response = read_until_closed(sock)
        assert status_of(response) == 200
        assert b"HTTP/1.1 408 " in response


def test_an_idle_connection_is_closed_at_idle_timeout() -> None:
    with served(idle_timeout=0.3) as server, server.connect() as sock:
        sock.sendall(GET % b"/plain")
        read_response(sock)
        begun = time.monotonic()
        assert read_until_closed(sock) == b""
        assert 0.2 < time.monotonic() - begun < 5


def test_a_request_under_way_is_not_idle() -> None:
    with served(idle_timeout=0.1, header_timeout=0.1) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        time.sleep(0.5)
        assert server.app.gone == []
        assert sock.recv(65536)


def test_fault_30_a_body_that_stalls_is_408() -> None:
    with served(body_timeout=0.4) as server, server.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 100\r\n\r\nabc")
        begun = time.monotonic()
        response = read_until_closed(sock)
        assert status_of(response) == 408
        assert 0.3 < time.monotonic() - begun < 5


def test_fault_30_a_body_that_dribbles_is_408_long_before_body_timeout() -> None:
    with served(body_timeout=60, header_timeout=0.3) as server, server.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 10000\r\n\r\n")
        begun = time.monotonic()
        sock.settimeout(0.02)
        response = b""
        while not response and time.monotonic() - begun < 3:
            sock.sendall(b"a")
            try:
                response = sock.recv(1000)
            except TimeoutError:
                continue
        assert status_of(response) == 408


# 31: many connections


def test_fault_31_connections_beyond_the_cap_are_503_while_all_are_busy() -> None:
    with served(max_connections=2) as server:
        busy = [server.connect() for _ in range(2)]
        for sock in busy:
            sock.sendall(GET % b"/endless")
            sock.recv(1000)
        response = server.ask(GET % b"/plain")
        assert status_of(response) == 503
        assert b"retry-after: 1" in response
        assert error_of(response)["code"] == "too_many_connections"
        for sock in busy:
            sock.close()
        assert eventually(lambda: status_of(server.ask(GET % b"/plain")) == 200)


def test_fault_31_the_oldest_idle_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from genai_spine.gateway import connections

    monkeypatch.setattr(connections, "MIN_IDLE_S", 0.05)
    monkeypatch.setattr(connections, "EVICTED_AT_ONCE", 1)
    with served(max_connections=2) as server:
        oldest, newer = server.connect(), server.connect()
        for sock in (oldest, newer):
            sock.sendall(GET % b"/plain")
            read_response(sock)
            time.sleep(0.1)
        assert status_of(server.ask(GET % b"/plain")) == 200
        assert oldest.recv(10) == b""
        newer.sendall(GET % b"/plain")
        assert status_of(read_response(newer)) == 200
        oldest.close()
        newer.close()


def test_fault_31_connections_per_address_are_capped() -> None:
    with served(max_connections_per_ip=1) as server, server.connect() as sock:
        sock.sendall(GET % b"/endless")
        sock.recv(1000)
        assert status_of(server.ask(GET % b"/plain")) == 503


def test_fault_31_counts_return_to_nothing() -> None:
    app = PathApp()
    with served(app, max_connections_per_ip=1) as server:
        for _ in range(20):
            assert eventually(lambda: status_of(server.ask(GET % b"/plain")) == 200)
