"""Embeddings of Vertex AI, `POST {base_url}/models/{model}:predict`; outbound only.

    {"instances": [{"content": "…", "task_type": "RETRIEVAL_QUERY"}], "parameters": {"outputDimensionality": 768}}
    {"predictions": [{"embeddings": {"values": [0.1, …], "statistics": {"token_count": 4, "truncated": false}}}],
     "metadata": {"billableCharacterCount": 12}}

`taskType`, `title` and `autoTruncate` are taken as the Gemini API calls them, from `extra["gemini_embeddings"]`.
Sources: docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (2026-11), 250 texts a
request; recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.gemini import errors, outbound
from genai_spine.dialects.gemini.schema import method_path
from genai_spine.dialects.gemini_embeddings import DIALECT as OF_GEMINI
from genai_spine.dialects.gemini_embeddings import texts_of
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.wire import json

DIALECT = "vertex_embeddings"

decode_error = outbound.decode_error

_OF_INSTANCES = {"taskType": "task_type", "title": "title"}


class Statistics(msgspec.Struct, frozen=True):
    token_count: Any = None
    truncated: bool | None = None


class Embedding(msgspec.Struct):
    values: msgspec.Raw
    statistics: Statistics = Statistics()


class Prediction(msgspec.Struct):
    embeddings: Embedding


class Reply(msgspec.Struct):
    predictions: list[Prediction] | None = None
    metadata: Any = None
    error: Any = None


_reply = msgspec.json.Decoder(Reply)


def most_inputs(target: Target) -> int:
    """How many texts one request may hold."""
    return 250


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids."""
    notices: list[Notice] = []
    given: dict[str, Any] = {}
    vectors.add_members(given, request, OF_GEMINI, notices)
    if request.user is not None:
        notices.append(Notice(code="dropped", message="the service takes no user", param="user"))
    if given.pop("parts", None) is not None:
        notices.append(Notice(code="changed", message="a content's parts are sent as lines of one text", param="parts"))
    of_each = {theirs: given.pop(ours) for ours, theirs in _OF_INSTANCES.items() if ours in given}
    if request.dimensions is not None:
        given["outputDimensionality"] = request.dimensions
    body: dict[str, Any] = {"instances": [{"content": text, **of_each} for text in texts_of(request)]}
    if given:
        body["parameters"] = given
    return Outgoing(path=method_path(target.model, "predict"), body=json.encode(body), notices=tuple(notices))


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Raises: BadReply; the provider's error where a 200 carries one."""
    reply = json.decode_outbound(body, _reply)
    if reply.error:
        raise errors.error_of({"error": reply.error}, None, {})
    if reply.predictions is None:
        raise BadReply("embeddings without predictions")
    found = [prediction.embeddings for prediction in reply.predictions]
    counts = [count_of(each.statistics.token_count) for each in found]
    known = [count for count in counts if count is not None]
    return EmbeddingResponse(
        model=target.model,
        embeddings=tuple(vectors.vector_of(each.values) for each in found),
        usage=TokenUsage(input_tokens=sum(known)) if known and len(known) == len(counts) else None,
        notices=tuple(
            Notice(code="changed", message="the service read the beginning of the text only", param=f"input[{index}]")
            for index, each in enumerate(found)
            if each.statistics.truncated
        ),
        extra=keep(DIALECT, unknown({"metadata": reply.metadata}, ())),
    )
