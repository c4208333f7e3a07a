"""Every recorded exchange with Cohere: chat, embeddings, reranking, models; each request written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from recorded_exchanges import Exchange, each

from genai_spine.dialects import cohere_embed, cohere_models, cohere_rerank, jina_rerank, rankings
from genai_spine.dialects.cohere_chat import outbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.vectors import matched
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, Thinking
from genai_spine.model.errors import AuthenticationError, ModelNotFound, ProviderError, StreamBroken
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest
from genai_spine.model.response import CompletionResponse
from genai_spine.testing.simulator import cohere

TARGET = Target(card=ModelCard(id="asked-model"))

INVALID_TOOL = {
    "cohere-v2-chat-langchain-cohere-test-sql-agent": "message-end carries an error, INVALID_TOOL_GENERATION",
    "cohere-v2-chat-langchain-cohere-test-sql-agent-2": "message-end carries an error, INVALID_TOOL_GENERATION",
}
ERRORS: dict[int, type[ProviderError]] = {401: AuthenticationError, 404: ModelNotFound}


def short(exchange: Exchange) -> str:
    return exchange.name.partition("/")[2]


def is_stream(exchange: Exchange) -> bool:
    return not exchange.body.lstrip().startswith(b"{")


def read(body: bytes, size: int | None = None) -> CompletionResponse:
    decoder = outbound.stream_decoder(TARGET)
    pieces = [body] if size is None else [body[start : start + size] for start in range(0, len(body), size)]
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return collect([*events, *decoder.close()])


def answer(exchange: Exchange) -> CompletionResponse:
    return read(exchange.body) if is_stream(exchange) else outbound.decode_response(exchange.body, TARGET)


def whole(exchange: Exchange) -> dict[str, Any]:
    """The answer as one object: a stream put together as the documentation tells a client to."""
    if not is_stream(exchange):
        return dict(json.loads(exchange.body))
    found: dict[str, Any] = {}
    content: list[Any] = []
    calls: list[Any] = []
    citations: list[Any] = []
    plan = ""
    for line in exchange.body.decode().split("\n"):
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            continue
        event = json.loads(line[5:])
        message = (event.get("delta") or {}).get("message") or {}
        match event["type"]:
            case "message-start":
                found["id"] = event["id"]
            case "content-start":
                content.append(dict(message["content"]))
            case "content-delta":
                for kind, text in message["content"].items():
                    content[event["index"]][kind] += text
            case "tool-plan-delta":
                plan += message["tool_plan"]
            case "tool-call-start":
                calls.append(message["tool_calls"])
            case "tool-call-delta":
                calls[event["index"]]["function"]["arguments"] += message["tool_calls"]["function"]["arguments"]
            case "citation-start":
                citations.append(message["citations"])
            case "message-end":
                found |= event["delta"]
    return {**found, "message": {"content": content, "tool_plan": plan, "tool_calls": calls, "citations": citations}}


# ---------------------------------------------------------------- answers


@each("cohere_v2_chat", "cohere")
def test_every_recorded_answer_carries_all_that_it_said(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        said = json.loads(exchange.body)
        assert type(error) is ERRORS[exchange.status]
        assert (error.status_code, error.request_id) == (exchange.status, said["id"])
        assert error.message == said["message"]
        return
    if short(exchange) in INVALID_TOOL:
        with pytest.raises(StreamBroken, match="invalid tool generation") as raised:
            answer(exchange)
        assert (raised.value.code, raised.value.retryable) == ("INVALID_TOOL_GENERATION", True)
        return
    response, said = answer(exchange), whole(exchange)
    message = said["message"]
    texts = [entry["text"] for entry in message.get("content") or () if entry["type"] == "text"]
    thoughts = [entry["thinking"] for entry in message.get("content") or () if entry["type"] == "thinking"]
    plans = [message["tool_plan"]] if message.get("tool_plan") else []
    assert [part.text for part in response.parts if isinstance(part, Text)] == texts
    assert [part.text for part in response.parts if isinstance(part, Thinking)] == [*thoughts, *plans]
    calls = message.get("tool_calls") or []
    assert [(part.id, part.name, part.arguments) for part in response.tool_calls] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls
    ]
    cited = [
        citation
        for part in response.parts
        for citation in kept(part.provider_metadata, "cohere_chat").get("citations") or ()
    ]
    assert cited == (message.get("citations") or [])
    for part in response.parts:
        for citation in kept(part.provider_metadata, "cohere_chat").get("citations") or ():
            assert isinstance(part, Text)
            assert part.text[citation["start"] : citation["end"]] == citation["text"]
    assert response.id == said["id"]
    assert response.raw_finish_reason == said["finish_reason"]
    assert response.finish_reason not in (None, "other", "error")
    counted, usage = said["usage"], response.usage
    assert usage is not None
    assert usage.input_tokens == counted["billed_units"]["input_tokens"]
    assert usage.output_tokens == counted["billed_units"]["output_tokens"]
    rest = kept(usage.provider_metadata, "cohere_chat")
    assert rest["tokens"] == counted["tokens"]
    assert rest.get("cached_tokens") == counted.get("cached_tokens")
    assert usage.reasoning_tokens == counted["tokens"].get("reasoning_tokens")


@each("cohere_v2_chat", "cohere")
def test_every_recorded_stream_says_the_same_when_cut_into_pieces(exchange: Exchange) -> None:
    if exchange.status != 200 or not is_stream(exchange) or short(exchange) in INVALID_TOOL:
        return
    for size in (1, 7, 61, 1000):
        assert read(exchange.body, size) == answer(exchange)


@each("cohere_v2_chat", "cohere")
def test_the_plain_answer_of_every_recorded_stream_says_the_same(exchange: Exchange) -> None:
    if exchange.status != 200 or short(exchange) in INVALID_TOOL:
        return
    response = answer(exchange)
    again = outbound.decode_response(json.dumps(whole(exchange)).encode(), TARGET)
    assert msgspec.structs.replace(again, raw=None) == msgspec.structs.replace(response, raw=None)
    assert collect(replay(response)) == msgspec.structs.replace(response, raw=None)


@each("cohere_v2_chat", "cohere")
def test_every_recorded_answer_goes_back_as_it_came(exchange: Exchange) -> None:
    """As a turn of the conversation, whose other end reads the same parts."""
    if exchange.status != 200 or short(exchange) in INVALID_TOOL:
        return
    response = answer(exchange)
    sent = sent_of({"messages": [{"role": "assistant", "content": response.parts}], "model": "m"})
    (message,) = sent["messages"]
    said = {key: value for key, value in whole(exchange)["message"].items() if value and key != "role"}
    for call in said.get("tool_calls") or ():
        call["function"]["arguments"] = call["function"]["arguments"] or "{}"
    assert {**normalised(message), "role": "assistant"} == normalised({**said, "role": "assistant"})


def sent_of(request: dict[str, Any]) -> dict[str, Any]:
    asked = CompletionRequest(**request)
    return dict(json.loads(outbound.encode_request(asked, TARGET, stream=False).body))


# ---------------------------------------------------------------- requests: what may differ, and why


def _lone_text(node: dict[str, Any]) -> None:
    content = node.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        node["content"] = content[0]["text"]


def _empty_content(node: dict[str, Any]) -> None:
    if node.get("role") == "assistant" and node.get("content") == "" and len(node) > 2:
        del node["content"]


def _nothing(node: dict[str, Any]) -> None:
    for key in [key for key, value in node.items() if value is None or (value == [] and key != "required")]:
        del node[key]
    if node.get("stream") is False:
        del node["stream"]


def _schema(node: dict[str, Any]) -> None:
    if node.get("type") == "json_object" and "schema" in node:
        node["json_schema"] = node.pop("schema")


def _empty_text_of_a_document(node: dict[str, Any]) -> None:
    if node.get("text") == "" and "output" in node:
        del node["text"]


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _lone_text: "a string is the documented shorthand for one text; the shorter of the two is written",
    _empty_content: "an assistant's empty text beside its tool calls says nothing",
    _nothing: "null, an empty list of documents or citations, and stream false say nothing",
    _schema: "`schema` is the former name of `json_schema`",
    _empty_text_of_a_document: "a document without a text, which the simulator reads as one with an empty text",
}


def normalised(node: Any) -> Any:
    if isinstance(node, list):
        return [normalised(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: normalised(value) for key, value in node.items()}
    for normalisation in NORMALISATIONS:
        normalisation(node)
    return node


@each("cohere_v2_chat", "cohere")
def test_every_recorded_request_is_written_as_the_simulator_read_it(exchange: Exchange) -> None:
    if exchange.request is None:
        return
    request = cohere.decode_request(json.dumps(exchange.request).encode())
    target = Target(card=ModelCard(id=request.model or ""))
    sent = outbound.encode_request(request, target, stream=request.stream)
    assert normalised(json.loads(sent.body)) == normalised(exchange.request)
    assert sent.path == "/v2/chat"
    assert not sent.notices


# ---------------------------------------------------------------- embeddings


@each("embeddings", "cohere")
def test_every_recorded_embedding_is_read(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = cohere_embed.decode_error(exchange.status, {}, exchange.body)
        assert type(error) is ModelNotFound
        return
    said = json.loads(exchange.body)
    found = said["embeddings"]
    if isinstance(found, dict):
        (found,) = [listed for listed in found.values() if listed]
    request = cohere_embed.decode_request(json.dumps(exchange.request).encode())
    response = matched(cohere_embed.decode_response(exchange.body, TARGET), request)
    assert [list(vector) for vector in response.embeddings] == found
    assert not response.notices
    billed = said["meta"]["billed_units"]
    assert response.usage is not None
    assert response.usage.input_tokens == billed["input_tokens"] + billed.get("image_tokens", 0)
    assert response.id == said["id"]


@each("embeddings", "cohere")
def test_every_recorded_request_for_embeddings_is_written_as_it_was_read(exchange: Exchange) -> None:
    request = cohere_embed.decode_request(json.dumps(exchange.request).encode())
    sent = cohere_embed.encode_request(request, Target(card=ModelCard(id=request.model or "")))
    asked = {key: value for key, value in exchange.request.items() if value is not None}
    assert json.loads(sent.body) == {"embedding_types": ["float"], **asked}
    assert not sent.notices


# ---------------------------------------------------------------- reranking


def rerank_request(body: dict[str, Any]) -> RerankRequest:
    top_n = body.get("top_n") or body.get("top_k")
    return RerankRequest(query=body["query"], documents=body["documents"], top_n=top_n, model=body["model"])


@each("rerank", "cohere")
def test_every_recorded_reranking_by_cohere_is_read_and_asked_again(exchange: Exchange) -> None:
    request = rerank_request(exchange.request)
    response = rankings.ranked(cohere_rerank.decode_response(exchange.body, TARGET), request)
    said = json.loads(exchange.body)
    assert [(result.index, result.relevance_score) for result in response.results] == [
        (result["index"], result["relevance_score"]) for result in said["results"]
    ]
    assert all(result.document == request.documents[result.index] for result in response.results)
    assert response.usage is not None
    assert kept(response.usage.provider_metadata, "cohere_rerank") == said["meta"]["billed_units"]
    sent = cohere_rerank.encode_request(request, Target(card=ModelCard(id=request.model or "")))
    assert json.loads(sent.body) == {key: value for key, value in exchange.request.items() if value is not None}


@each("rerank", "llamacpp", "voyage")
def test_every_recorded_reranking_in_jinas_form_is_read_and_asked_again(exchange: Exchange) -> None:
    request = rerank_request(exchange.request)
    if exchange.status != 200:
        error = jina_rerank.decode_error(exchange.status, {}, exchange.body)
        assert error.status_code == exchange.status == 501
        assert "does not support reranking" in error.message
        return
    response = rankings.ranked(jina_rerank.decode_response(exchange.body, TARGET), request)
    said = json.loads(exchange.body)
    found = said.get("results") or said["data"]
    assert [(result.index, result.relevance_score) for result in response.results] == [
        (result["index"], result["relevance_score"]) for result in found
    ]
    assert response.model == said["model"]
    assert response.usage is not None
    assert response.usage.input_tokens == said["usage"]["total_tokens"]
    if exchange.provider == "llamacpp":  # Voyage has `top_k`
        sent = jina_rerank.encode_request(request, Target(card=ModelCard(id=request.model or "")))
        assert json.loads(sent.body) == exchange.request


# ---------------------------------------------------------------- models


@each("models", "cohere")
def test_every_recorded_model_is_read(exchange: Exchange) -> None:
    said = json.loads(exchange.body)
    (card,) = cohere_models.decode_models(json.dumps({"models": [said]}).encode())
    assert (card.id, card.context_window) == (said["name"], said["context_length"])
    assert card.capabilities.thinking == (("reasoning" in said["features"]) if "features" in said else None)


@each("cohere_v1_chat", "cohere")
def test_what_version_1_answers_is_no_answer_to_us(exchange: Exchange) -> None:
    """Version 1 is not spoken: dialects/cohere_chat/__init__.py says why. Its errors are read alike."""
    if exchange.status != 200:
        assert type(outbound.decode_error(exchange.status, {}, exchange.body)) is ModelNotFound
        return
    with pytest.raises(ProviderError):
        answer(exchange)
