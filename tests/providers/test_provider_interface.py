"""What every provider has without writing it: both call forms, spellings, counting, errors with a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from genai_spine import (
    AuthenticationError,
    Capabilities,
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    InvalidRequest,
    LLMProvider,
    Message,
    MessageEnd,
    MessageStart,
    ModelCard,
    PartDelta,
    PartEnd,
    PartStart,
    Price,
    ProviderError,
    ProviderManager,
    RateLimitError,
    Refusal,
    SimulatedProvider,
    StreamEvent,
    Text,
    Thinking,
    TokenUsage,
    Tool,
    collect,
)
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret


class Parrot(LLMProvider):
    name = "parrot"
    asked: CompletionRequest | None = None

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        self.asked = request
        usage = TokenUsage(input_tokens=3, output_tokens=2)
        return CompletionResponse(model="grey", parts=(Text(text=request.messages[-1].text),), usage=usage)


class Streaming(Parrot):
    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        self.asked = request
        yield MessageStart(model="grey")
        yield PartStart(index=0, part=Thinking())
        yield PartDelta(0, "hm")
        yield PartEnd(index=0)
        yield PartStart(index=1, part=Text(text=""))
        yield PartDelta(1, "a")
        yield PartStart(index=2, part=Refusal())
        yield PartDelta(2, "no")
        yield PartDelta(1, "b")
        yield PartEnd(index=1)
        yield PartEnd(index=2)
        yield MessageEnd(usage=TokenUsage(input_tokens=5, output_tokens=7))


class Limited(Parrot):
    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise RateLimitError("slow down", retry_after_s=2.0)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="grey")
        raise RateLimitError("slow down")


async def drained(provider: LLMProvider, *args: Any, **options: Any) -> list[StreamEvent]:
    return [event async for event in provider.stream(*args, **options)]


# ---------------------------------------------------------------- call forms


@pytest.mark.parametrize(
    "form",
    [
        {"request": CompletionRequest(messages=(Message(role="user", content=(Text(text="Hi"),)),), temperature=0.5)},
        {"request": "Hi", "temperature": 0.5},
        {"request": ["Hi"], "temperature": 0.5},
        {"request": [{"role": "user", "content": "Hi"}], "temperature": 0.5},
        {"messages": "Hi", "temperature": 0.5},
        {"messages": [Message(role="user", content="Hi")], "temperature": 0.5},  # type: ignore[arg-type]
    ],
    ids=["request", "text", "texts", "dicts", "keywords", "messages"],
)
@pytest.mark.parametrize("call", ["complete", "generate", "chat", "complete_safe", "stream", "chat_stream"])
async def test_every_form_is_the_same_request(form: dict[str, Any], call: str) -> None:
    for provider in (Parrot(), Streaming()):
        asked = getattr(provider, call)(**form)
        if hasattr(asked, "__aiter__"):
            assert collect([event async for event in asked]).parts
        else:
            assert (await asked).content == "Hi"
        assert provider.asked is not None
        assert (provider.asked.messages[0].text, provider.asked.temperature) == ("Hi", 0.5)


async def test_keywords_change_a_request() -> None:
    provider = Parrot()
    await provider.complete(CompletionRequest(messages="Hi", temperature=0.5), temperature=0.1, model="m")  # type: ignore[arg-type]
    assert provider.asked is not None
    assert (provider.asked.temperature, provider.asked.model) == (0.1, "m")


async def test_a_keyword_that_is_none_is_named() -> None:
    for call in (Parrot().complete("Hi", temprature=1), drained(Parrot(), "Hi", temprature=1)):
        with pytest.raises(InvalidRequest, match="temprature"):
            await call
    with pytest.raises(InvalidRequest, match="messages"):
        await Parrot().complete(model="m")


@pytest.mark.parametrize("name", ["tools", "stop", "fallbacks", "tool_choice", "temperature", "extra", "cost_limit"])
async def test_none_is_what_is_not_given(name: str) -> None:
    assert CompletionRequest(messages="Hi", **{name: None}) == CompletionRequest(messages="Hi")  # type: ignore[arg-type]
    provider = Parrot()
    await provider.complete(CompletionRequest(messages="Hi", stop=("x",)), **{name: None})  # type: ignore[arg-type]
    assert provider.asked == CompletionRequest(messages="Hi", stop=() if name == "stop" else ("x",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"messages": None}, "messages"),
        ({"model": 5}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"stop": 3}, "stop"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"fallbacks": {"a": 1}}, "fallbacks"),
        ({"cost_limit": "abc"}, "cost_limit"),
        ({"extra": [1]}, "extra"),
    ],
    ids=str,
)
async def test_what_is_of_another_kind_is_named(options: dict[str, Any], param: str) -> None:
    given = {"messages": "Hi", **options}
    for call in (Parrot().complete(**given), drained(Streaming(), CompletionRequest(messages="Hi"), **options)):  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest) as raised:
            await call
        assert raised.value.param == param


@pytest.mark.parametrize(
    "options",
    [{"messages": "a\udcff"}, {"user": "\udcff"}, {"stop": "\udcff"}, {"tools": [{"name": "\udcff"}]}],
    ids=["messages", "user", "stop", "tools"],
)
async def test_half_of_a_pair_of_surrogates_is_no_text(options: dict[str, Any]) -> None:
    key = ProviderSettings(api_key=Secret("k"))
    for provider in (SimulatedProvider(), HttpProvider("openai", key), HttpProvider("anthropic", key)):
        given = {"messages": "Hi", "model": "m", **options}
        for call in (provider.complete(**given), drained(provider, **given)):
            with pytest.raises(InvalidRequest, match=r"holds U\+DCFF, which stands for no character"):
                await call


# ---------------------------------------------------------------- streams


async def test_a_provider_without_a_stream_replays_its_answer() -> None:
    response = collect(await drained(Parrot(), "Hi"))
    assert (response.content, response.model) == ("Hi", "grey")


async def test_the_view_of_texts_has_no_thoughts_and_no_refusals() -> None:
    for call in (Streaming().text_stream("Hi"), Streaming().stream_complete("Hi")):
        assert [piece async for piece in call] == ["a", "b"]


async def test_batches_and_stream_say_the_same() -> None:
    batches = [event async for events in Streaming().batches("Hi") for event in events]
    assert batches == await drained(Streaming(), "Hi")


class OfBatches(Parrot):
    async def batches(self, request: CompletionRequest) -> AsyncIterator[list[StreamEvent]]:
        yield [MessageStart(model="grey"), PartStart(index=0, part=Text(text="a")), PartEnd(index=0)]
        yield [MessageEnd(usage=TokenUsage(input_tokens=1, output_tokens=1))]


async def test_a_provider_may_write_batches_in_place_of_stream() -> None:
    provider = OfBatches()
    assert collect(await drained(provider, "Hi")).content == "a"
    assert provider.usage().call_count == 1


async def test_what_is_no_answer_is_named() -> None:
    class Mute(LLMProvider):
        async def complete(self, request: CompletionRequest) -> Any:
            return None

    with pytest.raises(ProviderError, match=r"Mute\.complete gave NoneType, which is no CompletionResponse"):
        await Mute().complete("Hi")


class Egg:
    """An async iterator that is no generator: it cannot be closed."""

    def __init__(self) -> None:
        self._left = [MessageStart(model="egg"), MessageEnd()]

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


async def test_a_stream_may_be_any_async_iterator_of_events() -> None:
    class Hen(Parrot):
        def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:  # type: ignore[override]
            return Egg()

    assert [type(event) for event in await drained(Hen(), "Hi")] == [MessageStart, MessageEnd]


@pytest.mark.filterwarnings("error")
async def test_what_is_no_stream_is_named() -> None:
    class Returning(Parrot):
        async def stream(self, request: CompletionRequest) -> Any:
            return Egg()

    class Waiting(Parrot):
        def stream(self, request: CompletionRequest) -> Any:
            yield MessageStart(model="grey")

    class Words(Parrot):
        async def stream(self, request: CompletionRequest) -> Any:
            yield "a"

    for provider, said in (
        (Returning(), r"Returning\.stream gave coroutine, which is no async iterator of events: write `async def"),
        (Waiting(), r"Waiting\.stream gave generator, which is no async iterator of events"),
        (Words(), r"Words\.stream gave str, which is no StreamEvent"),
    ):
        with pytest.raises(ProviderError, match=said):
            await drained(provider, "Hi")


async def test_what_a_stream_may_not_say_is_named() -> None:
    start, end = MessageStart(model="grey"), MessageEnd()
    begun = PartStart(index=0, part=Text(text="whole"))
    for events, said in (
        ([start, PartDelta(0, "a"), end], r"gave a PartDelta of part 0, for which there was no PartStart"),
        ([start, begun, PartEnd(index=1), end], r"gave a PartEnd of part 1, for which there was no PartStart"),
        ([start, begun, PartEnd(index=0), end, end], r"gave MessageEnd after its MessageEnd"),
    ):

        class Saying(Parrot):
            said: ClassVar[list[StreamEvent]] = events

            async def stream(self, request: CompletionRequest) -> Any:
                for event in self.said:
                    yield event

        with pytest.raises(ProviderError, match=said):
            await drained(Saying(), "Hi")


async def test_what_is_no_json_in_a_request_is_the_callers_mistake() -> None:
    provider = HttpProvider(
        "openai", ProviderSettings(type="openai", api_key=Secret("k"), base_url="http://127.0.0.1:9")
    )
    tool = Tool(name="f", parameters={"type": "object", "properties": {"a": {"type": str}}})
    with pytest.raises(InvalidRequest, match=r"the request holds what is not JSON: Encoding objects of type type"):
        await provider.complete("Hi", model="gpt-4o", tools=[tool])
    assert provider.metrics.request_count == 0
    await provider.close()


async def test_a_batch_may_be_empty() -> None:
    class Hesitant(OfBatches):
        async def batches(self, request: CompletionRequest) -> AsyncIterator[list[StreamEvent]]:
            yield []
            async for events in super().batches(request):
                yield events

    async with ProviderManager([Hesitant()]) as manager:
        assert "".join([text async for text in manager.text_stream("Hi")]) == "a"
        assert collect([event async for event in manager.stream("Hi")]).content == "a"


# ---------------------------------------------------------------- counting


async def test_every_call_is_counted_once() -> None:
    provider = Streaming()
    response = await provider.complete("Hi")
    assert response.provider == "parrot"
    assert response.duration_s is not None
    await drained(provider, "Hi")
    totals = provider.usage()
    assert (totals.call_count, totals.total_input, totals.total_output) == (2, 8, 9)
    assert provider.metrics.request_count == 2
    provider.reset_usage()
    assert provider.get_usage().call_count == 0


async def test_super_does_not_count_twice() -> None:
    class Louder(Parrot):
        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            return await super().complete(request)

    provider = Louder()
    await provider.complete("Hi")
    assert provider.usage().call_count == 1
    assert provider.metrics.request_count == 1


async def test_two_providers_of_one_class_count_apart() -> None:
    first, second = Parrot(), Parrot()
    await first.complete("Hi")
    assert (first.usage().call_count, second.usage().call_count) == (1, 0)


async def test_what_a_provider_reports_as_cost_is_believed() -> None:
    class Reporting(Parrot):
        def card(self, model: str | None = None) -> ModelCard:
            return ModelCard(id="grey", price=Price(input=Decimal(1), output=Decimal(1)))

        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            usage = TokenUsage(input_tokens=1, output_tokens=1, reported_cost_usd=Decimal("0.02"))
            return CompletionResponse(model="grey", usage=usage)

    assert (await Reporting().complete("Hi")).cost_usd == Decimal("0.02")
    assert Reporting().calculate_cost("grey", 1_000_000, 0) == Decimal(1)
    assert Parrot().calculate_cost("grey", 1_000_000, 0) is None


# ---------------------------------------------------------------- errors


async def test_errors_name_the_provider_and_are_counted() -> None:
    provider = Limited()
    with pytest.raises(RateLimitError) as raised:
        await provider.complete("Hi", model="grey")
    assert (raised.value.provider, raised.value.model, raised.value.retry_after_s) == ("parrot", "grey", 2.0)
    with pytest.raises(RateLimitError) as raised:
        await drained(provider, "Hi")
    assert raised.value.provider == "parrot"
    assert (provider.metrics.request_count, provider.metrics.error_count) == (2, 2)
    assert provider.usage().call_count == 0
    assert not provider.status().healthy


async def test_errors_as_values() -> None:
    response = await Limited().complete_safe("Hi", model="grey")
    assert (response.success, response.error, response.model) == (False, "slow down", "grey")
    assert (response.content, response.input_tokens, response.provider) == ("", 0, "parrot")
    refused = await Parrot().complete_safe("Hi", temprature=1)
    assert not refused.success


async def test_health_is_asked_for_without_an_exception() -> None:
    class Locked(Parrot):
        async def list_models(self) -> list[ModelCard]:
            raise AuthenticationError("the key is wrong")

    assert await Parrot().is_healthy()
    provider = Locked()
    assert not await provider.is_healthy()
    assert (provider.get_status().healthy, provider.status().error) == (False, "the key is wrong")


# ---------------------------------------------------------------- what it can do


async def test_probes_follow_the_card() -> None:
    class Able(Parrot):
        def card(self, model: str | None = None) -> ModelCard:
            able = Capabilities(tools=False, images=True, thinking=model == "big", system_messages=False)
            return ModelCard(id=model or "grey", capabilities=able, context_window=4096)

        async def list_models(self) -> list[ModelCard]:
            return [self.card("big"), self.card("small")]

    provider = Able()
    assert (provider.supports_tools(), provider.supports_functions()) == (False, False)
    assert provider.supports_images()
    assert not provider.supports_system_messages()
    assert (provider.supports_thinking("big"), provider.supports_thinking("small")) == (True, False)
    assert not provider.supports_code_execution()
    assert provider.token_limit() == provider.get_token_limit("big") == 4096
    assert await provider.models() == ["big", "small"]
    assert await provider.is_model_available("big")
    assert not await provider.is_model_available("huge")
    assert 0 < await provider.count_tokens("Hello") < await provider.count_tokens("Hello " * 20)


async def test_a_provider_without_embeddings_says_so() -> None:
    with pytest.raises(InvalidRequest, match="parrot makes no embeddings"):
        await Parrot().embed("Hi")


async def test_embeddings_in_every_form() -> None:
    class Vectors(Parrot):
        async def embed(self, request: Any) -> EmbeddingResponse:
            return EmbeddingResponse(model="v", embeddings=tuple((1.0,) for _ in request.input))

    provider = Vectors()
    for form, count in (("a", 1), (["a", "b"], 2), (("a"), 1)):
        response = await provider.embed(form)
        assert (len(response.embeddings), response.provider) == (count, "parrot")
    assert len((await provider.embed(input=["a", "b"], model="v")).embeddings) == 2


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": [1, 2]}, r"input\[0\]"),
        ({"input": "a", "dimension": 4}, "dimension"),
        ({"input": "a", "dimensions": "4"}, "dimensions"),
    ],
    ids=str,
)
async def test_what_no_vectors_can_be_made_of_is_named(options: dict[str, Any], word: str) -> None:
    class Vectors(Parrot):
        async def embed(self, request: Any) -> EmbeddingResponse:
            return EmbeddingResponse(model="v")

    provider = Vectors()
    for call in (provider.embed(**options), ProviderManager([provider]).embed(options.pop("input", None), **options)):
        with pytest.raises(InvalidRequest, match=word):
            await call


def test_without_complete_there_is_no_provider() -> None:
    class Mute(LLMProvider):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Mute()  # type: ignore[abstract]
