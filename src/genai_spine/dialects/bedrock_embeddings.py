"""Embeddings on Bedrock, `POST {base_url}/model/{modelId}/invoke`: each maker's own format, told by the model's name.

    amazon.titan-embed-text-v1   {"inputText": "…"}                                        one text a request
    amazon.titan-embed-text-v2   {"inputText": "…", "dimensions": 256, "normalize": true}  one text a request
    amazon.titan-embed-image-v1  {"inputText": "…", "embeddingConfig": {"outputEmbeddingLength": 256}}
    amazon.nova-…-embeddings     {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {…}}
    cohere.embed-…               {"texts": ["…", …], "input_type": "search_document"}      96 texts a request

`most_inputs` tells how many texts a request may hold; whoever sends more makes several requests of them. An
image goes to Titan as the member `inputImage` of the request's `extra`. Outbound; errors are Converse's.

Sources (read 2026-11): docs.aws.amazon.com/bedrock/latest/userguide/{model-parameters-titan-embed-text,
model-parameters-titan-embed-mm, model-parameters-embed}.html, docs.aws.amazon.com/nova/latest/userguide/
embeddings-schema.html, and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from genai_spine.dialects import vectors
from genai_spine.dialects.bedrock_converse import errors
from genai_spine.dialects.bedrock_ids import bare_id, path_of
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply, InvalidRequest
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.wire import json

DIALECT = "bedrock_embeddings"

decode_error = errors.decode_error

# Required by all of Cohere's models since version 3, and by Nova: what most people embed texts for.
_INPUT_TYPE = "search_document"
_PURPOSE = "GENERIC_INDEX"


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One maker's format. `write` makes a body of the texts and the dimensions asked for."""

    write: Callable[[tuple[str, ...], int | None], dict[str, Any]]
    most_inputs: int
    takes_dimensions: bool = True


def _titan(texts: tuple[str, ...], dimensions: int | None) -> dict[str, Any]:
    return {"inputText": texts[0]} | ({"dimensions": dimensions} if dimensions is not None else {})


def _titan_image(texts: tuple[str, ...], dimensions: int | None) -> dict[str, Any]:
    written: dict[str, Any] = {"inputText": texts[0]} if texts[0] else {}
    return written | ({"embeddingConfig": {"outputEmbeddingLength": dimensions}} if dimensions is not None else {})


def _nova(texts: tuple[str, ...], dimensions: int | None) -> dict[str, Any]:
    text = {"truncationMode": "NONE", "value": texts[0]}
    written: dict[str, Any] = {"embeddingPurpose": _PURPOSE, "text": text}
    if dimensions is not None:
        written["embeddingDimension"] = dimensions
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": written}


def _cohere(texts: tuple[str, ...], dimensions: int | None) -> dict[str, Any]:
    written: dict[str, Any] = {"texts": texts, "input_type": _INPUT_TYPE}
    return written | ({"output_dimension": dimensions} if dimensions is not None else {})


_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("amazon.titan-embed-text-v1", Family(write=_titan, most_inputs=1, takes_dimensions=False)),
    ("amazon.titan-embed-g1-text", Family(write=_titan, most_inputs=1, takes_dimensions=False)),
    ("amazon.titan-embed-text", Family(write=_titan, most_inputs=1)),
    ("amazon.titan-embed-image", Family(write=_titan_image, most_inputs=1)),
    ("amazon.nova", Family(write=_nova, most_inputs=1)),
    ("cohere.embed-english-v3", Family(write=_cohere, most_inputs=96, takes_dimensions=False)),
    ("cohere.embed-multilingual-v3", Family(write=_cohere, most_inputs=96, takes_dimensions=False)),
    ("cohere.embed", Family(write=_cohere, most_inputs=96)),
)


def _family_of(model: str) -> Family:
    name = bare_id(model)
    for beginning, family in _FAMILIES:
        if name.startswith(beginning):
            return family
    known = ", ".join(beginning for beginning, _ in _FAMILIES)
    raise InvalidRequest(f"{model}: how it takes texts is not known; known are models of {known}", param="model")


def most_inputs(target: Target) -> int:
    """How many texts one request may hold. Raises: InvalidRequest for a model of no known format."""
    return _family_of(target.model).most_inputs


def encode_request(request: EmbeddingRequest, target: Target) -> Outgoing:
    """Raises: InvalidRequest for token ids, for more texts than one request holds, and for a model of no known
    format."""
    family = _family_of(target.model)
    texts = tuple(text for text in request.input if isinstance(text, str))
    if len(texts) < len(request.input):
        raise InvalidRequest("input: the models of Bedrock take texts only, no token ids", param="input")
    if not 0 < len(texts) <= family.most_inputs:
        raise InvalidRequest(f"input: {target.model} takes 1 to {family.most_inputs} texts a request", param="input")
    notices: list[Notice] = []
    dimensions = request.dimensions
    if dimensions is not None and not family.takes_dimensions:
        notices.append(Notice(code="dropped", message="the model takes no dimensions", param="dimensions"))
        dimensions = None
    if request.user is not None:
        notices.append(Notice(code="dropped", message="the service takes no user", param="user"))
    body = family.write(texts, dimensions)
    own = kept(request.extra, DIALECT)
    if body.get("input_type") is not None and "input_type" not in own:
        message = f"input_type is required here: sent {_INPUT_TYPE}"
        notices.append(Notice(code="changed", message=message, param="input_type"))
    _overwrite(body, own)
    vectors.add_members(body, request, DIALECT, notices)
    return Outgoing(path=path_of(target.model, "invoke"), body=json.encode(body), notices=tuple(notices))


def _overwrite(written: dict[str, Any], members: dict[str, Any]) -> None:
    """The caller's own word stands over what had to be said in its place; objects are merged."""
    for name, value in members.items():
        present = written.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            _overwrite(present, value)
        else:
            written[name] = value


# ---------------------------------------------------------------- answer


class _Item(msgspec.Struct):
    embedding: msgspec.Raw


class _Reply(msgspec.Struct):
    """Of every maker; each has some of these."""

    embedding: msgspec.Raw = msgspec.Raw(b"")
    embeddings: msgspec.Raw = msgspec.Raw(b"")
    inputTextTokenCount: Any = None
    id: str | None = None
    response_type: str | None = None
    message: Any = None


class _ByType(msgspec.Struct):
    float: list[msgspec.Raw] | None = None


_reply = msgspec.json.Decoder(_Reply)
_LISTS = msgspec.json.Decoder(list[msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[_Item])
_BY_TYPE = msgspec.json.Decoder(_ByType)


def decode_response(body: bytes, target: Target) -> EmbeddingResponse:
    """Raises: BadReply; also where no vectors of floats were asked for, which is all that the middle holds."""
    reply = json.decode_outbound(body, _reply)
    rest = {"response_type": reply.response_type} if reply.response_type is not None else {}
    count = count_of(reply.inputTextTokenCount)
    return EmbeddingResponse(
        model=target.model,
        embeddings=tuple(vectors.vector_of(raw) for raw in _vectors(reply)),
        usage=TokenUsage(input_tokens=count) if count is not None else None,
        id=reply.id,
        extra=keep(DIALECT, rest),
    )


def _vectors(reply: _Reply) -> list[msgspec.Raw]:
    """One vector; a list of them; a list for each type, of which `float` is read; or a list of objects."""
    if reply.embedding:
        return [reply.embedding]
    start = bytes(reply.embeddings).lstrip()
    try:
        if start.startswith(b"{"):
            found = _BY_TYPE.decode(start).float
            if found is None:
                raise BadReply("embeddings without vectors of floats")
            return found
        if start[1:].lstrip().startswith(b"{"):
            return [item.embedding for item in _ITEMS.decode(start)]
        if start:
            return _LISTS.decode(start)
    except json.UNREADABLE as error:
        raise json.bad_reply(error, start) from None
    raise BadReply(f"an answer without embeddings: {str(reply.message)[:200]}")
