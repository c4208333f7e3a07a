"""How providers are: from traffic, and from probes that are free, bounded and never sent to who bills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.providers.cloud_peers import Asked, Peer, closed_port, running

from genai_spine.engine.health import RECHECK_S, HealthChecker, Watch, checker_for, health_of, metrics_of
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.sync import SyncManager
from genai_spine.engine.targets import Targets
from genai_spine.model.content import Text
from genai_spine.model.errors import APIConnectionError, ProviderError, ServerError
from genai_spine.model.response import CompletionResponse
from genai_spine.policy.route import Choice
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry, build_provider
from genai_spine.settings import (
    BreakerSettings,
    Duration,
    HealthSettings,
    ProviderSettings,
    Secret,
    Settings,
    load_settings,
)

CHAT = {"model": "m", "message": {"role": "assistant", "content": "Hello."}, "done": True, "done_reason": "stop"}
OFTEN = Duration(0.01)


def of(type: str, base_url: str, **more: Any) -> LLMProvider:
    return build_provider(type, ProviderSettings(type=type, base_url=base_url, **more))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def going_on(checker: HealthChecker) -> AsyncIterator[None]:
    checker.start()
    try:
        yield
    finally:
        await checker.close()


# ------------------------------------------------------------ when to probe


def watch(interval_s: float = 300.0) -> Watch:
    return Watch(interval_s, now_s=0.0, chance=0.0)


def wants(watch: Watch, now_s: float, **more: Any) -> bool:
    return watch.wants_probe(now_s, 0.5, **{"calls": 0, "is_failing": False, "even_busy": False, **more})


def test_an_idle_provider_is_probed_once_an_interval() -> None:
    looks = watch()
    asked_at = [now_s for now_s in range(0, 1000, 10) if wants(looks, float(now_s))]
    assert asked_at == [0, 300, 600, 900]


def test_traffic_makes_a_probe_needless() -> None:
    looks = watch()
    assert not wants(looks, 0.0, calls=3)
    assert not wants(looks, 300.0, calls=4)
    assert wants(looks, 600.0, calls=4)
    assert wants(looks, 900.0, calls=9, even_busy=True)


def test_a_failing_provider_is_looked_at_sooner_busy_or_not() -> None:
    looks = watch()
    assert wants(looks, 0.0)
    asked_at = [now_s for now_s in range(1, 60) if wants(looks, float(now_s), calls=now_s, is_failing=True)]
    assert asked_at == [15, 30, 45]
    assert watch(2.0)._recheck_s == 2.0 < RECHECK_S


def test_waits_are_drawn_apart() -> None:
    early, late = watch(), watch()
    assert early.wants_probe(0.0, 0.0, calls=0, is_failing=False, even_busy=False)
    assert late.wants_probe(0.0, 0.999, calls=0, is_failing=False, even_busy=False)
    assert wants(early, 271.0)
    assert not wants(late, 271.0)
    assert wants(late, 330.0)


def test_a_clock_that_leaps_ahead_brings_one_probe_and_not_those_that_were_missed() -> None:
    looks = watch()
    assert wants(looks, 0.0)
    assert [wants(looks, 36_000.0 + second) for second in range(5)] == [True, False, False, False, False]


def test_a_clock_that_goes_back_puts_a_probe_off_by_an_interval_at_most() -> None:
    looks = watch()
    assert not wants(Watch(300.0, now_s=3600.0, chance=1.0), 3600.0)
    assert wants(looks, 3600.0)
    assert not wants(looks, 0.0)
    assert wants(looks, 300.0)


# ------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("tree", "probe", "interval_s"),
    [
        ({}, "never", 300.0),
        ({"providers": {"health_check_interval": "5m"}}, "idle", 300.0),
        ({"providers": {"health_check_interval": 7}}, "idle", 7.0),
        ({"providers": {"health_check_interval": 7}, "health": {"probe": "never"}}, "never", 7.0),
        ({"providers": {"health_check_interval": 7}, "health": {"probe": "always"}}, "always", 7.0),
        ({"providers": {"health_check_interval": 7}, "health": {"interval": "9s"}}, "idle", 9.0),
        ({"health": {"probe": "idle"}}, "idle", 300.0),
    ],
)
def test_health_check_interval_is_a_wish_for_probes(
    tree: dict[str, Any], probe: str, interval_s: float, tmp_path: Any
) -> None:
    found = health_of(load_settings(environ={}, cwd=tmp_path, overrides=tree))
    assert (found.probe, found.interval) == (probe, interval_s)


# ------------------------------------------------------------ asking one now


async def test_a_provider_that_answers_is_healthy_and_was_checked() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        provider = of("ollama", peer.url)
        assert provider.metrics.last_health_check is None
        status = await HealthChecker().check_provider(provider)
        await provider.close()
    assert (status.name, status.healthy, status.error) == ("ollama", True, None)
    assert status.latency_s is not None
    assert status.last_check is not None
    assert provider.metrics.last_health_check == status.last_check
    assert provider.metrics.request_count == 0  # a probe is no call


async def test_the_capabilities_are_those_of_the_default_model() -> None:
    provider = build_provider("openai", ProviderSettings(type="openai", model="gpt-4o"))
    assert {"tools", "images"} <= set(provider.status().capabilities)


@pytest.mark.parametrize(
    ("type", "answer", "error"),
    [
        ("openai", (200, {"object": "list", "data": []}), None),
        ("openai", (404, {"error": {"message": "no such path"}}), None),  # a server without a list is there
        ("openai", (401, {"error": {"message": "bad key"}}), "bad key"),
        ("openai", (500, {"error": {"message": "broken"}}), "broken"),
        ("openai", (200, b"<html>log in</html>"), "no JSON"),
        ("github", (401, b""), None),  # lists no models: any answer of its address will do
        ("github", (503, b""), "503"),
    ],
)
async def test_what_counts_as_an_answer(type: str, answer: Any, error: str | None) -> None:
    async with running(lambda _: answer) as peer:
        provider = of(type, peer.url, api_key=Secret("key"), models=["told"])
        status = await HealthChecker().check_provider(provider)
        await provider.close()
        assert len(peer.asked) == 1
    assert status.healthy is (error is None)
    assert (error or "") in (status.error or "")


async def test_a_provider_that_says_nothing_is_given_up_in_time() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        peer.release.clear()
        provider = of("ollama", peer.url)
        status = await HealthChecker(timeout=0.05).check_provider(provider)
        await provider.close()
    assert (status.healthy, status.error) == (False, "no answer within 0.05 s")


async def test_one_dead_key_of_two_is_no_illness() -> None:
    def answer(request: Asked) -> Any:
        return (401, {}) if request.headers["authorization"].endswith("first") else (200, {"data": []})

    async with running(answer) as peer:
        provider = of("openai", peer.url, api_keys=[Secret("the-first"), Secret("the-second")])
        assert (await HealthChecker().check_provider(provider)).healthy
        await provider.close()
        assert len(peer.asked) == 2


class Broken(LLMProvider):
    name = "broken"

    async def complete(self, *args: Any, **options: Any) -> CompletionResponse:
        return CompletionResponse(model="m", parts=(Text(text="x"),))

    async def is_healthy(self) -> bool:
        raise RuntimeError("a stranger's mistake")


class Frank(Broken):
    name = "frank"

    async def is_healthy(self) -> bool:
        return False


async def test_a_strangers_mistake_is_its_own() -> None:
    statuses = await HealthChecker(ProviderRegistry([Broken(), Frank()])).check_all()
    assert [status.error for status in statuses] == [
        "failed: RuntimeError: a stranger's mistake",
        "says that it is not healthy",
    ]


# ------------------------------------------------------------ going on


async def test_never_means_that_there_is_no_task() -> None:
    before = len(asyncio.all_tasks())
    checker = HealthChecker([of("ollama", "http://127.0.0.1:1")])
    checker.start()
    assert len(asyncio.all_tasks()) == before
    await checker.close()


async def test_the_task_ends_with_close_even_during_a_probe() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        peer.release.clear()
        provider = of("ollama", peer.url)
        before = asyncio.all_tasks()
        checker = HealthChecker([provider], HealthSettings(probe="always", interval=OFTEN))
        checker.start()
        checker.start()
        assert len(own := [task for task in asyncio.all_tasks() if task.get_name() == "genai-spine-health"]) == 1
        await until(lambda: bool(peer.asked))
        await checker.close()
        assert own[0].done()
        await provider.close()
        assert not {task for task in asyncio.all_tasks() - before if task.get_name().startswith("genai-spine")}


async def test_nothing_that_bills_is_ever_probed_unless_settings_say_so() -> None:
    """FAULT 85, counted at the sockets."""
    async with running(lambda _: (200, {"models": []})) as local, running(lambda _: (200, {"data": []})) as paid:
        providers = [
            of("ollama", local.url),
            of("openai", paid.url, api_key=Secret("key")),
            of("anthropic", paid.url, api_key=Secret("key")),
            of("openai_compatible", paid.url, api_key=Secret("key")),
        ]
        providers[1].observe("m", None, 0.1, APIConnectionError("refused"))  # failing is no reason either
        for probe in ("idle", "always"):
            seen = len(local.asked)
            settings = HealthSettings(probe=probe, interval=OFTEN)
            async with going_on(HealthChecker(providers, settings)):
                await until(lambda seen=seen: len(local.asked) >= seen + 5)  # type: ignore[misc]  # bound now
        assert paid.asked == []
        settings = HealthSettings(probe="idle", interval=OFTEN, paid=True)
        async with going_on(HealthChecker(providers, settings)):
            await until(lambda: len({request.target for request in paid.asked}) >= 2 and len(paid.asked) >= 6)
        assert {(request.method, request.target) for request in paid.asked} == {
            ("GET", "/models"),
            ("GET", "/v1/models?limit=1000"),
        }
        for provider in providers:
            await provider.close()


async def test_a_call_keeps_the_next_idle_probe_away() -> None:
    async with running(lambda _: (200, CHAT)) as peer:
        provider = of("ollama", peer.url)
        checker = HealthChecker([provider], HealthSettings(probe="idle", interval=Duration(0.0)))
        assert checker._due() == [provider]
        await provider.complete("Hi", model="m")
        assert checker._due() == []
        assert checker._due() == [provider]
        await provider.complete("Hi", model="m")
        provider.observe("m", None, 0.1, APIConnectionError("refused"))
        assert checker._due() == [provider]
        checker = HealthChecker(
            [provider], HealthSettings(probe="idle", interval=Duration(0.0)), is_failing=lambda _: True
        )
        await provider.complete("Hi", model="m")
        assert checker._due() == [provider]
        await provider.close()


async def test_a_local_server_that_comes_up_late_is_noticed() -> None:
    port = await closed_port()
    provider = of("ollama", f"http://127.0.0.1:{port}")
    settings = Settings(health=HealthSettings(probe="idle", interval=OFTEN), breaker=BreakerSettings(min_calls=1))
    registry = ProviderRegistry([provider])
    targets = Targets(registry, settings)
    breaker = targets.of(Choice(provider="ollama", model="m")).breaker
    breaker.record(time.monotonic(), APIConnectionError("refused"))
    assert breaker.state(time.monotonic()) == "open"
    async with going_on(checker_for(registry, settings, targets)):
        await until(lambda: not provider.status().healthy)
        assert str(port) in (provider.status().error or "")
        peer = Peer(lambda _: (200, {"models": []}))
        server = await asyncio.start_server(peer.serve, "127.0.0.1", port)
        await until(lambda: provider.status().healthy)
        server.close()
    await provider.close()
    assert breaker.state(time.monotonic()) == "closed"


async def test_a_list_of_models_closes_no_breaker_of_a_server_that_was_there_all_along() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        provider = of("ollama", peer.url)
        registry = ProviderRegistry([provider])
        settings = Settings(health=HealthSettings(probe="idle"), breaker=BreakerSettings(min_calls=1))
        targets = Targets(registry, settings)
        breaker = targets.of(Choice(provider="ollama", model="m")).breaker
        breaker.record(time.monotonic(), ServerError("out of memory"))
        checker = checker_for(registry, settings, targets)
        for _ in range(3):
            assert (await checker.check_provider(provider)).healthy
        assert breaker.state(time.monotonic()) == "open"
        await provider.close()


# ------------------------------------------------------------ what traffic tells


def failure(status: int, *, has_another_key: bool = False, fault: str = "operator") -> ProviderError:
    error = ProviderError("no", status_code=status)
    error.has_another_key = has_another_key
    error.fault = fault  # type: ignore[assignment]  # one of its words
    return error


@pytest.mark.parametrize(
    ("error", "is_healthy"),
    [
        (failure(503, fault="provider"), False),
        (failure(502, fault="network"), False),
        (failure(401), False),
        (failure(401, has_another_key=True), True),
        (failure(429, has_another_key=True, fault="provider"), True),
        (failure(403), True),
        (failure(400, fault="caller"), True),
    ],
)
def test_what_a_failed_call_says_of_its_provider(error: ProviderError, is_healthy: bool) -> None:
    provider = Broken()
    provider.observe("m", None, 0.1, error)
    assert provider.status().healthy is is_healthy
    provider.observe("m", None, 0.1)
    assert provider.status().healthy
    assert provider.metrics.last_health_check is None


def test_the_first_tokens_time_is_that_of_all_targets() -> None:
    provider = Broken()
    targets = Targets(ProviderRegistry([provider]), Settings())
    assert metrics_of(provider, targets).avg_first_token_s is None
    quick, slow = (targets.of(Choice(provider="broken", model=model)) for model in ("quick", "slow"))
    for _ in range(3):
        quick.pace.begun(0.1)
    slow.pace.begun(0.5)
    assert metrics_of(provider, targets).avg_first_token_s == pytest.approx(0.2)


# ------------------------------------------------------------ a manager's


def probes() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "genai-spine-health"]


async def test_a_manager_begins_and_ends_its_probes_with_itself() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        tree = {"providers": {"health_check_interval": "10ms", "ollama": {"base_url": peer.url}}}
        async with ProviderManager.from_settings(tree) as manager:
            await until(lambda: len(peer.asked) >= 3)
            assert len(probes()) == 1
            assert manager.metrics()["ollama"].last_health_check is not None
            assert [status.healthy for status in await manager.status()] == [True]
        assert probes() == []
        async with ProviderManager.from_settings({"providers": {"ollama": {"base_url": peer.url}}}):
            assert probes() == []


async def test_local_only_probes_nothing_elsewhere_even_where_paid_probes_are_allowed() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        tree = {
            "providers": {"ollama": {"base_url": peer.url}, "groq": {"api_key": "k"}},
            "routing": {"local_only": True},
            "health": {"probe": "always", "interval": "10ms", "paid": True},
        }
        async with ProviderManager.from_settings(tree) as manager:
            await until(lambda: len(peer.asked) >= 5)
            assert [status.name for status in await manager.status()] == ["ollama"]


def test_code_that_waits_has_its_probes_too() -> None:
    with SyncManager.from_settings({"providers": {"health_check_interval": 5, "simulated": {}}}) as manager:
        manager.complete("Hi")
        assert manager.manager.health._task is not None
    assert manager.manager.health._task is None
