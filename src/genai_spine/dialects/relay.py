"""The same dialect in and out: the model's name changes, every other byte goes through, and we read along.

    caller ── peek ─▶ Peek ── rewrite ─▶ provider      what routing needs; then one member replaced
    caller ◀── StreamTap · tap_answer ── provider      bytes go through; usage, finish and errors are read

Nothing is decoded that is not read: members and usage stay `Raw`, and the dialect's own functions turn
usage into counts. Must not know routes, prices or connections; what to do about a failure is the engine's.

Wire examples of the endings that are read here:

    openai_chat          data: {"choices":[],"usage":{"prompt_tokens":9}}     data: [DONE]
    anthropic_messages   event: message_stop\\ndata: {"type":"message_stop"}
    ollama_chat          {"model":"llama3.2","done":true,"done_reason":"stop","prompt_eval_count":9}
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.failure import redact
from genai_spine.model.errors import BadReply, InvalidRequest, StreamBroken
from genai_spine.wire.json import (
    ANY,
    OBJECT,
    UNREADABLE,
    decode_frame,
    decode_outbound,
    encode,
    member,
    replace_member,
    top_level,
)
from genai_spine.wire.ndjson import NDJSONParser
from genai_spine.wire.sse import SSEEvent, SSEParser, encode_event

ProviderHint = Literal["local_preferred", "cloud_preferred", "best_quality", "cheapest"]

OURS = ("provider", "provider_hint", "cost_limit", "fallbacks")
"""Body fields for this gateway, never forwarded (CONTRACT)."""


# ── requests ──────────────────────────────────────────────────────────────────────────────────────


class Peek(Struct, frozen=True, kw_only=True):
    """A caller's body: its members as bytes, without our own fields, and the values that routing reads.

    A member that is absent or null is None here.
    """

    members: dict[str, Raw]
    model: str | None
    stream: bool | None
    wants_usage: bool = False
    """The caller asked for usage in the stream (OpenAI's `stream_options.include_usage`)."""
    provider: str | None = None
    provider_hint: ProviderHint | None = None
    cost_limit: Decimal | None = None
    """USD."""
    fallbacks: tuple[str, ...] = ()


class _StreamOptions(Struct):
    include_usage: bool | None = None


_text = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_hint = msgspec.json.Decoder(ProviderHint | None)
_money = msgspec.json.Decoder(Decimal | None)
_names = msgspec.json.Decoder(tuple[str, ...] | None)

_TRUE = Raw(b"true")


def peek(body: bytes) -> Peek:
    """What routing needs to know of a request, without reading the rest.

    Raises: InvalidRequest.
    """
    members = top_level(body)
    model = member(members, "model", _text)
    stream = member(members, "stream", _flag)
    options = member(members, "stream_options", _stream_options) if "stream_options" in members else None
    wants_usage = options is not None and options.include_usage is True
    if members.keys().isdisjoint(OURS):
        return Peek(members=members, model=model, stream=stream, wants_usage=wants_usage)

    # An object is OpenRouter's own `provider` and not a name of ours: it goes through.
    theirs = members.get("provider")
    provider = None
    if theirs is None or not bytes(theirs).startswith(b"{"):
        provider = member(members, "provider", _text)
        theirs = None
    cost_limit = member(members, "cost_limit", _money)
    if cost_limit is not None and not (cost_limit.is_finite() and cost_limit >= 0):
        raise InvalidRequest("cost_limit: expected an amount in USD, 0 or more", param="cost_limit")
    found = Peek(
        members=members,
        model=model,
        stream=stream,
        wants_usage=wants_usage,
        provider=provider,
        provider_hint=member(members, "provider_hint", _hint),
        cost_limit=cost_limit,
        fallbacks=member(members, "fallbacks", _names) or (),
    )
    for name in OURS:
        if name != "provider" or theirs is None:
            members.pop(name, None)
    return found


def rewrite(request: Peek, *, model: str, dialect: str, force_usage: bool) -> bytes:
    """The body for the provider: the caller's members in their order, with `model` by the provider's name.

    With `force_usage` an OpenAI stream is asked to report usage; give its tap `strip_usage` where the
    caller had not asked (`request.wants_usage`).
    """
    members = {**request.members, "model": Raw(encode(model))}
    if force_usage and request.stream and not request.wants_usage and dialect == "openai_chat":
        options = members.get("stream_options")
        if options is None or options == Raw(b"null"):
            options = Raw(b"{}")
        members["stream_options"] = Raw(replace_member(options, "include_usage", _TRUE))
    return encode(members)


# ── streams ───────────────────────────────────────────────────────────────────────────────────────


class StreamTap:
    """Forwards one provider's stream frame by frame and reads along; `open_tap` makes the dialect's own.

    No frame is forwarded before it was read, so neither broken JSON nor a provider's error event ever
    reaches the caller. A failure does not cost the frames before it: `feed` returns those, sets `failure`,
    and the next call raises it. So the loop is

        async for data in body:
            if out := tap.feed(data): await send(out)
            if tap.over: break
        await send(tap.close())

    and the BadReply that leaves it becomes the dialect's error event (StreamBroken: an error that the
    provider sent, or an ending that never came).
    """

    __slots__ = ("_parser", "failure", "finish_reason", "finished", "model", "usage")

    def __init__(self) -> None:
        self._parser = self._new_parser()
        self.usage: Raw | None = None
        """The last usage object as the provider wrote it, unchecked (Ollama: the whole last line)."""
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.finished = False
        """The stream's own ending was seen. What comes after it is ignored (FAULTS 24)."""
        self.failure: BadReply | None = None

    @property
    def over(self) -> bool:
        """Nothing more is to be read: call `close`."""
        return self.finished or self.failure is not None

    def feed(self, data: bytes) -> bytes:
        """The bytes to forward now; the same object where nothing is held back or taken out.

        Raises: BadReply, StreamBroken.
        """
        if self.failure is not None:
            raise self.failure
        if self.finished:
            return b""
        parser = self._parser
        whole = not parser.tail
        out: list[bytes] = []
        frames: Sequence[tuple[bytes, Any]] = ()
        try:
            frames = parser.frames(data)
            for raw, event in frames:
                if self._read(event) if event is not None else raw.startswith(_SAYS_NOTHING):
                    out.append(raw)
                if self.finished:
                    break
        except BadReply as failure:
            self.failure = failure
            if not out:
                raise
        if whole and not parser.tail and len(out) == len(frames):
            return data
        return b"".join(out)

    def close(self) -> bytes:
        """The provider's bytes have ended: what is still to be forwarded.

        Raises: StreamBroken, where the stream's own ending never came; BadReply.
        """
        if self.failure is not None:
            raise self.failure
        if self.finished:
            return b""
        out = b""
        try:
            for event in self._parser.close():
                if self._read(event):
                    out = bytes(self._parser.tail).rstrip() + self._FRAME_END
            if not self.finished:
                out += self._ending()
                self.finished = True
        except BadReply as failure:
            self.failure = failure
            raise
        return out

    _FRAME_END = b"\n\n"

    def _new_parser(self) -> SSEParser | NDJSONParser:
        return SSEParser()

    def _read(self, event: Any) -> bool:
        """Take note of one event; whether to forward it. Raises: BadReply, StreamBroken."""
        raise NotImplementedError

    def _ending(self) -> bytes:
        """What stands for an ending that the provider left out. Raises: StreamBroken."""
        raise StreamBroken("the provider's stream stopped before its end")


# Comments and fields without data go on as they are. A page of HTML, which to a reader of events is
# fields without a meaning, does not.
_SAYS_NOTHING = (b":", b"\n", b"\r", b"event", b"id", b"retry")


_ABSENT = Raw()  # msgspec refuses a value for `Raw | None`: absent is empty here, null is b"null"


class _Choice(Struct, gc=False):
    finish_reason: str | None = None
    index: int | None = 0


class _Chunk(Struct, gc=False):
    """A chunk or an answer. Decoding it takes 0.4 µs, bare validation 0.25: byte tests would save nothing."""

    choices: list[_Choice] | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT
    model: str | None = None


class _OpenAIChatTap(StreamTap):
    """Ends with `[DONE]`, or, with Hugging Face, Perplexity and transformers (recordings, 2026-11), after the
    last finish reason without one: then the caller gets the `[DONE]` that its client may wait for."""

    __slots__ = ("_ended", "_opened", "_strip_usage")

    def __init__(self, strip_usage: bool) -> None:
        super().__init__()
        self._strip_usage = strip_usage
        self._opened: set[int | None] = set()  # choices, by index
        self._ended: set[int | None] = set()

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        if len(data) < 16 and data.strip() == b"[DONE]":
            self.finished = True
            return True
        chunk = decode_frame(data, _chunk)
        if chunk.error or event.event:
            _refuse_error(chunk.error, data, event.event)
        if self.model is None and chunk.model:
            self.model = chunk.model
        for choice in chunk.choices or ():
            self._opened.add(choice.index)
            if choice.finish_reason:
                self._ended.add(choice.index)
                self.finish_reason = self.finish_reason or choice.finish_reason
        if len(chunk.usage) > 4 and bytes(chunk.usage).startswith(b"{"):
            self.usage = chunk.usage
            # The chunk of usage alone is what forcing adds. Usage within other chunks harms no client.
            return not self._strip_usage or bool(chunk.choices)
        return True

    def _ending(self) -> bytes:
        if self._opened and self._opened == self._ended:
            return encode_event(b"[DONE]")
        return super()._ending()


class _AnthropicMessage(Struct, gc=False):
    """`message` of message_start, and a whole answer."""

    content: Raw = _ABSENT
    usage: Raw = _ABSENT
    stop_reason: str | None = None
    model: str | None = None
    error: Raw = _ABSENT


class _AnthropicEvent(Struct, gc=False):
    type: str | None = None
    message: Raw = _ABSENT
    delta: Raw = _ABSENT
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


class _AnthropicMessagesTap(StreamTap):
    """Usage is in message_start and, cumulative, in message_delta; of each member the last value holds."""

    __slots__ = ()

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        decoded = decode_frame(data, _anthropic_event)
        match decoded.type:
            case "content_block_delta":
                pass
            case "message_start" if decoded.message != _ABSENT:
                message = decode_frame(decoded.message, _anthropic_message)
                self.model = message.model
                self.finish_reason = message.stop_reason
                self._add_usage(message.usage)
            case "message_delta":
                if decoded.delta != _ABSENT:
                    delta = decode_frame(decoded.delta, _anthropic_message)
                    self.finish_reason = delta.stop_reason or self.finish_reason
                self._add_usage(decoded.usage)
            case "message_stop":
                self.finished = True
            case _:
                _refuse_error(decoded.error, data, event.event)
        return True

    def _add_usage(self, usage: Raw) -> None:
        if not bytes(usage).startswith(b"{"):
            return
        if self.usage is None:
            self.usage = usage
            return
        known: dict[str, Raw] = decode_frame(self.usage, OBJECT)
        new: dict[str, Raw] = decode_frame(usage, OBJECT)
        known.update({name: value for name, value in new.items() if value != _NULL})
        self.usage = Raw(encode(known))


class _OllamaLine(Struct, gc=False):
    """A line of a stream and a whole answer alike; `response` is that of /api/generate."""

    done: bool | None = None
    done_reason: str | None = None
    model: str | None = None
    error: Raw = _ABSENT
    message: Raw = _ABSENT
    response: Raw = _ABSENT


class _OllamaChatTap(StreamTap):
    __slots__ = ()

    _FRAME_END = b"\n"

    def _new_parser(self) -> NDJSONParser:
        return NDJSONParser()

    def _read(self, event: bytes) -> bool:
        line = decode_frame(event, _ollama_line)
        _refuse_error(line.error, event)
        if self.model is None:
            self.model = line.model
        if line.done:
            self.usage = Raw(event)
            self.finish_reason = line.done_reason or "stop"
            self.finished = True
        return True


def open_tap(dialect: str, *, strip_usage: bool = False) -> StreamTap:
    """The tap for one stream. `strip_usage` takes out the chunk that `rewrite(force_usage=True)` caused."""
    match dialect:
        case "openai_chat":
            return _OpenAIChatTap(strip_usage)
        case "anthropic_messages":
            return _AnthropicMessagesTap()
        case "ollama_chat" | "ollama_generate":
            return _OllamaChatTap()
    raise ValueError(f"no relay for the dialect {dialect!r}")


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


class Answer(Struct, frozen=True, kw_only=True):
    """What a whole answer says of itself. Its bytes are forwarded as they are."""

    model: str | None
    finish_reason: str | None
    usage: Raw | None
    """As in StreamTap."""


def tap_answer(dialect: str, body: bytes) -> Answer:
    """Read a whole answer of status 200 before it is forwarded.

    Raises: BadReply, for an error that came with status 200 (FAULTS 15) and for an empty body, a page of
    HTML or any JSON that is no answer of the dialect (FAULTS 16). The message tells no more of the body
    than the error's own text; `body` is the error's bytes, for the dialect's `decode_error`.
    """
    match dialect:
        case "openai_chat":
            chunk = decode_outbound(body, _chunk)
            _refuse_error(chunk.error, body)
            _require(chunk.choices is not None, "choices")
            finish = chunk.choices[0].finish_reason or None if chunk.choices else None
            return Answer(model=chunk.model, finish_reason=finish, usage=_object(chunk.usage))
        case "anthropic_messages":
            message = decode_outbound(body, _anthropic_message)
            _refuse_error(message.error, body)
            _require(bytes(message.content).startswith(b"["), "content")
            return Answer(model=message.model, finish_reason=message.stop_reason, usage=_object(message.usage))
        case "ollama_chat" | "ollama_generate":
            line = decode_outbound(body, _ollama_line)
            _refuse_error(line.error, body)
            _require(len(line.message) + len(line.response) > 0, "message")
            return Answer(model=line.model, finish_reason=line.done_reason, usage=Raw(body))
    raise ValueError(f"no relay for the dialect {dialect!r}")


# ── reading ───────────────────────────────────────────────────────────────────────────────────────

_chunk = msgspec.json.Decoder(_Chunk)
_anthropic_event = msgspec.json.Decoder(_AnthropicEvent)
_anthropic_message = msgspec.json.Decoder(_AnthropicMessage)
_ollama_line = msgspec.json.Decoder(_OllamaLine)

_NULL = Raw(b"null")
_NO_ERRORS = (b"", b"null", b"false", b'""', b"{}")


def _object(value: Raw) -> Raw | None:
    return value if bytes(value).startswith(b"{") else None


def _require(has: bool, name: str) -> None:
    if not has:
        raise BadReply(f"the provider's reply is no answer: it has no `{name}`")


def _refuse_error(error: Raw, data: bytes, event: bytes | None = None) -> None:
    """Raises: StreamBroken, where the frame or answer is an error."""
    there = bytes(error) not in _NO_ERRORS
    if not there and event != b"error":
        return
    said: dict[str, Any] = {}
    try:
        decoded = ANY.decode(error if there else data)
        said = decoded if isinstance(decoded, dict) else {"message": decoded}
    except UNREADABLE:
        pass  # valid JSON, with a number that no float holds
    message = said.get("message")
    codes = [code for code in (said.get("code"), said.get("type")) if isinstance(code, str)]
    raise StreamBroken(
        "the provider answered with an error: " + (redact(message) if isinstance(message, str) else "no message"),
        code=codes[0] if codes else None,
        body=data,
    )
