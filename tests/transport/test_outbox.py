"""What waits for the end of the loop's turn arrives whole, in order, and before the connection ends."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from genai_spine.providers.outbox import MOST_BYTES, Outbox


class _Peer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    """Closes the connection when it is let go, since Python 3.12."""


async def _connected() -> tuple[_Peer, asyncio.Transport]:
    """A peer, and the transport that writes to it."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[_Peer] = loop.create_future()
    server = await asyncio.start_server(lambda *ends: accepted.set_result(_Peer(*ends)), "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname()[:2])
    peer = await accepted
    server.close()
    return peer, transport


async def test_the_pieces_of_one_turn_arrive_in_order() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    peer, transport = await _connected()
    for number in range(5):
        outbox.put(transport, b"%d" % number)
    assert await asyncio.wait_for(peer.reader.readexactly(5), 5) == b"01234"
    transport.abort()


async def test_what_is_flushed_leaves_before_the_connection_is_closed() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    peer, transport = await _connected()
    outbox.put(transport, b"the last words")
    outbox.flush()
    transport.close()
    assert await asyncio.wait_for(peer.reader.read(), 5) == b"the last words"


async def test_a_writer_that_never_yields_is_told_that_its_reader_is_slow() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    _peer, transport = await _connected()
    piece = b"x" * 1024
    for _ in range(64 * MOST_BYTES // len(piece)):
        outbox.put(transport, piece)
    assert transport.get_write_buffer_size() > 0
    transport.abort()


async def test_a_connection_that_has_gone_takes_nothing_from_the_others() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    _gone_peer, gone = await _connected()
    peer, transport = await _connected()
    outbox.put(gone, b"nobody reads this")
    outbox.put(transport, b"still here")
    gone.abort()
    assert await asyncio.wait_for(peer.reader.readexactly(10), 5) == b"still here"
    transport.abort()
