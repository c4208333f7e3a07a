"""The gateway as an ASGI application: the routes in one list, and what surrounds every one of them.

From outside to inside: request id and access log, the route, origin and key, the body, the handler; and
errors, in the shape of the dialect that the path belongs to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.gateway import (
    accounts,
    azure,
    budgets,
    call_headers,
    capabilities,
    counting,
    google,
    inbounds,
    listing,
    metrics,
    responses,
    routing,
    streams,
    vectors,
)
from genai_spine.gateway.answer_headers import limit_headers
from genai_spine.gateway.chat import SHUTDOWN, ShuttingDown, chat
from genai_spine.gateway.discretion import Discretion
from genai_spine.gateway.exchange import Receive, Scope, Send
from genai_spine.gateway.idempotency import Idempotency
from genai_spine.gateway.kept_request import KeptRequest
from genai_spine.gateway.keys import Keys, is_google
from genai_spine.gateway.neighbours import Neighbours
from genai_spine.gateway.origins import Origins
from genai_spine.gateway.request import CallerGone, HeaderList, Request, header_value
from genai_spine.model.errors import InvalidRequest, ProviderError, SpineError
from genai_spine.settings import Settings

logger = logging.getLogger(__name__)
access = logging.getLogger("genai_spine.access")

Handler = Callable[["Gateway", Request, CallRecord], Awaitable[None]]


class Route(msgspec.Struct, frozen=True):
    """One path. `dialect` says in whose shape its errors are; a path that ends in "/" takes what follows."""

    method: str
    path: str
    dialect: str
    handler: Handler
    is_open: bool = False
    """Answers without a key."""
    sign: str = ""
    """What else is in the path, of one that ends in "/"."""


def _chat(dialect: str, *, streams_unasked: bool = False) -> Handler:
    return partial(chat, dialect=dialect, streams_unasked=streams_unasked)


_OPENAI = ("/v1", "", "/openai/v1")
"""What stands before OpenAI's paths: in OpenAI's clients, with and without the version in their base URL; in Azure's v1
API and Groq's client."""
_AZURE = (*_OPENAI, "/openai")
"""The same for what Azure's dated API has without a deployment."""

ROUTES: tuple[Route, ...] = (
    *(Route("POST", f"{root}/chat/completions", "openai_chat", _chat("openai_chat")) for root in _OPENAI),
    *(Route("POST", f"{root}/completions", "openai_chat", _chat("openai_completions")) for root in _OPENAI),
    *(Route("POST", f"{root}/responses", "openai_responses", _chat("openai_responses")) for root in _AZURE),
    *(Route(method, "/v1/responses/", "openai_responses", responses.kept) for method in ("GET", "POST", "DELETE")),
    Route("POST", "/v1/messages", "anthropic_messages", _chat("anthropic_messages")),
    Route("POST", "/v1/messages/count_tokens", "anthropic_messages", counting.count_tokens),
    Route("POST", "/api/chat", "ollama_chat", _chat("ollama_chat", streams_unasked=True)),
    Route("POST", "/api/generate", "ollama_chat", _chat("ollama_generate", streams_unasked=True)),
    *(Route("POST", f"{root}/embeddings", "openai_chat", vectors.embed("openai_embeddings")) for root in _OPENAI),
    Route("POST", azure.ROOT, "openai_chat", azure.deployment),
    Route("POST", "/api/embed", "ollama_chat", vectors.embed("ollama_embed")),
    Route("POST", "/api/embeddings", "ollama_chat", vectors.embed("ollama_embeddings")),
    Route("POST", "/v1/rerank", "openai_chat", vectors.rerank("jina_rerank")),
    Route("POST", "/rerank", "openai_chat", vectors.rerank("jina_rerank")),
    Route("POST", "/v2/rerank", "openai_chat", vectors.rerank("cohere_rerank")),
    Route("POST", "/v1beta/models/", "gemini", google.method),
    # The Vercel AI SDK writes `models/` only before names without a slash.
    Route("POST", "/v1beta/", "gemini", google.method, sign=":"),
    Route("POST", "/v1/models/", "gemini", google.method),
    Route("GET", "/v1beta/models", "gemini", listing.models),
    Route("GET", "/v1beta/models/", "gemini", listing.model),
    *(Route("GET", f"{root}/models", "openai_chat", listing.models) for root in _AZURE),
    Route("GET", "/v1/models/", "openai_chat", listing.model),
    Route("GET", "/api/tags", "ollama_chat", listing.ollama_tags),
    Route("GET", "/api/ps", "ollama_chat", listing.ollama_ps),
    Route("GET", "/api/version", "ollama_chat", listing.ollama_version),
    Route("POST", "/api/show", "ollama_chat", listing.ollama_show),
    *(Route("POST", path, "openai_chat", handler) for path, handler in capabilities.ours().items()),
    Route("GET", "/v1/capabilities", "openai_chat", capabilities.listing),
    Route("GET", "/v1/providers", "openai_chat", listing.providers),
    Route("POST", "/v1/route", "openai_chat", routing.dry_run),
    Route("GET", "/v1/requests", "openai_chat", accounts.calls),
    Route("GET", "/v1/requests/", "openai_chat", routing.recorded),
    Route("GET", "/v1/usage", "openai_chat", accounts.usage_sums),
    Route("GET", "/v1/budgets", "openai_chat", budgets.listed),
    Route("GET", "/v1/streams", "openai_chat", streams.listed),
    Route("DELETE", "/v1/streams/", "openai_chat", streams.cancelled),
    Route("GET", "/metrics", "openai_chat", metrics.exposed),
    Route("GET", "/health/live", "openai_chat", listing.live, is_open=True),
    Route("GET", "/health/ready", "openai_chat", listing.ready, is_open=True),
    Route("GET", "/", "openai_chat", listing.root, is_open=True),
)
"""HEAD is answered wherever GET is; the server leaves the body out."""


class Gateway:
    """`await gateway(scope, receive, send)`. One per process; `manager` does the work."""

    def __init__(self, manager: ProviderManager, settings: Settings | None = None) -> None:
        self.manager = manager
        self.settings = settings or manager.settings
        server = self.settings.server
        self.keys = Keys.of(server)
        self.origins = Origins(server.cors, is_open=not self.keys, host=server.host)
        self.discretion = Discretion(manager.registry, self.settings)
        self.idempotency = Idempotency()
        self.draining = False
        self.streams = streams.OpenStreams(self.settings)
        self.write_timeout_s = float(self.settings.streams.write_timeout)
        self._max_body = int(server.max_body_mb * 1_000_000)
        self._body_timeout_s = float(server.body_timeout)
        self._logs_access = server.access_log
        self._request = KeptRequest if self.settings.ledger.content != "none" else Request
        strangers = capabilities.of_packages().items()
        ours = [_opened(route) if server.metrics == "open" else route for route in ROUTES]
        self._routes = (*(Route("POST", path, "openai_chat", handler) for path, handler in strangers), *ours)
        self._exact = {(route.method, route.path): route for route in self._routes if not _is_prefix(route)}
        self._prefixes = tuple(route for route in ROUTES if _is_prefix(route))
        self.tasks: set[asyncio.Task[Any]] = set()
        """Of the requests under way."""
        self.metrics = metrics.GatewayMetrics(self) if server.metrics != "none" else None
        self._neighbours: Neighbours | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(self._request(scope, receive, send))
        elif scope["type"] == "websocket":  # none is spoken here: a server answers its handshake with 403
            await receive()
            await send({"type": "websocket.close"})

    async def body_of(self, request: Request) -> bytes:
        """Raises: InvalidRequest, CallerGone."""
        return await request.body(self._max_body, self._body_timeout_s)

    async def abort_streams(self) -> None:
        """Ends what is still open with an error of its dialect; for a gateway that has waited long enough."""
        for task in self.tasks:
            task.cancel(SHUTDOWN)
        if self.tasks:
            await asyncio.wait(self.tasks)

    def join(self, folder: Path, place: int) -> None:
        """This process is one of several on the same sockets, which share this folder."""
        if self.metrics is not None:
            self._neighbours = Neighbours(folder, place)

    def path_of(self, request: Request) -> str:
        """The path of a request's route, of which there are few; "" where there is none."""
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":  # of any path
            return ""
        try:
            return (self._exact.get((method, request.path)) or self._find(method, request.path)).path
        except InvalidRequest:
            return ""

    # ------------------------------------------------------------ one request

    async def _http(self, request: Request) -> None:
        task = request.task
        self.tasks.add(task)
        record = CallRecord(request.id)
        try:
            await self._handle(request, record)
        except CallerGone:
            request.status = request.status or 499
        except asyncio.CancelledError as cancelled:
            if cancelled.args == (SHUTDOWN,) and not request.is_started:
                record.outcome = "interrupted"
                await self._refuse(request, ShuttingDown(), record)
            else:
                request.status = 499
        finally:
            self.tasks.discard(task)
            request.done()
            self.manager.traffic.close(record)
            record.done()
            if self.metrics is not None:
                self.metrics.observe(request, record)
            if self._logs_access and access.isEnabledFor(logging.INFO):
                _log(request, record)

    async def _handle(self, request: Request, record: CallRecord) -> None:
        try:
            known = request.known_head
            if known is not None and known.admitted is not None:
                route, record.caller = known.admitted
                if route.dialect == "anthropic_messages":
                    request.extra_headers = [(b"request-id", request.id.encode())]
            else:
                route = self._admit(request, record)
            if isinstance(request, KeptRequest):
                request.keep_for(self.manager.content, record)
            await route.handler(self, request, record)
        except CallerGone:
            raise  # there is nobody to answer
        except SpineError as error:
            await self._refuse(request, error, record)
        except Exception:
            # A fault of ours: the caller gets no details, the log gets all.
            logger.exception("request %s failed", request.id)
            failure = SpineError(f"the gateway failed; its log has the details under {request.id}")
            failure.status_code = 500
            await self._refuse(request, failure, record)

    def _admit(self, request: Request, record: CallRecord) -> Route:
        """The route of a request that its caller may send. What was found so of a head holds for the same head again,
        unless it says something of one call. Raises: SpineError."""
        is_from_page = b"origin" in request.headers
        if is_from_page:
            request.extra_headers = self.origins.headers(request.headers)
        method = "GET" if request.method == "HEAD" else request.method
        route = self._exact.get((method, request.path)) or self._find(method, request.path)
        is_shared = request.path.startswith("/v1/models")
        dialect = _dialect_of(request) if is_shared else route.dialect
        if dialect == "anthropic_messages":
            request.extra_headers = [*request.extra_headers, (b"request-id", request.id.encode())]
        if not route.is_open:
            if self.origins.is_open:
                self.origins.check(request.headers)
            query = request.scope["query_string"] if dialect == "gemini" else b""
            record.caller = self.keys.check(request.headers, query)
        call_headers.read_into(record, request.headers)
        if request.known_head is not None and not is_from_page and call_headers.OURS.isdisjoint(request.headers):
            request.known_head.admitted = route, record.caller
        return route

    def _find(self, method: str, path: str) -> Route:
        """Raises: InvalidRequest with status 404 or 405."""
        if method == "OPTIONS" and self.origins.allowed:
            return Route("OPTIONS", path, "openai_chat", _preflight, is_open=True)
        under = [route for route in self._prefixes if path.startswith(route.path) and path != route.path]
        matching = [route for route in under if route.sign in path]
        for route in matching:
            if route.method == method:
                return route
        exact = [route for route in self._routes if route.path == path and not _is_prefix(route)]
        methods = {route.method for route in (*exact, *matching)}
        if methods:
            raise _NoRoute(f"{path[:200]} takes {' or '.join(sorted(methods))}, not {method}", 405, methods)
        known = "/v1/models, /v1/chat/completions, /v1/messages, /api/chat"
        raise _NoRoute(f"no {method} {path[:200]} here; see {known}", 404)

    async def _refuse(self, request: Request, error: SpineError, record: CallRecord) -> None:
        if request.is_started:
            return
        request.notes = self.discretion.for_log(f"{type(error).__name__}: {error.message}")
        self.discretion.mend(error)
        reader = inbounds.inbound(_dialect_of(request))
        status, body = reader.encode_error(error, request.id)
        headers: HeaderList = []
        if error.fault != "caller" or isinstance(error, ProviderError):
            headers.append((b"x-should-retry", b"false"))
        if isinstance(error, ProviderError):
            headers.append((b"x-spine-attempts", b"%d" % len(record.attempts)))
            if error.provider is not None:
                headers.append((b"x-spine-provider", header_value(error.provider)))
            if error.retry_after_s is not None:
                headers.append((b"retry-after", b"%d" % -(-error.retry_after_s // 1)))
        if record.caller is not None:
            headers += limit_headers(self.manager.limiter, record.caller)
        if isinstance(error, _NoRoute) and error.methods:
            allowed = error.methods | ({"HEAD"} if "GET" in error.methods else set())
            headers.append((b"allow", ", ".join(sorted(allowed)).encode()))
        await request.reply(status, body, headers)

    # ------------------------------------------------------------ beginning and end

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.manager.start()
                except Exception as error:  # of one that is only raised, uvicorn thinks that no lifespan is spoken
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                if self.metrics is not None:
                    self.metrics.start(self._neighbours)
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.draining = True
                if self.metrics is not None:
                    await self.metrics.close()
                await self.manager.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _NoRoute(InvalidRequest):
    def __init__(self, message: str, status: int, methods: set[str] | None = None) -> None:
        super().__init__(message, status_code=status, code="not_found" if status == 404 else "method_not_allowed")
        self.methods = methods or set()


def _opened(route: Route) -> Route:
    return msgspec.structs.replace(route, is_open=True) if route.path == "/metrics" else route


def _is_prefix(route: Route) -> bool:
    return route.path.endswith("/") and len(route.path) > 1


def _dialect_of(request: Request) -> str:
    """In whose shape a request's errors are. /v1/models is three services' path."""
    path = request.path
    if is_google(request):
        return "gemini"
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and b"anthropic-version" in request.headers):
        return "anthropic_messages"
    if path.removeprefix("/openai").startswith(("/v1/responses", "/responses")):
        return "openai_responses"
    return "ollama_chat" if path.startswith("/api/") else "openai_chat"


async def _preflight(gateway: Gateway, request: Request, record: CallRecord) -> None:
    await request.reply(204, b"", gateway.origins.preflight_headers(request.headers))


def _log(request: Request, record: CallRecord) -> None:
    """One line, without bodies, keys and queries; control characters of a caller's are escaped."""
    path = request.path.encode("ascii", "backslashreplace").decode()
    notes = "".join(char if char.isprintable() else "?" for char in request.notes[:300])
    access.info(
        "%s %s %d %.1fms %dB attempts=%d %s %s",
        request.method,
        "".join(char if char.isprintable() else "?" for char in path[:300]),
        request.status,
        (time.perf_counter() - request.begun) * 1000,
        request.bytes_out,
        len(record.attempts),
        request.id,
        notes,
    )
