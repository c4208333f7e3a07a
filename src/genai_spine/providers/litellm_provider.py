"""What LiteLLM speaks and no row of ours does: its model strings (`watsonx/…`, `sagemaker_chat/…`) as a provider.

    [providers.litellm]
    model = "watsonx/ibm/granite-3-8b-instruct"

LiteLLM takes and gives OpenAI's chat, so that requests are written and answers read by the openai_chat dialect;
what differs is in litellm_library.py. Keys and addresses are those that LiteLLM finds in its own variables, or
`api_key` and `base_url` of the settings, for the services of the models that the settings name.

Must not know: routing, retries (LiteLLM's own are off), what is behind a model string.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

import msgspec

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.rows import ProviderRow, find_row
from genai_spine.dialects import openai_embeddings
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import outbound as openai_chat
from genai_spine.dialects.vectors import matched
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import ConfigError, InvalidRequest, ProviderError, ProviderTimeout, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, Notice, TokenUsage
from genai_spine.providers import litellm_library as ways
from genai_spine.providers.keys import KeyPool, KeyUse, keys_of
from genai_spine.providers.own_prices import with_own_price
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.request_defaults import RequestDefaults
from genai_spine.settings import ProviderSettings, TimeoutSettings


class LiteLLMProvider(LLMProvider):
    """Any model string that LiteLLM takes; `litellm` is imported at the first call."""

    def __init__(
        self,
        row: ProviderRow,
        settings: ProviderSettings | None = None,
        *,
        name: str | None = None,
        timeouts: TimeoutSettings | None = None,
    ) -> None:
        self.row = row
        self.settings = settings = settings or ProviderSettings()
        self.name = name or row.id
        self.quirks = row.quirks_with(settings.quirks)
        self.timeouts = settings.timeouts.over(timeouts or TimeoutSettings())
        self._defaults = RequestDefaults(settings, self.name)
        self._keys = keys_of(settings)
        self.keys = KeyPool(len(self._keys), lambda: self.name) if len(self._keys) > 1 else None
        self._named = [name for name in (settings.model, settings.embed_model, *settings.models) if name]
        self._named += settings.custom_models.values()
        if not self._named and (self._keys or settings.base_url or settings.headers):
            raise ConfigError(
                f"providers.{self.name}: api_key, base_url and headers are for the service of the models that are "
                f"named here, and none is: set providers.{self.name}.model"
            )

    @property
    def provider_type(self) -> str:
        return self.row.id

    @property
    def default_model(self) -> str | None:
        return self.settings.model

    def card(self, model: str | None = None) -> ModelCard:
        """As the catalog knows the model of the service in its name; the id is LiteLLM's whole string."""
        name = model or self.default_model or ""
        name = self.settings.custom_models.get(name, name)
        service, _, bare = name.partition("/")
        row = find_row(service)
        known = card_of(row.id if row else self.row.id, self.name, bare if row else name)
        return with_own_price(msgspec.structs.replace(known, id=name), self.settings.cost, model or name)

    async def list_models(self) -> list[ModelCard]:
        """Those of the settings: LiteLLM lists what it has heard of, not what a key may use."""
        return [self.card(model) for model in self.settings.models]

    # ------------------------------------------------------------ the calls

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        library = await asyncio.to_thread(ways.load)
        target = self._target(request.model)
        key = self._key_for(library, target.model)
        arguments, notices = self._chat_arguments(library, request, target, key, stream=False)
        answer = await self._answered(library.acompletion(**arguments), key)
        response = openai_chat.decode_response(_encoded(answer), target)
        return msgspec.structs.replace(
            response,
            usage=_priced(response.usage, library, answer, target.model),
            notices=(*notices, *response.notices),
        )

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """The events as they come, those of one chunk together."""
        library = await asyncio.to_thread(ways.load)
        target = self._target(request.model)
        key = self._key_for(library, target.model)
        arguments, notices = self._chat_arguments(library, request, target, key, stream=True)
        stream = await self._answered(library.acompletion(**arguments), key)
        decoder = openai_chat.stream_decoder(target)
        last: Any = None
        try:
            async for chunk in self._chunks(stream):
                last = chunk
                if events := decoder.feed(b"data: " + _encoded(chunk) + b"\n\n"):
                    yield _with_notices(events, notices)
                    notices = ()
            if ways.was_cut(stream):
                raise StreamBroken("the stream ended before the answer did")
            events = [_priced_end(event, library, last, target.model) for event in decoder.close()]
            if events:
                yield _with_notices(events, notices)
        finally:
            with suppress(Exception):  # it is over either way, and what it died of has been raised
                await stream.aclose()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        if (model := request.model or self.settings.embed_model) is None:
            raise InvalidRequest(
                f'no model named, and "{self.name}" has no embed_model: name one, or set it', param="model"
            )
        library = await asyncio.to_thread(ways.load)
        target = self._target(model)
        outgoing = openai_embeddings.encode_request(request, target)
        arguments, notices = ways.known_arguments(msgspec.json.decode(outgoing.body), ways.EMBEDDING_ARGUMENTS)
        key = self._key_for(library, target.model)
        arguments |= self._common(library, target.model, key)
        answer = await self._answered(library.aembedding(**arguments), key)
        response = matched(openai_embeddings.decode_response(_encoded(answer), target), request)
        return msgspec.structs.replace(
            response,
            usage=_priced(response.usage, library, answer, target.model),
            notices=(*outgoing.notices, *notices, *response.notices),
        )

    # ------------------------------------------------------------ what LiteLLM is told

    def _target(self, model: str | None) -> Target:
        """Raises: InvalidRequest where no model is named and none is configured."""
        if not (name := model or self.default_model):
            raise InvalidRequest(
                f'no model named, and "{self.name}" has no default: name one, or set providers.{self.name}.model',
                param="model",
            )
        if "://" in name:  # LiteLLM takes an address within some names, and what it finds there it asks
            raise InvalidRequest(f"{name}: a model's name holds no address; set base_url", param="model")
        target = Target(card=self.card(name), quirks=self.quirks)
        if self.settings.models and target.model not in self._named:  # LiteLLM would find other services' keys
            raise InvalidRequest(
                f'"{self.name}" has no model "{target.model}": it has those of providers.{self.name}.models',
                param="model",
                status_code=404,
                code="model_not_found",
            )
        return target

    def _chat_arguments(
        self, library: Any, request: CompletionRequest, target: Target, key: KeyUse | None, *, stream: bool
    ) -> tuple[dict[str, Any], tuple[Notice, ...]]:
        """Raises: InvalidRequest for what cannot be said."""
        outgoing = openai_chat.encode_request(self._defaults.onto(request), target, stream=stream)
        if _service_of(library, target.model) is None:
            raise InvalidRequest(
                f'LiteLLM knows no service for the model "{target.model}": write it as service/model', param="model"
            )
        supported = library.get_supported_openai_params(model=target.model)
        arguments, notices = ways.chat_arguments(msgspec.json.decode(outgoing.body), supported)
        return {**arguments, **self._common(library, target.model, key)}, (*outgoing.notices, *notices)

    def _key_for(self, library: Any, model: str) -> KeyUse | None:
        """The key of the settings whose turn it is; None where there is none for the service of this model."""
        if not self._keys or not self._is_ours(library, model):
            return None
        return self.keys.take(model) if self.keys is not None else KeyUse(0, model)

    def _common(self, library: Any, model: str, key: KeyUse | None) -> dict[str, Any]:
        """What every call is told beside its content; retries are the engine's."""
        common: dict[str, Any] = {
            "timeout": float(self.timeouts.first_token),
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": False,
        }
        settings = self.settings
        if not self._is_ours(library, model):
            return common
        if settings.headers:
            common["extra_headers"] = {name: value.reveal() for name, value in settings.headers.items()}
        if settings.base_url is not None:
            common["api_base"] = settings.base_url
        if settings.api_version is not None:
            common["api_version"] = settings.api_version
        if key is not None:
            common["api_key"] = self._keys[key.position]
        return common

    def _is_ours(self, library: Any, model: str) -> bool:
        """Whether the key and the address of the settings are meant for the service of this model: a caller may
        name any service, and must not have one's key sent to another."""
        service = _service_of(library, model)
        return service is not None and any(service == _service_of(library, name) for name in self._named)

    # ------------------------------------------------------------ what it says

    async def _answered(self, call: Awaitable[Any], key: KeyUse | None) -> Any:
        """Raises: what the call failed of, as an error of ours."""
        try:
            async with asyncio.timeout(self.timeouts.total):
                answer = await call
        except TimeoutError as error:
            raise ProviderTimeout(f"no answer from LiteLLM after {self.timeouts.total:g} s") from error
        except Exception as error:
            failure = ways.failure_of(error)
            if self.keys is not None and key is not None and isinstance(failure, ProviderError):
                self.keys.judge(key, failure)
            raise failure from error
        if self.keys is not None and key is not None:
            self.keys.answered(key)
        return answer

    async def _chunks(self, stream: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """The stream's chunks, each within the time that a stream may be idle."""
        while True:
            try:
                async with asyncio.timeout(self.timeouts.idle):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise ProviderTimeout(f"nothing came from LiteLLM for {self.timeouts.idle:g} s") from error
            except Exception as error:
                raise ways.failure_of(error) from error
            yield chunk


def _service_of(library: Any, model: str) -> str | None:
    """What LiteLLM takes the service of a model string to be."""
    try:
        service: str = library.get_llm_provider(model=model)[1]
    except Exception:  # it has several kinds for a name that it does not know
        return None
    return service


def _encoded(answer: Any) -> bytes:
    return msgspec.json.encode(ways.openai_answer(answer.model_dump(mode="json")))


def _priced(usage: TokenUsage | None, library: Any, answer: Any, model: str) -> TokenUsage | None:
    if usage is None or (cost := ways.cost_of(library, answer, model)) is None:
        return usage
    return msgspec.structs.replace(usage, reported_cost_usd=cost)


def _priced_end(event: StreamEvent, library: Any, last: Any, model: str) -> StreamEvent:
    """The end of a stream with its cost: its last chunk counts the tokens of all."""
    if not isinstance(event, MessageEnd):
        return event
    usage = getattr(last, "usage", None)
    answer = None if usage is None else library.ModelResponse(model=model, usage=usage)
    return msgspec.structs.replace(event, usage=_priced(event.usage, library, answer, model))


def _with_notices(events: list[StreamEvent], notices: tuple[Notice, ...]) -> list[StreamEvent]:
    if notices and isinstance(first := events[0], MessageStart):
        events[0] = msgspec.structs.replace(first, notices=(*notices, *first.notices))
    return events
