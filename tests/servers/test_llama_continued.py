"""A stream that broke is gone on with by llama.cpp's server: it takes the beginning, and says it once more."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
from llama_server import KEY, MODEL, LlamaServer

from genai_spine import ProviderManager
from genai_spine.model.fold import collect

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from callers import peer

pytestmark = pytest.mark.servers
ASKED = {"role": "user", "content": "Tell me a story."}
BEGUN = "Once upon a"


def breaks_off(sock: socket.socket) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    deltas = [{"role": "assistant", "content": ""}, {"content": BEGUN}]
    chunks = [{"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    data = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    sock.sendall(head + b"%x\r\n%b\r\n" % (len(data), data))
    raise OSError  # to the peer: this connection is over


def test_the_beginning_is_left_open(tool_server: LlamaServer) -> None:
    messages = [ASKED, {"role": "assistant", "content": BEGUN}]
    assert tool_server.post("/apply-template", {"messages": messages})["prompt"].endswith(BEGUN)


async def test_it_goes_on_where_another_stopped(tool_server: LlamaServer) -> None:
    with peer(breaks_off) as broken:
        settings = {
            "providers": {
                "first": {"type": "openai_compatible", "base_url": f"{broken.url}/v1"},
                "llama": {"type": "llamacpp", "base_url": f"{tool_server.url}/v1", "api_key": KEY},
            },
            "routes": {"r": {"targets": ["first/m", f"llama/{MODEL}"], "on_break": "continue"}},
            "retry": {"max_retries": 0},
        }
        async with ProviderManager.from_settings(settings) as manager:
            stream = manager.stream([ASKED], model="r", max_tokens=12, temperature=0)
            answer = collect([event async for event in stream])
    body = {"messages": [ASKED, {"role": "assistant", "content": BEGUN}], "max_tokens": 9, "temperature": 0}
    alone = tool_server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
    assert answer.content.startswith(BEGUN)
    assert answer.content.count(BEGUN) == 1
    assert alone.startswith(answer.content[: len(BEGUN) + 1])
    assert [notice.code for notice in answer.notices] == ["continued"]
