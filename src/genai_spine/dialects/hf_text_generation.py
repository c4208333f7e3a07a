"""Hugging Face's text generation: the task API of a dedicated endpoint or a TGI server, `POST {base_url}/`.

    {"inputs": "…", "parameters": {"max_new_tokens": 20, "details": true}, "stream": true}
    [{"generated_text": "…", "details": {"finish_reason": "eos_token", "generated_tokens": 12, …}}]
    data:{"index":1,"token":{"id":5,"text":" Hi","logprob":-0.1,"special":false},"generated_text":null,"details":null}
    data:{"index":2,"token":{"id":2,"text":"</s>",…,"special":true},"generated_text":" Hi","details":{…}}

It takes a prompt and knows no messages: a conversation is sent as dialects/turns.py writes it, without the model's
own chat template. Where a server has the messages API, openai_chat says more. The last event has the whole text
in `generated_text` and is the end; a whole answer counts no input tokens. tgi_generate.py is the same with TGI's
own paths. Spoken to only.

Sources: huggingface.co/docs/inference-providers/tasks/text-generation, its published schema; for errors
huggingface.co/docs/text-generation-inference and its openapi.json. All read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import failed, unreadable
from genai_spine.dialects.foreign import check_thread, foreign_to
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend, keep
from genai_spine.dialects.one_text import OneTextDecoder
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.turns import Writer
from genai_spine.model.content import Metadata, Text
from genai_spine.model.errors import (
    BadReply,
    BadRequest,
    InvalidRequest,
    Overloaded,
    ProviderError,
    ServerError,
)
from genai_spine.model.events import MessageEnd, StreamEvent
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent

DIALECT = "hf_text_generation"
PATH = "/"

FINISH_REASONS: dict[str, FinishReason] = {
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
}
PARAMETERS: dict[str, str] = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
}
"""A member of `parameters`, and the request's field of the same meaning."""

_MOST_STOPS = 4  # of the published schema
_CODES: Mapping[str, type[ProviderError]] = {
    "validation": BadRequest,
    "overloaded": Overloaded,
    "generation": ServerError,
    "incomplete_generation": ServerError,
}


# ---------------------------------------------------------------- request


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """Raises: InvalidRequest for what a prompt cannot hold: tools and their calls, images, documents, n > 1."""
    writer = Writer("text generation", takes_images=False)
    body = written(request, writer)
    body["stream"] = stream
    extend(body, request.extra, DIALECT)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(writer.notices))


def written(request: CompletionRequest, writer: Writer) -> dict[str, Any]:
    """`inputs` and `parameters`."""
    check_thread(DIALECT, request)
    if request.n is not None and request.n > 1:
        raise InvalidRequest("n: one answer a call; ask several times for several", param="n")
    writer.refuse_tools(request)
    talk = writer.talk(request.messages)
    if talk.system is not None:
        writer.notice("changed", "there is no system prompt here: it stands before the prompt", "messages")
    parameters: dict[str, Any] = {"details": True, "return_full_text": False}
    for name, field in PARAMETERS.items():
        if (value := getattr(request, field)) is not None and not _is_default(name, value):
            parameters[name] = value
    if request.stop:
        if len(request.stop) > _MOST_STOPS:
            writer.notice("changed", f"the first {_MOST_STOPS} stop sequences are sent", "stop")
        parameters["stop"] = request.stop[:_MOST_STOPS]
    if request.output_schema is not None:
        parameters["grammar"] = {"type": "json", "value": request.output_schema.schema or {"type": "object"}}
    for param in ("presence_penalty", "thinking", "user", "cache"):
        if getattr(request, param) is not None:
            writer.notice("dropped", f"text generation has no {param}", param)
    for found in foreign_to(DIALECT, request):
        writer.notice(found.code, found.message, found.param)
    return {"inputs": "\n\n".join(filter(None, (talk.system, talk.prompt))), "parameters": parameters}


def _is_default(name: str, value: float) -> bool:
    """What is said by saying nothing, and refused where it is said: no temperature is greedy, as 0 is; top_p 1
    takes every token."""
    return (name == "temperature" and value == 0) or (name == "top_p" and value == 1)


# ---------------------------------------------------------------- answer


class Token(msgspec.Struct):
    text: str = ""
    special: bool = False


class Details(msgspec.Struct):
    finish_reason: str | None = None
    generated_tokens: int | None = None
    input_length: int | None = None
    prefill: list[Any] | None = None
    seed: int | None = None


class Reply(msgspec.Struct):
    """An answer, or one event of a streamed one."""

    generated_text: str | None = None
    details: Details | None = None
    token: Token | None = None
    error: Any = None
    error_type: str | None = None


_reply = msgspec.json.Decoder(Reply)
_replies = msgspec.json.Decoder(Reply | list[Reply])


def decode_response(body: bytes, target: Target) -> CompletionResponse:
    """An answer, alone or as the only one of a list.

    Raises: BadReply; the provider's error where a 200 carries one.
    """
    found = json.decode_outbound(body, _replies)
    if isinstance(found, list):
        if len(found) != 1:
            raise BadReply(f"{len(found)} answers to one prompt")
        found = found[0]
    if found.error is not None:
        raise _error_inside(found)
    if found.generated_text is None:
        raise BadReply("an answer without generated_text")
    reason, usage, extra = _ending(found.details)
    return CompletionResponse(
        model=target.model,
        parts=(Text(text=found.generated_text),) if found.generated_text else (),
        finish_reason=FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else FinishReason.STOP,
        raw_finish_reason=reason,
        usage=usage,
        extra=extra,
        raw=msgspec.Raw(body),
    )


def _ending(details: Details | None) -> tuple[str | None, TokenUsage | None, Metadata | None]:
    if details is None:
        return None, None, None
    given = details.input_length if details.input_length is not None else len(details.prefill or ()) or None
    usage = TokenUsage(input_tokens=_count(given), output_tokens=_count(details.generated_tokens))
    extra = keep(DIALECT, {"seed": details.seed} if details.seed is not None else {})
    return details.finish_reason, None if usage == TokenUsage() else usage, extra


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= 10**12 else None


# ---------------------------------------------------------------- stream


class TokenStreamDecoder(OneTextDecoder):
    """Tokens to text; special ones, which end a text and are none of it, are left out."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._said = ""

    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        if self._is_done or event.data == b"[DONE]":
            return
        reply = json.decode_outbound(event.data, _reply)
        if reply.error is not None:
            raise _error_inside(reply)
        self._start(events)
        if reply.token is not None and not reply.token.special:
            self._said += reply.token.text
            self._write(reply.token.text, events)
        if reply.generated_text is not None:
            # Tokens that are a part of a character may come late: what they make is in the whole text.
            if reply.generated_text.startswith(self._said):
                self._write(reply.generated_text[len(self._said) :], events)
            self._finish(_end(reply), events)


def _end(reply: Reply) -> MessageEnd:
    reason, usage, extra = _ending(reply.details)
    finish = FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else FinishReason.STOP
    return MessageEnd(finish_reason=finish, raw_finish_reason=reason, usage=usage, extra=extra)


def stream_decoder(target: Target) -> TokenStreamDecoder:
    return TokenStreamDecoder(target)


# ---------------------------------------------------------------- errors


class Failure(msgspec.Struct):
    """{"error": "Input validation error: …", "error_type": "validation"}; while a model loads, `estimated_time`."""

    error: Any = None
    error_type: str | None = None
    estimated_time: float | None = None
    message: Any = None


_failure = msgspec.json.Decoder(Failure)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    try:
        failure = _failure.decode(body)
    except json.UNREADABLE:
        return unreadable(status, headers)
    said = failure.error if failure.error is not None else failure.message
    if said is None:
        return unreadable(status, headers)
    # 424 is a failure of the generation (TGI's openapi.json), which is no fault of the caller's.
    error = failed(
        500 if status == 424 else status, headers, message=_words(said), code=failure.error_type, codes=_CODES
    )
    if error.retry_after_s is None and failure.estimated_time is not None and 0 <= failure.estimated_time < 3600:
        error.retry_after_s = failure.estimated_time
    return error


def _error_inside(reply: Reply) -> ProviderError:
    """Of an answer whose status said nothing of it."""
    return failed(None, {}, message=_words(reply.error), code=reply.error_type, codes=_CODES)


def _words(said: Any) -> str:
    if isinstance(said, list) and all(isinstance(line, str) for line in said):
        return "; ".join(said)
    return said if isinstance(said, str) else json.encode(said).decode()


def decode_embedded_error(body: bytes) -> ProviderError | None:
    try:
        reply = _reply.decode(body)
    except json.UNREADABLE:
        return None
    return _error_inside(reply) if reply.error is not None else None


def decode_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        return _ending(_reply.decode(raw).details)[1]
    except json.UNREADABLE:
        return None


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    """No quirk is about this dialect."""
    return False
