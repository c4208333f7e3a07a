"""Every recorded exchange of `/api/chat` and `/api/generate`, and what real clients send."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from recorded_exchanges import CLIENTS, ROOT, Exchange, each

from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import inbound, inbound_generate, outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.fold import collect
from genai_spine.model.response import CompletionResponse, FinishReason

TARGET = Target(card=ModelCard(id="asked-model"))


def read(exchange: Exchange) -> CompletionResponse:
    if not exchange.streamed:
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def said(exchange: Exchange) -> tuple[str, str, list[tuple[str, Any]], dict[str, Any]]:
    """Text, thought, calls and last line, read in the plainest way there is."""
    lines = [json.loads(line) for line in exchange.body.splitlines() if line.strip()]
    messages = [line.get("message") or {"content": line["response"]} for line in lines]
    calls = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
    return (
        "".join(message["content"] for message in messages),
        "".join(message.get("thinking") or "" for message in messages),
        [(call["name"], call["arguments"]) for call in calls],
        lines[-1],
    )


@each("ollama_chat")
def test_recorded_answers_are_read(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        assert json.loads(exchange.body)["error"] in error.message
        assert error.status_code == exchange.status
        return
    response = read(exchange)
    text, thought, calls, last = said(exchange)
    assert response.content == text
    assert response.thinking == thought
    assert [(call.name, call.input) for call in response.tool_calls] == calls
    assert all(call.id for call in response.tool_calls)
    assert response.model == last["model"]
    assert response.usage is not None
    assert response.usage.input_tokens == last["prompt_eval_count"]
    assert response.usage.output_tokens == last["eval_count"]
    assert response.raw_finish_reason == last["done_reason"]
    finish = FinishReason.TOOL_CALLS if calls and last["done_reason"] == "stop" else last["done_reason"]
    assert response.finish_reason == finish
    kinds = [type(part) for part in response.parts]
    assert kinds == sorted(kinds, key=(Thinking, Text, ToolCall).index)


@each("ollama_generate")
def test_recorded_generations_are_read(exchange: Exchange) -> None:
    response = read(exchange)
    assert response.content == said(exchange)[0]


@each("ollama_chat", streamed=True)
def test_recorded_streams_are_read_the_same_however_they_are_cut(exchange: Exchange) -> None:
    whole = read(exchange)
    for size in (1, 2, 3, 7, 64, 1000, 4093):
        decoder = outbound.stream_decoder(TARGET)
        events = [
            event
            for place in range(0, len(exchange.body), size)
            for event in decoder.feed(exchange.body[place : place + size])
        ]
        assert collect([*events, *decoder.close()]) == whole


# ---------------------------------------------------------------- requests


def _drop(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(recorded: dict[str, Any], sent: dict[str, Any]) -> None:
        if key in recorded and recorded[key] == value and key not in sent:
            del recorded[key]

    return change


def _forget_ids(recorded: dict[str, Any], sent: dict[str, Any]) -> None:
    for before, after in zip(recorded["messages"], sent["messages"], strict=True):
        for name in ("tool_call_id", "tool_name"):
            if name not in before:
                after.pop(name, None)
        for call, written in zip(before.get("tool_calls", ()), after.get("tool_calls", ()), strict=True):
            if "id" not in call:
                del written["id"]


def _drop_empty_images(recorded: dict[str, Any], sent: dict[str, Any]) -> None:
    for message in recorded["messages"]:
        if message.get("images") == []:
            del message["images"]


NORMALISATIONS = {
    "no tools are written as none, not as an empty list": _drop("tools", []),
    "no options are written as none": _drop("options", {}),
    'format "" was how older clients said that they want none': _drop("format", ""),
    "null is written as absent": _drop("keep_alive", None),
    "no images are written as none (LiteLLM)": _drop_empty_images,
    "calls and results without ids get them, and results the name of their call": _forget_ids,
}


def same_but_normalised(recorded: Any, sent: Any) -> None:
    recorded, sent = copy.deepcopy(recorded), copy.deepcopy(sent)
    for change in NORMALISATIONS.values():
        change(recorded, sent)
    assert sent == recorded


@cache
def schema() -> OAS31Validator | None:
    path = ROOT / "schemas" / "ollama.openapi.yaml"
    if not path.exists():
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(path.read_text(), Loader=loader)
    return OAS31Validator({"$ref": "#/components/schemas/ChatRequest", "components": document["components"]})


def check_schema(sent: Any) -> None:
    if (validator := schema()) is not None:
        validator.validate(sent)


@each("ollama_chat")
def test_recorded_requests_are_written_as_they_came(exchange: Exchange) -> None:
    request = inbound.decode_request(json.dumps(exchange.request).encode())
    target = Target(card=ModelCard(id=exchange.request["model"]))
    sent = outbound.encode_request(request, target, stream=request.stream)
    same_but_normalised(exchange.request, json.loads(sent.body))
    check_schema(json.loads(sent.body))
    assert sent.notices == ()


@each("ollama_generate")
def test_recorded_generations_are_asked_as_chats(exchange: Exchange) -> None:
    request = inbound_generate.decode_request(json.dumps(exchange.request).encode())
    sent = json.loads(outbound.encode_request(request, TARGET, stream=request.stream).body)
    check_schema(sent)
    assert sent["messages"][-1] == {"role": "user", "content": exchange.request["prompt"]}


def test_a_normalisation_that_nothing_needs_would_be_seen() -> None:
    with pytest.raises(AssertionError):
        same_but_normalised({"messages": [], "options": {"seed": 1}}, {"messages": []})


def client_requests() -> list[Any]:
    found = []
    for path in sorted(CLIENTS.glob("*.json")):
        for sent in json.loads(path.read_text()):
            if sent["path"] in ("/api/chat", "/api/generate"):
                found.append(pytest.param(sent, id=f"{path.stem}{sent['path']}"))
    if not found:
        skipped = pytest.mark.skip(reason=f"no captures of clients in {CLIENTS}")
        return [pytest.param(None, marks=skipped)]
    return found


@pytest.mark.parametrize("sent", client_requests())
def test_real_clients_are_understood(sent: Any) -> None:
    chat = sent["path"] == "/api/chat"
    request = (inbound if chat else inbound_generate).decode_request(json.dumps(sent["body"]).encode())
    target = Target(card=ModelCard(id=sent["body"]["model"]))
    written = json.loads(outbound.encode_request(request, target, stream=request.stream).body)
    check_schema(written)
    if chat:
        same_but_normalised(sent["body"], written)
