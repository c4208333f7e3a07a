"""Gemini's signatures on calls, through SDKs whose calls have no place for them, and back to Gemini."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest

from genai_spine.dialects.anthropic_messages import inbound as messages_inbound
from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_responses import inbound as responses_inbound
from genai_spine.model.card import ModelCard
from genai_spine.providers import codecs
from genai_spine.testing.fixtures import RunningGateway, running_gateway

MODEL = "gemini/gemini-3-flash-preview"
SIGNATURE = "CiQBjz1rX+/a0w=="
CALLS = [
    {"functionCall": {"id": "c1", "name": "f", "args": {"n": 1}}, "thoughtSignature": SIGNATURE},
    {"functionCall": {"id": "c2", "name": "f", "args": {"n": 2}}},
]
PARTS = [{"text": "I look."}, *CALLS]
TOOL: dict[str, Any] = {"name": "f", "description": "", "input_schema": {"type": "object", "properties": {}}}
RESPONSES_TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}


class Gemini(BaseHTTPRequestHandler):
    """Calls both functions, whatever it is asked."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        candidate = {"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP", "index": 0}
        body = json.dumps({"candidates": [candidate], "modelVersion": "gemini-3", "responseId": "r1"}).encode()
        is_stream = "stream" in self.path
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        body = b"data: " + body + b"\r\n\r\n" if is_stream else body
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def gemini() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gemini) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def received() -> list[dict[str, Any]]:
    Gemini.received = []
    return Gemini.received


@pytest.fixture(scope="module")
def gateway(gemini: ThreadingHTTPServer) -> Iterator[RunningGateway]:
    url = f"http://127.0.0.1:{gemini.server_address[1]}/v1beta"
    with running_gateway({"providers": {"gemini": {"api_key": "k", "base_url": url}}}) as running:
        yield running


def sent_back(received: list[dict[str, Any]]) -> Any:
    """The model's parts in the last request."""
    (content,) = [each for each in received[-1]["contents"] if each["role"] == "model"]
    return content["parts"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_anthropics_sdk_brings_the_signature_back(
    gateway: RunningGateway, received: list[dict[str, Any]], stream: bool
) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0) as client:
        talk: list[Any] = [{"role": "user", "content": "?"}]
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 99, "tools": [TOOL]}
        if stream:
            with client.messages.stream(**asked, messages=talk) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked, messages=talk)
        kinds = [block.type for block in answer.content]
        assert kinds == ["text", "redacted_thinking", "tool_use", "tool_use"]
        talk.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "1"}
            for block in answer.content
            if block.type == "tool_use"
        ]
        talk.append({"role": "user", "content": results})
        told = client.messages.with_raw_response.create(**asked, messages=talk)
    assert sent_back(received) == PARTS
    assert "thinking" not in told.headers.get("x-spine-notices", "")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_openais_sdk_brings_the_signature_back(
    gateway: RunningGateway, received: list[dict[str, Any]], stream: bool
) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
        talk: list[Any] = [{"role": "user", "content": "?"}]
        asked: dict[str, Any] = {"model": MODEL, "tools": [RESPONSES_TOOL], "store": False}
        if stream:
            with client.responses.stream(**asked, input=talk) as events:
                for _ in events:
                    pass
                answer: Any = events.get_final_response()
        else:
            answer = client.responses.create(**asked, input=talk)
        assert [item.type for item in answer.output] == ["message", "reasoning", "function_call", "function_call"]
        talk += answer.output
        talk += [
            {"type": "function_call_output", "call_id": item.call_id, "output": "1"}
            for item in answer.output
            if item.type == "function_call"
        ]
        told = client.responses.with_raw_response.create(**asked, input=talk)
    assert sent_back(received) == PARTS
    assert "thinking" not in told.headers.get("x-spine-notices", "")


def test_no_other_service_sees_it() -> None:
    """Neither as a thought nor beside the call, which some refuse."""
    hidden = {"type": "redacted_thinking", "data": f"google:call:{SIGNATURE}"}
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": f"redacted:{hidden['data']}"}
    called = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    said = {"role": "user", "content": "?"}
    requests = (
        messages_inbound.decode_request(
            json.dumps(
                {"model": "m", "max_tokens": 9, "messages": [said, {"role": "assistant", "content": [hidden, call]}]}
            ).encode()
        ),
        responses_inbound.decode_request(json.dumps({"model": "m", "input": [said, item, called]}).encode()),
    )
    for request in requests:
        for dialect in ("openai_chat", "openai_responses", "anthropic_messages", "ollama_chat", "bedrock_converse"):
            sent = codecs.outbound(dialect).encode_request(request, Target(card=ModelCard(id="m")), stream=False)
            assert b"google" not in sent.body and SIGNATURE.encode() not in sent.body
            assert not [notice for notice in sent.notices if notice.code == "omitted_thinking"]


def test_the_place_of_googles_openai_compatibility_is_kept() -> None:
    beside = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **beside}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    target = Target(card=ModelCard(id="m"))
    chat = codecs.outbound("openai_chat")
    answer = chat.decode_response(json.dumps({"choices": [choice], "model": "m"}).encode(), target)
    told = json.loads(messages_inbound.encode_response(answer, messages_inbound.decode_count_request(COUNTED)))
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": told["content"]}]
    again = messages_inbound.decode_request(json.dumps({"model": "m", "max_tokens": 9, "messages": talk}).encode())
    sent = json.loads(chat.encode_request(again, target, stream=False).body)
    assert sent["messages"][-1]["tool_calls"] == [call]


COUNTED = b'{"model": "m", "messages": [{"role": "user", "content": "?"}]}'
