"""The models that an Ollama keeps: pulled, updated, shown, copied and deleted, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.dialects.ollama_chat.store import PullDecoder
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.sync import SyncManager
from genai_spine.model.errors import (
    APIConnectionError,
    BadReply,
    ModelNotFound,
    ProviderError,
    ProviderNotFound,
    ServerError,
    StreamBroken,
)
from genai_spine.model.fold import collect
from genai_spine.model.pull import PullProgress
from genai_spine.providers.ollama_provider import OllamaProvider
from genai_spine.settings import ProviderSettings
from genai_spine.testing.fixtures import eventually, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator, Step, parse_fault


def fault_at(path: str, fault: str, times: int = 1) -> Step:
    return Step(path=path, fault=parse_fault(fault), times=times)


MISSING = fault_at("/api/chat", "status=404")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def provider(simulator: Simulator, **settings: Any) -> OllamaProvider:
    return OllamaProvider("ollama", ProviderSettings(base_url=simulator.urls.ollama, **settings))


async def pulled(simulator: Simulator, model: str) -> list[PullProgress]:
    found = provider(simulator)
    try:
        return [step async for step in found.pull(model)]
    finally:
        await found.close()


def paths(simulator: Simulator) -> list[str]:
    return [f"{received.method} {received.path}" for received in simulator.received]


# ---------------------------------------------------------------- pull


async def test_a_pull_tells_its_progress_until_success(simulator: Simulator) -> None:
    steps = await pulled(simulator, "sim-echo")
    assert steps[0] == PullProgress(model="sim-echo", status="pulling manifest")
    assert steps[-1].is_done
    assert not any(step.is_done for step in steps[:-1])
    fractions = [step.fraction for step in steps if step.digest is not None]
    assert fractions == sorted(fraction for fraction in fractions if fraction is not None)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


async def test_a_model_that_the_registry_does_not_have(simulator: Simulator) -> None:
    with pytest.raises(ModelNotFound, match=r"no-such:7b: .*file does not exist; .*ollama\.com/library") as raised:
        await pulled(simulator, "no-such:7b")
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("said", "kind", "retryable", "mend"),
    [
        ("write /models/blobs/sha256-1-partial: no space left on device", ServerError, False, "make room"),
        ("max retries exceeded: unexpected EOF", APIConnectionError, True, "goes on from there"),
        ("dial tcp: lookup registry.ollama.ai: no such host", APIConnectionError, True, "check its network"),
        ("something new", ServerError, False, "something new"),
    ],
)
async def test_a_failure_inside_the_pull_says_how_to_go_on(
    simulator: Simulator, said: str, kind: type[ProviderError], retryable: bool, mend: str
) -> None:
    simulator.run(f"error_at=3; message={said.replace(':', '%3A').replace(',', '%2C')}")
    with pytest.raises(kind, match="pulling sim-echo: ") as raised:
        await pulled(simulator, "sim-echo")
    assert said in raised.value.message
    assert mend in raised.value.message
    assert raised.value.retryable is retryable


@pytest.mark.parametrize("fault", ["reset=3", "close=3", "end=3"])
async def test_a_pull_whose_connection_ends(simulator: Simulator, fault: str) -> None:
    simulator.run(fault)
    with pytest.raises(StreamBroken, match="what came is kept: pull again"):
        await pulled(simulator, "sim-echo")


async def test_leaving_a_pull_early_ends_it(simulator: Simulator) -> None:
    simulator.run("stall=2")
    found = provider(simulator)
    steps = found.pull("sim-echo")
    assert (await anext(steps)).status == "pulling manifest"
    await steps.aclose()
    await eventually(lambda: simulator.received[-1].outcome == "gone")
    await found.close()


async def test_nobody_listens_is_a_connection_error() -> None:
    found = OllamaProvider("ollama", ProviderSettings(base_url="http://127.0.0.1:9"))
    with pytest.raises(APIConnectionError):
        await anext(found.pull("x"))


LINES = (
    b'{"status":"pulling manifest"}\n{"status":"pulling aa","digest":"sha256:aa","total":10}\n'
    b'{"status":"pulling aa","digest":"sha256:aa","total":10,"completed":7}\n\n{"status":"success"}'
)


@given(st.lists(st.integers(0, len(LINES)), max_size=6))
def test_a_pull_cut_anywhere_is_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(LINES)]
    decoder = PullDecoder("m")
    steps = [step for start, end in pairwise(places) for step in decoder.feed(LINES[start:end])]
    steps += decoder.close()
    assert [(step.status, step.completed_bytes) for step in steps] == [
        ("pulling manifest", None),
        ("pulling aa", None),
        ("pulling aa", 7),
        ("success", None),
    ]


@given(st.binary() | st.text().map(lambda text: json.dumps({"status": text, "total": text}).encode()))
def test_garbage_in_a_pull_is_a_bad_reply(data: bytes) -> None:
    decoder = PullDecoder("m")
    try:
        list(decoder.feed(data))
        decoder.close()
    except BadReply:
        return
    except ProviderError as error:
        assert error.code == "pull_failed"


# ---------------------------------------------------------------- what else is asked


async def test_update_pulls_every_model_that_is_there_or_one(simulator: Simulator) -> None:
    found = provider(simulator)
    names = {card.id for card in await found.list_models()}
    assert {step.model async for step in found.update()} == names
    assert {step.model async for step in found.update("sim-echo")} == {"sim-echo"}
    await found.close()


async def test_show_running_copy_and_delete(simulator: Simulator) -> None:
    async with ProviderManager({"ollama": provider(simulator)}) as manager:
        card = await manager.local.show("sim-think")
        assert card.capabilities.thinking
        assert card.context_window
        (loaded,) = await manager.local.running()
        assert b"expires_at" in bytes((loaded.extra or {})["ollama_chat"])
        await manager.local.copy("sim-echo", "mine")
        await manager.local.copy("ollama/sim-echo", "ollama/mine")
        await manager.local.delete("ollama/mine")
    sent = [received.json() for received in simulator.received if received.path == "/api/copy"]
    assert sent == [{"source": "sim-echo", "destination": "mine"}] * 2
    assert paths(simulator)[-1] == "DELETE /api/delete"
    assert simulator.received[-1].json() == {"model": "mine"}


@pytest.mark.parametrize("verb", ["show", "delete"])
async def test_a_model_that_is_not_there(simulator: Simulator, verb: str) -> None:
    async with ProviderManager({"ollama": provider(simulator)}) as manager:
        with pytest.raises(ModelNotFound, match="model 'no-such' not found"):
            await getattr(manager.local, verb)("no-such")


async def test_a_name_whose_first_part_is_no_provider(simulator: Simulator) -> None:
    async with ProviderManager({"ollama": provider(simulator)}) as manager:
        assert (await manager.local.show("hf.co/someone/model")).id == "hf.co/someone/model"


async def test_without_a_store_nothing_can_be_pulled(simulator: Simulator) -> None:
    with pytest.raises(ProviderNotFound, match="configure ollama"):
        await ProviderManager().local.show("x")
    two = {"here": provider(simulator), "there": provider(simulator)}
    async with ProviderManager(two) as manager:
        with pytest.raises(ProviderNotFound, match="say which"):
            await manager.local.show("x")
        await manager.local.copy("here/x", "y")


async def test_a_name_without_a_tag_is_that_of_the_latest(simulator: Simulator) -> None:
    found = provider(simulator, models=["llama3.2:latest", "qwen:7b"], custom_models={"fast": "qwen:7b"})
    assert await found.is_model_available("llama3.2")
    assert await found.is_model_available("fast")
    assert not await found.is_model_available("qwen")


def test_code_that_waits_has_the_same(simulator: Simulator) -> None:
    with SyncManager(ProviderManager({"ollama": provider(simulator)})) as manager:
        assert [step.status for step in manager.local.pull("sim-echo")][-1] == "success"
        assert {step.model for step in manager.local.update("sim-echo")} == {"sim-echo"}
        assert manager.local.show("sim-echo").id == "sim-echo"
        assert manager.local.running()
        manager.local.copy("sim-echo", "mine")
        manager.local.delete("mine")


# ---------------------------------------------------------------- a missing model is pulled


async def test_a_missing_model_is_pulled_and_the_call_goes_on(simulator: Simulator) -> None:
    simulator.run(MISSING)
    found = provider(simulator, auto_pull=True)
    answer = await found.complete("hello", model="sim-echo")
    assert answer.content == "You said: hello"
    assert paths(simulator) == ["POST /api/chat", "POST /api/pull", "POST /api/chat"]
    await found.close()


async def test_a_stream_and_embeddings_pull_too(simulator: Simulator) -> None:
    simulator.run(MISSING, fault_at("/api/embed", "status=404"))
    found = provider(simulator, auto_pull=True)
    response = collect([event async for event in found.stream("hello", model="sim-echo")])
    assert response.content == "You said: hello"
    assert (await found.embed(input="hello", model="sim-embed")).embeddings
    assert paths(simulator).count("POST /api/pull") == 2
    await found.close()


async def test_nothing_is_pulled_unasked(simulator: Simulator) -> None:
    simulator.run(MISSING)
    found = provider(simulator)
    with pytest.raises(ModelNotFound, match="pull it first"):
        await found.complete("hello", model="sim-echo")
    assert paths(simulator) == ["POST /api/chat"]
    await found.close()


async def test_calls_at_once_wait_for_one_pull(simulator: Simulator) -> None:
    missing = fault_at("/api/chat", "status=404", times=5)
    simulator.run(missing, fault_at("/api/pull", "stall=1; for_s=0.2"))
    found = provider(simulator, auto_pull=True)
    answers = await asyncio.gather(*(found.complete("hello", model="sim-echo") for _ in range(5)))
    assert {answer.content for answer in answers} == {"You said: hello"}
    assert paths(simulator).count("POST /api/pull") == 1
    await found.close()


async def test_a_pull_goes_on_while_anybody_waits_and_no_longer(simulator: Simulator) -> None:
    simulator.run(fault_at("/api/chat", "status=404", times=2), fault_at("/api/pull", "stall=1"))
    found = provider(simulator, auto_pull=True)
    calls = [asyncio.create_task(found.complete("hello", model="sim-echo")) for _ in range(2)]
    await eventually(lambda: "POST /api/pull" in paths(simulator) and len(simulator.received) == 3)
    pull = next(received for received in simulator.received if received.path == "/api/pull")
    calls[0].cancel()
    await asyncio.wait([calls[0]])
    assert pull.outcome == "open"
    calls[1].cancel()
    await asyncio.wait([calls[1]])
    await eventually(lambda: pull.outcome == "gone")
    await found.close()


async def test_a_pull_that_fails_fails_the_call(simulator: Simulator) -> None:
    simulator.run(MISSING)
    found = provider(simulator, auto_pull=True)
    with pytest.raises(ModelNotFound, match="there is no such model"):
        await found.complete("hello", model="no-such")
    await found.close()


def test_relayed_bytes_wait_for_the_pull_too(simulator: Simulator) -> None:
    simulator.run(MISSING)
    table = {"type": "ollama", "base_url": simulator.urls.ollama, "auto_pull": True}
    with running_gateway({"providers": {"ollama": table}}) as running:
        client = ollama.Client(host=running.url)
        said = client.chat(model="sim-echo", messages=[{"role": "user", "content": "hello"}])
    assert said.message.content == "You said: hello"
    assert paths(simulator)[-3:] == ["POST /api/chat", "POST /api/pull", "POST /api/chat"]


# ---------------------------------------------------------------- answers in thoughts only


async def test_thoughts_are_the_answer_where_nothing_else_is_said(simulator: Simulator) -> None:
    found = provider(simulator)
    whole = await found.complete("hello", model="sim-think-only")
    streamed = collect([event async for event in found.stream("hello", model="sim-think-only")])
    for answer in (whole, streamed):
        assert answer.thinking
        assert answer.content == answer.thinking
        assert [notice.code for notice in answer.notices] == ["changed"]
    plain = await found.complete("hello", model="sim-think")
    assert plain.content == "You said: hello"
    assert not plain.notices
    await found.close()


# ---------------------------------------------------------------- Ollama's own client as a witness


async def test_requests_are_those_of_ollamas_own_client(simulator: Simulator) -> None:
    client = ollama.Client(host=simulator.urls.ollama)
    list(client.pull("sim-echo", stream=True))
    client.show("sim-echo")
    client.ps()
    client.copy("sim-echo", "mine")
    client.delete("mine")
    theirs = [(received.method, received.path, received.body) for received in simulator.received]
    simulator.received.clear()
    async with ProviderManager({"ollama": provider(simulator)}) as manager:
        async for _ in manager.local.pull("sim-echo"):
            pass
        await manager.local.show("sim-echo")
        await manager.local.running()
        await manager.local.copy("sim-echo", "mine")
        await manager.local.delete("mine")
    ours = [(received.method, received.path, received.body) for received in simulator.received]
    assert [sent[:2] for sent in ours] == [sent[:2] for sent in theirs]
    for (_, path, mine), (_, _, his) in zip(ours, theirs, strict=True):
        assert _said(mine) == _said(his), path


def _said(body: bytes) -> Any:
    """Without what says the default: `"insecure": false`."""
    members = json.loads(body or b"{}")
    return {name: value for name, value in members.items() if value is not False}
