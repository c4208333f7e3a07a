"""What every provider must do, as tests for the authors of one. Needs no test framework and no plugin.

With pytest, which collects the class by its name:

    class TestParrot(ProviderTestSuite):
        config = TestConfig(test_models=("parrot-1",))

        @pytest.fixture
        def provider(self):
            return Parrot()

Without:

    report = await ProviderTestSuite.of(Parrot(), TestConfig(test_models=("parrot-1",))).run()
    assert report.ok, report

A provider that costs money is called some thirty times, with short texts. What it says it cannot do (its
`capabilities`, an embedding refused with InvalidRequest) is skipped. The same suite runs offline, against the
simulator, and live wherever a key is set:

    class TestLive(ProviderTestSuite):
        config = TestConfig(test_api_key=os.environ.get("PARROT_API_KEY"), needs_key=True, test_models=("grey",))
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar
from unittest import SkipTest

import msgspec

from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, ToolCall, ToolResult
from genai_spine.model.errors import InvalidRequest, ProviderError, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, TokenUsage, UsageTotals
from genai_spine.providers.foreign_failure import CODE as FAILED
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.status import ProviderStatus
from genai_spine.testing.laws import assert_well_formed

_EVENTS = (MessageStart, PartStart, PartDelta, PartEnd, MessageEnd)
_WEATHER = Tool(
    name="get_weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class TestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to test. Without `test_models` the provider's default model is asked, which it then must have."""

    __test__: ClassVar[bool] = False  # its name is the specification's, and not that of a test

    test_api_key: str | None = None
    """For the fixture that makes the provider."""
    needs_key: bool = False
    """Whether all is skipped where `test_api_key` is empty: the provider is the service itself."""
    skip_cost_tests: bool = False
    timeout_s: float = 30.0
    """For each test."""
    test_models: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Names of tests; what failed and what was skipped with the reason."""

    passed: tuple[str, ...]
    failed: dict[str, str]
    skipped: dict[str, str]

    @property
    def ok(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        lines = [f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"]
        lines += [f"FAILED  {name}: {why}" for name, why in self.failed.items()]
        lines += [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


def _waited(test: Callable[[Any, LLMProvider], Awaitable[None]]) -> Callable[[Any, LLMProvider], None]:
    """The test for a caller who does not await it. It runs in a loop of its own, closes the provider and
    is given `timeout_s`."""

    @functools.wraps(test)
    def waited(self: ProviderTestSuite, provider: LLMProvider) -> None:
        asyncio.run(self._checked(test, provider))

    return waited


class ProviderTestSuite:
    """The tests. A subclass may add its own and change `config`."""

    config: ClassVar[TestConfig] = TestConfig()
    _provider: LLMProvider | None = None
    _config: TestConfig | None = None

    # pytest collects no class with a constructor.
    @classmethod
    def of(cls, provider: LLMProvider, config: TestConfig | None = None) -> ProviderTestSuite:
        """The suite for a provider, to `run` without pytest."""
        suite = cls()
        suite._provider, suite._config = provider, config
        return suite

    async def run(self) -> Report:
        """Every test, one after the other."""
        assert self._provider is not None, "ProviderTestSuite.of(provider) makes one that runs"
        passed: list[str] = []
        failed: dict[str, str] = {}
        skipped: dict[str, str] = {}
        for name in (name for name in dir(self) if name.startswith("test_")):
            test = getattr(type(self), name)
            try:
                await self._checked(getattr(test, "__wrapped__", test), self._provider)
            except SkipTest as reason:
                skipped[name] = str(reason)
            except Exception as failure:
                cause = f" ({failure.__cause__!r})" if failure.__cause__ is not None else ""
                failed[name] = f"{type(failure).__name__}: {failure}{cause}"
            else:
                passed.append(name)
        return Report(passed=tuple(passed), failed=failed, skipped=skipped)

    async def _checked(self, test: Callable[[Any, LLMProvider], Awaitable[None]], provider: LLMProvider) -> None:
        try:
            if self._settings.needs_key and not self._settings.test_api_key:
                raise SkipTest("no test_api_key")
            bound = asyncio.timeout(self._settings.timeout_s)
            try:
                async with bound:
                    await test(self, provider)
            except TimeoutError as late:
                if not bound.expired():
                    raise
                raise TimeoutError(f"not done within {self._settings.timeout_s:g} s") from late
        finally:
            await provider.close()

    @property
    def _settings(self) -> TestConfig:
        return self._config or self.config

    def request(self, text: str = "Count from 1 to 5.", **options: Any) -> CompletionRequest:
        """A request to the first of the models under test."""
        models = self._settings.test_models
        message = Message(role="user", content=(Text(text=text),))
        return CompletionRequest(messages=(message,), model=models[0] if models else None, **options)

    # ------------------------------------------------------------ answers

    @_waited
    async def test_basic_chat(self, provider: LLMProvider) -> None:
        """A question is answered, by this provider, with parts and plausible counts."""
        response = await provider.complete(self.request("Hello, world!", max_tokens=100))
        _assert_response(response, provider)
        assert response.content, "the answer has no text"

    @_waited
    async def test_every_model_answers(self, provider: LLMProvider) -> None:
        """Each of `test_models` answers."""
        for model in self._settings.test_models or (None,):
            _assert_response(await provider.complete("Hello", model=model, max_tokens=100), provider)

    @_waited
    async def test_both_call_forms(self, provider: LLMProvider) -> None:
        """A request, messages in any form, a text, and keywords are the same question."""
        model = self.request().model
        forms: tuple[dict[str, Any], ...] = (
            {"request": self.request()},
            {"request": "Count from 1 to 5.", "model": model},
            {"request": [{"role": "user", "content": "Count from 1 to 5."}], "model": model},
            {"messages": "Count from 1 to 5.", "model": model},
        )
        for form in forms:
            _assert_response(await provider.complete(**form), provider)
        assert (await provider.generate(self.request())).parts, "generate is another name of complete"

    @_waited
    async def test_system_messages(self, provider: LLMProvider) -> None:
        """Instructions before the conversation, and earlier turns, are taken."""
        if not provider.supports_system_messages(self.request().model):
            raise SkipTest("the model takes no system messages")
        turns = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"))
        messages = [{"role": role, "content": text} for role, text in turns]
        _assert_response(await provider.complete(messages, model=self.request().model), provider)

    @_waited
    async def test_calls_at_the_same_time(self, provider: LLMProvider) -> None:
        """Several calls at once do not get in each other's way: none is given the answer of another."""
        answers = await asyncio.gather(*(provider.complete(self.request(f"Say {n}.")) for n in range(4)))
        for response in answers:
            _assert_response(response, provider)
        alone = [await provider.complete(self.request(f"Say {n}.")) for n in range(2)]
        if alone[0].parts != alone[1].parts:
            assert answers[0].parts != answers[1].parts, "two callers at once were given one answer"

    # ------------------------------------------------------------ streams

    @_waited
    async def test_streaming_chat(self, provider: LLMProvider) -> None:
        """A stream begins and ends once, and fills parts that are open."""
        events = await _streamed(provider, self.request())
        assert all(isinstance(event, _EVENTS) for event in events), "something else than the five events came"
        assert_well_formed(events)
        assert collect(events).content, "the stream has no text"

    @_waited
    async def test_stream_and_answer_agree(self, provider: LLMProvider) -> None:
        """The stream collects to the plain answer, where the model says the same twice."""
        first, second = [await provider.complete(self.request()) for _ in range(2)]
        if first.parts != second.parts:
            raise SkipTest("the model does not say the same twice")
        response = collect(await _streamed(provider, self.request()))
        assert response.parts == first.parts, f"the stream says {response.parts}, the plain answer {first.parts}"
        ends = f"the stream ends with {response.finish_reason!r}, the plain answer with {first.finish_reason!r}"
        assert response.finish_reason == first.finish_reason, ends

    @_waited
    async def test_text_stream(self, provider: LLMProvider) -> None:
        """The text view has texts only, and all of them."""
        pieces = [piece async for piece in provider.text_stream(self.request())]
        assert pieces, "no text came"
        assert all(isinstance(piece, str) for piece in pieces)

    @_waited
    async def test_a_stream_may_be_left_early(self, provider: LLMProvider) -> None:
        """Who leaves after the first event leaves nothing behind: the next call is answered."""
        stream: Any = provider.stream(self.request())
        async for event in stream:
            assert isinstance(event, MessageStart), f"the first event is {event!r}"
            break
        await stream.aclose()
        _assert_response(await provider.complete(self.request()), provider)

    @_waited
    async def test_a_call_may_be_cancelled(self, provider: LLMProvider) -> None:
        """A cancelled call ends as cancelled, if it had not ended, and leaves nothing behind."""
        call = asyncio.create_task(provider.complete(self.request()))
        await asyncio.sleep(0)
        if call.cancel():
            with suppress(asyncio.CancelledError):
                await call
            assert call.cancelled(), "a call that was cancelled was answered all the same"
        _assert_response(await provider.complete(self.request()), provider)

    # ------------------------------------------------------------ tools

    @_waited
    async def test_tools(self, provider: LLMProvider) -> None:
        """A required tool is called with JSON, and its result is taken back."""
        model = self.request().model
        if provider.capabilities(model).tools is not True:
            raise SkipTest("the model does not say that it calls tools")
        asked = self.request(
            "What is the weather in Paris?", tools=(_WEATHER,), tool_choice=ToolChoice(mode="required")
        )
        response = await provider.complete(asked)
        _assert_calls(response.tool_calls)
        _assert_calls(collect(await _streamed(provider, asked)).tool_calls)
        results = tuple(ToolResult(call_id=call.id, content=(Text(text="Sunny."),)) for call in response.tool_calls)
        answered = (
            *asked.messages,
            Message(role="assistant", content=response.parts),
            *(Message(role="tool", content=(result,)) for result in results),
        )
        last = await provider.complete(CompletionRequest(messages=answered, model=model, tools=(_WEATHER,)))
        _assert_response(last, provider)

    # ------------------------------------------------------------ counting

    @_waited
    async def test_usage_is_counted(self, provider: LLMProvider) -> None:
        """Every call counts once, streamed or not, with what the answer says that it used."""
        provider.reset_usage()
        assert provider.usage() == UsageTotals(), "reset_usage leaves nothing"
        response = await provider.complete(self.request())
        totals = provider.usage()
        assert totals.call_count == 1, f"one call was counted as {totals.call_count}"
        if response.usage is not None:
            assert totals.total_input == (response.usage.input_tokens or 0)
            assert totals.total_output == (response.usage.output_tokens or 0)
        await _streamed(provider, self.request())
        assert provider.usage().call_count == 2, "a stream counts as a call"

    @_waited
    async def test_cost(self, provider: LLMProvider) -> None:
        """A cost is a Decimal of USD, or None where the price is not known; never a float."""
        if self._settings.skip_cost_tests:
            raise SkipTest("skip_cost_tests")
        response = await provider.complete(self.request())
        model = self.request().model or provider.default_model or response.model
        for cost in (response.cost_usd, provider.calculate_cost(model, 1000, 100)):
            assert cost is None or isinstance(cost, Decimal), f"a cost of type {type(cost).__name__}"
            assert cost is None or cost >= 0, f"a cost of {cost}"
        once, twice = (provider.calculate_cost(model, n, n) for n in (1000, 2000))
        assert (once is None) == (twice is None)
        assert once is None or twice is None or twice >= once, "more tokens cost less"

    @_waited
    async def test_tokens(self, provider: LLMProvider) -> None:
        """Tokens can be counted or estimated before a call; the window is known or None."""
        short, long = [await provider.count_tokens(text) for text in ("Hello", "Hello " * 100)]
        assert 0 < short < long, f"{short} tokens for a word, {long} for a hundred"
        limit = provider.token_limit(self.request().model)
        assert limit is None or limit > 0, f"a window of {limit} tokens"

    # ------------------------------------------------------------ errors

    @_waited
    async def test_errors_are_of_the_tree(self, provider: LLMProvider) -> None:
        """What goes wrong is an error of the tree that names the provider, or an answer that says so."""
        asked = msgspec.structs.replace(self.request("Hello"), model="no-such-model-of-this-provider")
        said_by: str | None = provider.name
        foreign = ""
        try:
            _assert_response(await provider.complete(asked), provider)
        except ProviderError as error:
            said_by, foreign = error.provider, error.message if error.code == FAILED else ""
        except SpineError:
            pass
        assert not foreign, f"no error of the tree: {foreign}"
        assert said_by == provider.name, "the error does not name the provider"
        safe = await provider.complete_safe(asked)
        assert safe.success == (safe.error is None), f"success is {safe.success}, the error {safe.error!r}"

    @_waited
    async def test_a_call_that_is_none_is_refused(self, provider: LLMProvider) -> None:
        """A keyword that does not exist is the caller's mistake, and named."""
        refusal = ""
        try:
            await provider.complete("Hello", no_such_option=1)
        except InvalidRequest as error:
            refusal = error.message
        assert "no_such_option" in refusal, "a keyword that does not exist was taken, or not named"

    # ------------------------------------------------------------ what there is

    @_waited
    async def test_models(self, provider: LLMProvider) -> None:
        """Models are listed as cards; the first one on the list is available, a made-up one is not."""
        cards = await provider.list_models()
        assert all(isinstance(card, ModelCard) and card.id for card in cards), "something else than cards is listed"
        if cards:
            assert await provider.is_model_available(cards[0].id), f"{cards[0].id!r} is listed and not available"
        assert not await provider.is_model_available("no-such-model-of-this-provider"), "a made-up model is available"

    @_waited
    async def test_embeddings(self, provider: LLMProvider) -> None:
        """One vector for each text, all of one length."""
        try:
            response = await provider.embed(["one", "two"])
        except InvalidRequest as reason:
            raise SkipTest(reason.message) from None
        assert len(response.embeddings) == 2, f"{len(response.embeddings)} vectors for two texts"
        assert len({len(vector) for vector in response.embeddings}) == 1, "vectors of different lengths"
        assert response.provider == provider.name

    @_waited
    async def test_health(self, provider: LLMProvider) -> None:
        """Health is asked without an exception, and the status says the same."""
        healthy = await provider.is_healthy()
        status = provider.status()
        assert isinstance(status, ProviderStatus)
        assert status.healthy is healthy, f"is_healthy says {healthy}, the status {status.healthy}"
        assert status.name == provider.name

    @_waited
    async def test_close_may_be_called_again(self, provider: LLMProvider) -> None:
        """Closing twice does no harm, and a closed provider may be used again."""
        await provider.close()
        await provider.close()
        _assert_response(await provider.complete(self.request()), provider)


async def _streamed(provider: LLMProvider, request: CompletionRequest) -> list[StreamEvent]:
    return [event async for event in provider.stream(request)]


def _assert_calls(calls: tuple[ToolCall, ...]) -> None:
    assert calls, "a required tool was not called"
    assert len({call.id for call in calls}) == len(calls), "two calls have the same id"
    for call in calls:
        assert call.name == _WEATHER.name, f"{call.name!r} was called, which is no tool"
        assert isinstance(call.input, dict), f"arguments that are no object: {call.arguments!r}"


def _assert_response(response: CompletionResponse, provider: LLMProvider) -> None:
    assert isinstance(response, CompletionResponse), f"an answer of type {type(response).__name__}"
    assert response.success, f"an answer that failed: {response.error}"
    assert response.model, "the answer does not say which model gave it"
    assert response.provider == provider.name, "the answer does not name the provider"
    if response.usage is not None:
        _assert_usage(response.usage)


def _assert_usage(usage: TokenUsage) -> None:
    for name in usage.__struct_fields__:
        if name.endswith("_tokens") and (count := getattr(usage, name)) is not None:
            assert type(count) is int, f"{name} is {count!r}"
            assert count >= 0, f"{name} is {count!r}"
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    assert cached <= (usage.input_tokens or cached), "cached tokens are part of input_tokens"
    assert (usage.reasoning_tokens or 0) <= (usage.output_tokens or 0), "reasoning is part of output_tokens"
