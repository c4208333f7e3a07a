"""A simulated Gemini: its model and its method stand in the path, below /v1beta (and /v1, which newer SDKs ask).

Chat and vectors are read and written by the dialects' own inbound halves; here is what they are found by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from genai_spine.dialects import gemini_models
from genai_spine.dialects.gemini import inbound
from genai_spine.model.errors import BadRequest, ModelNotFound
from genai_spine.providers.simulated import MODELS, card_of
from genai_spine.providers.simulated_usage import input_tokens_of
from genai_spine.testing.simulator.answers import Received
from genai_spine.testing.simulator.routes import Asked, Row, fixed

encode_error = inbound.encode_error

Ask = Callable[[Received], Asked]


def rows(chat: Ask, embed_batch: Ask, embed_one: Ask) -> tuple[Row, ...]:
    """The rows of this service; what its methods are asked with is the simulator's own."""
    ask = _by_method(
        {
            "generateContent": chat,
            "streamGenerateContent": chat,
            "batchEmbedContents": embed_batch,
            "embedContent": embed_one,
            "countTokens": fixed(_count),
        }
    )
    return (
        ("POST", "/v1beta/models/*", ask, encode_error),
        ("POST", "/v1/models/*", ask, encode_error),
        ("GET", "/v1beta/models", fixed(encode_models), encode_error),
        ("GET", "/v1beta/models/*", fixed(encode_model), encode_error),
    )


def _by_method(methods: Mapping[str, Ask]) -> Ask:
    def ask(received: Received) -> Asked:
        model, method = inbound.split_path(unquote(received.path).partition("/models/")[2])
        if (found := methods.get(method)) is None:
            raise BadRequest(f"{received.path}: there is no such method", status_code=404, code="NOT_FOUND")
        body = inbound.addressed(received.body, model, stream=method == "streamGenerateContent")
        return found(msgspec.structs.replace(received, body=body))

    return ask


def _count(received: Received) -> bytes:
    return inbound.encode_count_response(input_tokens_of(inbound.decode_count_request(received.body)))


def is_asked_by(received: Received) -> bool:
    """Three SDKs ask /v1/models; they differ in their headers."""
    return received.header("x-goog-api-client") is not None


def encode_models(received: Received) -> bytes:
    return gemini_models.encode_models([card_of(model) for model in MODELS])


def encode_model(received: Received) -> bytes:
    name = unquote(received.path).partition("/models/")[2]
    if name.startswith("no-such"):
        raise ModelNotFound(f"models/{name} is not found for API version v1beta.", code="NOT_FOUND")
    return gemini_models.encode_model(card_of(name))
