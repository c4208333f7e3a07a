"""An answer in one piece: what it said, which tools it called, why it ended, and what broke it.

    {"model": "gpt-4o", "parts": [{"type": "text", "text": "Hello."}], "finish_reason": "stop"}
    {"model": "gpt-4o", "parts": [{"type": "text", "text": "Hel"}],
     "error": {"type": "StreamBroken", "message": "the provider's stream stopped before its end"}}

The parts are those of model/content.py, whichever dialect the stream was in.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Part
from genai_spine.model.errors import BadReply, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, StreamEvent
from genai_spine.model.fold import Collector
from genai_spine.model.response import CompletionResponse
from genai_spine.providers import codecs

MOST_LETTERS = 4 * 1024 * 1024
"""Of one answer while it comes; what is kept of it is less."""


class Heard:
    """A stream as far as it has come; of an endless one, `MOST_LETTERS`."""

    __slots__ = ("_collector", "_finish", "_model", "letters")

    def __init__(self) -> None:
        self._collector = Collector()
        self._model = ""
        self._finish: str | None = None
        self.letters = 0

    @property
    def has_begun(self) -> bool:
        return bool(self._model or self.letters or self._collector.parts())

    async def hear(self, batches: AsyncGenerator[list[StreamEvent], None]) -> AsyncGenerator[list[StreamEvent], None]:
        """The events, each noted as it goes by."""
        async with aclosing(batches):
            async for events in batches:
                for event in events:
                    self.add(event)
                yield events

    def add(self, event: StreamEvent) -> None:
        if isinstance(event, MessageStart):
            self._model = event.model or self._model
        elif isinstance(event, MessageEnd):
            self._finish = event.finish_reason
        elif isinstance(event, PartDelta):
            self.letters += len(event.text)
            if self.letters > MOST_LETTERS:
                return
        self._collector.add(event)

    def told(self, error: BaseException | None = None) -> dict[str, Any]:
        """`error` is what broke it, where it has not come to its end."""
        return _told(self._model, self._collector.parts(), self._finish, error if self._finish is None else None)


def told_of_response(response: CompletionResponse) -> dict[str, Any]:
    told = _told(response.model, response.parts, response.finish_reason, None)
    return told if response.error is None else {**told, "error": {"message": response.error}}


def told_of_error(error: BaseException) -> dict[str, Any]:
    return {"error": _error(error)}


def told_of_stream(dialect: str, chunks: Iterable[bytes], *, is_whole: bool) -> dict[str, Any]:
    """A stream in a caller's dialect, as far as he got it. One that its caller left has no end, and no error either."""
    codec = codecs.outbound("ollama_chat" if dialect == "ollama_generate" else dialect)
    decoder = codec.stream_decoder(Target(card=ModelCard(id="")))
    heard = Heard()
    try:
        for chunk in chunks:
            for event in decoder.feed(chunk):
                heard.add(event)
        for event in decoder.close():
            heard.add(event)
    except SpineError as error:
        is_left = not is_whole and isinstance(error, BadReply)
        return heard.told(None if is_left else error)
    except Exception as error:  # what was said so far is worth more than nothing
        return heard.told(error)
    return heard.told()


def _told(model: str, parts: tuple[Part, ...], finish: str | None, error: BaseException | None) -> dict[str, Any]:
    told: dict[str, Any] = {"model": model, "parts": parts}
    if finish is not None:
        told["finish_reason"] = finish
    if error is not None:
        told["error"] = _error(error)
    return told


def _error(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": error.message if isinstance(error, SpineError) else ""}
