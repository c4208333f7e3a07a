"""GET /metrics: what a monitoring system reads, beside what the same gateway says elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from genai_spine.ledger.opening import open_reader
from genai_spine.ledger.reading import usage
from genai_spine.settings import LedgerSettings, Secret
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator, wait_until
from genai_spine.testing.simulator import Simulator

OPERATORS, TEAMS = "key-of-the-operator-01", "key-of-a-team-01234567"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def tables(simulator: Simulator, *, metrics: str = "keyed", keys: bool = True, **more: Any) -> dict[str, Any]:
    owned = {"api_keys": [OPERATORS], "keys": {"team": {"key": TEAMS}}} if keys else {}
    return {
        "providers": {
            "openai": {"base_url": simulator.urls.openai, "api_key": "k"},
            "claude": {"base_url": simulator.urls.anthropic, "api_key": "k"},
        },
        "routes": {"smart": {"targets": ["openai/gpt-4o-mini", "claude/claude-haiku-4-5"], "strategy": "ordered"}},
        "retry": {"max_retries": 0},
        "server": {"metrics": metrics, **owned},
        **more,
    }


def ask(gateway: RunningGateway, model: str, key: str = TEAMS, **more: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"}
    url = f"{gateway.url}/v1/chat/completions"
    answer = httpx2.post(url, json={"model": model, **ASK, **more}, headers=headers, timeout=20)
    answer.read()
    return answer


def scrape(gateway: RunningGateway, key: str | None = OPERATORS, **headers: str) -> httpx2.Response:
    given = {"authorization": f"Bearer {key}"} if key is not None else {}
    return httpx2.get(f"{gateway.url}/metrics", headers={**given, **headers}, timeout=20)


def numbers(gateway: RunningGateway) -> dict[tuple[str, ...], float]:
    """By name and the labels' values, in the order of the labels' names."""
    found = {}
    for family in text_string_to_metric_families(scrape(gateway).text):
        for sample in family.samples:
            found[(sample.name, *(sample.labels[name] for name in sorted(sample.labels)))] = sample.value
    return found


def test_calls_attempts_tokens_and_costs_are_those_of_the_answers(simulator: Simulator) -> None:
    with running_gateway(tables(simulator)) as gateway:
        answers = [ask(gateway, "openai/gpt-4o-mini") for _ in range(3)]
        ask(gateway, "openai/gpt-4o-mini", stream=True)
        simulator.run("status=503", "ok")
        fallen_back = ask(gateway, "smart")
        simulator.run("status=429")
        assert ask(gateway, "openai/gpt-4o-mini").status_code == 429
        simulator.run()
        found = numbers(gateway)
    assert fallen_back.headers["x-spine-provider"] == "claude"
    assert found["spine_calls_total", "team", "", "answered"] == 4
    assert found["spine_calls_total", "team", "smart", "answered"] == 1
    assert found["spine_calls_total", "team", "", "failed"] == 1
    assert found["spine_attempts_total", "gpt-4o-mini", "answered", "openai"] == 4
    assert found["spine_attempts_total", "gpt-4o-mini", "server_error", "openai"] == 1
    assert found["spine_attempts_total", "gpt-4o-mini", "rate_limit", "openai"] == 1
    assert found["spine_attempts_total", "claude-haiku-4-5", "answered", "claude"] == 1
    assert found["spine_attempt_duration_seconds_count", "gpt-4o-mini", "openai"] == 4
    assert found["spine_first_token_seconds_count", "gpt-4o-mini", "openai"] == 1
    usage_of_one = answers[0].json()["usage"]
    assert found["spine_tokens_total", "team", "input", "gpt-4o-mini", "openai"] == 4 * usage_of_one["prompt_tokens"]
    cost = 4 * Decimal(answers[0].headers["x-spine-cost-usd"])
    assert cost > 0
    assert found["spine_cost_usd_total", "team", "gpt-4o-mini", "openai"] == float(cost)
    assert found["spine_http_requests_total", "/v1/chat/completions", "200"] == 5
    assert found["spine_http_requests_total", "/v1/chat/completions", "429"] == 1
    assert found["spine_http_request_duration_seconds_count", "/v1/chat/completions"] == 6
    assert found[("spine_overhead_seconds_count",)] == 4
    assert found["spine_provider_healthy", "claude"] == 1
    assert found["spine_breaker_open", "gpt-4o-mini", "openai"] == 0
    assert found["spine_attempts_in_progress", "gpt-4o-mini", "openai"] == 0
    assert found[("spine_http_requests_in_progress",)] == 1, "this one"


def test_they_agree_with_the_ledger(simulator: Simulator, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'spine.db'}"
    budget = {"daily_limit": 50.0}
    with running_gateway(tables(simulator, ledger={"url": url}, costs=budget)) as gateway:
        for number in range(12):
            simulator.run(*(["status=500"] if number % 4 == 0 else ["ok"]))
            ask(gateway, "smart", stream=number % 3 == 0)
        found = numbers(gateway)
        assert found[("spine_ledger_up",)] == 1
        assert found["spine_budget_limit_usd", "daily_limit"] == 50
        assert found["spine_budget_spent_usd", "daily_limit"] > 0
    reader = open_reader(LedgerSettings(url=Secret(url)))
    report = usage(reader, "model")
    reader.close()
    total = sum(value for name, value in found.items() if name[0] == "spine_cost_usd_total")
    assert total == pytest.approx(float(report.total.cost_usd), rel=1e-12)
    assert sum(value for name, value in found.items() if name[0] == "spine_calls_total") == report.total.calls
    tokens = [value for name, value in found.items() if name[0] == "spine_tokens_total" and "input" in name]
    assert sum(tokens) == report.total.input_tokens


def test_streams_and_requests_under_way_are_told_while_they_are(simulator: Simulator) -> None:
    with running_gateway(tables(simulator)) as gateway:
        simulator.run("stall=2")
        body = {"model": "openai/gpt-4o-mini", "stream": True, **ASK}
        headers = {"authorization": f"Bearer {TEAMS}"}
        url = f"{gateway.url}/v1/chat/completions"
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=20) as answer:
            pieces = answer.iter_bytes()  # kept: the answer is closed with it
            next(pieces)
            found = numbers(gateway)
            assert found[("spine_streams_in_progress",)] == 1
            assert found["spine_attempts_in_progress", "gpt-4o-mini", "openai"] == 1
            assert ("spine_calls_total", "team", "", "left") not in found
        wait_until(lambda: numbers(gateway).get(("spine_calls_total", "team", "", "left")) == 1)
        found = numbers(gateway)
        assert found["spine_attempts_total", "gpt-4o-mini", "left", "openai"] == 1
        assert found["spine_unpriced_attempts_total", "team", "gpt-4o-mini", "openai"] == 1


# ---------------------------------------------------------------- who may read them, and how


def test_a_key_with_a_name_and_no_key_at_all_get_none(simulator: Simulator) -> None:
    with running_gateway(tables(simulator)) as gateway:
        assert scrape(gateway, None).status_code == 401
        refused = scrape(gateway, TEAMS)
        assert refused.status_code == 403
        assert "server.api_keys" in refused.json()["error"]["message"]
        assert scrape(gateway).status_code == 200


def test_open_ones_need_no_key_and_calls_do(simulator: Simulator) -> None:
    with running_gateway(tables(simulator, metrics="open")) as gateway:
        assert scrape(gateway, None).status_code == 200
        assert ask(gateway, "openai/gpt-4o-mini", key="wrong").status_code == 401
        assert 'spine_http_requests_total{path="/v1/chat/completions",status="401"} 1.0' in scrape(gateway, None).text


def test_without_the_setting_nothing_is_counted_and_the_answer_says_so(simulator: Simulator) -> None:
    with running_gateway(tables(simulator, metrics="none", keys=False)) as gateway:
        answer = scrape(gateway, None)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith('no numbers are counted here: server.metrics is "none"')


def test_paths_of_a_callers_making_are_not_told_apart(simulator: Simulator) -> None:
    with running_gateway(tables(simulator, metrics="open", keys=False)) as gateway:
        for number in range(5):
            assert httpx2.get(f"{gateway.url}/made/up/{number}").status_code == 404
            assert httpx2.request("OPTIONS", f"{gateway.url}/made/up/{number}").status_code == 404
            httpx2.get(f"{gateway.url}/v1/models/made-up-{number}")
        paths = {name[1] for name in numbers(gateway) if name[0] == "spine_http_requests_total"}
        assert paths == {"", "/v1/models/", "/metrics"} or paths == {"", "/v1/models/"}


def test_it_is_the_text_that_monitoring_systems_read(simulator: Simulator) -> None:
    with running_gateway(tables(simulator)) as gateway:
        ask(gateway, "openai/gpt-4o-mini")
        plain = scrape(gateway)
        assert plain.headers["content-type"].startswith("text/plain; version=")
        open_metrics = scrape(gateway, accept="application/openmetrics-text; version=1.0.0")
        assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        families = {family.name: family for family in openmetrics_families(open_metrics.text)}
        assert families["spine_cost_usd"].type == "counter"
        assert families["spine_attempt_duration_seconds"].type == "histogram"
        assert httpx2.head(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {OPERATORS}"}).text == ""
