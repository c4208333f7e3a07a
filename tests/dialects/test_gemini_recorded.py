"""Every recorded exchange with Gemini, on its own API and on Vertex: read, and each request written again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import msgspec
import pytest
from recorded_exchanges import ROOT, Exchange, each, exchanges

from genai_spine.dialects import gemini_models
from genai_spine.dialects.gemini import inbound, outbound, vertex
from genai_spine.dialects.gemini.json_schema import plain
from genai_spine.dialects.gemini.schema import camel
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Audio, Document, Image, Opaque
from genai_spine.model.errors import ContentFiltered, InvalidRequest
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="asked-model"))
ASKED = CompletionRequest(messages=())
each_recorded = each("generate_content", "gemini", "vertex")

# ---------------------------------------------------------------- what may differ, and why


def _names(node: dict[str, Any]) -> None:
    for key in [key for key in node if "_" in key and not key.startswith("$")]:
        node.setdefault(camel(key), node.pop(key))


def _nulls(node: dict[str, Any]) -> None:
    for key in [key for key, value in node.items() if value is None]:
        del node[key]


def _nothing(node: dict[str, Any]) -> None:
    for key in ("generationConfig", "thinkingConfig", "toolConfig", "args"):
        if node.get(key) == {}:
            del node[key]
    if node.get("tools") == []:
        del node["tools"]
    if node.get("thought") is False:
        del node["thought"]


def _whole_numbers(node: dict[str, Any]) -> None:
    for key in ("topK", "maxOutputTokens", "candidateCount"):
        if isinstance(node.get(key), float):
            node[key] = int(node[key])


def _capitals(node: dict[str, Any]) -> None:
    for key in ("thinkingLevel", "mode"):
        if isinstance(node.get(key), str):
            node[key] = node[key].upper()


def _role(node: dict[str, Any]) -> None:
    if "parts" in node and "role" not in node and "name" not in node:
        node["role"] = "user"


def _empty_thought(node: dict[str, Any]) -> None:
    if node.get("thought") is True and len(node.keys() - {"thought", "thoughtSignature"}) == 0:
        node["text"] = ""


def _tools(node: dict[str, Any]) -> None:
    tools = node.get("tools")
    if not isinstance(tools, list):
        return
    functions = [each for tool in tools for each in tool.get("functionDeclarations") or ()]
    others = [
        {key: value}
        for tool in tools
        for key, value in tool.items()
        if key != "functionDeclarations" and value is not None
    ]
    node["tools"] = sorted(others, key=str) + ([{"functionDeclarations": functions}] if functions else [])


def _alphabet(node: dict[str, Any]) -> None:
    if isinstance(node.get("data"), str):
        node["data"] = node["data"].translate(str.maketrans("-_", "+/"))


def _schema(node: dict[str, Any]) -> None:
    if "responseSchema" in node:
        node["responseJsonSchema"] = plain(node.pop("responseSchema"))


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _names: "the service takes snake_case and camelCase; we write camelCase",
    _nulls: "null and absent mean the same",
    _nothing: "an empty object says nothing",
    _whole_numbers: "40.0 is 40",
    _capitals: "enumerations are written as their names are defined",
    _role: "a content without a role is the user's",
    _empty_thought: "a thought of nothing but its signature has an empty text",
    _tools: "functions stand in one tool, each of the service's own in one of its own",
    _alphabet: "the service takes both alphabets of base64; we write the one that others read",
    _schema: "responseSchema is written as JSON Schema",
}

_FREE = ("args", "response", "properties")
"""The user's own JSON, whose names are left alone."""


def normalised(node: Any) -> Any:
    if isinstance(node, list):
        return [normalised(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    for normalisation in NORMALISATIONS:
        normalisation(node)
    return {key: value if key in _FREE else normalised(value) for key, value in node.items()}


NOT_READABLE = {
    "generate-content-opentelemetry-python-contrib-test-generate-content-invalid-role": "a role of no meaning: 400",
}
NOT_SENDABLE = {
    "generate-content-rig-thought-text-matrix-text-response-across-two-candidates": "two candidates",
}


def short(exchange: Exchange) -> str:
    return exchange.name.partition("/")[2]


def is_stream(exchange: Exchange) -> bool:
    return exchange.body.lstrip()[:1] not in (b"{", b"[")


@cache
def url_of(name: str) -> str:
    url: str = (json.loads((ROOT / "exchanges" / f"{name}.json").read_text())["request"] or {}).get("url") or ""
    return url


def model_of(exchange: Exchange) -> str:
    found = re.search(r"models/([^:?]+):", url_of(exchange.name))
    return found[1] if found else "asked-model"


def target_of(exchange: Exchange) -> Target:
    return Target(card=ModelCard(id=model_of(exchange)))


def answer(exchange: Exchange) -> CompletionResponse:
    if not is_stream(exchange):
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def chunks_of(exchange: Exchange) -> list[dict[str, Any]]:
    if not is_stream(exchange):
        found = json.loads(exchange.body)
        return found if isinstance(found, list) else [found]
    lines = exchange.body.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def request_of(exchange: Exchange) -> CompletionRequest:
    return inbound.decode_request(json.dumps(exchange.request).encode())


def written(exchange: Exchange) -> Any:
    return json.loads(outbound.encode_request(request_of(exchange), target_of(exchange), stream=False).body)


BLOCKED = {"generate-content-pydantic-ai-test-google-test-google-model-armor-prompt-template-text-gets-blocked"}

# ---------------------------------------------------------------- answers


@each_recorded
def test_every_recorded_answer_carries_all_that_it_said(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        assert error.status_code == exchange.status
        assert error.message == json.loads(exchange.body)["error"]["message"]
        return
    if short(exchange) in BLOCKED:
        with pytest.raises(ContentFiltered, match="Prompt Injection"):
            answer(exchange)
        return
    response, chunks = answer(exchange), chunks_of(exchange)
    parts = [
        part
        for chunk in chunks
        for candidate in (chunk.get("candidates") or ())[:1]
        for part in (candidate.get("content") or {}).get("parts") or ()
    ]
    assert response.id == next((chunk["responseId"] for chunk in chunks if "responseId" in chunk), None)
    assert response.model == next((chunk["modelVersion"] for chunk in chunks if "modelVersion" in chunk), "asked-model")
    assert response.content == "".join(part.get("text", "") for part in parts if not part.get("thought"))
    assert response.thinking == "".join(part.get("text", "") for part in parts if part.get("thought"))
    signatures = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    own = [msgspec.json.decode(raw) for part in response.parts for raw in _own(part)]
    assert [each["thoughtSignature"] for each in own if "thoughtSignature" in each] == signatures
    calls = [part["functionCall"] for part in parts if "functionCall" in part and part["functionCall"].get("name")]
    assert [call.name for call in response.tool_calls] == [call["name"] for call in calls]
    for call, said in zip(response.tool_calls, calls, strict=True):
        assert "args" not in said or call.input == said["args"]
        assert call.id == said.get("id", call.id)
    opaque = [json.loads(bytes(part.raw)) for part in response.parts if isinstance(part, Opaque)]
    like_text = {"text", "functionCall", "inlineData", "thoughtSignature"}
    assert opaque == [part for part in parts if not part.keys() & (like_text - {"thoughtSignature"})]
    media = [part for part in response.parts if isinstance(part, Image | Audio | Document)]
    assert len(media) == sum("inlineData" in part for part in parts)
    _assert_counted(response, chunks)


def _own(part: Any) -> list[bytes]:
    if isinstance(part, Opaque):
        return [bytes(part.raw)]
    metadata = part.provider_metadata or {}
    return [bytes(metadata["gemini"])] if "gemini" in metadata else []


def _assert_counted(response: CompletionResponse, chunks: list[dict[str, Any]]) -> None:
    totals = [chunk["usageMetadata"] for chunk in chunks if "totalTokenCount" in (chunk.get("usageMetadata") or {})]
    if not totals:
        return
    counted = totals[-1]
    usage = response.usage
    assert usage is not None
    assert usage.total_tokens == counted["totalTokenCount"]
    assert usage.cache_read_tokens == counted.get("cachedContentTokenCount")
    assert usage.reasoning_tokens == counted.get("thoughtsTokenCount")


@each_recorded
def test_every_recorded_stream_says_the_same_when_cut_into_pieces(exchange: Exchange) -> None:
    if exchange.status != 200 or not is_stream(exchange):
        return
    whole = answer(exchange)
    for size in (7, 61, 1000):
        decoder = outbound.stream_decoder(TARGET)
        events = []
        for start in range(0, len(exchange.body), size):
            events += decoder.feed(exchange.body[start : start + size])
        assert collect([*events, *decoder.close()]) == whole


@each_recorded
def test_every_recorded_answer_goes_out_again_as_it_came(exchange: Exchange) -> None:
    if exchange.status != 200 or short(exchange) in BLOCKED:
        return
    response = answer(exchange)
    again = outbound.decode_response(inbound.encode_response(response, ASKED), TARGET)
    assert msgspec.structs.replace(again, raw=None) == msgspec.structs.replace(response, raw=None)


@each_recorded
def test_every_recorded_answer_of_one_chunk_is_the_same_as_a_stream(exchange: Exchange) -> None:
    if exchange.status != 200 or exchange.body.lstrip()[:1] != b"{" or short(exchange) in BLOCKED:
        return
    plain_answer = answer(exchange)
    decoder = outbound.stream_decoder(TARGET)
    compact = json.dumps(json.loads(exchange.body)).encode()
    streamed = collect([*decoder.feed(b"data: " + compact + b"\r\n\r\n"), *decoder.close()])
    assert streamed.content == plain_answer.content
    assert streamed.tool_calls == plain_answer.tool_calls
    assert (streamed.finish_reason, streamed.usage) == (plain_answer.finish_reason, plain_answer.usage)


# ---------------------------------------------------------------- requests


@each_recorded
def test_every_recorded_request_is_written_as_it_was_read(exchange: Exchange) -> None:
    if exchange.request is None:
        assert exchange.status == 200
    elif short(exchange) in NOT_READABLE or short(exchange) in NOT_SENDABLE:
        with pytest.raises(InvalidRequest):
            written(exchange)
    else:
        assert normalised(written(exchange)) == normalised(exchange.request)


NOT_IN_SCHEMA = {
    r"parameters.*type: .*is not one of": "the caller's own Schema, with its types in small letters, which are taken",
    r"parameters.*type: \d is not of type": "types by their numbers, which are taken",
    r"'includeServerSideToolInvocations' was": "of the Gemini API alone",
    r"'fileSearch' was|'toolCall' was|'toolResponse' was": "of the Gemini API alone",
    r"modelArmorConfig: .*_template_name": "what we have no name for keeps the names that the caller gave it",
}
"""What the published schema, which is Vertex's, refuses of what the services answered with 200."""


@cache
def service_schema() -> jsonschema.Draft202012Validator:
    """GenerateContentRequest of the discovery document, as wire/README.md says: closed, and in JSON Schema's words."""
    document = json.loads((ROOT / "schemas" / "vertex.aiplatform.v1.discovery.json").read_text())
    prefix = "GoogleCloudAiplatformV1"

    def closed(node: Any) -> Any:
        if isinstance(node, list):
            return [closed(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return {"$ref": f"#/$defs/{node['$ref']}"}
        if node.get("type") == "any":
            return {}
        kept = {key: closed(node[key]) for key in ("type", "items", "enum", "additionalProperties") if key in node}
        if "properties" in node:
            kept["properties"] = {name: closed(value) for name, value in node["properties"].items()}
            kept["additionalProperties"] = False
        return kept

    definitions = {name: closed(schema) for name, schema in document["schemas"].items()}
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{prefix}GenerateContentRequest", "$defs": definitions})


@each_recorded
def test_every_request_that_we_write_fits_the_services_schema(exchange: Exchange) -> None:
    if exchange.request is None or short(exchange) in NOT_READABLE or short(exchange) in NOT_SENDABLE:
        return
    for error in service_schema().iter_errors(written(exchange)):
        said = f"{error.json_path}: {error.message}"
        assert any(re.search(known, said) for known in NOT_IN_SCHEMA), said


def test_every_exception_from_the_schema_is_used() -> None:
    found = [
        f"{error.json_path}: {error.message}"
        for provider in ("gemini", "vertex")
        for exchange in exchanges("generate_content", provider)
        if exchange.request is not None and short(exchange) not in NOT_READABLE | NOT_SENDABLE
        for error in service_schema().iter_errors(written(exchange))
    ]
    if not found:
        pytest.skip(f"no recordings in {ROOT}")
    assert [known for known in NOT_IN_SCHEMA if not any(re.search(known, said) for said in found)] == []


# ---------------------------------------------------------------- counts and models


def asked_in(body: Any) -> Any:
    """What is counted, wherever it stands: contents alone may stand at the top or not."""
    inner = body.get("generateContentRequest", body)
    return normalised({key: value for key, value in inner.items() if key != "model"})


@each("count_tokens", "gemini", "vertex")
def test_every_recorded_count_of_tokens_goes_both_ways(exchange: Exchange) -> None:
    request = inbound.decode_count_request(json.dumps(exchange.request).encode())
    dialect = vertex if exchange.provider == "vertex" else outbound
    sent = dialect.encode_count_request(request, target_of(exchange))
    assert sent.path == f"/models/{model_of(exchange)}:countTokens"
    assert asked_in(json.loads(sent.body)) == asked_in(exchange.request)
    count = dialect.decode_count_response(exchange.body)
    assert count == json.loads(exchange.body)["totalTokens"]
    assert outbound.decode_count_response(inbound.encode_count_response(count)) == count


@each("models", "gemini")
def test_every_recorded_list_of_models_goes_both_ways(exchange: Exchange) -> None:
    said = json.loads(exchange.body)
    cards = gemini_models.decode_models(exchange.body)
    assert [f"models/{card.id}" for card in cards] == [entry["name"] for entry in said.get("models", ())]
    assert [card.context_window for card in cards] == [entry.get("inputTokenLimit") for entry in said.get("models", ())]
    assert gemini_models.decode_models(gemini_models.encode_models(cards)) == cards
