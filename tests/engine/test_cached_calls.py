"""A program's own calls and the cache: the same answers again, in either form, at no cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider, ProviderManager, SyncManager
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import ServerError
from genai_spine.model.events import MessageEnd, StreamEvent
from genai_spine.model.fold import collect, replay
from genai_spine.model.response import FinishReason, TokenUsage
from genai_spine.policy.cache_key import key_of, terms_of
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

PARTS = (
    Thinking(text="hm", signature="s"),
    Text(text="Tea.", provider_metadata={"x": msgspec.Raw(b'{"a": 1.50}')}),
    ToolCall(id="c", name="f", arguments='{"a":1}'),
)


class Teller(LLMProvider):
    """Counts its answers, each of which is another; what else it does is set."""

    name = "teller"

    def __init__(self) -> None:
        self.calls = 0
        self.finish = FinishReason.STOP
        self.breaks = False

    def answer(self, request: CompletionRequest) -> CompletionResponse:
        self.calls += 1
        usage = TokenUsage(input_tokens=3, output_tokens=4)
        parts = (*PARTS, Text(text=f" {self.calls}"))
        return CompletionResponse(model="m", id=f"a{self.calls}", parts=parts, finish_reason=self.finish, usage=usage)

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return self.answer(request)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        for event in replay(self.answer(request)):
            if self.breaks and isinstance(event, MessageEnd):
                raise ServerError("broken", sent=True)
            yield event

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self.calls += 1
        return EmbeddingResponse(model="e", embeddings=((0.1, -1e-30 * self.calls),), provider="teller")


def managed(teller: Teller, **cache: Any) -> ProviderManager:
    from genai_spine.providers.registry import settings_of

    settings = settings_of({"providers": {}, "cache": {"url": "memory:", **cache}, "retry": {"max_retries": 0}})
    return ProviderManager([teller], settings=settings)


async def streamed(manager: ProviderManager, *args: Any, **options: Any) -> CompletionResponse:
    return collect([event async for event in manager.stream(*args, **options)])


async def test_an_answer_is_given_again_whole_and_as_a_stream() -> None:
    for asks_stream in (False, True):
        teller = Teller()
        manager = managed(teller)
        first = await (streamed if asks_stream else ProviderManager.complete)(manager, "Tea?", temperature=0)
        for again in (
            await manager.complete("Tea?", temperature=0),
            await streamed(manager, "Tea?", seed=None, temperature=0),
        ):
            assert (again.parts, again.id, again.usage, again.finish_reason) == (
                first.parts, first.id, first.usage, first.finish_reason,
            )  # fmt: skip
            (notice,) = again.notices
            assert notice.code == "cached"
        assert (await manager.complete("Tea?", temperature=0)).cost_usd == Decimal(0)
        assert teller.calls == 1


async def test_what_does_not_ask_to_be_repeated_is_not() -> None:
    teller = Teller()
    manager = managed(teller)
    options: dict[str, Any]
    for options in ({}, {"temperature": 0.5}, {"temperature": 0, "cache_control": "no-store"}):
        before = teller.calls
        await manager.complete("Tea?", **options)
        await manager.complete("Tea?", **options)
        assert teller.calls == before + 2, options
    for options in ({"seed": 1}, {"cache_control": "max-age=60"}):
        before = teller.calls
        await manager.complete("Tea?", **options)
        await streamed(manager, "Tea?", **options)
        assert teller.calls == before + 1, options
    assert (await manager.complete("Tea?", seed=1, cache_control="no-cache")).id == f"a{teller.calls}"


async def test_only_whole_answers_are_kept() -> None:
    teller = Teller()
    manager = managed(teller, answers="all")
    for finish in set(FinishReason) - {FinishReason.STOP, FinishReason.TOOL_CALLS}:
        teller.finish = finish
        before = teller.calls
        for _ in range(2):
            await manager.complete(finish.value)
            await streamed(manager, finish.value)
        assert teller.calls == before + 4, finish
    teller.finish = FinishReason.LENGTH
    for most, asked in ((4, 1), (5, 2)):  # four tokens were used
        before = teller.calls
        for _ in range(2):
            await manager.complete("length", max_tokens=most)
        assert teller.calls == before + asked
    teller.finish, teller.breaks = FinishReason.STOP, True
    for _ in range(2):
        with pytest.raises(ServerError):
            await streamed(manager, "broken")
    stream = manager.stream("left")
    await anext(stream)
    await stream.aclose()
    teller.breaks = False
    before = teller.calls
    await streamed(manager, "broken")
    await streamed(manager, "left")
    assert teller.calls == before + 2


async def test_vectors_are_the_same_to_the_last_digit() -> None:
    teller = Teller()
    manager = managed(teller)
    first, again = await manager.embed("a", model="teller/e"), await manager.embed(["a"], model="teller/e")
    assert (again.embeddings, teller.calls) == (first.embeddings, 1)
    await manager.embed("a", model="teller/e", cache_control="no-store")
    await manager.embed("b", model="teller/e")
    assert teller.calls == 3


async def test_what_is_too_large_is_not_kept() -> None:
    class Long(Teller):
        def answer(self, request: CompletionRequest) -> CompletionResponse:
            self.calls += 1
            return CompletionResponse(
                model="m", parts=(Text(text="x" * 5_000_000),), finish_reason=FinishReason.STOP, usage=TokenUsage()
            )

    teller = Long()
    manager = managed(teller, answers="all")
    for _ in range(2):
        await manager.complete("long")
        await streamed(manager, "long")
    assert teller.calls == 4


async def test_without_a_cache_nothing_is_kept() -> None:
    teller = Teller()
    manager = ProviderManager([teller])
    assert manager.cache is None
    for _ in range(2):
        await manager.complete("Tea?", temperature=0)
    assert teller.calls == 2


async def test_a_broken_store_is_no_callers_trouble(tmp_path: Any) -> None:
    for url in (f"sqlite:///{tmp_path}/cache.db", "redis://127.0.0.1:9/0"):
        teller = Teller()
        async with managed(teller, url=url) as manager:
            (tmp_path / "cache.db").write_bytes(b"spoilt " * 1000)
            for number in range(4):
                assert (await manager.complete("Tea?", temperature=0)).id == f"a{number + 1}"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def test_two_programs_share_a_file_and_settings_of_a_provider_tell_answers_apart(
    simulator: Simulator, tmp_path: Any
) -> None:
    def asked(**provider: Any) -> bool:
        """By a program of its own; whether the provider was asked."""
        table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": "k", **provider}
        settings = {"providers": {"oa": table}, "cache": {"url": f"sqlite:///{tmp_path}/cache.db"}}
        simulator.received.clear()
        with SyncManager(ProviderManager.from_settings(settings)) as manager:
            assert manager.complete("Tea?", model="oa/simulated", temperature=0).content
        return bool(simulator.received)

    assert [asked(), asked(), asked(max_tokens=5), asked(max_tokens=5), asked()] == [True, False, True, False, False]
    file = (tmp_path / "cache.db").read_bytes()
    assert b"Tea" in file  # in the answer, which repeats the question: what is kept is what people were told


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_of_all_that_it_is_made_of_and_tells_nothing() -> None:
    def made(
        tenant: str = "t", dialect: str = "d", target: bytes = b"m", body: bytes = b'{"a":1}', *beside: Any
    ) -> Any:
        return key_of(tenant, dialect, target, body, beside)

    others = [
        made(), made("u"), made(dialect="e"), made(target=b"n"), made(body=b'{"a":2}'), made(body=b'{"a":"1"}'),
        made(body=b'{"a":1.0}'), made(body=b'{"a":true}'), made(body=b'{"a":[1]}'), made(body=b'{"a":1,"b":null}'),
        made("t", "d", b"m", b'{"a":1}', (b"x", b"y")), made("t", "d", b"mx", b'{"a":1}'), made("td", ""),
        made(body=b'{"a":36893488147419103232}'), made(body=b'{"a":36893488147419103233}'),
    ]  # fmt: skip
    assert len(set(others)) == len(others) and {len(each) for each in others} == {32}
    same = (b' {"a" : 1 } ', b'{"a":1,"model":"x"}', b'{"stream":true,"a":1,"stream_options":{}}', b'{"\\u0061":1}')
    assert {made(body=body) for body in same} == {made()}
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for none in (
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b"[]",
        b"",
        b"{",
        deep,
        b'{"a":' + b"1" * 5000 + b"}",
    ):
        assert made(body=none) is None, none[:40]


def test_what_cache_control_may_say() -> None:
    assert terms_of("No-Store , max-age=5").no_store
    assert terms_of("no-cache").no_cache
    said = {
        text: terms_of(text).max_age_s for text in ("max-age=60", 'max-age="7"', "max-age", "max-age=-1", "private")
    }
    assert list(said.values()) == [60.0, 7.0, 0.0, 0.0, None]
