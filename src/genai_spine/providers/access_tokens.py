"""Access tokens that end: fetched once for all who wait, kept, and replaced before they end.

What all clouds have in common; how a token is asked for stands in google_authorizer.py and azure_authorizer.py.
Must not know: which cloud it is, requests to models.
Sources (read 2026-11): RFC 6749 §5.1 and §5.2 (a token endpoint's answers).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from genai_spine.dialects.failure import BY_STATUS, redact, retry_after_s
from genai_spine.model.errors import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    BadRequest,
    ConfigError,
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    ServerError,
    SpineError,
)
from genai_spine.providers.connect import transport_for
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.proxies import NO_PROXIES
from genai_spine.providers.transport import HttpRequest, Timeouts, Transport
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers, Url, parse_url

EARLY_S = 225
"""So long before its end a token is replaced. Below 300: metadata servers keep handing out a token that
long before its end (docs.cloud.google.com/compute, authenticate workloads, 2026-11)."""
PAUSE_S = 15
"""After a failed replacement of a token that still lives."""

_TIMEOUTS = Timeouts(connect_s=5, first_byte_s=15, idle_s=15, total_s=30)
_FORM: Headers = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_LONGEST_ANSWER = 100_000


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is a secret; `lives_s` is how long it is good for, from when it came."""

    value: str
    lives_s: float

    def __repr__(self) -> str:
        return f"Token(***, {self.lives_s:g} s)"


class TokenCache:
    """One token. `fetch` is called by one task at a time; those who wait get what it brings, or its error.

    Shortly before its end a token is replaced behind the callers' back: nobody waits, and if that fails,
    the old one is used until it ends.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: str | None = None
        self._replace_at = 0.0
        self._ends_at = 0.0
        self._task: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """A token that is good now. Raises: what `fetch` raises."""
        now = self._clock()
        if self._value is not None and now < self._ends_at:
            if now >= self._replace_at:
                self._begin()
            return self._value
        # Shielded: the caller who came first may leave, and the others still wait.
        return await asyncio.shield(self._begin())

    def forget(self) -> None:
        """The token was refused: the next caller waits for a new one."""
        self._value = None

    def _begin(self) -> asyncio.Task[str]:
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._renew())
            self._task.add_done_callback(_retrieved)
        return self._task

    async def _renew(self) -> str:
        self._replace_at = self._clock() + PAUSE_S
        token = await self._fetch()
        now = self._clock()
        self._ends_at = now + token.lives_s
        self._replace_at = now + max(token.lives_s - EARLY_S, token.lives_s / 2)
        self._value = token.value
        return token.value


def _retrieved(task: asyncio.Task[str]) -> None:
    """A replacement that failed with nobody waiting is no fault to be printed."""
    if not task.cancelled():
        task.exception()


# ------------------------------------------------------------ asking for one


async def post_form(settings: ProviderSettings, url: str, fields: Mapping[str, str], *, source: str) -> dict[str, Any]:
    """A token endpoint's answer. `source` says in errors where the credentials came from.

    Raises: AuthenticationError where they were refused, ServerError and the transport's errors otherwise.
    """
    request = HttpRequest(
        method="POST", url=_url(url, source), headers=_FORM, body=urlencode(fields).encode(), timeouts=_TIMEOUTS
    )
    return await _ask(transport_for(settings), request, source)


async def get_metadata(url: str, headers: Headers, *, source: str) -> dict[str, Any]:
    """The answer of a metadata server on this machine or link: never through a proxy. Raises as `post_form`."""
    request = HttpRequest(method="GET", url=_url(url, source), headers=headers, timeouts=_TIMEOUTS)
    return await _ask(HttpTransport(proxies=NO_PROXIES), request, source)


async def probe_metadata(url: str, headers: Headers, *, source: str) -> dict[str, Any]:
    """`get_metadata` where nobody said that there is such a server. Raises: Absent too, where there is none."""
    # Outside of its cloud nobody answers there as a rule, and the wait is the caller's.
    timeouts = msgspec.structs.replace(_TIMEOUTS, connect_s=1, first_byte_s=5)
    request = HttpRequest(method="GET", url=_url(url, source), headers=headers, timeouts=timeouts)
    try:
        return await _ask(HttpTransport(proxies=NO_PROXIES), request, source)
    except (APIConnectionError, ProviderTimeout) as error:
        raise Absent(str(error)) from None
    except AuthenticationError as error:
        if error.code is None:  # another cloud's server has the same address, and other words
            raise Absent(str(error)) from None
        raise


def _url(text: str, source: str) -> Url:
    try:
        return parse_url(text)
    except InvalidRequest as error:
        raise ConfigError(f"{source}: {error}") from None


async def _ask(transport: Transport, request: HttpRequest, source: str) -> dict[str, Any]:
    where = f"{request.url.scheme}://{request.url.authority}"
    try:
        response = await transport.send(request)
        body = await response.read(_LONGEST_ANSWER)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    finally:
        await transport.close()
    answer = _object(body)
    if response.status != 200:
        raise _refusal(response.status, headers, answer, f"{source}, asked at {where}")
    if answer is None:
        raise BadReply(f"{source}: {where} answered 200 with a body that is no JSON object")
    return answer


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def _refusal(status: int, headers: Mapping[str, str], answer: dict[str, Any] | None, source: str) -> ProviderError:
    """RFC 6749 §5.2: `{"error": "invalid_grant", "error_description": …}`, with 400 or 401."""
    answer = answer or {}
    code = answer.get("error")
    code = code if isinstance(code, str) else None
    description = answer.get("error_description")
    said = ": ".join(part for part in (code, description) if isinstance(part, str)) or f"HTTP {status}"
    kind = BY_STATUS.get(status, ServerError)
    if issubclass(kind, BadRequest) or 400 <= status <= 404:
        kind = AuthenticationError
    error = kind(f"no access token: {source}: {redact(said)}", code=code, retry_after_s=retry_after_s(headers))
    error.status_code = 401 if kind is AuthenticationError else status
    return error


def token_of(answer: Mapping[str, Any], *, source: str) -> Token:
    """The token in an answer. `expires_in` is in seconds, and Azure's metadata servers write it as text;
    App Service gives only `expires_on`, in seconds since 1970. Raises: BadReply."""
    value = answer.get("access_token")
    if not isinstance(value, str) or not value:
        raise BadReply(f"{source}: the answer has no access_token")
    lives_s = _seconds(answer.get("expires_in"))
    if lives_s is None and (ends := _seconds(answer.get("expires_on"))) is not None:
        lives_s = ends - time.time()
    # RFC 6749 §5.1 lets a server leave it out: asked again soon rather than kept too long.
    return Token(value=value, lives_s=60.0 if lives_s is None else lives_s)


def _seconds(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


async def first_of(sources: Mapping[str, Callable[[], Awaitable[Token]] | str], *, nothing: str) -> Token:
    """The token of the first source that is there; a text in place of a source says why it is not.

    Raises: ConfigError with `nothing` and every source's reason where none is there; what a source raises
    that is there.
    """
    reasons = []
    for name, source in sources.items():
        if isinstance(source, str):
            reasons.append(f"{name} ({source})")
            continue
        try:
            return await source()
        except Absent as absent:
            reasons.append(f"{name} ({absent})")
    raise ConfigError(f"{nothing}; looked at: {'; '.join(reasons)}")


class Absent(SpineError):
    """A source of credentials is not on this machine: the next one is asked."""
