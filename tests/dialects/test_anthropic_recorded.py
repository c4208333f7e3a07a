"""Every recorded exchange with Anthropic's Messages: read, collected, and each request written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import pytest
from recorded_exchanges import ROOT, Exchange, each, exchanges

from genai_spine.dialects.anthropic_messages import inbound, outbound
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Opaque, Text, Thinking, ToolCall
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.fold import collect
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="asked-model"))

# ---------------------------------------------------------------- what may differ, and why


def _lone_text(node: dict[str, Any]) -> None:
    for key in ("content", "system"):
        blocks = node.get(key)
        is_lone = isinstance(blocks, list) and len(blocks) == 1 and isinstance(blocks[0], dict)
        if is_lone and blocks[0].keys() == {"type", "text"}:
            node[key] = blocks[0]["text"]


def _nulls(node: dict[str, Any]) -> None:
    for key in [key for key, value in node.items() if value is None]:
        del node[key]


def _defaults(node: dict[str, Any]) -> None:
    for key, default in {"stream": False, "is_error": False, "tools": [], "system": ""}.items():
        if key in node and node[key] == default:
            del node[key]


def _older_names(node: dict[str, Any]) -> None:
    if "output_format" in node:
        node.setdefault("output_config", {})["format"] = node.pop("output_format")


def _object_type(node: dict[str, Any]) -> None:
    if isinstance(schema := node.get("input_schema"), dict):
        schema.setdefault("type", "object")


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _lone_text: "a string is the documented shorthand for one text block; the shorter of the two is written",
    _nulls: "null and absent mean the same",
    _defaults: "what says nothing is not written: stream false, is_error false, no tools, an empty system",
    _older_names: "output_format is the former name of output_config.format",
    _object_type: "an input_schema without a type is refused by the service, so `object` is added",
}

NOT_READABLE = {"messages-dd-trace-py-anthropic-completion-error": "a message that is a string (recorded 400)"}
NOT_SENDABLE = {"messages-mirascope-anthropic-handles-empty-string-content": "no content at all (recorded 400)"}

REJECTED = "messages-rig-strict-schema-matrix-"
PICTURE = "messages-openinference-test-instrumentor-test-anthropic-instrumentation-image-input-messages"
NOT_WRITTEN_AGAIN = {
    REJECTED + "cyclic-root-ref-aliases-are-rejected": "additionalProperties, which strict tools must have",
    REJECTED + "top-level-any-of-is-rejected-for-tool-input": "additionalProperties, which strict tools must have",
    REJECTED + "top-level-one-of-is-rejected-for-tool-input": "additionalProperties, which strict tools must have",
    # Claude 3.5 took it; later ones refuse it (BerriAI/litellm#24900).
    PICTURE: "a JPEG goes as one, and not as the PNG that it is called",
    PICTURE + "-with-stream": "a JPEG goes as one, and not as the PNG that it is called",
}

# The published schema is of early 2026 and has no beta fields; the service answered 200 unless said otherwise.
NOT_IN_SCHEMA = {
    "messages-chatlas-test-provider-anthropic-files-test-anthropic-file-lifecycle-async": "file source",
    "messages-chatlas-test-provider-anthropic-files-test-anthropic-file-lifecycle": "file source",
    "messages-dd-trace-js-claude-agent-sdk-claude-agent-sdk-v1-messages-beta-true-post-1a9ef989": "beta field",
    "messages-dd-trace-js-claude-agent-sdk-claude-agent-sdk-v1-messages-beta-true-post-ea8af730": "beta field",
    "messages-langchain-test-web-fetch-v1": "web_fetch with a beta's type",
    "messages-langchain-test-web-fetch-v1-2": "web_fetch with a beta's type",
    "messages-langchain-test-web-fetch-v1-3": "web_fetch with a beta's type",
    "messages-pydantic-ai-test-anthropic-mid-conversation-system-test-inline-system-prompt-cache-prefix-"
    "is-reused": "role system, of Opus 4.8",
    "messages-pydantic-ai-test-anthropic-test-anthropic-advisor-tool": "advisor tool",
    "messages-pydantic-ai-test-anthropic-test-anthropic-advisor-tool-message-replay": "advisor tool",
    "messages-pydantic-ai-test-anthropic-test-anthropic-advisor-tool-stream": "advisor tool",
    "messages-pydantic-ai-test-anthropic-test-anthropic-compaction-usage-with-cache-streaming": "beta field",
    "messages-pydantic-ai-test-anthropic-test-anthropic-mcp-servers-stream": "beta field",
    "messages-pydantic-ai-test-anthropic-test-anthropic-opus-5-features": "effort xhigh, of Opus 4.7",
    "messages-pydantic-ai-test-multimodal-tool-returns-test-multimodal-tool-return-matrix-tool-return-"
    "content-uploaded-file-d": "file source",
    "messages-pydantic-ai-test-multimodal-tool-returns-test-multimodal-tool-return-matrix-tool-return-"
    "content-uploaded-file-i": "file source",
    "messages-rig-error-identity-edge-validation-error-carries-identity": "temperature -5 (recorded 400)",
    "messages-rig-strict-schema-matrix-scalar-root-schema-is-rejected-for-tool-input": "recorded 400",
    "messages-ruby-llm-chat-web-search-with-anthropic-claude-haiku-4-5-searches-cites-and-reports-tool-usage": (
        "web_search of a later date"
    ),
}


def normalised(node: Any) -> Any:
    if isinstance(node, list):
        return [normalised(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    for normalisation in NORMALISATIONS:
        normalisation(node)
    return {key: normalised(value) for key, value in node.items()}


def short(exchange: Exchange) -> str:
    return exchange.name.partition("/")[2]


def is_stream(exchange: Exchange) -> bool:
    return not exchange.body.lstrip().startswith(b"{")


def answer(exchange: Exchange) -> CompletionResponse:
    if not is_stream(exchange):
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def written(exchange: Exchange) -> Any:
    request = inbound.decode_request(json.dumps(exchange.request).encode())
    target = Target(card=ModelCard(id=request.model or ""))
    return json.loads(outbound.encode_request(request, target, stream=request.stream).body)


def blocks_of(exchange: Exchange) -> tuple[list[Any], dict[str, Any]]:
    """The content blocks and the rest of an answer, put together as the documentation tells a client to."""
    if not is_stream(exchange):
        message = json.loads(exchange.body)
        return message["content"], message
    blocks: list[Any] = []
    message: dict[str, Any] = {}
    for line in exchange.body.decode().split("\n"):
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        match event["type"]:
            case "message_stop":
                break  # one recording holds three answers, one after the other
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks.append(dict(event["content_block"], partial=""))
            case "content_block_delta":
                delta, block = event["delta"], blocks[event["index"]]
                for key in ("text", "thinking", "signature"):
                    block[key] = block.get(key, "") + delta.get(key, "")
                block["partial"] += delta.get("partial_json", "")
            case "message_delta":
                message |= {k: v for k, v in event["delta"].items() if v is not None}
                message["usage"] |= {k: v for k, v in event["usage"].items() if v is not None}
    for block in blocks:
        if block["partial"]:
            block["input"] = json.loads(block["partial"])
    return blocks, message


# ---------------------------------------------------------------- answers


@each("messages", "anthropic")
def test_every_recorded_answer_carries_all_that_it_said(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        said = json.loads(exchange.body)
        assert error.status_code == exchange.status
        assert error.message == said["error"]["message"]
        assert error.request_id == said.get("request_id")
        return
    response, (blocks, message) = answer(exchange), blocks_of(exchange)
    assert response.id == message["id"]
    assert response.model == message["model"]
    assert response.raw_finish_reason == message["stop_reason"]
    assert response.finish_reason not in (None, "other")
    assert response.stop_sequence == message["stop_sequence"]
    assert len(response.parts) == len(blocks)
    for part, block in zip(response.parts, blocks, strict=True):
        match part:
            case Text():
                assert (block["type"], part.text) == ("text", block["text"])
            case Thinking(redacted=None):
                assert (part.text, part.signature) == (block["thinking"], block["signature"])
            case Thinking():
                assert (block["type"], part.redacted) == ("redacted_thinking", block["data"])
            case ToolCall():
                assert (part.id, part.name, part.input) == (block["id"], block["name"], block["input"])
            case Opaque():
                assert json.loads(bytes(part.raw))["type"] == part.kind == block["type"]
            case _:
                pytest.fail(f"{part} of {block}")
    usage, counted = response.usage, message["usage"]
    assert usage is not None
    cached = (counted.get("cache_read_input_tokens") or 0) + (counted.get("cache_creation_input_tokens") or 0)
    assert usage.input_tokens == counted["input_tokens"] + cached
    assert usage.output_tokens == counted["output_tokens"]
    assert (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0) == cached


@each("messages", "anthropic")
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


@each("messages", "anthropic")
def test_every_recorded_answer_goes_out_again_as_it_came(exchange: Exchange) -> None:
    if exchange.status != 200:
        return
    response = answer(exchange)
    request = inbound.decode_count_request(b'{"messages":[{"role":"user","content":"?"}]}')
    again = outbound.decode_response(inbound.encode_response(response, request), TARGET)
    assert again.parts == response.parts
    assert again.usage == response.usage
    assert (again.raw_finish_reason, again.stop_sequence) == (response.raw_finish_reason, response.stop_sequence)
    assert again.extra == response.extra


# ---------------------------------------------------------------- requests


@each("messages", "anthropic")
def test_every_recorded_request_is_written_as_it_was_read(exchange: Exchange) -> None:
    if exchange.request is None:
        assert exchange.status == 200  # six recordings have an answer only
    elif short(exchange) in NOT_READABLE or short(exchange) in NOT_SENDABLE:
        assert exchange.status == 400
        with pytest.raises(InvalidRequest):
            written(exchange)
    else:
        is_same = normalised(written(exchange)) == normalised(exchange.request)
        assert is_same == (short(exchange) not in NOT_WRITTEN_AGAIN), normalised(written(exchange))


@cache
def service_schema() -> jsonschema.Draft202012Validator:
    """CreateMessageParams; `oneOf` refuses real bodies that two alternatives take (wire/README.md)."""

    def loosened(node: Any) -> Any:
        if isinstance(node, list):
            return [loosened(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            "anyOf" if key == "oneOf" else key: loosened(value) for key, value in node.items() if key != "discriminator"
        }

    document = loosened(json.loads((ROOT / "schemas" / "anthropic.openapi.json").read_text()))
    return jsonschema.Draft202012Validator({**document, "$ref": "#/components/schemas/CreateMessageParams"})


@each("messages", "anthropic")
def test_every_request_that_we_write_fits_the_services_schema(exchange: Exchange) -> None:
    if exchange.request is None or short(exchange) in NOT_READABLE or short(exchange) in NOT_SENDABLE:
        return
    is_valid = service_schema().is_valid(written(exchange))
    assert is_valid == (short(exchange) not in NOT_IN_SCHEMA)


@each("count_tokens", "anthropic")
def test_every_recorded_count_of_tokens_goes_both_ways(exchange: Exchange) -> None:
    request = inbound.decode_count_request(json.dumps(exchange.request).encode())
    sent = outbound.encode_count_request(request, Target(card=ModelCard(id=request.model or "")))
    assert sent.path == "/v1/messages/count_tokens"
    assert normalised(json.loads(sent.body)) == normalised(exchange.request)
    if exchange.status == 200:
        count = outbound.decode_count_response(exchange.body)
        assert json.loads(inbound.encode_count_response(count)) == {"input_tokens": count}
    else:
        assert outbound.decode_error(exchange.status, {}, exchange.body).status_code == exchange.status


def test_the_tables_of_exceptions_name_recordings_that_exist() -> None:
    names = {short(exchange) for exchange in exchanges("messages", "anthropic")}
    if not names:
        pytest.skip(f"no recordings in {ROOT}")
    tables = (NOT_READABLE, NOT_SENDABLE, NOT_WRITTEN_AGAIN, NOT_IN_SCHEMA)
    assert names.issuperset(name for table in tables for name in table)
