"""Answering a caller who wants a prompt continued.

Where the provider can only chat, the prompt is a user's message. Thoughts and calls are not shown: there is no place
for them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.lenient import object_of, text_of
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat import schema as chat
from genai_spine.dialects.openai_chat.inbound import (
    FORWARDED_HEADERS,
    KEEP_ALIVE,
    SAME_NAMES,
    STREAM_CONTENT_TYPE,
    encode_error,
)
from genai_spine.dialects.openai_chat.schema import error_written
from genai_spine.dialects.openai_chat.usage import usage_written
from genai_spine.dialects.openai_completions.schema import BARE, DIALECT, PROMPTS, WRITTEN_FINISH
from genai_spine.dialects.reading import Reader, kind_of
from genai_spine.model.content import Opaque, Part, Refusal, Text
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartStart, StreamEvent
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.wire import json
from genai_spine.wire.json import encode, on_one_line
from genai_spine.wire.sse import encode_event

__all__ = [
    "DIALECT",
    "FORWARDED_HEADERS",
    "KEEP_ALIVE",
    "STREAM_CONTENT_TYPE",
    "decode_request",
    "encode_error",
    "encode_response",
    "shows",
    "stream_encoder",
]


# ---------------------------------------------------------------- request


def decode_request(body: bytes) -> CompletionRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    prompt = _prompt(request)
    fields = request.given(SAME_NAMES)
    if isinstance(request.peek("provider"), str):
        fields["provider"] = request.text("provider")
    limit = request.integer("max_tokens", least=-1)
    return CompletionRequest(
        messages=(Message(role="user", content=(prompt,)),),
        max_tokens=None if limit == -1 else limit,
        stream=request.boolean("stream") or False,
        cost_limit=request.amount("cost_limit"),
        extra=keep(DIALECT, {BARE: "bare", **request.rest()}),
        **fields,
    )


def _prompt(request: Reader) -> Part:
    given = request.take("prompt")
    if given is None:
        raise request.wrong("prompt", "missing")
    prompts = given if isinstance(given, list) else [given]
    if len(prompts) == 1 and isinstance(prompts[0], str) and prompts[0]:
        return Text(text=prompts[0])
    if isinstance(given, str) or (isinstance(given, list) and _are_prompts(given)):
        return Opaque(dialect=DIALECT, kind=PROMPTS, raw=msgspec.Raw(encode(given)))
    kind = "an array of other things" if isinstance(given, list) and given else kind_of(given)
    raise request.wrong("prompt", f"expected a string, or an array of strings or of tokens, got {kind}")


def _are_prompts(values: list[Any]) -> bool:
    """Texts, the tokens of one prompt, or those of several."""
    if all(isinstance(value, list) for value in values):
        return bool(values) and all(value and _are_tokens(value) for value in values)
    return all(isinstance(value, str) for value in values) or _are_tokens(values)


def _are_tokens(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)


# ---------------------------------------------------------------- answer


def shows(part: Part) -> bool:
    return isinstance(part, Text | Refusal)


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    own = kept(response.extra, DIALECT)
    text = "".join([part.text for part in response.parts if isinstance(part, Text | Refusal)])
    first = {**_choice(text, response.finish_reason), **chat.pop_choice(own)}
    written = {
        "id": response.id or "cmpl-unnamed",
        "object": "text_completion",
        "created": response.created_s or 0,
        "model": response.model,
        "choices": [first, *own.pop("choices", ()), *_other_choices(response)],
        "usage": usage_written(response.usage) if response.usage is not None else None,
    }
    return msgspec.json.encode({**written, **own})


def _choice(text: str, finish: FinishReason | None, index: int = 0) -> dict[str, Any]:
    reason = None if finish is None else WRITTEN_FINISH.get(finish, "stop")
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _other_choices(response: CompletionResponse) -> list[dict[str, Any]]:
    """Those of a chat that was asked for several."""
    others = kept(response.extra, chat.DIALECT).get("choices")
    written = []
    for index, said in enumerate(others if isinstance(others, list) else (), start=1):
        choice = object_of(said)
        text, reason = text_of(object_of(choice.get("message")).get("content")), text_of(choice.get("finish_reason"))
        written.append(_choice(text or "", chat.finish_of(reason), index))
    return written


class CompletionStreamEncoder:
    """Text deltas are written between the two prepared halves of a chunk."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._halves = (b"", b"")
        self._shown: set[int] = set()

    def encode(self, event: StreamEvent) -> bytes:
        match event:
            case PartDelta():
                return self._said(event.text) if event.index in self._shown else b""
            case PartStart(part=Text() | Refusal() as part):
                self._shown.add(event.index)
                return self._said(part.text)
            case MessageStart():
                self._head = {
                    "id": event.id or "cmpl-unnamed",
                    "object": "text_completion",
                    "created": event.created_s or 0,
                    "model": event.model,
                }
                before, _, after = self._chunk(_choice("\0", None)).rpartition(b'"\\u0000"')
                self._halves = before, after
                return b""
            case MessageEnd():
                return self._end(event)
            case _:
                return b""

    def _said(self, text: str) -> bytes:
        if not text:
            return b""
        before, after = self._halves
        written = encode(text)
        return before + (written if written.isascii() else on_one_line(written)) + after

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return encode_event(encode({**self._head, "choices": [choice]}))

    def _end(self, event: MessageEnd) -> bytes:
        written = self._chunk(_choice("", event.finish_reason or FinishReason.STOP))
        if self._include_usage and event.usage is not None:
            written += encode_event(encode({**self._head, "choices": [], "usage": usage_written(event.usage)}))
        return written + b"data: [DONE]\n\n"

    def error(self, error: SpineError, request_id: str) -> bytes:
        return encode_event(encode(error_written(error, request_id)))


def stream_encoder(request: CompletionRequest) -> CompletionStreamEncoder:
    options = kept(request.extra, DIALECT).get("stream_options")
    wants_usage = isinstance(options, dict) and options.get("include_usage") is True
    return CompletionStreamEncoder(include_usage=wants_usage)
