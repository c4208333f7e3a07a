"""Gemini on Vertex AI: the same dialect, but for counting, whose question holds instructions and tools at the top
(the published discovery document of aiplatform.googleapis.com v1, CountTokensRequest; recorded).

Its base URL ends in `/publishers/google`, below which its paths are those of the Gemini API.
"""

from __future__ import annotations

from genai_spine.dialects.gemini import schema as wire
from genai_spine.dialects.gemini.outbound import (
    DIALECT,
    PATH,
    concerns,
    counted,
    decode_count_response,
    decode_embedded_error,
    decode_error,
    decode_response,
    decode_usage,
    encode_request,
    path,
    stream_decoder,
)
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json

__all__ = [
    "DIALECT",
    "PATH",
    "concerns",
    "decode_count_response",
    "decode_embedded_error",
    "decode_error",
    "decode_response",
    "decode_usage",
    "encode_count_request",
    "encode_request",
    "path",
    "stream_decoder",
]


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """The question how many input tokens the request has. Raises: InvalidRequest, as `encode_request` does."""
    body = json.encode(counted(request, target))
    return Outgoing(path=wire.method_path(target.model, "countTokens"), body=body)
