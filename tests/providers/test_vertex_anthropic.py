"""Claude on Vertex AI: the same requests as Anthropic's own Vertex client writes."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from cloud_peers import Asked, running

from genai_spine.model.request import CompletionRequest
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings

ANSWER = {
    "id": "msg_vrtx_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
MODEL = "claude-sonnet-4-5@20250929"


def claude(**settings: Any) -> HttpProvider:
    return HttpProvider(
        "vertex_anthropic", ProviderSettings(type="vertex_anthropic", project="our-project", **settings)
    )


@pytest.mark.parametrize("location", ["us-east5", "global", "us", "eu"])
def test_its_hosts_are_those_of_anthropics_client(location: str) -> None:
    oracle = anthropic.AnthropicVertex(region=location, project_id="our-project", access_token="t")
    base = str(oracle.base_url).rstrip("/")
    ours = claude(location=location).url("vertex_anthropic", "/publishers/anthropic/models/m:rawPredict")
    place = f"projects/our-project/locations/{location}"
    assert str(ours) == f"{base}/{place}/publishers/anthropic/models/m:rawPredict"


async def test_its_requests_are_those_of_anthropics_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def google(asked: Asked) -> tuple[int, Any]:
        if "computeMetadata" in asked.target:
            return 200, {"access_token": "ya29.machine", "expires_in": 3599}
        return 200, ANSWER

    async with running(google) as peer:
        oracle = anthropic.AsyncAnthropicVertex(
            region="us-east5", project_id="our-project", access_token="ya29.machine", base_url=f"{peer.url}/v1"
        )
        await oracle.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "hello"}])
        await oracle.close()
        monkeypatch.setenv("GCE_METADATA_HOST", peer.host)
        monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        ours = claude(location="us-east5", base_url=peer.url)
        answer = await ours.complete(CompletionRequest(model=MODEL, messages="hello", max_tokens=5))  # type: ignore[arg-type]
        await ours.close()
        theirs, _, mine = peer.asked
    assert answer.text == "hi"
    assert mine.target == theirs.target
    assert mine.headers["authorization"] == theirs.headers["authorization"] == "Bearer ya29.machine"
    ours_said, theirs_said = json.loads(mine.body), json.loads(theirs.body)
    # Documented for Vertex; the client's 2.12 sends the date of its own API version instead.
    assert ours_said.pop("anthropic_version") == "vertex-2023-10-16"
    assert theirs_said.pop("anthropic_version")
    assert ours_said == theirs_said
