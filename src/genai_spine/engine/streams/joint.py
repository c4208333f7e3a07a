"""Streams of events one after the other, joined as one: no seam in the text, indices that count on, usage together.

Must not know: who is asked, and why a stream broke (continuation.py).
"""

from __future__ import annotations

import asyncio

import msgspec

from genai_spine.engine.streams.event_stream import EventStream
from genai_spine.model.content import Part, Text, Thinking
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.model.usage import together
from genai_spine.policy import tokens

_UNLIKELY_LETTERS = 16
"""Nobody says so many letters of an answer a second time but as an echo."""


class Joint:
    """Streams one after the other as one: its indices count on, and one text goes on in another's events."""

    def __init__(self, request: CompletionRequest) -> None:
        self._request = request
        self._is_first = True
        self._started: dict[int, type[Part]] = {}
        self._open: set[int] = set()
        self._texts: list[str] = []
        self._is_bound = False
        """Whether a part was shown that another model cannot go on after."""
        self._usage: TokenUsage | None = None
        """Of the attempts that broke."""
        self._current: TokenUsage | None = None
        """What the attempt under way told at its beginning."""
        self._letters_before = 0
        self.notices: list[Notice] = []
        # Of a stream that goes on:
        self._places: dict[int, int] = {}
        self._joined: int | None = None
        """The text that is still open from before."""
        self._text_place: int | None = None
        self._echo = ""
        """What the continuation may say again before it goes on, and as much of that as it has said."""
        self._echoed = ""
        self._overlap = ""
        """White space that was shown, and that the continuation may say again."""

    def text_to_continue(self) -> str | None:
        """The texts that were shown; None where nobody could go on."""
        text = "".join(self._texts).rstrip()
        if not text or self._is_bound or len(self._open) > 1:
            return None
        if any(self._started[index] is not Text for index in self._open):
            return None
        return text if can_be_continued(self._request) else None

    async def break_off(self, broken: EventStream) -> None:
        """The next events will be those of another stream."""
        said = "".join(self._texts)
        self._usage = together(self._usage, await self._estimated(broken, said[self._letters_before :]))
        self._letters_before = len(said)
        self._current = None
        self._is_first = False
        self._places = {}
        self._joined = next(iter(self._open), None)
        self._text_place = None
        self._overlap = said[len(said.rstrip()) :]

    def expect(self, sent: str, *, is_likely: bool) -> None:
        """The stream that goes on may begin with what was sent; a short text could also be meant."""
        self._echo = sent if is_likely or len(sent) >= _UNLIKELY_LETTERS else ""
        self._echoed = ""

    async def _estimated(self, broken: EventStream, said: str) -> TokenUsage:
        """What the broken attempt used; a service counts at the end, which never came."""
        told = self._current or TokenUsage()
        request, model = self._request, broken.model
        input_tokens: int | None = told.input_tokens
        if input_tokens is None:
            input_tokens = await _counted(request, model)
        output_tokens = max(told.output_tokens or 0, await _counted(said, model))
        return msgspec.structs.replace(told, input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)

    def take(self, events: list[StreamEvent]) -> list[StreamEvent]:
        if self._is_first:
            for event in events:
                self._note(event)
            return events
        return [out for event in events for out in self._placed(event)]

    def _note(self, event: StreamEvent) -> None:
        match event:
            case PartDelta():
                if self._started[event.index] is Text:
                    self._texts.append(event.text)
            case PartStart(index=index, part=part):
                self._started[index] = type(part)
                self._open.add(index)
                if isinstance(part, Text):
                    self._texts.append(part.text)
                else:
                    self._is_bound |= not isinstance(part, Thinking) or _is_sealed(part)
            case PartEnd():
                self._open.discard(event.index)
                self._is_bound |= event.signature is not None
            case MessageStart():
                self._current = event.usage
            case MessageEnd():
                pass

    def _placed(self, event: StreamEvent) -> list[StreamEvent]:
        """An event of a stream that goes on, as one of the whole."""
        placed: list[StreamEvent]
        match event:
            case MessageStart():
                self._current = event.usage
                self.notices += event.notices
                return []
            case PartStart():
                placed = self._started_part(event)
            case PartDelta(index=index, text=text):
                if index == self._text_place:
                    text = self._fresh(text)
                placed = [PartDelta(self._places[index], text)] if text else []
            case PartEnd():
                placed = self._held_back() if event.index == self._text_place else []
                placed.append(msgspec.structs.replace(event, index=self._places[event.index]))
                self._joined = None if self._joined == self._places[event.index] else self._joined
            case MessageEnd():
                placed = [*self._closed(), self._whole(event)]
        for each in placed:
            self._note(each)
        return placed

    def _started_part(self, event: PartStart) -> list[StreamEvent]:
        part = event.part
        is_text = isinstance(part, Text)
        if is_text and self._text_place is None:
            self._text_place = event.index
            if self._joined is not None:
                self._places[event.index] = self._joined
                text = self._fresh(part.text) if isinstance(part, Text) else ""
                return [PartDelta(self._joined, text)] if text else []
        place = self._places[event.index] = max(self._started, default=-1) + 1
        return [*self._closed(), msgspec.structs.replace(event, index=place)]

    def _closed(self) -> list[StreamEvent]:
        """The end of the text that was left open, before anything else follows it."""
        if self._joined is None or self._joined not in self._open:
            return []
        index, self._joined = self._joined, None
        return [PartEnd(index=index)]

    def _held_back(self) -> list[StreamEvent]:
        """What looked like an echo and ended before it was one."""
        text, self._echo, self._echoed = self._echoed, "", ""
        return [PartDelta(self._places[self._text_place or 0], text)] if text else []

    def _fresh(self, text: str) -> str:
        """The text without what was shown already."""
        if self._echo:
            said = self._echoed + text
            if len(said) < len(self._echo) and self._echo.startswith(said):
                self._echoed = said
                return ""
            text, self._echo, self._echoed = said.removeprefix(self._echo), "", ""
        while text and self._overlap:
            if text[0] != self._overlap[0]:
                self._overlap = ""
                break
            text, self._overlap = text[1:], self._overlap[1:]
        return text

    def _whole(self, end: MessageEnd) -> MessageEnd:
        own = end.usage or self._current
        usage = together(self._usage, own)
        return msgspec.structs.replace(end, usage=usage, notices=(*self.notices, *end.notices))


def can_be_continued(request: CompletionRequest) -> bool:
    """Whether an answer to this could be gone on with, however it breaks."""
    forced = request.tool_choice is not None and request.tool_choice.mode in ("required", "tool")
    return not forced and request.output_schema is None and (request.n or 1) == 1


def _is_sealed(thought: Thinking) -> bool:
    return thought.signature is not None or thought.redacted is not None


async def _counted(content: str | CompletionRequest, model: str) -> int:
    if tokens.takes_long(content, model):
        return await asyncio.to_thread(tokens.estimate, content, model)
    return tokens.estimate(content, model)
