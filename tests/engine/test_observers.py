"""Who is told of each call that is over: what, when, and what becomes of those who cannot follow."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest

from genai_spine import ConfigError, ProviderManager, Settings
from genai_spine.engine.costs.accounts import Watcher
from genai_spine.engine.observers import MOST_WAITING, Observed, Observers
from genai_spine.ledger.entry import Begun, Call, Ended, Entry
from genai_spine.settings import load_settings
from genai_spine.testing.fixtures import eventually, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

USER: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def manager_of(simulator: Simulator, **more: object) -> ProviderManager:
    provider = {"type": "openai", "base_url": simulator.urls.openai, "api_key": "k"}
    return ProviderManager.from_settings({"providers": {"a": provider, "b": provider}, **more})


async def test_a_call_is_told_with_all_its_attempts(simulator: Simulator) -> None:
    seen: list[Observed] = []
    async with manager_of(simulator) as manager:
        manager.observers.add(seen.append)
        answer = await manager.complete("Hi", model="a/gpt-4o-mini")
        await eventually(lambda: len(seen) == 1)  # while the manager goes on
        vectors = await manager.embed("Hi", model="a/text-embedding-3-small")
    first, second = seen
    (attempt,) = first.attempts
    assert (first.call.provider, first.call.model, first.call.status) == ("a", "gpt-4o-mini", "answered")
    assert attempt.ended.tokens is not None and answer.usage is not None and answer.cost_usd is not None
    assert attempt.ended.tokens.output == answer.usage.output_tokens
    assert first.call.cost_nanousd == attempt.ended.cost_nanousd == int(answer.cost_usd * 10**9)
    assert first.call.operation is None and second.call.operation == "embeddings"
    assert vectors.usage is not None


async def test_a_failed_attempt_and_the_one_after_it_are_one_call(simulator: Simulator) -> None:
    seen: list[Observed] = []
    dead = {"type": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "k", "model": "gpt-4o"}
    alive = {"type": "openai", "base_url": simulator.urls.openai, "api_key": "k", "model": "gpt-4o-mini"}
    routes = {"smart": {"targets": ["dead/gpt-4o", "alive/gpt-4o-mini"], "strategy": "ordered"}}
    settings = {"providers": {"dead": dead, "alive": alive}, "routes": routes, "retry": {"max_retries": 0}}
    async with ProviderManager.from_settings(settings) as manager:
        manager.observers.add(seen.append)
        events = [event async for event in manager.stream("Hi", model="smart")]
        assert events
        with pytest.raises(Exception, match="dead"):
            await manager.complete("Hi", model="dead/gpt-4o")
    good, bad = seen
    assert [each.ended.status for each in good.attempts] == ["failed", "answered"]
    assert (good.call.route, good.call.provider, good.call.is_stream) == ("smart", "alive", True)
    assert [each.begun.provider for each in good.attempts] == ["dead", "alive"]
    assert bad.call.status == "failed" and bad.attempts[0].ended.error_type == bad.call.error_type


async def test_an_answer_from_the_cache_is_a_call_without_attempts(simulator: Simulator) -> None:
    seen: list[Observed] = []
    async with manager_of(simulator, cache={"url": "memory", "answers": "all"}) as manager:
        manager.observers.add(seen.append)
        for _ in range(2):
            await manager.complete("Hi", model="a/gpt-4o-mini", temperature=0)
    assert [len(each.attempts) for each in seen] == [1, 0]
    assert seen[1].call.is_cached and seen[1].call.cost_nanousd == 0


class Tracing:
    """Knows who called."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.threads: set[str] = set()
        self.is_closed = False

    def context(self) -> str:
        return USER.get()

    def __call__(self, observed: Observed) -> None:
        self.seen.append((observed.context, observed.call.model))
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        self.is_closed = True


async def test_what_an_observer_says_in_the_callers_task_comes_back_with_the_call(simulator: Simulator) -> None:
    one, other = Tracing(), Tracing()
    async with manager_of(simulator) as manager:
        manager.observers.add(one)
        manager.observers.add(other)

        async def ask(user: str) -> None:
            USER.set(user)
            await manager.complete("Hi", model=f"a/{user}")

        await asyncio.gather(*(asyncio.create_task(ask(user)) for user in ("ann", "bob", "cleo")))
    assert sorted(one.seen) == sorted(other.seen) == [("ann", "ann"), ("bob", "bob"), ("cleo", "cleo")]
    assert one.threads == {"genai-spine-observers"}
    assert one.is_closed and other.is_closed


async def test_no_call_waits_for_an_observer_and_none_fails_by_it(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    go_on, seen = threading.Event(), list[Observed]()

    def slow(_: Observed) -> None:
        go_on.wait(20)

    def broken(_: Observed) -> None:
        raise ValueError("no")

    async with manager_of(simulator) as manager:
        for observer in (slow, broken, seen.append):
            manager.observers.add(observer)
        begun_s = time.monotonic()
        for _ in range(5):
            await manager.complete("Hi", model="a/gpt-4o-mini")
        await asyncio.sleep(0.6)
        assert not seen and time.monotonic() - begun_s < 10
        go_on.set()
    assert len(seen) == 5
    assert [record.levelno for record in caplog.records if "broken" in record.getMessage()] == [logging.ERROR]


async def test_a_manager_that_is_used_after_its_end_still_tells(simulator: Simulator) -> None:
    seen: list[Observed] = []
    manager = manager_of(simulator)
    manager.observers.add(seen.append)
    for _ in range(2):
        async with manager:
            await manager.complete("Hi", model="a/gpt-4o-mini")
    assert len(seen) == 2


def test_who_drops_its_manager_leaves_no_thread_behind(simulator: Simulator) -> None:
    def threads() -> int:
        return sum(thread.name == "genai-spine-observers" for thread in threading.enumerate())

    async def ask() -> None:
        manager = manager_of(simulator)
        manager.observers.add(print)
        await manager.complete("Hi", model="a/gpt-4o-mini")
        assert threads() == 1

    asyncio.run(ask())
    gc.collect()
    wait_until(lambda: threads() == 0)


def test_after_a_fork_each_process_tells_its_own_calls(tmp_path: Path) -> None:
    program = """
import os, sys, time
from genai_spine import ProviderManager
import asyncio
pid = os.getpid()
def tell(observed):
    with open(sys.argv[1], "a") as file:
        file.write(f"{'parent' if os.getpid() == pid else 'child'} {observed.call.model}\\n")
manager = ProviderManager.from_settings({"simulated": {}})
manager.observers.add(tell)
asyncio.run(manager.complete("Hi", model="simulated/a"))  # not told yet
child = os.fork()
asyncio.run(manager.complete("Hi", model="simulated/" + ("b" if child else "c")))
asyncio.run(manager.observers.close())
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    file = tmp_path / "told"
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(file.read_text().splitlines()) == ["child c", "parent a", "parent b"]


# ------------------------------------------------------------ entries, one by one


def told(*entries: Entry, observer: Callable[[Observed], object]) -> Observers:
    """Observers that have been told these, before any thread of theirs could have looked."""
    watchers: list[Watcher] = []
    observers = Observers(watchers.append)
    observers.add(observer)
    watchers[0](*entries)
    return observers


def begun(call: str, number: int = 1) -> Begun:
    return Begun(id=f"{call}-{number}", call=call, at=1.0, provider="a", model="m")


def test_a_call_is_told_once_no_attempt_is_under_way_any_more() -> None:
    seen: list[Observed] = []
    quick = Ended(id="c-1", at=2.0, status="answered", duration_s=1.0)
    over = Call(id="c", at=2.0, duration_s=1.0, status="answered", attempts=2)
    observers = told(begun("c"), begun("c", 2), quick, over, observer=seen.append)
    observers.tell()
    assert not seen
    observers._take(Ended(id="c-2", at=3.0, status="left", duration_s=2.0))
    observers.tell()
    observers.tell()
    (observed,) = seen
    assert observed.call == over and [each.ended.status for each in observed.attempts] == ["answered", "left"]


def test_who_cannot_follow_loses_what_begins_meanwhile_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    stuck = threading.Event()

    def observer(observed: Observed) -> None:
        stuck.wait(20)
        seen.append(observed.call.id)

    watchers: list[Watcher] = []
    observers = Observers(watchers.append)
    observers.add(observer)
    for number in range(2 * MOST_WAITING):
        id = f"c{number}"
        watchers[0](begun(id))
        watchers[0](Ended(id=f"{id}-1", at=2.0, status="answered", duration_s=1.0, call_s=1.0))
    assert len(observers._waiting) <= 3 * MOST_WAITING
    stuck.set()
    asyncio.run(observers.close())
    assert MOST_WAITING / 2 <= len(seen) < 2 * MOST_WAITING
    assert len(set(seen)) == len(seen)
    assert sum("cannot follow" in record.getMessage() for record in caplog.records) >= 1


# ------------------------------------------------------------ by name


def test_a_name_that_nobody_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match='no observer "opentelemetri"; did you mean "opentelemetry"'):
        ProviderManager.from_settings({"providers": {}, "logging": {"observers": ["opentelemetri"]}})
    with pytest.raises(ConfigError, match="int is no observer"):
        ProviderManager().observers.add(3)  # type: ignore[arg-type]


def test_an_observer_of_an_installed_package_is_a_name_for_the_settings(tmp_path: Path) -> None:
    about = tmp_path / "audit-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: audit\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[genai_spine.observers]\naudit = audit:Audit\n")
    (tmp_path / "audit.py").write_text(
        "class Audit:\n    def __call__(self, observed):\n"
        "        print(observed.call.provider, observed.call.model, observed.call.status)\n"
    )
    program = (
        "from genai_spine import SyncManager\n"
        'with SyncManager.from_settings({"providers": {"simulated": {}}, "logging": {"observers": ["audit"]}}) as m:\n'
        '    m.complete("Hi", model="simulated/x")\n'
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("simulated x answered\n", 0), done.stderr


def test_without_its_extra_opentelemetry_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['opentelemetry'] = None\nfrom genai_spine import ProviderManager\n"
        "ProviderManager.from_settings({'providers': {'simulated': {}}, 'logging': {'observers': ['opentelemetry']}})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    said = "needs the extra: pip install 'genai-spine[opentelemetry]'"
    assert said in done.stderr.splitlines()[-1]


def test_a_variable_names_observers_too(tmp_path: Path) -> None:
    settings = load_settings(environ={"GENAI_LOGGING__OBSERVERS": "opentelemetry"}, cwd=tmp_path)
    assert settings.logging.observers == ("opentelemetry",)
    assert Settings().logging.observers == ()
