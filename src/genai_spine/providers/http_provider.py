"""A provider that is a row of the catalog: row + dialect + transport, and nothing of its own.

`complete` and `stream` go through the model; `relay` sends a caller's own bytes on, where caller and
provider speak the same dialect. Must not know: other providers, routing, retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec

from genai_spine.catalog.cards import card_of, joined, own_name, suggestion
from genai_spine.catalog.places import fill_model
from genai_spine.catalog.rows import KEY_HEADERS, ProviderRow, find_row
from genai_spine.dialects.bedrock_ids import region_of
from genai_spine.dialects.failure import redact
from genai_spine.dialects.foreign import dialects_needed
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.limits import rate_limits
from genai_spine.dialects.rankings import ranked
from genai_spine.dialects.vectors import matched
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, ConfigError, InvalidRequest, ProviderError, RateLimit
from genai_spine.model.events import StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import CompletionResponse
from genai_spine.policy.standing import Standing
from genai_spine.policy.tokens import TokenCount
from genai_spine.providers import codecs
from genai_spine.providers.address import base_url_of
from genai_spine.providers.authorize import Authorizer, authorizer_for
from genai_spine.providers.connect import transport_for
from genai_spine.providers.embed_parts import embed_in_parts
from genai_spine.providers.provider import LLMProvider, with_notices
from genai_spine.providers.standings import Standings
from genai_spine.providers.transport import HttpRequest, HttpResponse, Timeouts, Transport
from genai_spine.settings import ProviderSettings, TimeoutSettings
from genai_spine.wire import eventstream
from genai_spine.wire.http import Headers, Url, parse_url

JSON_HEADERS: Headers = (("content-type", "application/json"), ("user-agent", "genai-spine"))
_MOST_URLS = 1000
_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_NOT_THERE = frozenset({404, 405, 501})
STREAM_TYPES = ("text/event-stream", "application/x-ndjson", "application/octet-stream", eventstream.CONTENT_TYPE)


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
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[tuple[str, str, str], Url] = {}
        self._bases: dict[tuple[str, str | None], str] = {}
        self._deployed = {deployment: model for model, deployment in settings.deployments.items()}
        self._targets: dict[str, Target] = {}
        self._standings = Standings(self.card)
        self._headers = self._build_headers()
        self._merged: dict[Headers, Headers] = {}
        self._lacks_key = found.needs_key and self._key() is None and not settings.headers
        self._thresholds = _thresholds_of(settings.safety_settings, self.name)
        self._is_signed = found.is_cloud and self._key() is None and not _authorized(settings)
        self._authorizer: Authorizer | None = None
        self._told: list[tuple[bytes, bytes]] = []

    # ------------------------------------------------------------ who and where

    @property
    def provider_type(self) -> str:
        return self.row.id

    @property
    def default_model(self) -> str | None:
        return self.settings.model or self.row.default_model

    @property
    def is_local(self) -> bool:
        return self.row.local

    def speaks(self, dialect: str) -> bool:
        return dialect in self.row.chat if self.settings.dialect is None else dialect == self.settings.dialect

    @property
    def counting_dialect(self) -> str | None:
        """The dialect in which the provider is asked to count tokens; None where they are estimated."""
        return self.dialect if self.dialect in codecs.COUNTING else self.row.counts

    def relays(self, dialect: str, members: Mapping[str, msgspec.Raw]) -> bool:
        """Whether a caller's bytes can go to this provider as they are: it speaks their dialect, and neither
        a quirk nor a setting has something to change about a request with these members."""
        return (
            self.speaks(dialect)
            and not codecs.relayed(dialect).concerns(members, self.quirks)
            and not self.has_defaults_for(members)
        )

    def card(self, model: str | None = None) -> ModelCard:
        """What is known of a model; its id is the name that is sent: on Azure, that of its deployment."""
        name = model or self.default_model or ""
        name = own_name(self.row.id, self.settings.custom_models.get(name, name))
        known = card_of(self.row.id, self.name, self._deployed.get(name, name))
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
        """Where a request of this dialect goes: the base URL with its places filled, and the dialect's path.

        `model` is the provider's own name of it, for addresses that hold it. Raises: ConfigError.
        """
        base = self._base_url(dialect, model)
        key = (base, path, model if "{model}" in base else "")
        found = self._urls.get(key)
        if found is None:
            found = parse_url(fill_model(base, model)).at(path)
            if len(self._urls) < _MOST_URLS:  # paths may hold names that callers choose
                self._urls[key] = found
        return found

    def _base_url(self, dialect: str, model: str) -> str:
        """A model that is bound to a region is asked there, whatever the settings' region is."""
        is_bound = model.startswith("arn:") and "region" in self.row.settings_used
        region = region_of(model) if is_bound else None
        key = (dialect, region)
        if (base := self._bases.get(key)) is None:
            settings = self.settings if region is None else msgspec.structs.replace(self.settings, region=region)
            base = base_url_of(self.row, settings, dialect, self.name)
            if len(self._bases) < _MOST_URLS:  # a region is a part of a name that callers choose
                self._bases[key] = base
        return base

    @property
    def rate_limits(self) -> tuple[RateLimit, ...]:
        """The provider's limits as its last answer told them; empty where it told none."""
        return rate_limits({name.decode("latin-1"): value.decode("latin-1") for name, value in self._told})

    def _key(self) -> str | None:
        settings = self.settings
        key = settings.api_key or (settings.api_keys[0] if settings.api_keys else None)
        return key.reveal() if key else None

    def _build_headers(self) -> Headers:
        key = self._key()
        headers: list[tuple[str, str]] = [(name, value) for name, value in JSON_HEADERS]  # type: ignore[misc]
        if key is not None and (header := KEY_HEADERS.get(self.row.auth)) is not None:
            headers.append((header[0], header[1] + key))
        headers.extend(self.row.headers.items())
        if self.settings.org_id is not None and self.row.organization_header is not None:
            headers.append((self.row.organization_header, self.settings.org_id))
        own = {name.lower(): value.reveal() for name, value in self.settings.headers.items()}
        return (*((name, value) for name, value in headers if name.lower() not in own), *own.items())

    def _check_key(self) -> None:
        if self._lacks_key:
            names = " or ".join(self.row.key_variables) or "the key's variable"
            raise ConfigError(f'no API key for "{self.name}": set {names}, or providers.{self.name}.api_key')

    def _headers_with(self, headers: Headers) -> Headers:
        """Ours and a caller's: its word stands over the row's, the settings' over its; of betas both are wanted."""
        if not headers:
            return self._headers
        merged = self._merged.get(headers)
        if merged is None:
            set_by_operator = {name.lower() for name in self.settings.headers} - {"anthropic-beta"}
            if self.settings.org_id is not None and self.row.organization_header is not None:
                set_by_operator.add(self.row.organization_header.lower())
            given = {_text(name).lower(): _text(value) for name, value in headers}
            given = {name: value for name, value in given.items() if name not in set_by_operator}
            for name, value in self._headers:
                if _text(name).lower() == "anthropic-beta" and "anthropic-beta" in given:
                    given["anthropic-beta"] = f"{_text(value)},{given['anthropic-beta']}"
            kept = [(name, value) for name, value in self._headers if _text(name).lower() not in given]
            merged = (*kept, *given.items())
            if len(self._merged) < 256:
                self._merged[headers] = merged
        return merged

    # ------------------------------------------------------------ the calls

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        request = self._with_defaults(request)
        target = self.target(request.model)
        dialect = self._dialect_for(request)
        codec = codecs.outbound(dialect)
        outgoing = codec.encode_request(request, target, stream=False)
        body = await self._answer(dialect, outgoing, target)
        response = codec.decode_response(body, target)
        if outgoing.notices:
            return msgspec.structs.replace(response, notices=(*outgoing.notices, *response.notices))
        return response

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """The events as they come, those of one read together."""
        request = self._with_defaults(request)
        target = self.target(request.model)
        dialect = self._dialect_for(request)
        codec = codecs.outbound(dialect)
        outgoing = codec.encode_request(request, target, stream=True)
        response = await self.send(dialect, outgoing.path, outgoing.body, outgoing.headers, model=target.model)
        try:
            if response.status != 200:
                raise await self.error_of(response, dialect)
            if not is_stream(response):
                # Some servers answer a stream's request at once, and proxies with a page of their own.
                answer = codec.decode_response(await self.json_body(response), target)
                yield with_notices(list(replay(answer)), outgoing.notices)
                return
            decoder = codec.stream_decoder(target)
            notices = outgoing.notices
            async for data in response.chunks():
                if events := decoder.feed(data):
                    yield with_notices(events, notices) if notices else events
                    notices = ()
            if events := decoder.close():
                yield with_notices(events, notices) if notices else events
        finally:
            await response.aclose()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        if self.row.embeddings is None:
            raise InvalidRequest(f"{self.name} makes no embeddings", param="model")
        model = request.model or self.settings.embed_model or self.row.embed_model
        if model is None:
            raise InvalidRequest(
                f'no model named, and "{self.name}" has no embed_model: name one, or set it', param="model"
            )
        dialect, target = self.row.embeddings, self.target(model)
        codec = codecs.embeddings(dialect)

        async def asked(part: EmbeddingRequest) -> EmbeddingResponse:
            outgoing = codec.encode_request(part, target)
            response = codec.decode_response(await self._answer(dialect, outgoing, target), target)
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
        request = CompletionRequest(messages=content) if isinstance(content, str) else content  # type: ignore[arg-type]  # accept.py
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
        if response.status != 200:
            raise await self.error_of(response, dialect)
        return await self.json_body(response)

    def suggestion(self, model: str) -> str:
        return suggestion(self.row.id, model)

    async def list_models(self) -> list[ModelCard]:
        """Live, from the provider's own list, with what the catalog knows of each."""
        if told := self.settings.models or list(self.settings.deployments):
            return [self.card(model) for model in told]
        if not self.row.models_path:
            return []
        self._check_key()
        url = self.url(self.row.lists_at, self.row.models_path)
        response = await self._send(HttpRequest(method="GET", url=url, headers=self._headers, timeouts=self.timeouts))
        if response.status != 200:
            raise await self.error_of(response, self.dialect)
        listed = codecs.model_list(self.row.chat[0]).decode_models(await self.json_body(response))
        return [joined(card, self.card(card.id)) for card in listed]

    # ------------------------------------------------------------ sending

    async def send(
        self, dialect: str, path: str, body: bytes, headers: Headers = (), *, model: str = ""
    ) -> HttpResponse:
        """POST to the provider; the answer's head is there, its body still coming. `model` is as in `url`."""
        self._check_key()
        return await self._send(
            HttpRequest(
                method="POST",
                url=self.url(dialect, path, model),
                headers=self._headers_with(headers),
                body=body,
                timeouts=self.timeouts,
            )
        )

    async def _send(self, request: HttpRequest) -> HttpResponse:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._loop is not loop:
            self._transport, self._loop = self._new_transport(), loop
        if self._is_signed:
            request = await self._authorized(request)
        response = await self._transport.send(request)
        self._told = response.headers
        return response

    async def check_credentials(self) -> None:
        """Find what a request would be authorised with, as the first request would; the service is not asked.

        Raises: ConfigError, AuthenticationError and what else finding it may come to.
        """
        self._check_key()
        url = self.url(self.dialect, "/")
        if self._is_signed:
            await self._authorized(HttpRequest(method="GET", url=url, headers=self._headers))

    async def _authorized(self, request: HttpRequest) -> HttpRequest:
        if self._authorizer is None:
            self._authorizer = authorizer_for(self.row, self.settings)
        added = await self._authorizer.headers(request)
        return msgspec.structs.replace(request, headers=(*request.headers, *added), unique=len(added))

    def _new_transport(self) -> Transport:
        if self._make_transport is not None:
            return self._make_transport()
        return transport_for(self.settings)

    def _dialect_for(self, request: CompletionRequest) -> str:
        """The one that it is asked in, unless the request holds what only another of the row's can say."""
        if len(self.row.chat) == 1 or self.settings.dialect is not None:
            return self.dialect
        needed = dialects_needed(request)
        return (
            next((dialect for dialect in self.row.chat if dialect in needed), self.dialect) if needed else self.dialect
        )

    async def _answer(self, dialect: str, outgoing: Outgoing, target: Target) -> bytes:
        response = await self.send(dialect, outgoing.path, outgoing.body, outgoing.headers, model=target.model)
        if response.status != 200:
            raise await self.error_of(response, dialect if dialect in self.row.chat else self.dialect)
        return await self.json_body(response)

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
        if self._authorizer is not None and response.status in (401, 403):
            self._authorizer.refused(error)
        return error

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None and self._loop is asyncio.get_running_loop():
            await transport.close()

    # ------------------------------------------------------------ settings on requests

    def _with_defaults(self, request: CompletionRequest) -> CompletionRequest:
        """What the settings say where the request says nothing."""
        changes: dict[str, Any] = {}
        if request.max_tokens is None and self.settings.max_tokens is not None:
            changes["max_tokens"] = self.settings.max_tokens
        if request.temperature is None and self.settings.temperature is not None:
            changes["temperature"] = self.settings.temperature
        request = msgspec.structs.replace(request, **changes) if changes else request
        return self._with_safety(request) if self._thresholds else request

    def _with_safety(self, request: CompletionRequest) -> CompletionRequest:
        from genai_spine.dialects.gemini.safety import with_safety  # noqa: PLC0415  # Gemini's callers pay for it

        return with_safety(request, self._thresholds)

    def has_defaults_for(self, members: Mapping[str, Any]) -> bool:
        """Whether the settings would add something to a request with these top-level members."""
        settings = self.settings
        if self._thresholds:
            return True
        return (settings.max_tokens is not None and members.keys().isdisjoint(_LIMITS)) or (
            settings.temperature is not None and "temperature" not in members
        )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _thresholds_of(given: Any, name: str) -> dict[str, str]:
    """`safety_settings` as a table of category and threshold, or as the list that Gemini's own clients take."""
    if given is None:
        return {}
    if isinstance(given, list) and all(
        isinstance(each, dict) and each.keys() == {"category", "threshold"} for each in given
    ):
        given = {each["category"]: each["threshold"] for each in given}
    if isinstance(given, dict) and all(isinstance(text, str) for pair in given.items() for text in pair):
        return given
    raise ConfigError(
        f"providers.{name}.safety_settings: expected a table such as "
        '{ HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH" }, or a list of category and threshold'
    )


def _authorized(settings: ProviderSettings) -> bool:
    """Whether the operator's own headers authorise."""
    return not {name.lower() for name in settings.headers}.isdisjoint(name for name, _ in KEY_HEADERS.values())


def is_stream(response: HttpResponse) -> bool:
    """By its content type; a stream whose type is missing is taken for one."""
    kind = response.header("content-type")
    return kind is None or kind.lower().startswith(STREAM_TYPES)
