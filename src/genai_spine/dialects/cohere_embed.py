"""Cohere's embeddings: `POST {base_url}/v2/embed`, both ends. An error is the chat's.

An input that is a `data:` URL of an image is embedded as that image; an image has no other way into a request.
`input_type` (search_document, search_query, classification, clustering, image), `embedding_types`, `truncate`,
`max_tokens` and `priority` are members of this dialect, given in `extra`. Of several `embedding_types` one is the
answer's, float before all others; the rest are kept in its `extra`. A request holds 96 texts, or 96 inputs of both
kinds, which models of version 3 do not take; alone in `images` there is one image.

    {"texts": […], "model", "input_type", "embedding_types": ["float"], "output_dimension"}
    {"id", "embeddings": {"float": [[…]]}, "texts", "meta": {"billed_units": {"input_tokens", "image_tokens"}}}

Source: docs.cohere.com/reference/embed (2026-11), and recordings, of `/v1/embed` too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.cohere_chat import outbound
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import extend, keep, kept, unknown
from genai_spine.dialects.reading import Reader
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import Notice, TokenUsage, UsageDetails
from genai_spine.wire import json

DIALECT = "cohere_embed"
PATH = "/v2/embed"

decode_error = outbound.decode_error

_TYPES = ("float", "base64", "int8", "uint8", "binary", "ubinary")  # base64 is of float32
_READ = ("id", "embeddings", "texts", "images", "meta", "response_type")
_MISSING = msgspec.Raw(b"null")


class Reply(msgspec.Struct):
    embeddings: msgspec.Raw = _MISSING
    """By type, or (version 1) the vectors alone."""
    id: str | None = None
    meta: Any = None


_reply = msgspec.json.Decoder(Reply)
_by_type = msgspec.json.Decoder(dict[str, list[msgspec.Raw] | None])
_alone = msgspec.json.Decoder(list[msgspec.Raw])


# ---------------------------------------------------------------- to Cohere


def most_inputs(target: Target) -> int:
    """How many inputs one request may hold."""
    return 96


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids, and for inputs in `extra`."""
    notices: list[Notice] = []
    own = kept(request.extra, DIALECT)
    body: dict[str, Any] = {"model": target.model, **_inputs(request, own)}
    if "input_type" not in own:
        kind = "image" if all(map(_is_image, map(str, request.input))) else "search_document"
        notices.append(Notice(code="changed", message=f"input_type is required here: sent {kind}", param="input_type"))
        body["input_type"] = kind
    body.setdefault("embedding_types", own.get("embedding_types") or ["float"])
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.user is not None:
        notices.append(Notice(code="dropped", message="Cohere takes no user id", param="user"))
    vectors.add_members(body, request, DIALECT, notices)
    return Outgoing(path=PATH, body=json.encode(body), notices=tuple(notices))


def _inputs(request: EmbeddingRequest, own: dict[str, Any]) -> dict[str, Any]:
    """Texts, one image, or several of either, which only embed-v4 and later take."""
    for name in ("texts", "images", "inputs"):
        if own.get(name):
            raise InvalidRequest(
                f"{name}: give texts, and images as data: URLs, in the request's own input", param=name
            )
    texts = [item for item in request.input if isinstance(item, str)]
    if len(texts) != len(request.input):
        raise InvalidRequest("input: Cohere takes texts, not token ids; send the text", param="input")
    images = [text for text in texts if _is_image(text)]
    if not images:
        return {"texts": texts}
    if len(texts) == 1:
        return {"images": images}
    return {"inputs": [{"content": [_content(text)]} for text in texts]}


def _is_image(text: str) -> bool:
    return text.startswith("data:image/")


def _content(text: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": text}} if _is_image(text) else {"type": "text", "text": text}


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Raises: BadReply."""
    reply = json.decode_outbound(body, _reply)
    others: dict[str, Any] = {}
    if bytes(reply.embeddings).startswith(b"["):
        found = json.decode_outbound(bytes(reply.embeddings), _alone)
    else:
        found, others = _by_first_type(bytes(reply.embeddings))
    members: dict[str, Any] = json.OBJECT.decode(body)
    rest = {name: value for name, value in members.items() if name not in _READ and value != _MISSING}
    if others:
        rest["embeddings"] = others
    return EmbeddingResponse(
        model=target.model,  # the answer does not name it
        embeddings=tuple(map(vectors.vector_of, found)),
        usage=_usage_of(reply.meta),
        id=reply.id or None,
        extra=keep(DIALECT, json.decode_outbound(json.encode(rest), json.ANY)),
    )


def _by_first_type(embeddings: bytes) -> tuple[list[msgspec.Raw], dict[str, Any]]:
    by_type = {} if embeddings == _MISSING else json.decode_outbound(embeddings, _by_type)
    chosen = next((kind for kind in _TYPES if by_type.get(kind)), None)
    if chosen is None:
        raise BadReply("embeddings without embeddings")
    found = by_type.pop(chosen)
    return found or [], {kind: listed for kind, listed in by_type.items() if listed}


def _usage_of(meta: Any) -> TokenUsage | None:
    """{"billed_units": {"input_tokens": 4, "image_tokens": 0}}: both are input, and those of images have a price of
    their own. Version 3 bills `images` one by one, at a price that is not stated (cohere.com/pricing, 2026-11)."""
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    if not isinstance(billed, dict) or not billed:
        return None
    texts, images = count_of(billed.get("input_tokens")), count_of(billed.get("image_tokens"))
    unpriced = ("images",) if images is None and billed.get("images") else ()
    return TokenUsage(
        input_tokens=None if texts is None and images is None else (texts or 0) + (images or 0),
        details=UsageDetails(image_input_tokens=images or None, unpriced=unpriced) if images or unpriced else None,
        provider_metadata=keep(
            DIALECT, {k: v for k, v in unknown(billed, ("input_tokens", "image_tokens")).items() if v != 0}
        ),
    )


# ---------------------------------------------------------------- from a caller


def decode_request(body: bytes) -> EmbeddingRequest:
    """Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    inputs = request.strings("texts") or request.strings("images")
    inputs = inputs or tuple(_input_of(entry) for entry in request.objects("inputs"))
    if not inputs:
        raise request.wrong("texts", "expected texts, images or inputs")
    decoded = EmbeddingRequest(
        input=inputs,
        model=request.text("model", required=True),
        dimensions=request.integer("output_dimension", least=1),
    )
    return msgspec.structs.replace(decoded, extra=keep(DIALECT, request.rest()))


def _input_of(entry: Reader) -> str:
    contents = entry.objects("content", required=True)
    if len(contents) != 1:
        raise entry.wrong("content", "expected one text or one image")
    (content,) = contents
    if content.text("type", required=True) == "image_url":
        return content.object("image_url", required=True).text("url", required=True)
    return content.text("text", required=True)


def encode_response(response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
    """Floats, whatever types were asked for."""
    usage = response.usage
    billed = {"input_tokens": usage.input_tokens} if usage is not None and usage.input_tokens is not None else {}
    written: dict[str, Any] = {
        "id": response.id or "",
        "embeddings": {"float": response.embeddings},
        "texts": [text for text in request.input if isinstance(text, str) and not _is_image(text)],
        "meta": {"api_version": {"version": "2"}, "billed_units": billed},
        "response_type": "embeddings_by_type",
    }
    return json.encode(extend(written, response.extra, DIALECT))
