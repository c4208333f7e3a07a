"""Replicate: a call is several exchanges. A prediction is created, waited for or streamed, and asked for its counts.

    POST /models/meta/…/predictions   Prefer: wait      the prediction, finished or, after a minute, not yet
    GET  /predictions/ID                                until it is finished
    GET  urls.stream                                    its output as it comes
    POST /predictions/ID/cancel                         when the caller has left

What is running costs: whoever leaves early has the prediction cancelled, also while it is being created, and
`Cancel-After` has Replicate itself end what outlives the call's total time. Before the first call of a model its
schema is asked for, which tells what its inputs are called.

Sources: replicate.com/docs/reference/http, /docs/topics/predictions/create-a-prediction (2026-11).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from copy import copy
from typing import Any

import msgspec

from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.replicate import inputs, outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderTimeout, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, Notice
from genai_spine.providers.http_provider import HttpProvider, says_something
from genai_spine.providers.keys import KeyUse
from genai_spine.providers.overrides import in_force
from genai_spine.providers.transport import HttpResponse
from genai_spine.wire.http import Headers, Url, parse_url

DIALECT = outbound.DIALECT
_FIRST_POLL_S, _LAST_POLL_S = 0.25, 2.0
_SHORTEST_DEADLINE_S, _LONGEST_DEADLINE_S = 5, 86_400
_LONGEST_WAIT_S = 60
_CANCEL_S = 10.0
_MOST_MODELS = 1000
_COUNTED_TRIES = 4
"""How often a prediction whose stream has ended is asked whether its counts are there."""
STREAM_HOSTS = (".replicate.com", ".replicate.net")
"""Where Replicate streams from; besides its own address, the key goes nowhere else."""

logger = logging.getLogger(__name__)


class ReplicateProvider(HttpProvider):
    """Replicate's row. What is overridden is how an exchange goes, not what is said in it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cancelling: set[asyncio.Task[None]] = set()
        self._owners: dict[str, KeyUse] = {}  # by prediction: another key's account does not know it

    # ------------------------------------------------------------ calls

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        await self._learn(request.model)
        return await super().complete(request)

    async def batches(self, request: CompletionRequest) -> AsyncGenerator[list[StreamEvent], None]:
        await self._learn(request.model)
        request = self._with_defaults(request)
        target = self.target(request.model)
        outgoing = outbound.encode_request(request, target, stream=True)
        body = await self._create(outgoing)
        prediction = outbound.decode_prediction(body)
        finished = prediction.is_finished
        notices = outgoing.notices
        try:
            url = self._stream_url(prediction)
            if finished or url is None:  # a model that does not stream
                body = body if finished else await self._wait_for(prediction.id)
                finished = True
                yield _begun(list(replay(outbound.decode_response(body, target))), prediction.id, notices)
                return
            async with aclosing(self._streamed(url, target, self._owners.get(prediction.id))) as stream:
                async for events in stream:
                    if isinstance(end := events[-1], MessageEnd):
                        finished = True
                        events[-1] = await self._counted(end, prediction.id)
                    yield _begun(events, prediction.id, notices)
                    notices = ()
        finally:
            if not finished:
                await self._abandon(prediction.id)
            else:
                self._owners.pop(prediction.id, None)

    async def _answer(self, dialect: str, outgoing: Outgoing, target: Target) -> bytes:
        """Creates a prediction and waits for its end."""
        body = await self._create(outgoing)
        prediction = outbound.decode_prediction(body)
        if prediction.is_finished:
            return body
        try:
            body = await self._wait_for(prediction.id)
        except BaseException:
            await self._abandon(prediction.id)
            raise
        self._owners.pop(prediction.id, None)
        return body

    async def close(self) -> None:
        if self._cancelling:
            await asyncio.wait(self._cancelling, timeout=_CANCEL_S)
        await super().close()

    # ------------------------------------------------------------ exchanges

    async def _learn(self, model: str | None) -> None:
        """What the model's inputs are called goes onto its card, once. Where nobody tells, Meta's names are taken."""
        target = self.target(model)
        if DIALECT in (target.card.extra or {}):
            return
        card = target.card
        if (about := outbound.place_of(target.model).about) is not None:
            response = await self._ask("GET", about)
            if response.status != 200:
                error = await self.error_of(response, DIALECT)
                if response.status in (401, 403):
                    raise error
                return  # asked again at the next call
            with suppress(BadReply):
                card = inputs.learned(card, await response.read())
        if len(self._targets) >= _MOST_MODELS:  # callers choose the names
            self._targets.clear()
        self._targets[model or self.default_model or ""] = Target(card=_known(card), quirks=self.quirks)

    async def _create(self, outgoing: Outgoing) -> bytes:
        """A new prediction. Should the caller leave meanwhile, it is cancelled as soon as it has an id."""
        creating = asyncio.create_task(self._created(outgoing))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            self._in_background(self._cancel_created(creating))
            raise

    async def _created(self, outgoing: Outgoing) -> bytes:
        headers = {**dict(outgoing.headers), **self._bounds(waits=bool(outgoing.headers))}
        response = await self._ask("POST", outgoing.path, outgoing.body, tuple(headers.items()))
        if response.status not in (200, 201, 202):
            raise await self.error_of(response, DIALECT)
        body = await self.json_body(response)
        if isinstance(response.mark, KeyUse) and not (prediction := outbound.decode_prediction(body)).is_finished:
            self._owners[prediction.id] = response.mark
        return body

    def _bounds(self, *, waits: bool) -> dict[str, str]:
        """How long Replicate may work on it, and how long it may hold the answer back: less than we wait for it."""
        bounds: dict[str, str] = {}
        timeouts = in_force(self.timeouts)
        if (total_s := timeouts.total_s) is not None:
            bounds["cancel-after"] = f"{int(min(max(total_s, _SHORTEST_DEADLINE_S), _LONGEST_DEADLINE_S))}s"
        first_byte_s = timeouts.first_byte_s
        if waits and first_byte_s is not None and first_byte_s < 2 * _LONGEST_WAIT_S:
            bounds["prefer"] = f"wait={max(1, int(first_byte_s / 2))}"
        return bounds

    async def _wait_for(self, id: str) -> bytes:
        """The finished prediction. Raises: ProviderTimeout after the total time of a call."""
        pause_s = _FIRST_POLL_S
        total_s = in_force(self.timeouts).total_s
        try:
            async with asyncio.timeout(total_s):
                while True:
                    response = await self._ask("GET", f"/predictions/{id}", key=self._owners.get(id))
                    if response.status != 200:
                        raise await self.error_of(response, DIALECT)
                    body = await self.json_body(response)
                    if outbound.decode_prediction(body).is_finished:
                        return body
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, _LAST_POLL_S)
        except TimeoutError as error:
            if isinstance(error, SpineError):
                raise
            message = f"the prediction did not end within {total_s:g} s"
            raise ProviderTimeout(message, code="total_timeout") from None

    async def _streamed(self, url: Url, target: Target, key: KeyUse | None) -> AsyncGenerator[list[StreamEvent], None]:
        headers = (("accept", "text/event-stream"), ("cache-control", "no-store"))
        response = await self._exchange("GET", url, headers=headers, key=key)
        try:
            if response.status != 200:
                raise await self.error_of(response, DIALECT)
            decoder = outbound.stream_decoder(target)
            has_said = False
            async for data in response.chunks():
                events = decoder.feed(data)
                has_said = has_said or says_something(events, decoder)
                if events:
                    yield events
                    if isinstance(events[-1], MessageEnd):
                        return
                if decoder.failure is not None:
                    raise copy(decoder.failure)
            if events := decoder.close():
                yield events
        finally:
            await response.aclose()

    def _stream_url(self, prediction: outbound.Prediction) -> Url | None:
        """Where it streams: at our own address or at Replicate's, since the key goes with the request."""
        if prediction.urls is None or prediction.urls.stream is None:
            return None
        try:
            url = parse_url(prediction.urls.stream)
        except InvalidRequest as error:
            raise BadReply(f"the stream's address cannot be read: {error.message}") from None
        home = self.url(DIALECT, "")
        if (url.scheme, url.host, url.port) == (home.scheme, home.host, home.port):
            return url
        if url.scheme == "https" and url.host.endswith(STREAM_HOSTS):
            return url
        logger.warning("%s: the stream is at %s, which is not Replicate's: waiting for the whole", self.name, url.peer)
        return None

    async def _counted(self, end: MessageEnd, id: str) -> MessageEnd:
        """The end with what the prediction counted; without it where that cannot be had."""
        with suppress(SpineError):
            for attempt in range(_COUNTED_TRIES):
                response = await self._ask("GET", f"/predictions/{id}", key=self._owners.get(id))
                if response.status != 200:
                    await response.aclose()
                    break
                body = await response.read()
                prediction = outbound.decode_prediction(body)
                if prediction.is_finished:
                    usage, extra = outbound.usage_of(prediction), outbound.extra_of(body)
                    return msgspec.structs.replace(end, usage=usage, extra=extra or end.extra)
                await asyncio.sleep(_FIRST_POLL_S * 2**attempt)
        return end

    async def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Headers = (), *, key: KeyUse | None = None
    ) -> HttpResponse:
        self._check_key()
        url = self.url(DIALECT, "").at(path)  # not kept: an id is asked for a few times only
        return await self._exchange(method, url, body, headers, key=key)

    # ------------------------------------------------------------ leaving early

    async def _abandon(self, id: str) -> None:
        """Cancels a prediction that nobody waits for any more, and to the end even if we are cancelled ourselves."""
        await asyncio.shield(self._in_background(self._cancel(id)))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
        return task

    async def _cancel_created(self, creating: asyncio.Task[bytes]) -> None:
        with suppress(SpineError):
            prediction = outbound.decode_prediction(await creating)
            if not prediction.is_finished:
                await self._cancel(prediction.id)

    async def _cancel(self, id: str) -> None:
        try:
            async with asyncio.timeout(_CANCEL_S):
                response = await self._ask("POST", f"/predictions/{id}/cancel", key=self._owners.pop(id, None))
                await response.aclose()
        except (SpineError, TimeoutError) as error:
            logger.warning("%s: prediction %s could not be cancelled, and goes on: %s", self.name, id, error)


def _known(card: ModelCard) -> ModelCard:
    """The card marked as asked for, so that it is asked for once."""
    extra = card.extra or {}
    return card if DIALECT in extra else msgspec.structs.replace(card, extra={**extra, DIALECT: msgspec.Raw(b"{}")})


def _begun(events: list[StreamEvent], id: str, notices: tuple[Notice, ...]) -> list[StreamEvent]:
    """The first events name the prediction, and say what could not be said."""
    if isinstance(start := events[0], MessageStart):
        events[0] = msgspec.structs.replace(start, id=id, notices=(*notices, *start.notices))
    return events
