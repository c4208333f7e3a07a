"""A stream that broke is gone on with elsewhere: what the next one is asked, and what the caller gets of both."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from callers import ANTHROPIC, KEY, OPENAI, Dialect, Peer, ask, broken, peer

from genai_spine import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.model.errors import StreamBroken
from genai_spine.model.fold import collect
from genai_spine.model.response import CompletionResponse
from genai_spine.testing.fixtures import running_gateway

Answer = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}


def says(*deltas: Any, ends: bool = False, usage: Any = USAGE) -> Answer:
    """An OpenAI stream of these deltas, a string for one of content; it breaks off unless it `ends`."""
    found = [delta if isinstance(delta, dict) else {"content": delta} for delta in deltas]
    choices: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in found]
    if ends:
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    chunks: list[Any] = [{"id": "x", "model": "m", "created": 1, "choices": each} for each in choices]
    if ends:
        chunks.append({"id": "x", "model": "m", "created": 1, "choices": [], "usage": usage})
    data = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    return sending(data + (b"data: [DONE]\n\n" if ends else b""), ends=ends)


def claude_says(*frames: dict[str, Any]) -> Answer:
    """An Anthropic stream that breaks off."""
    usage = {"input_tokens": 11, "output_tokens": 1}
    message = {"id": "x", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": usage}
    events = ({"type": "message_start", "message": message}, *frames)
    return sending(b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events))


def sending(data: bytes, *, ends: bool = False) -> Answer:
    def answer(sock: socket.socket) -> None:
        sock.sendall(HEAD + b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if ends else b""))
        if not ends:
            raise OSError  # to the peer: this connection is over

    return answer


def refuses(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}")


@contextmanager
def targets(*answers: tuple[str, Answer], on_break: str = "continue") -> Iterator[tuple[dict[str, Any], list[Peer]]]:
    """Settings with a route `r` over peers, each of a type of provider, or of a type and a model: `anthropic/x`."""
    with ExitStack() as stack:
        providers: dict[str, Any] = {}
        peers: list[Peer] = []
        route: list[str] = []
        for number, (kind, answer) in enumerate(answers):
            type, _, model = kind.partition("/")
            running = stack.enter_context(peer(answer))
            base = running.url if type == "anthropic" else f"{running.url}/v1"
            providers[f"p{number}"] = {"type": type, "base_url": base, "api_key": KEY}
            if type == "ollama":
                providers[f"p{number}"]["dialect"] = "openai_chat"
            route.append(f"p{number}/{model or 'm'}")
            peers.append(running)
        yield (
            {
                "providers": providers,
                "routes": {"r": {"targets": route, "on_break": on_break}},
                "retry": {"max_retries": 0},
                "timeouts": {"connect": 1, "first_token": 5, "idle": 5, "total": 20},
            },
            peers,
        )


async def answered(settings: dict[str, Any], record: CallRecord | None = None, **options: Any) -> CompletionResponse:
    async with ProviderManager.from_settings(settings) as manager:
        stream = manager.stream("Tell me a story.", model="r", record=record, **options)
        return collect([event async for event in stream])


def asked(running: Peer) -> Any:
    return json.loads(running.requests[-1].partition(b"\r\n\r\n")[2])


# ── what is joined ────────────────────────────────────────────────────────────────────────────────


async def test_two_models_give_one_answer() -> None:
    record = CallRecord()
    with targets(("openai_compatible", says("Once ", "upon")), ("mistral", says(" a time.", ends=True))) as (
        settings,
        peers,
    ):
        answer = await answered(settings, record)
    assert answer.content == "Once upon a time."
    assert len(answer.parts) == 1
    assert answer.finish_reason == "stop"
    (notice,) = [notice for notice in answer.notices if notice.code == "continued"]
    assert ("p0/m" in notice.message, "p1/m" in notice.message) == (True, True)
    assert notice in record.notices
    assert asked(peers[1])["messages"][-1] == {"role": "assistant", "content": "Once upon", "prefix": True}


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("Once ", "upon", "Once upon"),
        ("Once ", " upon", "Once upon"),
        ("Once\n\n", "\nupon", "Once\n\nupon"),
        ("Once", " upon", "Once upon"),
        ("Once \n", "upon", "Once \nupon"),
    ],
)
async def test_no_white_space_is_lost_or_said_twice(before: str, after: str, whole: str) -> None:
    with targets(("openai_compatible", says(before)), ("mistral", says(*after, ends=True))) as (settings, peers):
        answer = await answered(settings)
    assert answer.content == whole
    assert asked(peers[1])["messages"][-1]["content"] == before.rstrip()


LONG = "It was a bright cold day in April"


@pytest.mark.parametrize(
    ("kind", "before", "after", "whole"),
    [
        ("mistral", "Once ", ["Once", " upon"], "Once upon"),
        ("mistral", LONG, [LONG + ", and"], LONG + ", and"),
        ("mistral", LONG, [*LONG, ",", " and"], LONG + ", and"),
        ("vllm", LONG, [LONG[:9], LONG[9:], ","], LONG + ","),
        ("vllm", "1", ["1"], "11"),
        ("vllm", LONG, [LONG[:9], "!"], LONG + LONG[:9] + "!"),
        ("vllm", LONG, [LONG[:9]], LONG + LONG[:9]),
    ],
)
async def test_what_is_echoed_is_not_said_twice(kind: str, before: str, after: list[str], whole: str) -> None:
    with targets(("openai_compatible", says(before)), (kind, says(*after, ends=True))) as (settings, _):
        assert (await answered(settings)).content == whole


async def test_an_echo_of_what_the_caller_began_is_told_from_the_answer() -> None:
    messages = [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": "Well, "}]
    answers = (("mistral", says("Well, ", "once")), ("mistral", says("Well, once", " upon", ends=True)))
    with targets(*answers) as (settings, peers):
        async with ProviderManager.from_settings(settings) as manager:
            answer = collect([event async for event in manager.stream(messages, model="r")])
    assert answer.content == "Well, once upon"
    assert asked(peers[1])["messages"][-1]["content"] == "Well, once"


async def test_the_usage_is_that_of_both_and_says_that_it_is_estimated() -> None:
    text = {"type": "text_delta", "text": "Once upon a time there was"}
    frames = (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
    )
    record = CallRecord()
    with targets(("anthropic/claude-3-haiku", claude_says(*frames)), ("mistral", says(" a fox.", ends=True))) as (
        settings,
        _,
    ):
        answer = await answered(settings, record)
    usage = answer.usage
    assert usage is not None
    assert usage.input_tokens == 11 + 20
    assert usage.output_tokens is not None and 4 + 4 < usage.output_tokens < 4 + 12
    assert usage.estimated
    assert [attempt.error is None for attempt in record.attempts] == [False, True]
    assert all(attempt.is_settled for attempt in record.attempts)
    assert [attempt.usage and attempt.usage.input_tokens for attempt in record.attempts] == [11, 20]


async def test_a_third_goes_on_where_the_second_breaks_too_and_no_fourth() -> None:
    breaks = [("mistral", says(word)) for word in ("a", "b", "c", "d")]
    with targets(*breaks) as (settings, peers), pytest.raises(StreamBroken):
        await answered(settings)
    assert [len(running.requests) for running in peers] == [1, 1, 1, 0]
    with targets(*breaks[:2], ("mistral", says("z", ends=True))) as (settings, peers):
        answer = await answered(settings)
    assert answer.content == "abz"
    assert len([notice for notice in answer.notices if notice.code == "continued"]) == 2
    assert [message["content"] for message in asked(peers[2])["messages"]][-1] == "ab"


async def test_the_one_that_broke_is_asked_last() -> None:
    answers = ("mistral", says("Once"))
    with targets(answers, ("mistral", refuses)) as (settings, peers), pytest.raises(StreamBroken):
        await answered(settings)
    assert [len(running.requests) for running in peers] == [3, 2]  # twice gone on with, each time after the other


async def test_a_call_that_another_model_makes_afterwards_is_a_part_of_the_same_answer() -> None:
    call = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    tools = [{"name": "f", "parameters": {"type": "object"}}]
    with targets(("openai_compatible", says("I will ")), ("mistral", says("look. ", call, ends=True))) as (settings, _):
        answer = await answered(settings, tools=tools)
    assert answer.content == "I will look. "
    assert [call.name for call in answer.tool_calls] == ["f"]


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────


async def test_what_is_said_already_is_taken_from_the_limit_and_nobody_thinks_again() -> None:
    begun = "word " * 50
    with targets(("openai_compatible", says(begun)), ("anthropic/claude-sonnet-4-5", refuses)) as (settings, peers):
        with pytest.raises(StreamBroken):
            await answered(settings, max_tokens=500, thinking={"enabled": True, "budget_tokens": 1024})
        body = asked(peers[1])
    assert 400 < body["max_tokens"] < 480
    assert body.get("thinking", {"type": "disabled"}) == {"type": "disabled"}
    assert body["messages"][-1]["role"] == "assistant"


async def test_vllm_is_told_to_go_on() -> None:
    with targets(("openai_compatible", says("Once")), ("vllm", says(" upon", ends=True))) as (settings, peers):
        assert (await answered(settings)).content == "Once upon"
    body = asked(peers[1])
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


async def test_an_answer_that_the_caller_began_is_gone_on_with_as_one_message() -> None:
    messages = [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": "Well, "}]
    with targets(("mistral", says("once")), ("mistral", says(" upon", ends=True))) as (settings, peers):
        async with ProviderManager.from_settings(settings) as manager:
            answer = collect([event async for event in manager.stream(messages, model="r")])
    assert answer.content == "once upon"
    assert [message["content"] for message in asked(peers[1])["messages"]] == ["Tell me.", "Well, once"]


# ── what nobody can go on with ────────────────────────────────────────────────────────────────────

OPEN_CALL = {
    "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}]
}
SIGNED = (
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Once"}},
)


@pytest.mark.parametrize(
    ("first", "options"),
    [
        (("openai_compatible", says("I will look. ", OPEN_CALL)), {}),
        (("openai_compatible", says({"reasoning_content": "Hm"})), {}),
        (("anthropic/claude-3-7-sonnet", claude_says(*SIGNED)), {}),
        (("openai_compatible", says('{"a": ')), {"output_schema": {"type": "object"}}),
        (("openai_compatible", says("  \n")), {}),
        (("openai_compatible", says("Once")), {"tools": [{"name": "f"}], "tool_choice": "required"}),
    ],
    ids=["call", "thinking", "signature", "schema", "white space", "forced call"],
)
async def test_such_an_answer_ends_with_an_error(first: tuple[str, Answer], options: dict[str, Any]) -> None:
    with targets(first, ("mistral", says("never", ends=True))) as (settings, peers), pytest.raises(StreamBroken):
        await answered(settings, **options)
    assert peers[1].requests == []


@pytest.mark.parametrize(
    "kind", ["openai_compatible", "openai", "anthropic/claude-opus-4-6", "anthropic/claude-sonnet-5"]
)
async def test_who_is_not_known_to_go_on_is_not_asked(kind: str) -> None:
    answers = (("openai_compatible", says("Once")), (kind, says("never", ends=True)))
    with targets(*answers) as (settings, peers), pytest.raises(StreamBroken):
        await answered(settings)
    assert peers[1].requests == []


async def test_where_a_break_is_an_error_nobody_is_asked() -> None:
    answers = (("openai_compatible", says("Once")), ("mistral", says("never", ends=True)))
    with targets(*answers, on_break="error") as (settings, peers), pytest.raises(StreamBroken):
        await answered(settings)
    assert peers[1].requests == []


# ── through the gateway ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_a_caller_gets_one_stream_and_is_told(dialect: Dialect) -> None:
    answers = (("openai_compatible", says("Once ", "upon")), ("mistral", says(" a time.", ends=True)))
    with targets(*answers) as (settings, _), running_gateway(settings) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("r", stream=True))
        call = gateway.manager.traffic.recent.find(answer.header("x-request-id") or "")
        assert call is not None
    assert dialect.ended(answer.body)
    assert dialect.text(answer.body) == "Once upon a time."
    assert answer.body.count(b"\n\n: continued: p0/m broke off; p1/m went on\n\n") == 1
    assert [notice.code for notice in call.notices] == ["continued"]
    assert [target.in_flight for target in gateway.manager.targets] == [0, 0]
    ids = {json.loads(line[6:])["id"] for line in answer.body.splitlines() if line.startswith(b'data: {"id"')}
    assert len(ids) <= 1


def test_where_nobody_could_go_on_the_bytes_are_relayed() -> None:
    first = sending(b'data: {"choices":[{"index":0,"delta":{"role":"assistant","whim":1}}]}\n\n' * 2)
    for other, is_relayed in (("openai", True), ("mistral", False)):
        answers = (("openai_compatible", first), (other, refuses))
        with targets(*answers) as (settings, _), running_gateway(settings) as gateway:
            answer = ask(gateway, OPENAI.path, OPENAI.request("r", stream=True))
        assert (b'"whim":1' in answer.body) is is_relayed


def test_what_could_not_be_gone_on_with_is_relayed() -> None:
    choices = [{"index": index, "delta": {"content": "ab"[index]}, "finish_reason": "stop"} for index in (0, 1)]
    chunks = b"".join(b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode() for choice in choices)
    both = sending(chunks + b"data: [DONE]\n\n", ends=True)
    with targets(("vllm", both), ("mistral", refuses)) as (settings, _), running_gateway(settings) as gateway:
        answer = ask(gateway, OPENAI.path, OPENAI.request("r", stream=True, n=2))
    assert (answer.status, answer.body) == (200, chunks + b"data: [DONE]\n\n")


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_where_nobody_goes_on_the_caller_hears_why_it_broke(dialect: Dialect) -> None:
    answers = (("openai_compatible", says("Once ", "upon")), ("mistral", refuses))
    with targets(*answers) as (settings, _), running_gateway(settings) as gateway:
        answer = ask(gateway, dialect.path, dialect.request("r", stream=True))
    assert "p0" in broken(dialect, answer)["message"]
    assert dialect.text(answer.body) == "Once upon"
