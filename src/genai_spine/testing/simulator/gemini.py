"""A simulated Gemini: its model and its method stand in the path, below /v1beta (and /v1, which newer SDKs ask).

Chat and vectors are read and written by the dialects' own inbound halves; here is what they are found by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from genai_spine.dialects import gemini_models
from genai_spine.dialects.gemini import inbound
from genai_spine.dialects.gemini.json_array import JsonArray, wants_array
from genai_spine.model.errors import BadRequest, ModelNotFound, SpineError
from genai_spine.providers.simulated import MODELS, card_of
from genai_spine.providers.simulated_usage import input_tokens_of
from genai_spine.testing.simulator.answers import Answer, Received
from genai_spine.testing.simulator.faults import Fault
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
        is_stream = method == "streamGenerateContent"
        body = inbound.addressed(received.body, model, stream=is_stream)
        asked = found(msgspec.structs.replace(received, body=body))
        return _as_array(asked) if is_stream and wants_array(received.query) else asked

    return ask


def _as_array(asked: Asked) -> Asked:
    """The same stream without `alt=sse`: its last piece is the end of the array, as an error's is."""

    def answer(model: str | None, fault: Fault, words: str | None) -> Answer:
        made = asked.answer(model, fault, words)
        if not made.streamed:
            return made
        array = JsonArray()
        pieces = [array.add(piece) for piece in made.pieces]
        pieces[-1] += array.end()
        return msgspec.structs.replace(made, pieces=pieces, content_type=array.CONTENT_TYPE)

    def error(failed: SpineError) -> bytes:
        assert asked.error is not None, "streams have one"
        array = JsonArray()
        return b"\n,\n" + array.add(asked.error(failed)).removeprefix(b"[") + array.end()

    return msgspec.structs.replace(asked, answer=answer, error=error)


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
