"""Issue's scenarios that need a request of their own: a break in the middle of a tool call, time that runs out in
mid-stream, loops of gateways and routes, and what is never asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from callers import Dialect, ask, broken, refused
from stage import MODEL, NO_RETRY, both, each_dialect, free_port, merged, staged, told

from genai_spine.model.errors import ConfigError
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until
from genai_spine.testing.simulator import Simulator

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: dict[str, Any] = {
    "openai": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "anthropic": [{"name": "weather", "input_schema": SCHEMA}],
}


def calls_in(dialect: Dialect, body: bytes) -> list[str]:
    """The arguments of the tool calls of a stream, as far as they came."""
    found: dict[int, str] = {}
    for line in body.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        for choice in event.get("choices") or ():
            for call in choice["delta"].get("tool_calls") or ():
                found[call["index"]] = found.get(call["index"], "") + (call["function"].get("arguments") or "")
        delta = event.get("delta") or {}
        if delta.get("type") == "input_json_delta":
            found[event["index"]] = found.get(event["index"], "") + delta["partial_json"]
    return list(found.values())


# ── in the middle of a tool call ──────────────────────────────────────────────────────────────────


@each_dialect
@pytest.mark.parametrize("on_break", ["error", "continue"])
@pytest.mark.parametrize("fault", ["reset=3", "close=3", "end=3"])
def test_fault_05_a_reset_in_the_middle_of_a_tool_call(
    simulators: dict[str, Simulator], dialect: Dialect, fault: str, on_break: str
) -> None:
    """Half a call is never made whole, by nobody: not by us, and not by another model."""
    settings = merged(NO_RETRY, {"streams": {"on_break": on_break}})
    # vLLM's row says that it can go on with an answer that was begun.
    kinds = {name: {"type": "vllm"} for name in "ab"}
    with staged(simulators, {"a": f"rate=300; {fault}", "b": ()}, settings, kinds) as stage:
        request = dialect.request(MODEL, stream=True, text="weather", tools=TOOLS[dialect.name])
        answer = stage.ask(dialect, request)
        assert broken(dialect, answer)["message"].startswith("a: ")
        assert b'"finish_reason":"tool_calls"' not in answer.body
        assert b'"stop_reason":"tool_use"' not in answer.body
        [arguments] = calls_in(dialect, answer.body)
        with pytest.raises(json.JSONDecodeError):
            json.loads(arguments)
        record = stage.record(answer)
        assert told(record) in ("a:network_error", "a:server_error")
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 0}


@each_dialect
def test_fault_05_a_plain_tool_call_that_breaks_is_asked_for_elsewhere(
    simulators: dict[str, Simulator], dialect: Dialect
) -> None:
    with staged(simulators, {"a": "reset=1", "b": ()}, NO_RETRY) as stage:
        request = dialect.request(MODEL, text="weather", tools=TOOLS[dialect.name])
        answer = stage.ask(dialect, request)
        assert answer.header("x-spine-provider") == "b"
        assert b"weather" in answer.body
        assert told(stage.record(answer)) == "a:network_error b"


# ── time that runs out ────────────────────────────────────────────────────────────────────────────


@each_dialect
@pytest.mark.parametrize("by", ["header", "settings"])
def test_fault_07_a_slow_drip_beyond_the_deadline(simulators: dict[str, Simulator], dialect: Dialect, by: str) -> None:
    settings = merged(NO_RETRY, {"timeouts": {"total": 0.5}} if by == "settings" else {})
    headers = {"x-spine-timeout": "0.5"} if by == "header" else {}
    with staged(simulators, {"a": "rate=20", "b": ()}, settings) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request("sim-long-500", stream=True), headers)
        assert 0.5 <= time.monotonic() - begun < 4
        broken(dialect, answer)
        assert told(stage.record(answer)) == "a:timeout"
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 0}
        assert simulators["a"].received[-1].outcome == "gone"


@each_dialect
def test_fault_07_a_plain_slow_drip_beyond_the_deadline(simulators: dict[str, Simulator], dialect: Dialect) -> None:
    """Each byte comes in time, and all of them together do not."""
    with staged(simulators, {"a": "drip=5; every_ms=50"}, NO_RETRY) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request(MODEL), {"x-spine-timeout": "0.4"})
        assert 0.4 <= time.monotonic() - begun < 4
        assert answer.status == 504
        assert told(stage.record(answer)) == "a:timeout"
        stage.at_rest()


# ── loops ─────────────────────────────────────────────────────────────────────────────────────────


def test_fault_83_a_fallback_loop_is_refused_at_the_start() -> None:
    up = {"type": "simulated"}
    for routes in (
        {"one": {"targets": ["one"]}},
        {"one": {"targets": ["two"]}, "two": {"targets": ["three"]}, "three": {"targets": ["up/m", "one"]}},
    ):
        with (
            pytest.raises(ConfigError, match="one") as caught,
            running_gateway({"providers": {"up": up}, "routes": routes}),
        ):
            pass
        assert "itself" in caught.value.message or "circle" in caught.value.message


@both
@each_dialect
def test_fault_83_fallbacks_of_a_request_that_name_each_other_ask_each_once(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    with staged(simulators, {"a": "status=503", "b": "status=503"}, NO_RETRY) as stage:
        request = dialect.request(f"a/{MODEL}", stream=stream, fallbacks=[f"b/{MODEL}", f"a/{MODEL}", f"b/{MODEL}"])
        answer = stage.ask(dialect, request)
        assert answer.status == 503
        assert told(stage.record(answer)) == "a:server_error b:server_error"
        assert stage.calls() == {"a": 1, "b": 1}


@contextmanager
def gateway_at(port: int, settings: dict[str, Any]) -> Iterator[RunningGateway]:
    """One that is where its own provider says."""
    running = RunningGateway(settings_of(settings))
    server = msgspec.structs.replace(running.settings.server, port=port)
    running.settings = msgspec.structs.replace(running.settings, server=server)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.join()


@both
@each_dialect
def test_fault_83_self_reference(simulators: dict[str, Simulator], dialect: Dialect, stream: bool) -> None:
    """The gateway's first provider is the gateway: told at once, and the next provider answers."""
    port = free_port()
    loop = {"type": "openai_compatible", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": "k", "model": MODEL}
    live = {**loop, "base_url": simulators["b"].urls.openai}
    tables = {"default": "a", "fallback_order": ["a", "b"], "a": loop, "b": live}
    settings = {"providers": tables, "retry": {"max_retries": 1, "initial_delay": 0}}
    with gateway_at(port, settings) as gateway:
        answer = ask(gateway, dialect.path, dialect.request(MODEL, stream=stream))
        assert (answer.status, answer.header("x-spine-provider")) == (200, "b")
        record = gateway.manager.traffic.recent.find(answer.header("x-request-id") or "")
        assert record is not None
        wait_until(lambda: all(attempt.is_settled for attempt in record.attempts))
        assert told(record).split()[-1] == "b"
        assert [attempt.status_code for attempt in record.attempts if attempt.provider == "a"] == [508]
        assert len(simulators["b"].received) == 1
        alone = ask(gateway, dialect.path, dialect.request(MODEL, stream=stream, provider="a"))
        error = refused(dialect, alone, 508)
        assert "leads back to this gateway" in error["message"]


# ── what is never asked ───────────────────────────────────────────────────────────────────────────


def test_fault_85_nobody_is_asked_before_anybody_calls(simulators: dict[str, Simulator]) -> None:
    paid = {"a": {"type": "openai"}}
    settings = {"health": {"probe": "always", "interval": 0.05}}
    with staged(simulators, {"a": ()}, settings, paid) as stage:
        assert ask(stage.gateway, "/health/ready").status == 200
        assert ask(stage.gateway, "/v1/providers").status == 200
        time.sleep(0.3)
        assert stage.calls() == {"a": 0}
