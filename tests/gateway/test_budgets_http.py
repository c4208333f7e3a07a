"""Budgets of a real gateway before a simulator: 402 in every dialect, capped answers, cut streams, a restart."""

from __future__ import annotations

import json
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genai_spine import SyncManager
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.model.errors import ConfigError
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator, wait_until
from genai_spine.testing.simulator.server import Simulator

PRICES = {"input_cost_per_1m": 10, "output_cost_per_1m": 50}  # sim-long-100: one token in, a hundred out: $0.00501
COST = Decimal("0.00501")


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def settings(simulator: Simulator, costs: dict[str, Any], **more: Any) -> dict[str, Any]:
    up = {"type": "openai_compatible", "base_url": simulator.urls.openai, "cost": PRICES}
    providers = {"up": up, "dear": up, "free": {"type": "simulated"}, "odd": {**up, "cost": None}}
    providers["odd"].pop("cost")
    return {"costs": costs, "providers": providers, "retry": {"max_retries": 0}, **more}


def post(running: RunningGateway, path: str, body: dict[str, Any], **headers: str) -> Told:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{running.url}{path}", data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Told(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        return Told(error.code, dict(error.headers), error.read().decode())


def get(running: RunningGateway, path: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(f"{running.url}{path}", headers=headers), timeout=30) as answer:
        return json.load(answer)


def chat(running: RunningGateway, model: str = "up/sim-long-100", *, text: str = "hello", **more: Any) -> Told:
    headers = more.pop("headers", {})
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return post(running, "/v1/chat/completions", body, **headers)


def stand(running: RunningGateway, name: str) -> dict[str, Any]:
    return next(each for each in get(running, "/v1/budgets")["data"] if each["name"] == name)


# ---------------------------------------------------------------- used up


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": "up/x", "messages": [{"role": "user", "content": "hello"}]}),
    "responses": ("/v1/responses", {"model": "up/x", "input": "hello"}),
    "anthropic": (
        "/v1/messages",
        {"model": "up/x", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    ),
    "ollama": ("/api/chat", {"model": "up/x", "messages": [{"role": "user", "content": "hello"}]}),
    "gemini": ("/v1beta/models/up%2Fx:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
}
SHAPES = {
    "openai": lambda told: (told["error"]["type"], told["error"]["code"], told["error"]["message"]),
    "responses": lambda told: (told["error"]["type"], told["error"]["code"], told["error"]["message"]),
    "anthropic": lambda told: (told["type"], told["error"]["type"], told["error"]["message"]),
    "ollama": lambda told: ("error", "error", told["error"]),
    "gemini": lambda told: (told["error"]["status"], told["error"]["code"], told["error"]["message"]),
}
KINDS = {
    "openai": ("insufficient_quota", "budget_exceeded"),
    "responses": ("insufficient_quota", "budget_exceeded"),
    "anthropic": ("error", "billing_error"),
    "ollama": ("error", "error"),
    "gemini": ("RESOURCE_EXHAUSTED", 402),
}


def test_a_budget_that_is_used_up_is_told_in_every_dialect(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 0.005})) as running:
        assert chat(running).status == 200  # alone it may have the rest
        before = len(simulator.received)
        for dialect, (path, body) in CALLS.items():
            for stream in (False, True):
                told = post(running, path, {**body, "stream": stream} if dialect != "gemini" else body)
                assert told.status == 402, told
                *kind, message = SHAPES[dialect](told.json)
                assert tuple(kind) == KINDS[dialect]
                assert message.startswith(
                    'the budget "daily_limit" is used up: $0.00501 of $0.005 spent; it begins anew at'
                )
                assert int(told.headers["retry-after"]) > 0
                assert told.headers["x-should-retry"] == "false"
        assert len(simulator.received) == before
        assert stand(running, "daily_limit")["left_usd"] == "0"
        assert stand(running, "by_provider[up]")["spent_usd"] == "0.00501"


@pytest.mark.parametrize("number", [10**17, 10**30])
def test_numbers_that_no_answer_reaches_keep_nothing_of_a_budget(
    simulator: Simulator, tmp_path: Path, number: int
) -> None:
    ledger = {"url": f"sqlite:///{tmp_path / 'ledger.db'}"}
    with running_gateway(settings(simulator, {"daily_limit": 10}, ledger=ledger)) as running:
        assert chat(running, n=number).status == 400
        chat(running, max_tokens=number)
        chat(running, "free/simulated", n=number, max_tokens=number)
        assert stand(running, "daily_limit")["reserved_usd"] == "0"
        assert chat(running).status == 200


def test_a_providers_budget_sends_calls_to_the_next_target_and_is_explained(simulator: Simulator) -> None:
    routes = {"fast": {"targets": ["dear/sim-long-100", "up/sim-long-100", "free/simulated"]}}
    costs = {
        "limits": {"dear_daily": 0.004},
        "budgets": {"most": {"limit_usd": 0.01, "window": "day", "provider": "up"}},
    }
    with running_gateway(settings(simulator, costs, routes=routes)) as running:
        answers = [chat(running, "fast") for _ in range(5)]
        assert [answer.headers["x-spine-provider"] for answer in answers] == ["dear", "up", "up", "free", "free"]
        told = get(running, f"/v1/requests/{answers[-1].headers['x-request-id']}")
        assert [passed["provider"] for passed in told["passed_over"]] == ["dear", "up"]
        assert 'the budget "dear_daily" is used up' in told["passed_over"][0]["reason"]
        body = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
        explained = post(running, "/v1/route", body).json["candidates"]
        assert [(each["provider"], each["place"]) for each in explained] == [("free", 1), ("dear", None), ("up", None)]
        assert "is used up" in explained[1]["reason"]


def test_a_key_has_its_own_budget_and_sees_no_other(simulator: Simulator) -> None:
    costs = {"budgets": {"mine": {"limit_tokens": 150, "each": "key", "window": "day"}}}
    server = {"api_keys": ["key-of-one", "key-of-another"]}
    with running_gateway(settings(simulator, costs, server=server)) as running:
        one, another = ({"authorization": f"Bearer {key}"} for key in server["api_keys"])
        assert chat(running, headers=one).status == 200
        assert chat(running, headers=one).status == 200  # alone it may have the rest
        refused = chat(running, headers=one)
        assert refused.status == 402 and "202 of 150 tokens spent" in refused.text
        assert chat(running, headers=another).status == 200
        seen = [each["spent_tokens"] for each in get(running, "/v1/budgets", **another)["data"] if each["of"] == "key"]
        assert seen == [101]


def test_tags_and_agents_have_budgets(simulator: Simulator) -> None:
    costs = {"budgets": {"blue": {"limit_usd": 0.004, "tag": "blue"}, "writer": {"limit_usd": 0.004, "agent": "w*"}}}
    agents = {"writer": {"provider": "up", "model": "sim-long-100"}}
    with running_gateway(settings(simulator, costs, agents=agents)) as running:
        tagged = {"x-spine-tags": "red, blue"}
        assert [chat(running, headers=tagged).status for _ in range(2)] == [200, 402]
        assert [chat(running, "agent:writer").status for _ in range(2)] == [200, 402]
        assert chat(running).status == 200


def test_an_unknown_price_is_refused_with_the_mend_and_allowed_where_settings_say_so(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 1})) as running:
        told = chat(running, "odd/x")
        assert told.status == 402
        assert (
            'the price of odd/x is not known, and the budget "daily_limit" is in USD' in told.json["error"]["message"]
        )
        assert "set providers.odd.cost, or costs.unknown_price" in told.json["error"]["message"]
        assert chat(running, "free/x").status == 200
    with running_gateway(settings(simulator, {"daily_limit": 1, "unknown_price": "allow"})) as running:
        assert chat(running, "odd/x").status == 200


# ---------------------------------------------------------------- hard budgets


def test_a_hard_budget_caps_the_answer_and_says_so(simulator: Simulator) -> None:
    for stream in (False, True):
        with running_gateway(settings(simulator, {"daily_limit": 0.005, "mode": "hard"})) as running:
            told = chat(running, stream=stream, max_tokens=64_000)
            notice = told.headers["x-spine-notices"]
            assert notice.startswith("max_tokens_capped max_tokens: the answer may have ")
            assert 'would not fit into the budget "daily_limit"' in notice
            sent = simulator.received[-1].json()
            cap = sent.get("max_completion_tokens", sent.get("max_tokens"))
            assert 16 <= cap < 100 and f"have {cap} tokens" in notice
            wait_until(lambda running=running: stand(running, "daily_limit")["reserved_usd"] == "0")
            assert Decimal("0.003") < Decimal(stand(running, "daily_limit")["spent_usd"]) <= Decimal("0.005")


@pytest.mark.parametrize("stream", [False, True])
def test_a_hard_budget_caps_each_of_several_answers_in_the_callers_own_bytes(
    simulator: Simulator, stream: bool
) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 0.05, "mode": "hard"})) as running:
        told = chat(running, n=2, stream=stream, something_new={"a": 1})
        assert told.status == 200, told.text
        sent = simulator.received[-1].json()
        assert (sent["n"], sent["something_new"]) == (2, {"a": 1})
        assert 16 <= sent["max_tokens"] <= 500
    with running_gateway(settings(simulator, {"daily_limit": 0.05, "mode": "hard"})) as running:
        assert chat(running, n=2, stream=stream, max_tokens=64_000).status == 200
        assert simulator.received[-1].json()["max_tokens"] <= 500


def test_several_answers_of_gemini_are_capped_in_its_own_words(simulator: Simulator) -> None:
    given = settings(simulator, {"daily_limit": 0.05, "mode": "hard"})
    given["providers"]["gemini"] = {"api_key": "unused", "base_url": simulator.urls.gemini, "cost": PRICES}
    with running_gateway(given) as running:
        body = {**CALLS["gemini"][1], "generationConfig": {"candidateCount": 2, "topK": 7}}
        told = post(running, "/v1beta/models/gemini%2Fgemini-2.5-pro:generateContent", body)
        assert told.status == 200, told.text
        config = simulator.received[-1].json()["generationConfig"]
        assert (config["candidateCount"], config["topK"]) == (2, 7)
        assert 16 <= config["maxOutputTokens"] <= 500


def test_a_hard_budget_has_room_for_a_prompt_that_the_provider_keeps_or_refuses_it(simulator: Simulator) -> None:
    given = settings(simulator, {"daily_limit": 1, "mode": "hard"})
    given["providers"]["gemini"] = {"api_key": "unused", "base_url": simulator.urls.gemini}
    with running_gateway(given) as running:
        path = "/v1beta/models/gemini%2Fgemini-2.5-pro:generateContent"
        body = {**CALLS["gemini"][1], "generationConfig": {"maxOutputTokens": 100}}
        assert post(running, path, body).status == 200
        refused = post(running, path, {**body, "cachedContent": "cachedContents/abc"})
        assert refused.status == 402 and "has not enough left for a call that may need" in refused.text


def test_an_answer_that_fits_is_relayed_as_it_was_asked_for(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 9, "mode": "hard"})) as running:
        told = chat(running, max_tokens=500, something_new={"a": 1})
        assert told.status == 200 and "x-spine-notices" not in told.headers
        sent = simulator.received[-1].json()
        assert (sent["max_tokens"], sent["something_new"]) == (500, {"a": 1})


def test_two_hundred_at_a_time_never_overspend_a_hard_budget(simulator: Simulator) -> None:
    hurry(simulator, calls=300, at_a_time=60, limit=Decimal("0.5"))


@pytest.mark.slow
def test_a_thousand_at_a_time_spend_a_dollar_and_no_more(simulator: Simulator) -> None:
    hurry(simulator, calls=1_000, at_a_time=250, limit=Decimal(1))


def hurry(simulator: Simulator, *, calls: int, at_a_time: int, limit: Decimal) -> None:
    """More calls than the budget has room for: it is used to 95 % at least, and never beyond its limit."""
    with running_gateway(settings(simulator, {"daily_limit": float(limit), "mode": "hard"})) as running:

        def one(number: int) -> int:
            return chat(running, max_tokens=120, stream=bool(number % 2)).status

        with ThreadPoolExecutor(at_a_time) as pool:
            statuses = list(pool.map(one, range(calls)))
        assert set(statuses) == {200, 402}
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        spent = Decimal(stand(running, "daily_limit")["spent_usd"])
        assert limit * Decimal("0.95") <= spent <= limit
        assert spent <= statuses.count(200) * COST  # the last ones were made shorter


def test_an_attempt_that_may_be_billed_counts_with_the_most_that_it_can_cost(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 1, "mode": "hard"})) as running:
        simulator.run("status=500")
        assert chat(running, max_tokens=100).status == 500
        assert stand(running, "daily_limit")["spent_usd"] == "0"
        simulator.run("reset=mid-head")
        assert chat(running, max_tokens=100).status == 502
        assert Decimal("0.005") < Decimal(stand(running, "daily_limit")["spent_usd"]) < Decimal("0.01")


# ---------------------------------------------------------------- streams


LONG = {"model": "up/sim-long-1500", "messages": [{"role": "user", "content": "go on"}], "stream": True}
GOOGLE = {"contents": [{"role": "user", "parts": [{"text": "go on"}]}]}


@pytest.mark.parametrize(
    ("path", "asked", "mark"),
    [
        ("/v1/chat/completions", LONG, '"code":"budget_exceeded"'),
        ("/v1/messages", {**LONG, "max_tokens": 8_000}, '"type":"billing_error"'),
        pytest.param("/api/chat", LONG, '{"error":"', marks=pytest.mark.slow),
        pytest.param(
            "/v1/responses",
            {"model": "up/sim-long-1500", "input": "go on", "stream": True},
            '"code":"budget_exceeded"',
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "/v1beta/models/up%2Fsim-long-1500:streamGenerateContent?alt=sse",
            GOOGLE,
            '"RESOURCE_EXHAUSTED"',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_stream_is_cut_with_an_error_where_the_rest_of_it_would_not_fit(
    simulator: Simulator, path: str, asked: dict[str, Any], mark: str
) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 0.02})) as running:
        simulator.run("stall=20; for_s=0.1")  # so that its beginning comes alone
        told = post(running, path, asked)
        assert told.status == 200
        assert "the answer is cut" in told.text and mark in told.text.replace('": ', '":'), told.text[-900:]
        assert told.text.count("wizards") < 100  # of 1,500 words, each fourteenth
        assert running.manager.metrics()["up"].error_count == 0  # it was we who cut it
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        assert Decimal("0.01") < Decimal(stand(running, "daily_limit")["spent_usd"]) < Decimal("0.04")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}),
        ("/v1/responses", {"input": "hello", "max_output_tokens": 100}),
    ],
)
@pytest.mark.parametrize("mode", ["expected", "hard"])
def test_a_stream_that_keeps_to_its_limit_is_never_cut(
    simulator: Simulator, mode: str, path: str, asked: dict[str, Any]
) -> None:
    given = settings(simulator, {"daily_limit": 0.008, "mode": mode})
    given["providers"]["up"] = {**given["providers"]["up"], "type": "openai", "api_key": "sk-unused"}  # a relay
    with running_gateway(given) as running:
        told = post(running, path, {"model": "up/sim-long-100", "stream": True, **asked})
        assert told.status == 200 and "budget" not in told.text, told.text[-900:]
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        assert stand(running, "daily_limit")["spent_usd"] == str(COST)


def test_a_stream_that_is_longer_than_expected_goes_on_where_there_is_room(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 5})) as running:
        told = chat(running, "up/sim-long-2500", stream=True)
        assert "[DONE]" in told.text and "budget" not in told.text
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        assert stand(running, "daily_limit")["spent_usd"] == "0.12501"


def test_a_caller_that_leaves_gives_back_what_was_set_aside(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {"daily_limit": 5, "mode": "hard"})) as running:
        simulator.run("stall=20; for_s=20")
        body = {"model": "up/sim-long-5000", "messages": [], "stream": True, "max_tokens": 6_000}
        body["messages"] = [{"role": "user", "content": "go on"}]
        request = urllib.request.Request(
            f"{running.url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.readline()
            assert stand(running, "daily_limit")["reserved_usd"] != "0"
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        assert Decimal("0.3") < Decimal(stand(running, "daily_limit")["spent_usd"]) < Decimal("0.31")  # the most


# ---------------------------------------------------------------- the request's own limit


def test_cost_limit_caps_the_answer_or_leaves_the_target_out(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {})) as running:
        told = chat(running, cost_limit=0.005, max_tokens=64_000)
        assert told.status == 200
        assert "would not fit into the request's cost_limit" in told.headers["x-spine-notices"]
        assert Decimal(told.headers["x-spine-cost-usd"]) <= Decimal("0.005")
        refused = chat(running, cost_limit=0.0001)
        assert refused.status == 402
        assert refused.json["error"]["message"].startswith("the request's cost_limit has not enough left for a call")
        assert chat(running, cost_limit=0.0001, fallbacks=["free/simulated"]).headers["x-spine-provider"] == "free"
        unknown = chat(running, "odd/x", cost_limit=1)
        assert unknown.status == 402 and "the price of odd/x is not known" in unknown.text
        plain = chat(running, cost_limit=1, max_tokens=200)
        assert plain.status == 200 and "x-spine-notices" not in plain.headers


@pytest.mark.parametrize("limit", ["NaN", "sNaN", "-Infinity", -1])
def test_a_cost_limit_that_is_no_amount_is_refused(simulator: Simulator, limit: Any) -> None:
    with running_gateway(settings(simulator, {})) as running:
        told = post(running, "/v1/summarize", {"model": "up/x", "content": "some words", "cost_limit": limit})
        assert told.status == 400 and "cost_limit: expected an amount in USD, 0 or more" in told.text


def test_cost_limit_is_for_all_attempts_of_the_call(simulator: Simulator) -> None:
    with running_gateway(settings(simulator, {})) as running:
        simulator.run("reset=mid-head")
        told = chat(running, max_tokens=100, cost_limit=0.006, fallbacks=["dear/sim-long-100", "free/simulated"])
        assert told.headers["x-spine-provider"] == "free"  # the first may have cost most of it
        assert told.headers["x-spine-attempts"] == "2"


# ---------------------------------------------------------------- settings, restarts, the library


def test_a_restart_forgets_nothing(simulator: Simulator, tmp_path: Path) -> None:
    costs = {"daily_limit": 0.02, "budgets": {"one": {"limit_usd": 1, "each": "tag", "window": "total"}}}
    given = settings(simulator, costs, ledger={"url": f"sqlite:///{tmp_path / 'spine.db'}"})
    with running_gateway(given) as running:
        assert [chat(running, headers={"x-spine-tags": "blue"}).status for _ in range(2)] == [200, 200]
    with running_gateway(given) as running:
        assert stand(running, "daily_limit")["spent_usd"] == "0.01002"
        assert stand(running, "one[blue]")["spent_usd"] == "0.01002"
        assert [chat(running).status for _ in range(3)] == [200, 200, 402]


def test_the_ledger_knows_the_most_that_an_attempt_can_cost(simulator: Simulator, tmp_path: Path) -> None:
    given = settings(simulator, {"daily_limit": 2}, ledger={"url": f"sqlite:///{tmp_path / 'spine.db'}"})
    with running_gateway(given) as running:
        simulator.run("reset=mid-head")
        assert chat(running, max_tokens=100).status == 502
        wait_until(lambda: get(running, "/v1/usage")["total"]["unpriced"] == 1)
        most = Decimal(get(running, "/v1/usage")["total"]["unpriced_at_most_usd"])
        assert Decimal("0.005") < most < Decimal("0.01")


def leave(running: RunningGateway, **more: Any) -> None:
    """Ask for a stream, and go away before its end."""
    body = {"model": "up/sim-long-5000", "stream": True, "messages": [{"role": "user", "content": "go on"}], **more}
    request = urllib.request.Request(
        f"{running.url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.readline()


def test_without_a_budget_too_it_is_known_what_an_attempt_cost_at_most(simulator: Simulator, tmp_path: Path) -> None:
    ledger, hedge = {"url": f"sqlite:///{tmp_path / 'spine.db'}"}, {"budget": 1, "after": 0.05}
    with running_gateway(settings(simulator, {}, ledger=ledger, hedge=hedge)) as running:
        simulator.run("reset=mid-head")
        assert chat(running, max_tokens=100).status == 502
        simulator.run("stall=20; for_s=20")
        leave(running, max_tokens=6_000)
        simulator.run("stall=head")  # its call is over before it is
        assert chat(running, max_tokens=100, fallbacks=["free/simulated"]).headers["x-spine-provider"] == "free"
        simulator.run("reset=mid-head")
        assert chat(running).status == 502  # nothing limits this answer: no number would be true
        wait_until(lambda: get(running, "/v1/usage")["total"]["unpriced"] == 4)
        assert get(running, "/v1/usage")["total"]["unpriced_at_most_usd"] is None
        calls = get(running, "/v1/requests")["data"]
        unlimited, hedged, left, broken = ((call["cost_usd"], call["unpriced_at_most_usd"]) for call in calls)
        assert unlimited == (None, None)
        assert (hedged[0], left[0], broken[0]) == ("0", None, None)
        assert Decimal("0.005") < Decimal(broken[1]) < Decimal(hedged[1]) < Decimal("0.01")  # a longer request
        assert Decimal("0.3") < Decimal(left[1]) < Decimal("0.31")


def test_a_hard_budget_has_spent_as_much_after_a_restart(simulator: Simulator, tmp_path: Path) -> None:
    budgets = {
        "tokens": {"limit_tokens": 90_000, "window": "total"},
        "both": {"limit_tokens": 90_000, "window": "total", "provider": "up", "tag": "blue"},  # no roll-up tells it
        "soft": {"limit_usd": 9, "mode": "expected"},
    }
    costs = {"daily_limit": 1, "mode": "hard", "budgets": budgets}
    given = settings(simulator, costs, ledger={"url": f"sqlite:///{tmp_path / 'spine.db'}"})
    with running_gateway(given) as running:
        simulator.run("stall=20; for_s=20")
        leave(running, max_tokens=6_000)
        simulator.run("reset=mid-head")
        blue = {"x-spine-tags": "blue"}
        assert [chat(running, max_tokens=100, headers=blue).status for _ in range(2)] == [502, 200]
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        spent = stand(running, "daily_limit")["spent_usd"]
        tokens = [stand(running, name)["spent_tokens"] for name in ("tokens", "both")]
        assert Decimal("0.31") < Decimal(spent) < Decimal("0.32")
        assert tokens[0] > 6_200 > 400 > tokens[1] > 200
    with running_gateway(given) as running:
        assert stand(running, "daily_limit")["spent_usd"] == spent
        assert [stand(running, name)["spent_tokens"] for name in ("tokens", "both")] == tokens
        assert chat(running, max_tokens=64_000).headers["x-spine-notices"]  # what is left is no more than that
        assert Decimal(stand(running, "daily_limit")["spent_usd"]) <= 1


def test_an_expected_budget_has_spent_as_much_after_a_restart(simulator: Simulator, tmp_path: Path) -> None:
    budgets = {"both": {"limit_usd": 9, "window": "total", "provider": "up", "tag": "blue"}}  # no roll-up tells it
    costs = {"daily_limit": 10, "budgets": budgets}
    given = settings(simulator, costs, ledger={"url": f"sqlite:///{tmp_path / 'spine.db'}"})
    with running_gateway(given) as running:
        simulator.run("stall=20; for_s=20")
        leave(running, max_tokens=64_000)  # it may have cost 3 USD
        simulator.run("reset=mid-head")
        assert chat(running, max_tokens=64_000, headers={"x-spine-tags": "blue"}).status == 502
        wait_until(lambda: stand(running, "daily_limit")["reserved_usd"] == "0")
        spent = {name: stand(running, name)["spent_usd"] for name in ("daily_limit", "both")}
        assert Decimal("0.1") < Decimal(spent["daily_limit"]) < 1
    with running_gateway(given) as running:
        assert {name: stand(running, name)["spent_usd"] for name in spent} == spent


def test_a_hard_budget_whose_ledger_cannot_be_read_does_not_start(simulator: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    hard, soft = (
        settings(simulator, {"daily_limit": 1, "mode": mode}, ledger={"url": f"sqlite:///{path}"})
        for mode in ("hard", "expected")
    )
    SqliteDatabase(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE daily RENAME TO elsewhere")
    with pytest.raises(ConfigError, match="what was spent of the budgets cannot be read"), running_gateway(hard):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "genai-spine-ledger"]
    with running_gateway(soft) as running:
        assert stand(running, "daily_limit")["spent_usd"] == "0"
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO daily")
    with running_gateway(hard) as running:
        assert chat(running, max_tokens=100).status == 200


def test_what_was_spent_before_counts_as_soon_as_the_ledger_can_be_read(simulator: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    costs = {"daily_limit": 0.034, "budgets": {"one": {"limit_usd": 1, "each": "tag", "window": "total"}}}
    given = settings(simulator, costs, ledger={"url": f"sqlite:///{path}"})
    blue, red = {"x-spine-tags": "blue"}, {"x-spine-tags": "red"}
    with running_gateway(given) as running:
        assert [chat(running, headers=tag).status for tag in (blue, red)] == [200, 200]
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE daily RENAME TO elsewhere")
    with running_gateway(given) as running:
        assert [chat(running, headers=blue).status for _ in range(2)] == [200, 200]
        assert stand(running, "daily_limit")["spent_usd"] == str(2 * COST)
        with sqlite3.connect(path, timeout=30) as connection:
            connection.execute("ALTER TABLE elsewhere RENAME TO daily")
        wait_until(lambda: stand(running, "daily_limit")["spent_usd"] == str(4 * COST), 15)
        assert stand(running, "one[blue]")["spent_usd"] == str(3 * COST)
        assert stand(running, "one[red]")["spent_usd"] == str(COST)
        assert [chat(running, headers=red).status for _ in range(4)] == [200, 200, 200, 402]
        assert stand(running, "one[red]")["spent_usd"] == str(4 * COST)
    with running_gateway(given) as running:
        assert stand(running, "daily_limit")["spent_usd"] == str(7 * COST)


TWO = {"limit_usd": 1, "provider": "sim", "agent": "a"}
FORGETFUL: dict[str, Any] = {
    "costs": {"budgets": {"x": {**TWO, "mode": "hard"}}},
    "ledger": {"url": "sqlite:///spine.db", "retention_days": 30},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"costs": {"daily_limit": 1, "timezone": "Mars/Olympus"}}, "costs.timezone: no time zone of that name"),
        ({"costs": {"budgets": {"x": {}}}}, "costs.budgets.x: limits nothing"),
        ({"costs": {"daily_limit": 1}, "server": {"workers": 2}}, "server.workers: each worker would spend a whole"),
        ({"costs": {"limits": {"openai_weekly": 1.0}}}, "expected <provider>_daily or <provider>_monthly"),
        ({"costs": {"limits": {"openai_daily": 1e11}}}, "expected an amount in USD, from 0 to 9,000,000"),
        ({"costs": {"daily_limit": float("nan")}}, "expected a number, got one that is infinite or NaN"),
        *(
            ({"costs": {"budgets": {name: {"limit_usd": 1}}, **costs}}, f"{name}: another budget has this name")
            for name, costs in (
                ("cost_limit", {}),
                ("by_provider", {}),
                ("daily_limit", {"daily_limit": 1}),
                ("monthly_budget", {"monthly_budget": 1}),
                ("sim_daily", {"limits": {"sim_daily": 1}}),
            )
        ),
        (FORGETFUL, "costs.budgets.x: a restart would forget what was spent"),
    ],
)
def test_settings_that_cannot_hold_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of({"providers": {"sim": {"type": "simulated"}}, **given})


@pytest.mark.parametrize("where", [{"state": {"url": "redis://h/0"}}, {"ledger": {"url": "postgresql://u:p@h/d"}}])
def test_workers_may_share_budgets_where_something_counts_for_all(where: dict[str, Any]) -> None:
    given = {"costs": {"daily_limit": 1}, "server": {"workers": 2}, "providers": {"sim": {"type": "simulated"}}}
    assert settings_of({**given, **where}).server.workers == 2
    with pytest.raises(ConfigError, match="or a ledger"):
        settings_of({**given, "ledger": {"url": "sqlite:///spine.db"}})


def test_threads_of_a_program_share_its_budgets(simulator: Simulator) -> None:
    with SyncManager.from_settings(settings(simulator, {"daily_limit": 0.02})) as manager:
        done: list[bool] = []

        def ask() -> None:
            done.append(manager.complete("hello", model="up/sim-long-100", raise_errors=False).success)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [status] = [each for each in manager.manager.budgets.status() if each.name == "daily_limit"]
        assert done.count(True) * COST == status.spent_usd
        assert Decimal("0.02") - COST < status.spent_usd < Decimal("0.02") + COST
