"""Timeouts of one call: they reach the socket, end with their block, and a passed deadline is said as one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.providers.cloud_peers import running

from genai_spine.model.errors import ProviderTimeout
from genai_spine.providers.http_transport import TICK_S
from genai_spine.providers.ollama_provider import OllamaProvider
from genai_spine.providers.overrides import in_force, overriding
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import build_provider
from genai_spine.providers.transport import Timeouts
from genai_spine.settings import Duration, ProviderSettings, Secret, TimeoutOverrides

BASE = Timeouts(connect_s=5.0, first_byte_s=120.0, idle_s=60.0, total_s=600.0, pool_s=10.0)
SOON = Duration(0.05)


def test_outside_of_a_block_they_are_the_providers() -> None:
    assert in_force(BASE) is BASE


def test_what_is_given_stands_and_the_rest_is_as_it_was() -> None:
    with overriding(TimeoutOverrides(first_token=Duration(3), total=Duration(900))):
        assert in_force(BASE) == Timeouts(connect_s=5.0, first_byte_s=3.0, idle_s=60.0, total_s=900.0, pool_s=10.0)
        with overriding(TimeoutOverrides(connect=Duration(1), idle=Duration(2))):
            assert in_force(BASE) == Timeouts(connect_s=1.0, first_byte_s=120.0, idle_s=2.0, total_s=600.0, pool_s=10.0)
        assert in_force(BASE).first_byte_s == 3.0
    assert in_force(BASE) is BASE


def test_a_deadline_only_makes_the_total_shorter() -> None:
    with overriding(until_s=time.monotonic() + 1000):
        assert in_force(BASE) == BASE
    with overriding(TimeoutOverrides(total=Duration(30)), until_s=time.monotonic() + 20):
        total_s = in_force(BASE).total_s
        assert total_s is not None
        assert 0 < total_s <= 20
        assert in_force(BASE).is_of_call
    with overriding(until_s=time.monotonic() - 5):
        total_s = in_force(BASE).total_s
        assert total_s is not None
        assert 0 < total_s < 0.01


def test_a_block_ends_when_it_is_left_by_an_error() -> None:
    with pytest.raises(KeyError), overriding(TimeoutOverrides(total=SOON)):
        raise KeyError
    assert in_force(BASE) is BASE


def of(url: str, type: str = "openai") -> LLMProvider:
    return build_provider("service", ProviderSettings(type=type, base_url=url, api_key=Secret("key")))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (TimeoutOverrides(first_token=SOON), "first_byte_timeout"),
        (TimeoutOverrides(total=Duration(0.3)), "total_timeout"),  # time enough to connect
    ],
)
@pytest.mark.parametrize("type", ["openai", "ollama", "anthropic"])
async def test_they_reach_the_socket(type: str, given: TimeoutOverrides, code: str) -> None:
    async with running(lambda _: (200, {})) as peer:
        peer.release.clear()
        provider = of(peer.url, type)
        with overriding(given), pytest.raises(ProviderTimeout) as caught:
            await provider.complete("Hi", model="m")
        assert caught.value.code == code
        assert len(peer.asked) == 1
        await provider.close()


async def test_a_pull_that_others_share_is_not_cut_off_by_one_callers_hurry() -> None:
    async with running(lambda _: (200, {"status": "success"})) as peer:
        peer.release.clear()
        provider = of(peer.url, "ollama")
        assert isinstance(provider, OllamaProvider)

        async def pull() -> list[str]:
            with overriding(TimeoutOverrides(first_token=SOON, total=SOON)):
                return [progress.status async for progress in provider.pull("m")]

        pulling = asyncio.create_task(pull())
        await asyncio.sleep(0.05 + 2 * TICK_S)
        peer.release.set()
        assert await pulling == ["success"]
        await provider.close()


async def test_each_call_has_its_own() -> None:
    """Calls at the same time, some in a hurry: tasks do not see each other's blocks."""

    async with running(lambda _: (200, {"data": []})) as peer:
        provider = of(peer.url)
        peer.release.clear()

        async def ask(given: TimeoutOverrides | None) -> Any:
            with overriding(given):
                return await provider.list_models()

        patient = asyncio.create_task(ask(None))
        with pytest.raises(ProviderTimeout):
            await ask(TimeoutOverrides(first_token=SOON))
        assert not patient.done()
        peer.release.set()
        assert await patient == []
        await provider.close()
