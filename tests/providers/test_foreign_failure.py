"""Exceptions of somebody else's provider: what they mean, who is asked then, and what callers read of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from genai_spine import (
    APIConnectionError,
    AuthenticationError,
    BadRequest,
    CompletionRequest,
    CompletionResponse,
    ConfigError,
    LLMProvider,
    ManagerConfig,
    MessageEnd,
    MessageStart,
    ModelCard,
    PartEnd,
    PartStart,
    ProviderError,
    ProviderManager,
    ProviderRegistry,
    ProviderTimeout,
    RateLimitError,
    RerankRequest,
    ServerError,
    SimulatedProvider,
    StreamEvent,
    Text,
    TokenUsage,
)

Act = Callable[[], Awaitable[Any]]


class Foreign(LLMProvider):
    """Does something of its own wherever it is asked."""

    name = "foreign"

    def __init__(self, act: Act) -> None:
        self.act = act
        self.calls = 0

    @property
    def default_model(self) -> str:
        return "m"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        self.calls += 1
        await self.act()
        raise AssertionError

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        yield MessageStart(model="m")
        await self.act()

    async def list_models(self) -> list[ModelCard]:
        await self.act()
        return []


def raising(error: Exception) -> Act:
    async def act() -> None:
        raise error

    return act


async def nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with httpx.AsyncClient() as client:
            await client.get(f"http://127.0.0.1:{taken.getsockname()[1]}/secret-path")


async def resource_missing() -> None:
    await asyncio.to_thread(lambda: open("/no/such/file").close())  # it is not there


async def late() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.sleep(5)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raising(RateLimitError("busy", retry_after_s=7))())  # type: ignore[arg-type]  # a coroutine


def of_httpx(status: int, **headers: str) -> Exception:
    asked = httpx.Request("POST", "https://llm.internal/v1?key=hidden")
    answer = httpx.Response(status, headers=headers, request=asked)
    with pytest.raises(httpx.HTTPStatusError) as raised:
        answer.raise_for_status()
    return raised.value


class OfAClient(Exception):
    """As the clients of OpenAI and of Anthropic have it."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


@pytest.mark.parametrize(
    ("act", "kind", "retryable", "fallback", "said"),
    [
        (nobody_listens, APIConnectionError, True, True, "no connection, or it broke: httpx.ConnectError"),
        (raising(ConnectionResetError("gone")), APIConnectionError, True, True, "it broke: ConnectionResetError"),
        (late, ProviderTimeout, True, True, "the provider gave up"),
        (raising(of_httpx(429, **{"Retry-After": "3"})), RateLimitError, True, True, "429 Too Many Requests"),
        (raising(of_httpx(503)), ServerError, True, True, "503 Service Unavailable"),
        (raising(OfAClient("bad key sk-0123456789abcdefghijkl", 401)), AuthenticationError, False, True, "bad key"),
        (raising(OfAClient("no such parameter", 400)), BadRequest, False, False, "no such parameter"),
        (resource_missing, ProviderError, False, True, "its complete failed: FileNotFoundError"),
        (raising(KeyError("prompt")), ProviderError, False, True, "its complete failed: KeyError"),
        (in_a_group, RateLimitError, True, True, "busy"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_what_a_foreign_exception_means(
    act: Act, kind: type[ProviderError], retryable: bool, fallback: bool, said: str
) -> None:
    provider: LLMProvider = Foreign(act)
    with pytest.raises(ProviderError) as raised:
        await provider.complete("Hi")
    error = raised.value
    assert type(error) is kind
    assert (error.retryable, error.fallback, error.provider) == (retryable, fallback, "foreign")
    assert said in error.message
    assert not any(word in error.message for word in ("llm.internal", "hidden", "secret-path", "sk-01", "prompt", "\n"))
    assert provider.metrics.error_count == 1
    assert error.__cause__ is not None or kind is RateLimitError


async def test_how_long_to_wait_is_taken_over() -> None:
    provider: LLMProvider = Foreign(raising(of_httpx(429, **{"Retry-After": "3"})))
    with pytest.raises(RateLimitError) as raised:
        await provider.complete("Hi")
    assert (raised.value.retry_after_s, raised.value.status_code) == (3, 429)


@pytest.mark.parametrize("act", [nobody_listens, raising(KeyError("x"))], ids=["network", "bug"])
async def test_another_provider_takes_over_streams_too(act: Act) -> None:
    foreign = Foreign(act)
    quick = ManagerConfig(max_retries=1, retry_delay_ms=1)
    manager = ProviderManager([foreign]).with_fallback(SimulatedProvider()).with_config(quick)
    assert (await manager.complete("Hi")).provider == "simulated"
    assert foreign.calls == (2 if act is nobody_listens else 1), "the network is tried again, a bug is not"
    assert [piece async for piece in manager.text_stream("Hi")]


async def test_a_list_of_models_that_fails_hides_no_other_and_is_told() -> None:
    foreign = Foreign(raising(KeyError("data")))
    manager = ProviderManager([foreign]).with_fallback(SimulatedProvider())
    assert {card.provider for card in await manager.list_models()} == {"simulated"}
    assert not await foreign.is_healthy()
    assert foreign.status().error == "its list_models failed: KeyError: 'data'"
    with pytest.raises(ConfigError, match="foreign: its list_models failed: KeyError: 'data'"):
        await ProviderRegistry([foreign]).validate_connectivity()


async def test_who_cancels_is_obeyed() -> None:
    foreign: LLMProvider = Foreign(lambda: asyncio.sleep(5))
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.01):
            await foreign.complete("Hi")
    assert not isinstance(raised.value, ProviderError)


A = Text(text="a")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CompletionResponse(model="m", parts="hello"), "parts of type str"),  # type: ignore[arg-type]  # as all here
        (CompletionResponse(model="m", parts=("hello",)), r"parts\[0\] of type str, which is no part: text is Text"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(A, {"type": "text"})), r"parts\[1\] of type dict"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(Text(text=None),)), r"parts\[0\] with a text of type NoneType"),  # type: ignore[arg-type]
        (CompletionResponse(model=None, parts=(A,)), "a model of type NoneType"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(A,), finish_reason="end_turn"), "none of stop, length"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(A,), usage={"input_tokens": 1}), "a usage of type dict"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(A,), usage=TokenUsage(input_tokens=1.5)), "input_tokens is 1.5"),  # type: ignore[arg-type]
        (CompletionResponse(model="m", parts=(A,), usage=TokenUsage(output_tokens=-1)), "output_tokens is -1"),
    ],
)
async def test_an_answer_of_wrong_kinds_is_named_and_not_shown_without_its_content(answer: Any, said: str) -> None:
    class Wrong(LLMProvider):
        default_model = "m"

        async def complete(self, request: CompletionRequest) -> CompletionResponse:
            return answer  # type: ignore[no-any-return]

    class WrongStream(Wrong):
        async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
            yield MessageStart(model=answer.model)
            for index, part in enumerate(answer.parts):
                yield PartStart(index=index, part=part)
                yield PartEnd(index=index)
            yield MessageEnd(finish_reason=answer.finish_reason, usage=answer.usage)

    provider: LLMProvider = Wrong()
    with pytest.raises(ProviderError, match=rf"Wrong\.complete gave .*{said}"):
        await provider.complete("Hi")
    streamed: LLMProvider = WrongStream()
    with pytest.raises(ProviderError, match=r"WrongStream\.stream gave "):
        async for _ in streamed.stream("Hi"):
            pass
    manager = ProviderManager([Wrong()]).with_fallback(SimulatedProvider())
    assert (await manager.complete("Hi")).provider == "simulated"


async def test_what_is_no_vector_no_card_and_no_count_is_named() -> None:
    class Wrong(SimulatedProvider):
        async def embed(self, request: Any) -> Any:
            return [[1.0]]

        async def rerank(self, request: Any) -> Any:
            return None

        async def list_models(self) -> Any:
            return ["grey"]

        async def count_tokens(self, content: Any, model: str | None = None) -> Any:
            return 1 // 0

    wrong, asked = Wrong(), RerankRequest(query="x", documents=("a",))
    for ask, said in (
        (wrong.embed("x"), "Wrong.embed gave list, which is no EmbeddingResponse"),
        (wrong.rerank(asked), "Wrong.rerank gave NoneType, which is no RerankResponse"),
        (wrong.list_models(), "Wrong.list_models gave str, which is no ModelCard"),
        (wrong.count_tokens("x"), "its count_tokens failed: ZeroDivisionError"),
    ):
        with pytest.raises(ProviderError, match=said):
            await ask
