"""Each dialect, plain and streamed, over a real socket, read by our own outbound halves and as bytes."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

import msgspec
import pytest
from raw_client import HELLO, PATHS, ask, connect, exchange, read_to_end, request_bytes

from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import ConfigError
from genai_spine.model.fold import collect
from genai_spine.model.response import FinishReason
from genai_spine.testing.fixtures import eventually, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator, serve

DIALECTS = {"openai": "openai_chat", "anthropic": "anthropic_messages", "ollama": "ollama_chat"}
TARGET = Target(card=ModelCard(id="sim-echo"))
dialects = pytest.mark.parametrize("dialect", DIALECTS)


def outbound(dialect: str) -> Any:
    return import_module(f"genai_spine.dialects.{DIALECTS[dialect]}.outbound")


def answer_of(simulator: Simulator, dialect: str, **members: Any) -> Any:
    """The plain answer and the stream's, which must be the same but for what a stream cannot carry."""
    plain = outbound(dialect).decode_response(ask(simulator, dialect, **members).body, TARGET)
    reply = ask(simulator, dialect, stream=True, **members)
    decoder = outbound(dialect).stream_decoder(TARGET)
    streamed = collect([*decoder.feed(reply.body), *decoder.close()])
    assert streamed.parts == plain.parts
    assert (streamed.finish_reason, streamed.usage) == (plain.finish_reason, plain.usage)
    return plain


@dialects
def test_a_text(simulator: Simulator, dialect: str):
    answer = answer_of(simulator, dialect)
    assert answer.content == "You said: hello there"
    assert answer.finish_reason is FinishReason.STOP
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 4)


@dialects
def test_tool_calls(simulator: Simulator, dialect: str):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "get_weather", "parameters": schema}
    tool = (
        {"name": "get_weather", "input_schema": schema}
        if dialect == "anthropic"
        else {"type": "function", "function": function}
    )
    answer = answer_of(simulator, dialect, tools=[tool])
    assert [(call.name, call.input) for call in answer.tool_calls] == [("get_weather", {"city": "city"})]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


@dialects
def test_thinking(simulator: Simulator, dialect: str):
    answer = answer_of(simulator, dialect, model="sim-think")
    assert answer.thinking == "I was given 2 tokens to answer."
    assert answer.content == "You said: hello there"


@dialects
@pytest.mark.parametrize("model", ["sim-unicode", "sim-empty", "sim-refuse", "sim-think-only", "sim-long-300"])
def test_special_models(simulator: Simulator, dialect: str, model: str):
    answer_of(simulator, dialect, model=model)


@dialects
def test_a_stream_comes_word_by_word(simulator: Simulator, dialect: str):
    reply = ask(simulator, dialect, stream=True, model="sim-long-100")
    assert 100 <= len(reply.frames) <= 110
    assert reply.is_whole


@dialects
def test_the_same_request_has_the_same_bytes(simulator: Simulator, dialect: str):
    for stream in (True, False):
        assert ask(simulator, dialect, stream=stream).body == ask(simulator, dialect, stream=stream).body


def test_a_thought_that_comes_back_with_a_wrong_signature_is_a_400_of_anthropic(simulator: Simulator):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    members = {"model": "claude", "max_tokens": 2000, "thinking": thinking}
    first = exchange(simulator, "/v1/messages", {**members, "messages": HELLO}).json()
    again = [*HELLO, {"role": "assistant", "content": first["content"]}, *HELLO]
    assert exchange(simulator, "/v1/messages", {**members, "messages": again}).status == 200
    first["content"][0]["signature"] = "sig_forged"
    reply = exchange(simulator, "/v1/messages", {**members, "messages": again})
    assert reply.status == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "messages.1.content.0: Invalid `signature` in `thinking` block"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed", "/api/embeddings"])
def test_embeddings(simulator: Simulator, path: str):
    text = {"prompt": "hello"} if path == "/api/embeddings" else {"input": ["hello"]}
    reply = exchange(simulator, path, {"model": "sim-embed", **text}).json()
    vector = reply["data"][0]["embedding"] if "data" in reply else reply.get("embedding") or reply["embeddings"][0]
    assert len(vector) == 16


def test_models_have_the_shape_of_the_sdk_that_asks(simulator: Simulator):
    openai = exchange(simulator, "/v1/models").json()
    assert openai["object"] == "list" and openai["data"][0]["object"] == "model"
    anthropic = exchange(simulator, "/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    assert anthropic["has_more"] is False and anthropic["data"][0]["type"] == "model"
    assert exchange(simulator, "/v1/models/gpt-4o").json()["id"] == "gpt-4o"
    assert exchange(simulator, "/v1/models/no-such-model").status == 404
    assert exchange(simulator, "/api/tags").json()["models"][0]["name"] == "simulated"


def test_the_rest_of_the_paths(simulator: Simulator):
    counted = exchange(simulator, "/v1/messages/count_tokens", {"model": "claude", "messages": HELLO}).json()
    assert counted == {"input_tokens": 2}
    assert "version" in exchange(simulator, "/api/version").json()
    assert "models" in exchange(simulator, "/api/ps").json()
    assert "tools" in exchange(simulator, "/api/show", {"model": "x"}).json()["capabilities"]
    generated = exchange(simulator, "/api/generate", {"model": "x", "prompt": "hi", "stream": False}).json()
    assert generated["response"] == "You said: hi"
    assert exchange(simulator, "/api/chat", {"model": "x"}).json()["done_reason"] == "load"
    assert b"POST /v1/messages\n" in exchange(simulator, "/").body


def test_head_has_no_body(simulator: Simulator):
    with connect(simulator) as sock:
        sock.sendall(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + request_bytes("/api/version"))
        replies = read_to_end(sock).raw
    assert replies.count(b"HTTP/1.1 200 OK") == 2
    assert b"canned answers" not in replies


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", {"error": {}}),
        ("/v1/messages", {"type": "error"}),
        ("/api/chat", {"error": ""}),
    ],
)
def test_a_bad_request_is_a_400_in_the_dialects_shape(simulator: Simulator, path: str, shape: dict[str, Any]):
    for body in (b"{", {"messages": 3}, b""):
        reply = exchange(simulator, path, body)
        assert reply.status == 400
        assert shape.keys() <= reply.json().keys()
        assert all(isinstance(reply.json()[key], type(value)) for key, value in shape.items())


def test_unknown_paths_and_methods(simulator: Simulator):
    assert exchange(simulator, "/v2/nothing").status == 404
    assert exchange(simulator, "/v1/chat/completions").status == 405
    assert exchange(simulator, "/v1/messages").json()["type"] == "error"


def test_garbage_is_a_400_and_a_close(simulator: Simulator):
    with connect(simulator) as sock:
        sock.sendall(b"this is not HTTP\r\n\r\n")
        reply = read_to_end(sock)
    assert (reply.status, reply.end) == (400, "close")


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("path", PATHS.values())
@pytest.mark.parametrize("field", ["authorization", "x-api-key"])
def test_a_key_is_asked_for_and_a_wrong_one_is_repeated_in_part(path: str, field: str):
    prefix = "Bearer " if field == "authorization" else ""
    body = {"model": "x", "messages": HELLO, "max_tokens": 9}
    with running_simulator(key="sk-right") as simulator:
        assert exchange(simulator, path, body, {field: prefix + "sk-right"}).status == 200
        wrong = exchange(simulator, path, body, {field: prefix + "sk-canary-0123456789abcdef"})
        none = exchange(simulator, path, body)
    assert (wrong.status, none.status) == (401, 401)
    assert b"Incorrect API key provided: sk-canar**************cdef." in wrong.body
    assert b"didn't provide an API key" in none.body


# ---------------------------------------------------------------- the server


def test_connections_are_kept_and_requests_in_one_write_are_answered_in_order(simulator: Simulator):
    body = {"model": "x", "messages": HELLO}
    with connect(simulator) as sock:
        sock.sendall(request_bytes("/v1/chat/completions", body) + request_bytes("/api/version"))
        reply = read_to_end(sock)
    assert reply.end == "silence"
    assert reply.raw.count(b"HTTP/1.1 200 OK") == 2
    assert reply.raw.index(b"You said") < reply.raw.index(b'"version"')
    assert {received.connection for received in simulator.received} == {simulator.received[0].connection}


def test_an_old_client_gets_a_stream_until_the_close(simulator: Simulator):
    body = {"model": "x", "messages": HELLO, "stream": True}
    with connect(simulator) as sock:
        sock.sendall(request_bytes("/v1/chat/completions", body, version="1.0"))
        reply = read_to_end(sock)
    assert reply.end == "close"
    assert "transfer-encoding" not in reply.headers
    assert reply.raw_body.endswith(b"data: [DONE]\n\n")


def test_a_body_is_waited_for_after_100_continue(simulator: Simulator):
    request = request_bytes("/v1/chat/completions", {"messages": HELLO}, {"expect": "100-continue"})
    head, _, body = request.partition(b"\r\n\r\n")
    with connect(simulator) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_to_end(sock).status == 200


def test_what_was_received_can_be_asserted_on(simulator: Simulator):
    body = {"model": "gpt-x+rate=1000", "messages": HELLO}
    exchange(simulator, "/v1/chat/completions?a=b", body, {"X-Custom": "Value", "connection": "close"})
    (received,) = simulator.received
    wait_until(lambda: received.outcome == "answered")
    assert (received.method, received.path, received.query) == ("POST", "/v1/chat/completions", "a=b")
    assert received.header("x-custom") == "Value" and received.header("absent") is None
    assert received.json() == body
    assert (received.model, received.fault.rate, received.status) == ("gpt-x", 1000.0, 200)


def test_a_client_that_goes_away_is_noticed(simulator: Simulator):
    with connect(simulator) as sock:
        body = {"model": "x+stall=head", "messages": HELLO}
        sock.sendall(request_bytes("/v1/chat/completions", body))
        wait_until(lambda: bool(simulator.received) and simulator.received[0].fault.stall == "head")
        assert simulator.received[0].outcome == "open"
    wait_until(lambda: simulator.received[0].outcome == "gone")


async def test_a_simulator_runs_in_the_loop_of_a_test():
    async with Simulator() as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(request_bytes("/api/version", headers={"connection": "close"}))
        assert b"200 OK" in await reader.read()
        await eventually(lambda: len(simulator.received) == 1)
        assert simulator.urls.openai == f"http://127.0.0.1:{simulator.port}/v1"
        assert simulator.urls.of("ollama_chat") == f"http://127.0.0.1:{simulator.port}"
        writer.close()


ON_UVLOOP = """
import uvloop
from genai_spine.testing.simulator import serve
uvloop.run(serve(port=0, ready=lambda urls: print(urls.root, flush=True)))
"""


def test_faults_are_the_same_on_uvloop():
    with subprocess.Popen([sys.executable, "-c", ON_UVLOOP], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(b":")[2])

        def ended(fault: str) -> tuple[int, str]:
            body = {"model": f"x+{fault}", "messages": HELLO, "stream": True}
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(request_bytes("/api/chat", body))
                reply = read_to_end(sock, silence_s=0.2)
            return len(reply.frames) if reply.raw else -1, reply.end

        assert ended("reset=2") == (2, "reset")
        assert ended("reset=head") == (-1, "reset")
        assert ended("close=2") == (2, "close")
        assert ended("stall=2") == (2, "silence")
        assert ended("drip=3") == (5, "silence")
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


async def test_a_port_in_use_is_an_error_with_a_mend():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127\.0\.0\.1 is in use: .* --port"):
            await serve(port=port)


SERVE = """
import asyncio
from genai_spine.testing.simulator import serve
asyncio.run(serve(port=0, ready=lambda urls: print(urls.root, flush=True)))
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly(number: signal.Signals):
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        process.send_signal(number)
        assert process.stdout.read() == b"ended\n"
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_script_answers_with_its_own_words(simulator: Simulator):
    from genai_spine.testing.simulator import Step

    simulator.run("status=503", Step(answer="canned words"))
    assert ask(simulator).status == 503
    for dialect in PATHS:
        simulator.run(Step(answer="canned words"))
        assert b"canned words" in ask(simulator, dialect).body
    assert b"You said" in ask(simulator).body


def test_a_script_chooses_by_model_and_path(simulator: Simulator):
    from genai_spine.testing.simulator import Fault, Step

    simulator.run(Step(model="gpt-*", fault=Fault(status=500)), Step(path="/api/*", fault=Fault(status=501)))
    assert ask(simulator, model="claude").status == 200
    assert ask(simulator, "ollama").status == 501
    assert ask(simulator, model="gpt-4").status == 500
    assert ask(simulator, model="gpt-4").status == 200


def test_the_header_wins_over_the_model_and_that_over_the_script(simulator: Simulator):
    simulator.run("status=500", "status=500")
    assert ask(simulator, fault="status=503", model="x+status=502").status == 503
    assert ask(simulator, model="x+status=502").status == 502
    assert ask(simulator, model="x").status == 500
    assert ask(simulator, fault="ok").status == 200


def test_a_fault_may_last_for_some_requests_only(simulator: Simulator):
    statuses = [ask(simulator, model="a+status=503,times=2").status for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert ask(simulator, model="b+status=503,times=2").status == 503


def test_a_fault_that_cannot_be_read_is_a_400(simulator: Simulator):
    reply = ask(simulator, fault="explode")
    assert reply.status == 400
    assert "unknown setting 'explode'" in reply.json()["error"]["message"]


def test_the_model_of_the_answer_is_named_without_the_fault(simulator: Simulator):
    assert ask(simulator, model="gpt-4o+rate=1000").json()["model"] == "gpt-4o"
    assert msgspec.json.decode(simulator.received[0].body)["model"] == "gpt-4o+rate=1000"
