"""Every recorded exchange with a service that speaks OpenAI's Responses: read, and written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from recorded_exchanges import ROOT, Exchange, each, exchanges
from test_openai_chat_recorded import ERRORS_INSIDE_200, service_schema

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat import outbound as openai_chat
from genai_spine.dialects.openai_responses import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Opaque, Refusal, Text, Thinking
from genai_spine.model.errors import BadReply, QuotaExceeded, StreamBroken
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="asked-model"), quirks=Quirks(schema="strict"))
ASKED = CompletionRequest(messages=())

# ---------------------------------------------------------------- what fails, by name

NO_ANSWERS: dict[str, type[Exception]] = {
    # A chat completion, and a stream of its chunks, from another endpoint of the same client.
    "azure-openai/responses-ai-azure-deepseek-reasoning-1-2": BadReply,
    "azure-openai/responses-ai-azure-deepseek-reasoning-1": StreamBroken,
    # A count of tokens: POST /v1/responses/input_tokens.
    "openai/responses-pydantic-ai-test-openai-responses-test-responses-count-tokens-with-tools": BadReply,
    # An error in a stream of status 200.
    "openai/responses-ai-openai-error-1": QuotaExceeded,
}
"""What came with status 200 and is no answer of this dialect."""

IDS_ADDED = frozenset(
    {
        "bedrock-mantle/responses-ruby-llm-providers-bedrock-mantle-responses-chat-calls-tools-through-the-responses-surface"
    }
)
"""Answers with an item that has no id: it gets one."""

OTHER_IDS = frozenset({"github-copilot"})
"""Services whose ids change from the beginning of a stream to its end."""

# ---------------------------------------------------------------- what may differ in a request, and why


def _nulls(node: dict[str, Any]) -> None:
    for key in [key for key, value in node.items() if value is None]:
        del node[key]


def _says_nothing(node: dict[str, Any]) -> None:
    for key, nothing in {"stream": False, "tools": [], "annotations": [], "logprobs": []}.items():
        if key in node and node[key] == nothing:
            del node[key]


def _lone_text(node: dict[str, Any]) -> None:
    for key in ("content", "output"):
        parts = node.get(key)
        if (
            isinstance(parts, list)
            and len(parts) == 1
            and isinstance(parts[0], dict)
            and parts[0].get("type") in ("input_text", "output_text")
            and parts[0].keys() - {"annotations", "logprobs"} == {"type", "text"}
        ):
            node[key] = parts[0]["text"]


def _message_type(node: dict[str, Any]) -> None:
    if "role" in node and node.get("type") == "message":
        del node["type"]


def _lone_input(node: dict[str, Any]) -> None:
    if isinstance(node.get("input"), str):
        node["input"] = [{"role": "user", "content": node["input"]}]


def _empty_messages(node: dict[str, Any]) -> None:
    if isinstance(items := node.get("input"), list):
        node["input"] = [item for item in items if not (item.get("role") == "assistant" and not item.get("content"))]


def _encrypted(node: dict[str, Any]) -> None:
    if node.get("store") is False:
        names = node.setdefault("include", [])
        if "reasoning.encrypted_content" not in names:
            node["include"] = [*names, "reasoning.encrypted_content"]


NORMALISATIONS: dict[Callable[[dict[str, Any]], None], str] = {
    _nulls: "null and absent mean the same",
    _says_nothing: "what says nothing is not written: stream false, no tools, no annotations",
    _lone_text: "a string is the documented shorthand for one text part; the shorter of the two is written",
    _message_type: "a message may leave its type out; it is written where the message has an id",
    _lone_input: "a string is the documented shorthand for one message of the user",
    _empty_messages: "a message of the assistant without content says nothing beside its other items",
    _encrypted: "what is not stored must come back with its thoughts encrypted",
}


def normalised(node: Any, normalisations: Any = tuple(NORMALISATIONS)) -> Any:
    if isinstance(node, list):
        return [normalised(item, normalisations) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    for normalisation in normalisations:
        normalisation(node)
    return {key: normalised(value, normalisations) for key, value in node.items()}


# ---------------------------------------------------------------- reading, in the plainest way there is


def is_stream(exchange: Exchange) -> bool:
    return exchange.body.lstrip().startswith((b"data:", b"event:", b":"))


def answer(exchange: Exchange) -> CompletionResponse:
    if not is_stream(exchange):
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def said(exchange: Exchange) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The response, and its items: of a stream, those that were done, and what else stands in the end."""
    if not is_stream(exchange):
        response = json.loads(exchange.body)
        return response, response["output"]
    items: dict[int, dict[str, Any]] = {}
    for line in exchange.body.decode().split("\n"):
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            event = json.loads(line[5:])
            if event["type"] == "response.output_item.done":
                items[event["output_index"]] = event["item"]
            elif event["type"] in ("response.completed", "response.incomplete"):
                for index, item in enumerate(event["response"].get("output") or ()):
                    items.setdefault(index, item)
                return event["response"], [items[index] for index in sorted(items)]
    raise AssertionError("a stream without an end")


@each("responses")
def test_every_recorded_answer_carries_all_that_it_said(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        assert error.status_code == exchange.status
        assert error.message
        return
    if (kind := NO_ANSWERS.get(exchange.name)) is not None:
        with pytest.raises(kind):
            answer(exchange)
        return
    response, (members, items) = answer(exchange), said(exchange)
    if exchange.provider not in OTHER_IDS:
        assert response.id == members["id"]
    assert response.model == members["model"]
    contents = [part for item in items if item["type"] == "message" for part in item["content"]]
    assert response.content == "".join(part.get("text", "") for part in contents)
    assert (response.refusal or "") == "".join(part.get("refusal", "") for part in contents)
    thoughts = [part for item in items if item["type"] == "reasoning" for part in item.get("summary") or ()]
    full = [part for item in items if item["type"] == "reasoning" for part in item.get("content") or ()]
    assert sorted(response.thinking) == sorted("".join(part["text"] for part in (*thoughts, *full)))
    encrypted = [item["encrypted_content"] for item in items if item.get("encrypted_content")]
    assert [part.signature for part in response.parts if isinstance(part, Thinking) and part.signature] == [
        f"openai:{text}" for text in encrypted
    ]
    calls = [item for item in items if item["type"] == "function_call"]
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
        (item["call_id"], item["name"], item["arguments"]) for item in calls
    ]
    others = [item for item in items if item["type"] not in ("message", "reasoning", "function_call")]
    assert [json.loads(bytes(part.raw)) for part in response.parts if isinstance(part, Opaque)] == others
    assert _ids(response) >= {item["id"] for item in items if "id" in item}
    assert response.finish_reason == (
        "length" if members["status"] == "incomplete" else "tool_calls" if calls else "stop"
    )
    if usage := members.get("usage"):
        assert response.usage is not None
        assert response.usage.input_tokens == usage["input_tokens"]
        assert response.usage.output_tokens == usage["output_tokens"]
        assert (response.usage.reasoning_tokens or 0) == usage.get("output_tokens_details", {}).get(
            "reasoning_tokens", 0
        )


def _ids(response: CompletionResponse) -> set[str]:
    own = [kept(part.provider_metadata, "openai_responses").get("item", {}) for part in response.parts]
    own += [json.loads(bytes(part.raw)) for part in response.parts if isinstance(part, Opaque)]
    return {members["id"] for members in own if "id" in members}


@each("responses")
def test_every_recorded_stream_says_the_same_when_cut_into_pieces(exchange: Exchange) -> None:
    if exchange.status != 200 or not is_stream(exchange) or exchange.name in NO_ANSWERS:
        return
    whole = answer(exchange)
    for size in (7, 61, 1000):
        decoder = outbound.stream_decoder(TARGET)
        events = []
        for start in range(0, len(exchange.body), size):
            events += decoder.feed(exchange.body[start : start + size])
        assert collect([*events, *decoder.close()]) == whole


@each("responses")
def test_every_recorded_answer_goes_out_again_as_it_came(exchange: Exchange) -> None:
    if exchange.status != 200 or exchange.name in NO_ANSWERS:
        return
    response = answer(exchange)
    plain = outbound.decode_response(inbound.encode_response(response, ASKED), TARGET)
    encoder, decoder = inbound.stream_encoder(ASKED), outbound.stream_decoder(TARGET)
    written = b"".join(encoder.encode(event) for event in replay(response))
    streamed = collect([*decoder.feed(written), *decoder.close()])
    for again in (plain, streamed):
        assert again.id == response.id
        assert (again.parts == response.parts) is (exchange.name not in IDS_ADDED)
        assert (again.text, again.thinking) == (response.text, response.thinking)
        assert (again.finish_reason, again.raw_finish_reason) == (response.finish_reason, response.raw_finish_reason)
        assert _counts(again) == _counts(response)
        assert kept(again.extra, "openai_responses").items() >= kept(response.extra, "openai_responses").items()


def _counts(response: CompletionResponse) -> dict[str, Any]:
    """Without nulls and zeros: clients read the counts without looking."""
    if response.usage is None:
        return {}
    names = (name for name in response.usage.__struct_fields__ if name != "provider_metadata")
    return {name: count for name in names if (count := getattr(response.usage, name))}


@each("responses", streamed=True)
def test_deltas_come_as_the_service_sent_them(exchange: Exchange) -> None:
    """The end of an item says it whole; until then a caller reads along, and not only then."""
    if exchange.name in NO_ANSWERS:
        return
    deltas = exchange.body.count(b'"response.output_text.delta"')
    decoder = outbound.stream_decoder(TARGET)
    texts: set[int] = set()
    count = 0
    for event in decoder.feed(exchange.body):
        if isinstance(part := getattr(event, "part", None), Text) and not isinstance(part, Refusal):
            texts.add(event.index)  # type: ignore[union-attr]  # a PartStart
        count += hasattr(event, "text") and getattr(event, "index", -1) in texts
    assert count >= deltas


# ---------------------------------------------------------------- requests


def written(exchange: Exchange) -> Any:
    request = inbound.decode_request(json.dumps(exchange.request).encode())
    target = Target(card=ModelCard(id=exchange.request.get("model") or "deployment"), quirks=TARGET.quirks)
    sent = outbound.encode_request(request, target, stream=request.stream)
    assert sent.notices == ()
    return json.loads(sent.body)


@each("responses")
def test_every_recorded_request_is_written_as_it_was_read(exchange: Exchange) -> None:
    if exchange.request is None:
        assert exchange.status == 200  # 25 recordings have an answer only
        return
    assert normalised(written(exchange)) == normalised({"model": "deployment", **exchange.request})


SCHEMAS = {
    "openai": ("openai.openapi.json", "CreateResponse"),
    "azure-openai": ("openai.openapi.json", "CreateResponse"),
}

_BY_SERVICE = "a search whose sources are null: the item as the service itself had given it"
NOT_IN_SCHEMA: dict[str, str] = {
    "openai/responses-chatlas-test-echo-display-providers-test-openai-citations-become-the-source-list-2": (
        _BY_SERVICE
    ),
    "openai/responses-mirascope-test-web-search-tool-openai-gpt-4o-responses-2": _BY_SERVICE,
    "openai/responses-mirascope-test-web-search-tool-stream-openai-gpt-4o-responses-2": _BY_SERVICE,
    "openai/responses-pydantic-ai-test-openai-responses-test-openai-responses-image-generation-with-tool-output": (
        "an image that is referred to by its id alone"
    ),
    "openai/responses-pydantic-ai-test-openai-responses-test-openai-responses-model-http-error": (
        "temperature -1 (recorded 400)"
    ),
}
"""Requests that the published schema refuses; the service answered 200 unless said otherwise."""


def _errors(exchange: Exchange) -> list[str]:
    schema = service_schema(*SCHEMAS[exchange.provider])
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in schema.iter_errors(_filled(written(exchange)))
    ]


# What the published schema requires and the service does not (recorded answers of status 200).
_FILLERS: dict[str, dict[str, Any]] = {
    "function": {"strict": None, "parameters": None},
    "reasoning": {"id": "rs_1"},
    "output_text": {"annotations": [], "logprobs": []},
    "input_image": {"detail": "auto"},
}


def _filled(node: Any) -> Any:
    """With the members that the schema alone requires."""
    if isinstance(node, list):
        return [_filled(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _filled(value) for key, value in node.items()}
    if isinstance(node.get("content"), list) and node.get("role") == "assistant":
        return {"id": "msg_1", "status": "completed", "type": "message", **node}
    kind = node.get("type")
    return {**_FILLERS.get(kind, {}), **node} if isinstance(kind, str) else node


@each("responses")
def test_every_request_that_we_write_fits_the_services_schema(exchange: Exchange) -> None:
    if exchange.request is None or exchange.provider not in SCHEMAS:
        return
    errors = _errors(exchange)
    if exchange.name in NOT_IN_SCHEMA:
        assert errors, "it fits now: take it from NOT_IN_SCHEMA"
    else:
        assert not errors, errors


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_declared_normalisation_is_needed(normalisation: Callable[[dict[str, Any]], None]) -> None:
    """Taken from the list, it would leave some recorded request different from what we write."""
    found = exchanges("responses")
    if not found:
        pytest.skip(f"no recordings in {ROOT}")
    others = [other for other in NORMALISATIONS if other is not normalisation]
    assert any(
        normalised(written(exchange), others) != normalised({"model": "deployment", **exchange.request}, others)
        for exchange in found
        if exchange.request is not None
    )


def test_the_tables_of_exceptions_name_recordings_that_exist() -> None:
    names = {exchange.name for exchange in exchanges("responses")}
    if not names:
        pytest.skip(f"no recordings in {ROOT}")
    assert names.issuperset(NO_ANSWERS.keys() | NOT_IN_SCHEMA.keys() | IDS_ADDED)


# ---------------------------------------------------------------- what we write for a caller


def _fits(name: str, value: Any) -> list[str]:
    errors = service_schema("openai.openapi.json", name).iter_errors(value)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in errors]


@cache
def _schema_of_events() -> dict[str, str]:
    """The name of each event's schema, by its type."""
    schemas = json.loads((ROOT / "schemas" / "openai.openapi.json").read_text())["components"]["schemas"]
    names = [branch["$ref"].rpartition("/")[2] for branch in schemas["ResponseStreamEvent"]["anyOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


@pytest.mark.slow
@each("chat", "azure-openai", "deepseek")
def test_what_we_write_for_a_caller_fits_the_services_schema(exchange: Exchange) -> None:
    """Answers of another dialect, so that all of it is ours."""
    if exchange.status != 200 or exchange.body.lstrip()[:1] != b"{" or exchange.name in ERRORS_INSIDE_200:
        return
    response = openai_chat.decode_response(exchange.body, TARGET)
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": True}
    asked = inbound.decode_request(json.dumps({"input": "Hi", "tools": [tool]}).encode())
    assert _fits("Response", json.loads(inbound.encode_response(response, asked))) == []
    encoder = inbound.stream_encoder(asked)
    written = b"".join(encoder.encode(event) for event in replay(response))
    checked: set[str] = set()
    for line in written.split(b"\n"):
        if line.startswith(b"data: ") and (event := json.loads(line[6:]))["type"] not in checked:
            checked.add(event["type"])  # one of each: the validator is slow
            if "response" in event and event["response"]["usage"] is None:
                del event["response"]["usage"]  # null until it is known, says the service; not so its schema
            assert _fits(_schema_of_events()[event["type"]], event) == []
