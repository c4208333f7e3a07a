"""`spine route explain`: whom a request would be sent to, and why, without asking anybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spine_process import Place

NEAR = True  # what commands say: conftest.py

SETTINGS = """
[providers]
fallback_order = ["openai"]
[providers.openai]
api_key = "sk-canary-abcdefgh"
model = "gpt-4o-mini"
[providers.claude]
type = "anthropic"
api_key = "sk-canary-ijklmnop"
[providers.ollama]
[routes.smart]
strategy = "cost_optimized"
targets = [
    "claude/claude-sonnet-4-5",
    "openai/gpt-4o",
    { target = "ollama/llama3.2", when = { tags = ["private"] } },
]
[agents.reviewer]
provider = "claude"
model = "claude-haiku-4-5"
"""


@pytest.fixture
def routed(place: Place) -> Place:
    place.write(SETTINGS)
    return place


def test_a_table_says_who_and_why(routed: Place) -> None:
    result = routed.run("route", "explain", "-m", "smart", "Why is the sky blue?")
    assert result.code == 0, result.err
    title, heads, first, second, third = result.out.splitlines()
    assert title == "route smart, by cost_optimized"
    for column in ("target", "$ estimated", "context", "first token", "health", "why"):
        assert column in heads
    assert first.split()[:2] == ["1", "openai/gpt-4o"] and second.split()[:2] == ["2", "claude/claude-sonnet-4-5"]
    assert third.split()[:2] == ["–", "ollama/llama3.2"] and third.endswith("not meant for it: without the tag private")
    assert "canary" not in result.out


def test_the_options_are_what_a_request_may_say(routed: Place) -> None:
    def first(*arguments: str) -> str:
        told = json.loads(routed.run("route", "explain", "--json", *arguments).out)
        return f"{told['candidates'][0]['provider']}/{told['candidates'][0]['model']}"

    assert first() == "openai/gpt-4o-mini"
    assert first("-m", "smart", "--tag", "private") == "ollama/llama3.2"
    assert first("-m", "agent:reviewer") == "claude/claude-haiku-4-5"
    assert first("--provider", "claude", "-m", "claude-opus-4-5") == "claude/claude-opus-4-5"
    assert first("--hint", "best_quality", "--fallback", "claude/x") == "openai/gpt-4o-mini"


def test_a_body_is_read_as_a_call_would_read_it(routed: Place) -> None:
    body = {"model": "smart", "system": "Be brief.", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    told = json.loads(routed.run("route", "explain", "--json", "--body", "-", stdin=json.dumps(body).encode()).out)
    assert told["route"] == "smart"
    dear = json.loads(routed.run("route", "explain", "--json", "-m", "smart", "hi").out)
    assert float(told["candidates"][0]["cost_usd"]) < float(dear["candidates"][0]["cost_usd"]), "max_tokens counts"
    refused = routed.run("route", "explain", "--body", "-", stdin=b"{")
    assert refused.code == 1 and "--body" in refused.err


def test_what_cannot_be_is_one_clear_line(routed: Place) -> None:
    result = routed.run("route", "explain", "--provider", "nobody")
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1 and 'no provider "nobody"' in result.err
    both = routed.run("route", "explain", "--body", "-", "a prompt", stdin=b"{}")
    assert both.code == 2 and "not both" in both.err


def test_what_stays_here_is_told(place: Place) -> None:
    place.write(SETTINGS + "[routing]\nlocal_only = true\n")
    result = place.run("route", "explain", "-m", "smart", "--tag", "private")
    assert result.code == 0, result.err
    assert "ollama/llama3.2" in result.out
    assert "openai/gpt-4o: never asked, since routing.local_only is set" in result.err
    refused = place.run("route", "explain", "-m", "openai/gpt-4o")
    assert refused.code == 1 and "is not on this machine" in refused.err


def test_a_route_that_leads_to_itself_is_told_at_the_check(place: Place) -> None:
    place.write('[providers.ollama]\n[routes.a]\ntargets = ["b"]\n[routes.b]\ntargets = ["a"]\n')
    result = place.run("config", "check")
    assert result.code == 1
    assert "spine.toml:3: routes.a.targets[0]: leads back to itself: a → b → a" in result.err + result.out
    place.write('[providers.ollama]\n[routing]\nstrategy = "cheepest"\n')
    result = place.run("config", "check")
    assert result.code == 1 and "routing.strategy: no such strategy" in result.err + result.out


def test_a_strategy_of_an_installed_package_is_a_name_for_the_settings(place: Place, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    about = installed / "house_rules-1.0.dist-info"
    about.mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\\nName: house-rules\\nVersion: 1\\n"
    (about / "METADATA").write_text(metadata)
    (about / "entry_points.txt").write_text("[genai_spine.strategies]\nbackwards = house_rules:Backwards\n")
    (installed / "house_rules.py").write_text(
        "class Backwards:\n    needs_cost = True\n    def __call__(self, options, moment):\n"
        "        assert all(option.cost_usd is not None for option in options)\n"
        "        return list(reversed(options))\n"
    )
    place.write(SETTINGS.replace('strategy = "cost_optimized"', 'strategy = "backwards"'))
    refused = place.run("route", "explain", "-m", "smart")
    assert refused.code == 1 and "routes.smart.strategy: no such strategy; there are" in refused.err
    result = place.run("route", "explain", "-m", "smart", "--tag", "private", PYTHONPATH=str(installed))
    assert result.code == 0, result.err
    targets = [line.split()[1] for line in result.out.splitlines()[2:]]
    assert targets == ["ollama/llama3.2", "openai/gpt-4o", "claude/claude-sonnet-4-5"]
