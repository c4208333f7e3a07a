"""What failed lets go of its prompt at once. An error that a frame has a name for, and that has passed through it,
keeps itself, the frame and all that this holds alive until the collector looks at everything: in a gateway, seldom."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest

from genai_spine import ProviderManager
from genai_spine.engine.exchange import Exchange
from genai_spine.gateway.exchange import HttpExchange
from genai_spine.gateway.request import Request
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import SpineError
from genai_spine.model.request import CompletionRequest
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator

HOLD = (Exchange, HttpExchange, Request, CompletionRequest, EmbeddingRequest)
"""What has a request's body in it, or its prompt."""
FAULTS = (
    "status=400", "status=401", "status=500", "reset=head", "close=1", "reset=1", "stall=head; for_s=1.5",
    "stall=2; for_s=1.5", "malformed=1", "error_at=2", "end=2", "body=html", "bad_chunk=1",
)  # fmt: skip


def _settings(simulator: Simulator) -> dict[str, Any]:
    at = {"api_key": "sk-simulated-key", "timeouts": {"first_token": 0.5, "idle": 0.5}}
    return {
        "retry": {"max_retries": 1, "initial_delay": "1ms"},
        "breaker": {"min_calls": 10_000},
        "providers": {
            "one": {"type": "openai_compatible", "base_url": simulator.urls.openai, **at},
            "two": {"type": "openai_compatible", "base_url": simulator.urls.openai, **at},
            "claude": {"base_url": simulator.urls.anthropic, **at},
        },
    }


@pytest.fixture(scope="module")
def _server(_simulator: Simulator) -> Any:
    with running_gateway(_settings(_simulator)) as running:
        yield running


@pytest.fixture
def server(_server: RunningGateway, simulator: Simulator) -> Any:
    gc.collect()
    gc.disable()
    yield _server
    gc.enable()


def _held() -> int:
    return sum(isinstance(each, HOLD) for each in gc.get_objects())


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "a prompt"}], **more}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["relayed", "translated"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_82_a_call_that_failed_keeps_nothing_of_its_request(
    server: RunningGateway, simulator: Simulator, fault: str, path: str, stream: bool
) -> None:
    before = _held()
    simulator.run(fault, fault)
    httpx.post(server.url + path, json=_body("one/sim-long-20", stream=stream))
    wait_until(lambda: _held() <= before)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_fault_82_nor_does_one_that_another_provider_answered(
    server: RunningGateway, simulator: Simulator, stream: bool
) -> None:
    before = _held()
    simulator.run("status=500", "reset=head")
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", json=_body("one/sim-short", stream=stream, fallbacks=["two/sim-short"])
    )
    assert answer.status_code == 200
    wait_until(lambda: _held() <= before)


def test_fault_82_nor_does_one_that_was_never_sent(server: RunningGateway) -> None:
    before = _held()
    refused = _body("claude/x", messages=[{"role": "user", "content": [{"type": "what"}]}])
    assert httpx.post(f"{server.url}/v1/chat/completions", json=refused).status_code == 400
    assert httpx.post(f"{server.url}/v1/chat/completions", json=_body("nobody-has-it")).status_code == 404
    wait_until(lambda: _held() <= before)


def test_fault_82_nor_do_vectors(server: RunningGateway, simulator: Simulator) -> None:
    before = _held()
    simulator.run("status=500", "status=500")
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"model": "one/sim-embed", "input": "a prompt"})
    assert answer.status_code == 500
    wait_until(lambda: _held() <= before)


@pytest.mark.parametrize("fault", FAULTS)
async def test_fault_82_nor_does_a_programs_own_call(simulator: Simulator, fault: str) -> None:
    async with ProviderManager.from_settings(settings_of(_settings(simulator))) as manager:
        simulator.run(fault, fault, fault, fault)
        gc.collect()
        gc.disable()
        try:
            before = _held()
            with suppress(SpineError):  # some faults are none of a plain answer
                await manager.complete("a prompt", model="one/sim-long-20")
            with pytest.raises(SpineError):
                async for _ in manager.stream("a prompt", model="one/sim-long-20"):
                    pass
            for _ in range(20):
                await asyncio.sleep(0)
            assert _held() <= before
        finally:
            gc.enable()
