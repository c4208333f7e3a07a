"""The second transport behind the same seam: aiohttp, for SOCKS and https:// proxies.

Needs the extra `aiohttp` (SOCKS also the package `aiohttp-socks`); import this module only where it
is chosen. It keeps the seam's promises with these differences, which are aiohttp's own:

- it costs about four times the CPU per request;
- the retry of a stale kept-alive connection may meet a second stale one, and then fails;
- bytes after the end of a response (a too short Content-Length) are dropped with the connection,
  where ours calls the answer bad;
- where a body has no length and ends with the connection, a reset counts as its end;
- a large upload that the peer stops reading ends by `first_byte_s`, not `idle_s`;
- `idle_s` runs per read, `max_idle` and the pause of a slow reader are aiohttp's (128 KiB or so).

Must not know: providers, models, dialects. Source: docs.aiohttp.org (client reference, tracing;
3.14, read 2026-11).
"""

from __future__ import annotations

import asyncio
import importlib
import io
import ssl
from math import inf
from typing import Any

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage, ContentLengthError, TransferEncodingError
from yarl import URL

from genai_spine.model.errors import (
    APIConnectionError,
    BadReply,
    ConfigError,
    PoolExhausted,
    ProviderError,
    ProviderTimeout,
    StreamBroken,
)
from genai_spine.providers.connection import MAX_HEAD_BYTES, MAX_HEADERS, STALE_WINDOW_S, describe
from genai_spine.providers.dial import tls_context
from genai_spine.providers.pool import PoolLimits, closed_error
from genai_spine.providers.proxies import NO_PROXIES, Proxies, Proxy
from genai_spine.providers.transport import HttpRequest, HttpResponse, Timeouts, total_timeout
from genai_spine.wire.http import encode_head, encode_headers

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class _CleanConnector(aiohttp.TCPConnector):
    """Gives out no kept connection on which bytes came unasked.

    aiohttp 3.14 asks for that when a connection comes back, not when it goes out again: an answer
    that arrives in between would be taken for the next caller's.
    """

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Any:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class _Progress:
    """How far one request has come, told by aiohttp's tracing; sets the deadline of each step."""

    def __init__(self, timeouts: Timeouts, total_deadline: float) -> None:
        self.timeouts = timeouts
        self.total_deadline = total_deadline
        self.loop = asyncio.get_running_loop()
        self.scope = asyncio.timeout(None)
        self.step = "connect"
        self.is_sent = False
        self.is_total = False
        self.is_reused = False
        self.sent_at = inf

    def enter(self, step: str, limit_s: float | None) -> None:
        self.step = step
        limit = inf if limit_s is None else self.loop.time() + limit_s
        deadline = min(limit, self.total_deadline)
        self.is_total = limit > self.total_deadline  # uvloop's timers may fire a millisecond early
        self.scope.reschedule(None if deadline == inf else deadline)


class AiohttpTransport:
    """`Transport` on aiohttp. Certificates are always verified: against `ca_file`, else certifi's roots."""

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        proxies: Proxies = NO_PROXIES,
        ca_file: str | None = None,
    ) -> None:
        self._limits = PoolLimits() if limits is None else limits
        self._proxies = proxies
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._sessions: dict[Proxy | None, aiohttp.ClientSession] = {}
        self._waiting = 0
        self._is_closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        """`Transport.send`."""
        stable = len(request.headers) - request.unique
        encode_head(request.method, request.url, request.headers[:stable])  # the same checks as ours
        encode_headers(request.headers[stable:])
        timeouts = request.timeouts
        now = asyncio.get_running_loop().time()
        deadline = inf if timeouts.total_s is None else now + timeouts.total_s
        if self._is_closed:
            raise closed_error(request.url.peer)
        try:
            return await self._attempt(request, deadline, may_be_stale=True)
        except _Stale:
            return await self._attempt(request, deadline, may_be_stale=False)

    async def close(self) -> None:
        """`Transport.close`."""
        self._is_closed = True
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _attempt(self, request: HttpRequest, deadline: float, *, may_be_stale: bool) -> HttpResponse:
        proxy = self._proxies.find(request.url)
        session = self._session(proxy if proxy is not None and proxy.is_socks else None)
        progress = _Progress(request.timeouts, deadline)
        try:
            async with progress.scope:
                progress.enter("connect", request.timeouts.connect_s)
                response = await self._request(session, request, proxy, progress)
        except (ProviderError, ConfigError):
            raise
        except TimeoutError as error:
            raise self._timed_out(request, progress) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            lost = isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError))
            fast = progress.loop.time() <= min(progress.sent_at, progress.loop.time()) + STALE_WINDOW_S
            if may_be_stale and lost and fast and progress.is_reused:
                raise _Stale from error
            raise _error_before_head(request.url.peer, error, progress.is_sent) from error
        finally:
            if progress.step == "pool":
                self._waiting -= 1
        headers = [(name.lower(), value) for name, value in response.raw_headers]
        source = _Body(response, request.url.peer, request.timeouts, deadline)
        if len(headers) > MAX_HEADERS or sum(len(n) + len(v) + 4 for n, v in headers) > MAX_HEAD_BYTES:
            source.close()
            raise BadReply(f"{request.url.peer}: more headers than we read")
        return HttpResponse(response.status, headers, source)

    async def _request(
        self, session: aiohttp.ClientSession, request: HttpRequest, proxy: Proxy | None, progress: _Progress
    ) -> aiohttp.ClientResponse:
        headers = [(_text(name), _text(value).strip(" \t")) for name, value in request.headers]
        if not any(name.lower() == "accept-encoding" for name, _ in headers):
            headers.append(("accept-encoding", "identity"))
        proxy_url, proxy_headers = None, None
        if proxy is not None and not proxy.is_socks:
            proxy_url = URL(f"{proxy.scheme}://{proxy.peer}")
            if proxy.authorization is not None:
                proxy_headers = {"proxy-authorization": proxy.authorization}
                if request.url.scheme == "http":  # no tunnel: the proxy reads the request's own headers
                    headers.extend(proxy_headers.items())
        return await session.request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=headers,
            # aiohttp writes a file by pieces, and bytes (from 1 MiB with a warning) at once
            data=io.BytesIO(request.body) if len(request.body) > 2**16 else request.body or None,
            proxy=proxy_url,
            proxy_headers=proxy_headers,
            allow_redirects=False,
            trace_request_ctx=progress,
        )

    def _session(self, socks: Proxy | None) -> aiohttp.ClientSession:
        session = self._sessions.get(socks)
        if session is None:
            session = self._sessions[socks] = aiohttp.ClientSession(
                connector=self._connector(socks),
                auto_decompress=False,
                timeout=_NO_TIMEOUT,
                skip_auto_headers=_NOT_ADDED,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=64 * 1024,
                max_field_size=MAX_HEAD_BYTES,
                max_headers=MAX_HEADERS,
                trace_configs=[self._tracing()],
            )
        return session

    def _connector(self, socks: Proxy | None) -> aiohttp.BaseConnector:
        if self._tls is None:
            self._tls = tls_context(self._ca_file)
        options: dict[str, Any] = {
            "limit": 0,
            "limit_per_host": self._limits.max_connections,
            "keepalive_timeout": self._limits.idle_expiry_s,
            "ssl": self._tls,
        }
        if socks is None:
            return _CleanConnector(**options)
        try:
            module = importlib.import_module("aiohttp_socks")
        except ImportError as error:
            raise ConfigError("SOCKS proxies need a package: pip install aiohttp-socks") from error
        kind = module.ProxyType.SOCKS4 if socks.scheme.startswith("socks4") else module.ProxyType.SOCKS5
        clean_connector: Any = type("_CleanSocksConnector", (_CleanConnector, module.ProxyConnector), {})
        connector: aiohttp.BaseConnector = clean_connector(
            proxy_type=kind,
            host=socks.host,
            port=socks.port,
            username=socks.username,
            password=socks.password,
            rdns=socks.scheme in ("socks4a", "socks5h"),
            **options,
        )
        return connector

    def _tracing(self) -> aiohttp.TraceConfig:
        """aiohttp says where a request stands; that is what timeouts and `sent` are about."""
        config = aiohttp.TraceConfig()

        async def queued(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            if self._waiting >= self._limits.max_waiting:
                raise PoolExhausted("all connections are busy and as many calls wait as may wait", sent=False)
            self._waiting += 1
            progress.enter("pool", progress.timeouts.pool_s)

        async def connecting(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            progress.enter("connect", progress.timeouts.connect_s)

        async def connected(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            progress.enter("first_byte", progress.timeouts.first_byte_s)

        async def unqueued(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            self._waiting -= 1
            progress.step = "connect"

        async def reused(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            progress.is_reused = True
            progress.enter("first_byte", progress.timeouts.first_byte_s)

        async def sent(_: Any, context: Any, __: Any) -> None:
            progress: _Progress = context.trace_request_ctx
            progress.is_sent = True
            progress.sent_at = progress.loop.time()
            progress.enter("first_byte", progress.timeouts.first_byte_s)

        config.on_connection_queued_start.append(queued)
        config.on_connection_queued_end.append(unqueued)
        config.on_connection_create_start.append(connecting)
        config.on_connection_create_end.append(connected)
        config.on_connection_reuseconn.append(reused)
        config.on_request_headers_sent.append(sent)
        return config

    def _timed_out(self, request: HttpRequest, progress: _Progress) -> ProviderError:
        peer, timeouts = request.url.peer, request.timeouts
        if progress.step == "pool":
            return PoolExhausted(f"{peer}: all connections are busy and none came free in time", sent=False)
        code = "total_timeout" if progress.is_total else progress.step + "_timeout"
        limit = {
            "total_timeout": timeouts.total_s,
            "connect_timeout": timeouts.connect_s,
            "first_byte_timeout": timeouts.first_byte_s,
        }[code]
        what = "no connection" if progress.step == "connect" else "no answer"
        if progress.is_total:
            return total_timeout(f"{peer}: {what} within {limit} s", timeouts, sent=progress.is_sent)
        return ProviderTimeout(f"{peer}: {what} within {limit} s", code=code, sent=progress.is_sent)


class _Stale(Exception):
    """A reused connection was gone before one byte of an answer."""


class _Body:
    """`BodySource` over aiohttp's stream."""

    def __init__(self, response: aiohttp.ClientResponse, peer: str, timeouts: Timeouts, deadline: float) -> None:
        self._response = response
        self._peer = peer
        self._timeouts = timeouts
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()

    async def receive(self) -> bytes:
        idle_s = self._timeouts.idle_s
        deadline = min(inf if idle_s is None else self._loop.time() + idle_s, self._deadline)
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline):
                data = await self._response.content.readany()
        except TimeoutError as error:
            self.close()
            if deadline == self._deadline:
                said = f"{self._peer}: not done within {self._timeouts.total_s:g} s"
                raise total_timeout(said, self._timeouts) from error
            said = f"{self._peer}: silent for {idle_s} s inside the answer"
            raise ProviderTimeout(said, code="idle_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            self.close()
            raise _error_after_head(self._peer, error) from error
        except BaseException:
            self.close()
            raise
        return data

    def take(self, most: int) -> bytes | None:
        return None  # how many pieces there are it does not tell

    @property
    def is_over(self) -> bool:
        return self._response.content.at_eof()

    def close(self) -> None:
        self._response.close()

    def abandon(self) -> None:
        if not self._response.closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._response.close)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _error_before_head(peer: str, error: Exception, sent: bool) -> ProviderError:
    """What aiohttp raised before a response was there, in our words."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            why = getattr(cause, "verify_message", "") or type(cause).__name__
            return _unconnected(f"{peer}: TLS certificate refused: {why}", False)
        case aiohttp.ClientConnectorSSLError(os_error=cause):
            return _unconnected(f"{peer}: TLS failed: {getattr(cause, 'reason', None) or 'SSLError'}", True)
        case aiohttp.ClientConnectorDNSError():
            return _unconnected(f"{peer}: cannot resolve the name", False)
        case aiohttp.ClientProxyConnectionError(os_error=cause):
            return _unconnected(f"{peer}: cannot connect to the proxy: {describe(cause)}", True)
        case aiohttp.ClientHttpProxyError(status=407):
            return _unconnected(f"{peer}: the proxy wants other credentials (407)", False)
        case aiohttp.ClientHttpProxyError(status=status):
            return _unconnected(f"{peer}: the proxy refused the tunnel ({status})", status >= 500)
        case aiohttp.ClientConnectorError(os_error=cause):
            return _unconnected(f"{peer}: cannot connect: {describe(cause)}", True)
        case aiohttp.ServerDisconnectedError():
            how = "closed the connection before answering"
            return APIConnectionError(f"{peer}: {how}", code="connection_reset", sent=sent)
        case aiohttp.ClientOSError() | OSError():
            how = f"broke the connection ({describe(error)}) before answering"
            return APIConnectionError(f"{peer}: {how}", code="connection_reset", sent=sent)
        case aiohttp.ClientResponseError(message=message):
            return BadReply(f"{peer}: not HTTP/1.1: {message.splitlines()[0][:80] if message else ''}")
        case _:
            return APIConnectionError(f"{peer}: {type(error).__name__}", sent=sent)


def _error_after_head(peer: str, error: Exception) -> ProviderError:
    cause = error.__cause__
    broken = f"{peer}: closed the connection before the end of the answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        if "ConnectionResetError" in str(error) or isinstance(cause, OSError):
            return APIConnectionError(f"{peer}: broke the connection inside the answer", code="connection_reset")
        if isinstance(cause, ContentLengthError):
            return StreamBroken(broken)
        if isinstance(cause, TransferEncodingError) and "Not enough data" in cause.message:
            return StreamBroken(broken)
        return BadReply(f"{peer}: not HTTP/1.1: {type(cause or error).__name__}")
    if isinstance(cause, BadHttpMessage):
        return BadReply(f"{peer}: not HTTP/1.1: {type(cause).__name__}")
    if isinstance(error, OSError):
        return APIConnectionError(f"{peer}: broke the connection inside the answer", code="connection_reset")
    return StreamBroken(broken)


def _unconnected(message: str, retryable: bool) -> APIConnectionError:
    return APIConnectionError(message, retryable=retryable, sent=False)
