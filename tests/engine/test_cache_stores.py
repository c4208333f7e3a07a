"""Where answers are kept: bounds that hold, several processes on one store, and stores that are broken."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_server import RedisServer

from genai_spine.engine.caching.cache_sqlite import ENTRY_BYTES, SqliteBackend
from genai_spine.engine.caching.cache_stores import Memory, Shielded, Store, open_store
from genai_spine.model.errors import ConfigError
from genai_spine.settings import Secret
from genai_spine.settings.cache import CacheSettings

MOST = 20_000


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@asynccontextmanager
async def opened(url: str, max_mb: float = 1.0) -> AsyncIterator[Store]:
    store = open_store(CacheSettings(url=Secret(url), max_mb=max_mb))
    assert store is not None
    store.check()
    try:
        yield store
    finally:
        await store.close()


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, MOST + 5)), max_size=60))
def test_memory_holds_no_more_than_its_bound_and_lets_go_of_what_is_longest_unused(
    moves: list[tuple[bool, int, int]],
) -> None:
    async def played() -> None:
        memory, used = Memory(MOST), dict[int, int]()  # in the order of use
        for is_put, number, size in moves:
            if is_put:
                memory.put(key(number), bytes(size), 10)
                used.pop(number, None)
                used[number] = size
            else:
                value = await memory.get(key(number))
                assert value is None or len(value) == used[number]
                if value is not None:
                    used[number] = used.pop(number)
            held = [each for each in used if key(each) in memory._values]
            assert memory.size <= MOST
            assert memory.size == sum(used[each] + 400 for each in held)
            fitting = [each for each in used if used[each] + 400 <= MOST]
            assert held == fitting[len(fitting) - len(held) :] or not held

    asyncio.run(played())


async def test_what_is_too_old_is_gone_from_memory() -> None:
    now_s = 0.0
    memory = Memory(MOST, clock=lambda: now_s)
    memory.put(b"k", b"v", 10)
    now_s = 9.9
    assert await memory.get(b"k") == b"v"
    now_s = 10.0
    assert await memory.get(b"k") is None
    assert (memory.size, len(memory)) == (0, 0)


# ── a file ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_keeps_what_it_is_given_and_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "cache.db"
    async with opened(f"sqlite:///{path}") as store:
        store.put(b"k", b"value", 60)
        assert await store.get(b"k") == b"value"  # though it may not be in the file yet
        assert await store.get(b"other") is None
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    async with opened(f"sqlite:///{path}") as store:
        assert await store.get(b"k") == b"value"


async def test_a_file_keeps_to_its_bound_and_lets_go_of_what_is_over_soonest(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/cache.db", max_mb=MOST / 1e6) as store:
        assert isinstance(store, Shielded)
        backend = store._backend
        for number in range(40):
            await backend.put(key(number), bytes(2000), 60 + number)
        await backend.put(key(99), bytes(MOST), 60)  # larger than all there is
        held = [number for number in range(40) if await backend.get(key(number)) is not None]
        assert held == list(range(40))[-len(held) :] and len(held) == MOST // (2000 + ENTRY_BYTES)
        await backend.put(key(39), bytes(10), 60)  # in place of the other
        with sqlite3.connect(tmp_path / "cache.db") as connection:
            (total,), (real,) = (
                connection.execute(sql).fetchone()
                for sql in ("SELECT bytes FROM total", "SELECT sum(length(value) + 200) FROM answer")
            )
        assert total == real <= MOST
        await backend.put(b"short", b"v", -1)
        assert await backend.get(b"short") is None
        await backend.put(b"next", b"v", 60)
        with sqlite3.connect(tmp_path / "cache.db") as connection:
            assert connection.execute("SELECT 1 FROM answer WHERE key = ?", (b"short",)).fetchone() is None


WRITER = """
import asyncio, sys
from genai_spine.engine.caching.cache_stores import open_store
from genai_spine.settings import Secret
from genai_spine.settings.cache import CacheSettings

async def main(url, name):
    store = open_store(CacheSettings(url=Secret(url), max_mb=0.1))
    for number in range(150):
        store.put(number.to_bytes(32, "big"), name.encode() * 1000, 60)
        if number % 10 == 0:
            await asyncio.sleep(0.001)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def written_by_two(url: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]


async def test_two_processes_share_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    written_by_two(url)
    async with opened(url) as store:
        found = [await store.get(key(number)) for number in range(150)]
    values = {value for value in found if value is not None}
    assert values and values <= {b"a" * 1000, b"b" * 1000}
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        sql = "SELECT bytes, (SELECT sum(length(value) + 200) FROM answer) FROM total"
        total, real = connection.execute(sql).fetchone()
    assert total == real <= 100_000


async def test_a_locked_file_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.db"
    async with opened(f"sqlite:///{path}") as store:
        store.put(b"k", b"v", 60)
        await until_written(store)
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("BEGIN EXCLUSIVE")
        store.put(b"other", b"v", 60)
        assert await store.get(b"k") == b"v"  # a writer holds up no reader
        with caplog.at_level(logging.WARNING, "genai_spine.cache"):
            await until_written(store)
            assert isinstance(store, Shielded) and store.is_away
            assert await store.get(b"k") is None
            for _ in range(5):
                store.put(b"more", b"v", 60)
        assert [record.message for record in caplog.records] == [
            f"the cache {path} is away (database is locked): calls are answered without it"
        ]
        locker.execute("ROLLBACK")
        locker.close()
        store._away_until_s = 0.0
        assert await store.get(b"k") == b"v" and not store.is_away


async def until_written(store: Store) -> None:
    assert isinstance(store, Shielded)
    while store._tasks:
        await asyncio.wait(store._tasks)


async def test_a_file_that_is_spoilt_is_away(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    async with opened(f"sqlite:///{path}") as store:
        store.put(b"k", b"v", 60)
        await until_written(store)
    path.write_bytes(b"no database " * 1000)
    shielded = Shielded(SqliteBackend(f"sqlite:///{path}", MOST))
    assert await shielded.get(b"k") is None and shielded.is_away
    await shielded.close()
    with pytest.raises(ConfigError, match="is no cache"):
        SqliteBackend(f"sqlite:///{path}", MOST).check()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/x", "file:x", "redis"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"cache\.url"):
        open_store(CacheSettings(url=Secret(url)))


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


async def test_a_server_keeps_answers_for_their_time(server: RedisServer) -> None:
    async with opened(server.url) as store:
        store.put(b"k", b"\x00\xff", 60)
        store.put(b"short", b"v", 0.01)
        await until_written(store)
        assert await store.get(b"k") == b"\x00\xff"
        await asyncio.sleep(0.03)
        assert await store.get(b"short") is None
    await asyncio.to_thread(written_by_two, server.url)
    async with opened(server.url) as store:
        found = {await store.get(key(number)) for number in range(150)}
    assert found <= {b"a" * 1000, b"b" * 1000}


async def test_a_server_that_is_gone_or_frozen_holds_up_nobody(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url) as store:
        assert isinstance(store, Shielded)
        store.put(b"k", b"v", 60)
        await until_written(store)
        server.freeze()
        with caplog.at_level(logging.WARNING, "genai_spine.cache"):
            assert [await store.get(b"k") for _ in range(10)] == [None] * 10
            assert store.is_away and len(caplog.records) == 1
            server.thaw()
            store._away_until_s = 0.0
            assert await store.get(b"k") == b"v" and not store.is_away
            server.kill()
            assert [await store.get(b"k") for _ in range(3)] == [None] * 3
            store.put(b"k", b"v", 60)  # dropped
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    async with opened("redis://127.0.0.1:9/0") as nobody:
        assert await nobody.get(b"k") is None
