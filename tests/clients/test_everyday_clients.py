"""The newest SDKs, those of the development environment, in this very process: a part of the whole.

OpenAI's own row differs from a compatible service's in what OpenAI's SDK sends; the others' it meets in
test_client_versions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic_scenarios
import ollama_scenarios
import openai_scenarios
import pytest
import trustme
from client_stage import Place, Scenario, scenarios_of, upstreams_of

CASES = [
    pytest.param(scenario, upstream, id=f"{module.__name__.partition('_')[0]}-{upstream}-{name}")
    for module in (openai_scenarios, anthropic_scenarios, ollama_scenarios)
    for name, scenario in scenarios_of(module).items()
    for upstream in upstreams_of(scenario)
    if module is openai_scenarios or upstream != "openai"
]


@pytest.fixture(scope="module", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """They speak plain HTTP here, but each of 500 clients would first read every authority of this machine."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.mark.parametrize(("scenario", "upstream"), CASES)
def test_client(scenario: Scenario, upstream: str, place_of: Callable[[str], Place]) -> None:
    scenario(place_of(upstream))
