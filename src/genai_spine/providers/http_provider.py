"""A provider that is a row of the catalog: row + dialect + transport, and nothing of its own.

`complete` and `stream` go through the model; `relay` sends a caller's own bytes on, where caller and
provider speak the same dialect. Must not know: other providers, routing, retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from copy import copy
from typing import Any

import msgspec

from genai_spine.catalog.cards import card_of, joined, own_name, suggestion
from genai_spine.catalog.owners import whose
from genai_spine.catalog.rows import KEY_HEADERS, ProviderRow, find_row
from genai_spine.dialects import auto_marks
from genai_spine.dialects.failure import redact
from genai_spine.dialects.interface import Outgoing, StreamDecoder, Target
from genai_spine.dialects.rankings import ranked
from genai_spine.dialects.vectors import matched
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, ConfigError, InvalidRequest, ProviderError
from genai_spine.model.events import StreamEvent, promises
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import CompletionResponse
from genai_spine.policy.standing import Standing
from genai_spine.policy.tokens import TokenCount
from genai_spine.providers import codecs, hops
from genai_spine.providers.address import Addresses
from genai_spine.providers.authorize import Authorizer, authorizer_for
from genai_spine.providers.connect import transport_for
from genai_spine.providers.dialect_choice import worded
from genai_spine.providers.embed_parts import embed_in_parts
from genai_spine.providers.fronts import with_notices
from genai_spine.providers.keys import KeyPool, KeyUse, keys_of
from genai_spine.providers.overrides import CURRENT
from genai_spine.providers.own_headers import OwnHeaders
from genai_spine.providers.own_prices import with_own_price
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.request_defaults import RequestDefaults
from genai_spine.providers.standings import Standings
from genai_spine.providers.transport import HttpRequest, HttpResponse, Timeouts, Transport
from genai_spine.settings import ProviderSettings, TimeoutSettings
from genai_spine.wire import eventstream
from genai_spine.wire.http import Headers, Url

_NOT_THERE = frozenset({404, 405, 501})
STREAM_TYPES = ("text/event-stream", "application/x-ndjson", "application/octet-stream", eventstream.CONTENT_TYPE)

COMPLETING = "openai_completions"
"""A dialect that not every model of a provider knows."""
_LONG_BYTES = 1_000_000
"""Of vectors: to read more takes longer than other calls should wait, so it is done in a thread."""
_CALLERS_ACCOUNT = object()
"""The mark of a refused response to a request whose caller had said whose account is asked."""


class HttpProvider(LLMProvider):
    """One configured row. `transport` is made when it is first needed, and anew for another event loop."""

    def __init__(
        self,
        row: ProviderRow | str,
        settings: ProviderSettings | None = None,
        *,
        name: str | None = None,
        timeouts: TimeoutSettings | None = None,
        transport: Callable[[], Transport] | None = None,
    ) -> None:
        found = find_row(row) if isinstance(row, str) else row
        if found is None:
            raise ConfigError(f'no provider type "{row}": see `spine providers` for the known ones')
        self.row = found
        self.settings = settings = settings or ProviderSettings()
        self.name = name or found.id
        self.quirks = found.quirks_with(settings.quirks)
        self.dialect = settings.dialect or found.chat[0]
        own = settings.timeouts.over(timeouts or TimeoutSettings())
        self.timeouts = Timeouts(
            connect_s=own.connect, first_byte_s=own.first_token, idle_s=own.idle, total_s=own.total
        )
        self._make_transport = transport
        self._transports: dict[asyncio.AbstractEventLoop, Transport] = {}
        self._addresses = Addresses(found, settings, lambda: self.name)
        self._deployed = {deployment: model for model, deployment in settings.deployments.items()}
        self._targets: dict[str, Target] = {}
        self._standings = Standings(self.card)
        keys = keys_of(settings)
        self.keys = KeyPool(len(keys), lambda: self.name) if len(keys) > 1 else None
        self._own_headers_of = tuple(OwnHeaders(found, settings, key) for key in keys or (None,))
        self._own_headers = self._own_headers_of[0]
        self._lacks_key = found.needs_key and not keys and not settings.headers
        self._defaults = RequestDefaults(settings, self.name)
        self._is_signed = found.is_cloud and not keys and not _authorized(settings)
        self._authorizer: Authorizer | None = None
        self.on_head: Callable[[str, list[tuple[bytes, bytes]]], None] | None = None
        """Is told the model and the headers of every answer: its limits are in them. Not of a provider with several
        keys, of which each has limits of its own, which are not those of the whole."""

    # ------------------------------------------------------------ who and where

    @property
    def provider_type(self) -> str:
        return self.row.id

    @property
    def default_model(self) -> str | None:
        return self.settings.model or self.row.default_model

    @property
    def default_embed_model(self) -> str | None:
        return self.settings.embed_model or self.row.embed_model

    @property
    def is_local(self) -> bool:
        return self.row.local

    def speaks(self, dialect: str) -> bool:
        return dialect in self.row.chat if self.settings.dialect is None else dialect == self.settings.dialect

    @property
    def counting_dialect(self) -> str | None:
        """The dialect in which the provider is asked to count tokens; None where they are estimated."""
        return self.dialect if self.dialect in codecs.COUNTING else self.row.counts

    def relays(self, dialect: str, members: Mapping[str, msgspec.Raw], model: str | None = None) -> bool:
        """Whether a caller's bytes can go to this provider as they are: it speaks their dialect, and neither
        a quirk nor a setting nor the model has something to change about a request with these members."""
        return (
            self.speaks(dialect)
            and (dialect != COMPLETING or dialect in self.row.chat_of(self.target(model).model))
            and not codecs.relayed(dialect).concerns(members, self.quirks)
            and not self.has_defaults_for(members)
            and not (dialect in codecs.PARTICULAR and codecs.particular(dialect).refused(members, self.target(model)))
        )

    def card(self, model: str | None = None) -> ModelCard:
        """What is known of a model; its id is the name that is sent: on Azure, that of its deployment."""
        name = model or self.default_model or ""
        name = own_name(self.row.id, self.settings.custom_models.get(name, name))
        known = card_of(self.row.id, self.name, self._deployed.get(name, name))
        known = with_own_price(known, self.settings.cost, model or name, is_local=self.is_local)
        sent = self.settings.deployments.get(name, name)
        return known if known.id == sent else msgspec.structs.replace(known, id=sent)

    def target(self, model: str | None) -> Target:
        """Raises: InvalidRequest where no model is named and none is configured."""
        name = model or self.default_model
        if name is None:
            raise InvalidRequest(
                f'no model named, and "{self.name}" has no default: name one, or set providers.{self.name}.model',
                param="model",
            )
        found = self._targets.get(name)
        if found is None:
            found = Target(card=self.card(name), quirks=self.quirks)
            if len(self._targets) < 1000:
                self._targets[name] = found
        return found

    def standing(self, model: str | None) -> Standing:
        return self._standings.of(model or self.default_model or "")

    def url(self, dialect: str, path: str, model: str = "") -> Url:
        """As `Addresses.url`. Raises: ConfigError."""
        return self._addresses.url(dialect, path, model)

    def _check_key(self) -> None:
        if self._lacks_key:
            names = self.settings.api_key_env or " or ".join(self.row.key_variables) or "the key's variable"
            raise ConfigError(f'no API key for "{self.name}": set {names}, or providers.{self.name}.api_key')

    # ------------------------------------------------------------ the calls

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        dialect, target, outgoing = self._encoded(request, stream=False)
        codec = codecs.outbound(dialect)
        body = await self._answer(dialect, outgoing, target)
        response = codec.decode_response(body, target)
        if outgoing.notices:
            return msgspec.structs.replace(response, notices=(*outgoing.notices, *response.notices))
        return response

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """The events as they come, those of one read together."""
        dialect, target, outgoing = self._encoded(request, stream=True)
        codec = codecs.outbound(dialect)
        body = self.marked(dialect, outgoing.body, target)
        response = await self.send(dialect, outgoing.path, body, outgoing.headers, model=target.model)
        try:
            if response.status >= 300:
                raise await self.error_of(response, dialect)
            if not is_stream(response):
                # Some servers answer a stream's request at once, and proxies with a page of their own.
                answer = codec.decode_response(await self.json_body(response), target)
                yield with_notices(list(replay(answer)), outgoing.notices)
                return
            decoder = codec.stream_decoder(target)
            notices = outgoing.notices
            has_said = False
            async for data in response.chunks():
                events = decoder.feed(data)
                has_said = has_said or says_something(events, decoder)
                if events:
                    yield with_notices(events, notices) if notices else events
                    notices = ()
                if decoder.failure is not None:
                    raise copy(decoder.failure)
            if events := decoder.close():
                yield with_notices(events, notices) if notices else events
        finally:
            await response.aclose()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        if self.row.embeddings is None:
            raise InvalidRequest(f"{self.name} makes no embeddings", param="model")
        model = request.model or self.default_embed_model
        if model is None:
            raise InvalidRequest(
                f'no model named, and "{self.name}" has no embed_model: name one, or set it', param="model"
            )
        dialect, target = self.row.embeddings, self.target(model)
        codec = codecs.embeddings(dialect)

        async def asked(part: EmbeddingRequest) -> EmbeddingResponse:
            outgoing = codec.encode_request(part, target)
            body = await self._answer(dialect, outgoing, target)
            if len(body) < _LONG_BYTES:
                response = codec.decode_response(body, target)
            else:
                response = await asyncio.to_thread(codec.decode_response, body, target)
            return msgspec.structs.replace(response, notices=(*outgoing.notices, *response.notices))

        most = codecs.most_inputs(dialect, target) or len(request.input) or 1
        return matched(await embed_in_parts(request, most, asked), request)

    async def rerank(self, request: RerankRequest) -> RerankResponse:
        if self.row.rerank is None:
            raise InvalidRequest(f"{self.name} does not rerank documents", param="model")
        if request.model is None:
            raise InvalidRequest("no model named: a chat model does not rerank", param="model")
        target = self.target(request.model)
        codec = codecs.reranking(self.row.rerank)
        outgoing = codec.encode_request(request, target)
        body = await self._answer(self.row.rerank, outgoing, target)
        response = ranked(codec.decode_response(body, target), request)
        return msgspec.structs.replace(response, notices=(*outgoing.notices, *response.notices))

    async def count_tokens(self, content: str | CompletionRequest, model: str | None = None) -> TokenCount:
        """Input tokens: counted by the provider where it does that, otherwise estimated."""
        if (dialect := self.counting_dialect) is None:
            return await super().count_tokens(content, model)
        request = CompletionRequest(messages=content) if isinstance(content, str) else content
        codec = codecs.counting(dialect)
        target = self.target(model or request.model)
        try:
            outgoing = codec.encode_count_request(request, target)
        except InvalidRequest:
            if dialect == self.dialect:
                raise
            return await super().count_tokens(content, model)  # the dialect that is spoken may well say it
        counted = await self.counted(dialect, target, outgoing.path, outgoing.body, outgoing.headers)
        if counted is None:
            return await super().count_tokens(content, model)
        return TokenCount(codec.decode_count_response(counted), "provider")

    async def counted(self, dialect: str, target: Target, path: str, body: bytes, headers: Headers) -> bytes | None:
        """The provider's answer to a request for a count; None from a server that is too old to count."""
        response = await self.send(dialect, path, body, headers, model=target.model)
        if self.row.counts is not None and response.status in _NOT_THERE:
            await response.aclose()
            return None
        if response.status >= 300:
            raise await self.error_of(response, dialect)
        return await self.json_body(response)

    def suggestion(self, model: str) -> str:
        return suggestion(self.row.id, model) or whose(model, not_of=self.row.id)

    async def list_models(self) -> list[ModelCard]:
        """Live, from the provider's own list, with what the catalog knows of each."""
        if told := self.settings.models or list(self.settings.deployments):
            return [self.card(model) for model in told]
        if not self.row.models_path:
            return []
        self._check_key()
        url = self.url(self.row.lists_at, self.row.models_path)
        response = await self._exchange("GET", url)
        if response.status >= 300:
            raise await self.error_of(response, self.dialect)
        listed = codecs.model_list(self.row.chat[0]).decode_models(await self.json_body(response))
        return [joined(card, self.card(card.id)) for card in listed]

    async def probe(self, *, key: int | None = None) -> None:
        """Its list of models is asked for, whatever the settings say of models; where there is none, its address.

        It is there if it answers: a server without that path does. `key` is the position of the key to ask with, and
        of no other. Raises: SpineError.
        """
        path = self.row.models_path
        self._check_key()
        url = self.url(self.row.lists_at, path) if path else self.url(self.dialect, "/")
        response = await self._exchange("GET", url, key=None if key is None else KeyUse(key, ""))
        if path and response.status < 300:
            await self.json_body(response)
        elif response.status in _NOT_THERE or (not path and response.status < 500):
            await response.aclose()
        else:
            error = await self.error_of(response, self.dialect)
            if key is not None or not error.has_another_key:
                raise error
            await self.probe()

    # ------------------------------------------------------------ sending

    def send(
        self, dialect: str, path: str, body: bytes, headers: Headers = (), *, model: str = ""
    ) -> Coroutine[Any, Any, HttpResponse]:
        """POST to the provider; the answer's head is there, its body still coming. `model` is as in `url`."""
        if self._lacks_key:
            self._check_key()
        return self._exchange("POST", self._addresses.url(dialect, path, model), body, headers, model)

    async def _exchange(
        self,
        method: str,
        url: Url,
        body: bytes = b"",
        headers: Headers = (),
        model: str = "",
        *,
        timeouts: Timeouts | None = None,
        key: KeyUse | None = None,
    ) -> HttpResponse:
        """One request, authorised. `headers` are a caller's; `timeouts` stand whatever the call's are; `key` is that of
        an earlier request, to be used again."""
        loop = asyncio.get_running_loop()
        transport = self._transports.get(loop) or self._new_transport(loop)
        own = self._own_headers
        if (keys := self.keys) is not None:
            key = key or keys.take(model)
            own = self._own_headers_of[key.position]
        if self.settings.base_url is not None and hops.CAME_BY.get():
            headers = (*headers, (hops.HEADER, hops.outgoing()))
        if timeouts is None:
            override = CURRENT.get()
            timeouts = self.timeouts if override is None else override.over(self.timeouts)
        request = HttpRequest(
            method=method,
            url=url,
            headers=own.merged(headers) if headers else own.plain,
            body=body,
            timeouts=timeouts,
        )
        if self._is_signed:
            request = await self._authorized(request)
        response = await transport.send(request)
        if headers and response.status in (401, 403) and own.chooses_account(headers):
            response.mark = _CALLERS_ACCOUNT
        elif keys is None or key is None:
            if model and self.on_head is not None:
                self.on_head(model, response.headers)
        else:
            response.mark = key
            if response.status < 400:
                keys.answered(key)
        return response

    async def check_credentials(self) -> None:
        """Find what a request would be authorised with, as the first request would; the service is not asked.

        Raises: ConfigError, AuthenticationError and what else finding it may come to.
        """
        self._check_key()
        url = self.url(self.dialect, "/")
        if self._is_signed:
            await self._authorized(HttpRequest(method="GET", url=url, headers=self._own_headers.plain))

    async def _authorized(self, request: HttpRequest) -> HttpRequest:
        if self._authorizer is None:
            self._authorizer = authorizer_for(self.row, self.settings)
        added = await self._authorizer.headers(request)
        return msgspec.structs.replace(request, headers=(*request.headers, *added), unique=len(added))

    def _new_transport(self, loop: asyncio.AbstractEventLoop) -> Transport:
        """One belongs to its event loop, and goes when that has ended."""
        for other in list(self._transports):
            if other.is_closed():
                self._transports.pop(other, None)
        make = self._make_transport
        transport = self._transports[loop] = transport_for(self.settings) if make is None else make()
        return transport

    def _encoded(self, request: CompletionRequest, *, stream: bool) -> tuple[str, Target, Outgoing]:
        """The dialect that it is asked in, of whom, and how."""
        request = self._with_defaults(request)
        target = self.target(request.model)
        dialect, request, notices = worded(request, self.row, target.model, self.settings.dialect)
        outgoing = codecs.outbound(dialect).encode_request(request, target, stream=stream)
        if notices:
            outgoing = msgspec.structs.replace(outgoing, notices=(*notices, *outgoing.notices))
        return dialect, target, outgoing

    async def _answer(self, dialect: str, outgoing: Outgoing, target: Target) -> bytes:
        body = self.marked(dialect, outgoing.body, target)
        response = await self.send(dialect, outgoing.path, body, outgoing.headers, model=target.model)
        if response.status >= 300:
            raise await self.error_of(response, dialect if dialect in self.row.chat else self.dialect)
        return await self.json_body(response)

    def marked(self, dialect: str, body: bytes, target: Target) -> bytes:
        """The body with prompt-cache marks, where the settings ask for them and the caller has set none."""
        return auto_marks.marked(dialect, body, target) if self.settings.auto_cache else body

    async def json_body(self, response: HttpResponse) -> bytes:
        """The body of an answer that must be JSON. Raises: BadReply for a page or for nothing."""
        body = await response.read()
        if body[:1] in (b"{", b"["):
            return body
        start = body.lstrip()[:1]
        if not start:
            raise BadReply("the provider answered 200 with an empty body")
        if start not in (b"{", b"["):
            kind = response.header("content-type") or "no content type"
            raise BadReply(f"the provider answered 200 with a body that is no JSON ({kind[:80]})")
        return body

    async def error_of(self, response: HttpResponse, dialect: str) -> ProviderError:
        """The error that an answer which is not 200 is. Reads its body."""
        if 300 <= response.status < 400:
            await response.aclose()
            return BadReply(
                f"the provider answered with a redirect ({response.status}), which we do not follow: check base_url",
                retryable=False,
            )
        body = await response.read(max_bytes=1_000_000)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        error = codecs.relayed(dialect).decode_error(response.status, headers, body)
        if error.body is None:
            error.body = redact(body.decode("utf-8", "replace"))
        if response.mark is _CALLERS_ACCOUNT:  # says nothing of key and provider, which others may use
            error.fault, error.retryable = "caller", False
            return error
        if self._authorizer is not None and response.status in (401, 403):
            self._authorizer.refused(error)
        if self.keys is not None and isinstance(response.mark, KeyUse):
            self.keys.judge(response.mark, error)
        return error

    async def close(self) -> None:
        transports, self._transports = self._transports, {}
        if (transport := transports.get(asyncio.get_running_loop())) is not None:
            await transport.close()

    # ------------------------------------------------------------ settings on requests

    def _with_defaults(self, request: CompletionRequest) -> CompletionRequest:
        """What the settings say where the request says nothing."""
        return self._defaults.onto(request)

    def has_defaults_for(self, members: Mapping[str, Any]) -> bool:
        """Whether the settings would add something to a request with these top-level members."""
        return self._defaults.concern(members)


def _authorized(settings: ProviderSettings) -> bool:
    """Whether the operator's own headers authorise."""
    return not {name.lower() for name in settings.headers}.isdisjoint(name for name, _ in KEY_HEADERS.values())


def is_stream(response: HttpResponse) -> bool:
    """By its content type; a stream whose type is missing is taken for one."""
    kind = response.header("content-type")
    return kind is None or kind.lower().startswith(STREAM_TYPES)


def says_something(events: list[StreamEvent], decoder: StreamDecoder) -> bool:
    """Whether these events, before which there were none but promises, are more than that.

    Raises: the error that came with them, since nothing of them was shown and another may be asked. But they were
    made, and are charged.
    """
    if all(map(promises, events)):
        return False
    if decoder.failure is not None:
        decoder.failure.is_uncertain = True
        raise copy(decoder.failure)
    return True
