"""The newest SDKs, those of the development environment, in this very process: a part of the whole.

OpenAI's own row differs from a compatible service's in what OpenAI's SDK sends; the others' it meets in
test_client_versions.py.
"""

from __future__ import annotations

from collections.abc import Callable

import anthropic_scenarios
import ollama_scenarios
import openai_scenarios
import pytest
from client_stage import Place, Scenario, scenarios_of, upstreams_of

CASES = [
    pytest.param(scenario, upstream, id=f"{module.__name__.partition('_')[0]}-{upstream}-{name}")
    for module in (openai_scenarios, anthropic_scenarios, ollama_scenarios)
    for name, scenario in scenarios_of(module).items()
    for upstream in upstreams_of(scenario)
    if module is openai_scenarios or upstream != "openai"
]


@pytest.mark.parametrize(("scenario", "upstream"), CASES)
def test_client(scenario: Scenario, upstream: str, place_of: Callable[[str], Place]) -> None:
    scenario(place_of(upstream))
