"""A process of its own that takes of shared limits: `redis_caller.py URL JOB AT` at a moment (monotonic), then
prints what it got as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from genai_spine.engine.limits.redis_state import RedisState
from genai_spine.engine.limits.state import Bucket, Taken

REQUESTS = Bucket(door="provider:acme", kind="requests", limit=20)
TOKENS = Bucket(door="caller:a", kind="tokens", limit=3000)
PLACES = Bucket(door="provider:acme", kind="places", limit=4)


async def take_at_once(state: RedisState) -> list[float]:
    """Forty at once, of the requests and the tokens; when each was given."""

    async def one() -> float | None:
        taken = await state.take((TOKENS, REQUESTS), 100)
        return time.monotonic() if isinstance(taken, Taken) else None

    return [at for at in await asyncio.gather(*(one() for _ in range(40))) if at is not None]


async def hold_places(state: RedisState) -> list[tuple[float, float]]:
    """Thirty calls of 10 ms from ten callers, whenever there is a place; from when to when each had it."""
    spans: list[tuple[float, float]] = []

    async def caller() -> None:
        served = 0
        while served < 3:
            taken = await state.take((PLACES,), 0)
            if isinstance(taken, Taken):
                begun = time.monotonic()
                await asyncio.sleep(0.01)
                spans.append((begun, time.monotonic()))
                state.settle(taken, None)
                served += 1
            else:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(caller() for _ in range(10)))
    return spans


async def main(url: str, job: str, at_s: float) -> None:
    state = RedisState(url, timeout_s=10)
    await state.take((), 0)
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    got = await (take_at_once(state) if job == "rates" else hold_places(state))
    away = state.is_away
    await state.close()
    print(json.dumps({"got": got, "away": away}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
