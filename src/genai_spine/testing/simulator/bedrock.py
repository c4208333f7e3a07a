"""A simulated Bedrock: Converse and ConverseStream in real binary frames, Anthropic's messages and embeddings over
InvokeModel, CountTokens and the list of models.

The dialects of Bedrock only speak to it, so the other end stands here: bedrock_requests.py reads, and this writes
answers and streams. Signatures are not checked.

Source: as `genai_spine.dialects.bedrock_converse` (2026-11).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from genai_spine.dialects.anthropic_messages import inbound as anthropic
from genai_spine.dialects.bedrock_converse import blocks
from genai_spine.dialects.bedrock_converse.schema import STOP_REASONS
from genai_spine.dialects.bedrock_models import encode_models
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import (
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import InvalidRequest, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import replay
from genai_spine.model.request import (
    CompletionRequest,
)
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.providers.simulated import MODELS, answer_to, card_of, embedding_to, events_of
from genai_spine.providers.simulated_usage import input_tokens_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.bedrock_requests import decode_request as decode_request
from genai_spine.testing.simulator.bedrock_requests import request_of
from genai_spine.testing.simulator.faults import Fault
from genai_spine.testing.simulator.routes import Asked, Row, fixed
from genai_spine.wire import json
from genai_spine.wire.eventstream import CONTENT_TYPE, encode_message

STREAM_CONTENT_TYPE = CONTENT_TYPE.encode()

_STOPS = {finish: reason for reason, finish in reversed(STOP_REASONS.items())}


# ---------------------------------------------------------------- an answer


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    content = [block for part in response.parts if (block := _block(part)) is not None]
    return json.encode(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": _stop(response.finish_reason),
            "usage": _usage(response.usage),
            "metrics": {"latencyMs": 1},
        }
    )


def _block(part: Part) -> blocks.Block | None:
    match part:
        case Text() | Refusal():
            return blocks.text_block(part.text, part)
        case Thinking():
            return blocks.thinking_block(part)
        case ToolCall():
            return blocks.tool_use_block(part, msgspec.Raw(part.arguments.encode() or b"{}"))
        case Opaque(dialect="bedrock_converse"):
            return part.raw
        case _:
            return None


def _stop(reason: FinishReason | None) -> str:
    return _STOPS.get(reason or FinishReason.STOP, "end_turn")


def _usage(usage: TokenUsage | None) -> dict[str, int]:
    usage = usage or TokenUsage()
    cached = {"cacheReadInputTokens": usage.cache_read_tokens, "cacheWriteInputTokens": usage.cache_write_tokens}
    known = {name: count for name, count in cached.items() if count is not None}
    total, output = usage.input_tokens or 0, usage.output_tokens or 0
    fresh = max(0, total - sum(known.values()))
    return {"inputTokens": fresh, "outputTokens": output, "totalTokens": total + output, **known}


def encode_error(error: SpineError, request_id: str) -> tuple[int, bytes]:
    return status_for_caller(error), json.encode({"__type": _exception(error), "message": error.message})


_EXCEPTIONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}


def _exception(error: SpineError) -> str:
    status = status_for_caller(error)
    return _EXCEPTIONS.get(status, "ValidationException" if status < 500 else "InternalServerException")


# ---------------------------------------------------------------- a stream


class ConverseStreamEncoder:
    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}

    def encode(self, event: StreamEvent) -> bytes:
        return b"".join(self.frames(event))

    def frames(self, event: StreamEvent) -> list[bytes]:
        match event:
            case MessageStart():
                return [_frame("messageStart", {"role": "assistant"})]
            case PartStart():
                return self._part_start(event.index, event.part)
            case PartDelta():
                return [_delta(event.index, self._delta_of(event))]
            case PartEnd():
                return self._part_end(event)
            case MessageEnd():
                stop = _frame("messageStop", {"stopReason": _stop(event.finish_reason)})
                return [stop, _frame("metadata", {"usage": _usage(event.usage), "metrics": {"latencyMs": 1}})]

    def error(self, error: SpineError, request_id: str) -> bytes:
        return _failure(error)

    def _part_start(self, index: int, part: Part) -> list[bytes]:
        match part:
            case ToolCall():
                self._kinds[index] = "toolUse"
                start = {"toolUse": {"toolUseId": part.id, "name": part.name}}
                return [_frame("contentBlockStart", {"contentBlockIndex": index, "start": start})]
            case Thinking(redacted=None):
                self._kinds[index] = "reasoningContent"
            case Thinking():
                self._kinds[index] = "reasoningContent"
                hidden = blocks.thinking_block(part)
                assert isinstance(hidden, dict)
                return [_delta(index, hidden)]
            case _:
                self._kinds[index] = "text"
        return []

    def _delta_of(self, event: PartDelta) -> dict[str, Any]:
        match self._kinds[event.index]:
            case "toolUse":
                return {"toolUse": {"input": event.text}}
            case "reasoningContent":
                return {"reasoningContent": {"text": event.text}}
            case _:
                return {"text": event.text}

    def _part_end(self, event: PartEnd) -> list[bytes]:
        frames = [_frame("contentBlockStop", {"contentBlockIndex": event.index})]
        if event.signature is not None:
            frames.insert(0, _delta(event.index, {"reasoningContent": {"signature": event.signature}}))
        return frames


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def _frame(event: str, payload: dict[str, Any], kind: str = "event") -> bytes:
    headers = {f":{kind}-type": event, ":content-type": "application/json", ":message-type": kind}
    return encode_message(headers, json.encode({**payload, "p": "abcdefghij"[: len(event) % 10]}))


def _failure(error: SpineError) -> bytes:
    name = _exception(error)
    return _frame(name[:1].lower() + name[1:], {"message": error.message}, "exception")


def stream_encoder(request: CompletionRequest) -> ConverseStreamEncoder:
    return ConverseStreamEncoder()


# ---------------------------------------------------------------- the service


def _ask(received: Received) -> Asked:
    """`/model/{modelId}/{operation}`"""
    name, _, operation = received.path.removeprefix("/model/").rpartition("/")
    model = unquote(name)
    match operation:
        case "converse" | "converse-stream":
            return _converse(decode_request(received.body, model, stream=operation == "converse-stream"))
        case "invoke" if ".titan-embed" in model or ".embed-" in model:
            return _embed(received.body, model)
        case "invoke" | "invoke-with-response-stream":
            return _invoke(received.body, model, stream=operation != "invoke")
        case "count-tokens":
            return _count(received.body, model)
        case _:
            raise InvalidRequest(f"{received.path}: there is no such operation", status_code=404)


def _converse(request: CompletionRequest) -> Asked:
    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        response = _said(request, model, fault, words)
        if not request.stream or fault.body == "plain":
            return Answer(pieces=(encode_response(response, request),))
        encoder = ConverseStreamEncoder()
        return _streamed(frame for event in _events(response, fault) for frame in encoder.frames(event))

    return Asked(model=request.model, answer=answer, error=_failure if request.stream else None)


def _invoke(body: bytes, model: str, *, stream: bool) -> Asked:
    members = json.top_level(body)
    if "anthropic_version" not in members:
        raise InvalidRequest("anthropic_version: Field required", param="anthropic_version")
    del members["anthropic_version"]
    told = {"model": model, "stream": stream}
    request = anthropic.decode_request(json.merge(json.encode(told), json.join_object(members)))

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        response = _said(request, model, fault, words)
        if not stream or fault.body == "plain":
            return Answer(pieces=(anthropic.encode_response(response, request),))
        encoder = anthropic.stream_encoder(request)
        written = b"".join(encoder.encode(event) for event in _events(response, fault))
        return _streamed(_chunk(line[6:]) for line in written.splitlines() if line.startswith(b"data: "))

    return Asked(model=model, answer=answer, error=_failure if stream else None)


def _chunk(event: bytes) -> bytes:
    return _frame("chunk", {"bytes": base64.b64encode(event).decode()})


def _streamed(frames: Iterable[bytes]) -> Answer:
    return Answer(pieces=tuple(frames), streamed=True, content_type=STREAM_CONTENT_TYPE)


def _said(request: CompletionRequest, model: str | None, fault: Fault, words: str | None) -> CompletionResponse:
    response = answer_to(msgspec.structs.replace(request, model=model))
    if fault.huge is not None:
        words = "x" * fault.huge
    if words is not None:
        parts = (Text(text=words),)
        response = msgspec.structs.replace(response, parts=parts, finish_reason=FinishReason.STOP, stop_sequence=None)
    return msgspec.structs.replace(response, usage=None) if fault.usage == "missing" else response


def _events(response: CompletionResponse, fault: Fault) -> Iterable[StreamEvent]:
    return events_of(response) if fault.huge is None else replay(response)


def _embed(body: bytes, model: str) -> Asked:
    request = Reader(json.decode_inbound(body, json.ANY), "")
    is_titan = request.has("inputText")
    texts = (request.text("inputText", required=True),) if is_titan else request.strings("texts")
    dimensions = request.integer("dimensions", least=1) or request.integer("output_dimension", least=1)
    asked = EmbeddingRequest(input=texts, model=model, dimensions=dimensions)

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        made = embedding_to(msgspec.structs.replace(asked, model=model))
        if is_titan:
            count = made.usage.input_tokens if made.usage is not None else 0
            return Answer(pieces=(json.encode({"embedding": made.embeddings[0], "inputTextTokenCount": count}),))
        by_type = {"embeddings": {"float": made.embeddings}, "response_type": "embeddings_by_type", "texts": texts}
        return Answer(pieces=(json.encode(by_type),))

    return Asked(model=model, answer=answer)


def _count(body: bytes, model: str) -> Asked:
    asked = Reader(json.decode_inbound(body, json.ANY), "").object("input", required=True)
    if (conversation := asked.object("converse")) is not None:
        request = request_of(conversation, model)
    else:
        invoked = asked.object("invokeModel", required=True)
        members = json.top_level(blocks.decoded(invoked.text("body", required=True)))
        members.pop("anthropic_version", None)
        request = anthropic.decode_request(json.merge(json.encode({"model": model}), json.join_object(members)))
    counted = json.encode({"inputTokens": input_tokens_of(request)})
    return Asked(model=model, answer=lambda model, fault, words: Answer(pieces=(counted,)))


ROWS: tuple[Row, ...] = (
    ("POST", "/model/*", _ask, encode_error),
    ("GET", "/foundation-models", fixed(lambda _: encode_models([card_of(model) for model in MODELS])), encode_error),
)
