"""Anthropic's Messages on Google's Vertex AI: `POST {base_url}/publishers/anthropic/models/{model}:rawPredict`, and
`:streamRawPredict` with Anthropic's own server-sent events. The base URL ends in
`/v1/projects/{project}/locations/{location}`. Betas stay a header. Outbound only.

Sources (read 2026-11): docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude, and as
anthropic_hosted.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from genai_spine.dialects.anthropic_hosted import hosted_body
from genai_spine.dialects.anthropic_messages import outbound as anthropic
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.errors import ProviderError
from genai_spine.model.request import CompletionRequest
from genai_spine.wire import json

DIALECT = "vertex_anthropic"
PATH = "/publishers/anthropic/models/{model}:rawPredict"
"""Nothing is relayed: the body of Anthropic's callers is not the one that goes."""
VERSION = "vertex-2023-10-16"

decode_response = anthropic.decode_response
decode_usage = anthropic.decode_usage
decode_embedded_error = anthropic.decode_embedded_error
decode_count_response = anthropic.decode_count_response
stream_decoder = anthropic.stream_decoder


def encode_request(request: CompletionRequest, target: Target, *, stream: bool) -> Outgoing:
    """`stream` is said in the address and in the body. Raises: InvalidRequest, as to Anthropic itself."""
    outgoing = anthropic.encode_request(request, target, stream=stream)
    operation = "streamRawPredict" if stream else "rawPredict"
    return _hosted(outgoing, quote(target.model, safe="@"), operation, without=("model",))


def encode_count_request(request: CompletionRequest, target: Target) -> Outgoing:
    """The model stands in the body here."""
    return _hosted(anthropic.encode_count_request(request, target), "count-tokens", "rawPredict", without=())


def _hosted(outgoing: Outgoing, model: str, operation: str, *, without: tuple[str, ...]) -> Outgoing:
    body = json.join_object(hosted_body(outgoing, VERSION, without=without))
    path = f"/publishers/anthropic/models/{model}:{operation}"
    return Outgoing(path=path, body=body, headers=outgoing.headers, notices=outgoing.notices)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Anthropic's error, or Google's, which may stand in an array: [{"error": {"code", "message", "status"}}]."""
    try:
        members = msgspec.json.decode(body)
    except json.UNREADABLE:
        members = None
    if isinstance(members, list) and members:
        body = json.encode(members[0])
    return anthropic.decode_error(status, headers, body)


def concerns(members: Mapping[str, msgspec.Raw], quirks: Quirks) -> bool:
    return True
