"""A stream of `chat.completion.chunk`s to events.

Source: platform.openai.com/docs/api-reference/chat-streaming (2026-11). What services do besides, each
seen in recordings: no role, no id, no index on tool calls, index 0 on all of them, the id repeated or
empty on later deltas, arguments before the name, usage on every chunk or in one without choices, an error
object in place of choices, no [DONE].
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.lenient import seconds_of
from genai_spine.dialects.metadata import keep, kept, unknown
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.audio import audio_of, says_something
from genai_spine.dialects.openai_chat.citations import citations_of, searched
from genai_spine.dialects.openai_chat.images import images_of
from genai_spine.dialects.openai_chat.thoughts import thinking_of_detail
from genai_spine.dialects.openai_chat.usage import is_counted, usage_of
from genai_spine.model.content import Citation, Metadata, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent, SSEParser

_chunk = msgspec.json.Decoder(wire.Reply)


_NONE: tuple[Citation, ...] = ()


class _OpenCall:
    """A tool call whose arguments are still coming; `index` is None until its name is known."""

    __slots__ = ("id", "index", "kind", "name", "pending", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self.index: int | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.kind: Any = "function"
        self.pending: list[str] = []


class ChatStreamDecoder(FrameDecoder):
    """The first choice of a stream. Further ones, which we never ask for, are passed over."""

    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._started = False
        self._done = False
        self._id: str | None = None
        self._next = 0  # index of the next part
        # The open part that takes text, and what is known of it so far.
        self._open_index = -1
        self._kind: type | None = None
        self._signature: str | None = None
        self._metadata: Metadata | None = None
        self._detail_index: int | None = None
        self._plain_thought: list[str] = []  # what came of it as reasoning_content, and its length
        self._plain_length = 0
        self._annotations: list[Any] = []
        self._audio: dict[str, Any] = {}
        self._audio_texts: dict[str, list[str]] = {}
        self._calls: list[_OpenCall] = []
        self._call_at: dict[int, _OpenCall] = {}
        self._call_with_id: dict[str, _OpenCall] = {}
        self._finish: str | None = None
        self._usage: Any = None
        self._extra: dict[str, Any] = {}
        self._choice_extra: dict[str, Any] = {}
        self._logprobs: dict[str, list[Any]] = {}

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        take = self._take
        for _, event in self._parser.frames(data):
            if event is not None:
                take(event, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event, events)
        if not self._done:
            # A finish reason without [DONE] is a whole answer: several services send no [DONE].
            if self._finish is None:
                raise StreamBroken("the stream ended before the answer did")
            self._end(events)

    # ------------------------------------------------------------ one chunk

    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        data = event.data
        size = len(data)
        if self._done:
            return
        if size < 16:
            if not (data := data.strip()):
                return
            if data == b"[DONE]":
                # Its own ending, even without a finish reason (Snowflake sends none).
                self._end(events)
                return
        if size <= json.SHORT_FRAME:
            chunk = json.decode_frame(data, _chunk)
        else:
            chunk = json.decode_outbound(data, _chunk)
        if chunk.error or event.event == b"error":
            raise wire.error_of(json.decode_outbound(data, json.ANY), None, {})
        if not self._started:
            self._start(chunk, events)
        if chunk.usage is not None and (is_counted(chunk.usage) or not self._usage):
            self._usage = chunk.usage
        choices = chunk.choices
        if not choices:
            self._keep_extra(data)
            return
        choice = choices[0]
        if choice.index:
            return
        if (delta := choice.delta or choice.message) is not None:
            content = delta.content
            if (
                type(content) is str
                and content
                and self._kind is Text
                and delta.tool_calls is None
                and delta.reasoning_content is None
                and delta.reasoning is None
            ):
                # Nearly all chunks: more of the text that is open already.
                events.append(PartDelta(self._open_index, content))
                if (
                    delta.refusal is not None
                    or delta.annotations is not None
                    or delta.audio is not None
                    or delta.images
                    or delta.reasoning_details
                    or delta.function_call is not None
                ):
                    delta.content = None
                    self._delta(delta, data, events)
            else:
                self._delta(delta, data, events)
        elif not choice.finish_reason:
            self._keep_extra(data)
        if choice.logprobs is not None:
            self._keep_logprobs(choice.logprobs)
        if choice.content_filter_results:
            self._keep_filter_results(choice.content_filter_results)
        if choice.finish_reason:
            self._finish = self._finish or choice.finish_reason
            self._keep_extra(data)

    def _start(self, chunk: wire.Reply, events: list[StreamEvent]) -> None:
        # Azure sends a first chunk with an empty id and model, for its prompt filter only. Counts alone are no answer:
        # vLLM says no more where it failed before its first token (github.com/vllm-project/vllm/pull/40986, 2026-04).
        if not chunk.choices:
            return
        self._started = True
        self._id = chunk.id or None
        created_s = seconds_of(chunk.created)
        events.append(MessageStart(id=self._id, model=chunk.model or self._model, created_s=created_s))

    def _delta(self, delta: wire.ReplyMessage, data: bytes, events: list[StreamEvent]) -> None:
        before = len(events)
        if delta.reasoning_details:
            self._reasoning(delta, delta.reasoning_details, events)
        elif thought := delta.reasoning_content or delta.reasoning:
            self._write(Thinking, thought, events)
            self._plain_thought.append(thought)
            self._plain_length += len(thought)
        content = delta.content
        if isinstance(content, list):
            for chunk in content:
                self._chunk_of_content(chunk, events)
        elif content:
            self._write(Text, content if isinstance(content, str) else wire.content_text(content), events)
        if delta.annotations:
            self._annotations.extend(delta.annotations)
        if delta.refusal:
            self._write(Refusal, delta.refusal, events)
        if delta.audio and says_something(delta.audio):
            self._hear(delta.audio)
        for image in images_of(delta.images or ()):
            self._whole(image, events)
        if calls := delta.tool_calls:
            begun = any(wire.called(call)[0] for call in calls)
            said = _unknown_of_calls(data) if begun else [None] * len(calls)
            for call, metadata in zip(calls, said, strict=True):
                self._tool_call(call, metadata, events)
        elif delta.function_call is not None and (self._calls or delta.function_call.name):
            self._tool_call(wire.ToolCallWire(index=0, function=delta.function_call), None, events)
        if len(events) == before:
            self._keep_extra(data)  # perhaps it says something that we do not know

    # ------------------------------------------------------------ text of three kinds

    def _write(self, kind: type[Text] | type[Thinking] | type[Refusal], text: str, events: list[StreamEvent]) -> None:
        if self._kind is not kind:
            self._close_text(events)
            self._open_index = self._open(kind(text=""), events)
            self._kind = kind
        events.append(PartDelta(self._open_index, text))

    def _open(self, part: Part, events: list[StreamEvent]) -> int:
        index = self._next
        self._next += 1
        events.append(PartStart(index=index, part=part))
        return index

    def _whole(self, part: Part, events: list[StreamEvent]) -> None:
        self._close_text(events)
        events.append(PartEnd(index=self._open(part, events)))

    def _close_text(self, events: list[StreamEvent], *, is_last: bool = False) -> None:
        kind = self._kind
        if kind is None:
            return
        metadata, cited = self._metadata, _NONE
        if kind is Text and self._annotations:
            metadata, cited = keep(wire.DIALECT, {"annotations": self._annotations}), citations_of(self._annotations)
            self._annotations = []
        if kind is Text and is_last:
            cited = (*cited, *searched(self._extra))
        signature = self._signature
        events.append(PartEnd(index=self._open_index, signature=signature, citations=cited, provider_metadata=metadata))
        self._kind = self._signature = self._metadata = self._detail_index = None
        self._plain_thought.clear()
        self._plain_length = 0

    def _chunk_of_content(self, chunk: dict[str, Any], events: list[StreamEvent]) -> None:
        part = wire.part_of_chunk(chunk)
        if not isinstance(part, Text | Thinking):
            self._whole(part, events)
        elif part.text or part.provider_metadata is not None:
            self._write(type(part), part.text, events)
            if part.provider_metadata is not None:
                self._metadata = wire.joined(self._metadata, part.provider_metadata)
                self._signature = getattr(part, "signature", None) or self._signature

    def _reasoning(self, delta: wire.ReplyMessage, details: list[dict[str, Any]], events: list[StreamEvent]) -> None:
        """OpenRouter's form: pieces of a thought, its signature in the last, all with the thought's index."""
        thoughts = [thinking_of_detail(detail) for detail in details]
        if not any(part.text for part in thoughts) and (text := delta.reasoning_content or delta.reasoning):
            self._write(Thinking, text, events)
        for part, detail in zip(thoughts, details, strict=True):
            index = detail.get("index")
            if part.redacted is not None or not detail_is_open(part):
                self._whole(part, events)
                continue
            repeats = self._repeats(part.text)
            if not repeats and (self._kind is not Thinking or self._detail_index not in (None, index)):
                self._close_text(events)
                self._open_index, self._kind = self._open(Thinking(), events), Thinking
            if part.text and not repeats:
                events.append(PartDelta(self._open_index, part.text))
            self._detail_index = index
            self._signature = part.signature or self._signature
            if part.provider_metadata is not None:
                self._metadata = part.provider_metadata
            if repeats:
                self._close_text(events)

    def _repeats(self, text: str) -> bool:
        """Whether a detail says once more, whole, what came as reasoning_content: as our own encoder does."""
        return self._kind is Thinking and len(text) == self._plain_length > 0 and text == "".join(self._plain_thought)

    # ------------------------------------------------------------ sound

    def _hear(self, audio: dict[str, Any]) -> None:
        for key, value in audio.items():
            if key in ("data", "transcript"):
                if isinstance(value, str):
                    self._audio_texts.setdefault(key, []).append(value)
            elif value is not None:
                self._audio[key] = value

    def _close_audio(self, events: list[StreamEvent]) -> None:
        if self._audio or self._audio_texts:
            texts = {key: "".join(pieces) for key, pieces in self._audio_texts.items()}
            self._whole(audio_of({**self._audio, **texts}), events)
            self._audio, self._audio_texts = {}, {}

    # ------------------------------------------------------------ tool calls

    def _tool_call(self, delta: wire.ToolCallWire, metadata: Metadata | None, events: list[StreamEvent]) -> None:
        call = self._call_of(delta)
        if call.id is None and delta.id:
            call.id = delta.id
            self._call_with_id.setdefault(delta.id, call)
        name, fragment, kind = wire.called(delta)
        if call.index is not None:
            if fragment:
                events.append(PartDelta(call.index, fragment))
            return
        if name:
            call.name, call.kind = name, kind
        call.pending.append(fragment)
        if not call.name:
            return
        self._close_text(events)
        self._close_audio(events)
        part = ToolCall(
            id=call.id or wire.minted_call_id(self._id, call.position),
            name=call.name,
            kind=call.kind,
            provider_metadata=metadata,
        )
        call.index = self._open(part, events)
        if fragment := "".join(call.pending):
            events.append(PartDelta(call.index, fragment))
        call.pending.clear()

    def _call_of(self, delta: wire.ToolCallWire) -> _OpenCall:
        """The call that a delta goes on with, or a new one.

        By index; where a service numbers all calls alike, a new id with a name, or another name, is a new
        call. Without an index by id; with neither, a name begins a call and the rest goes on with the last.
        """
        name = wire.called(delta)[0]
        found = None
        if delta.index is not None:
            found = self._call_at.get(delta.index)
            if found is not None and name and found.name:
                new_id = bool(delta.id) and found.id is not None and delta.id != found.id
                if new_id or (not delta.id and name != found.name):
                    found = None
            if found is None and delta.id and (same := self._call_with_id.get(delta.id)) and not name:
                found = same
        elif delta.id:
            found = self._call_with_id.get(delta.id)
            if found is None and self._calls and self._calls[-1].id is None and not name:
                found = self._calls[-1]
        elif self._calls and not (name and self._calls[-1].name):
            found = self._calls[-1]
        if found is None:
            found = _OpenCall(len(self._calls))
            self._calls.append(found)
        if delta.index is not None:
            self._call_at[delta.index] = found
        return found

    # ------------------------------------------------------------ the end

    def _end(self, events: list[StreamEvent]) -> None:
        self._done = True
        if not self._started:
            raise BadReply("a stream without an answer in it")
        if self._annotations and self._kind is not Text:
            self._close_text(events)
            self._open_index, self._kind = self._open(Text(text=""), events), Text
        self._close_text(events, is_last=True)
        self._close_audio(events)
        for call in self._calls:
            if call.index is None:
                raise BadReply("a tool call without a name")
            events.append(PartEnd(index=call.index))
        if self._logprobs:
            self._choice_extra["logprobs"] = self._logprobs
        if self._choice_extra:
            self._extra[wire.OF_CHOICE] = self._choice_extra
        events.append(
            MessageEnd(
                finish_reason=wire.finish_of(self._finish),
                raw_finish_reason=self._finish,
                usage=usage_of(self._usage, self._extra.get("service_tier")),
                extra=keep(wire.DIALECT, self._extra),
            )
        )

    def _keep_extra(self, data: bytes) -> None:
        """What a chunk says beside what the middle has names for. Not looked for in every one of them."""
        members = json.decode_outbound(data, json.ANY)
        self._extra.update(unknown(members, wire.KNOWN_TOP_LEVEL))
        for choice in members.get("choices") or ():
            if not choice.get("index"):
                more = wire.extra_of_choice(choice)
                if message := more.pop("message", None):
                    self._choice_extra.setdefault("message", {}).update(message)
                self._keep_filter_results(more.pop("content_filter_results", None))
                self._choice_extra.update(more)

    def _keep_filter_results(self, results: Any) -> None:
        """Azure's word on what came since its last one, by category: what was found once stays found."""
        if isinstance(results, dict):
            kept_results = self._choice_extra.setdefault("content_filter_results", {})
            for category, result in results.items():
                if not _is_finding(kept_results.get(category)):
                    kept_results[category] = result

    def _keep_logprobs(self, logprobs: Any) -> None:
        for key, value in logprobs.items() if isinstance(logprobs, dict) else ():
            if isinstance(value, list):
                self._logprobs.setdefault(key, []).extend(value)


def _is_finding(result: Any) -> bool:
    """`{"filtered": false, "severity": "safe"}` is none, nor is `{"filtered": false, "detected": false}`."""
    return isinstance(result, dict) and bool(
        result.get("filtered") or result.get("detected") or result.get("severity", "safe") != "safe"
    )


def detail_is_open(part: Thinking) -> bool:
    """Whether more of this thought may come; what is of a kind that we do not know comes whole."""
    kind = kept(part.provider_metadata, wire.DIALECT).get("type")
    return kind in (None, "reasoning.summary")


def _unknown_of_calls(data: bytes) -> list[Metadata | None]:
    """Of a chunk in which calls begin: what it says of each that we do not know."""
    choice = json.decode_outbound(data, json.ANY)["choices"][0]
    calls = (choice.get("delta") or choice["message"])["tool_calls"]
    return [wire.metadata_of_call(call) for call in calls]
