"""`spine budgets`, and the gateway that it tells of: refused, restarted, explained."""

from __future__ import annotations

import json
from contextlib import ExitStack

import httpx2
import pytest
from spine_process import Place, Running

NEAR = True  # what commands say: conftest.py

SETTINGS = """
[costs]
timezone = "Europe/Vienna"
[costs.budgets.up]
limit_usd = 0.00001
limit_tokens = 1_000
window = "total"
provider = "sim"
[ledger]
url = "sqlite:///spine.db"
[providers.sim]
type = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"
[providers.sim.cost]
input_cost_per_1m = 1
output_cost_per_1m = 1
"""
ASKED = {"model": "sim/x", "messages": [{"role": "user", "content": "hello"}]}


def url_of(running: Running) -> str:
    running.expect("OPENAI_BASE_URL")
    return next(line for line in running.out.splitlines() if "OPENAI_BASE_URL" in line).partition("=")[2].strip()


def test_what_is_left_is_shown_before_there_is_a_ledger(place: Place) -> None:
    place.write(SETTINGS)
    result = place.run("budgets")
    assert result.code == 0, result
    columns = result.out.splitlines()[1].split()
    assert columns == ["up", "total", "expected", "0.00001", "0", "0.00001", "1,000", "never"]
    place.write('[providers.sim]\ntype = "simulated"\n', "none.toml")
    assert "no budget is set" in place.run("budgets", "-c", "none.toml").out


@pytest.mark.slow
def test_what_is_left_is_told_to_programs(place: Place) -> None:
    place.write(SETTINGS)
    [told] = json.loads(place.run("budgets", "--json").out)
    assert (told["left_usd"], told["spent_tokens"], told["resets_at"]) == ("0.00001", 0, None)


@pytest.mark.slow
def test_a_call_that_was_under_way_when_the_gateway_was_killed_counts(place: Place) -> None:
    place.write(SETTINGS.replace("127.0.0.1:9", "10.255.255.1"))  # never answers
    for _ in range(2):
        with ExitStack() as stack:
            running = stack.enter_context(place.started("serve", "--port", "0"))
            client = stack.enter_context(httpx2.Client(timeout=1))
            try:
                status = client.post(f"{url_of(running)}/chat/completions", json={**ASKED, "max_tokens": 8}).status_code
            except httpx2.TimeoutException:
                running.process.kill()
                running.wait()
            else:
                assert status == 402
                return
    raise AssertionError("a second call had room, too")
