"""OpenAI's embeddings, `POST {base_url}/embeddings`, both ends.

A provider is asked for base64 only if the caller asked for it; either is understood. Inputs are texts
or token ids, which LangChain sends. An error is the chat's.

Sources: platform.openai.com/docs/api-reference/embeddings (2026-11), "any array must be 2048 dimensions or less";
alibabacloud.com/help/en/model-studio/embedding-interfaces-compatible-with-openai (2026-11), the column of batch sizes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.openai_chat import inbound, outbound
from genai_spine.dialects.openai_chat import schema as chat
from genai_spine.dialects.openai_chat.usage import usage_of, usage_written
from genai_spine.dialects.reading import Reader, kind_of
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.wire import json

DIALECT = "openai_embeddings"
PATH = "/embeddings"

decode_error = outbound.decode_error
encode_error = inbound.encode_error


class Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class Reply(msgspec.Struct):
    data: list[Item] | None = None
    model: str | None = None
    id: str | None = None
    usage: Any = None
    error: Any = None


FEWER_INPUTS = {
    "text-embedding-v1": 25,
    "text-embedding-v2": 25,
    "text-embedding-v3": 10,
    "text-embedding-v4": 10,
}
"""Alibaba's models, of which no other service has one by such a name."""

_READ = (*Reply.__struct_fields__, "object")

_reply = msgspec.json.Decoder(Reply)


# ---------------------------------------------------------------- to a provider


def most_inputs(target: Target) -> int:
    """How many inputs one request may hold."""
    return FEWER_INPUTS.get(target.model, 2048)


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    notices: list[Notice] = []
    body: dict[str, Any] = {"model": target.model, "input": request.input}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    vectors.add_members(body, request, DIALECT, notices)
    for name in target.quirks.drop:
        if body.pop(name, None) is not None:
            notices.append(Notice(code="dropped", message=f"the provider refuses {name}", param=name))
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(notices))


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Vectors in the order of the inputs; that they are as many, `vectors.matched` checks.

    Raises: BadReply; the provider's error where a 200 carries one.
    """
    reply = json.decode_outbound(body, _reply)
    if reply.error and not reply.data:
        raise chat.error_of({"error": reply.error}, None, {})
    if reply.data is None:
        raise BadReply("embeddings without data")
    left = {name: value for name, value in json.OBJECT.decode(body).items() if name not in _READ}
    members = unknown(json.decode_outbound(json.encode(left), json.ANY), ())
    return EmbeddingResponse(
        model=reply.model or target.model,
        embeddings=tuple(vectors.vector_of(item.embedding) for item in _in_order(reply.data)),
        usage=input_usage_of(reply.usage),
        id=reply.id,
        extra=keep(DIALECT, members),
    )


def _in_order(items: list[Item]) -> list[Item]:
    """By index; as they came where a service numbers none of them."""
    if all(item.index is None for item in items):
        return items
    ordered = sorted(items, key=lambda item: -1 if item.index is None else item.index)
    if [item.index for item in ordered] != list(range(len(items))):
        raise BadReply("vectors whose index does not tell which input they are of")
    return ordered


def input_usage_of(counted: Any) -> TokenUsage | None:
    """Voyage and Jina count `total_tokens` only, which here are the input's (recordings, 2026-11)."""
    usage = usage_of(counted)
    if usage is None or usage.input_tokens is not None:
        return usage
    return msgspec.structs.replace(usage, input_tokens=count_of(counted.get("total_tokens")))


# ---------------------------------------------------------------- from a caller


def decode_request(body: bytes) -> EmbeddingRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    inputs = _inputs(request)
    if (wanted := request.text("encoding_format")) not in (None, "float", "base64"):
        raise request.wrong("encoding_format", "expected float or base64")
    decoded = EmbeddingRequest(
        input=inputs,
        model=request.text("model"),
        provider=request.text("provider") if isinstance(request.peek("provider"), str) else None,
        dimensions=request.integer("dimensions", least=1),
        user=request.text("user"),
        provider_hint=request.text("provider_hint"),
        cost_limit=request.amount("cost_limit"),
    )
    request.take("fallbacks")  # ours, never forwarded: vectors of two models cannot be mixed
    members = request.rest() | ({"encoding_format": wanted} if wanted is not None else {})
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, members))


def _inputs(request: Reader) -> tuple[str | tuple[int, ...], ...]:
    """A text, texts, a list of token ids, or lists of them."""
    value = request.take("input")
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        what = "an empty array" if value == [] else kind_of(value)
        raise request.wrong("input", f"expected a string or an array, got {what}")
    if all(type(item) is int for item in value):
        value = [value]
    for index, item in enumerate(value):
        if isinstance(item, str):
            continue
        if not isinstance(item, list) or not item or any(type(token) is not int for token in item):
            raise request.wrong(f"input[{index}]", f"expected a string or token ids, got {kind_of(item)}")
    return tuple(item if isinstance(item, str) else tuple(item) for item in value)


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    in_base64 = kept(request.extra, DIALECT).get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": vectors.packed(vector) if in_base64 else vector}
        for index, vector in enumerate(response.embeddings)
    ]
    usage = response.usage
    written: dict[str, Any] = {"object": "list", "data": data, "model": response.model}
    if response.id is not None:
        written["id"] = response.id
    written["usage"] = _usage_written(usage) if usage is not None else None
    return json.encode(extend(written, response.extra, DIALECT))


def _usage_written(usage: TokenUsage) -> dict[str, Any]:
    written = usage_written(usage)
    del written["completion_tokens"]
    return written
