"""The suite for third parties: it passes what is right, and sees each rule that is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from genai_spine import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    HttpProvider,
    LLMProvider,
    MessageEnd,
    MessageStart,
    ModelCard,
    PartDelta,
    PartEnd,
    PartStart,
    ProviderSettings,
    SimulatedProvider,
    StreamEvent,
    Text,
    TokenUsage,
    ToolCall,
    UsageTotals,
)
from genai_spine.model.card import Capabilities
from genai_spine.model.errors import ModelNotFound
from genai_spine.providers.status import ProviderStatus
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.suite import ProviderTestSuite, TestConfig


class Parrot(LLMProvider):
    """Six lines of a stranger, with `complete` alone."""

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="parrot", parts=(Text(text=request.messages[-1].text),))


class Cockatoo(Parrot):
    """And one that streams."""

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="parrot")
        yield PartStart(index=0, part=Text(text=""))
        for word in request.messages[-1].text.split(" "):
            yield PartDelta(0, word)
        yield PartEnd(index=0)
        yield MessageEnd(usage=TokenUsage(input_tokens=1, output_tokens=1))

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        text = request.messages[-1].text.replace(" ", "")
        return CompletionResponse(model="parrot", parts=(Text(text=text),))


class TestSimulated(ProviderTestSuite):
    @pytest.fixture
    def provider(self) -> LLMProvider:
        return SimulatedProvider()


class TestParrot(ProviderTestSuite):
    @pytest.fixture
    def provider(self) -> LLMProvider:
        return Parrot()


class TestCockatoo(ProviderTestSuite):
    @pytest.fixture
    def provider(self) -> LLMProvider:
        return Cockatoo()


class OverHttp(ProviderTestSuite):
    """The simulator on a real socket, in one of the dialects."""

    config = TestConfig(test_models=("simulated",), timeout_s=10)
    row = ""
    path = ""

    @pytest.fixture
    def provider(self) -> Iterator[LLMProvider]:
        with running_simulator() as simulator:
            settings = ProviderSettings(base_url=simulator.urls.root + self.path, embed_model="sim-embed")
            yield HttpProvider(self.row, settings, name="over-http")


class TestOpenAIOverHttp(OverHttp):
    row, path = "openai_compatible", "/v1"


class TestOllamaOverHttp(OverHttp):
    row = "ollama"


class TestAnthropicOverHttp(OverHttp):
    row = "anthropic"

    @pytest.fixture
    def provider(self) -> Iterator[LLMProvider]:
        from genai_spine.settings import Secret

        with running_simulator() as simulator:
            settings = ProviderSettings(base_url=simulator.urls.anthropic, api_key=Secret("k"))
            yield HttpProvider("anthropic", settings)


async def test_it_runs_without_pytest() -> None:
    report = await ProviderTestSuite.of(SimulatedProvider(), TestConfig(skip_cost_tests=True)).run()
    assert report.ok, report
    assert report.skipped == {"test_cost": "skip_cost_tests"}
    assert len(report.passed) > 15
    assert str(report).startswith(f"{len(report.passed)} passed, 0 failed, 1 skipped\nskipped test_cost")


async def test_a_live_suite_is_skipped_without_a_key() -> None:
    for key, skips in ((None, True), ("", True), ("sk-1", False)):
        config = TestConfig(test_api_key=key, needs_key=True)
        report = await ProviderTestSuite.of(Parrot(), config).run()
        assert bool(report.passed) is not skips
        assert (report.skipped.get("test_basic_chat") == "no test_api_key") is skips
        assert report.ok


# ---------------------------------------------------------------- each rule broken


class NoText(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="m")


class NoModel(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="", parts=(Text(text="a"),))


class NotAnAnswer(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="m", parts=(Text(text="a"),), success=False, error="oops")


class Uncounted(Parrot):
    def usage(self) -> UsageTotals:
        return UsageTotals()


class NegativeUsage(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        usage = TokenUsage(input_tokens=-1, output_tokens=1)
        return CompletionResponse(model="m", parts=(Text(text="a"),), usage=usage)


class CachedApart(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        usage = TokenUsage(input_tokens=1, output_tokens=1, cache_read_tokens=10)
        return CompletionResponse(model="m", parts=(Text(text="a"),), usage=usage)


class FloatCost(Parrot):
    def calculate_cost(self, model: str, input_tokens: int, output_tokens: int, usage: Any = None) -> Any:
        return 0.1


class CheaperByTheDozen(Parrot):
    def calculate_cost(self, model: str, input_tokens: int, output_tokens: int, usage: Any = None) -> Any:
        return Decimal(1) / (input_tokens + 1)


class ForeignError(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        if request.model is not None:
            raise RuntimeError("not of the tree")
        return await super().complete(request)


class NoKeywords(LLMProvider):
    """Undoes the wrapping that every subclass gets."""

    async def complete(self, request: Any = None, **options: Any) -> CompletionResponse:
        return CompletionResponse(model="m", parts=(Text(text="a"),))


NoKeywords.complete = NoKeywords.complete.__wrapped__  # type: ignore[attr-defined, method-assign]


class NoEnd(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartStart(index=0, part=Text(text=""))
        yield PartDelta(0, "a")
        yield PartEnd(index=0)


class TwoStarts(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield MessageStart(model="m")
        yield MessageEnd()


class PartsOutOfOrder(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartStart(index=1, part=Text(text="a"))
        yield PartEnd(index=1)
        yield MessageEnd()


class TextOfNoPart(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartDelta(0, "a")
        yield MessageEnd()


class NeverEnded(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartStart(index=0, part=Text(text="a"))
        yield MessageEnd()


class SaysOtherwise(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        yield PartStart(index=0, part=Text(text="something else"))
        yield PartEnd(index=0)
        yield MessageEnd()


class StreamsStrings(Cockatoo):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        yield "a"
        yield MessageEnd()


class NoTool(Parrot):
    def card(self, model: str | None = None) -> ModelCard:
        return ModelCard(id="m", capabilities=Capabilities(tools=True))


class WrongArguments(NoTool):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        call = ToolCall(id="i", name="get_weather", arguments="[1]")
        return CompletionResponse(model="m", parts=(Text(text="a"), call))


class ClosesForGood(Parrot):
    closed = False

    async def close(self) -> None:
        assert not self.closed, "closed already"
        self.closed = True


class NoCards(Parrot):
    async def list_models(self) -> list[Any]:
        return ["m"]


class HasEveryModel(Parrot):
    async def is_model_available(self, model: str) -> bool:
        return True


class OneVector(Parrot):
    async def embed(self, request: Any) -> EmbeddingResponse:
        return EmbeddingResponse(model="m", embeddings=((1.0,),))


class RaggedVectors(Parrot):
    async def embed(self, request: Any) -> EmbeddingResponse:
        return EmbeddingResponse(model="m", embeddings=((1.0,), (1.0, 2.0)))


class SickButWell(Parrot):
    def status(self) -> ProviderStatus:
        return ProviderStatus(name=self.name, healthy=False)


class NoTokens(Parrot):
    async def count_tokens(self, content: Any, model: str | None = None) -> int:
        return 0


class Slow(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        await asyncio.sleep(60)
        raise AssertionError


class SwallowsCancellation(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            raise RuntimeError("cancelled, and said otherwise") from None
        return await super().complete(request)


class HearsNoCancel(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)
        return await super().complete(request)


class MixesUpCallers(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        self.request = request
        await asyncio.sleep(0)
        return await super().complete(self.request)


class KnowsOneModel(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        if request.model == "second":
            raise ModelNotFound("no such model")
        return await super().complete(request)


BROKEN: dict[type[LLMProvider], tuple[str, str]] = {
    SwallowsCancellation: ("test_a_call_may_be_cancelled", "said otherwise"),
    KnowsOneModel: ("test_every_model_answers", "no such model"),
    NoText: ("test_basic_chat", "no text"),
    NoModel: ("test_basic_chat", "which model"),
    NotAnAnswer: ("test_basic_chat", "oops"),
    Uncounted: ("test_usage_is_counted", "counted as 0"),
    NegativeUsage: ("test_basic_chat", "input_tokens is -1"),
    CachedApart: ("test_basic_chat", "cached tokens are part"),
    FloatCost: ("test_cost", "type float"),
    CheaperByTheDozen: ("test_cost", "cost less"),
    ForeignError: ("test_errors_are_of_the_tree", "RuntimeError"),
    NoKeywords: ("test_a_call_that_is_none_is_refused", "was taken"),
    NoEnd: ("test_streaming_chat", "last event"),
    TwoStarts: ("test_streaming_chat", "MessageStart within"),
    PartsOutOfOrder: ("test_streaming_chat", "where 0 was due"),
    TextOfNoPart: ("test_streaming_chat", "no PartStart"),
    NeverEnded: ("test_streaming_chat", "never ended"),
    SaysOtherwise: ("test_stream_and_answer_agree", "the stream says"),
    MixesUpCallers: ("test_calls_at_the_same_time", "given one answer"),
    HearsNoCancel: ("test_a_call_may_be_cancelled", "all the same"),
    StreamsStrings: ("test_streaming_chat", "gave str, which is no StreamEvent"),
    NoTool: ("test_tools", "not called"),
    WrongArguments: ("test_tools", "no object"),
    ClosesForGood: ("test_close_may_be_called_again", "closed already"),
    NoCards: ("test_models", "which is no ModelCard"),
    HasEveryModel: ("test_models", "made-up model"),
    OneVector: ("test_embeddings", "1 vectors for two"),
    RaggedVectors: ("test_embeddings", "different lengths"),
    SickButWell: ("test_health", "the status False"),
    NoTokens: ("test_tokens", "0 tokens"),
    Slow: ("test_basic_chat", "TimeoutError: not done within"),
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_a_broken_rule_is_seen(kind: type[LLMProvider]) -> None:
    test, why = BROKEN[kind]
    config = TestConfig(timeout_s=0.05 if kind is Slow else 5, test_models=("first", "second"))
    if kind is not KnowsOneModel:
        config = msgspec.structs.replace(config, test_models=())
    report = await ProviderTestSuite.of(kind(), config).run()
    assert not report.ok
    assert why in report.failed.get(test, ""), report
