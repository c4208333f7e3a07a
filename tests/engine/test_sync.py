"""The same without async: one background loop, from any thread."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar, copy_context
from pathlib import Path
from textwrap import dedent

import pytest

import genai_spine
from genai_spine import (
    CompletionRequest,
    CompletionResponse,
    ConfigError,
    ManagerConfig,
    ProviderManager,
    ProviderNotFound,
    ServerError,
    SimulatedProvider,
    SyncManager,
    collect,
)
from genai_spine.engine import shortcuts
from genai_spine.model.errors import ProviderError, StreamBroken
from genai_spine.model.events import PartDelta, StreamEvent
from genai_spine.testing.fixtures import running_simulator, wait_until
from genai_spine.testing.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def manager(simulator: Simulator) -> Iterator[SyncManager]:
    table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "simulated"}
    table["embed_model"] = "sim-embed"
    with SyncManager.from_settings({"providers": {"a": table}}) as manager:
        manager.manager.with_config(ManagerConfig(max_retries=0))
        yield manager


def test_every_method_waits_for_its_answer(manager: SyncManager) -> None:
    assert manager.complete("Hi").content == "You said: Hi"
    assert manager.generate("Hi").content == manager.chat("Hi").content == "You said: Hi"
    assert collect(manager.stream("Hi")).content == "You said: Hi"
    assert "".join(manager.text_stream("Hi")) == "".join(manager.stream_complete("Hi")) == "You said: Hi"
    assert len(manager.embed(["a", "b"]).embeddings) == 2
    assert "simulated" in {card.id for card in manager.list_models()}
    assert [status.healthy for status in manager.status()] == [True]
    assert manager.get_usage_summary()["total"]["calls"] == manager.usage()["a"].call_count == 7
    assert manager.metrics()["a"].request_count == 7
    manager.reset_all_usage()
    assert manager.usage()["a"].call_count == 0


def test_it_is_put_together_as_the_other() -> None:
    config = {"base_url": "http://127.0.0.1:9", "model": "llama3.2"}
    retry = ManagerConfig(max_retries=0)
    with SyncManager.new_ollama(config).with_fallback(SimulatedProvider()).with_config(retry) as manager:
        assert manager.complete("Hi").provider == "simulated"


def test_errors_come_through(manager: SyncManager, simulator: Simulator) -> None:
    simulator.run("status=500", "status=500")
    with pytest.raises(ServerError):
        manager.complete("Hi")
    with pytest.raises(ServerError):
        list(manager.stream("Hi"))
    with pytest.raises(ProviderNotFound):
        manager.complete("Hi", provider="nobody")
    assert manager.complete("Hi").content == "You said: Hi"


def test_many_threads_share_one_loop(manager: SyncManager) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return "".join(manager.text_stream(f"call {number}"))
        return manager.complete(f"call {number}").content

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert answers == [f"You said: call {number}" for number in range(40)]
    loops = [thread for thread in threading.enumerate() if thread.name == "genai-spine"]
    assert len(loops) <= 1


def test_threads_that_come_first_at_the_same_time_start_one_loop() -> None:
    for _ in range(20):
        manager = SyncManager(ProviderManager([SimulatedProvider()]))
        barrier = threading.Barrier(6)

        def ask(manager: SyncManager = manager, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            return manager.complete("Hi").content

        before = {thread for thread in threading.enumerate() if thread.name.startswith("genai-spine")}
        with ThreadPoolExecutor(6) as pool:
            assert [task.result() for task in [pool.submit(ask) for _ in range(6)]] == ["You said: Hi"] * 6
        after = {thread for thread in threading.enumerate() if thread.name.startswith("genai-spine")}
        assert len(after - before) <= 1
        manager.close()


def test_leaving_a_stream_early_closes_the_upstream(manager: SyncManager, simulator: Simulator) -> None:
    simulator.run("rate=20")
    for count, _ in enumerate(manager.stream("Hi", model="sim-long-500")):
        if count == 3:
            break
    wait_until(lambda: simulator.received[-1].outcome == "gone", 2)


def test_a_stream_that_is_collected_in_the_loops_own_thread_is_closed(
    manager: SyncManager, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    simulator.run("rate=20")
    held = [manager.stream("Hi", model="sim-long-500")]
    next(held[0])

    async def drop() -> None:
        held.clear()

    manager._run(drop)
    wait_until(lambda: simulator.received[-1].outcome == "gone", 2)
    assert not complaints


def test_a_stream_never_read_costs_nothing(manager: SyncManager, simulator: Simulator) -> None:
    manager.stream("Hi")
    assert not simulator.received


def test_closed_it_may_be_used_again(manager: SyncManager) -> None:
    manager.complete("Hi")
    manager.close()
    manager.close()
    assert manager.complete("Hi").content == "You said: Hi"


def test_the_shortcuts_share_one_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SyncManager(ProviderManager([SimulatedProvider()]))
    monkeypatch.setattr(shortcuts, "_shared", {os.getpid(): manager})
    assert genai_spine.complete("Hi").content == "You said: Hi"
    assert "".join(genai_spine.text_stream("Hi")) == "You said: Hi"
    assert collect(genai_spine.stream("Hi")).content == "You said: Hi"
    assert len(genai_spine.embed("a").embeddings) == 1
    manager.close()


def test_who_could_not_start_never_goes_on_without_what_was_to_be_started(tmp_path: Path) -> None:
    (tmp_path / "spine.db").write_bytes(b"no database" * 1000)
    with SyncManager.from_settings({"providers": {"simulated": {}}, "ledger": ledger_in(tmp_path)}) as manager:
        for _ in range(2):
            with pytest.raises(ConfigError, match="is no ledger"):
                manager.complete("Hi")
        (tmp_path / "spine.db").unlink()
        assert manager.complete("Hi").content == "You said: Hi"
    assert calls_in(tmp_path) == 1


def test_a_stream_that_outlives_its_manager_is_in_the_ledger_and_starts_nothing(tmp_path: Path) -> None:
    with SyncManager.from_settings({"providers": {"simulated": {}}, "ledger": ledger_in(tmp_path)}) as manager:
        stream = manager.stream("Hi", model="sim-long-100")
        next(stream)
    assert calls_in(tmp_path) == 1
    with pytest.raises(RuntimeError, match="was closed while"):
        next(stream)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("genai-spine")]


@pytest.mark.parametrize("is_dropped", [False, True], ids=["kept", "dropped"])
async def test_the_same_without_a_facade(tmp_path: Path, is_dropped: bool, caplog: pytest.LogCaptureFixture) -> None:
    streams: list[AsyncIterator[StreamEvent]] = []
    settings = {"providers": {"simulated": {}}, "ledger": ledger_in(tmp_path)}
    async with ProviderManager.from_settings(settings) as manager:
        streams.append(manager.stream("Hi", model="sim-long-100"))
        async for event in streams[0]:
            if isinstance(event, PartDelta):
                break
        if is_dropped:
            streams.clear()
    with closing(sqlite3.connect(tmp_path / "spine.db")) as database:
        assert database.execute("SELECT status FROM call").fetchall() == [("left",)]
        assert database.execute("SELECT status FROM attempt").fetchall() == [("left",)]
    for stream in streams:
        with pytest.raises(StreamBroken, match="closed with its manager"):
            await anext(stream)
    await asyncio.sleep(0)
    assert not caplog.records


USED = """
    from genai_spine import SyncManager
    manager = SyncManager.from_settings({"providers": {"simulated": {}}, "ledger": {"url": "sqlite:///spine.db"}})
    print(manager.complete("Hi").content)
"""
SHORTCUT = """
    import genai_spine
    print(genai_spine.complete("Hi").content)
"""
FORKED = """
    import os
    child = os.fork()
    if child == 0:
        try:
            manager.complete("Hi")
        except RuntimeError as error:
            print(error)
    else:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("program", [USED, SHORTCUT], ids=["a manager", "the shortcut"])
def test_a_program_that_closes_nothing_ends_and_its_calls_are_in_the_ledger(program: str, tmp_path: Path) -> None:
    (tmp_path / "spine.toml").write_text('[providers.simulated]\n[ledger]\nurl = "sqlite:///spine.db"\n')
    assert output_of(program, tmp_path) == "You said: Hi\n"
    assert calls_in(tmp_path) == 1


AT_EXIT = """
    import atexit
    from genai_spine import SyncManager
    manager = SyncManager.from_settings({"simulated": {}})
    atexit.register(lambda: print(manager.complete("Bye").content))
"""


def test_a_program_whose_first_call_is_its_last_act_ends(tmp_path: Path) -> None:
    if sys.version_info[:2] == (3, 12):  # there no thread can be started any more
        pytest.skip("Python 3.12 starts no thread at its exit")
    assert output_of(AT_EXIT, tmp_path) == "You said: Bye\n"


def test_threads_may_each_have_a_block_of_one_manager(simulator: Simulator, tmp_path: Path) -> None:
    table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "simulated"}
    ledger = {"url": f"sqlite:///{tmp_path / 'spine.db'}"}
    manager = SyncManager.from_settings({"providers": {"a": table}, "retry": {"max_retries": 0}, "ledger": ledger})

    def talk(number: int) -> str:
        with manager:
            return manager.complete(f"Hi {number}").content

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(talk, range(40))) == [f"You said: Hi {number}" for number in range(40)]
    assert calls_in(tmp_path) == 40


def test_a_call_that_comes_while_the_manager_is_closed_waits_and_begins_anew(manager: SyncManager) -> None:
    def talk(_: int) -> bool:
        try:
            return manager.complete("Hi").content == "You said: Hi"
        except (ProviderError, RuntimeError) as error:  # it was under way when the manager was closed
            assert "closed" in str(error)
            return False

    with ThreadPoolExecutor(4) as pool:
        answered = pool.map(talk, range(80))
        for _ in range(10):
            manager.close()
        list(answered)
    assert talk(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork_it_says_that_each_process_makes_its_own(tmp_path: Path) -> None:
    assert "make one in each process" in output_of(USED + FORKED, tmp_path)
    assert calls_in(tmp_path) == 1


SHORTCUT_FORKED = """
    import os
    import sys
    sys.stdout.flush()
    child = os.fork()
    print(genai_spine.complete("Hi").content, flush=True)
    if child != 0:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork_the_shortcuts_make_their_own(tmp_path: Path) -> None:
    (tmp_path / "spine.toml").write_text("[providers.simulated]\n")
    assert output_of(SHORTCUT + SHORTCUT_FORKED, tmp_path) == "You said: Hi\n" * 3


PREFORKED = """
    import os
    from genai_spine import SyncManager
    first = os.fork()
    second = os.fork()
    settings = {"providers": {"simulated": {}}, "ledger": {"url": "sqlite:///spine.db"}}
    with SyncManager.from_settings(settings) as manager:
        for _ in range(3):
            manager.complete("Hi")
    if second != 0:
        assert os.waitpid(second, 0)[1] == 0
        assert first == 0 or os.waitpid(first, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_calls_of_every_forked_process_are_in_the_ledger(tmp_path: Path) -> None:
    """As of a web server's or a task queue's workers, whose parent has imported the application."""
    output_of(PREFORKED, tmp_path)
    assert calls_in(tmp_path) == 4 * 3


STARTED_AND_FORKED = """
    import asyncio
    import logging
    import os
    import sys
    import warnings
    from genai_spine import ProviderManager
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    warnings.simplefilter("ignore")
    manager = ProviderManager.from_settings({"providers": {"simulated": {}}, "ledger": {"url": "sqlite:///spine.db"}})
    asyncio.run(manager.start())
    child = os.fork()

    async def work():
        for _ in range(3):
            await manager.complete("Hi")
        await manager.close()

    if child != 0:
        assert os.waitpid(child, 0)[1] == 0
    asyncio.run(work())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_manager_that_was_started_before_a_fork_says_that_the_ledger_does_not_hear_of_it(tmp_path: Path) -> None:
    [told] = output_of(STARTED_AND_FORKED, tmp_path).splitlines()
    assert told.startswith("calls of this process do not come into the ledger, since their manager was started before")
    assert calls_in(tmp_path) == 3


INTERRUPTED = """
    import signal
    import socket
    from genai_spine import SyncManager

    silent = socket.create_server(("127.0.0.1", 0))
    mute = {"type": "openai_compatible", "base_url": f"http://127.0.0.1:{silent.getsockname()[1]}/v1"}
    settings = {"providers": {"mute": mute}, "ledger": {"url": "sqlite:///spine.db"}}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with SyncManager.from_settings(settings) as manager:
        for ask in (manager.complete, lambda request, model: next(manager.stream(request, model=model))):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                ask("Hi", model="m")
            except KeyboardInterrupt:
                print("interrupted")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
def test_who_interrupts_a_call_or_a_stream_ends_it(tmp_path: Path) -> None:
    assert output_of(INTERRUPTED, tmp_path) == "interrupted\n" * 2
    with closing(sqlite3.connect(tmp_path / "spine.db")) as database:
        assert database.execute("SELECT status FROM call").fetchall() == [("left",), ("left",)]


def ledger_in(directory: Path) -> dict[str, str]:
    return {"url": f"sqlite:///{directory}/spine.db"}


def calls_in(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "spine.db")) as database:
        count: int = database.execute("SELECT count(*) FROM call").fetchone()[0]
    return count


def output_of(program: str, directory: Path) -> str:
    # From 3.12 on Python warns of every fork of a process with threads; what is looked at here is ours.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(program)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GENAI_")}
    ended = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stderr == ""
    return ended.stdout


def test_a_provider_that_asks_its_own_manager_as_sync_is_told_to_await_it() -> None:
    class Inner(SimulatedProvider):
        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            return manager.complete("inner", provider="plain")

    manager = SyncManager(ProviderManager({"nested": Inner(), "plain": SimulatedProvider()}))
    with manager, pytest.raises(ProviderError, match="nested: its complete failed: RuntimeError") as raised:
        manager.complete("Hi", provider="nested")
    assert "cannot be asked from within its own event loop" in str(raised.value.__cause__)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda copied: copied.__name__)
def test_a_manager_that_is_to_go_to_another_process_says_what_to_do(copied: Callable[[object], object]) -> None:
    with SyncManager.from_settings({"simulated": {}}) as manager:
        manager.complete("Hi")
        for each in (manager, manager.manager):
            with pytest.raises(
                TypeError, match="cannot be pickled or copied: make one of the settings in each process"
            ):
                copied(each)


def test_settings_where_a_manager_is_expected_are_told_where_they_go() -> None:
    with pytest.raises(ConfigError, match=r"expected a ProviderManager, got dict: .* SyncManager\.from_settings"):
        SyncManager({"simulated": {}})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"expected an instance of LLMProvider, got dict: .* from_settings"):
        ProviderManager({"simulated": {}})  # type: ignore[dict-item]


def test_a_provider_sees_the_context_of_who_called() -> None:
    tenant = ContextVar("tenant", default="nobody")

    class Witness(SimulatedProvider):
        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            seen.append(tenant.get())
            return await super().complete(request)

    seen: list[str] = []
    with SyncManager(ProviderManager([Witness()])) as manager:
        tenant.set("acme")
        manager.complete("Hi")
        copy_context().run(lambda: (tenant.set("other"), manager.complete("Hi")))
    assert seen == ["acme", "other"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_provider_that_would_end_the_program_ends_no_calls_of_others(kind: type[BaseException]) -> None:
    class Rash(SimulatedProvider):
        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            if request.messages[-1].text == "leave":
                raise kind
            await asyncio.sleep(0.2)
            return await super().complete(request)

    with SyncManager(ProviderManager([Rash()])) as manager, ThreadPoolExecutor() as threads:
        other = threads.submit(manager.complete, "Hi")
        with pytest.raises(kind):
            manager.complete("leave")
        assert other.result().content == manager.complete("Hi").content == "You said: Hi"
