"""Vectors off the wire and onto it, for every dialect of embeddings.

A vector database does not tell a bad vector from a good one, so what is not surely a vector is refused:
numbers that are none, one vector a token, bytes of another type than float32.
"""

from __future__ import annotations

import binascii
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import BadReply
from genai_spine.model.response import Notice
from genai_spine.wire import json

Vector = tuple[float, ...]

_vector = msgspec.json.Decoder(Vector)
_LARGEST_COMPONENT = 1e6
"""No model's vectors come near it; bytes of another type, read as floats, go far beyond."""


def vector_of(raw: msgspec.Raw) -> Vector:
    """Numbers, or base64 of little-endian float32.

    Raises: BadReply.
    """
    text = bytes(raw).lstrip()
    if text.startswith(b'"'):
        return _unpacked(str(json.ANY.decode(text)))
    if text[1:].lstrip().startswith(b"["):
        raise BadReply(
            "the provider sent one vector a token in place of one a text: "
            "start the server with pooling (llama.cpp: --pooling mean)"
        )
    try:
        vector = _vector.decode(text)
    except json.UNREADABLE as error:
        raise BadReply(f"a vector that is no list of numbers ({str(error)[:100]})") from None
    return _checked(vector)


def _unpacked(text: str) -> Vector:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadReply("a vector that is not base64") from None
    if len(data) % 4:
        raise BadReply("a vector in base64 that is not float32")
    return _checked(tuple(_little_endian(array("f", data))))


def _checked(vector: Vector) -> Vector:
    if not vector:
        raise BadReply("an empty vector")
    if math.hypot(*vector) <= _LARGEST_COMPONENT:  # so each is; and it takes a tenth of the time to look at each
        return vector
    if not all(map(math.isfinite, vector)):
        raise BadReply("a vector with numbers that are not finite")
    if max(vector) > _LARGEST_COMPONENT or min(vector) < -_LARGEST_COMPONENT:
        # Perplexity sends base64 of int8 unless asked otherwise (recordings, 2026-11).
        raise BadReply("a vector with numbers beyond all measure: base64 of another type than float32?")
    return vector


def packed(vector: Sequence[float]) -> str:
    """Base64 of little-endian float32."""
    return b64encode(_little_endian(array("f", vector)).tobytes()).decode()


def _little_endian(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def matched(response: EmbeddingResponse, request: EmbeddingRequest) -> EmbeddingResponse:
    """The response, known to hold one vector an input; with a Notice where they are not as long as asked.

    The caller of `decode_response` calls this: only it knows the request.

    Raises: BadReply.
    """
    if len(response.embeddings) != len(request.input):
        raise BadReply(f"{len(response.embeddings)} vectors for {len(request.input)} inputs")
    lengths = {len(vector) for vector in response.embeddings}
    if len(lengths) > 1:
        raise BadReply("vectors of different lengths")
    if request.dimensions is None or lengths == {request.dimensions}:
        return response
    message = f"the provider answers with {lengths.pop()} dimensions"
    notice = Notice(code="changed", message=message, param="dimensions")
    return msgspec.structs.replace(response, notices=(*response.notices, notice))


# ---------------------------------------------------------------- members the model has no name for


def add_members(written: dict[str, Any], request: EmbeddingRequest, dialect: str, notices: list[Notice]) -> None:
    """Adds this dialect's members, and a Notice for each of another's."""
    for known_to in request.extra or ():
        for name, value in kept(request.extra, known_to).items():
            if known_to == dialect:
                written.setdefault(name, value)
            elif name not in _SAID_BY_US:
                message = f"{name} is known to {known_to} only"
                notices.append(Notice(code="dropped", message=message, param=name))


_SAID_BY_US = frozenset({"encoding_format"})  # whatever the provider sends, we answer in the caller's format
