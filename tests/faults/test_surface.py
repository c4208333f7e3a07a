"""What the gateway serves beside chat, end to end: models, tokens, embeddings, health, Ollama's own paths."""

from __future__ import annotations

import base64
import socket
import struct
import time
from typing import Any

import pytest
from callers import ANTHROPIC, DIALECTS, OLLAMA, OPENAI, ask, failed_upstream, plain_settings, refused

from genai_spine.engine import manager
from genai_spine.testing.fixtures import RunningGateway, running_gateway
from genai_spine.testing.simulator import Simulator


def test_models_are_listed_in_both_shapes(gateway: RunningGateway) -> None:
    listed = ask(gateway, "/v1/models").json()
    assert listed["object"] == "list"
    ids = {model["id"] for model in listed["data"]}
    assert {"oa/simulated", "an/simulated", "ol/simulated"} <= ids
    assert all(model["object"] == "model" for model in listed["data"])
    page = ask(gateway, "/v1/models?limit=1000", headers={"anthropic-version": "2023-06-01"}).json()
    assert {model["id"] for model in page["data"]} == ids
    assert all(model["type"] == "model" and model["display_name"] for model in page["data"])
    assert page["has_more"] is False


def test_one_model_is_found_by_any_of_its_names(gateway: RunningGateway) -> None:
    for name in ("oa/simulated", "oa%2Fsimulated", "an/sim-long-100"):
        model = ask(gateway, f"/v1/models/{name}")
        assert model.status == 200, name
        assert model.json()["id"] == name.replace("%2F", "/")
    anthropic = ask(gateway, "/v1/models/an/simulated", headers={"anthropic-version": "x"}).json()
    assert anthropic["type"] == "model"
    refused(OPENAI, ask(gateway, "/v1/models/oa/no/such/model"), 404)


def test_providers_that_are_silent_do_not_hide_the_models_of_others(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "LISTING_S", 1.0)
    settings: dict[str, Any] = plain_settings(simulator)
    settings["routes"] = {"smart": {"targets": ["oa/simulated"]}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        for number in range(4):
            settings["providers"][f"silent{number}"] = {"type": "openai_compatible", "base_url": url}
        settings["providers"]["dead"] = {"type": "openai_compatible", "base_url": "http://127.0.0.1:9"}
        with running_gateway(settings) as gateway:
            begun = time.monotonic()
            ids = [model["id"] for model in ask(gateway, "/v1/models").json()["data"]]
            assert time.monotonic() - begun < 3.5, "they are asked at the same time"
            assert {"smart", "oa/simulated", "ol/simulated"} <= set(ids)
            assert ask(gateway, "/health/ready").status == 200
            assert ask(gateway, "/v1/providers").status == 200


def test_tokens_are_counted_by_the_provider_or_estimated_and_said_so(
    simulator: Simulator, gateway: RunningGateway
) -> None:
    body = {"messages": [{"role": "user", "content": "one two three four"}]}
    counted = ask(gateway, "/v1/messages/count_tokens", {**body, "model": "an/sim-x"})
    assert counted.json()["input_tokens"] > 0
    assert counted.header("x-spine-notices") is None
    assert simulator.received[-1].path == "/v1/messages/count_tokens"
    simulator.received.clear()
    for provider in ("oa", "ol"):
        estimated = ask(gateway, "/v1/messages/count_tokens", {**body, "model": f"{provider}/sim-x"})
        assert estimated.json()["input_tokens"] > 0
        assert "estimated" in (estimated.header("x-spine-notices") or "")
    assert not simulator.received


def test_a_count_is_relayed_with_its_betas_and_its_errors_name_the_provider(
    simulator: Simulator, gateway: RunningGateway
) -> None:
    body = {
        "model": "an/sim-x",
        "messages": [{"role": "user", "content": "x"}],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    }
    sent = {"anthropic-beta": "context-management-2025-06-27", "anthropic-version": "2026-10-21"}
    assert ask(gateway, "/v1/messages/count_tokens?beta=true", body, sent).status == 200
    request = simulator.received[-1]
    assert request.json() == {**body, "model": "sim-x"}
    assert request.header("anthropic-beta") == "context-management-2025-06-27"
    assert request.header("anthropic-version") == "2026-10-21"
    simulator.run("status=429; retry_after=3")
    answer = ask(gateway, "/v1/messages/count_tokens", body)
    error = failed_upstream(ANTHROPIC, answer, 429)
    assert error["message"].startswith("an: ")
    assert answer.header("retry-after") == "3"


@pytest.mark.parametrize("stream", [False, True])
def test_what_another_claude_refuses_is_written_anew_with_its_betas(
    simulator: Simulator, gateway: RunningGateway, stream: bool
) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "system", "content": "In French."}]
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    body = {"messages": messages, "max_tokens": 9, "context_management": edits, "stream": stream}
    sent = {"anthropic-beta": "context-management-2025-06-27"}
    for model, roles in (("claude-opus-4-8", ["user", "system"]), ("claude-sonnet-4-5", ["user"])):
        assert ask(gateway, "/v1/messages", {**body, "model": f"an/{model}"}, sent).status == 200
        request = simulator.received[-1]
        assert [message["role"] for message in request.json()["messages"]] == roles
        assert request.json()["context_management"] == edits
        assert request.header("anthropic-beta") == sent["anthropic-beta"]


def test_embeddings_come_as_floats_and_as_base64(gateway: RunningGateway) -> None:
    for provider in ("oa", "ol"):
        body = {"model": f"{provider}/sim-embed", "input": ["one", "two"]}
        floats = ask(gateway, "/v1/embeddings", body)
        assert floats.status == 200, floats
        assert floats.header("x-spine-provider") == provider
        vectors = [entry["embedding"] for entry in floats.json()["data"]]
        packed = ask(gateway, "/v1/embeddings", {**body, "encoding_format": "base64"}).json()["data"]
        raw = base64.b64decode(packed[1]["embedding"])
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(vectors[1], abs=1e-6)
        own = ask(gateway, "/api/embed", body).json()["embeddings"]
        assert own[0] == pytest.approx(vectors[0], abs=1e-6)
        older = ask(gateway, "/api/embeddings", {"model": body["model"], "prompt": "one"}).json()
        assert older["embedding"] == pytest.approx(vectors[0], abs=1e-6)
    refused(OPENAI, ask(gateway, "/v1/embeddings", {"model": "an/m", "input": "x"}), 400)


@pytest.mark.parametrize(
    "fault",
    ["status=401", "status=429,retry_after=3", "status=503", "reset=head", "body=html", "body=empty",
     "body=error", "redirect=/x", "end=1", "malformed=1"],
)  # fmt: skip
def test_faults_of_embeddings_are_told_in_the_callers_shape(gateway: RunningGateway, fault: str) -> None:
    for path, dialect in (("/v1/embeddings", OPENAI), ("/api/embed", OLLAMA), ("/api/embeddings", OLLAMA)):
        for provider in ("oa", "ol"):
            body = {"model": f"{provider}/m+{fault}", "input": "x", "prompt": "x"}
            answer = ask(gateway, path, body)
            error = failed_upstream(dialect, answer, answer.status)
            assert answer.status in (401, 429, 500, 502, 503)
            assert error["message"].startswith(f"{provider}: "), error
            if "retry_after" in fault:
                assert answer.header("retry-after") == "3"


def test_ollamas_paths_answer_its_clients(gateway: RunningGateway) -> None:
    assert ask(gateway, "/").body.startswith(b"GenAI Spine")
    assert ask(gateway, "/api/version").json()["version"].count(".") == 2
    tags = ask(gateway, "/api/tags").json()["models"]
    assert {"ol/simulated", "oa/simulated"} <= {model["name"] for model in tags}
    assert ask(gateway, "/api/ps").json() == {"models": []}
    for body in ({"model": "ol/simulated"}, {"name": "oa/simulated"}):
        assert "capabilities" in ask(gateway, "/api/show", body).json()
    refused(OLLAMA, ask(gateway, "/api/show", {"model": "ol/none"}), 404)
    for path, body in (
        ("/api/chat", {"model": "an/sim-x", "messages": [{"role": "user", "content": "hello there"}]}),
        ("/api/generate", {"model": "oa/sim-x", "prompt": "hello there"}),
        ("/api/generate", {"model": "ol/sim-x", "prompt": "hello there"}),
    ):
        answer = ask(gateway, path, body)
        assert answer.header("content-type") == "application/x-ndjson", "Ollama streams unless told not to"
        assert OLLAMA.ended(answer.body)


def test_every_answer_has_an_id_of_its_own(gateway: RunningGateway) -> None:
    ids = [ask(gateway, path).header("x-request-id") for path in ("/v1/models", "/none", "/health/live") * 3]
    assert len(set(ids)) == 9
    assert all(id is not None and id.startswith("req_") for id in ids)


def test_health_says_when_the_gateway_drains(simulator: Simulator) -> None:
    with running_gateway(plain_settings(simulator)) as gateway:
        assert ask(gateway, "/health/ready").json()["status"] == "ready"
        gateway.gateway.draining = True
        assert ask(gateway, "/health/ready").status == 503
        assert ask(gateway, "/health/live").status == 200


def test_a_stream_that_is_not_asked_for_is_none(gateway: RunningGateway) -> None:
    for dialect in DIALECTS:
        request = dialect.request(f"{dialect.provider}/sim-x")
        request.pop("stream")
        answer = ask(gateway, dialect.path, request)
        assert (answer.header("content-type") == "application/json") is (dialect is not OLLAMA)
