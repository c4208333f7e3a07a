"""Every recorded exchange with Bedrock's Converse: read, collected, and each request written again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from bedrock_exchanges import BedrockExchange, each, exchanges, payloads
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from recorded_exchanges import ROOT
from recorded_exchanges import exchanges as others

from genai_spine.dialects.anthropic_messages import inbound as anthropic_inbound
from genai_spine.dialects.bedrock_converse import outbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound as openai_inbound
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Image, Opaque, Text, Thinking, ToolCall
from genai_spine.model.errors import (
    AuthenticationError,
    BadRequest,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
)
from genai_spine.model.fold import collect
from genai_spine.model.response import CompletionResponse
from genai_spine.testing.simulator.bedrock import decode_request

# ---------------------------------------------------------------- what may differ, and why


def _merged_turns(node: dict[str, Any]) -> None:
    merged: list[dict[str, Any]] = []
    for message in node.get("messages", []):
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {"role": message["role"], "content": [*merged[-1]["content"], *message["content"]]}
        else:
            merged.append(message)
    if "messages" in node:
        node["messages"] = merged


def _says_nothing(node: dict[str, Any]) -> None:
    empty = {"system": [], "inferenceConfig": {}, "additionalModelRequestFields": {}, "stopSequences": []}
    for key, default in empty.items():
        if key in node and node[key] == default:
            del node[key]
    if "toolUseId" in node and node.get("status") == "success":
        del node["status"]


def _strict_schema(node: dict[str, Any]) -> None:
    if isinstance(schema := node.get("schema"), str):
        node["schema"] = _with_strictness(json.loads(schema))


def _with_strictness(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_strictness(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {"additionalProperties": False} if schema.get("type") == "object" else {}
    return {**{key: _with_strictness(value) for key, value in schema.items()}, **strict}


def _clean_name(node: dict[str, Any]) -> None:
    if {"format", "name", "source"} <= node.keys():
        node["name"] = node["name"].replace("_", "-").replace(".", "-")


def _call_type(node: dict[str, Any]) -> None:
    if node.get("type") == "tool_use":
        del node["type"]


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _merged_turns: "turns must alternate, so those of one side are joined",
    _says_nothing: "what says nothing is not written: empty lists and objects, status success",
    _strict_schema: "output schemas must forbid additional properties",
    _clean_name: "document names have neither dots nor underscores (API_runtime_DocumentBlock)",
    _call_type: "type tool_use is what every call is",
}


def normalised(node: Any) -> Any:
    if isinstance(node, list):
        return [normalised(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    for normalisation in NORMALISATIONS:
        normalisation(node)
    node = {key: normalised(value) for key, value in node.items()}
    _says_nothing(node)
    return node


NOT_WRITTEN_AGAIN = {
    "converse-pydantic-ai-test-native-output-test-bedrock-native-output-profile-default": (
        "bounds go into the description, as with Anthropic: minLength"
    ),
    # Claude 3.5 took it; later ones refuse it, as others do (aws-samples/amazon-bedrock-client-for-mac#130).
    "converse-openinference-should-handle-different-image-formats-with-correct-mime-types": (
        "a PNG goes as one, and not as the JPEG that it is called"
    ),
}


def answer(exchange: BedrockExchange) -> CompletionResponse:
    if not exchange.streamed:
        return outbound.decode_response(exchange.body, exchange.target)
    decoder = outbound.stream_decoder(exchange.target)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def is_stream(exchange: BedrockExchange) -> bool:
    return exchange.path.endswith("-stream")


def read(exchange: BedrockExchange) -> Any:
    return decode_request(json.dumps(exchange.request).encode(), exchange.model, stream=is_stream(exchange))


def message_of(exchange: BedrockExchange) -> dict[str, Any]:
    """The answer as one message, put together as the documentation tells a client to."""
    if not exchange.streamed:
        message: dict[str, Any] = json.loads(exchange.body)
        return message | {"content": message["output"]["message"]["content"]}
    blocks: dict[int, dict[str, Any]] = {}
    message = {}
    for kind, payload in payloads(exchange.body):
        index = payload.pop("contentBlockIndex", None)
        match kind:
            case "contentBlockStart":
                blocks[index] = {name: {**start} for name, start in payload["start"].items()}
            case "contentBlockDelta":
                _grow(blocks.setdefault(index, {}), payload["delta"])
            case "messageStop" | "metadata":
                message |= payload
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
    return message | {"content": [block for block in blocks.values() if block]}


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "text" and "citationsContent" in block:
            block["citationsContent"]["content"][0]["text"] += value
        elif name == "text":
            block["text"] = block.get("text", "") + value
        elif name == "citation":
            cited = block.setdefault(
                "citationsContent", {"content": [{"text": block.pop("text", "")}], "citations": []}
            )
            cited["citations"].append(value)
        elif name == "toolUse":
            block[name]["input"] = block[name].get("input", "") + value["input"]
        elif name == "toolResult":
            block[name].setdefault("content", []).extend(value)
        elif "redactedContent" in value:
            block["reasoningContent"] = value
        else:
            text = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
            for key, piece in value.items():
                text[key] = text.get(key, "") + piece


# ---------------------------------------------------------------- answers


@each("converse", "converse_stream")
def test_every_recorded_answer_carries_all_that_it_said(exchange: BedrockExchange) -> None:
    if exchange.status != 200:
        return
    response, message = answer(exchange), message_of(exchange)
    assert response.model == exchange.model
    assert response.raw_finish_reason == message["stopReason"]
    assert response.finish_reason not in (None, "other")
    assert len(response.parts) == len(message["content"])
    for part, block in zip(response.parts, message["content"], strict=True):
        check(part, block)
    usage, counted = response.usage, message["usage"]
    assert usage is not None
    if "inputTokens" in counted:
        assert (usage.input_tokens or 0) + (usage.output_tokens or 0) == counted["totalTokens"]
    assert usage.output_tokens == counted["outputTokens"]
    assert (usage.cache_read_tokens or 0) == counted.get("cacheReadInputTokens", 0)
    assert (usage.cache_write_tokens or 0) == counted.get("cacheWriteInputTokens", 0)
    kept = json.loads(bytes((response.extra or {})["bedrock_converse"]))
    for name in ("metrics", "trace", "additionalModelResponseFields", "performanceConfig", "serviceTier"):
        assert kept.get(name) == message.get(name)


def check(part: Any, block: dict[str, Any]) -> None:
    match part:
        case Text(provider_metadata=None):
            assert part.text == block["text"]
        case Text():
            cited = block["citationsContent"]
            assert part.text == "".join(piece["text"] for piece in cited["content"])
            assert json.loads(bytes(part.provider_metadata["bedrock_converse"]))["citations"] == cited["citations"]
        case Thinking(redacted=None):
            text = block["reasoningContent"].get("reasoningText", {"text": ""})
            assert (part.text, part.signature) == (text["text"], text.get("signature"))
        case Thinking():
            assert part.redacted.encode("latin-1") == base64.b64decode(block["reasoningContent"]["redactedContent"])
        case ToolCall():
            call = block["toolUse"]
            assert (part.id, part.name, part.input) == (call["toolUseId"], call["name"], call["input"])
        case Opaque():
            assert json.loads(bytes(part.raw)) == block
        case Image():
            assert part.data == block["image"]["source"]["bytes"]
        case _:
            pytest.fail(f"{part} of {block}")


@each("converse_stream")
def test_every_recorded_stream_says_the_same_when_cut_into_pieces(exchange: BedrockExchange) -> None:
    if exchange.status != 200:
        return
    whole = answer(exchange)
    for size in (1, 61, 1000):
        decoder = outbound.stream_decoder(exchange.target)
        pieces = [exchange.body[start : start + size] for start in range(0, len(exchange.body), size)]
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert collect([*events, *decoder.close()]) == whole


@each("converse_stream")
def test_a_recorded_stream_read_as_a_plain_answer_says_the_same(exchange: BedrockExchange) -> None:
    if exchange.status != 200:
        return
    message = message_of(exchange)
    content = message.pop("content")
    plain = json.dumps({**message, "output": {"message": {"role": "assistant", "content": content}}}).encode()
    response, streamed = outbound.decode_response(plain, exchange.target), answer(exchange)
    assert told(response.parts) == told(streamed.parts)
    assert response.usage == streamed.usage
    assert response.finish_reason == streamed.finish_reason
    assert told_extra(response) == told_extra(streamed)


def told(parts: Any) -> list[Any]:
    return [
        (type(part).__name__, part.input if isinstance(part, ToolCall) else part.text)
        if isinstance(part, Text | Thinking | ToolCall)
        else json.loads(bytes(part.raw))
        for part in parts
    ]


def told_extra(response: CompletionResponse) -> Any:
    return json.loads(bytes((response.extra or {})["bedrock_converse"]))


@each("converse")
def test_every_recorded_answer_goes_back_as_it_came(exchange: BedrockExchange) -> None:
    if exchange.status != 200:
        return
    response, content = answer(exchange), message_of(exchange)["content"]
    history = decode_request(b'{"messages":[{"role":"user","content":[{"text":"?"}]}]}', exchange.model)
    from msgspec.structs import replace

    from genai_spine.model.request import Message

    parts = [
        part for part in response.parts if not isinstance(part, Thinking) or part.signature or part.redacted is not None
    ]
    if not parts or any(isinstance(part, Text) and not part.text for part in parts):
        return
    turns = (*history.messages, Message(role="assistant", content=tuple(parts)))
    sent = json.loads(outbound.encode_request(replace(history, messages=turns), exchange.target, stream=False).body)
    expected = [block for block in content if not unsigned(block)]
    assert normalised(sent["messages"][1]["content"]) == normalised(expected)


def unsigned(block: dict[str, Any]) -> bool:
    thought = block.get("reasoningContent")
    return thought is not None and "redactedContent" not in thought and "signature" not in json.dumps(thought)


# ---------------------------------------------------------------- requests


@each("converse", "converse_stream")
def test_every_recorded_request_is_written_as_it_was_read(exchange: BedrockExchange) -> None:
    if exchange.request is None:
        return
    sent = outbound.encode_request(read(exchange), exchange.target, stream=is_stream(exchange))
    is_same = normalised(json.loads(sent.body)) == normalised(exchange.request)
    assert is_same == (exchange.name not in NOT_WRITTEN_AGAIN), normalised(json.loads(sent.body))
    assert sent.path.replace("%3A", ":") == exchange.path.replace("%3A", ":")
    assert {notice.code for notice in sent.notices} <= {"changed"}


@cache
def service() -> ServiceModel:
    return ServiceModel(json.loads((ROOT / "schemas" / "aws.bedrock-runtime.service-2.json").read_text()))


def faults_of(body: Any, operation: str = "Converse") -> str:
    """What botocore has against the body; bytes are base64 on the wire and bytes in its hands."""
    shape = service().operation_model(operation).input_shape
    report = ParamValidator().validate(with_bytes({"modelId": "m", **body}), shape)
    return str(report.generate_report())


def with_bytes(node: Any) -> Any:
    if isinstance(node, list):
        return [with_bytes(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64decode(value)
        if key in ("bytes", "redactedContent") and isinstance(value, str)
        else value
        if key in ("additionalModelRequestFields", "json", "input")
        else with_bytes(value)
        for key, value in node.items()
    }


@each("converse", "converse_stream")
def test_every_request_that_we_write_fits_the_services_model(exchange: BedrockExchange) -> None:
    if exchange.request is None:
        return
    written = json.loads(outbound.encode_request(read(exchange), exchange.target, stream=False).body)
    faults = faults_of(written)
    assert faults == "" or faults == faults_of(exchange.request), "the recorded client wrote the same"


MODELS = ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-2-lite-v1:0", "meta.llama3-8b-instruct-v1:0"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("api", "provider"), [("messages", "anthropic"), ("chat", "openai")])
def test_what_other_services_callers_say_fits_the_services_model(api: str, provider: str, model: str) -> None:
    """Every recorded request to Anthropic and to OpenAI, sent here: it fits, or it is refused with a reason."""
    decode = anthropic_inbound.decode_request if provider == "anthropic" else openai_inbound.decode_request
    found = [each for each in others(api, provider) if isinstance(each.request, dict) and each.status == 200]
    if not found:
        pytest.skip(f"no recordings in {ROOT}")
    sent = 0
    for exchange in found:
        try:
            request = decode(json.dumps(exchange.request).encode())
            body = outbound.encode_request(request, Target(card=ModelCard(id=model)), stream=False).body
        except InvalidRequest as error:
            assert error.message
            continue
        sent += 1
        assert faults_of(json.loads(body)) == "", exchange.name
    assert sent > len(found) * 0.8


# ---------------------------------------------------------------- errors and counts


ERRORS = {
    "converse-dd-trace-py-bedrock-cassettes-bedrock-converse-error": (AuthenticationError, "ExpiredTokenException"),
    "converse-openinference-should-handle-api-error-scenarios": (ModelNotFound, "ValidationException"),
    "converse-rig-model-ids-retired-model-id-preserves-provider-error": (ModelNotFound, "ResourceNotFoundException"),
    "converse-rig-model-ids-bare-profile-only-model-id-is-rejected": (BadRequest, "ValidationException"),
    "converse-ruby-llm-chat-real-error-scenarios-bedrock-amazon-nova-2-lite-v1-0-handles-context-length-exceeded-"
    "errors": (ContextLengthExceeded, "ValidationException"),
}


@each("converse", "converse_stream", "invoke", "invoke_stream", "count_tokens")
def test_every_recorded_error_is_classified(exchange: BedrockExchange) -> None:
    if exchange.status == 200:
        return
    error = outbound.decode_error(exchange.status, exchange.headers, exchange.body)
    assert error.status_code == exchange.status
    assert error.message == json.loads(exchange.body)["message"]
    assert error.request_id == exchange.headers.get("x-amzn-requestid")
    if exchange.name in ERRORS:
        kind, code = ERRORS[exchange.name]
        assert (type(error), error.code) == (kind, code)


@each("count_tokens")
def test_every_recorded_count_is_read_and_asked_again(exchange: BedrockExchange) -> None:
    if exchange.status == 200:
        assert outbound.decode_count_response(exchange.body) == json.loads(exchange.body)["inputTokens"]
    if (conversation := exchange.request["input"].get("converse")) is not None:
        request = decode_request(json.dumps(conversation).encode(), exchange.model)
        sent = outbound.encode_count_request(request, exchange.target)
        assert normalised(json.loads(sent.body)) == normalised(exchange.request)
        assert sent.path == exchange.path
        assert faults_of(json.loads(sent.body), "CountTokens") == ""


def test_the_tables_name_recordings_that_exist() -> None:
    names = {exchange.name for exchange in exchanges("converse", "converse_stream")}
    if not names:
        pytest.skip(f"no recordings in {ROOT}")
    assert names.issuperset(ERRORS.keys() | NOT_WRITTEN_AGAIN.keys())
