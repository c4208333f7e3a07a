"""Documents in order, over HTTP: in Jina's form and in Cohere's, by providers of either, with what every call gets."""

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
DOCUMENTS = ["a cold lake", "hot green tea", "tea leaves"]
PATHS = ["/v1/rerank", "/rerank", "/v2/rerank"]
MODELS = ["cohere/rerank-v3.5", "llamacpp/bge-reranker-v2-m3"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranking") / "spine.db"


@pytest.fixture(scope="module")
def running(simulator: Simulator, ledger: Path) -> Iterator[RunningGateway]:
    settings = {
        "providers": {
            "cohere": {"base_url": simulator.urls.root, "api_key": "k"},
            "llamacpp": {"base_url": simulator.urls.openai},
            "anthropic": {"base_url": simulator.urls.anthropic, "api_key": "k"},
        },
        "server": {
            "keys": {
                "all": {"key": ALL, "requests_per_min": 1000},
                "chat": {"key": CHAT_ALONE, "models": ["anthropic/*"]},
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


def ask(
    gateway: RunningGateway, path: str = "/v1/rerank", *, key: str = ALL, more: Any = (), **body: Any
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}", **dict(more)}
    sent = {"model": MODELS[0], "query": "hot tea", "documents": DOCUMENTS, **body}
    return httpx2.post(gateway.url + path, json=sent, headers=headers, timeout=20)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", PATHS)
def test_the_best_document_is_the_first(gateway: RunningGateway, simulator: Simulator, path: str, model: str) -> None:
    answer = ask(gateway, path, model=model, top_n=2)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [(each["index"], each["relevance_score"]) for each in said["results"]] == [(1, 1.0), (2, 0.5)]
    gives_documents = path != "/v2/rerank"
    assert [each.get("document") for each in said["results"]] == [
        {"text": DOCUMENTS[index]} if gives_documents else None for index in (1, 2)
    ]
    assert simulator.received[0].json() == {
        "model": model.split("/")[1],
        "query": "hot tea",
        "documents": DOCUMENTS,
        "top_n": 2,
    }
    if model.startswith("cohere"):
        assert said["meta"]["billed_units"] == {"search_units": 1}
    else:
        assert said["usage"]["prompt_tokens"] == said["usage"]["total_tokens"] > 0
    assert answer.headers["x-spine-provider"] == model.split("/")[0]
    assert answer.headers["x-spine-attempts"] == "1"
    assert answer.headers["x-ratelimit-limit-requests"] == "1000"


@pytest.mark.parametrize("path", PATHS)
def test_documents_come_back_as_they_were_written_where_they_are_wanted(gateway: RunningGateway, path: str) -> None:
    documents = [{"text": "a lake", "page": 3}, "hot tea"]
    said = ask(gateway, path, documents=documents, return_documents=True).json()
    assert [each["document"] for each in said["results"]] == [{"text": "hot tea"}, documents[0]]
    assert all("document" not in each for each in ask(gateway, path, return_documents=False).json()["results"])


def test_members_of_the_callers_dialect_reach_a_provider_of_it_and_no_other(
    gateway: RunningGateway, simulator: Simulator
) -> None:
    assert "x-spine-notices" not in ask(gateway, "/v2/rerank", max_tokens_per_doc=9).headers
    assert simulator.received[0].json()["max_tokens_per_doc"] == 9
    left_out = ask(gateway, "/v2/rerank", model=MODELS[1], max_tokens_per_doc=9)
    assert "max_tokens_per_doc" in left_out.headers["x-spine-notices"]
    assert "max_tokens_per_doc" not in simulator.received[1].json()


def test_what_chooses_among_several_is_said_to_be_left_out(gateway: RunningGateway, simulator: Simulator) -> None:
    answer = ask(gateway, fallbacks=[MODELS[1]], provider_hint="cheapest")
    assert "fallbacks" in answer.headers["x-spine-notices"] and "provider_hint" in answer.headers["x-spine-notices"]
    assert simulator.received[0].json().keys() == {"model", "query", "documents"}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"query": None}, "query"),
        ({"query": 5}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": "a text"}, "documents"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": [{"image": "https://x/y.png"}]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "two"}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"cost_limit": -1}, "cost_limit"),
        ({"model": "anthropic/claude-sonnet-4-5"}, "model"),
    ],
)
def test_what_is_wrong_is_named(
    gateway: RunningGateway, simulator: Simulator, wrong: dict[str, Any], param: str
) -> None:
    for path in PATHS:
        answer = ask(gateway, path, **wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert not simulator.received


def test_a_key_ranks_with_the_models_it_may_use(gateway: RunningGateway, simulator: Simulator) -> None:
    answer = ask(gateway, key=CHAT_ALONE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert ask(gateway, key="wrong").status_code == 401
    assert not simulator.received


def test_a_ranking_sent_again_is_paid_for_once(gateway: RunningGateway, simulator: Simulator) -> None:
    first, second = (ask(gateway, more={"idempotency-key": "ranking-1"}) for _ in range(2))
    assert first.content == second.content
    assert len(simulator.received) == 1


def test_a_ranking_is_in_the_ledger(gateway: RunningGateway, ledger: Path) -> None:
    answer = ask(gateway, model=MODELS[1])
    assert Decimal(answer.headers["x-spine-cost-usd"]) == 0  # a server of one's own
    reader = open_reader(LedgerSettings(url=Secret(f"sqlite:///{ledger}")))
    id = answer.headers["x-request-id"]
    wait_until(lambda: find_call(reader, id) is not None)
    found = find_call(reader, id)
    assert found is not None
    call, (attempt,) = found
    assert (call.status, call.caller, call.cost_usd) == ("answered", "all", 0)
    assert attempt.provider == "llamacpp" and attempt.input_tokens == answer.json()["usage"]["prompt_tokens"]


def test_a_providers_error_is_told_in_openais_shape(gateway: RunningGateway) -> None:
    answer = ask(gateway, model="cohere/m+status=404")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("cohere: ")
