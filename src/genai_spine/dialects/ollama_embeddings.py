"""Answering a caller of Ollama's older embeddings, `POST /api/embeddings`: one prompt, one vector.

Inbound only: every Ollama that we speak to has `/api/embed`.
Source: docs.ollama.com/api, "superseded by /api/embed" (2026-11).
"""

from __future__ import annotations

from genai_spine.dialects import ollama_embed
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.wire import json

DIALECT = ollama_embed.DIALECT

encode_error = ollama_embed.encode_error


def decode_request(body: bytes) -> EmbeddingRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    return ollama_embed.embedding_request(request, (request.text("prompt", required=True),))


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    return json.encode({"embedding": response.embeddings[0] if response.embeddings else ()})
