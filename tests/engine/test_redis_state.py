"""Limits that several processes share, with a real server: exact together, and never in the way when it is gone."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis_caller
import trustme
from redis_server import RedisServer

from genai_spine.engine.limits.limiter import Limiter
from genai_spine.engine.limits.redis_state import PREFIX, RedisState
from genai_spine.engine.limits.server_line import Command, ServerLine
from genai_spine.engine.limits.state import Bucket, LocalState, Refusal, Taken
from genai_spine.model.errors import ConfigError, LimitReached
from genai_spine.policy.limits import MINUTE_US, Rate, settle_all
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import eventually

REQUESTS = Bucket(door="provider:acme", kind="requests", limit=20)
FEW = Bucket(door="caller:a", kind="requests", limit=6)
"""Of so few that none flows back while a test runs: one in 10 seconds."""
TOKENS = Bucket(door="provider:acme", kind="tokens", limit=600)
PLACES = Bucket(door="provider:acme", kind="places", limit=2)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.client().flushall()
    return running


@pytest.fixture
async def states(server: RedisServer) -> AsyncIterator[Callable[[], RedisState]]:
    """As many as are asked for: each is what one process has."""
    made: list[RedisState] = []

    def make() -> RedisState:
        made.append(RedisState(server.url, timeout_s=10))
        return made[-1]

    yield make
    for state in made:
        await state.close()


async def took(state: RedisState | LocalState, *buckets: Bucket, tokens: int = 0) -> bool:
    return isinstance(await state.take(buckets, tokens), Taken)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- exact, together


def processes(server: RedisServer, job: str) -> list[Any]:
    """What three processes got that begin at the same moment."""
    program = Path(redis_caller.__file__)
    at_s = str(time.monotonic() + 1.5)
    started = [
        subprocess.Popen([sys.executable, str(program), server.url, job, at_s], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [json.loads(process.communicate()[0]) for process in started]
    assert not any(each["away"] for each in told)
    return [each["got"] for each in told]


def test_three_processes_get_together_exactly_what_the_limit_allows(server: RedisServer) -> None:
    given = sorted(at for got in processes(server, "rates") for at in got)
    flowed = int((given[-1] - given[0]) * REQUESTS.limit / 60)
    assert len(given) == REQUESTS.limit + flowed


def test_three_processes_hold_together_no_more_places_than_there_are(server: RedisServer) -> None:
    spans = [tuple(span) for got in processes(server, "places") for span in got]
    assert len(spans) == 90
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    running, most = 0, 0
    for _, change in changes:
        running += change
        most = max(most, running)
    assert most == redis_caller.PLACES.limit
    assert server.client().zcard(f"{PREFIX}:provider:acme:places") == 0


async def test_what_one_bucket_refuses_is_taken_of_none(states: Callable[[], RedisState]) -> None:
    state = states()
    assert await took(state, PLACES) and await took(state, PLACES)
    for _ in range(5):
        refused = await state.take((REQUESTS, TOKENS, PLACES), 100)
        assert isinstance(refused, Refusal)
        assert (refused.bucket, refused.wait_us, refused.longest_us) == (PLACES, None, None)
    assert await took(state, TOKENS, tokens=600)
    refused = await state.take((TOKENS, REQUESTS), 300)
    assert isinstance(refused, Refusal)
    assert refused.bucket == TOKENS and refused.wait_us is not None
    assert 29 * 10**6 < refused.wait_us <= 30 * 10**6


async def test_the_server_counts_as_one_process_does(server: RedisServer, states: Callable[[], RedisState]) -> None:
    state, alone, chance = states(), Rate(TOKENS.limit, 0), random.Random(4)
    begun_ns = time.monotonic_ns()
    taken: list[tuple[Taken, int]] = []
    client = server.client()
    for _ in range(300):
        now_us = (time.monotonic_ns() - begun_ns) // 1000
        if taken and chance.random() < 0.5:
            settled, end = taken.pop(chance.randrange(len(taken)))
            used = chance.randrange(150)
            state.settle(settled, used)
            settle_all([alone], [end], settled.tokens, used, now_us)
        else:
            estimate = chance.randrange(1, 700)
            wait_us = alone.wait_us(estimate, now_us)
            got = await state.take((TOKENS,), estimate)
            assert isinstance(got, Taken) == (wait_us == 0) or 0 < wait_us < 50_000
            if isinstance(got, Taken):
                taken.append((got, alone.take(estimate, now_us)))
        await state.take((), 0)  # what was settled has arrived
        used_there = int(client.hget(f"{PREFIX}:provider:acme:tokens", "used") or 0)
        now_us = (time.monotonic_ns() - begun_ns) // 1000
        assert abs(used_there - alone.used(now_us)) <= TOKENS.limit * 100_000 + now_us * TOKENS.limit


async def test_a_call_that_is_cancelled_while_it_asks_has_taken_nothing(
    server: RedisServer, states: Callable[[], RedisState]
) -> None:
    state = states()
    await state.take((), 0)
    for spins in range(40):
        task = asyncio.ensure_future(state.take((REQUESTS, TOKENS, PLACES), 300))
        for _ in range(spins // 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and isinstance(taken := task.result(), Taken):
            state.settle(taken, 0)
            break
    for _ in range(2):  # what came too late is given back by then
        await state.take((), 0)
    assert server.client().zcard(f"{PREFIX}:provider:acme:places") == 0
    assert await took(state, TOKENS, tokens=590)


async def test_the_places_of_a_process_that_died_are_free_when_its_lease_is_over(
    server: RedisServer, states: Callable[[], RedisState]
) -> None:
    dead, living = states(), states()
    assert await took(dead, PLACES) and await took(dead, PLACES)
    assert not await took(living, PLACES)
    key = f"{PREFIX}:provider:acme:places"
    client = server.client()
    for call, lease_us in client.zscan(key)[1]:
        client.zadd(key, {call: lease_us - 16_000_000})
    assert await took(living, PLACES)


async def test_the_place_of_a_call_under_way_is_kept_for_it_and_that_of_one_that_is_over_is_not(
    server: RedisServer, states: Callable[[], RedisState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai_spine.engine.limits.redis_state.BEAT_S", 0.01)
    state, client, key = states(), server.client(), f"{PREFIX}:provider:acme:places"
    over, under_way = await state.take((PLACES,), 0), await state.take((PLACES,), 0)
    assert isinstance(over, Taken) and isinstance(under_way, Taken)
    state.settle(over, None)
    client.flushall()
    await until(lambda: client.zcard(key) == 1)
    assert client.zrange(key, 0, -1) == [under_way.id]
    state.settle(under_way, None)
    await state.take((), 0)
    await asyncio.sleep(0.05)
    assert client.zcard(key) == 0


async def test_who_waits_in_one_process_gets_the_place_that_another_frees(states: Callable[[], RedisState]) -> None:
    mine, theirs = states(), states()
    acme = {"type": "openai_compatible", "base_url": "http://127.0.0.1:9", "max_concurrency": 2}
    settings = settings_of({"providers": {"acme": acme}, "limits": {"max_wait": 30}})
    limiter, choice = Limiter(settings, mine), Choice(provider="acme", model="x")
    taken = [await theirs.take((PLACES,), 0) for _ in range(2)]
    waiting = asyncio.ensure_future(limiter.admit(choice, None, lambda: 0))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert isinstance(taken[0], Taken)
    theirs.settle(taken[0], None)
    (await waiting).settle(None)
    assert limiter.waiting == 0


async def test_processes_tell_one_another(states: Callable[[], RedisState], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai_spine.engine.limits.redis_state.BEAT_S", 0.02)
    heard: dict[str, Any] = {}
    for name in ("a", "b"):
        state = states()
        state.share("pace", lambda name=name: {"told by": name}, lambda all, name=name: heard.update({name: all}))
        await state.start()
    await until(lambda: list(heard.get("a", {}).values()) == [{"told by": "b"}])
    await until(lambda: list(heard.get("b", {}).values()) == [{"told by": "a"}])


# ---------------------------------------------------------------- gone, slow, flushed


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


async def test_a_server_that_is_killed_under_load_harms_no_call_and_is_used_again(
    mortal: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    state = RedisState(mortal.url, timeout_s=5)
    many = Bucket(door="provider:acme", kind="requests", limit=1_000_000)
    places = Bucket(door="provider:acme", kind="places", limit=1_000)
    calls, stop = 0, False

    async def caller() -> None:
        nonlocal calls
        while not stop:
            taken = await state.take((many, TOKENS, places), 0)
            assert isinstance(taken, Taken)
            await asyncio.sleep(0.001)
            state.settle(taken, 0)
            calls += 1

    callers = [asyncio.ensure_future(caller()) for _ in range(50)]
    await until(lambda: calls > 200)
    mortal.kill()
    await until(lambda: state.is_away)
    before = calls
    await until(lambda: calls > before + 200)
    mortal.start()
    await until(lambda: not state.is_away)
    before = calls
    await until(lambda: calls > before + 200)
    stop = True
    await asyncio.gather(*callers)
    await state.take((), 0)
    client = mortal.client()
    assert int(client.hget(f"{PREFIX}:provider:acme:requests", "used")) > 0
    assert client.zcard(f"{PREFIX}:provider:acme:places") == 0
    await state.close()
    said = [record.message for record in caplog.records if record.name == "genai_spine.state" and record.levelno >= 30]
    assert ["is away" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


async def test_why_a_server_stays_away_is_said_where_it_is_not_why_it_went(
    mortal: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    state = RedisState(mortal.url, timeout_s=5)
    await state.take((TOKENS,), 1)
    client = mortal.client()
    client.config_set("requirepass", "another")
    client.execute_command("AUTH", "another")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await state.take((TOKENS,), 1)
    await until(lambda: "still away" in caplog.text)
    await asyncio.sleep(1.5)
    await state.close()
    said = [record.message for record in caplog.records if "still away" in record.message]
    assert len(said) == 1
    assert "authenticated" in said[0]


async def test_while_the_server_is_frozen_limits_are_kept_here(mortal: RedisServer) -> None:
    state = RedisState(mortal.url)
    for _ in range(2):
        assert await took(state, FEW)
    mortal.freeze()
    served = [await took(state, FEW) for _ in range(10)]
    assert served.count(True) == 4  # what it took itself before counts
    assert state.is_away
    mortal.thaw()
    await until(lambda: not state.is_away)
    assert not await took(state, FEW)
    other = RedisState(mortal.url, timeout_s=5)  # the server has learned what was given out meanwhile
    assert not await took(other, FEW)
    await other.close()
    await state.close()


async def test_nothing_is_given_out_twice_after_a_flush_or_a_loss_of_scripts(
    server: RedisServer, states: Callable[[], RedisState]
) -> None:
    state = states()
    for _ in range(FEW.limit):
        assert await took(state, FEW)
    assert await took(state, PLACES) and await took(state, PLACES)
    client = server.client()
    client.flushall()
    client.script_flush()
    assert not await took(state, FEW)
    assert not await took(state, PLACES)
    assert not state.is_away


async def test_after_a_flush_each_process_tells_what_it_took_with_its_next_call(
    server: RedisServer, states: Callable[[], RedisState]
) -> None:
    first, second = states(), states()
    for _ in range(3):
        assert await took(first, FEW) and await took(second, FEW)
    server.client().flushall()
    assert await took(first, FEW)  # all that is known yet are the three of the first
    assert not await took(second, FEW)
    assert not await took(first, FEW)


async def test_after_a_flush_nothing_is_given_back_of_what_was_taken_before(
    server: RedisServer, states: Callable[[], RedisState]
) -> None:
    state = states()
    old = await state.take((TOKENS,), 600)
    server.client().flushall()
    assert await took(states(), TOKENS, tokens=500)
    assert isinstance(old, Taken)
    state.settle(old, 0)
    await state.take((), 0)
    used = int(server.client().hget(f"{PREFIX}:provider:acme:tokens", "used"))
    assert used > 490 * MINUTE_US


async def test_without_a_server_from_the_start_limits_are_kept_here(tmp_path: Path) -> None:
    nobody = RedisServer(tmp_path)
    state = RedisState(nobody.url)
    assert [await took(state, PLACES) for _ in range(3)] == [True, True, False]
    await state.close()


async def test_a_server_that_refuses_to_write_is_away(server: RedisServer, states: Callable[[], RedisState]) -> None:
    client, state = server.client(), states()
    client.config_set("maxmemory", 1)
    try:
        assert await took(state, REQUESTS)
        assert state.is_away
        await asyncio.sleep(0.2)
        assert state.is_away
    finally:
        client.config_set("maxmemory", 0)
    await until(lambda: not state.is_away)


async def test_the_limiter_refuses_in_the_same_words(states: Callable[[], RedisState]) -> None:
    acme = {"type": "openai_compatible", "base_url": "http://127.0.0.1:9", "requests_per_min": 1}
    limiter, choice = Limiter(settings_of({"acme": acme}), states()), Choice(provider="acme", model="x")
    await limiter.admit(choice, None, lambda: 0)
    with pytest.raises(LimitReached, match="the limit of 1 requests per minute for acme is reached"):
        await limiter.admit(choice, None, lambda: 0)


async def test_over_tls_the_servers_certificate_is_verified(server: RedisServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    own, key, chain = (tmp_path / name for name in ("ca.pem", "key.pem", "chain.pem"))
    authority.cert_pem.write_to_path(own)
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = server.client()
    files = {"tls-cert-file": chain, "tls-key-file": key, "tls-ca-cert-file": own, "tls-auth-clients": "no"}
    for name, value in {**files, "tls-port": port}.items():
        client.config_set(name, str(value))
    url = f"rediss://localhost:{port}/0"
    trusting, doubting = (RedisState(each, timeout_s=10) for each in (f"{url}?ssl_ca_certs={own}", url))
    try:
        assert [await took(trusting, FEW) for _ in range(7)] == [True] * 6 + [False]
        assert not trusting.is_away
        assert await took(doubting, FEW), "a server that nobody vouches for is none: it counts by itself"
        assert doubting.is_away
    finally:
        await trusting.close()
        await doubting.close()
        client.config_set("tls-port", "0")


def test_a_url_that_is_none_of_rediss_is_said_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"state\.url"):
        RedisState("http://127.0.0.1:6379")


def test_a_url_that_is_none_is_said_before_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match="needs the extra"):
        RedisState("redis://127.0.0.1")
    with pytest.raises(ConfigError, match="no URL of a Redis server"):
        RedisState("http://127.0.0.1")


def test_a_server_that_answers_its_probe_alone_is_probed_ever_more_rarely() -> None:
    class Half(ServerLine):
        """As where a user may write, and not run scripts."""

        __slots__ = ("probed_s",)

        def __init__(self) -> None:
            super().__init__("redis://127.0.0.1:1/0", 1.0, "limits")
            self.probed_s: list[float] = []

        async def _answers(self, batch: list[Command]) -> list[Any]:
            raise OSError("no script for you")

        async def _connect(self) -> None:
            self.probed_s.append(asyncio.get_running_loop().time())

        async def _probe(self, client: Any) -> None:
            return

        async def _drop(self) -> None:
            return

    async def run() -> list[float]:
        line = Half()
        for count in range(4):
            await eventually(lambda: not line.is_away)
            assert await line.ask([], [], lambda _: None) is None
            await eventually(lambda count=count: len(line.probed_s) > count)  # type: ignore[misc]
        await line.close()
        return line.probed_s

    times = asyncio.run(run())
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.25, 0.5), strict=True)), waits
