"""A simulated Hugging Face beside its OpenAI dialect: feature extraction, and text generation as TGI does it.

Text generation names no model: it is `sim-echo`. `sim-tokens` makes one vector a token.

Source: huggingface.co/docs/inference-providers/tasks/text-generation and /feature-extraction (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from genai_spine.dialects import hf_feature_extraction
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Text
from genai_spine.model.errors import BadRequest, InvalidRequest, Overloaded, RateLimitError, SpineError
from genai_spine.model.events import PartDelta
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.providers.simulated import answer_to, embedding_to, events_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.faults import Fault
from genai_spine.testing.simulator.routes import Asked, Row
from genai_spine.wire import json, sse

_MODEL = "sim-echo"
_FINISHES = {FinishReason.LENGTH: "length"}


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    match error:
        case InvalidRequest() | BadRequest():
            kind, status = "validation", 422
        case Overloaded() | RateLimitError():
            kind, status = "overloaded", 429
        case _:
            kind, status = "generation", status_for_caller(error)
    return status, json.encode({"error": error.message, "error_type": kind})


def _generate(*, in_list: bool, streams: bool | None = None) -> Callable[[Received], Asked]:
    """`streams` None: the body says it, as the task API has it."""

    def ask(received: Received) -> Asked:
        body = Reader(json.decode_inbound(received.body, json.ANY), "")
        request = _request_of(body)
        is_stream = body.boolean("stream") is True if streams is None else streams

        def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
            response = answer_to(msgspec.structs.replace(request, model=model))
            if is_stream and fault.body != "plain":
                return Answer(pieces=_frames(response), streamed=True, content_type=b"text/event-stream")
            written: Any = {"generated_text": response.content, "details": _details(response, whole=True)}
            return Answer(pieces=(json.encode([written] if in_list else written),))

        def error(failed: SpineError) -> bytes:
            return sse.encode_event(encode_error(failed, received.request_id)[1])

        return Asked(model=_MODEL, answer=answer, error=error if is_stream else None)

    return ask


def _request_of(body: Reader) -> CompletionRequest:
    parameters = body.object("parameters")
    message = Message(role="user", content=(Text(text=body.text("inputs", required=True)),))
    limit = parameters.integer("max_new_tokens", least=1) if parameters is not None else None
    return CompletionRequest(messages=(message,), model=_MODEL, max_tokens=limit)


def _details(response: CompletionResponse, *, whole: bool) -> dict[str, Any]:
    usage = response.usage
    counted: dict[str, Any] = {"generated_tokens": (usage.output_tokens if usage else None) or 0}
    finish = _FINISHES.get(response.finish_reason or FinishReason.STOP, "eos_token")
    if whole:
        return {"finish_reason": finish, **counted, "seed": 7, "prefill": [], "tokens": []}
    return {"finish_reason": finish, **counted, "seed": 7, "input_length": usage.input_tokens if usage else 0}


def _frames(response: CompletionResponse) -> list[bytes]:
    texts = [event.text for event in events_of(response) if isinstance(event, PartDelta)]
    frames = [_token(index, text, special=False) for index, text in enumerate(texts, 1)]
    end = _token(len(texts) + 1, "</s>", special=True)
    end |= {"generated_text": response.content, "details": _details(response, whole=False)}
    return [sse.encode_event(json.encode(frame)) for frame in (*frames, end)]


def _token(index: int, text: str, *, special: bool) -> dict[str, Any]:
    token = {"id": index, "text": text, "logprob": -0.5, "special": special}
    return {"index": index, "token": token, "generated_text": None, "details": None}


def _extract(received: Received) -> Asked:
    request = hf_feature_extraction.decode_request(received.body)
    name = received.path.partition("/models/")[2].partition("/pipeline/")[0]

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        response = embedding_to(msgspec.structs.replace(request, model=model))
        if name.endswith("sim-tokens"):
            return Answer(pieces=(json.encode([[vector] for vector in response.embeddings]),))
        return Answer(pieces=(hf_feature_extraction.encode_response(response, request),))

    return Asked(model=name, answer=answer)


ROWS: tuple[Row, ...] = (
    ("POST", "/", _generate(in_list=True), encode_error),
    ("POST", "/generate", _generate(in_list=False, streams=False), encode_error),
    ("POST", "/generate_stream", _generate(in_list=False, streams=True), encode_error),
    ("POST", "/hf-inference/models/*", _extract, encode_error),
)
