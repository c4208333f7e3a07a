"""Hugging Face's embeddings, `POST /hf-inference/models/{model}/pipeline/feature-extraction`, both ends.

    {"inputs": ["one text", "another"], "normalize": true}   ->   [[0.1, …], [0.3, …]]

The answer is the vectors and nothing else: no model, no counts. A model that does not pool gives a vector for
each token, which is refused: how its vectors become one is the model's own affair (its README), not ours to guess.

Source: huggingface.co/docs/inference-providers/tasks/feature-extraction, its published schema (2026-11).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from genai_spine.dialects import hf_text_generation, vectors
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import Notice
from genai_spine.wire import json

DIALECT = "hf_feature_extraction"
PATH = "/hf-inference/models/{model}/pipeline/feature-extraction"

decode_error = hf_text_generation.decode_error

_rows = msgspec.json.Decoder(list[msgspec.Raw])


# ---------------------------------------------------------------- to a provider


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids, and for a model's name that would lead to another path."""
    if not {".", ".."}.isdisjoint(target.model.split("/")):  # no quoting helps: servers take dots out of paths
        raise InvalidRequest(f'no model is called "{target.model[:200]}"', param="model")
    notices: list[Notice] = []
    for index, item in enumerate(request.input):
        if not isinstance(item, str):
            place = f"input[{index}]"
            raise InvalidRequest(f"{place}: feature extraction takes texts, not token ids; send the text", param=place)
    if request.dimensions is not None:
        notices.append(Notice(code="dropped", message="feature extraction takes no dimensions", param="dimensions"))
    if request.user is not None:
        notices.append(Notice(code="dropped", message="feature extraction takes no user id", param="user"))
    body: dict[str, Any] = {"inputs": request.input}
    vectors.add_members(body, request, DIALECT, notices)
    path = PATH.replace("{model}", quote(target.model, safe="/"))
    return Outgoing(path=path, body=json.encode(body), notices=tuple(notices))


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Raises: BadReply, also for one vector a token in place of one a text."""
    rows = json.decode_outbound(body, _rows)
    for row in rows:
        if bytes(row).lstrip()[1:].lstrip().startswith(b"["):
            raise BadReply(
                f"{target.model} answers with one vector a token: name a model that pools them, "
                "such as one of sentence-transformers",
                retryable=False,
            )
    return EmbeddingResponse(model=target.model, embeddings=tuple(map(vectors.vector_of, rows)))


# ---------------------------------------------------------------- from a caller


def decode_request(body: bytes) -> EmbeddingRequest:
    """The model stands in the path. Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    inputs = request.strings("inputs")
    if not inputs:
        raise request.wrong("inputs", "expected a string or an array of strings")
    return EmbeddingRequest(input=inputs, extra=keep(DIALECT, request.rest()))


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    return json.encode(response.embeddings)
