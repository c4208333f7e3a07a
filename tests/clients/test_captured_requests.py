"""Requests that real clients have sent, as they were captured, to the gateway in front of every upstream.

The captures are not part of the project: they are read from GENAI_CLIENTS or ../shared/clients. Long strings
are shortened in them, to `<str LENGTH>`, and written out again here.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from client_stage import KEY, UPSTREAMS, Place

from genai_spine.testing.simulator import Simulator

FOLDER = Path(os.environ.get("GENAI_CLIENTS") or Path(__file__).parents[3] / "shared" / "clients")
SERVED = re.compile(
    r"(/v1)?/(chat/completions|responses)|/v1/messages(/count_tokens)?|/api/(chat|generate|embed|embeddings|show|tags|ps)"
    r"|/v1/embeddings|/v1(beta)?/models(/(?!.*:).+)?|/"
    r"|/v1(beta)?/models/[^:]+:(generateContent|streamGenerateContent|countTokens|batchEmbedContents)"
)
ENDINGS = {
    "openai": b"data: [DONE]\n\n",
    "responses": b"}}\n\n",
    "anthropic": b'{"type":"message_stop"}\n\n',
    "ollama": b"\n",
    "gemini": b"}\n\n",
}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_s: float

    def json(self) -> Any:
        return json.loads(self.body)


class Captured(NamedTuple):
    name: str
    method: str
    path: str
    headers: list[list[str]]
    body: Any

    @property
    def dialect(self) -> str:
        if self.path.startswith("/v1/messages"):
            return "anthropic"
        if self.path.endswith("/responses"):
            return "responses"
        if "/models/" in self.path and self.method == "POST":
            return "gemini"
        return "ollama" if self.path.startswith("/api/") else "openai"

    @property
    def is_stream(self) -> bool:
        return self.body is not None and (bool(self.body.get("stream")) or ":stream" in self.path)

    def body_for(self, model: str) -> dict[str, Any] | None:
        if self.body is None:
            return None
        named = {key: model for key in ("model", "name") if key in self.body}
        return {**_written_out(self.body), **named}


def _written_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _written_out(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_written_out(inner) for inner in value]
    if isinstance(value, str) and (found := re.fullmatch(r"<str (\d+)>", value)):
        return ("All work and no play makes\n" * (int(found[1]) // 27 + 1))[: int(found[1])]
    return value


def _captures() -> list[Captured]:
    return [
        Captured(f"{file.stem}-{number}", one["method"], one["path"], one["headers"], one["body"])
        for file in sorted(FOLDER.glob("*.json"))
        for number, one in enumerate(json.loads(file.read_text()))
    ]


CAPTURES = _captures()
CLAUDE_CODE = [captured for captured in CAPTURES if captured.name.startswith("claude-code") and captured.is_stream]
here = pytest.mark.skipif(not CAPTURES, reason=f"no captured requests in {FOLDER} (GENAI_CLIENTS)")


def send(place: Place, captured: Captured, body: bytes | None, path: str | None = None) -> Answer:
    """The request with the client's own headers, and the gateway's key in place of the client's."""
    connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=30)
    begun = time.perf_counter()
    connection.putrequest(captured.method, path or captured.path, skip_accept_encoding=True, skip_host=True)
    connection.putheader("Host", urlsplit(place.url).netloc)
    for name, value in captured.headers:
        if name.lower() in ("authorization", "x-api-key", "x-goog-api-key"):
            value = f"Bearer {KEY}" if name.lower() == "authorization" else KEY
        if name.lower() not in ("content-length", "connection", "host", "transfer-encoding"):
            connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, data, time.perf_counter() - begun)


def written(body: Any) -> bytes | None:
    return None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def sends_a_key(captured: Captured) -> bool:
    return any(name.lower() in ("authorization", "x-api-key", "x-goog-api-key") for name, _ in captured.headers)


@here
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("captured", CAPTURES, ids=lambda captured: captured.name)
def test_what_clients_send_is_answered(captured: Captured, upstream: str, place_of: Any) -> None:
    place = place_of(upstream)
    model = place.model()
    path = re.sub(r"(?<=/models/)[^:?]+", model, captured.path)
    answer = send(place, captured, written(captured.body_for(model)), path)
    if captured.method == "HEAD":
        assert (answer.status, answer.body) == (200, b"")
    elif not sends_a_key(captured):  # LiteLLM asks /api/show without one
        assert answer.status == 401 and answer.json()["error"]
    elif not SERVED.fullmatch(path.partition("?")[0]):
        assert answer.status in (404, 405), answer  # 405 where Gemini's paths lie below /v1/models
        assert answer.json()["error"]["message"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.duration_s < 1
    elif "embed" in path.lower() and upstream == "anthropic":
        assert answer.status == 400 and "makes no embeddings" in str(answer.json()["error"])
    elif not captured.is_stream:
        assert answer.status == 200, answer
        assert isinstance(answer.json(), dict)
    else:
        assert answer.status == 200, answer
        assert answer.body.endswith(ENDINGS[captured.dialect]), answer.body[-300:]
        assert b"error" not in answer.body[-300:]
        if captured.dialect == "responses":
            assert b"\nevent: response.completed\n" in answer.body
        if captured.dialect == "ollama":
            assert json.loads(answer.body.splitlines()[-1])["done"] is True


# ---------------------------------------------------------------- Claude Code


@here
@pytest.mark.parametrize("captured", CLAUDE_CODE, ids=lambda captured: captured.name)
def test_claude_code_reaches_anthropic_byte_for_byte_but_the_model(
    captured: Captured, place_of: Any, simulator: Simulator
) -> None:
    place = place_of("anthropic")
    body = written(_described(captured.body_for(place.model("claude-opus-4-8"))))
    assert body is not None and len(body) > 85_000
    answer = send(place, captured, body)
    assert answer.status == 200
    (received,) = simulator.received
    assert received.body == body.replace(b'"anthropic/claude-opus-4-8"', b'"claude-opus-4-8"', 1)
    sent = {name.lower(): value for name, value in captured.headers}
    assert received.header("anthropic-beta") == sent["anthropic-beta"]
    assert received.header("anthropic-version") == sent["anthropic-version"]
    assert KEY not in str(received.headers)
    assert "x-spine-notices" not in answer.headers


@here
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("captured", CLAUDE_CODE, ids=lambda captured: captured.name)
def test_claude_code_works_with_every_provider(
    captured: Captured, upstream: str, place_of: Any, simulator: Simulator
) -> None:
    """One turn with a tool call, streamed, and the next one with its result: everything said arrives."""
    place = place_of(upstream)
    body = _described(captured.body_for(place.model("sim-think")))
    first = send(place, captured, written(body))
    assert first.status == 200, first
    blocks = _blocks(first.body)
    call = blocks[-1]
    assert call["type"] == "tool_use" and call["name"] in {tool["name"] for tool in body["tools"]}
    arrived = simulator.received[-1].json()
    assert len(arrived["tools"]) == len(body["tools"])
    texts = _texts(arrived)
    for block in body["system"]:
        assert any(block["text"] in text for text in texts)
    assert any(body["messages"][-1]["content"] in text for text in texts)
    if upstream != "anthropic":
        assert "context_management" in first.headers["x-spine-notices"]

    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "all is well"}]}
    turns = [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    second = send(place, captured, written({**body, "messages": [*body["messages"], *turns]}))
    assert second.status == 200, second
    text = "".join(block.get("text", "") for block in _blocks(second.body))
    assert text.startswith("The tool said: all is well"), text


def _described(body: dict[str, Any] | None) -> dict[str, Any]:
    """The capture left out what its 25 tools are for: 50 kB."""
    assert body is not None
    tools = [{**tool, "description": _written_out("<str 2050>")} for tool in body["tools"]]
    return {**body, "tools": tools}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _texts(item)]


def _blocks(stream: bytes) -> list[dict[str, Any]]:
    """The content blocks of an Anthropic stream, as a client keeps them."""
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    events = [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert events[-1] == {"type": "message_stop"}
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            match delta["type"]:
                case "text_delta":
                    block["text"] += delta["text"]
                case "thinking_delta":
                    block["thinking"] += delta["thinking"]
                case "signature_delta":
                    block["signature"] = delta["signature"]
                case "input_json_delta":
                    arguments[event["index"]] = arguments.get(event["index"], "") + delta["partial_json"]
    for index, text in arguments.items():
        blocks[index]["input"] = json.loads(text)
    return blocks


@here
def test_claude_code_finds_the_models(place_of: Any) -> None:
    (asked,) = (one for one in CAPTURES if one.path == "/v1/models?limit=1000")
    answer = send(place_of("anthropic"), asked, None)
    listed = answer.json()
    assert {"data", "has_more", "first_id", "last_id"} <= set(listed)
    assert {"type", "id", "display_name", "created_at"} <= set(listed["data"][0])
