"""How a stream begins: what promises nothing yet, and what is an end and no answer. Another target takes over then."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from callers import KEY, ask, peer

from genai_spine.testing.fixtures import running_gateway

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **members}).encode())


def chunk(**members: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(members).encode()


def saying(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Pieces of a stream, each sent alone."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(SSE)
        for piece in pieces:
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(0.1)
        sock.sendall(b"0\r\n\r\n")

    return answer


def begun_by_claude(model: str) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 1, "server_tool_use": {"web_search_requests": 0}}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return event("message_start", message=message)


def created(instructions: str) -> bytes:
    response = {"id": "resp_1", "model": "m", "status": "in_progress", "output": [], "instructions": instructions}
    return event("response.created", response=response)


OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
FAILED = event("response.failed", response={"status": "failed", "error": {"code": "server_error", "message": "Oh"}})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "well"})
CLAUDE = begun_by_claude("m") + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
CLAUDE += DELTA + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
CLAUDE += event("message_stop")
COMPLETED = event("response.completed", response={"id": "resp_2", "model": "m", "status": "completed", "output": []})
CHAT = chunk(choices=[{"index": 0, "delta": {"content": "well"}, "finish_reason": "stop"}]) + b"data: [DONE]\n\n"
FILTERED = chunk(choices=[], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
ROLE = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
REFUSED = chunk(error={"message": "Oh", "type": "server_error"})
SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}

BEGINNINGS: dict[str, tuple[str, str, dict[str, Any], tuple[bytes, ...], bytes]] = {
    "a model that is named after its thinking": (
        *("anthropic", "/v1/messages", SAID),
        *((begun_by_claude("kimi-k2-thinking"), OVERLOADED), CLAUDE),
    ),
    "instructions about data": (
        *("openai", "/v1/responses", {"input": "Hi"}),
        *((created("This is data: a, and data: b"), FAILED), COMPLETED),
    ),
    "a word on the prompt": (
        *("openai", "/v1/chat/completions", SAID),
        *((FILTERED, ROLE, REFUSED), CHAT),
    ),
    "an end without an answer": ("openai", "/v1/chat/completions", SAID, (b"data: [DONE]\n\n",), CHAT),
}


@pytest.mark.parametrize(("kind", "path", "body", "first", "second"), BEGINNINGS.values(), ids=BEGINNINGS)
def test_another_target_takes_over(
    kind: str, path: str, body: dict[str, Any], first: tuple[bytes, ...], second: bytes
) -> None:
    base = "" if kind == "anthropic" else "/v1"
    with peer(saying(*first)) as one, peer(saying(second)) as other:
        providers = {
            name: {"type": kind, "base_url": running.url + base, "api_key": KEY, "model": "m"}
            for name, running in (("one", one), ("other", other))
        }
        settings = {
            "providers": providers,
            "routes": {"r": {"targets": ["one/m", "other/m"]}},
            "retry": {"max_retries": 0},
            "timeouts": {"connect": 2, "first_token": 5, "idle": 5, "total": 20},
        }
        with running_gateway(settings) as gateway:
            answer = ask(gateway, path, {"model": "r", "stream": True, **body})
    assert (answer.status, answer.header("x-spine-provider")) == (200, "other")
    assert answer.body == second
