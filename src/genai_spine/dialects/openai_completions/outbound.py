"""Speaking to a provider that continues a bare prompt.

    {"model": "qwen2.5-coder", "prompt": "def fib(n):", "suffix": "    return a", "max_tokens": 64}
    {"object": "text_completion", "choices": [{"index": 0, "text": "…", "finish_reason": "stop"}], "usage": {…}}
    data: {"object": "text_completion", "choices": [{"index": 0, "text": "\\n", "finish_reason": null}]}

A conversation is written as dialects/turns.py does it, for models that know nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import seconds_of
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.one_text import OneTextDecoder
from genai_spine.dialects.openai_chat import schema as chat
from genai_spine.dialects.openai_chat.outbound import decode_embedded_error, decode_error, decode_usage
from genai_spine.dialects.openai_chat.usage import usage_of
from genai_spine.dialects.openai_completions.schema import DIALECT, PROMPTS
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.turns import Writer
from genai_spine.model.content import Opaque, Text
from genai_spine.model.errors import BadReply
from genai_spine.model.events import MessageEnd, MessageStart, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, TokenUsage
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent

__all__ = [
    "DIALECT",
    "PATH",
    "concerns",
    "decode_embedded_error",
    "decode_error",
    "decode_response",
    "decode_usage",
    "encode_request",
    "stream_decoder",
]

PATH = "/completions"

_SAME_NAMES = ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n", "user")
_KNOWN_OF_CHOICE = frozenset({"index", "text", "finish_reason"})


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """Raises: InvalidRequest for what a prompt cannot hold: tools and their calls, images, documents."""
    check_thread(DIALECT, request)
    writer = Writer("text completion", takes_images=False)
    writer.refuse_tools(request)
    body: dict[str, Any] = {"model": target.model, "prompt": _prompt(request, writer)}
    for name in _SAME_NAMES:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.top_k is not None:
        if target.quirks.top_k:
            body["top_k"] = request.top_k
        else:
            writer.notice("dropped", "the provider takes no top_k", "top_k")
    if request.stop:
        body["stop"] = request.stop
    for param in ("output_schema", "thinking", "cache"):
        if getattr(request, param) is not None:
            writer.notice("dropped", f"text completion has no {param}", param)
    if stream:
        body["stream"] = True
        if target.quirks.stream_usage == "option":
            body["stream_options"] = {"include_usage": True}
    extend(body, request.extra, DIALECT)  # of which the mark of a bare prompt is written already
    for found in foreign_to(DIALECT, request):
        writer.notice(found.code, found.message, found.param)
    for name in target.quirks.drop:
        if body.pop(name, None) is not None:
            writer.notice("dropped", f"the provider refuses {name}", name)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(writer.notices))


def _prompt(request: CompletionRequest, writer: Writer) -> str | msgspec.Raw:
    """A caller's own prompts as they came; a conversation as one text."""
    parts = [part for message in request.messages for part in message.content]
    if len(parts) == 1 and isinstance(part := parts[0], Opaque) and part.dialect == DIALECT and part.kind == PROMPTS:
        return part.raw
    talk = writer.talk(request.messages)
    if talk.system is not None:
        writer.notice("changed", "there is no system prompt here: it stands before the prompt", "messages")
    return "\n\n".join(filter(None, (talk.system, talk.prompt)))


# ---------------------------------------------------------------- answer


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    index: int | None = 0
    finish_reason: str | None = None


class _Reply(msgspec.Struct, gc=False):
    """An answer, or one event of a streamed one."""

    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: Any = None
    usage: Any = None
    error: Any = None


_reply = msgspec.json.Decoder(_Reply)


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """The first choice of an answer; further ones stay in `extra`.

    Raises: BadReply; the provider's error where a 200 carries one.
    """
    reply = json.decode_outbound(body, _reply)
    members = json.decode_frame(body, json.ANY)
    if reply.error:
        raise chat.error_of(members, None, {})
    if not reply.choices:
        raise BadReply("an answer without choices")
    choice = reply.choices[0]
    if choice.text is None:
        raise BadReply("a choice without text")
    extra = unknown(members, chat.KNOWN_TOP_LEVEL)
    first, *others = members["choices"]
    if more := unknown(first, _KNOWN_OF_CHOICE):
        extra[chat.OF_CHOICE] = more
    if others:
        extra["choices"] = others
    return CompletionResponse(
        id=reply.id or None,
        model=reply.model or target.model,
        created_s=seconds_of(reply.created),
        parts=(Text(text=choice.text),) if choice.text else (),
        finish_reason=chat.finish_of(choice.finish_reason),
        raw_finish_reason=choice.finish_reason or None,
        usage=usage_of(reply.usage),
        extra=keep(DIALECT, extra),
        raw=msgspec.Raw(body),
    )


class CompletionStreamDecoder(OneTextDecoder):
    """The first choice. A stream ends with `[DONE]`, or after its finish reason without one."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._usage: TokenUsage | None = None
        self._finish_reason: str | None = None

    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        if self._is_done:
            return
        if event.data.strip() == b"[DONE]":
            if not self._is_started:
                raise BadReply("a stream without an answer in it")
            self._finish_now(events)
            return
        reply = json.decode_outbound(event.data, _reply)
        if reply.error or event.event == b"error":
            raise chat.error_of(json.decode_frame(event.data, json.ANY), None, {})
        if reply.choices and not self._is_started:
            self._is_started = True
            created = seconds_of(reply.created)
            events.append(MessageStart(id=reply.id or None, model=reply.model or self._model, created_s=created))
        for choice in reply.choices or ():
            if not choice.index:
                self._write(choice.text or "", events)
                self._finish_reason = choice.finish_reason or self._finish_reason
        self._usage = usage_of(reply.usage) or self._usage

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event, events)
        if self._finish_reason is not None and not self._is_done:
            self._finish_now(events)
        super()._end_of_body(events)

    def _finish_now(self, events: list[StreamEvent]) -> None:
        reason = self._finish_reason
        end = MessageEnd(finish_reason=chat.finish_of(reason), raw_finish_reason=reason, usage=self._usage)
        self._finish(end, events)


def stream_decoder(target: Target) -> CompletionStreamDecoder:
    return CompletionStreamDecoder(target)


# ---------------------------------------------------------------- relay


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """What the service refuses, or counts without being asked to."""
    return not members.keys().isdisjoint(quirks.drop) or (
        "stream_options" in members and quirks.stream_usage != "option"
    )
