"""What `GET /v1/providers` and `/health/ready` tell of the providers: health, keys, breakers, times."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2 as httpx
from tests.providers.cloud_peers import Asked, closed_port, running

from genai_spine.testing.fixtures import RunningGateway, running_gateway

DEAD, GOOD = "the-dead-key-of-two", "the-good-key-of-two"
CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}


def answer(asked: Asked) -> Any:
    if DEAD in asked.headers["authorization"]:
        return 401, {"error": {"message": f"Incorrect API key provided: {DEAD}", "code": "invalid_api_key"}}
    return 200, CHAT


async def get(gateway: RunningGateway, path: str) -> Any:
    async with httpx.AsyncClient() as client:
        return (await client.get(gateway.url + path)).json()


async def chat(gateway: RunningGateway, model: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        return await client.post(gateway.url + "/v1/chat/completions", json=body, timeout=20)


async def test_keys_health_and_breakers_are_told_and_no_key_is() -> None:
    async with running(answer) as peer:
        providers = {
            "openai": {"api_keys": [DEAD, GOOD], "base_url": peer.url, "name": "Ours"},
            "ollama": {"base_url": f"http://127.0.0.1:{await closed_port()}"},
        }
        settings = {"providers": providers, "retry": {"max_retries": 0}, "breaker": {"min_calls": 1}}
        with running_gateway(settings) as gateway:
            before = {told["id"]: told for told in (await get(gateway, "/v1/providers"))["data"]}
            assert before["openai"]["keys"] == {"count": 2, "out": 0, "resting": 0}
            assert before["ollama"]["keys"] is None
            assert (before["openai"]["name"], before["ollama"]["name"]) == ("Ours", None)
            assert before["openai"]["models"] == []
            assert (await get(gateway, "/health/ready"))["providers"] == {"healthy": 2, "failing": 0}

            assert (await chat(gateway, "openai/m")).status_code == 200
            assert (await chat(gateway, "ollama/m")).status_code == 502
            listed = await get(gateway, "/v1/providers")
            after = {told["id"]: told for told in listed["data"]}
            assert after["openai"]["keys"] == {"count": 2, "out": 1, "resting": 0}
            assert after["openai"]["status"]["healthy"] is True
            assert [told["model"] for told in after["openai"]["models"]] == ["m"]
            assert after["openai"]["models"][0]["in_flight"] == 0
            assert after["ollama"]["status"]["healthy"] is False
            assert "refused" in after["ollama"]["status"]["error"]
            assert "127.0.0.1" not in after["ollama"]["status"]["error"]
            assert after["ollama"]["models"][0]["breaker"] == "open"
            assert after["ollama"]["models"][0]["reopens_in_s"] > 0
            assert after["ollama"]["metrics"]["error_count"] == 1
            assert DEAD not in str(listed)
            ready = await get(gateway, "/health/ready")
            assert ready == {"status": "ready", "providers": {"healthy": 1, "failing": 1}}
    assert [DEAD in asked.headers["authorization"] for asked in peer.asked] == [True, False]


async def test_a_gateway_probes_from_its_start_on() -> None:
    async with running(lambda _: (200, {"models": []})) as peer:
        settings = {"providers": {"health_check_interval": "20ms", "ollama": {"base_url": peer.url}}}
        with running_gateway(settings) as gateway:
            async with asyncio.timeout(20):
                while len(peer.asked) < 3:  # noqa: ASYNC110  # a server has no event for it
                    await asyncio.sleep(0.01)
            told = (await get(gateway, "/v1/providers"))["data"][0]
            assert told["status"]["healthy"] is True
            assert told["metrics"]["last_health_check"] is not None
            assert told["metrics"]["request_count"] == 0


async def test_a_caller_never_hears_of_the_dead_key() -> None:
    async with running(answer) as peer:
        settings = {"providers": {"openai": {"api_keys": [DEAD, GOOD], "base_url": peer.url}}}
        with running_gateway(settings) as gateway:
            replies = await asyncio.gather(*(chat(gateway, "openai/m") for _ in range(6)))
            assert [reply.status_code for reply in replies] == [200] * 6
            assert replies[0].headers["x-spine-provider"] == "openai"
            refused = sum(DEAD in asked.headers["authorization"] for asked in peer.asked)
            for _ in range(4):
                await chat(gateway, "openai/m")
            assert sum(DEAD in asked.headers["authorization"] for asked in peer.asked) == refused
