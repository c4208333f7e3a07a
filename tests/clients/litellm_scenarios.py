"""What the type `litellm` must do, in an environment that has LiteLLM: its prefixes before a simulated upstream.

`place.upstream` is LiteLLM's prefix, `place.url` the simulator's root. Here the package itself is the client; it is
imported from the checkout.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from client_stage import CITY, PIXEL, WEATHER, Place, only_for

from genai_spine import CompletionRequest, CompletionResponse, Message, OutputSchema, Tool, ToolChoice, collect
from genai_spine.model.content import Text, Thinking, ToolResult
from genai_spine.model.errors import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.providers.litellm_provider import LiteLLMProvider
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.laws import assert_well_formed
from genai_spine.testing.suite import ProviderTestSuite, TestConfig

KEY = "sk-of-the-upstream-9876543210"
MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-4-5", "ollama_chat": "simulated", "ollama": "simulated"}
TOOL = Tool(name="get_weather", description="The weather in a city.", parameters=WEATHER)


def _model(place: Place, name: str | None = None) -> str:
    return f"{place.upstream}/{name or MODELS[place.upstream]}"


def _provider(place: Place, **settings: Any) -> LiteLLMProvider:
    base_url = place.url + ("/v1" if place.upstream == "openai" else "")
    given: dict[str, Any] = {"model": _model(place), "base_url": base_url, "api_key": Secret(KEY), **settings}
    made = build_provider("any", ProviderSettings(type="litellm", **given))
    assert isinstance(made, LiteLLMProvider)
    return made


def _run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


async def _streamed(provider: LiteLLMProvider, *args: Any, **options: Any) -> CompletionResponse:
    events = [event async for event in provider.stream(*args, **options)]
    assert_well_formed(events)
    return collect(events)


async def _failure(call: Awaitable[Any], kind: type[Exception]) -> Any:
    try:
        answer = await call
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}: {answer!r}")


def a_question_is_answered(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        plain = await provider.complete("Hello", max_tokens=50, temperature=1)
        assert "Hello" in plain.content, plain
        assert plain.provider == "any" and plain.usage is not None and plain.notices == ()
        streamed = await _streamed(provider, "Hello", max_tokens=50, temperature=1)
        assert streamed.parts == plain.parts and streamed.finish_reason == plain.finish_reason
        assert streamed.usage is not None and streamed.usage.input_tokens == plain.usage.input_tokens
        assert provider.usage().call_count == 2

    _run(work)
    asked = [request for request in place.received() if "show" not in request["path"]]
    paths = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama_chat": "/api/chat"}
    assert [request["path"] for request in asked] == [paths.get(place.upstream, "/api/generate")] * 2
    assert all(KEY in str(request["headers"]) for request in asked)


@only_for("openai", "anthropic", "ollama_chat")
def the_suite_for_providers_passes(place: Place) -> None:
    async def work() -> None:
        config = TestConfig(test_models=(_model(place),))
        report = await ProviderTestSuite.of(_provider(place), config).run()
        assert report.ok, str(report)

    _run(work)


@only_for("openai", "anthropic", "ollama_chat")
def a_tool_is_called_and_its_result_taken_back(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        asked = CompletionRequest(
            messages="Weather in Vienna?",  # type: ignore[arg-type]  # accept.py
            tools=(TOOL,),
            tool_choice=ToolChoice(mode="required"),
            max_tokens=500,
        )
        plain = await provider.complete(asked)
        streamed = await _streamed(provider, asked)
        for answer in (plain, streamed):
            (call,) = answer.tool_calls
            assert call.name == "get_weather" and set(json.loads(call.arguments)) >= {"city", "unit"}, call
        (call,) = plain.tool_calls
        turns = (
            *asked.messages,
            Message(role="assistant", content=plain.parts),
            Message(role="tool", content=(ToolResult(call_id=call.id, content=(Text(text="Sunny, 21 C"),)),)),
        )
        last = await provider.complete(CompletionRequest(messages=turns, tools=(TOOL,), max_tokens=500))
        assert last.success

    _run(work)
    assert "Sunny, 21 C" in place.received()[-1]["raw"]


def thoughts_come_and_go_back(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        plain = await provider.complete("Hello", thinking="high", max_tokens=9000)
        streamed = await _streamed(provider, "Hello", thinking="high", max_tokens=9000)
        for answer in (plain, streamed):
            (thought,) = [part for part in answer.parts if isinstance(part, Thinking)]
            assert thought.text and bool(thought.signature) == (place.upstream == "anthropic"), thought
            assert answer.content
        turns = (Message(role="user", content="Hello"), Message(role="assistant", content=plain.parts))  # type: ignore[arg-type]
        await provider.complete((*turns, Message(role="user", content="More")), thinking="high", max_tokens=9000)  # type: ignore[arg-type]
        if place.upstream == "anthropic":
            signature = next(part.signature for part in plain.parts if isinstance(part, Thinking))
            assert str(signature) in place.received()[-1]["raw"]

    _run(work)


def an_image_is_sent_and_no_address_fetched(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)

        def turn(url: str) -> list[dict[str, Any]]:
            return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

        await provider.complete(turn(f"data:image/png;base64,{PIXEL}"), max_tokens=50)
        assert PIXEL in place.received()[-1]["raw"]
        count = len(place.received())
        await _failure(provider.complete(turn(f"{place.url}/a.png"), max_tokens=50), InvalidRequest)
        assert len(place.received()) == count
        error = await _failure(provider.complete("Hi", model=f"{place.upstream}/{place.url}"), InvalidRequest)
        assert "holds no address" in error.message and len(place.received()) == count

    _run(work)


def an_answer_keeps_to_a_schema(place: Place) -> None:
    async def work() -> None:
        wanted = OutputSchema(name="city", schema=CITY)
        answer = await _provider(place).complete("A city", output_schema=wanted, max_tokens=500)
        assert set(json.loads(answer.content)) == {"name", "inhabitants"}

    _run(work)


def errors_are_of_the_tree(place: Place) -> None:
    expected: dict[str, type[ProviderError]] = {
        "status=401": AuthenticationError,
        "status=404": ModelNotFound,
        "status=429,retry_after=7": RateLimitError,
        "status=500": ServerError,
        "status=400,message=prompt is too long": ContextLengthExceeded,
        "body=empty": BadReply,
    }

    async def work() -> None:
        provider = _provider(place)
        for fault, kind in expected.items():
            error = await _failure(provider.complete("Hi", model=_model(place, f"simulated+{fault}")), kind)
            assert type(error) is kind, error
            assert error.provider == "any" and KEY not in error.message and "litellm" not in error.message
            if kind is not BadReply:
                assert error.message in (f"This is a simulated error of status {fault[7:10]}.", "prompt is too long")
                assert error.status_code == int(fault[7:10])
                again = await _failure(_streamed(provider, "Hi", model=_model(place, f"simulated+{fault}")), kind)
                assert type(again) is kind
            if kind is RateLimitError:
                assert error.retryable and error.retry_after_s == 7
        # Each was asked for once: no retries but the engine's.
        assert len([r for r in place.received() if "show" not in r["path"]]) == 2 * len(expected) - 1

    _run(work)


def a_stream_that_breaks_is_no_answer(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        for fault, kind in {"end=3": StreamBroken, "close=3": APIConnectionError}.items():
            await _failure(_streamed(provider, "Count", model=_model(place, f"sim-long-50+{fault}")), kind)

    _run(work)


def nobody_listens(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place, base_url="http://127.0.0.1:9")
        error = await _failure(provider.complete("Hi", max_tokens=5), APIConnectionError)
        assert error.retryable and error.fallback

    _run(work)


def a_stream_is_left_early(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        stream: Any = provider.stream("Count", model=_model(place, "sim-long-300+every_ms=50,drip=1"), max_tokens=900)
        async for _ in stream:
            break
        await stream.aclose()
        for _ in range(200):
            if place.received()[-1]["outcome"] != "open":
                break
            await asyncio.sleep(0.02)
        assert place.received()[-1]["outcome"] in ("gone", "broken"), place.received()[-1]["outcome"]
        assert (await provider.complete("Hello", max_tokens=50)).content

    _run(work)


def a_task_is_cancelled(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        call = asyncio.create_task(provider.complete("Hi", model=_model(place, "simulated+stall=head,for_s=30")))
        for _ in range(500):
            if [request for request in place.received() if "show" not in request["path"]]:
                break
            await asyncio.sleep(0.02)
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            pass
        else:
            raise AssertionError("not cancelled")
        assert (await provider.complete("Hello", max_tokens=50)).content

    _run(work)


@only_for("openai", "anthropic")
def what_cannot_be_said_is_told(place: Place) -> None:
    async def work() -> None:
        own = {"api_base": "http://127.0.0.1:9", "mock_response": "never", "metadata": {"a": "b"}}
        provider = _provider(place, model=_model(place, "simulated"))
        extra = {"openai_chat": own, "ollama_chat": {"keep_alive": 1}}
        answer = await provider.complete("Hello", max_tokens=50, seed=7, extra=extra)
        assert "Hello" in answer.content
        told = {notice.param for notice in answer.notices}
        assert told >= {"api_base", "mock_response", "metadata", "keep_alive"}
        assert ("seed" in told) == (place.upstream == "anthropic")

    _run(work)
    body = place.received()[-1]["body"]
    assert not {"api_base", "mock_response", "metadata"} & body.keys()
    assert ("seed" in body) == (place.upstream == "openai")


@only_for("openai")
def a_key_goes_to_no_other_service(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place)
        error = await _failure(provider.complete("Hi", model="anthropic/claude-sonnet-4-5"), AuthenticationError)
        assert KEY not in error.message
        assert place.received() == []
        error = await _failure(provider.complete("Hi", model="no-such-service/m"), InvalidRequest)
        assert error.param == "model" and place.received() == []

    _run(work)


@only_for("openai", "anthropic")
def a_key_that_is_refused_is_left_out(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place, api_key=None, api_keys=[Secret(KEY[::-1]), Secret(KEY)])
        assert provider.keys is not None
        error = await _failure(provider.complete("Hi"), AuthenticationError)
        assert error.has_another_key and provider.keys.out == 1
        for _ in range(3):
            await provider.complete("Hi")
        refused = _model(place, "simulated+status=401")
        error = await _failure(provider.complete("Hi", model=refused), AuthenticationError)
        assert not error.has_another_key and provider.keys.out == 2
        await _failure(provider.complete("Hi"), AuthenticationError)  # the one that is out for the longest
        await provider.complete("Hi", model=_model(place))
        assert provider.keys.out == 1

    _run(work)


@only_for("openai")
def what_it_cost_is_litellms_word(place: Place) -> None:
    async def work() -> None:
        provider = _provider(place, model="openai/gpt-4o-mini")
        plain = await provider.complete("Hello there")
        assert plain.usage is not None and plain.usage.reported_cost_usd is not None
        # 0.15 and 0.60 USD a million tokens, in LiteLLM's list since 2024-07.
        tokens = (plain.usage.input_tokens or 0) * 150 + (plain.usage.output_tokens or 0) * 600
        assert plain.cost_usd == plain.usage.reported_cost_usd == Decimal(tokens) / 10**9
        streamed = await _streamed(provider, "Hello there")
        assert streamed.usage is not None and streamed.usage.reported_cost_usd == plain.cost_usd
        unknown = await provider.complete("Hello", model="openai/simulated")
        assert unknown.cost_usd is None
        vectors = await provider.embed(["one", "two"], model="openai/text-embedding-3-small")
        assert len(vectors.embeddings) == 2 and vectors.usage is not None
        assert vectors.usage.reported_cost_usd == Decimal(2 * (vectors.usage.input_tokens or 0)) / 10**8
        assert provider.usage().total_cost_usd > 0 and provider.usage().unpriced_calls == 1

    _run(work)


@only_for("openai")
def litellm_is_left_as_it_is(place: Place) -> None:
    import litellm  # type: ignore[import-not-found]

    async def work() -> None:
        await _provider(place).complete("Hello", max_tokens=50)

    _run(work)
    assert litellm.suppress_debug_info is True
    assert litellm.drop_params is False and not litellm.set_verbose
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback", "_async_success_callback"):
        assert getattr(litellm, name) == [], name
