"""Every recorded exchange with a service that speaks OpenAI's chat: read, collected, each request written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from recorded_exchanges import ROOT, Exchange, each, exchanges

from genai_spine.catalog.rows import find_row
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat import inbound, mistral, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.dialects.signatures import split
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Thinking
from genai_spine.model.errors import ContentFiltered, InvalidRequest, StreamBroken
from genai_spine.model.fold import collect, replay
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="asked-model"))
ASKED = inbound.decode_request(b'{"messages":[],"stream_options":{"include_usage":true}}')

PERMISSIVE = Quirks(
    max_tokens_field="max_completion_tokens",
    developer_role=True,
    reasoning_field="reasoning_content",
    schema="strict",
    top_k=True,
    tool_result_images=True,
)
"""For services that have no row."""

# ---------------------------------------------------------------- what fails, by name

ERRORS_INSIDE_200: dict[str, type[Exception]] = {
    "azure-openai/chat-openllmetry-test-azure-test-prompt-content-filtering": ContentFiltered,
    "groq/chat-pydantic-ai-test-groq-test-tool-use-failed-error-streaming": StreamBroken,
}
"""Answers of status 200 that are the provider's error."""

NOT_SENDABLE: dict[str, str] = {
    "llamacpp/chat-rig-error-matrix-malformed-request-field": "temperature is a string (recorded 400)",
}
"""Requests that we refuse; those for several answers (`n` > 1) are refused by rule, and not listed."""

# ---------------------------------------------------------------- what may differ in a request, and why


def _nulls(node: dict[str, Any]) -> None:
    for key in [key for key, value in node.items() if value is None]:
        del node[key]


def _lone_text(node: dict[str, Any]) -> None:
    parts = node.get("content")
    if (
        isinstance(parts, list)
        and len(parts) == 1
        and isinstance(parts[0], dict)
        and parts[0].keys() == {"type", "text"}
    ):
        node["content"] = parts[0]["text"]


def _no_content(node: dict[str, Any]) -> None:
    if node.get("role") == "assistant" and node.get("content") in ("", []):
        del node["content"]


def _says_nothing(node: dict[str, Any]) -> None:
    for key, nothing in {"stream": False, "tools": [], "tool_calls": [], "reasoning_details": []}.items():
        if key in node and node[key] == nothing:
            del node[key]
    if node.get("tool_choice") == "auto" and "tools" not in node:
        del node["tool_choice"]


def _max_tokens(node: dict[str, Any]) -> None:
    if "max_completion_tokens" in node:
        node["max_tokens"] = node.pop("max_completion_tokens")


def _usage_of_streams(node: dict[str, Any]) -> None:
    if "stream_options" in node:
        node["stream_options"] = {k: v for k, v in node["stream_options"].items() if k != "include_usage"}
        if not node["stream_options"]:
            del node["stream_options"]


def _call_index(node: dict[str, Any]) -> None:
    for call in node.get("tool_calls") or ():
        call.pop("index", None)


def _type_of_tool(node: dict[str, Any]) -> None:
    if isinstance(node.get("function"), dict) and "name" in node["function"] and "id" not in node:
        node.setdefault("type", "function")


def _reasoning(node: dict[str, Any]) -> None:
    for older in ("reasoning", "reasoning_content"):
        if node.get("role") == "assistant" and isinstance(node.get(older), str):
            thought = node.pop(older)
            node |= {"thought": thought} if thought else {}


def _dropped_thoughts(node: dict[str, Any]) -> None:
    """Applied to a request of a service whose row has no `reasoning_field`; a Notice says so."""
    if node.get("role") == "assistant":
        node.pop("thought", None)


def _effort(node: dict[str, Any]) -> None:
    thinking, reasoning = node.get("thinking"), node.get("reasoning")
    if isinstance(thinking, dict) and thinking.keys() <= {"type", "clear_thinking"}:
        thinking.pop("type", None)
        if not thinking:
            del node["thinking"]
    if isinstance(reasoning, dict) and reasoning.keys() == {"effort"}:
        node["reasoning_effort"] = node.pop("reasoning")["effort"]
    if node.get("reasoning_effort") == "medium":
        del node["reasoning_effort"]


def _mistrals_ids(node: dict[str, Any]) -> None:
    """Applied to Mistral's requests: a recorder has shortened the ids to what Mistral would not take."""
    for member in ("id", "tool_call_id"):
        if isinstance(call_id := node.get(member), str):
            node[member] = mistral.call_id_of(call_id)


def _pieces_of_thought(node: dict[str, Any]) -> None:
    pieces = node.get("thinking")
    if isinstance(pieces, list) and len(pieces) > 1:
        node["thinking"] = [{"type": "text", "text": "".join(piece["text"] for piece in pieces)}]


def _image_url(node: dict[str, Any]) -> None:
    if isinstance(node.get("image_url"), str):
        node["image_url"] = {"url": node["image_url"]}


def _stop(node: dict[str, Any]) -> None:
    if isinstance(node.get("stop"), str):
        node["stop"] = [node["stop"]]


def _schema_name(node: dict[str, Any]) -> None:
    if isinstance(schema := node.get("json_schema"), dict):
        schema.setdefault("name", "answer")


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _nulls: "null and absent mean the same",
    _lone_text: "a string is the documented shorthand for one text part; the shorter of the two is written",
    _no_content: "an assistant's turn of calls has no content, which OpenAI writes as null",
    _says_nothing: "what says nothing is not written: stream false, no tools, any choice of them, no calls",
    _max_tokens: "max_tokens and max_completion_tokens are two names of one limit; the row says which is taken",
    _usage_of_streams: "streams are asked to report usage where the row says that they must be",
    _call_index: "index belongs to the chunks of a stream; some clients send it back",
    _type_of_tool: "a tool's and a tool choice's type is function where it is left out",
    _reasoning: "reasoning and reasoning_content are two names of one member; the row says which is taken",
    _effort: "effort (medium, if left out) and a switch are two ways to ask for thoughts; the row says which is taken",
    _pieces_of_thought: "Mistral's thoughts come in pieces; they go back as one",
    _image_url: "Mistral's shorthand for an image's url",
    _stop: "one stop sequence is a list of one",
    _schema_name: "OpenAI requires a name of a schema",
}


def normalised(node: Any, *more: Callable[[dict[str, Any]], None]) -> Any:
    if isinstance(node, list):
        return [normalised(item, *more) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    for normalisation in (*NORMALISATIONS, *more):
        normalisation(node)
    return {key: normalised(value, *more) for key, value in node.items()}


# ---------------------------------------------------------------- reading, in the plainest way there is


def is_stream(exchange: Exchange) -> bool:
    return exchange.body.lstrip().startswith((b"data:", b"event:", b":"))


def answer(exchange: Exchange) -> CompletionResponse:
    if not is_stream(exchange):
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


class Said:
    """What an exchange says, put together as OpenAI's documentation tells a client to."""

    def __init__(self, exchange: Exchange) -> None:
        self.content: list[str] = []
        self.thought: list[str] = []
        self.signatures: set[str] = set()
        self.calls: dict[Any, list[str]] = {}
        self.finish: str | None = None
        self.usage: dict[str, Any] = {}
        if is_stream(exchange):
            lines = [line[5:].strip() for line in exchange.body.decode().split("\n") if line.startswith("data:")]
            for line in lines[: lines.index("[DONE]") if "[DONE]" in lines else None]:
                self.add(json.loads(line), "delta")
        else:
            self.add(json.loads(exchange.body), "message")

    def add(self, chunk: dict[str, Any], key: str) -> None:
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            if choice.get("index"):
                continue
            self.finish = self.finish or choice.get("finish_reason") or None
            message = choice.get(key) or choice.get("message") or {}
            self.say(message.get("content"))
            details = message.get("reasoning_details") or []
            told = [detail.get("text") or detail.get("summary") or "" for detail in details]
            self.thought.append("".join(told) or message.get("reasoning_content") or message.get("reasoning") or "")
            self.signatures |= {detail["signature"] for detail in details if detail.get("signature")}
            for place, call in enumerate(message.get("tool_calls") or ()):
                name = call.get("id") if key == "delta" and "index" not in call else call.get("index", place)
                pieces = self.calls.setdefault(name if key == "delta" else place, [])
                function = call.get("function") or {}
                given = function.get("arguments")
                pieces.append(json.dumps(given) if isinstance(given, dict) else given or "")

    def say(self, content: Any) -> None:
        if isinstance(content, str):
            self.content.append(content)
        elif isinstance(content, dict):
            self.content.append(json.dumps(content))
        for chunk in content if isinstance(content, list) else ():
            if chunk["type"] == "text":
                self.content.append(chunk["text"])
            elif chunk["type"] == "thinking":
                self.thought.extend(inner["text"] for inner in chunk["thinking"])


def _loosely(text: str) -> Any:
    """JSON by value, and what is none by its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _output_tokens(usage: dict[str, Any]) -> int | None:
    """xAI counts its reasoning beside the completion, and the total tells."""
    output: int | None = usage.get("completion_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    beside = reasoning and usage["total_tokens"] == usage["prompt_tokens"] + (output or 0) + reasoning
    return (output or 0) + reasoning if beside else output


@each("chat")
def test_every_recorded_answer_carries_all_that_it_said(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        assert error.status_code is not None
        assert error.message
        return
    if (kind := ERRORS_INSIDE_200.get(exchange.name)) is not None:
        with pytest.raises(kind):
            answer(exchange)
        return
    response, said = answer(exchange), Said(exchange)
    assert _loosely(response.content) == _loosely("".join(said.content))
    assert response.thinking == "".join(said.thought)
    assert {
        split(part.signature)[1] for part in response.parts if isinstance(part, Thinking) and part.signature
    } == said.signatures
    assert [_loosely(call.arguments) for call in response.tool_calls] == [
        _loosely("".join(pieces)) for pieces in said.calls.values()
    ]
    assert all(call.id and call.name for call in response.tool_calls)
    assert response.raw_finish_reason == said.finish
    assert response.finish_reason != "other"
    if said.usage:
        assert response.usage is not None
        assert response.usage.input_tokens == said.usage["prompt_tokens"]
        assert response.usage.output_tokens == _output_tokens(said.usage)
        details = said.usage.get("prompt_tokens_details") or {}
        assert (response.usage.cache_read_tokens or 0) >= (details.get("cached_tokens") or 0)


@each("chat")
def test_every_recorded_stream_says_the_same_when_cut_into_pieces(exchange: Exchange) -> None:
    if exchange.status != 200 or not is_stream(exchange) or exchange.name in ERRORS_INSIDE_200:
        return
    whole = answer(exchange)
    for size in (7, 61, 1000):
        decoder = outbound.stream_decoder(TARGET)
        events = []
        for start in range(0, len(exchange.body), size):
            events += decoder.feed(exchange.body[start : start + size])
        assert collect([*events, *decoder.close()]) == whole


@each("chat")
def test_every_recorded_answer_goes_out_again_as_it_came(exchange: Exchange) -> None:
    if exchange.status != 200 or exchange.name in ERRORS_INSIDE_200:
        return
    response = answer(exchange)
    plain = outbound.decode_response(inbound.encode_response(response, ASKED), TARGET)
    encoder, decoder = inbound.stream_encoder(ASKED), outbound.stream_decoder(TARGET)
    written = b"".join(encoder.encode(event) for event in replay(response))
    streamed = collect([*decoder.feed(written), *decoder.close()])
    for again in (plain, streamed):
        assert again.parts == response.parts
        assert again.finish_reason == response.finish_reason
        assert _counts(again) == _counts(response)
        extra = kept(response.extra, "openai_chat")
        if again is streamed:
            extra.pop("choices", None)  # a stream is of one answer
        assert kept(again.extra, "openai_chat") == extra


def _counts(response: CompletionResponse) -> dict[str, Any]:
    """Without nulls and zeros: OpenAI's schema requires the two counts."""
    if response.usage is None:
        return {}
    names = (name for name in response.usage.__struct_fields__ if name != "provider_metadata")
    return {name: count for name in names if (count := getattr(response.usage, name))}


# ---------------------------------------------------------------- requests


def target_of(exchange: Exchange) -> Target:
    row = find_row(exchange.provider)
    card = ModelCard(id=exchange.request.get("model") or "deployment")
    return Target(card=card, quirks=row.quirks if row is not None else PERMISSIVE)


def written(exchange: Exchange) -> Any:
    request = inbound.decode_request(json.dumps(exchange.request).encode())
    return json.loads(outbound.encode_request(request, target_of(exchange), stream=request.stream).body)


def is_refused(exchange: Exchange) -> bool:
    return (exchange.request.get("n") or 1) > 1 or exchange.name in NOT_SENDABLE


@each("chat")
def test_every_recorded_request_is_written_as_it_was_read(exchange: Exchange) -> None:
    if exchange.request is None:
        assert exchange.status == 200  # 25 recordings have an answer only
    elif is_refused(exchange):
        with pytest.raises(InvalidRequest):
            written(exchange)
    else:
        asked = {"model": "deployment", **exchange.request}
        quirks = target_of(exchange).quirks
        more = () if quirks.reasoning_field in ("reasoning", "reasoning_content") else (_dropped_thoughts,)
        more = (*more, _mistrals_ids) if quirks.message_form == "mistral" else more
        assert normalised(written(exchange), *more) == normalised(asked, *more)


SCHEMAS = {
    "openai": ("openai.openapi.json", "CreateChatCompletionRequest"),
    "azure-openai": ("azure-openai-v1.openapi.json", "AzureCreateChatCompletionRequest"),
    "openrouter": ("openrouter.openapi.yaml", "ChatRequest"),
    "together": ("together.openapi.yaml", "ChatCompletionRequest"),
    "mistral": ("mistral.openapi.yaml", "ChatCompletionRequest"),
}

NOT_IN_SCHEMA: dict[str, str] = {
    "mistral/chat-ruby-llm-chat-audio-models-mistral-voxtral-small-latest-can-understand-audio": "audio as an object",
    "mistral/chat-ruby-llm-chat-audio-models-mistral-voxtral-small-latest-can-understand-mp3-audio": "the same",
}
"""Requests that the published schema refuses; the service answered 200 unless said otherwise."""


@cache
def service_schema(file: str, name: str) -> OAS31Validator:
    """`oneOf` refuses real bodies that two alternatives take, `discriminator` too (wire/README.md)."""

    def loosened(node: Any) -> Any:
        if isinstance(node, list):
            return [loosened(item) for item in node]
        if not isinstance(node, dict):
            return node
        loose = {
            "anyOf" if key == "oneOf" else key: loosened(value) for key, value in node.items() if key != "discriminator"
        }
        # Azure's is OpenAPI 3.0, where null is allowed by a word of its own.
        return {"anyOf": [loose, {"type": "null"}]} if node.get("nullable") is True else loose

    text = (ROOT / "schemas" / file).read_text()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = json.loads(text) if file.endswith("json") else yaml.load(text, Loader=loader)
    return OAS31Validator({**loosened(document), "$ref": f"#/components/schemas/{name}"})


@each("chat")
def test_every_request_that_we_write_fits_the_services_schema(exchange: Exchange) -> None:
    if exchange.request is None or is_refused(exchange) or exchange.provider not in SCHEMAS:
        return
    errors = list(service_schema(*SCHEMAS[exchange.provider]).iter_errors(written(exchange)))
    if exchange.name in NOT_IN_SCHEMA:
        assert errors, "it fits now: take it from NOT_IN_SCHEMA"
    else:
        assert not errors, [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_declared_normalisation_is_needed(normalisation: Callable[[dict[str, Any]], None]) -> None:
    """Taken from the list, it would leave some recorded request different from what we write."""
    found = exchanges("chat")
    if not found:
        pytest.skip(f"no recordings in {ROOT}")
    others = [other for other in NORMALISATIONS if other is not normalisation]

    def without(node: Any) -> Any:
        if isinstance(node, list):
            return [without(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = dict(node)
        for other in others:
            other(node)
        return {key: without(value) for key, value in node.items()}

    assert any(
        without(written(exchange)) != without({"model": "deployment", **exchange.request})
        for exchange in found
        if exchange.request is not None and not is_refused(exchange)
    )


def test_the_tables_of_exceptions_name_recordings_that_exist() -> None:
    names = {exchange.name for exchange in exchanges("chat")}
    if not names:
        pytest.skip(f"no recordings in {ROOT}")
    assert names.issuperset(ERRORS_INSIDE_200.keys() | NOT_SENDABLE.keys() | NOT_IN_SCHEMA.keys())
