"""Ollama: a row like the others, the settings that only it has, and the models that it keeps.

Where `auto_pull` is set, a model that is missing is pulled on first use, and the call goes on; calls that want
the same one wait for the same pull. Source: docs.ollama.com/api (2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.ollama_chat import models, store
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, Thinking
from genai_spine.model.errors import APIConnectionError, StreamBroken
from genai_spine.model.events import MessageEnd, PartDelta, PartStart, StreamEvent
from genai_spine.model.fold import replay_part
from genai_spine.model.pull import PullProgress
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, Notice
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.model_store import ModelStore, SharedPulls
from genai_spine.providers.transport import HttpResponse
from genai_spine.wire.http import Headers

DIALECT = "ollama_chat"
_PULL_SILENCE_S = 900.0
"""While it verifies a large file, Ollama says nothing; a pull as a whole may take hours."""
_DEFAULT_TAG = ":latest"
_NOTHING_BUT_THOUGHTS = Notice(
    code="changed", message="the model answered in its thoughts only: they are the answer", param="thinking"
)


class OllamaProvider(HttpProvider, ModelStore):
    """Ollama's row, with `keep_alive`, `num_ctx` and `num_predict` of the settings on each request."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pulls = SharedPulls(self.pull)

    def speaks(self, dialect: str) -> bool:
        return super().speaks("ollama_chat" if dialect == "ollama_generate" else dialect)

    # ------------------------------------------------------------ answers in thoughts only

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Some models answer in `thinking` and leave the content empty: their thoughts are said as text, too."""
        response = await super().complete(request)
        said = {type(part) for part in response.parts}
        if said != {Thinking} or response.finish_reason is not FinishReason.STOP:
            return response
        parts = (*response.parts, Text(text=response.thinking))
        return msgspec.structs.replace(response, parts=parts, notices=(*response.notices, _NOTHING_BUT_THOUGHTS))

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        """The same for a stream: the text comes at its end."""
        said: set[type] = set()
        thoughts: list[str] = []
        count = 0
        async with aclosing(super().batches(request)) as batches:
            async for events in batches:
                for event in events:
                    if isinstance(event, PartStart):
                        said.add(type(event.part))
                        count += 1
                    elif isinstance(event, PartDelta) and said == {Thinking}:
                        thoughts.append(event.text)
                end = events[-1]
                if isinstance(end, MessageEnd) and said == {Thinking} and end.finish_reason is FinishReason.STOP:
                    noticed = msgspec.structs.replace(end, notices=(*end.notices, _NOTHING_BUT_THOUGHTS))
                    events = [*events[:-1], *replay_part(count, Text(text="".join(thoughts))), noticed]
                yield events

    # ------------------------------------------------------------ the models that it keeps

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Fetch a model, or what is new of it; the progress as it comes, the last one says "success".

        Raises: ModelNotFound, APIConnectionError or ServerError, each with how to go on; StreamBroken.
        """
        model = self.card(model).id
        decoder = store.PullDecoder(model)
        response = await self._ask("POST", store.PULL_PATH, store.encode_pull_request(model), is_long=True)
        try:
            if response.status >= 300:
                raise await self.error_of(response, DIALECT)
            async for data in response.chunks():
                for progress in decoder.feed(data):
                    yield progress
            for progress in decoder.close():
                yield progress
        except (StreamBroken, APIConnectionError) as error:
            if error.code == "pull_failed":
                raise
            raise store.broken(model) from error
        finally:
            await response.aclose()

    async def update(self, model: str | None = None) -> AsyncGenerator[PullProgress, None]:
        """Fetch what is new of a model, or of every model that is there, one after the other."""
        names = [model] if model is not None else sorted(card.id for card in await self._stored())
        for name in names:
            async with aclosing(self.pull(name)) as pull:
                async for progress in pull:
                    yield progress

    async def show(self, model: str) -> ModelCard:
        """A model's card with its window and abilities, as Ollama tells them. Raises: ModelNotFound."""
        card = self.card(model)
        return models.decode_show(
            await self._body_of("POST", store.SHOW_PATH, models.encode_show_request(card.id)), card
        )

    async def running(self) -> list[ModelCard]:
        """The models in memory; `extra` has `expires_at`, `size` and `size_vram`."""
        return list(models.decode_models(await self._body_of("GET", store.RUNNING_PATH)))

    async def delete(self, model: str) -> None:
        """Raises: ModelNotFound."""
        await self._body_of("DELETE", store.DELETE_PATH, store.encode_delete_request(model))

    async def copy(self, source: str, destination: str) -> None:
        """Raises: ModelNotFound."""
        await self._body_of("POST", store.COPY_PATH, store.encode_copy_request(source, destination))

    async def is_model_available(self, model: str) -> bool:
        """A name without a tag is that of `:latest`."""
        wanted = self.settings.custom_models.get(model, model)
        return any(_tagged(card.id) == _tagged(wanted) for card in await self.list_models())

    async def _stored(self) -> list[ModelCard]:
        return list(models.decode_models(await self._body_of("GET", self.row.models_path)))

    async def _body_of(self, method: str, path: str, body: bytes = b"") -> bytes:
        response = await self._ask(method, path, body)
        if response.status >= 300:
            raise await self.error_of(response, DIALECT)
        return await response.read()

    async def _ask(self, method: str, path: str, body: bytes, *, is_long: bool = False) -> HttpResponse:
        timeouts = self.timeouts
        if is_long:
            timeouts = msgspec.structs.replace(timeouts, idle_s=_PULL_SILENCE_S, total_s=None)
        return await self._exchange(method, self.url(DIALECT, path), body, timeouts=timeouts)

    # ------------------------------------------------------------ calls

    async def send(
        self, dialect: str, path: str, body: bytes, headers: Headers = (), *, model: str = ""
    ) -> HttpResponse:
        """As every provider sends; a model that is missing is pulled first where the settings say so."""
        response = await super().send(dialect, path, body, headers, model=model)
        if not (self.settings.auto_pull and model and _lacks_model(response)):
            return response
        await response.aclose()
        await self._pulls.wait_for(model)
        return await super().send(dialect, path, body, headers, model=model)

    def _with_defaults(self, request: CompletionRequest) -> CompletionRequest:
        request = super()._with_defaults(request)
        changes: dict[str, Any] = {}
        if request.context_window is None and self.settings.num_ctx is not None:
            changes["context_window"] = self.settings.num_ctx
        if request.max_tokens is None and self.settings.num_predict is not None:
            changes["max_tokens"] = self.settings.num_predict
        own = kept(request.extra, DIALECT)
        if "keep_alive" not in own and self.settings.keep_alive is not None:
            members = keep(DIALECT, {**own, "keep_alive": self.settings.keep_alive})
            changes["extra"] = {**(request.extra or {}), **(members or {})}
        return msgspec.structs.replace(request, **changes) if changes else request

    def has_defaults_for(self, members: Mapping[str, Any]) -> bool:
        settings = self.settings
        own = settings.num_ctx is not None or settings.num_predict is not None
        if own or settings.max_tokens is not None or settings.temperature is not None:
            return True  # they stand in `options`, which a relay does not open
        return settings.keep_alive is not None and "keep_alive" not in members


def _lacks_model(response: HttpResponse) -> bool:
    """404 as JSON; a path that is not there is answered in plain text."""
    return response.status == 404 and (response.header("content-type") or "").startswith("application/json")


def _tagged(model: str) -> str:
    return model if ":" in model.rpartition("/")[2] else model + _DEFAULT_TAG
