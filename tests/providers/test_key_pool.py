"""Several keys of one service: in turn, left out when they are refused, rested when they are slowed down."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.providers.cloud_peers import Answer, Asked, Peer, running

from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.discretion import Discretion
from genai_spine.model.errors import (
    AuthenticationError,
    ContentFiltered,
    ModelNotFound,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
)
from genai_spine.model.keywords import as_request
from genai_spine.providers import keys
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.keys import KeyPool, KeyUse, keys_of
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings, Secret, load_settings

HI = as_request("Hi", {"model": "m"})
ONE, TWO, THREE = "key-of-the-first", "key-of-the-second", "key-of-the-third"
CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}
MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}]}
REFUSED = {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": None}}
SLOWER = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}


@pytest.fixture(autouse=True)
def _is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="genai_spine")  # a command that ran before may have turned the root's off


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def pool(count: int = 3) -> tuple[KeyPool, Clock]:
    clock = Clock()
    return KeyPool(count, lambda: "service", clock=clock), clock


def taken(pool: KeyPool, count: int, model: str = "m") -> list[int]:
    return [pool.take(model).position for _ in range(count)]


# ------------------------------------------------------------ the pool alone


def test_keys_are_taken_in_turn() -> None:
    keys, _ = pool()
    assert taken(keys, 7) == [0, 1, 2, 0, 1, 2, 0]


def test_a_refused_key_is_out_and_another_may_be_asked_at_once() -> None:
    keys, _ = pool()
    error = AuthenticationError("no")
    keys.judge(KeyUse(1, "m"), error)
    assert (error.retryable, error.retry_after_s, error.has_another_key) == (True, 0.0, True)
    assert keys.out == 1
    assert taken(keys, 4) == [0, 2, 0, 2]


def test_a_key_of_an_account_without_credit_is_out_too() -> None:
    keys, _ = pool()
    keys.judge(KeyUse(0, "m"), QuotaExceeded("pay"))
    assert taken(keys, 3) == [1, 2, 1]


def test_the_last_refused_key_leaves_the_error_as_it_is() -> None:
    keys, _ = pool(2)
    keys.judge(KeyUse(0, "m"), AuthenticationError("no"))
    error = AuthenticationError("no")
    keys.judge(KeyUse(1, "m"), error)
    assert (error.retryable, error.retry_after_s, error.has_another_key) == (False, None, False)
    assert keys.out == 2
    assert keys.take("m").position == 0  # the one that is out for the longest is asked, as a single key would be


def test_a_key_that_is_out_is_tried_again_by_one_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, keys.__name__)
    several, clock = pool()
    several.judge(KeyUse(1, "m"), AuthenticationError("no", status_code=401))
    clock.now_s += keys.OUT_S
    assert taken(several, 5) == [0, 1, 2, 0, 2]
    several.judge(KeyUse(1, "m"), AuthenticationError("no", status_code=401))
    clock.now_s += keys.OUT_S - 1
    assert 1 not in taken(several, 5)
    clock.now_s += 1
    assert 1 in taken(several, 3)
    several.answered(KeyUse(1, "m"))
    assert several.out == 0
    assert 1 in taken(several, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "service: key 2 of 3 is left out for 10 minutes (authentication, 401); 2 left",
        "service: key 2 of 3 is tried again",
        "service: key 2 of 3 is tried again",
        "service: key 2 of 3 is good again",
    ]


def test_a_key_that_is_slowed_down_rests_alone_and_for_that_model() -> None:
    keys, clock = pool(2)
    error = RateLimitError("slower", retry_after_s=20.0)
    keys.judge(KeyUse(0, "big"), error)
    assert (error.has_another_key, error.retry_after_s) == (True, 0.0)
    assert taken(keys, 3, "big") == [1, 1, 1]
    assert sorted(taken(keys, 2, "small")) == [0, 1]
    assert (keys.out, keys.resting) == (0, 1)
    clock.now_s += 20
    assert sorted(taken(keys, 2, "big")) == [0, 1]
    assert keys.resting == 0


def test_a_key_that_may_not_use_a_model_is_left_out_for_that_model_alone(caplog: pytest.LogCaptureFixture) -> None:
    several, clock = pool()
    error = PermissionDenied("no access to big")
    several.judge(KeyUse(0, "big"), error)
    assert (error.retryable, error.retry_after_s, error.has_another_key) == (True, 0.0, True)
    assert taken(several, 4, "big") == [1, 2, 1, 2]
    assert taken(several, 3, "small") == [0, 1, 2]
    clock.now_s += keys.BARRED_S
    assert 0 in taken(several, 3, "big")
    several.judge(KeyUse(0, "big"), PermissionDenied("no access to big"))
    assert 0 not in taken(several, 3, "big")
    several.answered(KeyUse(0, "big"))
    assert 0 in taken(several, 3, "big")
    assert several.out == 0
    assert [record.getMessage() for record in caplog.records] == [
        "service: key 1 of 3 may not use 'big' (403) and is left out for it; others are tried"
    ]


def test_where_no_key_may_the_error_stays_as_it_is() -> None:
    several, _ = pool(2)
    several.judge(KeyUse(0, "m"), PermissionDenied("no"))
    error = PermissionDenied("no")
    several.judge(KeyUse(1, "m"), error)
    assert (error.retryable, error.retry_after_s, error.has_another_key) == (False, None, False)
    assert several.take("m").position == 0  # one is asked all the same


def test_a_key_that_rests_is_waited_for_and_not_one_that_may_not() -> None:
    several, clock = pool(2)
    several.judge(KeyUse(0, "m"), PermissionDenied("no"))
    error = RateLimitError("slower", retry_after_s=300.0)
    several.judge(KeyUse(1, "m"), error)
    assert (error.retryable, error.has_another_key, error.retry_after_s) == (True, False, 300.0)
    assert several.take("m").position == 1
    clock.now_s += keys.BARRED_S
    assert several.take("m").position == 0


def test_a_403_for_what_a_prompt_says_is_about_no_key() -> None:
    several, _ = pool(2)
    error = ContentFiltered("flagged", status_code=403)
    several.judge(KeyUse(0, "m"), error)
    assert (error.has_another_key, taken(several, 2)) == (False, [0, 1])


def test_when_all_rest_the_error_tells_when_the_first_is_free() -> None:
    keys, clock = pool(2)
    keys.judge(KeyUse(0, "m"), RateLimitError("slower", retry_after_s=30.0))
    clock.now_s += 10
    error = RateLimitError("slower", retry_after_s=50.0)
    keys.judge(KeyUse(1, "m"), error)
    assert (error.retryable, error.has_another_key, error.retry_after_s) == (True, False, 20.0)
    assert keys.take("m").position == 0


def test_where_none_is_free_one_that_rests_comes_before_one_that_was_refused() -> None:
    keys, clock = pool(2)
    keys.judge(KeyUse(0, "m"), AuthenticationError("no"))
    clock.now_s += 590
    error = RateLimitError("slower", retry_after_s=60.0)
    keys.judge(KeyUse(1, "m"), error)
    assert (error.has_another_key, error.retry_after_s) == (False, 60.0)
    assert keys.take("m").position == 1


def test_an_endless_retry_after_is_not_believed_and_none_is_some_seconds() -> None:
    several, clock = pool(2)
    several.judge(KeyUse(0, "m"), RateLimitError("slower", retry_after_s=1e9))
    several.judge(KeyUse(1, "m"), RateLimitError("slower"))
    clock.now_s += keys.REST_S
    assert taken(several, 2) == [1, 1]
    clock.now_s += keys.LONGEST_REST_S
    assert sorted(taken(several, 2)) == [0, 1]


def test_other_errors_say_nothing_of_a_key() -> None:
    keys, _ = pool()
    error = ModelNotFound("no such model")
    keys.judge(KeyUse(0, "m"), error)
    assert (error.retryable, error.has_another_key, keys.out, keys.resting) == (False, False, 0, 0)


def test_a_clock_that_leaps_brings_every_key_back_and_waits_are_never_negative() -> None:
    keys, clock = pool(2)
    keys.judge(KeyUse(0, "m"), RateLimitError("slower", retry_after_s=30.0))
    keys.judge(KeyUse(1, "m"), AuthenticationError("no"))
    clock.now_s += 86_400 * 365
    error = RateLimitError("slower")
    keys.judge(KeyUse(1, "m"), error)
    assert error.retry_after_s == 0.0
    assert taken(keys, 2) == [0, 0]


def test_many_models_of_a_caller_do_not_fill_the_memory() -> None:
    keys, clock = pool(2)
    for number in range(5000):
        clock.now_s += 1
        keys.judge(KeyUse(0, f"model-{number}"), RateLimitError("slower", retry_after_s=10.0))
        keys.judge(KeyUse(1, f"model-{number % 2000}"), RateLimitError("slower", retry_after_s=1e9))
        keys.judge(KeyUse(1, f"model-{number}"), PermissionDenied("no"))
    assert max(len(keys._rests_until_s), len(keys._barred_until_s)) <= 1000
    assert keys.resting == 2


def test_api_key_comes_first_and_each_key_once() -> None:
    settings = ProviderSettings(api_key=Secret(TWO), api_keys=[Secret(ONE), Secret(TWO), Secret("")])
    assert keys_of(settings) == (TWO, ONE)
    assert keys_of(ProviderSettings()) == ()


# ------------------------------------------------------------ over real sockets


@asynccontextmanager
async def asked(
    answer: Any, type: str = "openai", *given: str, **more: Any
) -> AsyncIterator[tuple[HttpProvider, Peer]]:
    async with running(answer) as peer:
        settings = ProviderSettings(
            type=type, base_url=peer.url, api_keys=[Secret(key) for key in given or (ONE, TWO, THREE)], **more
        )
        provider = build_provider("service", settings)
        assert isinstance(provider, HttpProvider)
        try:
            yield provider, peer
        finally:
            await provider.close()


def used(peer: Peer, header: str = "authorization") -> list[str]:
    return [request.headers[header].removeprefix("Bearer ") for request in peer.asked]


@pytest.mark.parametrize(
    ("type", "header", "body", "more"),
    [
        ("openai", "authorization", CHAT, {}),
        ("anthropic", "x-api-key", MESSAGE, {}),
        ("gemini", "x-goog-api-key", GEMINI, {}),
        ("azure", "api-key", CHAT, {}),
        ("ollama", "authorization", {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": True}, {}),
    ],
)
async def test_every_kind_of_key_goes_in_its_own_header_in_turn(
    type: str, header: str, body: Any, more: dict[str, Any]
) -> None:
    async with asked(lambda _: (200, body), type, **more) as (provider, peer):
        for _ in range(4):
            await provider.complete(HI)
        assert used(peer, header) == [ONE, TWO, THREE, ONE]


async def test_streams_counts_and_lists_take_their_turn_too() -> None:
    async with asked(lambda _: (200, {"data": []}), "openai") as (provider, peer):
        await provider.list_models()
        await provider.list_models()
        assert used(peer) == [ONE, TWO]


async def test_one_dead_key_of_two_is_seen_once_and_no_caller_hears_of_it(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: Asked) -> Answer:
        return (401, REFUSED) if ONE in request.headers["authorization"] else (200, CHAT)

    async with asked(answer, "openai", ONE, TWO) as (provider, peer):
        manager = ProviderManager([provider])
        for _ in range(5):
            assert (await manager.complete("Hi", model="service/m")).content == "Hello."
        assert used(peer) == [ONE, TWO, TWO, TWO, TWO, TWO]
        assert provider.keys is not None
        assert provider.keys.out == 1
    assert "key 1 of 2 is left out" in caplog.text
    assert ONE not in caplog.text


async def test_all_keys_dead_is_the_error_of_today() -> None:
    async with asked(lambda _: (401, REFUSED), "openai", ONE, TWO) as (provider, peer):
        manager = ProviderManager([provider])
        with pytest.raises(AuthenticationError, match="Incorrect API key provided") as caught:
            await manager.complete("Hi", model="service/m")
        assert used(peer) == [ONE, TWO]
        assert not caught.value.retryable
        with pytest.raises(AuthenticationError):
            await manager.complete("Hi", model="service/m")
        assert len(peer.asked) == 3  # one is asked all the same: it may have been made good meanwhile


async def test_a_key_that_was_made_good_again_comes_back() -> None:
    is_good = False

    def answer(request: Asked) -> Answer:
        return (200, CHAT) if is_good else (401, REFUSED)

    async with asked(answer, "openai", ONE, TWO) as (provider, _):
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await provider.complete(HI)
        assert provider.keys is not None
        assert provider.keys.out == 2
        is_good = True
        await provider.complete(HI)
        assert provider.keys.out == 1


NO_ACCESS = {"error": {"message": "Project `p` does not have access to model `m`", "type": "invalid_request_error",
                       "param": None, "code": "model_not_found"}}  # fmt: skip


@pytest.mark.parametrize("told", [NO_ACCESS, {"error": {"code": "forbidden", "message": "Forbidden"}}], ids=str)
async def test_a_key_whose_project_may_not_use_the_model_gives_way_to_one_whose_may(told: Any) -> None:
    def answer(request: Asked) -> Answer:
        return (403, told) if ONE in request.headers["authorization"] else (200, CHAT)

    async with asked(answer, "openai", ONE, TWO) as (provider, peer):
        manager = ProviderManager([provider])
        for _ in range(4):
            assert (await manager.complete("Hi", model="service/m")).content == "Hello."
        assert used(peer) == [ONE, TWO, TWO, TWO, TWO]


async def test_where_no_key_may_use_the_model_each_is_asked_once() -> None:
    async with asked(lambda _: (403, NO_ACCESS), "openai", ONE, TWO, THREE) as (provider, peer):
        manager = ProviderManager([provider])
        with pytest.raises(ModelNotFound, match="does not have access") as caught:
            await manager.complete("Hi", model="service/m")
        assert used(peer) == [ONE, TWO, THREE]
        assert caught.value.status_code == 403


async def test_a_429_rests_that_key_alone() -> None:
    def answer(request: Asked) -> Answer:
        return (429, SLOWER, {"retry-after": "30"}) if ONE in request.headers["authorization"] else (200, CHAT)

    async with asked(answer, "openai", ONE, TWO) as (provider, peer):
        manager = ProviderManager([provider])
        for _ in range(4):
            await manager.complete("Hi", model="service/m")
        assert used(peer) == [ONE, TWO, TWO, TWO, TWO]
        await manager.complete("Hi", model="service/other")
        assert used(peer)[5:] == [ONE, TWO]  # limits are those of a model


async def test_the_limits_of_one_key_hold_no_other_back() -> None:
    def answer(request: Asked) -> Answer:
        is_first = ONE in request.headers["authorization"]
        told = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0" if is_first else "9"}
        told["x-ratelimit-reset-requests"] = "60s"
        return (429, SLOWER, told) if is_first and len(peer.asked) > 2 else (200, CHAT, told)

    async with asked(answer, "openai", ONE, TWO) as (provider, peer):
        manager = ProviderManager([provider])
        for _ in range(8):
            assert (await manager.complete("Hi", model="service/m")).content == "Hello."
        assert used(peer) == [ONE, TWO, ONE, *[TWO] * 6]


async def test_429_for_every_key_says_how_long_to_wait() -> None:
    async with asked(lambda _: (429, SLOWER, {"retry-after": "30"}), "openai", ONE, TWO) as (provider, _):
        with pytest.raises(RateLimitError) as first:
            await provider.complete(HI)
        with pytest.raises(RateLimitError) as second:
            await provider.complete(HI)
        assert (first.value.has_another_key, first.value.retry_after_s) == (True, 0.0)
        assert not second.value.has_another_key
        assert second.value.retry_after_s is not None
        assert 25 < second.value.retry_after_s <= 30


@pytest.mark.parametrize(
    ("status", "message", "out"),
    [
        (403, "Your API key was reported as leaked. Please use another API key.", 1),
        (403, "You are not allowed to sample from this model", 0),
        (403, 'acme/x requires moderation on OpenRouter. Your input was flagged for "violence".', 0),
        (402, "Insufficient balance", 1),
        (500, "oops", 0),
    ],
)
async def test_which_answers_take_a_key_out(status: int, message: str, out: int) -> None:
    body = {"error": {"message": message, "code": status, "status": "PERMISSION_DENIED"}}
    async with asked(lambda _: (status, body), "gemini", ONE, TWO) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(HI)
        assert provider.keys is not None
        is_of_the_key = status < 500 and "flagged" not in message
        assert (provider.keys.out, caught.value.has_another_key) == (out, is_of_the_key)


async def test_a_prediction_is_asked_for_with_the_key_that_made_it() -> None:
    def answer(request: Asked) -> Answer:
        if request.target.startswith("/models/") and request.method == "GET":
            return 404, {"detail": "not found"}
        state = {"id": "p1", "model": "meta/m", "version": "1", "input": {}, "urls": {}}
        if request.method == "POST":
            return 201, {**state, "status": "processing", "output": None}
        return 200, {**state, "status": "succeeded", "output": ["Hello."]}

    async with asked(answer, "replicate") as (provider, peer):
        for _ in range(3):
            assert (await provider.complete(as_request("Hi", {"model": "meta/m"}))).content == "Hello."
        made = [request.headers["authorization"] for request in peer.asked if request.method == "POST"]
        polled = [request.headers["authorization"] for request in peer.asked if "/predictions/p1" in request.target]
        assert len(set(made)) == 3
        assert polled == made
        assert provider._owners == {}  # type: ignore[attr-defined]  # a ReplicateProvider


async def test_one_key_has_no_pool() -> None:
    async with asked(lambda _: (401, REFUSED), "openai", ONE) as (provider, peer):
        assert provider.keys is None
        for _ in range(2):
            with pytest.raises(AuthenticationError) as caught:
                await provider.complete(HI)
            assert not caught.value.has_another_key
        assert used(peer) == [ONE, ONE]


async def test_a_caller_reads_no_key_of_the_pool(tmp_path: Any) -> None:
    settings = load_settings(
        environ={}, cwd=tmp_path, overrides={"providers.openai": {"api_keys": [ONE, TWO], "base_url": "http://h:1/v1"}}
    )
    discretion = Discretion(ProviderManager.from_settings(settings).registry, settings)
    assert discretion(f"{ONE} {TWO}") == "[redacted] [redacted]"
    assert ONE not in repr(settings)
    assert TWO not in msgspec.json.encode(repr(settings.providers.by_id)).decode()
