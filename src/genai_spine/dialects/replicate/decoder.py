"""The events of a prediction's stream (`urls.stream`) to events of ours.

    event: output            event: logs              event: error                event: done
    id: 1690212292:0         data: …                  data: {"detail": "…"}       data: {}
    data: Once upon a time

`output` is plain text, `done` says {"reason": "error"} or {"reason": "canceled"} where it did not go well; it counts
nothing, so that the end has no usage: that is asked for with the prediction, afterwards.

Source: replicate.com/docs/topics/predictions/streaming (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.replicate.failures import model_failed
from genai_spine.model.content import Text
from genai_spine.model.errors import BadReply, ProviderError, ServerError, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import FinishReason
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent, SSEParser

_MOST_LOGS = 1_000_000


class _Done(msgspec.Struct):
    reason: str | None = None


_done = msgspec.json.Decoder(_Done)


class ReplicateStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._is_started = False
        self._is_open = False
        self._is_done = False
        self._logs: list[str] = []
        self._logged = 0

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for _, event in self._parser.frames(data):
            if event is not None:
                self._take(event, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event, events)
        if not self._is_done:
            raise StreamBroken("the stream ended before the prediction did")

    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        if self._is_done:
            return
        if not self._is_started:
            self._is_started = True
            events.append(MessageStart(model=self._model))
        match event.event:
            case b"output":
                self._write(_text(event.data), events)
            case b"logs":
                self._keep_log(_text(event.data))
            case b"error":
                raise _failure(event.data)
            case b"done":
                self._end(event.data, events)
            case _:
                pass  # a kind of event that came later than this

    def _write(self, text: str, events: list[StreamEvent]) -> None:
        if not text:
            return
        if not self._is_open:
            self._is_open = True
            events.append(PartStart(index=0, part=Text(text="")))
        events.append(PartDelta(0, text))

    def _keep_log(self, text: str) -> None:
        if self._logged < _MOST_LOGS:
            self._logs.append(text)
            self._logged += len(text)

    def _end(self, data: bytes, events: list[StreamEvent]) -> None:
        self._is_done = True
        done = json.decode_outbound(data, _done) if data.strip() else _Done()
        if done.reason is not None:
            raise ServerError(f"the prediction ended: {done.reason[:200]}", code=done.reason[:40], retryable=False)
        if self._is_open:
            events.append(PartEnd(index=0))
        logs = "\n".join(self._logs)
        events.append(
            MessageEnd(
                finish_reason=FinishReason.STOP,
                raw_finish_reason="succeeded",
                extra=keep("replicate", {"logs": logs} if logs else {}),
            )
        )


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadReply(f"an event that is not UTF-8 at byte {error.start}") from None


def _failure(data: bytes) -> ProviderError:
    """The event's JSON says `detail`; older ones were plain text."""
    said: Any = _text(data)
    try:
        members = json.ANY.decode(data)
    except json.UNREADABLE:
        return model_failed(said)
    return model_failed(members.get("detail", said) if isinstance(members, dict) else said)
