"""FAULTS 70: callers are told of the limits of their key, on answers and on refusals."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator


def ask(gateway: RunningGateway, **more: Any) -> httpx.Response:
    body = {"model": "p/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, **more}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer k"})


@pytest.mark.parametrize("stream", [False, True])
def test_fault_70_what_is_left_is_in_the_headers(stream: bool) -> None:
    with running_simulator() as simulator:
        provider = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "m"}
        limits = {"requests_per_min": 2, "tokens_per_min": 100_000}
        tree = {"providers": {"p": provider}, "server": {"api_keys": ["k"]}, "limits": limits}
        with running_gateway(tree) as gateway:
            answers = [ask(gateway, stream=stream) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["2"] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert [answer.headers["x-ratelimit-limit-tokens"] for answer in answers] == ["100000"] * 3
    assert 90_000 < int(answers[0].headers["x-ratelimit-remaining-tokens"]) <= 100_000
    assert int(answers[2].headers["retry-after"]) >= 1


def test_without_limits_nothing_is_told() -> None:
    with running_simulator() as simulator:
        provider = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "m"}
        with running_gateway({"providers": {"p": provider}, "server": {"api_keys": ["k"]}}) as gateway:
            answer = ask(gateway)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
