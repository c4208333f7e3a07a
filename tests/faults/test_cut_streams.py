"""Every stream that was recorded, cut anywhere: the caller gets one model's whole answer, a continued one that says
so, or an error; never a part of an answer that looks like the whole."""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from callers import ANTHROPIC, KEY, OPENAI, Answer, Dialect, Peer, _events, ask, peer

from genai_spine.testing.fixtures import RunningGateway, running_gateway

sys.path.append(str(Path(__file__).parents[1] / "dialects"))
import bedrock_exchanges
import recorded_exchanges

SSE = "text/event-stream"
EVENTSTREAM = "application/vnd.amazon.eventstream"
APIS: dict[str, tuple[dict[str, str], str]] = {
    "chat": ({"type": "openai_compatible"}, SSE),
    "responses": ({"type": "openai", "dialect": "openai_responses"}, SSE),
    "messages": ({"type": "anthropic"}, SSE),
    "generate_content": ({"type": "gemini"}, SSE),
    "cohere_v2_chat": ({"type": "cohere"}, SSE),
    "ollama_chat": ({"type": "ollama", "dialect": "ollama_chat"}, "application/x-ndjson"),
    "converse_stream": ({"type": "bedrock"}, EVENTSTREAM),
    "invoke_stream": ({"type": "bedrock", "dialect": "bedrock_invoke"}, EVENTSTREAM),
}
"""What was recorded of each, as the settings of a provider, and its content type."""
RECORDINGS = 10
CUTS = 3
END = "AND SO ON."


def recordings(api: str) -> list[bytes]:
    """A few streams of an API, as bytes."""
    if api in ("converse_stream", "invoke_stream"):
        found = [each.body for each in bedrock_exchanges.exchanges(api) if each.streamed and each.status == 200]
    else:
        found = [each.body for each in recorded_exchanges.exchanges(api) if each.status == 200]
        found = [body for body in found if body[:5] in (b"data:", b"event", b": OPE") or b'\n{"' in body]
    if not found:
        pytest.skip(
            f"no recordings in {recorded_exchanges.ROOT}: set GENAI_WIRE to the folder of the recorded exchanges"
        )
    return random.Random(api).sample(found, min(RECORDINGS, len(found)))


def cut_off(data: bytes, content_type: str, how: str) -> Callable[[socket.socket], None]:
    """A stream of these bytes that ends in good order ("end"), closed ("close") or reset ("reset")."""

    def answer(sock: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        sock.sendall(head.encode() + (b"%x\r\n%b\r\n" % (len(data), data) if data else b""))
        if how == "end":
            sock.sendall(b"0\r\n\r\n")
            return
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        raise OSError  # to the peer: this connection is over

    return answer


def continuing() -> bytes:
    """A stream of another provider, with `END` for its text."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": END}, "finish_reason": None}]},
        {
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        },
    ]
    head = {"id": "b", "object": "chat.completion.chunk", "created": 1, "model": "b"}
    return b"".join(b"data: %b\n\n" % json.dumps({**head, **chunk}).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def said(dialect: Dialect, body: bytes) -> str:
    """All that a stream says, of whatever kind; a call without arguments may be written in two ways."""
    texts: list[str] = []
    for _, data in _events(body):
        if data == "[DONE]":
            continue
        value = json.loads(data)
        if dialect is ANTHROPIC:
            deltas = [value.get("delta") or {}]
            texts += [d.get("text") or d.get("thinking") or d.get("partial_json") or "" for d in deltas]
            continue
        for choice in value.get("choices") or ():
            delta = choice.get("delta") or {}
            calls = [(call.get("function") or {}).get("arguments") or "" for call in delta.get("tool_calls") or ()]
            texts += [delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or "", *calls]
    return "".join([text for text in texts if text != "{}"])


class Stage:
    """A gateway in front of one peer for each API, and of one that goes on."""

    def __init__(self, gateway: RunningGateway, peers: dict[str, Peer], next_one: Peer) -> None:
        self.gateway = gateway
        self.peers = peers
        self.next_one = next_one

    def ask(self, api: str, dialect: Dialect, route: str, data: bytes, how: str = "end") -> Answer:
        self.peers[api].answers = [cut_off(data, APIS[api][1], how)]
        return ask(self.gateway, dialect.path, dialect.request(f"{route}-{api}", stream=True))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    peers = {api: Peer(b"") for api in APIS}
    with peer(cut_off(continuing(), SSE, "end")) as next_one:
        model = {"converse_stream": "anthropic.claude-3", "invoke_stream": "anthropic.claude-3-haiku-20240307-v1:0"}
        providers: dict[str, Any] = {
            api: {**settings, "base_url": peers[api].url, "api_key": KEY} for api, (settings, _) in APIS.items()
        }
        providers["next"] = {"type": "mistral", "base_url": f"{next_one.url}/v1", "api_key": KEY}
        routes: dict[str, Any] = {}
        for api in APIS:
            first = f"{api}/{model.get(api, 'm')}"
            routes[f"alone-{api}"] = {"targets": [first]}
            routes[f"error-{api}"] = {"targets": [first, "next/b"], "on_break": "error"}
            routes[f"continue-{api}"] = {"targets": [first, "next/b"], "on_break": "continue"}
        settings = {
            "providers": providers,
            "routes": routes,
            "retry": {"max_retries": 0},
            "breaker": {"min_calls": 1_000_000},
            "timeouts": {"connect": 2, "first_token": 5, "idle": 2, "total": 20},
        }
        with running_gateway(settings) as gateway:
            yield Stage(gateway, peers, next_one)
    for each in peers.values():
        each.close()


@pytest.mark.parametrize("api", APIS)
def test_a_cut_stream_is_never_a_success(stage: Stage, api: str) -> None:
    chance = random.Random(api)
    outcomes: dict[str, int] = {}
    for body in recordings(api):
        for dialect in (OPENAI, ANTHROPIC):
            route = chance.choice(("alone", "error", "continue"))
            uncut = stage.ask(api, dialect, route, body)  # relayed or not, as the route says
            whole = said(dialect, uncut.body) if uncut.status == 200 else ""
            if not whole or not dialect.ended(uncut.body) or whole.endswith(END):
                continue  # the recording is of a stream that failed
            for _ in range(CUTS):
                at, how = chance.randrange(len(body)), chance.choice(("end", "close", "reset"))
                answer = stage.ask(api, dialect, route, body[:at], how)
                outcome = judged(dialect, route, answer, whole)
                assert outcome is not None, (dialect.name, route, how, at, whole, answer.body[-900:])
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes.keys() - {"whole"}, outcomes


def judged(dialect: Dialect, route: str, answer: Answer, whole: str) -> str | None:
    """How a stream that was cut came out; None where the caller was deceived."""
    if answer.status != 200:
        return "refused" if dialect.error(answer.json())["message"] else None
    assert answer.is_whole
    heard = said(dialect, answer.body)
    if not dialect.ended(answer.body):
        return "broken" if dialect.broken(answer.body) is not None and whole.startswith(heard) else None
    if heard == whole:
        return "whole"
    if heard == END:
        return "answered elsewhere" if route != "alone" else None
    is_joined = heard.endswith(END) and whole.startswith(heard.removesuffix(END))
    is_told = b"\n\n: continued: " in answer.body
    return "continued" if route == "continue" and is_joined and is_told else None
