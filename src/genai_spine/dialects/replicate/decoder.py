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

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.one_text import OneTextDecoder
from genai_spine.dialects.replicate.failures import model_failed
from genai_spine.model.errors import BadReply, ProviderError, ServerError
from genai_spine.model.events import MessageEnd, StreamEvent
from genai_spine.model.response import FinishReason
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent

_MOST_LOGS = 1_000_000


class _Done(msgspec.Struct):
    reason: str | None = None


_done = msgspec.json.Decoder(_Done)


class ReplicateStreamDecoder(OneTextDecoder):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._logs: list[str] = []
        self._logged = 0

    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        if self._is_done:
            return
        self._start(events)
        match event.event:
            case b"output":
                self._write(_text(event.data), events)
            case b"logs":
                self._keep_log(_text(event.data))
            case b"error":
                raise _failure(event.data)
            case b"done":
                self._finish(self._end(event.data), events)
            case _:
                pass  # a kind of event that came later than this

    def _keep_log(self, text: str) -> None:
        if self._logged < _MOST_LOGS:
            self._logs.append(text)
            self._logged += len(text)

    def _end(self, data: bytes) -> MessageEnd:
        done = json.decode_outbound(data, _done) if data.strip() else _Done()
        if done.reason is not None:
            self._is_done = True
            raise ServerError(f"the prediction ended: {done.reason[:200]}", code=done.reason[:40], retryable=False)
        logs = "\n".join(self._logs)
        return MessageEnd(
            finish_reason=FinishReason.STOP,
            raw_finish_reason="succeeded",
            extra=keep("replicate", {"logs": logs} if logs else {}),
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
