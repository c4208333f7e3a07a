"""Ollama's embeddings, `POST /api/embed`, both ends. Texts only, floats only.

`truncate`, `keep_alive` and `options` are kept as members of this dialect. The older
`POST /api/embeddings` is in ollama_embeddings.py. An error is the chat's.

Source: docs.ollama.com/api/embed (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend, keep
from genai_spine.dialects.ollama_chat import inbound, outbound
from genai_spine.dialects.ollama_chat.schema import NULL, unread
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.wire import json

DIALECT = "ollama_embed"
PATH = "/api/embed"

decode_error = outbound.decode_error
encode_error = inbound.encode_error


class Reply(msgspec.Struct):
    model: str | None = None
    embeddings: list[msgspec.Raw] | None = None
    embedding: msgspec.Raw = NULL
    """What `/api/embeddings` answers."""
    prompt_eval_count: int | None = None


_reply = msgspec.json.Decoder(Reply)


# ---------------------------------------------------------------- to a provider


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids."""
    notices: list[Notice] = []
    for index, item in enumerate(request.input):
        if not isinstance(item, str):
            raise InvalidRequest(
                f"input[{index}]: Ollama takes texts, not token ids; send the text", param=f"input[{index}]"
            )
    body: dict[str, Any] = {"model": target.model, "input": request.input}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        notices.append(Notice(code="dropped", message="Ollama takes no user id", param="user"))
    vectors.add_members(body, request, DIALECT, notices)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(notices))


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Raises: BadReply."""
    reply = json.decode_outbound(body, _reply)
    found = [reply.embedding] if reply.embedding != NULL else reply.embeddings
    if found is None:
        raise BadReply("embeddings without embeddings")
    count = reply.prompt_eval_count
    members = unread(body, Reply.__struct_fields__)
    return EmbeddingResponse(
        model=reply.model or target.model,
        embeddings=tuple(map(vectors.vector_of, found)),
        usage=TokenUsage(input_tokens=count) if count is not None and count >= 0 else None,
        extra=keep(DIALECT, members),
    )


# ---------------------------------------------------------------- from a caller


def decode_request(body: bytes) -> EmbeddingRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    inputs = request.strings("input")
    if not inputs:
        raise request.wrong("input", "expected a string or an array of strings")
    return embedding_request(request, inputs)


def embedding_request(request: Reader, inputs: tuple[str, ...]) -> EmbeddingRequest:
    """What both of Ollama's endpoints say alike."""
    decoded = EmbeddingRequest(
        input=inputs,
        model=request.text("model"),
        provider=request.text("provider") if isinstance(request.peek("provider"), str) else None,
        dimensions=request.integer("dimensions", least=1),
        provider_hint=request.text("provider_hint"),
        cost_limit=request.amount("cost_limit"),
    )
    request.take("fallbacks")  # ours, never forwarded: vectors of two models cannot be mixed
    members = {name: value for name, value in request.rest().items() if value != {}}
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, members))


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    written: dict[str, Any] = {"model": response.model, "embeddings": response.embeddings}
    extend(written, response.extra, DIALECT)
    for duration in ("total_duration", "load_duration"):
        written.setdefault(duration, 0)
    if response.usage is not None and response.usage.input_tokens is not None:
        written["prompt_eval_count"] = response.usage.input_tokens
    return json.encode(written)
