"""Both transports, made and closed for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from genai_spine.providers.aiohttp_transport import AiohttpTransport
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.transport import Transport

Make = Callable[..., Transport]


@pytest.fixture
async def own() -> AsyncIterator[Callable[..., HttpTransport]]:
    made: list[HttpTransport] = []

    def make(**options: Any) -> HttpTransport:
        options.setdefault("tick_s", 0.02)
        made.append(HttpTransport(**options))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture(params=["own", "aiohttp"])
async def make_transport(request: pytest.FixtureRequest, own: Make) -> AsyncIterator[Make]:
    made: list[AiohttpTransport] = []

    def make(**options: Any) -> AiohttpTransport:
        made.append(AiohttpTransport(**options))
        return made[-1]

    yield own if request.param == "own" else make
    for transport in made:
        await transport.close()


@pytest.fixture
def transport(make_transport: Make) -> Transport:
    return make_transport()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Both event loops, for the tests of this directory."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
