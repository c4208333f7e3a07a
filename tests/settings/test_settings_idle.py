"""Keys that are set and have no effect are told of, and only these."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.settings import load_settings, warnings_of


def idle(load: Any, text: str, environ: dict[str, str] | None = None) -> list[str]:
    return [
        warning for warning in warnings_of(load(text, environ or {})) if "no effect" in warning or "nothing" in warning
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[ledger]\non_failure = 'refuse'\n", ["ledger.on_failure: has no effect: ledger.url is not set"]),
        ("[cache]\nttl = 60\n", ["cache.ttl: has no effect: cache.url is not set"]),
        (
            "[limits]\nrequests_per_min = 1\n",
            [
                "limits.requests_per_min: has no effect: it is of each caller's key, and server.api_keys is not set",
            ],
        ),
        (
            "[server]\naccess_log = true\n[logging]\nlevel = 'warning'\n",
            ["server.access_log: has no effect: its lines are of the level info, and logging.level is warning"],
        ),
        ("[hedge]\nafter = '1s'\n", ["hedge.after: has no effect: hedge.budget is not set"]),
        ("[routing]\nsticky_for = 60\n", ["routing.sticky_for: has no effect: routing.sticky is not set"]),
        ("[routing]\nranking = ['a']\n", ["routing.ranking: has no effect: no route has the strategy quality"]),
        ("[health]\ninterval = 60\n", ["health.interval: has no effect: no probe is sent: health.probe is never"]),
        (
            "[health]\ninterval = 60\n[providers]\nhealth_check_interval = 30\n",
            ["providers.health_check_interval: has no effect: health.interval is set, and stands over it"],
        ),
        (
            "[costs.alerts]\nwebhook = 'https://a.b/c'\n",
            ["costs.alerts.webhook: has no effect: there is no budget"],
        ),
        (
            "[providers.openai]\nregion = 'x'\nauto_pull = true\n",
            [
                "providers.openai.region: has no effect: only AWS knows it",
                "providers.openai.auto_pull: has no effect: only Ollama knows it",
            ],
        ),
        (
            "[providers.ollama]\nmodels = ['qwen*']\n"
            "custom_models = { 'claude-*' = 'qwen3', fast = 'qwen3' }\nlimits.'q*' = { requests_per_min = 1 }\n"
            "[routes.'claude-*']\ntargets = ['ollama/qwen3']\n",
            [
                f"{key}: has no effect: `*` is no pattern here, so name each model"
                for key in (
                    "providers.ollama.custom_models.claude-*",
                    "providers.ollama.limits.q*",
                    "providers.ollama.models[0]",
                    "routes.claude-*",
                )
            ],
        ),
        ("[providers.groq]\norg_id = 'x'\n", ["providers.groq.org_id: has no effect: only OpenAI knows it"]),
    ],
)
def test_a_key_that_has_no_effect_is_told_of(load: Any, text: str, told: list[str]) -> None:
    assert idle(load, text) == told


@pytest.mark.parametrize(
    "text",
    [
        "[ledger]\nurl = 'sqlite:///a.db'\non_failure = 'refuse'\nretention_days = 9\n",
        "[cache]\nurl = 'memory:'\nttl = 60\n",
        "[limits]\nrequests_per_min = 1\n[server]\napi_keys = ['a']\n",
        "[limits]\nmax_wait = 1\n",
        "[hedge]\nafter = '1s'\nbudget = 0.1\n",
        "[routing]\nranking = ['a']\n[routes.a]\ntargets = ['openai/x']\nstrategy = 'quality'\n",
        "[health]\ninterval = 60\nprobe = 'idle'\n",
        "[providers]\nhealth_check_interval = 30\n",
        "[costs]\nalert_threshold = 0.5\ndaily_limit = 1\n[ledger]\nurl = 'sqlite:///a.db'\n",
        "[providers.bedrock]\nregion = 'us-east-1'\nprofile = 'p'\nauto_cache = true\n",
        "[providers.vertex]\nproject = 'p'\nlocation = 'us-central1'\nsafety_settings = {}\n",
        "[providers.azure]\nresource = 'r'\napi_version = '2024-10-21'\ntenant_id = 't'\n",
        "[providers.ollama]\nkeep_alive = -1\nauto_pull = true\nnum_predict = 5\n",
        "[providers.openai]\norg_id = 'x'\n",
        "[providers.openai]\ncost.models.'gpt-*' = { input_cost_per_1m = 1 }\n",
    ],
)
def test_a_key_that_has_an_effect_is_not(load: Any, text: str) -> None:
    assert idle(load, text) == []


def test_defaults_are_not_told_of(load: Any) -> None:
    assert idle(load, "[providers.openai]\n") == []


def test_a_variable_that_has_no_effect_is_told_of(load: Any) -> None:
    assert idle(load, "[providers.openai]\n", {"GENAI_OPENAI_REGION": "x"}) == [
        "providers.openai.region: has no effect: only AWS knows it"
    ]


def test_a_budget_of_an_agent_that_there_is_not_limits_nothing(load: Any) -> None:
    text = "[agents.reviewer]\nprovider = 'openai'\n[costs.budgets.x]\nlimit_usd = 1\nagent = 'reviewr'\n"
    told = [warning for warning in idle(load, text) if "agent" in warning]
    assert told == [
        "costs.budgets.x: no agent 'reviewr' is configured, so this limits nothing; did you mean \"reviewer\"?"
    ]


def test_what_a_program_gives_is_looked_at_as_well(tmp_path: Any) -> None:
    settings = load_settings(environ={}, cwd=tmp_path, overrides={"cache": {"ttl": 60}})
    assert "cache.ttl: has no effect: cache.url is not set" in warnings_of(settings)


def test_workers_that_remember_sessions_of_their_own_are_told_of(load: Any) -> None:
    text = "[server]\nworkers = 2\n[routing]\nsticky = 'session'\n[providers.openai]\n"
    own = "each of the 2 workers remembers sessions of its own"
    assert warnings_of(load(text)) == [f"routing.sticky: {own}, and a session's requests reach any of them"]
    assert warnings_of(load(text.replace("workers = 2", "workers = 1"))) == []


def test_workers_that_count_limits_alone_are_told_of(load: Any) -> None:
    text = "[server]\nworkers = 2\n[providers.openai]\nrequests_per_min = 60\n"
    told = "server.workers: each of the 2 counts limits alone, so that 2 times as much goes through: set state.url"
    assert told in warnings_of(load(text))
    assert told not in warnings_of(load(text + "[state]\nurl = 'redis://h'\n"))
    assert warnings_of(load("[server]\nworkers = 2\n[providers.openai]\n")) == []


def test_numbers_that_no_key_may_read_are_told_of(load: Any) -> None:
    named = "[server]\nmetrics = 'keyed'\n[server.keys.one]\nkey = 'k-of-one'\n[providers.openai]\n"
    alone = 'nobody can read them, as every key has a name: add one to server.api_keys, or say "open"'
    assert warnings_of(load(named)) == [f"server.metrics: {alone}"]
    assert warnings_of(load(named.replace("'keyed'", "'open'"))) == []
    assert warnings_of(load(named.replace("'keyed'\n", "'keyed'\napi_keys = ['k-of-all']\n"))) == []
