"""Replicate: a prediction is created, waited for, streamed and cancelled, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.replicate.outbound import stream_decoder
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import (
    AuthenticationError,
    BadReply,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    ProviderTimeout,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.fold import collect
from genai_spine.providers.http_provider import says_something
from genai_spine.providers.replicate_provider import ReplicateProvider
from genai_spine.settings import ProviderSettings, Secret, TimeoutOverrides
from genai_spine.settings.values import Duration
from genai_spine.testing.fixtures import eventually, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator, Step, parse_fault

ECHO = "simulated/sim-echo"
KEY = "r8_a-key-of-a-test"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator(key=KEY) as running:
        yield running


def provider(simulator: Simulator, **settings: Any) -> ReplicateProvider:
    given: dict[str, Any] = {"api_key": Secret(KEY), "base_url": f"{simulator.urls.root}/replicate/v1", **settings}
    return ReplicateProvider("replicate", ProviderSettings(**given))


def seen(simulator: Simulator) -> list[str]:
    """Method and the kind of path of each request."""
    kinds = {"collections": "list", "streams": "stream"}
    said = []
    for received in simulator.received:
        parts = received.path.split("/")
        kind = "cancel" if parts[-1] == "cancel" else kinds.get(parts[3], parts[3])
        said.append(f"{received.method} {kind}")
    return said


def step(path: str, fault: str, times: int = 1) -> Step:
    return Step(path=f"/replicate/v1/{path}", fault=parse_fault(fault), times=times)


async def streamed(found: ReplicateProvider, model: str, text: str = "hello") -> Any:
    return collect([event async for event in found.stream(text, model=model)])


# ---------------------------------------------------------------- answers


async def test_an_answer_that_is_there_at_once_is_one_exchange(simulator: Simulator) -> None:
    found = provider(simulator)
    answer = await found.complete("hello", model=ECHO)
    assert answer.content == "You said: hello"
    assert answer.model == ECHO
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.compute_s) == (1, 3, 0.5)
    assert b"Random seed" in bytes((answer.extra or {})["replicate"])
    assert seen(simulator) == ["GET models", "POST models"]
    sent = simulator.received[-1]
    assert sent.header("prefer") == "wait"
    assert sent.header("cancel-after") == "600s"
    assert sent.json() == {"input": {"prompt": "hello"}}
    await found.complete("again", model=ECHO)
    assert seen(simulator)[2:] == ["POST models"], "the model is described once"
    await found.close()


async def test_a_prediction_that_is_not_finished_is_asked_for_again(simulator: Simulator) -> None:
    found = provider(simulator)
    answer = await found.complete("hello", model="simulated/sim-mute", stream=True)
    assert answer.finish_reason
    simulator.received.clear()
    response = await streamed(found, "simulated/sim-mute")
    assert response.content == "You said: hello"
    assert response.usage.compute_s == 0.5
    assert seen(simulator) == ["POST models", "GET predictions", "GET predictions"]
    await found.close()


async def test_a_stream_is_the_same_answer_and_its_counts_are_asked_for(simulator: Simulator) -> None:
    found = provider(simulator)
    whole = await found.complete("hello", model=ECHO)
    simulator.received.clear()
    response = await streamed(found, ECHO)
    assert (response.parts, response.usage, response.model) == (whole.parts, whole.usage, whole.model)
    assert response.id
    assert seen(simulator) == ["POST models", "GET stream", "GET predictions"]
    assert simulator.received[0].json() == {"input": {"prompt": "hello"}, "stream": True}
    assert simulator.received[0].header("prefer") is None
    assert simulator.received[1].header("accept") == "text/event-stream"
    await found.close()


def test_words_that_come_first_and_with_an_error_are_not_shown_and_may_be_charged() -> None:
    words, error = b"event: output\ndata: Hi\n\n", b'event: error\ndata: {"detail": "no more"}\n\n'
    target = Target(card=ModelCard(id=ECHO))
    decoder = stream_decoder(target)
    with pytest.raises(ProviderError, match="no more") as raised:
        says_something(decoder.feed(words + error), decoder)
    assert raised.value.is_uncertain
    decoder = stream_decoder(target)
    assert says_something(decoder.feed(words), decoder)
    assert not says_something([], decoder)


async def test_a_version_and_a_deployment_have_places_of_their_own(simulator: Simulator) -> None:
    found = provider(simulator)
    version = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
    assert (await found.complete("hello", model=f"someone/sim-echo:{version}")).content == "You said: hello"
    assert simulator.received[0].path.endswith(f"/models/someone/sim-echo/versions/{version}")
    assert simulator.received[1].path == "/replicate/v1/predictions"
    assert simulator.received[1].json()["version"] == version
    assert (await found.complete("hello", model=version)).content
    with pytest.raises(ModelNotFound):
        await found.complete("hello", model="deployments/someone/theirs")
    assert simulator.received[-1].path == "/replicate/v1/deployments/someone/theirs/predictions"
    await found.close()


async def test_the_models_that_are_listed(simulator: Simulator) -> None:
    found = provider(simulator)
    assert ECHO in {card.id for card in await found.list_models()}
    assert await found.is_healthy()
    await found.close()


def test_any_caller_of_the_gateway_gets_it(simulator: Simulator) -> None:
    table = {"api_key": KEY, "base_url": f"{simulator.urls.root}/replicate/v1"}
    with running_gateway({"providers": {"replicate": table}}) as running:
        import openai  # slow to import

        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused")
        asked: Any = {"model": f"replicate/{ECHO}", "messages": [{"role": "user", "content": "hello"}]}
        assert client.chat.completions.create(**asked).choices[0].message.content == "You said: hello"
        chunks = client.chat.completions.create(**asked, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == "You said: hello"


# ---------------------------------------------------------------- what goes wrong


async def test_a_model_that_makes_files_is_refused_before_it_costs(simulator: Simulator) -> None:
    found = provider(simulator)
    with pytest.raises(InvalidRequest, match="sim-paint makes files, not text"):
        await found.complete("a cat", model="simulated/sim-paint")
    assert seen(simulator) == ["GET models"]
    await found.close()


@pytest.mark.parametrize("way", ["complete", "stream"])
async def test_a_prediction_that_fails(simulator: Simulator, way: str) -> None:
    found = provider(simulator)
    with pytest.raises(ServerError, match="the prediction failed: E1001: the model ran out of memory") as raised:
        await (found.complete("x", model="a/sim-fail") if way == "complete" else streamed(found, "a/sim-fail"))
    assert raised.value.code == "E1001"
    assert not raised.value.retryable
    await found.close()


async def test_errors_of_the_api(simulator: Simulator) -> None:
    found = provider(simulator)
    with pytest.raises(ModelNotFound, match="could not be found"):
        await found.complete("x", model="a/no-such")
    simulator.run(step("models/*/predictions", "status=429"))
    with pytest.raises(RateLimitError):
        await found.complete("x", model=ECHO)
    wrong = provider(simulator, api_key=Secret("r8_wrong"))
    with pytest.raises(AuthenticationError):
        await wrong.complete("x", model=ECHO)
    with pytest.raises(InvalidRequest, match="is no model of Replicate"):
        await found.complete("x", model="../files")
    await found.close()
    await wrong.close()


async def test_without_its_schema_a_model_is_asked_in_metas_names(simulator: Simulator) -> None:
    simulator.run(step("models/simulated/sim-echo", "status=503"))
    found = provider(simulator)
    answer = await found.complete("hello", model=ECHO, max_tokens=50)
    assert answer.content
    assert simulator.received[-1].json() == {"input": {"prompt": "hello", "max_tokens": 50}}
    await found.complete("hello", model=ECHO)
    assert seen(simulator)[2] == "GET models", "asked again, since it failed"
    await found.close()


@pytest.mark.parametrize("fault", ["reset=2", "end=2", "malformed=99; end=1"])
async def test_a_stream_that_breaks_cancels_its_prediction(simulator: Simulator, fault: str) -> None:
    simulator.run(step("streams/*", fault))
    found = provider(simulator)
    with pytest.raises((StreamBroken, ProviderError)):
        await streamed(found, ECHO)
    assert seen(simulator)[-1] == "POST cancel"
    await found.close()


async def test_a_stream_elsewhere_is_not_followed(simulator: Simulator) -> None:
    """The key goes with the request: to our own address, or to Replicate's."""
    found = provider(simulator)
    prediction = found_at("https://stream.replicate.com/v1/files/x")
    assert str(found._stream_url(prediction)) == "https://stream.replicate.com/v1/files/x"
    assert found._stream_url(found_at(f"{simulator.urls.root}/x")) is not None
    for foreign in ("https://replicate.com.example/x", "http://stream.replicate.com/x", "http://127.0.0.1:1/x"):
        assert found._stream_url(found_at(foreign)) is None
    with pytest.raises(BadReply):
        found._stream_url(found_at("file:///etc/passwd"))


def found_at(url: str) -> Any:
    from genai_spine.dialects.replicate.outbound import Prediction, Urls  # here only

    return Prediction(id="x", status="starting", urls=Urls(stream=url))


# ---------------------------------------------------------------- the caller leaves


async def test_leaving_a_stream_cancels_the_prediction(simulator: Simulator) -> None:
    simulator.run(step("streams/*", "stall=3"))
    found = provider(simulator)
    stream = found.stream("hello", model=ECHO)
    async for event in stream:
        if type(event).__name__ == "PartDelta":
            break
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    assert seen(simulator)[-1] == "POST cancel"
    assert next(r for r in simulator.received if "/streams/" in r.path).outcome == "gone"
    await found.close()


async def test_a_cancelled_caller_cancels_the_prediction(simulator: Simulator) -> None:
    simulator.run(step("streams/*", "stall=3"))
    found = provider(simulator)
    call = asyncio.create_task(streamed(found, ECHO))
    await eventually(lambda: "GET stream" in seen(simulator))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await found.close()
    assert seen(simulator)[-1] == "POST cancel"


async def test_leaving_while_the_prediction_runs(simulator: Simulator) -> None:
    found = provider(simulator)
    call = asyncio.create_task(found.complete("hello", model="simulated/sim-slow"))
    await eventually(lambda: "GET predictions" in seen(simulator))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await found.close()
    assert seen(simulator)[-1] == "POST cancel"


async def test_leaving_while_the_prediction_is_created(simulator: Simulator) -> None:
    simulator.run(step("models/*/predictions", "stall=head; for_s=0.3"))
    found = provider(simulator)
    call = asyncio.create_task(found.complete("hello", model="simulated/sim-slow"))
    await eventually(lambda: "POST models" in seen(simulator))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: seen(simulator)[-1] == "POST cancel")
    await found.close()


async def test_leaving_while_a_failed_prediction_is_cancelled(simulator: Simulator) -> None:
    simulator.run(step("streams/*", "end=2"), step("predictions/*/cancel", "stall=head; for_s=0.3"))
    found = provider(simulator)
    call = asyncio.create_task(streamed(found, ECHO))
    await eventually(lambda: "POST cancel" in seen(simulator))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):  # else another target would be asked for nobody
        await call
    await found.close()


async def test_the_total_time_ends_a_prediction(simulator: Simulator) -> None:
    found = provider(simulator, timeouts=TimeoutOverrides(total=Duration(0.6)))
    with pytest.raises(ProviderTimeout, match=r"did not end within 0\.6 s"):
        await found.complete("hello", model="simulated/sim-slow")
    assert seen(simulator)[-1] == "POST cancel"
    assert simulator.received[1].header("cancel-after") == "5s"
    await found.close()


async def test_a_short_wait_for_the_first_byte_shortens_replicates(simulator: Simulator) -> None:
    found = provider(simulator, timeouts=TimeoutOverrides(first_token=Duration(20)))
    await found.complete("hello", model=ECHO)
    assert simulator.received[-1].header("prefer") == "wait=10"
    await found.close()


async def test_through_the_manager(simulator: Simulator) -> None:
    async with ProviderManager({"replicate": provider(simulator)}) as manager:
        assert (await manager.complete("hello", model=f"replicate/{ECHO}")).content == "You said: hello"
        text = "".join([piece async for piece in manager.text_stream("hello", model=f"replicate/{ECHO}")])
    assert text == "You said: hello"
