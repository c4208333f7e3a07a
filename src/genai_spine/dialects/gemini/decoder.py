"""A stream of Gemini's chunks to our events.

Source: ai.google.dev/api/generate-content#method:-models.streamgeneratecontent (2026-11): server-sent events, each a
chunk of the answer, with CRLF; no event ends it: the body's end after a finish reason does. An error may come as an
event or as bare JSON.

A text with a signature is a part of its own, never joined with one without (…/docs/thought-signatures, 2026-11).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.gemini import errors
from genai_spine.dialects.gemini.answer import answer_part, extra_of, read_chunk
from genai_spine.dialects.gemini.citations import citations_of, is_grounded
from genai_spine.dialects.gemini.partial_args import PartialArgs
from genai_spine.dialects.gemini.schema import finish_of, merged, newer_usage, usage_of
from genai_spine.dialects.gemini.search_count import with_searches
from genai_spine.dialects.interface import Target
from genai_spine.model.content import Citation, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import replay_part
from genai_spine.wire import json
from genai_spine.wire.sse import SSEParser


class _Piece(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[_Piece]
    role: str | None = None


class _Candidate(msgspec.Struct, forbid_unknown_fields=True):
    content: _Content
    index: Literal[0] = 0


class _TextChunk(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A chunk that says nothing new but text and counts, as nearly all do."""

    candidates: tuple[_Candidate]
    usage_metadata: msgspec.Raw = msgspec.Raw(b"")
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None


_text_chunk = msgspec.json.Decoder(_TextChunk)


class GeminiStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._id: str | None = None
        self._started = False
        self._next = 0  # the index of the next part
        self._open: Text | Thinking | None = None
        self._texts: list[str] = []  # of that
        self._is_cited = False
        self._partial: tuple[dict[str, Any], PartialArgs] | None = None
        self._calls = 0
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._rest: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._created: str | None = None  # the `createTime` that was read last

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        data = data.replace(b"\r\n", b"\n")  # the service's line ends; JSON has no others in it
        frames = self._parser.plain_frames(data, b"data: ")
        if frames is not None:
            self._take_plain(frames, events)
            return
        for raw, event in self._parser.frames(data):
            if event is not None:
                self.take(event.data, events)
            else:
                _refuse_bare(raw)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        tail = bytes(self._parser.tail)
        for event in self._parser.close():
            self.take(event.data, events)
        _refuse_bare(tail)
        self.end(events)

    # ------------------------------------------------------------ one chunk

    def _take_plain(self, frames: list[bytes], events: list[StreamEvent]) -> None:
        """Text, the bulk of every stream, with as little done for each piece as can be."""
        decode = _text_chunk.decode
        counts: list[msgspec.Raw] = []
        for frame in frames:
            try:
                json.check_utf8(frame)
                chunk = decode(frame)
            except json.UNREADABLE:
                chunk = None
            if chunk is None or not self._started or chunk.create_time not in (None, self._created):
                self._count(counts)
                self.take(frame, events)
                continue
            self._id = self._id or chunk.response_id
            counts.append(chunk.usage_metadata)
            for piece in chunk.candidates[0].content.parts:
                kind = Thinking if piece.thought else Text
                if piece.text and type(self._open) is kind:
                    self._texts.append(piece.text)
                    events.append(PartDelta(self._next, piece.text))
                else:
                    self._text(kind(text=piece.text), events)
        self._count(counts)

    def _count(self, raws: list[msgspec.Raw]) -> None:
        """What these chunks counted, one after the other. All before the last total is of no more use."""
        counts: list[dict[str, Any]] = []
        for raw in reversed(raws):
            decode = json.decode_frame if len(raw) <= json.SHORT_FRAME else json.decode_outbound
            usage = decode(bytes(raw), json.ANY) if raw else None
            if isinstance(usage, dict):
                counts.append(usage)
                if "totalTokenCount" in usage:
                    break
        raws.clear()
        for usage in reversed(counts):
            self._usage = newer_usage(self._usage, usage)

    def take(self, data: bytes | msgspec.Raw, events: list[StreamEvent]) -> None:
        """Raises: BadReply; the provider's error."""
        if not data or bytes(data).strip() == b"[DONE]":  # of a proxy that speaks OpenAI's format, too
            return
        chunk = read_chunk(data)
        self._usage = newer_usage(self._usage, chunk.usage)
        self._rest |= chunk.rest
        self._candidate = merged(self._candidate, chunk.candidate)
        self._id = self._id or chunk.id
        self._created = chunk.created or self._created
        if not self._started:
            self._started = True
            self._model = chunk.model or self._model
            events.append(
                MessageStart(
                    model=self._model,
                    id=self._id,
                    created_s=chunk.created_s,
                    usage=usage_of(self._usage),
                )
            )
        for part, arguments in zip(chunk.parts, chunk.arguments, strict=True):
            self._part(part, arguments, events)
        self._finish = chunk.finish or self._finish

    def _part(self, members: dict[str, Any], arguments: str | None, events: list[StreamEvent]) -> None:
        call = members.get("functionCall")
        if isinstance(call, dict) and (self._partial is not None or "partialArgs" in call or call.get("willContinue")):
            whole = self._joined(members, call)
            if whole is None:
                return
            members, arguments = whole, None
        part = answer_part(members, self._id, self._calls, arguments)
        if isinstance(part, Thinking) and (part.signature or part.redacted):  # another gateway of ours is there
            self._proven(part, events)
            return
        if isinstance(part, Text | Thinking) and part.provider_metadata is None:
            self._text(part, events)
            return
        self._close_text(events)
        self._calls += isinstance(part, ToolCall)
        self._whole(part, events)

    def _text(self, part: Text | Thinking, events: list[StreamEvent]) -> None:
        if not part.text:
            return
        if type(self._open) is not type(part):
            self._close_text(events)
            self._open = part
            events.append(PartStart(index=self._next, part=msgspec.structs.replace(part, text="")))
        self._texts.append(part.text)
        events.append(PartDelta(self._next, part.text))

    def _proven(self, part: Thinking, events: list[StreamEvent]) -> None:
        """A thought of another service's: its proof comes behind its words, or stands with them."""
        if type(self._open) is Thinking and part.signature and not part.text:
            self._close_text(events, signature=part.signature)
            return
        self._close_text(events)
        self._whole(part, events)

    def _close_text(self, events: list[StreamEvent], *, signature: str | None = None) -> None:
        if self._open is not None:
            cited = self._cited() if isinstance(self._open, Text) else ()
            events.append(PartEnd(index=self._next, signature=signature, citations=cited))
            self._next += 1
            self._open = None
            self._texts.clear()

    def _cited(self) -> tuple[Citation, ...]:
        """What the text that is open is drawn from, as far as the service has said it; said once."""
        if self._is_cited or not is_grounded(self._candidate):
            return ()
        cited = citations_of(self._candidate, "".join(self._texts))
        self._is_cited = bool(cited)
        return cited

    def _whole(self, part: Part, events: list[StreamEvent]) -> None:
        events.extend(replay_part(self._next, part))
        self._next += 1

    def _joined(self, members: dict[str, Any], call: dict[str, Any]) -> dict[str, Any] | None:
        """The whole part of a call whose arguments come in pieces, when its last piece is there."""
        first, args = self._partial or (members, PartialArgs())
        self._partial = first, args
        pieces = call.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            args.add(piece)
        if call.get("willContinue"):
            return None
        self._partial = None
        named = {
            key: value for key, value in first["functionCall"].items() if key not in ("partialArgs", "willContinue")
        }
        return {**first, "functionCall": {**named, "args": args.value}}

    # ------------------------------------------------------------ the end

    def end(self, events: list[StreamEvent]) -> None:
        """Raises: StreamBroken where the answer has no finish reason."""
        if self._finish is None or self._partial is not None:
            raise StreamBroken("the stream ended before the answer did")
        self._close_text(events)
        if cited := self._cited():  # after the text had ended
            events += [PartStart(index=self._next, part=Text(text="")), PartEnd(index=self._next, citations=cited)]
        events.append(
            MessageEnd(
                finish_reason=finish_of(self._finish, has_calls=self._calls > 0),
                raw_finish_reason=self._finish,
                usage=usage_of(with_searches(self._usage, self._model, self._candidate)),
                extra=extra_of(self._rest, self._candidate),
            )
        )


def _refuse_bare(raw: bytes) -> None:
    """JSON where an event should be: an error that the service met in mid-stream. Raises: ProviderError."""
    text = raw.strip()
    if not text.startswith((b"{", b"[")):
        return
    try:
        members = json.ANY.decode(text)
    except json.UNREADABLE:
        raise BadReply("the stream holds something that is no event") from None
    raise errors.error_of(members, None, {})
