"""Many exchanges with a peer that does something else each time: nothing may be left behind."""

from __future__ import annotations

import asyncio
import random

import pytest
from transport_peers import CHUNKED, chunk, exchange, ok, reset, serve, short

from genai_spine.model.errors import ProviderError
from genai_spine.providers.pool import PoolLimits

WAYS = (
    "ok",
    "ok",
    "ok",
    "stream",
    "close",
    "reset",
    "cut",
    "hang",
    "garbage",
    "surplus",
    "late_close",
    "drip",
)


def unreliable(dice: random.Random):
    def make(peer):
        async def handle(reader, writer):
            while True:
                head = await peer.read_request(reader)
                number = head.split(b" ")[1].rpartition(b"/")[2]
                way = dice.choice(WAYS)
                if way == "stream":
                    writer.write(CHUNKED)
                    for digit in number:
                        writer.write(chunk(bytes((digit,))))
                        await asyncio.sleep(0)
                    writer.write(b"0\r\n\r\n")
                elif way == "close":
                    return
                elif way == "reset":
                    reset(writer)
                    return
                elif way == "cut":
                    writer.write(CHUNKED + chunk(b"c"))
                    return
                elif way == "hang":
                    await reader.read()
                    return
                elif way == "garbage":
                    writer.write(b"\0\1\2 garbage\r\n\r\n")
                elif way == "surplus":
                    writer.write(ok(number) + ok(b"surplus"))
                elif way == "late_close":
                    writer.write(ok(number))
                    await asyncio.sleep(dice.random() * 0.01)
                    return
                elif way == "drip":
                    for byte in ok(number):
                        writer.write(bytes((byte,)))
                        await asyncio.sleep(0)
                else:
                    writer.write(ok(number))

        return handle

    return make


@pytest.mark.parametrize("seed", range(3))
async def test_no_answer_goes_astray_and_no_slot_is_lost(own, seed):
    dice = random.Random(seed)
    transport = own(limits=PoolLimits(max_connections=10, max_idle=5))
    outcomes = {"right": 0, "failed": 0, "cancelled": 0}

    async def one(number: int) -> None:
        request = peer.request(f"/{number}", timeouts=short(first_byte_s=0.1, idle_s=0.1, pool_s=5.0))
        task = asyncio.ensure_future(exchange(transport, request))
        if dice.random() < 0.2:
            asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
        try:
            assert await task == b"%d" % number
            outcomes["right"] += 1
        except ProviderError:
            outcomes["failed"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1

    async with serve(unreliable(dice), backlog=100) as peer:
        async with asyncio.timeout(30):
            await asyncio.gather(*(one(number) for number in range(400)))
        (lane,) = transport._lanes.values()
        await asyncio.sleep(0.05)
        assert lane._opening == 0
        assert not lane._waiting
        assert len(lane.connections) == len(lane._idle) <= 5
        assert all(connection.exchange is None for connection in lane.connections)
        await transport.close()
        assert not lane.connections
    assert min(outcomes.values()) > 20, outcomes
    assert len(asyncio.all_tasks()) == 1
