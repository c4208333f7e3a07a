"""Three gateways that share their limits in a real Redis, and lose it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from spine_process import Place, Running

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from redis_server import RedisServer

LIMIT = 12
CHAT = {"model": "sim/simulated", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow  # that an answer of the server takes 50 ms must not happen here
def test_three_gateways_keep_one_limit_and_none_fails_without_the_server(place: Place, redis: RedisServer) -> None:
    place.write(
        f'[server]\napi_keys = ["a", "b", "c", "d"]\n[limits]\nrequests_per_min = {LIMIT}\n'
        f'[state]\nurl = "{redis.url}"\n[providers.sim]\ntype = "simulated"\n'
    )
    with ExitStack() as stack:
        gateways = [stack.enter_context(place.started("serve", "--port", "0")) for _ in range(3)]
        urls = [url_of(gateway) for gateway in gateways]
        client = stack.enter_context(httpx2.Client(timeout=30))
        pool = stack.enter_context(ThreadPoolExecutor(12))

        def status(number: int, key: str) -> int:
            answer = client.post(
                f"{urls[number % 3]}/chat/completions", json=CHAT, headers={"authorization": f"Bearer {key}"}
            )
            assert answer.status_code != 429 or answer.headers["retry-after"]
            return answer.status_code

        def said(text: str) -> int:
            return sum(gateway.err.count(text) for gateway in gateways)

        # A machine too busy to answer in 50 ms is taken for a server that is away: then it is tried with another key.
        for key in "abc":
            lost, begun_s = said("is away"), time.monotonic()
            told = list(pool.map(status, range(60), [key] * 60))
            flowed = int((time.monotonic() - begun_s) * LIMIT / 60)
            assert set(told) == {200, 429}
            if lost == said("is away") == said("answers again"):
                break
            time.sleep(2)
        assert LIMIT <= told.count(200) <= LIMIT + flowed

        redis.kill()
        told = list(pool.map(status, range(60), ["d"] * 60))
        assert set(told) <= {200, 429} and 200 in told
        for gateway in gateways:
            assert "Traceback" not in gateway.err


def url_of(running: Running) -> str:
    running.expect("OPENAI_BASE_URL")
    return next(line for line in running.out.splitlines() if "OPENAI_BASE_URL" in line).partition("=")[2].strip()
