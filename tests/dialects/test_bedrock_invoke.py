"""Every recorded exchange with Bedrock's InvokeModel: Claude's messages, streams and embeddings; and Vertex's twin."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from bedrock_exchanges import BedrockExchange, each, payloads
from recorded_exchanges import ROOT

from genai_spine.dialects import bedrock_embeddings, bedrock_invoke, bedrock_models, vertex_anthropic
from genai_spine.dialects.anthropic_messages import inbound as anthropic_inbound
from genai_spine.dialects.anthropic_messages import outbound as anthropic
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.model.card import ModelCard
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import (
    BadReply,
    BadRequest,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.wire.eventstream import encode_message
from genai_spine.wire.sse import encode_event

NOT_MESSAGES = ("meta.", "amazon.", "cohere.", "ai21.", "us.mistral.", "anthropic.claude-instant", "us.cohere.")
"""Makers whose own formats InvokeModel takes; what is asked of their models goes through Converse."""
COMPLETIONS = "prompt"
"""Claude 2's older format."""

TARGET = Target(card=ModelCard(id="us.anthropic.claude-sonnet-4-20250514-v1:0"))


def is_messages(exchange: BedrockExchange) -> bool:
    said = exchange.request or {}
    return not exchange.model.startswith(NOT_MESSAGES) and "messages" in said and COMPLETIONS not in said


def events_of(body: bytes) -> list[bytes]:
    return [base64.b64decode(payload["bytes"]) for kind, payload in payloads(body) if kind == "chunk"]


def answer(exchange: BedrockExchange, size: int | None = None) -> CompletionResponse:
    if not exchange.streamed:
        return bedrock_invoke.decode_response(exchange.body, exchange.target)
    decoder = bedrock_invoke.stream_decoder(exchange.target)
    body, size = exchange.body, size or len(exchange.body)
    events = [event for start in range(0, len(body), size) for event in decoder.feed(body[start : start + size])]
    return collect([*events, *decoder.close()])


@each("invoke", "invoke_stream")
def test_every_recorded_answer_of_claudes_is_anthropics_own(exchange: BedrockExchange) -> None:
    if exchange.status != 200 or not is_messages(exchange):
        return
    response = answer(exchange)
    assert response.finish_reason not in (None, "other")
    if not exchange.streamed:
        assert response == anthropic.decode_response(exchange.body, exchange.target)
        return
    assert response == answer(exchange, 1) == answer(exchange, 89)
    decoder = anthropic.stream_decoder(exchange.target)
    told = collect([*decoder.feed(b"".join(map(encode_event, events_of(exchange.body)))), *decoder.close()])
    assert (response.parts, response.usage, response.id) == (told.parts, told.usage, told.id)
    metrics = json.loads(events_of(exchange.body)[-1])["amazon-bedrock-invocationMetrics"]
    assert kept(response.extra, "anthropic_messages")["amazon-bedrock-invocationMetrics"] == metrics


def as_sent(body: Any) -> Any:
    """What may differ: one text for a list of one, and what says nothing."""
    if isinstance(body, list):
        return [as_sent(item) for item in body]
    if not isinstance(body, dict):
        return body
    nothing = [("tools", []), ("is_error", False)]
    body = {key: as_sent(value) for key, value in body.items() if value is not None and (key, value) not in nothing}
    for key in ("content", "system"):
        blocks = body.get(key)
        if isinstance(blocks, list) and len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
            body[key] = blocks[0]["text"]
    return body


@each("invoke", "invoke_stream")
def test_every_recorded_request_to_claude_is_written_as_it_was_read(exchange: BedrockExchange) -> None:
    if exchange.status != 200 or not is_messages(exchange):
        return
    said = {**exchange.request}
    version, betas = said.pop("anthropic_version"), said.pop("anthropic_beta", None)
    stream = exchange.path.endswith("-stream")
    extra = {"betas": betas} if betas else {}
    told = json.dumps({**said, **extra, "model": exchange.model, "stream": stream}).encode()
    request = anthropic_inbound.decode_request(told)
    sent = bedrock_invoke.encode_request(request, exchange.target, stream=stream)
    expected = {**said, "anthropic_version": version} | ({"anthropic_beta": betas} if betas else {})
    assert as_sent(json.loads(sent.body)) == as_sent(expected)
    assert sent.path.replace("%3A", ":") == exchange.path.replace("%3A", ":")
    assert sent.headers == ()


@each("invoke", "invoke_stream")
def test_streams_of_other_makers_models_are_refused_and_nothing_else(exchange: BedrockExchange) -> None:
    if exchange.status != 200 or is_messages(exchange):
        return
    with pytest.raises(BadReply):
        answer(exchange)


def test_betas_go_into_the_body() -> None:
    request = CompletionRequest(
        messages="Hi",  # type: ignore[arg-type]
        extra={"anthropic_messages": {"betas": ["interleaved-thinking-2025-05-14", "other-beta"]}},  # type: ignore[dict-item]
    )
    sent = bedrock_invoke.encode_request(request, TARGET, stream=True)
    assert json.loads(sent.body)["anthropic_beta"] == ["interleaved-thinking-2025-05-14", "other-beta"]
    assert sent.path == "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/invoke-with-response-stream"


def frame(kind: str, name: str, payload: Any) -> bytes:
    return encode_message({":message-type": kind, f":{kind}-type": name}, json.dumps(payload).encode())


def chunk(event: Any) -> bytes:
    return frame("event", "chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


START = chunk({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}})


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (frame("exception", "throttlingException", {"message": "Too many"}), RateLimitError),
        (frame("exception", "modelStreamErrorException", {"message": "no", "originalStatusCode": 500}), ServerError),
        (frame("exception", "serviceUnavailableException", {"message": "Busy"}), Overloaded),
        (frame("exception", "validationException", {"message": "Wrong"}), BadRequest),
        (chunk({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Overloaded),
        (frame("event", "chunk", {"bytes": "***"}), BadReply),
        (frame("event", "chunk", {"no": "bytes"}), BadReply),
        (frame("event", "chunk", {"bytes": base64.b64encode(b"{").decode()}), BadReply),
        (b"", StreamBroken),
        (START[:20], StreamBroken),
    ],
)
def test_what_goes_wrong_in_a_stream_is_an_error(bad: bytes, kind: type[Exception]) -> None:
    decoder = bedrock_invoke.stream_decoder(TARGET)
    decoder.feed(START)
    with pytest.raises(kind):
        _ = [*decoder.feed(bad), *decoder.close()]


def test_messages_of_other_types_are_passed_over() -> None:
    decoder = bedrock_invoke.stream_decoder(TARGET)
    assert decoder.feed(frame("event", "initial-response", {})) == []


# ---------------------------------------------------------------- Vertex


def test_the_same_request_on_vertex() -> None:
    request = CompletionRequest(messages="Hi", max_tokens=10)  # type: ignore[arg-type]
    target = Target(card=ModelCard(id="claude-sonnet-4@20250514"))
    sent = vertex_anthropic.encode_request(request, target, stream=False)
    assert sent.path == "/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict"
    body = {"max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], "anthropic_version": "vertex-2023-10-16"}
    assert json.loads(sent.body) == body
    streamed = vertex_anthropic.encode_request(request, target, stream=True)
    assert streamed.path == "/publishers/anthropic/models/claude-sonnet-4@20250514:streamRawPredict"
    assert json.loads(streamed.body) == {**body, "stream": True}
    counted = vertex_anthropic.encode_count_request(request, target)
    assert counted.path == "/publishers/anthropic/models/count-tokens:rawPredict"
    assert json.loads(counted.body)["model"] == "claude-sonnet-4@20250514"
    assert vertex_anthropic.decode_count_response(b'{"input_tokens": 8}') == 8


def test_a_model_of_any_name_stays_in_its_place_in_the_path() -> None:
    request = CompletionRequest(messages="Hi")  # type: ignore[arg-type]
    target = Target(card=ModelCard(id="a/../b?c#d"))
    assert vertex_anthropic.encode_request(request, target, stream=False).path.count("/") == 4
    assert bedrock_invoke.encode_request(request, target, stream=False).path == "/model/a%2F..%2Fb%3Fc%23d/invoke"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            403,
            b'{"error": {"code": 403, "message": "Denied", "status": "PERMISSION_DENIED"}}',
            PermissionDenied,
            "Denied",
        ),
        (429, b'[{"error": {"code": 429, "message": "Quota"}}]', RateLimitError, "Quota"),
        (400, b'{"type": "error", "error": {"type": "invalid_request_error", "message": "No"}}', BadRequest, "No"),
        (502, b"<html>", ServerError, "HTTP 502"),
    ],
)
def test_vertex_errors_are_googles_or_anthropics(status: int, body: bytes, kind: type, message: str) -> None:
    error = vertex_anthropic.decode_error(status, {}, body)
    assert (type(error), error.status_code) == (kind, status)
    assert message in error.message


# ---------------------------------------------------------------- embeddings


def embedding_request(body: dict[str, Any]) -> EmbeddingRequest:
    """A recorded request as a caller here would make it: what is not of every maker stands in `extra`."""
    said = json.loads(json.dumps(body))
    single = said.get("singleEmbeddingParams", {})
    text = said.pop("inputText", None) or single.get("text", {}).get("value")
    texts = said.pop("texts", None) or [text]
    dimensions = (
        said.pop("dimensions", None) or said.pop("output_dimension", None) or single.pop("embeddingDimension", None)
    )
    return EmbeddingRequest(
        input=tuple(texts),
        dimensions=dimensions,
        extra={"bedrock_embeddings": said} if said else None,  # type: ignore[dict-item]
    )


@each("invoke")
def test_every_recorded_embedding_is_asked_and_read(exchange: BedrockExchange) -> None:
    if "embed" not in exchange.model:
        return
    request = embedding_request(exchange.request)
    sent = bedrock_embeddings.encode_request(request, exchange.target)
    assert json.loads(sent.body) == exchange.request
    assert sent.notices == ()
    assert sent.path.replace("%3A", ":") == exchange.path.replace("%3A", ":")
    response = bedrock_embeddings.decode_response(exchange.body, exchange.target)
    assert len(response.embeddings) == len(request.input)
    said = json.loads(exchange.body)
    if request.dimensions is not None:
        assert {len(vector) for vector in response.embeddings} == {request.dimensions}
    if "inputTextTokenCount" in said:
        assert response.usage is not None
        assert response.usage.input_tokens == said["inputTextTokenCount"]
    vectors = said.get("embeddings") or [said["embedding"]]
    vectors = vectors["float"] if isinstance(vectors, dict) else vectors
    plain = [vector["embedding"] if isinstance(vector, dict) else vector for vector in vectors]
    assert [list(vector) for vector in response.embeddings] == plain


def embed_target(model: str) -> Target:
    return Target(card=ModelCard(id=model))


def test_what_a_model_for_embeddings_does_not_take_is_told() -> None:
    request = EmbeddingRequest(input=("a",), dimensions=256, user="me")
    sent = bedrock_embeddings.encode_request(request, embed_target("amazon.titan-embed-text-v1"))
    assert json.loads(sent.body) == {"inputText": "a"}
    assert [notice.param for notice in sent.notices] == ["dimensions", "user"]
    sent = bedrock_embeddings.encode_request(request, embed_target("eu.cohere.embed-v4:0"))
    assert json.loads(sent.body) == {"texts": ["a"], "input_type": "search_document", "output_dimension": 256}
    assert [(notice.code, notice.param) for notice in sent.notices] == [("dropped", "user"), ("changed", "input_type")]


def test_titan_takes_an_image_beside_the_text_or_alone() -> None:
    image = {"bedrock_embeddings": {"inputImage": "aGk="}}
    target = embed_target("amazon.titan-embed-image-v1")
    both = EmbeddingRequest(input=("a",), dimensions=256, extra=image)  # type: ignore[arg-type]
    assert json.loads(bedrock_embeddings.encode_request(both, target).body) == {
        "inputText": "a",
        "inputImage": "aGk=",
        "embeddingConfig": {"outputEmbeddingLength": 256},
    }
    alone = EmbeddingRequest(input=("",), extra=image)  # type: ignore[arg-type]
    assert json.loads(bedrock_embeddings.encode_request(alone, target).body) == {"inputImage": "aGk="}


@pytest.mark.parametrize(
    ("request_", "model", "why"),
    [
        (EmbeddingRequest(input=("a", "b")), "amazon.titan-embed-text-v2:0", "takes 1 to 1 texts a request"),
        (EmbeddingRequest(input=("a",) * 97), "cohere.embed-v4:0", "takes 1 to 96 texts"),
        (EmbeddingRequest(input=()), "cohere.embed-v4:0", "takes 1 to 96 texts"),
        (EmbeddingRequest(input=((1, 2),)), "cohere.embed-v4:0", "no token ids"),
        (EmbeddingRequest(input=("a",)), "amazon.titan-text-express-v1", "how it takes texts is not known"),
    ],
)
def test_what_cannot_be_embedded_is_refused(request_: EmbeddingRequest, model: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        bedrock_embeddings.encode_request(request_, embed_target(model))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"{",
        b'{"embedding":[]}',
        b'{"embedding":"x"}',
        b'{"embedding":[1,null]}',
        b'{"embeddings":{"int8":[[1]]}}',
        b'{"embeddings":[{}]}',
        b'{"embeddings":7}',
        b'{"message":"no"}',
    ],
)
def test_what_are_no_embeddings_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        bedrock_embeddings.decode_response(body, embed_target("amazon.titan-embed-text-v2:0"))


# ---------------------------------------------------------------- models


def test_the_recorded_list_of_models_is_read() -> None:
    found = sorted((ROOT / "exchanges" / "bedrock").glob("models-chatlas*.json"))
    if not found:
        pytest.skip(f"no recordings in {ROOT}")
    body = json.loads(found[0].read_text())["response"]["body"]
    cards, said = bedrock_models.decode_models(body.encode()), json.loads(body)["modelSummaries"]
    assert [(card.id, card.name, card.owned_by) for card in cards] == [
        (each["modelId"], each["modelName"], each["providerName"]) for each in said
    ]
    assert all(
        card.capabilities.images == ("IMAGE" in each["inputModalities"]) for card, each in zip(cards, said, strict=True)
    )
    assert [kept(card.extra, "bedrock_converse")["modelArn"] for card in cards] == [each["modelArn"] for each in said]
    again = bedrock_models.decode_models(bedrock_models.encode_models(cards))
    assert [(card.id, card.name, card.capabilities) for card in again] == [
        (card.id, card.name, card.capabilities) for card in cards
    ]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"modelSummaries": 1}', b"x"])
def test_what_is_no_list_of_models_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        bedrock_models.decode_models(body)
