"""Vectors of more inputs than one request of a service holds, over sockets and by the function alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genai_spine import ProviderManager
from genai_spine.dialects import openai_embeddings, vertex_embeddings
from genai_spine.ledger.opening import open_reader
from genai_spine.ledger.reading import usage
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import AuthenticationError, InvalidRequest, LimitReached, RateLimitError
from genai_spine.model.response import Notice
from genai_spine.providers.codecs import most_inputs
from genai_spine.providers.embed_parts import embed_in_parts
from genai_spine.settings import LedgerSettings, Secret
from genai_spine.testing.fixtures import running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

IMAGE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def manager_of(simulator: Simulator, **more: Any) -> ProviderManager:
    urls = {"openai": simulator.urls.openai, "gemini": simulator.urls.gemini, "cohere": simulator.urls.root}
    providers = {name: {"base_url": url, "api_key": "k"} for name, url in urls.items()}
    return ProviderManager.from_settings({"providers": providers, "retry": {"max_retries": 0}, **more})


@pytest.mark.parametrize(
    ("model", "most", "requests"),
    [
        ("openai/text-embedding-3-small", 2048, 2),
        ("openai/text-embedding-v4", 10, 205),
        ("gemini/gemini-embedding-001", 100, 21),
        ("cohere/embed-v4.0", 96, 22),
    ],
)
async def test_more_inputs_than_a_request_holds_go_in_several(
    simulator: Simulator, model: str, most: int, requests: int
) -> None:
    texts = [f"text {number}" for number in range(2049)]
    async with manager_of(simulator) as manager:
        response = await manager.embed(texts, model=model, dimensions=4)
        sample = await manager.embed([texts[0], texts[most], texts[-1]], model=model, dimensions=4)
    assert len(simulator.received) == requests + 1
    assert [response.embeddings[place] for place in (0, most, -1)] == list(sample.embeddings)
    sent = [received.json() for received in list(simulator.received)[:-1]]
    sizes = [len(body.get("input") or body.get("texts") or body.get("requests")) for body in sent]
    assert (sum(sizes), max(sizes)) == (2049, most)
    assert response.usage is not None and sample.usage is not None
    assert response.usage.input_tokens == 2049 * (sample.usage.input_tokens or 0) // 3
    assert response.cost_usd is None or response.cost_usd > 0
    assert len({notice.param for notice in response.notices}) == len(response.notices), (
        "what is said of all is said once"
    )


def test_vertex_takes_250() -> None:
    assert most_inputs(vertex_embeddings.DIALECT, None) == 250  # type: ignore[arg-type]  # it does not look at it


async def test_images_go_alone_or_among_inputs(simulator: Simulator) -> None:
    async with manager_of(simulator) as manager:
        for images in ([IMAGE], [IMAGE, IMAGE]):
            assert len((await manager.embed(images, model="cohere/embed-v4.0")).embeddings) == len(images)
    one, two = (received.json() for received in simulator.received)
    assert one["images"] == [IMAGE] and "inputs" not in one
    assert "images" not in two and len(two["inputs"]) == 2
    assert (one["input_type"], two["input_type"]) == ("image", "image")


async def test_parts_that_were_answered_are_not_said_to_cost_nothing(simulator: Simulator, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/spine.db"
    simulator.run("ok", "ok", "status=429")
    async with manager_of(simulator, ledger={"url": url}) as manager:
        with pytest.raises(RateLimitError):
            await manager.embed([f"text {number}" for number in range(250)], model="gemini/gemini-embedding-001")
    reader = open_reader(LedgerSettings(url=Secret(url)))
    wait_until(lambda: usage(reader).total.calls == 1)
    total = usage(reader).total
    reader.close()
    assert (total.cost_usd, total.unpriced) == (None, 1)
    assert total.unpriced_at_most_usd is not None and total.unpriced_at_most_usd > Decimal("0.15") * 200 * 2 / 1_000_000


# ---------------------------------------------------------------- the function alone


def asking(count: int) -> EmbeddingRequest:
    return EmbeddingRequest(input=tuple(map(str, range(count))))


async def test_the_first_failure_ends_all_though_an_earlier_part_is_slow() -> None:
    cancelled: list[str] = []

    async def embed(part: EmbeddingRequest) -> EmbeddingResponse:
        if part.input != ("2", "3"):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(str(part.input[0]))
                raise
        raise RateLimitError("too much")

    with pytest.raises(RateLimitError) as raised:
        await asyncio.wait_for(embed_in_parts(asking(6), 2, embed), 5)
    assert sorted(cancelled) == ["0", "4"]
    assert raised.value.is_uncertain, "the others were under way, and may be billed"


@pytest.mark.parametrize(("answered", "is_uncertain"), [(0, False), (1, True)])
async def test_who_was_refused_at_once_was_not_billed(answered: int, is_uncertain: bool) -> None:
    async def embed(part: EmbeddingRequest) -> EmbeddingResponse:
        if int(str(part.input[0])) < answered:
            return EmbeddingResponse(model="m", embeddings=((1.0,),))
        await asyncio.sleep(0.01)
        raise AuthenticationError("no such key", sent=False)

    with pytest.raises(AuthenticationError) as raised:
        await embed_in_parts(asking(4), 1, embed)
    assert (raised.value.is_uncertain, raised.value.sent) == (is_uncertain, is_uncertain)


async def test_places_are_those_of_the_whole_request() -> None:
    async def embed(part: EmbeddingRequest) -> EmbeddingResponse:
        if "9" in part.input:
            raise InvalidRequest("input[1]: no", param="input[1]")
        cut = Notice(code="changed", message="the beginning only", param="input[0]")
        same = Notice(code="changed", message="sent search_document", param="input_type")
        return EmbeddingResponse(model="m", embeddings=((1.0,),) * len(part.input), notices=(cut, same))

    with pytest.raises(InvalidRequest, match=r"input\[9\]: no") as raised:
        await embed_in_parts(asking(10), 4, embed)
    assert raised.value.param == "input[9]"
    response = await embed_in_parts(asking(8), 4, embed)
    assert [notice.param for notice in response.notices] == ["input[0]", "input_type", "input[4]"]


@pytest.mark.parametrize("given", [b"tea", bytearray(b"tea"), memoryview(b"tea"), [b"tea"], ["tea", b"tea"], [[True]]])
def test_bytes_are_no_ids_of_tokens(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="expected a text or a list"):
        EmbeddingRequest(input=given)
    assert EmbeddingRequest(input=[[1, 2]]).input == ((1, 2),)


def test_a_limit_of_cost_is_an_amount() -> None:
    assert EmbeddingRequest(input="tea", cost_limit=0.5).cost_limit == Decimal("0.5")
    for wrong in (-1, "much", float("nan")):
        with pytest.raises(InvalidRequest, match="cost_limit"):
            EmbeddingRequest(input="tea", cost_limit=wrong)  # type: ignore[arg-type]  # that is the point
    assert msgspec.json.decode(msgspec.json.encode(EmbeddingRequest(input="tea"))) == {"input": ["tea"]}


@pytest.mark.parametrize("what", ["embed", "rerank"])
async def test_limits_of_tokens_set_aside_what_a_request_will_use(simulator: Simulator, what: str) -> None:
    tables = {"cohere": {"base_url": simulator.urls.root, "api_key": "k", "tokens_per_min": 100}}
    settings = {"providers": tables, "limits": {"max_wait": 0}, "retry": {"max_retries": 0}}
    long = "word " * 64  # about 80 tokens
    async with ProviderManager.from_settings(settings) as manager:

        def ask() -> Any:
            if what == "embed":
                return manager.embed(long, model="cohere/embed-v4.0", timeout=10)
            return manager.rerank("tea", documents=[long], model="cohere/rerank-v3.5", timeout=10)

        answers = await asyncio.gather(ask(), ask(), return_exceptions=True)
    assert [type(answer) is LimitReached for answer in answers] == [False, True], answers
    assert len(simulator.received) == 1


@pytest.mark.parametrize(("texts", "is_apart"), [(2, False), (40, True)])
async def test_a_long_reply_is_read_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, texts: int, is_apart: bool
) -> None:
    threads: list[bool] = []
    decode = openai_embeddings.decode_response

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread() is not threading.main_thread())
        return decode(*given)

    monkeypatch.setattr(openai_embeddings, "decode_response", noted)
    with running_simulator() as simulator:
        tables = {"openai": {"base_url": simulator.urls.openai, "api_key": "k"}}
        async with ProviderManager.from_settings({"providers": tables}) as manager:
            await manager.embed(["tea"] * texts, model="openai/text-embedding-3-large", dimensions=3072)
    assert threads == [is_apart]
