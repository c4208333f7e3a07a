"""Whose texts are kept, and how much of them: as settings say, as a key's say, and as the caller says; the least of it.

The gateway notes what comes and goes (gateway/kept_request.py), a manager what its own callers ask and get. When a call
is over it is given to the ledger, which puts it into words in its own thread. A call that the ledger does not tell of,
since nobody was asked, leaves no text either.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from genai_spine.engine.content.answers import Heard, told_of_error, told_of_response, told_of_stream
from genai_spine.engine.content.words import Words
from genai_spine.ledger.content import Content, Unwritten
from genai_spine.ledger.writer import Ledger
from genai_spine.model.content import Audio, Document, Image, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.settings import Settings
from genai_spine.settings.ledger import ContentLevel, least

if TYPE_CHECKING:
    from genai_spine.engine.record import CallRecord


class Sent(msgspec.Struct):
    """What was sent to a caller: an answer, or the pieces of a stream so far."""

    pieces: list[bytes] = []
    is_stream: bool = False
    is_ended: bool = False
    """Whether the stream's end was written: as it should be, or with an error. Its caller may have left before."""
    is_cut: bool = False
    """Whether there were more pieces than are kept."""


class ContentKeeper:
    """What a manager keeps of what is said through it."""

    def __init__(self, settings: Settings, keep: Callable[[Unwritten], None]) -> None:
        self._keep = keep
        self._level: ContentLevel = settings.ledger.content
        self._of_keys: dict[str, ContentLevel] = {
            name: key.content for name, key in settings.server.keys.items() if key.content is not None
        }
        self._words = Words(settings.ledger)

    @classmethod
    def of(cls, settings: Settings, ledger: Ledger | None) -> ContentKeeper | None:
        """None where nothing is kept."""
        if ledger is None or settings.ledger.content == "none":
            return None
        return cls(settings, ledger.keep)

    def level_for(self, record: CallRecord) -> ContentLevel:
        """What is kept of a call: of one that no row tells of, or that is a part of another, nothing."""
        if not record.is_accounted or record.part or not (record.attempts or record.cached is not None):
            return "none"
        return least(self._level, self._of_keys.get(record.caller or ""), record.content)

    def keep_exchanged(self, record: CallRecord, request: bytes, sent: Sent) -> None:
        """What came over HTTP in a caller's dialect, and what was sent back; not vectors, nor scores."""
        level = self.level_for(record)
        if level != "none" and record.operation is None and (record.dialect is not None or record.parts):
            self._keep(Exchanged(record, request, sent, level, self._words))

    def keep_asked(
        self, record: CallRecord, request: msgspec.Struct | None, answer: msgspec.Struct | Heard | None
    ) -> None:
        """A program's own call, on the way out of it: where that is by an exception, it is part of the answer."""
        level = self.level_for(record)
        if level != "none" and request is not None:
            left = sys.exception()
            error = left if isinstance(left, Exception) else None
            self._keep(Asked(record, request, answer, error, level, self._words))


class Exchanged:
    """One request and its answer as bytes; `Unwritten`."""

    __slots__ = ("_at", "_call", "_dialect", "_level", "_request", "_sent", "_words", "size")

    def __init__(self, record: CallRecord, request: bytes, sent: Sent, level: ContentLevel, words: Words) -> None:
        self._call = record.call_id
        self._dialect = record.dialect or ""
        self._at = time.time()
        self._request = request
        self._sent = sent
        self._level: ContentLevel = level
        self._words = words
        self.size = len(request) + sum(map(len, sent.pieces))

    def text(self) -> Content:
        request, is_cut = self._words.of_json(self._request, self._level)
        answer, is_answer_cut = self._answered()
        is_cut = is_cut or is_answer_cut or self._sent.is_cut
        return Content(call=self._call, at=self._at, request=request, answer=answer, is_cut=is_cut, level=self._level)

    def _answered(self) -> tuple[str | None, bool]:
        sent = self._sent
        if not sent.pieces:
            return None, False
        if not sent.is_stream:
            return self._words.of_json(b"".join(sent.pieces), self._level)
        told = told_of_stream(self._dialect, sent.pieces, is_whole=sent.is_ended and not sent.is_cut)
        return self._words.of_value(told, self._level)


class Asked:
    """A program's own request, and what it got: an answer, a stream as far as it was read, or neither; `Unwritten`."""

    __slots__ = ("_answer", "_at", "_call", "_error", "_level", "_request", "_words", "size")

    def __init__(
        self,
        record: CallRecord,
        request: msgspec.Struct,
        answer: msgspec.Struct | Heard | None,
        error: Exception | None,
        level: ContentLevel,
        words: Words,
    ) -> None:
        self._call = record.call_id
        self._at = time.time()
        self._request = request
        self._answer = answer
        self._error = error
        self._level: ContentLevel = level
        self._words = words
        self.size = _letters(request) + (answer.letters if isinstance(answer, Heard) else 0)

    def text(self) -> Content:
        request, is_cut = self._words.of_value(self._request, self._level)
        answer: str | None = None
        if (told := self._told()) is not None:
            answer, is_answer_cut = self._words.of_value(told, self._level)
            is_cut = is_cut or is_answer_cut
        return Content(call=self._call, at=self._at, request=request, answer=answer, is_cut=is_cut, level=self._level)

    def _told(self) -> Any:
        match self._answer:
            case CompletionResponse():
                return told_of_response(self._answer)
            case msgspec.Struct():
                return self._answer
            case Heard() if self._answer.has_begun or self._error is None:
                return self._answer.told(self._error)
            case _:
                return None if self._error is None else told_of_error(self._error)


def _letters(request: msgspec.Struct) -> int:
    """About what a request takes in memory."""
    if not isinstance(request, CompletionRequest):
        return len(msgspec.json.encode(request, enc_hook=repr))
    return sum(200 + sum(map(_letters_of, message.content)) for message in request.messages)


def _letters_of(part: object) -> int:
    match part:
        case Text() | Thinking():
            return len(part.text)
        case Image() | Audio() | Document():
            return len(part.data or "")
        case ToolCall():
            return len(part.arguments)
        case ToolResult():
            return sum(map(_letters_of, part.content))
        case _:
            return 200
