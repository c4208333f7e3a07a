"""Vectors over HTTP: whom a request goes to, what it costs, and what is said of what cannot be heeded."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from genai_spine.ledger.opening import open_reader
from genai_spine.ledger.reading import find_call
from genai_spine.settings import LedgerSettings, Secret
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

ALL, CHAT_ALONE = "key-of-all-0123456789", "key-of-chat-0123456789"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors") / "spine.db"


@pytest.fixture(scope="module")
def running(simulator: Simulator, ledger: Path) -> Iterator[RunningGateway]:
    settings = {
        "providers": {
            "openai": {"base_url": simulator.urls.openai, "api_key": "k", "model": "gpt-4o-mini"},
            "cohere": {"base_url": simulator.urls.root, "api_key": "k", "model": "command-a-03-2025"},
            "own": {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "nomic-embed-text"},
            "bedrock": {"base_url": simulator.urls.root, "api_key": "k", "region": "us-east-1"},
            "anthropic": {"base_url": simulator.urls.anthropic, "api_key": "k"},
            "ollama": {"base_url": simulator.urls.ollama, "models": ["llama3.2:latest"]},
            "default": "openai",
        },
        "routes": {"vectors": {"targets": ["openai/text-embedding-3-small", "cohere/embed-v4.0"]}},
        "server": {
            "keys": {
                "all": {"key": ALL, "requests_per_min": 1000, "tokens_per_min": 100_000},
                "chat": {"key": CHAT_ALONE, "models": ["openai/gpt-4o-mini"]},
            }
        },
        "retry": {"max_retries": 1, "initial_delay": 0.001},
        "ledger": {"url": f"sqlite:///{ledger}"},
    }
    with running_gateway(settings) as gateway:
        yield gateway


@pytest.fixture
def gateway(running: RunningGateway, simulator: Simulator) -> RunningGateway:
    simulator.run()
    simulator.received.clear()
    return running


def ask(gateway: RunningGateway, path: str = "/v1/embeddings", *, key: str = ALL, **body: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.post(gateway.url + path, json={"input": "tea", **body}, headers=headers, timeout=20)


def logged(ledger: Path, answer: httpx2.Response) -> Any:
    reader = open_reader(LedgerSettings(url=Secret(f"sqlite:///{ledger}")))
    try:
        id = answer.headers["x-request-id"]
        wait_until(lambda: find_call(reader, id) is not None)
        return find_call(reader, id)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("named", "provider", "model"),
    [
        ({}, "openai", "text-embedding-ada-002"),
        ({"provider": "cohere"}, "cohere", "embed-v4.0"),
        ({"model": "cohere"}, "cohere", "embed-v4.0"),
        ({"model": "cohere/"}, "cohere", "embed-v4.0"),
        ({"model": ""}, "openai", "text-embedding-ada-002"),
    ],
)
def test_where_no_model_is_named_the_providers_own_for_vectors_is_charged(
    gateway: RunningGateway, simulator: Simulator, ledger: Path, named: dict[str, str], provider: str, model: str
) -> None:
    answer = ask(gateway, **named)
    assert (answer.status_code, answer.headers["x-spine-provider"]) == (200, provider)
    assert simulator.received[0].json()["model"] == model
    call, (attempt,) = logged(ledger, answer)
    assert (call.model, attempt.model) == (model, model)
    price = {"text-embedding-ada-002": "0.1", "embed-v4.0": "0.12"}[model]
    assert call.cost_usd == Decimal(price) * attempt.input_tokens / 1_000_000 > 0


def test_a_provider_without_one_for_vectors_is_asked_for_its_only_model_where_it_is_named(
    gateway: RunningGateway, simulator: Simulator
) -> None:
    assert ask(gateway, model="own").status_code == 200
    assert simulator.received[0].json()["model"] == "nomic-embed-text"
    unnamed = ask(gateway, provider="own")
    assert unnamed.status_code == 400 and "embed_model" in unnamed.json()["error"]["message"]


def test_a_key_may_use_no_model_for_vectors_that_it_does_not_name(
    gateway: RunningGateway, simulator: Simulator
) -> None:
    for named in ({}, {"model": "openai"}, {"model": "openai/text-embedding-ada-002"}, {"provider": "nope"}):
        answer = ask(gateway, key=CHAT_ALONE, **named)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed"), named
    assert not simulator.received


def test_the_cost_and_what_is_left_are_told(gateway: RunningGateway) -> None:
    answer = ask(gateway, model="text-embedding-3-small")
    used = answer.json()["usage"]["prompt_tokens"]
    assert Decimal(answer.headers["x-spine-cost-usd"]) == Decimal("0.02") * used / 1_000_000
    assert answer.headers["x-ratelimit-limit-requests"] == "1000"
    assert "x-ratelimit-remaining-tokens" in answer.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {}),
        ("/api/embed", {}),
        ("/api/embeddings", {"prompt": "tea"}),
        ("/v1beta/models/text-embedding-3-small:embedContent", {"content": {"parts": [{"text": "tea"}]}}),
        (
            "/v1beta/models/text-embedding-3-small:batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": "tea"}]}}]},
        ),
    ],
)
def test_a_limit_of_cost_holds_for_vectors(
    gateway: RunningGateway, simulator: Simulator, path: str, body: dict[str, Any]
) -> None:
    def asked(limit: Any) -> httpx2.Response:
        own = {"model": "text-embedding-3-small"} if "v1beta" not in path else {}
        sent = {**(body or {"input": "tea " * 1000}), **own, "cost_limit": limit}
        headers = {"authorization": f"Bearer {ALL}"}
        return httpx2.post(gateway.url + path, json=sent, headers=headers, timeout=20)

    if not body:
        assert asked(0.000001).status_code == 402
        assert not simulator.received
    assert asked(0.01).status_code == 200
    for wrong in (-1, "much"):
        answer = asked(wrong)
        assert answer.status_code == 400
        assert "cost_limit" in answer.text or "costLimit" in answer.text


def test_what_cannot_choose_a_model_for_vectors_is_told(gateway: RunningGateway, simulator: Simulator) -> None:
    answer = ask(gateway, model="vectors", fallbacks=["cohere/embed-v4.0"], provider_hint="cheapest")
    assert answer.status_code == 200
    said = answer.headers["x-spine-notices"]
    assert "dropped fallbacks: " in said and "dropped provider_hint: " in said
    assert simulator.received[0].json() == {"model": "text-embedding-3-small", "input": ["tea"]}
    wrong = ask(gateway, provider_hint="nearest")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "provider_hint")


def test_openais_callers_hear_how_much_was_used_also_where_no_provider_said_so(
    gateway: RunningGateway, ledger: Path
) -> None:
    answer = ask(gateway, model="bedrock/cohere.embed-english-v3", input=["some tea", "more"])
    assert answer.status_code == 200
    assert answer.json()["usage"]["prompt_tokens"] == answer.json()["usage"]["total_tokens"] > 1
    assert "estimated usage: this is not the provider's own count" in answer.headers["x-spine-notices"]
    assert "x-spine-cost-usd" not in answer.headers
    assert answer.json()["id"] == answer.headers["x-request-id"], "Mistral's client takes no answer without one"
    call, _ = logged(ledger, answer)
    assert call.cost_usd is None
    plain = httpx2.post(
        f"{gateway.url}/api/embed",
        json={"model": "bedrock/cohere.embed-english-v3", "input": "tea"},
        headers={"authorization": f"Bearer {ALL}"},
        timeout=20,
    )
    assert "prompt_eval_count" not in plain.json()


def test_an_attempt_that_may_be_billed_is_told_of(gateway: RunningGateway, simulator: Simulator) -> None:
    simulator.run("malformed=0", "ok")
    answer = ask(gateway, model="text-embedding-3-small")
    assert (answer.status_code, answer.headers["x-spine-attempts"]) == (200, "2")
    assert "possibly_billed: " in answer.headers["x-spine-notices"]


def test_very_many_numbers_are_written_like_a_few(gateway: RunningGateway) -> None:
    few = ask(gateway, model="text-embedding-3-small", dimensions=3072).json()
    many = ask(gateway, model="text-embedding-3-small", dimensions=3072, input=["tea"] * 40).json()
    assert [item["index"] for item in many["data"]] == list(range(40))
    assert all(item["embedding"] == few["data"][0]["embedding"] for item in many["data"])


def test_a_retired_model_for_vectors_is_told_of(gateway: RunningGateway) -> None:
    answer = ask(gateway, model="openai/text-davinci-003")
    assert "retired" in answer.headers["x-spine-notices"]


def test_what_a_batch_of_googles_does_not_have_is_refused(gateway: RunningGateway) -> None:
    path = "/v1beta/models/text-embedding-3-small:batchEmbedContents"
    item = {"content": {"parts": [{"text": "tea"}]}}
    headers = {"authorization": f"Bearer {ALL}"}
    for name in ("outputDimensionality", "task_type"):
        answer = httpx2.post(gateway.url + path, json={"requests": [item], name: 3}, headers=headers, timeout=20)
        assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert "say it in each of its requests" in answer.text


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini", "anthropic/claude-sonnet-4-5", "ollama/llama3.2", "ollama/llama3.2:latest", "vectors"]
)
def test_a_model_is_found_by_any_name_that_may_be_called(gateway: RunningGateway, name: str) -> None:
    headers = {"authorization": f"Bearer {ALL}"}
    found = httpx2.get(f"{gateway.url}/v1/models/{name.replace('/', '%2F')}", headers=headers, timeout=20)
    assert (found.status_code, found.json()["id"]) == (200, name)
    shown = httpx2.post(f"{gateway.url}/api/show", json={"model": name}, headers=headers, timeout=20)
    assert shown.status_code == 200
    gone = httpx2.get(f"{gateway.url}/v1/models/anthropic%2Fclaude-2.1", headers=headers, timeout=20)
    assert gone.status_code == 404


def test_calls_are_listed_by_no_end_that_there_is_not(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {ALL}"}
    answer = httpx2.get(f"{gateway.url}/v1/requests?status=done", headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "status")
