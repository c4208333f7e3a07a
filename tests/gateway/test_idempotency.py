"""FAULTS 69: a request sent again under its Idempotency-Key is answered once, and paid for once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest

from genai_spine.gateway import idempotency
from genai_spine.gateway.idempotency import Idempotency
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

KEYS = ("one-key", "another")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    provider = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "m"}
    tree = {"providers": {"p": provider}, "retry": {"max_retries": 0}, "server": {"api_keys": list(KEYS)}}
    with running_gateway(tree) as gateway:
        yield gateway


def ask(
    gateway: RunningGateway, key: str, *, text: str = "Hi", stream: bool = False, caller: str = KEYS[0], **more: Any
) -> httpx.Response:
    body = {"model": "p/m", "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    headers = {"authorization": f"Bearer {caller}", "idempotency-key": key}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=20)


@pytest.mark.parametrize("stream", [False, True])
def test_fault_69_the_same_again_is_the_same_answer_and_no_second_call(
    gateway: RunningGateway, simulator: Simulator, stream: bool
) -> None:
    first, second = (ask(gateway, "k1", stream=stream) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert first.headers["content-type"] == second.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-spine-provider"] == "p"
    assert (first.headers["x-spine-attempts"], second.headers["x-spine-attempts"]) == ("1", "0")
    assert len(simulator.received) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_fault_69_two_at_once_share_one_answer(gateway: RunningGateway, simulator: Simulator, stream: bool) -> None:
    simulator.run("stall=first; for_s=0.3")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: ask(gateway, "k1", stream=stream), range(4)))
    assert len({answer.content for answer in answers}) == 1
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True, True, True]
    assert len(simulator.received) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "p/m", "input": "Hi"}),
        ("/api/embed", {"model": "p/m", "input": "Hi"}),
        ("/v1beta/models/p/m:embedContent", {"content": {"parts": [{"text": "Hi"}]}}),
        ("/v1/summarize", {"model": "p/m", "content": "A long story about a lion. It was hungry."}),
    ],
)
def test_embeddings_and_capabilities_are_answered_once_too(
    gateway: RunningGateway, simulator: Simulator, path: str, body: dict[str, Any]
) -> None:
    other = json.dumps(body).replace("Hi", "Ho").replace("lion", "bear")

    def sent(key: str | None, said: str = json.dumps(body)) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEYS[0]}", **({"idempotency-key": key} if key else {})}
        return httpx.post(gateway.url + path, content=said, headers=headers, timeout=20)

    first, second = sent("k1"), sent("k1")
    asked = len(simulator.received)
    assert (first.status_code, second.status_code) == (200, 200), first.text
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-spine-provider"] == "p"
    assert sent("k1", other).status_code == 422
    assert sent(None).status_code == 200
    assert len(simulator.received) == 2 * asked
    simulator.run("status=500")
    assert sent("k2").status_code == 500
    assert sent("k2").status_code == 200


def test_fault_69_another_body_under_the_key_is_a_mistake(gateway: RunningGateway, simulator: Simulator) -> None:
    assert ask(gateway, "k1").status_code == 200
    refused = ask(gateway, "k1", text="Something else")
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "idempotency_key_reused"
    assert refused.json()["error"]["param"] == "idempotency-key"
    assert len(simulator.received) == 1


def test_another_callers_key_is_another_key(gateway: RunningGateway, simulator: Simulator) -> None:
    assert ask(gateway, "k1").status_code == 200
    assert ask(gateway, "k1", text="Something else", caller=KEYS[1]).status_code == 200
    assert len(simulator.received) == 2


@pytest.mark.parametrize("fault", ["status=500", "reset=1"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_failed_may_be_tried_again(
    gateway: RunningGateway, simulator: Simulator, stream: bool, fault: str
) -> None:
    simulator.run(fault)
    failed = ask(gateway, "k1", stream=stream)
    assert failed.status_code != 200 or b'"error"' in failed.content
    assert "idempotent-replayed" not in ask(gateway, "k1", stream=stream).headers
    assert ask(gateway, "k1", stream=stream).headers["idempotent-replayed"] == "true"


def test_an_answer_too_large_to_keep_is_told_and_not_asked_for_again(
    gateway: RunningGateway, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai_spine.gateway.idempotency.MOST_KEPT_BYTES", 100)
    assert ask(gateway, "k1").status_code == 200
    again = ask(gateway, "k1")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotent_answer_gone")
    assert len(simulator.received) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_refused(gateway: RunningGateway, key: str) -> None:
    refused = ask(gateway, key)
    assert refused.status_code == 400
    assert json.loads(refused.content)["error"]["param"] == "idempotency-key"


def test_the_oldest_go_when_there_is_no_room(
    gateway: RunningGateway, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai_spine.gateway.idempotency.MOST_BYTES", 10_000)
    for number in range(20):
        ask(gateway, f"k{number}")
    before = len(simulator.received)
    assert "idempotent-replayed" not in ask(gateway, "k0").headers
    assert ask(gateway, "k19").headers["idempotent-replayed"] == "true"
    assert len(simulator.received) == before + 1


@pytest.mark.parametrize(("constant", "value"), [("MOST_BYTES", 6000), ("KEEP_S", 0.0)])
async def test_one_that_is_still_under_way_keeps_no_other_from_going(
    monkeypatch: pytest.MonkeyPatch, constant: str, value: float
) -> None:
    monkeypatch.setattr(idempotency, constant, value)
    answers, has_begun, may_end = Idempotency(), asyncio.Event(), asyncio.Event()

    async def ask(key: bytes) -> bool:
        """Whether it was answered before."""
        async with answers.once((None, "/", key), b"body") as once:
            if key == b"slow":
                has_begun.set()
                await may_end.wait()
            once.add(bytes(1000))
            once.keep(b"", [])
            return once.kept is not None

    slow = asyncio.create_task(ask(b"slow"))
    await has_begun.wait()
    for number in range(5):
        assert await ask(b"k%d" % number) is False
    assert await ask(b"k0") is False
    may_end.set()
    assert await slow is False


async def test_many_short_answers_are_bounded_by_more_than_their_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_BYTES", 20_000)
    answers = Idempotency()

    async def ask(number: int) -> bool:
        """Whether it was answered before."""
        async with answers.once((None, "/", b"k%d" % number), b"body") as once:
            once.add(b"{}")
            once.keep(b"", [])
            return once.kept is not None

    for number in range(100):
        assert await ask(number) is False
    assert [number for number in range(100) if await ask(number)] == []
    assert await ask(99) is True
