"""Text Generation Inference's own paths, `POST /generate` and `POST /generate_stream`; all else is the task API.

Source: huggingface.co/docs/text-generation-inference and its openapi.json (2026-11).
"""

from __future__ import annotations

from genai_spine.dialects.hf_text_generation import (
    DIALECT,
    concerns,
    decode_embedded_error,
    decode_error,
    decode_response,
    decode_usage,
    stream_decoder,
    written,
)
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import extend
from genai_spine.dialects.turns import Writer
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json

__all__ = [
    "PATH",
    "concerns",
    "decode_embedded_error",
    "decode_error",
    "decode_response",
    "decode_usage",
    "encode_request",
    "stream_decoder",
]

PATH = "/generate"
STREAM_PATH = "/generate_stream"


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """Raises: InvalidRequest, as hf_text_generation."""
    writer = Writer("text generation", takes_images=False)
    body = extend(written(request, writer), request.extra, DIALECT)
    path = STREAM_PATH if stream else PATH
    return Outgoing(path=path, body=json.encode(body), notices=tuple(writer.notices))
