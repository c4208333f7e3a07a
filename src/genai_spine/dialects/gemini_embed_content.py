"""Gemini's embedding of one text, `POST /v1beta/models/{model}:embedContent`, as a caller asks for it.

    {"content": {"parts": [{"text": "…"}]}, "taskType": "RETRIEVAL_DOCUMENT", "title": "…"}
    {"embedding": {"values": [0.1, …]}}

To a provider everything goes in a batch (gemini_embeddings.py). Source: ai.google.dev/api/embeddings (2026-11).
"""

from __future__ import annotations

from genai_spine.dialects import gemini_embeddings as batch
from genai_spine.dialects.gemini.schema import in_camel
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.wire import json

DIALECT = batch.DIALECT

decode_error = batch.decode_error
encode_error = batch.encode_error
encode_request = batch.encode_request
decode_response = batch.decode_response

_OF_ALL = ("provider", "providerHint", "costLimit", "fallbacks")


def decode_request(body: bytes) -> EmbeddingRequest:
    """Raises: InvalidRequest, naming the place."""
    request = in_camel(Reader(json.decode_inbound(body, json.ANY), ""))
    request.boolean("stream")  # of `inbound.addressed`
    model = request.text("model")
    texts = batch.read_texts(request)
    rest = {name: value for name, value in request.rest().items() if name not in _OF_ALL}
    return batch.read_rest(request, [texts], model, rest)


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    return json.encode(batch.finished({"embedding": {"values": response.embeddings[0]}}, response))
