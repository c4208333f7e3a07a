"""Tokens: fetched once, shared, replaced early, and what an endpoint's refusal becomes."""

from __future__ import annotations

import asyncio

import pytest
from cloud_peers import Asked, closed_port, running

from genai_spine.model.errors import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    ConfigError,
    RateLimitError,
    ServerError,
)
from genai_spine.providers.access_tokens import (
    EARLY_S,
    PAUSE_S,
    Absent,
    Token,
    TokenCache,
    first_of,
    get_metadata,
    post_form,
    probe_metadata,
    token_of,
)
from genai_spine.settings import ProviderSettings

SETTINGS = ProviderSettings(proxy=None)


class Source:
    """Gives token-1, token-2, … of one hour each; fails while `error` is set; waits while `gate` is shut."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cache = TokenCache(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> Token:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Token(value=f"token-{self.asked}", lives_s=3600)

    async def settled(self) -> None:
        if self.cache._task is not None:
            await asyncio.wait([self.cache._task])


async def test_one_fetch_for_all_who_wait() -> None:
    source = Source()
    source.gate.clear()
    waiting = [asyncio.create_task(source.cache.get()) for _ in range(50)]
    await asyncio.sleep(0)
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert source.asked == 1


async def test_one_who_leaves_does_not_take_the_fetch_along() -> None:
    source = Source()
    source.gate.clear()
    first, second = (asyncio.create_task(source.cache.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await second == "token-1"
    assert first.cancelled()


async def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    source = Source()
    source.error = AuthenticationError("no")
    results = await asyncio.gather(*(source.cache.get() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [AuthenticationError] * 3
    assert source.asked == 1
    source.error = None
    assert await source.cache.get() == "token-2"


async def test_a_token_is_replaced_before_its_end_without_anybody_waiting() -> None:
    source = Source()
    assert await source.cache.get() == "token-1"
    source.now += 3600 - EARLY_S - 1
    assert await source.cache.get() == "token-1"
    assert source.asked == 1
    source.now += 2
    source.gate.clear()
    assert await source.cache.get() == "token-1"  # still good, and a new one is under way
    source.gate.set()
    await source.settled()
    assert (await source.cache.get(), source.asked) == ("token-2", 2)


async def test_while_the_replacement_fails_the_old_one_is_used_to_its_end() -> None:
    source = Source()
    await source.cache.get()
    source.error = ServerError("down")
    source.now += 3600 - EARLY_S
    for _ in range(5):
        assert await source.cache.get() == "token-1"
        await source.settled()
    assert source.asked == 2  # a failing endpoint is not asked for each request
    source.now += PAUSE_S
    assert await source.cache.get() == "token-1"
    await source.settled()
    assert source.asked == 3
    source.now += EARLY_S
    with pytest.raises(ServerError):
        await source.cache.get()


async def test_a_short_token_is_replaced_at_half_its_life() -> None:
    source = Source()

    async def fetch() -> Token:
        source.asked += 1
        return Token(value=str(source.asked), lives_s=60)

    cache = TokenCache(fetch, clock=lambda: source.now)
    assert await cache.get() == "1"
    source.now += 29
    assert (await cache.get(), source.asked) == ("1", 1)
    source.now += 2
    await cache.get()
    await asyncio.sleep(0)
    assert source.asked == 2


async def test_a_refused_token_is_not_used_again() -> None:
    source = Source()
    await source.cache.get()
    source.cache.forget()
    assert await source.cache.get() == "token-2"


def test_another_loop_takes_the_token_that_is_there() -> None:
    source = None

    async def begin() -> str:
        nonlocal source
        source = Source()
        return await source.cache.get()

    assert asyncio.run(begin()) == "token-1"
    assert source is not None
    assert asyncio.run(source.cache.get()) == "token-1"


def test_a_fetch_of_a_loop_that_ended_holds_nobody_up() -> None:
    source = None

    async def leave() -> None:
        nonlocal source
        source = Source()
        source.gate.clear()
        task = asyncio.create_task(source.cache.get())
        await asyncio.sleep(0)
        task.cancel()

    async def again() -> str:
        assert source is not None
        source.gate = asyncio.Event()
        source.gate.set()
        return await source.cache.get()

    asyncio.run(leave())
    assert asyncio.run(again()) == "token-2"


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Token(value="secret", lives_s=1))


# ------------------------------------------------------------ answers


def test_the_ways_in_which_an_answer_tells_its_life() -> None:
    def life(**fields: object) -> float:
        return token_of({"access_token": "t", **fields}, source="s").lives_s

    assert life(expires_in=3599) == 3599
    assert life(expires_in="86399", expires_on="1") == 86399  # IMDS writes text
    assert -1e10 < life(expires_on="1000") < 0  # App Service: the time of its end
    assert life() == 60
    assert life(expires_in=True) == 60
    for answer in ({}, {"access_token": ""}, {"access_token": 7}):
        with pytest.raises(BadReply, match=r"^s: the answer has no access_token$"):
            token_of(answer, source="s")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            400,
            {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
            AuthenticationError,
            "no access token: the file, asked at {url}: invalid_grant: Invalid JWT Signature.",
        ),
        (401, {"error": "invalid_client"}, AuthenticationError, "no access token: the file, asked at {url}: inv"),
        (403, b"<html>", AuthenticationError, "no access token: the file, asked at {url}: HTTP 403"),
        (404, {"error": {"odd": 1}}, AuthenticationError, "no access token: the file, asked at {url}: HTTP 404"),
        (429, {"error": "slow"}, RateLimitError, "no access token: the file, asked at {url}: slow"),
        (503, b"", ServerError, "no access token: the file, asked at {url}: HTTP 503"),
        (200, b"<html>", BadReply, "the file: {url} answered 200 with a body that is no JSON object"),
        (200, [], BadReply, "the file: {url} answered 200 with a body that is no JSON object"),
    ],
)
async def test_what_a_refusal_becomes(status: int, body: object, kind: type[Exception], message: str) -> None:
    async with running(lambda _: (status, body, {"retry-after": "7"})) as peer:
        with pytest.raises(kind) as caught:
            await post_form(SETTINGS, f"{peer.url}/token", {"a": "b c&d"}, source="the file")
        assert str(caught.value).startswith(message.format(url=peer.url))
        assert peer.asked[0].form == {"a": "b c&d"}
        assert peer.asked[0].headers["content-type"] == "application/x-www-form-urlencoded"
        if kind is RateLimitError:
            assert (caught.value.retryable, caught.value.retry_after_s) == (True, 7)
        if kind is AuthenticationError:
            assert (caught.value.retryable, caught.value.status_code) == (False, 401)


async def test_an_endpoint_that_is_no_url_is_the_settings_fault() -> None:
    with pytest.raises(ConfigError, match=r"^the file: not an http or https URL"):
        await post_form(SETTINGS, "file:///etc/passwd", {}, source="the file")


async def test_metadata_servers_are_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{await closed_port()}")
    async with running(lambda _: (200, {"access_token": "t"})) as peer:
        assert await get_metadata(f"{peer.url}/x", (("metadata", "true"),), source="m") == {"access_token": "t"}
        with pytest.raises(APIConnectionError):
            await post_form(SETTINGS, f"{peer.url}/token", {}, source="the file")


async def test_a_metadata_server_that_is_not_there_is_absent() -> None:
    url = f"http://127.0.0.1:{await closed_port()}/token"
    with pytest.raises(Absent):
        await probe_metadata(url, (), source="m")
    with pytest.raises(APIConnectionError):
        await get_metadata(url, (), source="m")

    def other_cloud(asked: Asked) -> tuple[int, bytes]:
        return 404, b"<html>not here</html>"

    async with running(other_cloud) as peer:
        with pytest.raises(Absent):
            await probe_metadata(f"{peer.url}/token", (), source="m")


async def test_sources_are_asked_in_their_order_and_all_are_named_in_the_end() -> None:
    async def absent() -> Token:
        raise Absent("nobody there")

    async def given() -> Token:
        return Token(value="t", lives_s=1)

    async def refused() -> Token:
        raise AuthenticationError("wrong")

    assert (await first_of({"a": "not set", "b": absent, "c": given}, nothing="x")).value == "t"
    with pytest.raises(AuthenticationError):  # what is there and refused is not passed over
        await first_of({"a": refused, "b": given}, nothing="x")
    with pytest.raises(ConfigError, match=r"^no credentials; looked at: a \(not set\); b \(nobody there\)$"):
        await first_of({"a": "not set", "b": absent}, nothing="no credentials")
