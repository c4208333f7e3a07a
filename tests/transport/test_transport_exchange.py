"""What an exchange is when nothing goes wrong."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from transport_peers import CHUNKED, answering, chunk, exchange, ok, serve, short, within

from genai_spine.model.errors import APIConnectionError, BadReply, InvalidRequest, ProviderTimeout
from genai_spine.providers.pool import PoolLimits
from genai_spine.providers.transport import HttpRequest
from genai_spine.wire.http import parse_url


async def test_a_post_arrives_as_it_was_given_and_its_answer_comes_back(transport):
    async with serve(answering(ok(b'{"a":1}', b"X-Request-Id: 7 ", b"Vary: a", b"vary: b"))) as peer:
        headers = (("authorization", "Bearer x"), (b"x-raw", b"\xc3\xa9"))
        response = await transport.send(peer.request("/v1/chat?x=1", headers=headers, body=b"hello"))
        assert response.status == 200
        assert response.header("X-Request-ID") == "7"
        assert response.header("vary") == "a, b"
        assert response.header("nothing") is None
        assert await response.read() == b'{"a":1}'
        head = peer.heads[0].lower()
        assert head.startswith(b"post /v1/chat?x=1 http/1.1\r\n")
        assert b"\r\nhost: 127.0.0.1:%d\r\n" % peer.port in head
        assert b"\r\nauthorization: bearer x\r\n" in head
        assert b"\r\nx-raw: \xc3\xa9\r\n" in head
        assert b"\r\naccept-encoding: identity\r\n" in head
        assert b"user-agent" not in head
        assert peer.bodies == [b"hello"]


async def test_a_get_has_no_body_and_says_no_length(transport):
    async with serve(answering(ok())) as peer:
        response = await transport.send(peer.request(method="GET", body=b""))
        assert await response.read() == b"fine"
        assert b"content-length" not in peer.heads[0].lower()


async def test_an_empty_post_says_that_it_is_empty(transport):
    async with serve(answering(ok())) as peer:
        await (await transport.send(peer.request(body=b""))).read()
        assert b"content-length: 0\r\n" in peer.heads[0].lower()


async def test_chunks_come_as_they_are_sent_and_are_not_held_back(transport):
    go = asyncio.Event()

    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(CHUNKED + chunk(b"one"))
            await go.wait()
            writer.write(chunk(b"two") + b"0\r\n\r\n")
            await reader.read()

        return handle

    async with serve(make) as peer:
        response = await transport.send(peer.request())
        chunks = response.chunks()
        assert await within(anext(chunks)) == b"one"
        go.set()
        assert await within(anext(chunks)) == b"two"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_connections_are_kept_and_reused(transport):
    async with serve(answering(ok(), CHUNKED + chunk(b"x" * 100) + b"0\r\ntrailer: x\r\n\r\n")) as peer:
        for _ in range(20):
            await exchange(transport, peer.request())
        assert peer.connections == 1
        assert len(peer.heads) == 20


async def test_a_response_is_whole_before_it_is_read_and_frees_its_connection(own):
    transport = own(limits=PoolLimits(max_connections=1))
    async with serve(answering(ok(b"first"), ok(b"second"))) as peer:
        first = await transport.send(peer.request())
        second = await within(transport.send(peer.request()))
        assert await second.read() == b"second"
        assert await first.read() == b"first"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine",
        b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nfine",
    ],
    ids=["connection_close", "http_1_0"],
)
async def test_a_connection_that_the_peer_will_close_is_not_reused(transport, answer):
    async with serve(answering(answer)) as peer:
        for _ in range(3):
            assert await exchange(transport, peer.request()) == b"fine"
        assert peer.connections == 3


async def test_a_body_without_length_ends_with_the_connection(transport):
    async with serve(answering(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", then="close")) as peer:
        response = await transport.send(peer.request())
        assert await response.read() == b"until the end"
        await exchange(transport, peer.request())
        assert peer.connections == 2


async def test_interim_answers_are_skipped(transport):
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok()
    async with serve(answering(answer)) as peer:
        response = await transport.send(peer.request())
        assert (response.status, await response.read()) == (200, b"fine")
        assert response.header("link") is None


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(transport, method, answer):
    async with serve(answering(answer)) as peer:
        response = await transport.send(peer.request(method=method, body=b""))
        assert await within(response.read(), 1.0) == b""


async def test_fault_12_redirects_are_given_back_and_not_followed(transport):
    async with serve(answering(ok(b"", b"location: http://169.254.169.254/", status=b"307 Moved"))) as peer:
        response = await transport.send(peer.request())
        assert response.status == 307
        assert len(peer.heads) == 1
        await response.aclose()


async def test_two_hundred_exchanges_at_once(transport):
    def make(peer):
        async def handle(reader, writer):
            while True:
                await peer.read_request(reader)
                await asyncio.sleep(0.01)
                writer.write(ok(peer.bodies[-1][:0] + b"same"))

        return handle

    async with serve(make, backlog=512) as peer:

        async def one() -> bytes:
            return await exchange(transport, peer.request())

        assert await within(asyncio.gather(*(one() for _ in range(200))), 20) == [b"same"] * 200
        assert peer.connections <= 200


async def test_a_large_body_is_uploaded_whole(transport):
    body = bytes(range(256)) * 80_000  # 20 MB

    def make(peer):
        async def handle(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            size = 0
            while size < len(body):
                data = await reader.read(2**20)
                assert data == body[size : size + len(data)]
                size += len(data)
            writer.write(ok(b"%d" % size))
            await reader.read()

        return handle

    async with serve(make) as peer:
        response = await within(transport.send(peer.request(body=body)), 30)
        assert await response.read() == b"%d" % len(body)


async def test_a_large_upload_does_not_pile_up_in_memory(own):
    """The peer takes nothing: what the transport buffers stays near one write, not 20 MB."""
    stop = asyncio.Event()

    def make(peer):
        async def handle(reader, writer):
            writer.transport.pause_reading()
            await stop.wait()

        return handle

    transport = own()
    async with serve(make) as peer:
        task = asyncio.ensure_future(transport.send(peer.request(body=bytes(20_000_000), timeouts=short(idle_s=0.5))))
        await asyncio.sleep(0.3)
        (connection,) = next(iter(transport._lanes.values())).connections
        assert connection.transport.get_write_buffer_size() < 512 * 1024
        with pytest.raises(ProviderTimeout, match="took no bytes") as caught:
            await within(task)
        assert caught.value.code == "idle_timeout"
        stop.set()


async def test_an_answer_that_comes_before_the_upload_ends_is_taken(transport):
    def make(peer):
        async def handle(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ok(b"too large", status=b"413 Content Too Large"))
            await writer.drain()
            while await reader.read(2**18):  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # a lingering close: the rest is read slowly

        return handle

    async with serve(make) as peer:
        response = await within(transport.send(peer.request(body=bytes(20_000_000))), 5)
        assert response.status == 413
        assert await response.read() == b"too large"
        await within(peer.ended.wait(), 5)  # not reused: the request was never whole


async def test_a_reader_who_stops_holds_up_the_peer(transport):
    sent = 0

    def make(peer):
        async def handle(reader, writer):
            nonlocal sent
            await peer.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
            for _ in range(500):
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000

        return handle

    async with serve(make) as peer:
        response = await transport.send(peer.request())
        await asyncio.sleep(0.5)
        held = sent
        assert held < 20_000_000  # the rest is kernel buffers; ours is asserted below
        await asyncio.sleep(0.2)
        assert sent == held
        if hasattr(transport, "_lanes"):
            (connection,) = next(iter(transport._lanes.values())).connections
            assert connection.exchange.size < 768 * 1024
        assert len(await within(response.read(), 30)) == 50_000_000


async def test_a_reader_may_be_slow_without_an_idle_timeout(transport):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(CHUNKED)
            await asyncio.sleep(0.05)
            writer.write(chunk(b"a"))
            await asyncio.sleep(0.5)
            writer.write(chunk(b"b") + b"0\r\n\r\n")
            await reader.read()

        return handle

    async with serve(make) as peer:
        response = await transport.send(peer.request(timeouts=short(idle_s=0.2)))
        assert await response.receive() == b"a"
        await asyncio.sleep(0.4)  # the peer is silent, but nobody waits for it
        assert await within(response.receive()) == b"b"


async def test_a_closed_response_closes_its_connection_at_once(transport):
    async with serve(answering(CHUNKED + chunk(b"a"), then="hang")) as peer:
        response = await transport.send(peer.request())
        assert await response.receive() == b"a"
        await response.aclose()
        await within(peer.ended.wait(), 1.0)
        await response.aclose()


async def test_a_response_closed_after_its_end_keeps_its_connection(transport):
    async with serve(answering(ok())) as peer:
        for _ in range(3):
            response = await transport.send(peer.request())
            await response.read()
            await response.aclose()
        assert peer.connections == 1


async def test_a_dropped_response_closes_its_connection(transport):
    async with serve(answering(CHUNKED + chunk(b"a"), then="hang")) as peer:
        response = await transport.send(peer.request())
        del response
        gc.collect()
        await within(peer.ended.wait(), 1.0)


@pytest.mark.parametrize("head_first", [False, True])
async def test_fault_27_a_cancelled_caller_closes_the_connection_within_a_second(transport, head_first):
    answer = CHUNKED + chunk(b"a") if head_first else b""
    async with serve(answering(answer, then="hang")) as peer:

        async def call() -> None:
            response = await transport.send(peer.request())
            async for _ in response.chunks():
                begun.set()

        begun = asyncio.Event()
        task = asyncio.ensure_future(call())
        await within(begun.wait() if head_first else peer.asked.wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await within(peer.ended.wait(), 1.0)


async def test_close_ends_what_is_under_way_and_leaves_no_connection(own):
    transport = own()
    async with serve(answering(ok(), CHUNKED + chunk(b"a"))) as peer:
        await exchange(transport, peer.request())
        response = await transport.send(peer.request())
        assert await response.receive() == b"a"
        waiting = asyncio.ensure_future(response.receive())
        await asyncio.sleep(0)
        await transport.close()
        with pytest.raises(APIConnectionError, match="transport is closed"):
            await waiting
        await within(peer.ended.wait(), 1.0)
        with pytest.raises(APIConnectionError, match="transport is closed"):
            await transport.send(peer.request())


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ((("x-a", "1\r\nx-b: 2"),), "/"),
        ((("x-a", "1\n2"),), "/"),
        ((("x-a", "1\0"),), "/"),
        ((("x-a\r\nx-b", "1"),), "/"),
        (((b"x a", b"1"),), "/"),
        ((("", "1"),), "/"),
        ((("Transfer-Encoding", "chunked"),), "/"),
        ((("Content-Length", "3"),), "/"),
        ((), "/a b"),
        ((), "/a\r\nx-b: 2"),
        ((), "a"),
        ((), "/é"),
    ],
)
async def test_fault_43_nothing_of_the_callers_can_break_the_framing(transport, headers, target):
    async with serve(answering(ok())) as peer:
        url = parse_url(f"http://127.0.0.1:{peer.port}/")
        url = type(url)(scheme=url.scheme, host=url.host, port=url.port, target=target)
        with pytest.raises(InvalidRequest) as caught:
            await transport.send(HttpRequest(method="POST", url=url, headers=headers))
        assert isinstance(caught.value, ValueError)
        assert peer.connections == 0


async def test_fault_50_no_message_or_repr_holds_a_secret(transport):
    secret = "sk-canary-31415"
    async with serve(answering(b"HTTP/1.1 OK\r\n\r\n" + secret.encode())) as peer:
        request = peer.request(f"/v1?key={secret}", headers=(("authorization", secret),), body=secret.encode())
        assert secret not in repr(request)
        with pytest.raises(BadReply) as caught:
            await transport.send(request)
        assert secret not in repr(caught.value)
        with pytest.raises(InvalidRequest) as refused:
            await transport.send(peer.request(headers=(("authorization", secret + "\n"),)))
        assert secret not in repr(refused.value)


async def test_packed_answers_are_asked_for_with_a_header_and_come_unpacked(transport):
    import gzip

    body = json.dumps({"text": "ä" * 1000}).encode()
    async with serve(answering(ok(gzip.compress(body), b"content-encoding: gzip"))) as peer:
        headers = (("accept-encoding", "gzip, deflate, br, zstd"),)
        response = await transport.send(peer.request(headers=headers))
        assert await response.read() == body
        assert b"accept-encoding: gzip, deflate, br, zstd\r\n" in peer.heads[0].lower()
        await exchange(transport, peer.request())
        assert peer.connections == 1


async def test_a_read_is_bounded(transport):
    async with serve(answering(ok(bytes(3_000_000)))) as peer:
        response = await transport.send(peer.request())
        with pytest.raises(BadReply, match="longer than 1000000 bytes"):
            await response.read(max_bytes=1_000_000)


async def test_an_idle_connection_is_closed_when_it_expires(own):
    transport = own(limits=PoolLimits(idle_expiry_s=0.1))
    async with serve(answering(ok())) as peer:
        await exchange(transport, peer.request())
        await within(peer.ended.wait(), 1.0)
        assert not next(iter(transport._lanes.values())).connections


async def test_only_so_many_idle_connections_are_kept(own):
    transport = own(limits=PoolLimits(max_idle=2))

    def make(peer):
        async def handle(reader, writer):
            while True:
                await peer.read_request(reader)
                await asyncio.sleep(0.05)
                writer.write(ok())

        return handle

    async with serve(make) as peer:

        async def one() -> None:
            await exchange(transport, peer.request())

        await asyncio.gather(*(one() for _ in range(5)))
        await asyncio.sleep(0.05)
        assert len(next(iter(transport._lanes.values())).connections) == 2


async def test_the_last_used_connection_is_used_first(own):
    transport = own()

    def make(peer):
        async def handle(reader, writer):
            name = b"%d" % peer.connections
            while True:
                await peer.read_request(reader)
                await asyncio.sleep(0.05 if len(peer.heads) <= 2 else 0)
                writer.write(ok(name))

        return handle

    async with serve(make) as peer:

        async def one() -> bytes:
            return await exchange(transport, peer.request())

        await asyncio.gather(one(), one())
        assert len({await one() for _ in range(5)}) == 1
