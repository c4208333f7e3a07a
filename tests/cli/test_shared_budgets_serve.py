"""Gateways and their workers under one budget in a real Redis or PostgreSQL: it is used up, and never overspent."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from spine_process import Place, Running

from genai_spine.testing.fixtures import running_simulator, wait_until

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from redis_server import RedisServer

sys.path.append(str(Path(__file__).parents[1] / "ledger"))
from postgres_server import PostgresServer

CHAT = {"model": "sim/sim-long-100", "max_tokens": 120, "messages": [{"role": "user", "content": "hello"}]}
COST = Decimal("0.00501")
LIMIT = Decimal("0.8")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_three_gateways_never_overspend_one_hard_budget(place: Place, redis: RedisServer) -> None:
    assert_used_up(place, f'[state]\nurl = "{redis.url}"\n', gateways=3)


@pytest.mark.slow
@pytest.mark.servers
def test_workers_of_one_gateway_share_a_budget_through_the_ledger(place: Place) -> None:
    with tempfile.TemporaryDirectory(prefix="spine-postgres-") as folder:  # pytest's own belongs to root alone
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "server")
        try:
            assert_used_up(place, f'[ledger]\nurl = "{server.url()}"\n', gateways=1)
        finally:
            server.stop()


def assert_used_up(place: Place, shared: str, *, gateways: int) -> None:
    with ExitStack() as stack:
        simulator = stack.enter_context(running_simulator())
        place.write(
            f'[server]\nworkers = 2\naccess_log = false\n[costs]\nmode = "hard"\ndaily_limit = {LIMIT}\n{shared}'
            f'[providers.sim]\ntype = "openai_compatible"\nbase_url = "{simulator.urls.openai}"\n'
            "[providers.sim.cost]\ninput_cost_per_1m = 10\noutput_cost_per_1m = 50\n"
        )
        urls = [url_of(stack.enter_context(place.started("serve", "--port", "0"))) for _ in range(gateways)]
        client = stack.enter_context(httpx2.Client(timeout=60))
        pool = stack.enter_context(ThreadPoolExecutor(40))

        def status(number: int) -> int:
            return client.post(f"{urls[number % gateways]}/chat/completions", json=CHAT).status_code

        told = list(pool.map(status, range(300)))

        def budget(url: str) -> dict[str, str]:
            return client.get(f"{url}/budgets").json()["data"][0]

        wait_until(lambda: budget(urls[0])["reserved_usd"] == "0", 15)
        spent = Decimal(budget(urls[0])["spent_usd"])
        # A machine too busy to answer in time is taken for a server that is away: then hard budgets are closed.
        assert set(told) <= {200, 402, 503}
        assert spent <= LIMIT
        assert told.count(200) * COST >= spent
        if 503 not in told:
            assert spent >= LIMIT * Decimal("0.95")
        assert {budget(url)["spent_usd"] for url in urls} == {f"{spent:f}"}


def url_of(running: Running) -> str:
    running.expect("OPENAI_BASE_URL")
    return next(line for line in running.out.splitlines() if "OPENAI_BASE_URL" in line).partition("=")[2].strip()
