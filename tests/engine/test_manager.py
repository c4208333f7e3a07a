"""The facade, on real sockets: fallback, retries, routes, streams that end early, errors as values."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from genai_spine import (
    APIConnectionError,
    BadRequest,
    CompletionRequest,
    CompletionResponse,
    ConfigError,
    EmbeddingRequest,
    HttpProvider,
    InvalidRequest,
    LLMProvider,
    ManagerConfig,
    ProviderError,
    ProviderManager,
    ProviderNotFound,
    ProviderSettings,
    ProviderTimeout,
    RateLimitError,
    RerankRequest,
    ServerError,
    SimulatedProvider,
    StreamBroken,
    Text,
    collect,
)
from genai_spine.engine.record import CallRecord
from genai_spine.testing.fixtures import eventually, running_simulator
from genai_spine.testing.simulator import Simulator, Step

QUICK = ManagerConfig(max_retries=2, retry_delay_ms=1)


@pytest.fixture
def first() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def second() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def dead_url() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def table(simulator: Simulator, model: str = "simulated", **more: Any) -> dict[str, Any]:
    return {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": model, **more}


def manager_of(retry: ManagerConfig = QUICK, **tree: Any) -> ProviderManager:
    return ProviderManager.from_settings(tree).with_config(retry)


def two(first: Simulator, second: Simulator, retry: ManagerConfig = QUICK) -> ProviderManager:
    providers = {"a": table(first, "model-a"), "b": table(second, "model-b"), "fallback_order": ["a", "b"]}
    return manager_of(retry, providers=providers)


def paths(simulator: Simulator) -> list[tuple[int | None, Any]]:
    return [(received.status, received.json()["model"]) for received in simulator.received]


class Failing(LLMProvider):
    """Fails with these errors, one each call, and then answers."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self.name = name
        self.errors = list(errors)
        self.calls = 0

    @property
    def default_model(self) -> str | None:
        return "m"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return CompletionResponse(model="m", parts=(Text(text=f"from {self.name}"),))


def ordered(*providers: LLMProvider) -> ProviderManager:
    manager = ProviderManager([providers[0]])
    for provider in providers[1:]:
        manager.with_fallback(provider)
    return manager.with_config(QUICK)


# ---------------------------------------------------------------- the first specification's example


async def test_the_manager_with_fallback_as_printed(first: Simulator) -> None:
    config = {"base_url": dead_url().removesuffix("/v1"), "model": "llama3.2"}
    groq = HttpProvider("openai_compatible", ProviderSettings(base_url=dead_url(), model="x"), name="groq")
    openai = HttpProvider("openai_compatible", ProviderSettings(base_url=first.urls.openai, model="y"), name="openai")
    manager = (
        ProviderManager.new_ollama(config)
        .with_fallback(groq)
        .with_fallback(openai)
        .with_config(ManagerConfig(enable_fallback=True, max_retries=2, retry_delay_ms=1))
    )
    record = CallRecord()
    response = await manager.generate([{"role": "user", "content": "Hello!"}], record=record)
    assert (response.content, response.provider) == ("You said: Hello!", "openai")
    assert [attempt.provider for attempt in record.attempts] == [*["ollama"] * 3, *["groq"] * 3, "openai"]
    assert {attempt.error_type for attempt in record.attempts[:-1]} == {"network_error"}
    await manager.close()


# ---------------------------------------------------------------- fallback


async def test_the_next_provider_answers_with_its_own_model(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("status=401")
        response = await manager.complete("Hi")
        assert (response.provider, response.content) == ("b", "You said: Hi")
        assert (paths(first), paths(second)) == ([(401, "model-a")], [(200, "model-b")])


async def test_the_callers_fault_is_nobody_elses_affair(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("status=400; message=no such parameter")
        with pytest.raises(BadRequest, match="a: no such parameter"):
            await manager.complete("Hi")
        assert not second.received


async def test_without_fallback_the_first_provider_has_the_last_word(first: Simulator, second: Simulator) -> None:
    retry = ManagerConfig(enable_fallback=False, max_retries=1, retry_delay_ms=1)
    async with two(first, second, retry) as manager:
        first.run(Step(fault=_fault("status=500"), times="always"))
        with pytest.raises(ServerError, match="no provider answered after 2 attempts"):
            await manager.complete("Hi")
        assert (len(first.received), len(second.received)) == (2, 0)


async def test_the_error_names_every_attempt(first: Simulator, second: Simulator) -> None:
    async with two(first, second, ManagerConfig(max_retries=0)) as manager:
        first.run("status=500; message=broken")
        second.run("status=429; message=slow down")
        with pytest.raises(RateLimitError) as raised:
            await manager.complete("Hi")
        assert raised.value.message == "no provider answered after 2 attempts. a: broken; b: slow down"
        assert (raised.value.provider, raised.value.status_code) == ("b", 429)


async def test_an_explicit_provider_is_asked_alone(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        assert (await manager.complete("Hi", provider="b")).provider == "b"
        second.run(Step(fault=_fault("status=503"), times="always"))
        with pytest.raises(ServerError, match="no provider answered after 3 attempts"):
            await manager.complete("Hi", provider="b")
        assert not first.received


async def test_fallbacks_of_the_request(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("status=404", "status=404")
        response = await manager.complete("Hi", model="a/old", fallbacks=["a/older", "b/young"])
        assert response.provider == "b"
        assert (paths(first), paths(second)) == ([(404, "old"), (404, "older")], [(200, "young")])


async def test_a_provider_that_cannot_be_told_is_passed_over() -> None:
    manager = ordered(Failing("a", InvalidRequest("no images here")), Failing("b"))
    assert (await manager.complete("Hi")).content == "from b"


async def test_a_dead_server_is_passed_over(second: Simulator) -> None:
    dead = {"type": "openai_compatible", "base_url": dead_url(), "model": "m"}
    providers = {"a": dead, "b": table(second), "fallback_order": ["a", "b"]}
    async with manager_of(providers=providers) as manager:
        assert (await manager.complete("Hi")).provider == "b"
        with pytest.raises(APIConnectionError):
            await manager.complete("Hi", provider="a")


# ---------------------------------------------------------------- retries


async def test_a_failure_that_passes_is_tried_again(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("status=500", "status=429", "")
        assert (await manager.complete("Hi")).provider == "a"
        assert [received.status for received in first.received] == [500, 429, 200]
        assert not second.received


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_as_often_as_it_is_said(count: int) -> None:
    provider = Failing("a", *[ServerError("x") for _ in range(9)])
    manager = ProviderManager([provider]).with_config(ManagerConfig(max_retries=count, retry_delay_ms=1))
    with pytest.raises(ServerError):
        await manager.complete("Hi")
    assert provider.calls == count + 1


async def test_a_wait_is_what_the_provider_asked_for_and_a_little_more() -> None:
    provider = Failing("a", ServerError("x", retry_after_s=0.05))
    manager = ProviderManager([provider]).with_config(ManagerConfig(max_retries=1, retry_delay_ms=20))
    begun = time.perf_counter()
    await manager.complete("Hi")
    assert time.perf_counter() - begun >= 0.05


async def test_a_wait_ends_when_the_caller_goes() -> None:
    provider = Failing("a", *[ServerError("x") for _ in range(9)])
    manager = ProviderManager([provider]).with_config(ManagerConfig(max_retries=9, retry_delay_ms=60_000))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await manager.complete("Hi")
    assert provider.calls == 1


async def test_what_is_no_error_of_the_tree_is_the_providers_own_and_another_is_asked() -> None:
    broken = Failing("a", *[RuntimeError("a bug") for _ in range(3)])
    manager = ordered(broken, Failing("b"))
    assert (await manager.complete("Hi")).provider == "b"
    assert [event async for event in manager.stream("Hi")]
    assert broken.calls == 2, "a bug is not tried again"
    with pytest.raises(ProviderError, match="a: its complete failed: RuntimeError") as raised:
        await manager.complete("Hi", provider="a")
    assert isinstance(raised.value.__cause__, RuntimeError), "the program that wrote it sees where"
    assert broken.metrics.error_count == 3


@pytest.mark.parametrize(("said", "told"), [("slow queue", "gave up: slow queue"), ("", "the provider gave up")])
async def test_a_provider_that_gives_up_by_itself_took_nobodys_time(said: str, told: str) -> None:
    provider = Failing("a", *[TimeoutError(said) for _ in range(2)])
    manager = ProviderManager([provider]).with_config(ManagerConfig(max_retries=0))
    for ask in (manager.complete, partial(streamed, manager)):
        with pytest.raises(ProviderTimeout, match=told):
            await ask("Hi")


# ---------------------------------------------------------------- names of models


async def test_a_model_by_every_kind_of_name(first: Simulator, second: Simulator) -> None:
    providers = {
        "a": table(first, "model-a", custom_models={"fast": "small"}),
        "b": table(second, "model-b", models=["theirs"]),
        "default": "a",
    }
    routes = {"smart": {"targets": ["b/big", "a/bigger"]}}
    async with manager_of(providers=providers, routes=routes) as manager:
        for name in ("b/x", "b", "theirs", "fast", "unknown", "smart", None):
            await manager.complete("Hi", model=name)
        assert [model for _, model in paths(second)] == ["x", "model-b", "theirs", "big"]
        assert [model for _, model in paths(first)] == ["small", "unknown", "model-a"]
        second.run("status=404")
        assert (await manager.complete("Hi", model="smart")).provider == "a"
        with pytest.raises(ProviderNotFound):
            await manager.complete("Hi", provider="nobody")


@pytest.mark.parametrize("kind", ["simulated", "a strangers"])
async def test_names_of_a_provider_that_is_no_rows_are_its_own(kind: str) -> None:
    own = ProviderSettings(models=["theirs"], custom_models={"fast": "sim-mirror"})
    second: LLMProvider = SimulatedProvider(name="b", settings=own)
    if kind != "simulated":
        second = Failing("b")
        second.settings = own  # type: ignore[attr-defined]  # as what an entry point names may keep them
    manager = ordered(Failing("a"), second)
    for name in ("theirs", "fast", "b/fast"):
        assert (await manager.complete("Hi", model=name)).provider == "b", name
    assert (await manager.complete("Hi", model="unknown")).provider == "a"


async def test_a_provider_registered_later_is_found() -> None:
    manager = ProviderManager([Failing("a")])
    assert (await manager.complete("Hi", model="b/m")).content == "from a", "to which it is a name like any other"
    manager.registry.register("b", Failing("b"))
    assert (await manager.complete("Hi", model="b/m")).content == "from b"


# ---------------------------------------------------------------- streams


async def streamed(manager: ProviderManager, *args: Any, **options: Any) -> CompletionResponse:
    return collect([event async for event in manager.stream(*args, **options)])


async def test_a_stream_that_fails_before_it_says_something_goes_elsewhere(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        for fault in ("status=503", "end=0", "error_at=0", "reset=head", "malformed=0", "end=1"):
            first.run(Step(fault=_fault(fault), times="always"))
            assert (await streamed(manager, "Hi")).content == "You said: Hi", fault
            assert first.received, fault
            assert second.received, fault
            second.received.clear()


async def test_a_stream_that_breaks_later_says_so(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("end=3")
        texts: list[str] = []

        async def read() -> None:
            async for text in manager.text_stream("Hi there"):
                texts.append(text)

        with pytest.raises(StreamBroken) as raised:
            await read()
        assert texts
        assert raised.value.provider == "a"
        assert not second.received
        assert manager.metrics()["a"].error_count == 1


async def test_leaving_a_stream_early_closes_the_upstream(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("rate=20")
        stream: Any = manager.stream("Hi", model="a/sim-long-500")
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 4:
                break
        await stream.aclose()
        await eventually(lambda: first.received[-1].outcome == "gone", 2)
        assert (await manager.complete("Hi")).content == "You said: Hi"


async def test_a_cancelled_call_closes_the_upstream(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("stall=head")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await manager.complete("Hi")
        await eventually(lambda: first.received[-1].outcome == "gone", 2)
        assert not second.received


def test_a_stream_left_unread_at_the_end_of_its_loop_ends_without_an_error(first: Simulator, second: Simulator) -> None:
    """Whatever still holds it, such as the traceback of an exception: the loop closes all generators at once."""
    told: list[dict[str, Any]] = []
    held: list[Any] = []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        first.run("rate=20")
        stream = two(first, second).stream("Hi", model="a/sim-long-500")
        held.append(stream)
        await anext(stream)

    for _ in range(5):  # in whichever order the loop finds them
        asyncio.run(leave())
    assert told == []


async def test_every_spelling_of_a_stream() -> None:
    manager = ProviderManager([SimulatedProvider()])
    assert collect([event async for event in manager.chat_stream("Hi")]).content == "You said: Hi"
    assert "".join([text async for text in manager.stream_complete("Hi")]) == "You said: Hi"


# ---------------------------------------------------------------- errors as values


async def test_errors_as_values(first: Simulator, second: Simulator) -> None:
    async with two(first, second, ManagerConfig(max_retries=0)) as manager:
        first.run("status=500; message=broken")
        second.run("status=500; message=broken too")
        response = await manager.complete("Hi", raise_errors=False)
        assert not response.success
        assert response.error == "no provider answered after 2 attempts. a: broken; b: broken too"
        refused = await manager.complete("Hi", temprature=1, raise_errors=False)
        assert "temprature" in (refused.error or "")
        nobody = await manager.complete("Hi", provider="nobody", raise_errors=False)
        assert (nobody.success, nobody.error) == (False, 'no provider "nobody": configured are a, b')


async def test_nothing_configured_says_what_to_do() -> None:
    with pytest.raises(ProviderNotFound, match="set a key such as"):
        await ProviderManager().complete("Hi")


async def test_a_missing_key_is_told_and_passed_over(first: Simulator) -> None:
    manager = ordered(HttpProvider("groq"), Failing("b"))
    assert (await manager.complete("Hi")).content == "from b"
    with pytest.raises(ConfigError, match="GROQ_API_KEY"):
        await manager.complete("Hi", provider="groq")


# ---------------------------------------------------------------- embeddings, models, usage


async def test_embeddings_are_never_of_another_model(first: Simulator, second: Simulator) -> None:
    tables = {"a": table(first, embed_model="sim-embed"), "b": table(second, embed_model="sim-embed")}
    async with manager_of(providers={**tables, "fallback_order": ["a", "b"]}) as manager:
        response = await manager.embed(["one", "two"])
        assert (len(response.embeddings), response.provider) == (2, "a")
        assert len((await manager.embed("one", model="b/other")).embeddings) == 1
        first.run(Step(fault=_fault("status=401"), times="always"))
        with pytest.raises(ProviderError):
            await manager.embed("one")


async def test_keywords_beside_a_request_to_embed_are_heard(first: Simulator) -> None:
    async with manager_of(providers={"a": table(first, embed_model="sim-embed")}) as manager:
        request = EmbeddingRequest(input="Hi")
        assert len((await manager.embed(request, dimensions=3)).embeddings[0]) == 3
        assert len((await manager.registry.get("a").embed(request, dimensions=3)).embeddings[0]) == 3
        with pytest.raises(InvalidRequest, match=r"^dimension: unknown argument"):
            await manager.embed(request, dimension=3)
        with pytest.raises(InvalidRequest, match="documents"):
            await manager.rerank(RerankRequest(query="a", documents="b"), documents=3)


async def test_what_is_asked_is_said_once() -> None:
    manager = ProviderManager([Failing("a")])
    for ask, name in ((manager.complete, "messages"), (manager.embed, "input"), (manager.rerank, "query")):
        with pytest.raises(InvalidRequest, match=f"{name}: given twice"):
            await ask("one", **{name: "other"})


async def test_models_of_all_that_answer(first: Simulator) -> None:
    dead = {"type": "openai_compatible", "base_url": dead_url()}
    async with manager_of(providers={"a": table(first), "dead": dead}) as manager:
        cards = await manager.list_models()
        assert {card.provider for card in cards} == {"a"}
        assert "simulated" in {card.id for card in cards}
        with pytest.raises(APIConnectionError):
            await manager.list_models("dead")
        health = {status.name: status.healthy for status in await manager.status()}
        assert health == {"a": True, "dead": False}


async def test_usage_of_a_call_is_counted_where_it_was_answered(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        first.run("status=401", "")
        await manager.complete("Hi")
        await streamed(manager, "Hi")
        usage = manager.usage()
        assert (usage["a"].call_count, usage["b"].call_count) == (1, 1)
        assert usage["a"].total_input == usage["b"].total_input > 0
        summary = manager.get_usage_summary()
        assert summary["total"]["calls"] == 2
        assert summary["total"]["unpriced_calls"] == 2, "an unknown price is not zero"
        assert manager.metrics()["a"].error_count == 1
        manager.reset_all_usage()
        assert manager.get_usage_summary()["total"]["calls"] == 0


async def test_many_calls_at_once(first: Simulator, second: Simulator) -> None:
    async with two(first, second) as manager:
        answers = await asyncio.gather(*(manager.complete(f"call {n}") for n in range(50)))
        assert [answer.content for answer in answers] == [f"You said: call {n}" for n in range(50)]
        assert manager.usage()["a"].call_count == 50


def _fault(text: str) -> Any:
    from genai_spine.testing.simulator import parse_fault

    return parse_fault(text)


async def test_calls_outside_of_a_started_manager_are_warned_of_where_there_is_a_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ProviderManager.from_settings(
        {"providers": {"simulated": {}}, "ledger": {"url": f"sqlite:///{tmp_path / 'ledger.db'}"}}
    )
    await manager.complete("before")
    await manager.complete("before, too")
    async with manager:
        assert (await manager.complete("within")).content == "You said: within"
    assert [record.message for record in caplog.records if "do not come into the ledger" in record.message] == [
        "calls do not come into the ledger, since their manager is not started, or closed already: make them within "
        "`async with manager:`, or call its start()"
    ]
    await manager.complete("after")
    assert sum("do not come into the ledger" in record.message for record in caplog.records) == 2
    await manager.close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        assert database.execute("SELECT count(*) FROM call").fetchone() == (1,)


@pytest.mark.parametrize(
    "options",
    [{"timeout": -1}, {"timeout": 0}, {"timeout": float("nan")}, {"timeout": True}, {"cache_control": 5}],
)
async def test_terms_of_a_call_that_are_none_are_refused(options: dict[str, Any]) -> None:
    async with ProviderManager([SimulatedProvider()]) as manager:
        with pytest.raises(InvalidRequest, match=next(iter(options))):
            await manager.complete("Hi", **options)
        with pytest.raises(InvalidRequest, match=next(iter(options))):
            async for _ in manager.stream("Hi", **options):
                pass
        refused = await manager.complete("Hi", raise_errors=False, **options)
        assert not refused.success and next(iter(options)) in (refused.error or "")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ProviderManager(settings={"simulated": {}}), "settings: .*got dict: .*goes to from_settings"),
        (lambda: ProviderManager(retry={"max_retries": 1}), "retry: expected a RetryConfig.*got dict"),
        (lambda: ProviderManager().with_config({"max_retries": 1}), "with_config: expected a ManagerConfig, got dict"),
        (lambda: ProviderManager().with_fallback("openai"), "expected an instance of LLMProvider, got str"),
    ],
)
def test_what_a_manager_is_not_made_of_is_told_where_it_goes(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_calls_wait_for_each_other_across_the_event_loops_of_threads(tmp_path: Path) -> None:
    settings = {
        "providers": {"simulated": {"max_concurrency": 1}},
        "limits": {"max_wait": 20, "max_waiting": 1000},
        "ledger": {"url": f"sqlite:///{tmp_path / 'ledger.db'}"},
    }
    manager = ProviderManager.from_settings(settings)

    async def ask() -> int:
        answers = await asyncio.wait_for(asyncio.gather(*(manager.complete(f"{n}") for n in range(10))), 20)
        return sum(answer.content == f"You said: {n}" for n, answer in enumerate(answers))

    begun_s = time.monotonic()
    asyncio.run(manager.start())
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: asyncio.run(ask()), range(4))) == [10] * 4
    asyncio.run(manager.close())
    assert time.monotonic() - begun_s < 10
