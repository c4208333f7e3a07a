"""What a network and a peer may do to an exchange (the numbers are those of docs' FAULTS)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from transport_peers import CHUNKED, answering, chunk, exchange, ok, reset, serve, short, within

from genai_spine.model.errors import (
    APIConnectionError,
    BadReply,
    PoolExhausted,
    ProviderTimeout,
    StreamBroken,
)
from genai_spine.providers import dial
from genai_spine.providers.pool import PoolLimits
from genai_spine.providers.transport import HttpRequest, Timeouts
from genai_spine.wire.http import parse_url


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def post(url: str, **fields) -> HttpRequest:
    return HttpRequest(method="POST", url=parse_url(url), body=b"{}", **fields)


# No connection


async def test_fault_01_a_refused_connection_says_so_and_where(transport):
    port = free_port()
    with pytest.raises(APIConnectionError, match=rf"127\.0\.0\.1:{port}.*refused") as caught:
        await transport.send(post(f"http://127.0.0.1:{port}/"))
    assert caught.value.sent is False
    assert caught.value.retryable


async def test_fault_01_a_connection_that_hangs_ends_at_the_connect_timeout(transport):
    """TCP is accepted, TLS is never answered."""
    async with serve(lambda peer: lambda reader, writer: reader.read()) as peer:
        with pytest.raises(ProviderTimeout) as caught:
            await within(transport.send(peer.request(scheme="https", timeouts=short(connect_s=0.2))), 2)
    assert caught.value.code == "connect_timeout"
    assert caught.value.sent is False


async def test_fault_02_a_name_that_does_not_exist_says_so(transport):
    with pytest.raises(APIConnectionError, match=r"localhost\.invalid:80.*resolve") as caught:
        await within(transport.send(post("http://localhost.invalid/")), 8)
    assert caught.value.sent is False
    assert caught.value.fallback


async def test_fault_02_a_name_that_is_not_answered_for_is_asked_for_once(own):
    """The system's lookup takes one of few threads, and no timeout gives it back."""
    asked, answer = [], asyncio.Event()

    async def resolve(host, port):
        asked.append(host)
        await answer.wait()
        return [(socket.AF_INET, ("127.0.0.1", port))]

    transport = own(resolve=resolve)
    async with serve(answering(ok())) as peer:
        for _ in range(2):
            late = [transport.send(peer.request(host="dead.test", timeouts=short(connect_s=0.1))) for _ in range(4)]
            failures = await within(asyncio.gather(*late, return_exceptions=True))
            assert {getattr(failure, "code", None) for failure in failures} == {"connect_timeout"}
        waiting = [asyncio.create_task(transport.send(peer.request(host="dead.test"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        answer.set()
        for task in waiting:
            assert await (await within(task)).read() == b"fine"
        assert asked == ["dead.test"]
        await within(transport.send(peer.request(host="other.test")))
    assert asked == ["dead.test", "other.test"]


async def test_fault_02_a_dead_ipv6_address_falls_to_ipv4(own):
    async def resolve(host, port):
        return [
            (socket.AF_INET6, ("::1", free_port(), 0, 0)),
            (socket.AF_INET, ("127.0.0.1", port)),
        ]

    transport = own(resolve=resolve)
    async with serve(answering(ok())) as peer:
        assert await (await within(transport.send(peer.request(host="dual.test")), 2)).read() == b"fine"


async def test_fault_02_a_silent_address_costs_a_quarter_of_a_second(own):
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    fillers = []
    for _ in range(8):  # fill the backlog, so that the next SYN is not answered
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
        fillers.append(filler)

    async def resolve(host, port):
        return [(socket.AF_INET, silent.getsockname()), (socket.AF_INET, ("127.0.0.1", port))]

    transport = own(resolve=resolve)
    try:
        async with serve(answering(ok())) as peer:
            request = peer.request(host="dual.test", timeouts=short(connect_s=3.0))
            assert await (await within(transport.send(request), 2)).read() == b"fine"
    finally:
        for sock in (silent, *fillers):
            sock.close()


async def test_fault_02_when_two_addresses_connect_at_once_the_other_is_closed(monkeypatch):
    connect, gate = dial._connect, asyncio.Event()

    async def late(address):
        await gate.wait()
        return await connect(address)

    monkeypatch.setattr(dial, "ATTEMPT_DELAY_S", 0.01)
    monkeypatch.setattr(dial, "_connect", late)
    asyncio.get_running_loop().call_later(0.1, gate.set)

    def silent(peer):
        return lambda reader, writer: reader.read()

    async with serve(silent) as one, serve(silent) as two:
        addresses = [(socket.AF_INET, ("127.0.0.1", peer.port)) for peer in (one, two)]
        sock = await dial.connect_first(addresses)
        await asyncio.sleep(0.1)
        assert one.ended.is_set() + two.ended.is_set() == one.connections + two.connections - 1
        sock.close()


# TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def tls_context(authority, *names, expired: bool = False) -> ssl.SSLContext:
    when = datetime.now(UTC) - timedelta(days=1) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*names, not_after=when).configure_cert(context)
    return context


async def test_tls_with_a_known_root_works_and_asks_for_http_1_1(make_transport, authority, ca_file):
    spoken = []

    def make(peer):
        async def handle(reader, writer):
            spoken.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
            await answering(ok())(peer)(reader, writer)

        return handle

    transport = make_transport(ca_file=ca_file)
    async with serve(make, ssl=tls_context(authority, "localhost")) as peer:
        for _ in range(3):
            response = await transport.send(peer.request(scheme="https", host="localhost"))
            assert await response.read() == b"fine"
        assert peer.connections == 1
        assert spoken == ["http/1.1"]


@pytest.mark.parametrize("case", ["wrong_host", "expired", "unknown_root"])
async def test_fault_03_a_certificate_that_does_not_fit_is_refused(make_transport, authority, ca_file, case):
    transport = make_transport() if case == "unknown_root" else make_transport(ca_file=ca_file)
    names = ("other.example",) if case == "wrong_host" else ("localhost",)
    context = tls_context(authority, *names, expired=case == "expired")
    async with serve(answering(ok()), ssl=context) as peer:
        with pytest.raises(APIConnectionError, match=r"localhost:\d+.*certificate refused") as caught:
            await transport.send(peer.request(scheme="https", host="localhost"))
        assert not caught.value.retryable
        assert caught.value.fallback
        assert caught.value.sent is False
        assert peer.heads == []


async def test_fault_03_a_peer_that_speaks_no_tls_is_an_error(transport):
    async with serve(answering(ok(), then="close")) as peer:

        def plain(peer):
            async def handle(reader, writer):
                await reader.read(100)
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            return handle

        peer.handler = plain(peer)
        with pytest.raises(APIConnectionError, match="TLS failed") as caught:
            await transport.send(peer.request(scheme="https"))
        assert caught.value.sent is False


# The answer breaks


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_fault_04_a_fresh_connection_lost_before_the_first_byte_is_not_tried_again(transport, then):
    async with serve(answering(b"", then=then)) as peer:
        with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1:\d+.*before answering") as caught:
            await within(transport.send(peer.request()))
        assert caught.value.sent is True
        assert caught.value.retryable
        assert peer.connections == 1


async def test_fault_05_a_reset_inside_the_body_gives_what_came_and_then_the_error(transport):
    async with serve(answering(CHUNKED + chunk(b"some"), then="reset")) as peer:
        response = await transport.send(peer.request())
        assert await response.receive() == b"some"
        with pytest.raises(APIConnectionError, match="inside the answer") as caught:
            await within(response.receive())
        assert caught.value.sent is True


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + chunk(b"some"), b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"],
    ids=["no_final_chunk", "content_length_too_long"],
)
async def test_fault_06_an_end_before_the_end_is_a_broken_stream(transport, answer):
    async with serve(answering(answer, then="close")) as peer:
        response = await transport.send(peer.request())
        with pytest.raises(StreamBroken, match=r"127\.0\.0\.1:\d+"):
            async with asyncio.timeout(5):
                await response.read()


async def test_fault_05_a_reset_is_no_end_even_where_the_end_is_a_close(own):
    async with serve(answering(b"HTTP/1.1 200 OK\r\n\r\nsome", then="reset")) as peer:
        with pytest.raises(APIConnectionError, match="inside the answer"):
            await within(exchange(own(), peer.request()))


async def test_fault_05_a_peer_that_hangs_up_during_the_upload_ends_it_at_once(own):
    stop = asyncio.Event()

    def make(peer):
        async def handle(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()
            writer.write_eof()  # its own side only: what we write would wait for ever
            await stop.wait()

        return handle

    transport = own()
    async with serve(make) as peer:
        with pytest.raises(APIConnectionError, match="before answering"):
            await within(transport.send(peer.request(body=bytes(20_000_000))), 2)
        await asyncio.sleep(0.05)
        assert next(iter(transport._lanes.values())).is_empty
        stop.set()


async def test_an_end_inside_the_head_is_an_error(transport):
    async with serve(answering(b"HTTP/1.1 200 OK\r\ncontent-le", then="close")) as peer:
        with pytest.raises((BadReply, APIConnectionError)):
            await within(transport.send(peer.request()))


async def test_fault_07_silence_inside_the_body_is_an_idle_timeout(transport):
    async with serve(answering(CHUNKED + chunk(b"some"), then="hang")) as peer:
        response = await transport.send(peer.request(timeouts=short(idle_s=0.2)))
        assert await response.receive() == b"some"
        with pytest.raises(ProviderTimeout) as caught:
            await within(response.receive(), 2)
        assert caught.value.code == "idle_timeout"
        await within(peer.ended.wait(), 1.0)


async def test_fault_08_no_head_is_a_first_byte_timeout(transport):
    async with serve(answering(b"", then="hang")) as peer:
        with pytest.raises(ProviderTimeout) as caught:
            await within(transport.send(peer.request(timeouts=short(first_byte_s=0.2))), 2)
        assert caught.value.code == "first_byte_timeout"
        assert caught.value.sent is True
        await within(peer.ended.wait(), 1.0)


@pytest.mark.parametrize("is_of_call", [False, True])
@pytest.mark.parametrize("answer", [b"", CHUNKED + chunk(b"some")], ids=["before_head", "in_body"])
async def test_the_total_timeout_ends_an_exchange_anywhere(transport, answer, is_of_call):
    timeouts = Timeouts(total_s=0.2, is_of_call=is_of_call)
    async with serve(answering(answer, then="hang")) as peer:
        with pytest.raises(ProviderTimeout) as caught:
            await within(exchange(transport, peer.request(timeouts=timeouts)), 2)
        assert caught.value.code == "total_timeout"
        assert caught.value.fault == ("caller" if is_of_call else "network")
        if peer.connections:  # a busy machine may not have come so far
            await within(peer.ended.wait(), 1.0)


async def test_the_total_timeout_ends_a_stream_that_drips_for_ever(transport):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(CHUNKED)
            while True:
                writer.write(chunk(b"drip"))
                await asyncio.sleep(0.02)

        return handle

    async with serve(make) as peer:
        response = await transport.send(peer.request(timeouts=short(total_s=1.0, idle_s=5.0)))
        with pytest.raises(ProviderTimeout) as caught:
            await within(response.read(), 5)
        assert caught.value.code == "total_timeout"


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"zz\r\nsome\r\n",
        CHUNKED + b"4\r\nsomeXX0\r\n\r\n",
        CHUNKED + b"-4\r\nsome\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nsome\r\n0\r\n\r\n",
    ],
    ids=["no_hex", "no_crlf", "negative", "too_large"],
)
async def test_fault_09_a_bad_chunk_is_a_bad_reply_and_ends_the_connection(transport, answer):
    async with serve(answering(answer, ok())) as peer:
        with pytest.raises(BadReply, match=r"127\.0\.0\.1:\d+") as caught:
            await within(exchange(transport, peer.request()), 2)
        assert not isinstance(caught.value, StreamBroken)
        await exchange(transport, peer.request())
        assert peer.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nsome",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nsome",
        b"HTTP/1.1 200 OK\r\ncontent-length: four\r\n\r\nsome",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00 this is no HTTP\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz",
    ],
    ids=[
        "two_lengths",
        "length_and_chunked",
        "negative",
        "no_number",
        "no_colon",
        "binary",
        "ssh",
        "upgrade",
    ],
)
async def test_fault_09_what_is_not_http_is_a_bad_reply(own, answer):
    """Ours is strict; aiohttp accepts some of these, and where it refuses it says BadReply too."""
    transport = own()
    async with serve(answering(answer, ok())) as peer:
        with pytest.raises(BadReply):
            await within(exchange(transport, peer.request()), 2)
        await exchange(transport, peer.request())
        assert peer.connections == 2


async def test_fault_09_bytes_after_the_end_are_never_the_next_answer(transport):
    """Content-Length is too short: ours calls the answer bad, aiohttp drops the rest."""
    async with serve(answering(ok(b"some") + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", ok(b"next"))) as peer:
        try:
            await exchange(transport, peer.request())
        except BadReply:
            pass
        assert await exchange(transport, peer.request()) == b"next"
        assert peer.connections == 2


async def test_fault_09_a_short_content_length_is_a_bad_reply(own):
    async with serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsome more")) as peer:
        with pytest.raises(BadReply, match="after the end"):
            await exchange(own(), peer.request())


async def test_bytes_on_an_idle_connection_end_it(transport):
    async with serve(answering(ok(), ok(b"asked"))) as peer:
        served = peer.handler

        async def rude(reader, writer):
            task = asyncio.ensure_future(served(reader, writer))
            await asyncio.sleep(0.1)
            writer.write(ok(b"unasked"))
            await task

        peer.handler = rude
        await exchange(transport, peer.request())
        await asyncio.sleep(0.2)
        assert await exchange(transport, peer.request()) == b"asked"
        assert peer.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"", b"x-long: " + b"a" * 70_000),
        ok(b"body", *(b"x-%d: " % n + b"a" * 1000 for n in range(150))),
        ok(b"body", *(b"x-%d: a" % n for n in range(250))),
    ],
    ids=["one_of_70_kb", "150_kb", "250_headers"],
)
async def test_fault_34_a_head_over_the_caps_is_a_bad_reply(transport, answer):
    async with serve(answering(answer)) as peer:
        with pytest.raises(BadReply):
            await within(transport.send(peer.request()))


@pytest.mark.parametrize(
    "endless",
    [b"x-more: and more\r\n", b"a" * 1000, b"\r\n\r\nHTTP/1.1 103 Early Hints\r\n"],
    ids=["headers", "one_header", "interim"],
)
async def test_fault_34_an_endless_head_is_cut(transport, endless):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nx-start: 1")
            if endless[:1] == b"x":
                writer.write(b"\r\n")
            while True:
                writer.write(endless * 20)
                await writer.drain()
                await asyncio.sleep(0.0005)

        return handle

    async with serve(make) as peer:
        with pytest.raises((BadReply, ProviderTimeout)):
            await within(transport.send(peer.request(timeouts=short(first_byte_s=1.0))), 6)
        await within(peer.ended.wait(), 1.0)


@pytest.mark.parametrize("endless", [b"x-trailer: and more\r\n", b"a" * 1000], ids=["trailers", "one"])
async def test_endless_trailers_are_cut(own, endless):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(CHUNKED + b"0\r\nx: ")
            while True:
                writer.write(endless)
                await writer.drain()

        return handle

    async with serve(make) as peer:
        with pytest.raises(BadReply, match="bytes of headers"):
            await within(exchange(own(), peer.request()), 5)


# The pool


async def test_fault_10_a_stale_connection_is_replaced_once(transport):
    """The peer closes on the second request, as one does whose keep-alive has just run out."""

    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(ok(b"%d" % peer.connections))
            await reader.readexactly(1)
            reset(writer)

        return handle

    async with serve(make) as peer:
        assert await exchange(transport, peer.request()) == b"1"
        assert await (await within(transport.send(peer.request(body=b"x" * 500_000)))).read() == b"2"
        assert peer.connections == 2


async def test_fault_10_the_second_try_is_the_last(transport):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            if peer.connections == 1:
                writer.write(ok())
                await reader.readexactly(1)

        return handle

    async with serve(make) as peer:
        await exchange(transport, peer.request())
        with pytest.raises(APIConnectionError, match="before answering"):
            await within(transport.send(peer.request()))
        assert peer.connections == 2


async def test_fault_10_a_reused_connection_that_gave_a_byte_is_not_stale(transport):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(ok())
            await peer.read_request(reader)
            writer.write(b"HTTP/1.1 200")
            await writer.drain()
            await asyncio.sleep(0.05)

        return handle

    async with serve(make) as peer:
        await exchange(transport, peer.request())
        if hasattr(transport, "_lanes"):
            with pytest.raises(BadReply, match="inside the answer's head"):
                await within(transport.send(peer.request()))
            assert peer.connections == 1


async def test_fault_10_a_connection_closed_while_idle_is_dropped_at_once(own):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(ok())
            await asyncio.sleep(0.05)

        return handle

    transport = own()
    async with serve(make) as peer:
        await exchange(transport, peer.request())
        await asyncio.sleep(0.15)
        assert next(iter(transport._lanes.values())).is_empty
        await exchange(transport, peer.request())
        assert peer.connections == 2


async def test_fault_11_a_full_pool_is_waited_for_and_then_refused(make_transport):
    transport = make_transport(limits=PoolLimits(max_connections=1))
    async with serve(answering(CHUNKED + chunk(b"a"), then="hang")) as peer:
        held = await transport.send(peer.request())
        with pytest.raises(PoolExhausted) as caught:
            await within(transport.send(peer.request(timeouts=short(pool_s=0.2))), 2)
        assert caught.value.sent is False
        assert peer.connections == 1
        waiting = asyncio.ensure_future(transport.send(peer.request()))
        await asyncio.sleep(0.05)
        await held.aclose()
        response = await within(waiting)
        assert await response.receive() == b"a"
        await response.aclose()


async def test_fault_11_no_more_may_wait_than_the_bound_says(make_transport):
    transport = make_transport(limits=PoolLimits(max_connections=1, max_waiting=1))
    async with serve(answering(CHUNKED + chunk(b"a"), then="hang")) as peer:
        held = await transport.send(peer.request())
        waiting = asyncio.ensure_future(transport.send(peer.request()))
        await asyncio.sleep(0.05)
        with pytest.raises(PoolExhausted):
            await within(transport.send(peer.request()), 0.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await held.aclose()
        await (await within(transport.send(peer.request()))).aclose()


async def test_fault_11_waiters_are_served_in_turn_and_none_is_lost(own):
    """Some of those who wait are cancelled at the moment when they are served."""
    transport = own(limits=PoolLimits(max_connections=2))
    async with serve(answering(ok())) as peer:

        async def one() -> bytes:
            return await exchange(transport, peer.request())

        for _ in range(20):
            tasks = [asyncio.ensure_future(one()) for _ in range(12)]
            await asyncio.sleep(0.003)
            for task in tasks[::3]:
                task.cancel()
            results = await within(asyncio.gather(*tasks, return_exceptions=True))
            assert all(r == b"fine" or isinstance(r, asyncio.CancelledError) for r in results)
        (lane,) = transport._lanes.values()
        assert len(lane.connections) <= 2
        assert lane._opening == 0
        assert not lane._waiting


async def test_fault_11_a_connection_handed_to_a_cancelled_caller_comes_back(own):
    transport = own(limits=PoolLimits(max_connections=1))
    async with serve(answering(ok())) as peer:
        await exchange(transport, peer.request())
        (lane,) = transport._lanes.values()
        connection = lane.take()
        waiting = asyncio.ensure_future(lane.acquire(1.0, 1.0))
        await asyncio.sleep(0)
        lane.release(connection)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert lane.take() is connection
        lane.release(connection)


async def test_failed_connections_leave_no_slot_taken(own):
    transport = own(limits=PoolLimits(max_connections=1))
    port = free_port()
    for _ in range(3):
        with pytest.raises(APIConnectionError, match="refused"):
            await transport.send(post(f"http://127.0.0.1:{port}/", timeouts=short(pool_s=0.1)))
    assert next(iter(transport._lanes.values())).is_empty
