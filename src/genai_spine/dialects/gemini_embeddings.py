"""Gemini's embeddings, `POST {base_url}/models/{model}:batchEmbedContents`, both ends.

    {"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "…"}]},
                   "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 768}]}
    {"embeddings": [{"values": [0.1, …]}]}

Every vector is asked for in one batch, one text as well. A caller's single `embedContent` is read and answered by
gemini_embed_content.py. An error is the chat's.

A content of several parts has one vector, of all of them (Google's Python client sends a list of texts so to
gemini-embedding-2; 3.4.0, 2026-11). They are one text of as many lines here, and kept beside it in `extra` as `parts`,
the texts of each content, so that they reach this service as they came.

Sources: ai.google.dev/api/embeddings (2026-11); "at most 100 requests can be in one batch", as the service answers
(github.com/vercel/ai/pull/16575, 2026-07).
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.gemini import errors, inbound, outbound
from genai_spine.dialects.gemini.schema import in_camel, method_path, objects, resource_of, usage_of, usage_written
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend, keep, unknown
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import Notice
from genai_spine.wire import json

DIALECT = "gemini_embeddings"

decode_error = outbound.decode_error
encode_error = inbound.encode_error


class Embedding(msgspec.Struct):
    values: msgspec.Raw


class Reply(msgspec.Struct, rename="camel"):
    embeddings: list[Embedding] | None = None
    embedding: Embedding | None = None
    usage_metadata: Any = None
    error: Any = None


_READ = ("embeddings", "embedding", "usageMetadata", "error")

_reply = msgspec.json.Decoder(Reply)


# ---------------------------------------------------------------- to a provider


def most_inputs(target: Target) -> int:
    """How many texts one batch may hold."""
    return 100


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids."""
    notices: list[Notice] = []
    more: dict[str, Any] = {}
    if request.dimensions is not None:
        more["outputDimensionality"] = request.dimensions
    if request.user is not None:
        notices.append(Notice(code="dropped", message="the service takes no user", param="user"))
    vectors.add_members(more, request, DIALECT, notices)
    contents = more.pop("parts", None) or [[text] for text in texts_of(request)]
    if len(contents) != len(request.input):
        raise InvalidRequest(f"requests: at most {most_inputs(target)} whose contents have several parts")
    asked = [
        {"model": resource_of(target.model), "content": {"parts": [{"text": text} for text in texts]}, **more}
        for texts in contents
    ]
    path = method_path(target.model, "batchEmbedContents")
    return Outgoing(path=path, body=json.encode({"requests": asked}), notices=tuple(notices))


def texts_of(request: EmbeddingRequest) -> list[str]:
    """Raises: InvalidRequest."""
    texts: list[str] = []
    for index, item in enumerate(request.input):
        if not isinstance(item, str):
            raise InvalidRequest(f"input[{index}]: the service takes texts, no token ids", param=f"input[{index}]")
        texts.append(item)
    return texts


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """The vectors of a batch, or the one of `embedContent`.

    Raises: BadReply; the provider's error where a 200 carries one.
    """
    reply = json.decode_outbound(body, _reply)
    if reply.error:
        raise errors.error_of({"error": reply.error}, None, {})
    found = reply.embeddings
    if found is None:
        if reply.embedding is None:
            raise BadReply("embeddings without embeddings")
        found = [reply.embedding]
    left = {name: value for name, value in json.OBJECT.decode(body).items() if name not in _READ}
    return EmbeddingResponse(
        model=target.model,
        embeddings=tuple(vectors.vector_of(item.values) for item in found),
        usage=usage_of(reply.usage_metadata),
        extra=keep(DIALECT, unknown(json.decode_outbound(json.encode(left), json.ANY), ())),
    )


# ---------------------------------------------------------------- from a caller


def decode_request(body: bytes) -> EmbeddingRequest:
    """A batch; the model stands in the URL (`inbound.addressed`) or in each request.

    What is asked of one text must be asked of all: a batch goes to a provider as one. Raises: InvalidRequest.
    """
    request = in_camel(Reader(json.decode_inbound(body, json.ANY), ""))
    asked = [in_camel(item) for item in objects(request, "requests", required=True)]
    if not asked:
        raise request.wrong("requests", "at least one is required")
    models = {item.text("model") for item in asked} - {None}
    contents = [read_texts(item) for item in asked]
    rests = [item.rest() for item in asked]
    for item, rest in zip(asked, rests, strict=True):
        if rest != rests[0]:
            reason = "asks for something else than the first of the batch: send it on its own"
            raise InvalidRequest(f"{item.path}: {reason}", param=item.path)
    own = request.text("model")
    if own is None and len(models) > 1:
        raise request.wrong("requests", "a batch is of one model")
    request.boolean("stream")  # of `inbound.addressed`
    decoded = read_rest(request, contents, own or (models.pop() if models else None), rests[0])
    request.take("fallbacks")  # ours, never forwarded: vectors of two models cannot be mixed
    for name in request.rest():
        raise request.wrong(name, "a batch has no such member: say it in each of its requests")
    return decoded


def read_texts(item: Reader) -> list[str]:
    """The texts of a content. Raises: InvalidRequest for anything else."""
    content = in_camel(item.object("content", required=True))
    parts = [in_camel(part) for part in objects(content, "parts", required=True)]
    for part in parts:
        if not part.has("text"):
            raise part.wrong("text", "missing: only text can be embedded here")
    return [part.text("text", required=True) for part in parts]


def read_rest(request: Reader, contents: list[list[str]], model: str | None, rest: dict[str, Any]) -> EmbeddingRequest:
    """The request of these contents' texts; `rest` is what is asked of each. Raises: InvalidRequest."""
    item = Reader(rest, "")
    own = {"parts": contents} if any(len(texts) > 1 for texts in contents) else {}
    dimensions = item.integer("outputDimensionality", least=1)
    return EmbeddingRequest(
        input=["\n".join(texts) for texts in contents],
        model=model.removeprefix("models/") if model is not None else None,
        provider=request.text("provider"),
        dimensions=dimensions,
        provider_hint=request.text("providerHint"),
        cost_limit=request.amount("costLimit"),
        extra=keep(DIALECT, item.rest() | own),
    )


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    return json.encode(finished({"embeddings": [{"values": vector} for vector in response.embeddings]}, response))


def finished(written: dict[str, Any], response: EmbeddingResponse) -> dict[str, Any]:
    if usage := usage_written(response.usage):
        written["usageMetadata"] = {name: usage[name] for name in usage if name != "totalTokenCount"}
    return extend(written, response.extra, DIALECT)
