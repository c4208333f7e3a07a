"""Vendors' own SDKs as witnesses: what they send to the simulator is what we send, and they understand its answers.

Each runs in an environment of its own (client_environments.py); its script prints what it heard as JSON. Hugging
Face's embeddings are not among it: its SDK wants numpy for them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from client_environments import python_of

from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.replicate_provider import ReplicateProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Received, Simulator

pytestmark = pytest.mark.clients

KEY = "r8_a-key-of-a-test"

REPLICATE = ("replicate", "1.0.7")
REPLICATE_SCRIPT = """
import json, sys, replicate
client = replicate.Client(api_token=sys.argv[2], base_url=sys.argv[1] + "/replicate")
given = {"prompt": "hello", "max_tokens": 50}
said = {"run": "".join(client.run("simulated/sim-echo", input=given))}
said["stream"] = "".join(str(event) for event in client.stream("simulated/sim-echo", input=given))
prediction = client.models.predictions.create("simulated/sim-slow", input=given)
prediction.cancel()
prediction.reload()
said["status"] = prediction.status
try:
    client.run("simulated/sim-fail", input=given)
except replicate.exceptions.ModelError as error:
    said["failed"] = str(error)
print(json.dumps(said))
"""

HUGGING_FACE = ("huggingface_hub", "2.4.0")
HUGGING_FACE_SCRIPT = """
import json, sys
from huggingface_hub import InferenceClient
url, key = sys.argv[1:]
given = {"max_new_tokens": 50, "temperature": 0.5, "stop": ["END"], "details": True, "return_full_text": False}
task = InferenceClient(base_url=url, api_key=key)
whole = task.text_generation("hello", **given)
said = {"whole": whole.generated_text, "tokens": whole.details.generated_tokens}
said["streamed"] = "".join(
    event.token.text for event in task.text_generation("hello", stream=True, **given) if not event.token.special
)
chat = InferenceClient(base_url=url + "/v1", api_key=key)
messages = [{"role": "user", "content": "hello"}]
said["chat"] = chat.chat_completion(messages, model="m:groq", max_tokens=50, temperature=0.5).choices[0].message.content
print(json.dumps(said))
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator(key=KEY) as running:
        yield running


def heard(sdk: tuple[str, str], script: str, simulator: Simulator) -> dict[str, Any]:
    environ = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    command = [str(python_of(*sdk)), "-c", script, simulator.urls.root, KEY]
    done = subprocess.run(command, env=environ, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def posts(simulator: Simulator, path: str) -> list[Received]:
    return [received for received in simulator.received if received.method == "POST" and received.path == path]


async def test_replicates_own_sdk(simulator: Simulator) -> None:
    said = heard(REPLICATE, REPLICATE_SCRIPT, simulator)
    assert said["run"] == said["stream"] == "You said: hello"
    assert said["status"] == "canceled"
    assert "out of memory" in said["failed"]
    path = "/replicate/v1/models/simulated/sim-echo/predictions"
    theirs = posts(simulator, path)
    their_streams = [received for received in simulator.received if "/streams/" in received.path]
    their_cancels = [received for received in simulator.received if received.path.endswith("/cancel")]
    simulator.received.clear()

    settings = ProviderSettings(api_key=Secret(KEY), base_url=f"{simulator.urls.root}/replicate/v1")
    provider = ReplicateProvider("replicate", settings)
    request = CompletionRequest(
        messages=(Message(role="user", content="hello"),),  # type: ignore[arg-type]  # accept.py
        model="simulated/sim-echo",
        max_tokens=50,
    )
    await provider.complete(request)
    collect([event async for event in provider.stream(request)])
    await provider.close()
    ours = posts(simulator, path)
    assert [received.json() for received in ours] == [received.json() for received in theirs]
    for name in ("authorization", "content-type"):
        assert [received.header(name) for received in ours] == [received.header(name) for received in theirs]
    assert [(received.header("prefer") or "")[:4] for received in (ours[0], theirs[0])] == ["wait", "wait"]
    (our_stream,) = [received for received in simulator.received if "/streams/" in received.path]
    for name in ("accept", "cache-control", "authorization"):
        assert our_stream.header(name) == their_streams[0].header(name)
    assert [(received.method, received.body) for received in their_cancels] == [("POST", b"")]


async def test_hugging_faces_own_sdk(simulator: Simulator) -> None:
    said = heard(HUGGING_FACE, HUGGING_FACE_SCRIPT, simulator)
    assert said["whole"] == said["streamed"] == said["chat"] == "You said: hello"
    assert said["tokens"] == 3
    theirs = {path: [r.json() for r in posts(simulator, path)] for path in ("/", "/v1/chat/completions")}
    simulator.received.clear()

    def provider(row: str, base_url: str, **settings: Any) -> HttpProvider:
        return HttpProvider(row, ProviderSettings(base_url=base_url, api_key=Secret(KEY), **settings))

    asked: dict[str, Any] = {"messages": "hello", "max_tokens": 50, "temperature": 0.5}
    task = provider("huggingface_endpoint", simulator.urls.root, dialect="hf_text_generation", model="m")
    await task.complete(**asked, stop=("END",))
    collect([event async for event in task.stream(**asked, stop=("END",))])
    router = provider("huggingface", simulator.urls.openai)
    await router.complete(**asked, model="m:groq")
    ours = {path: [r.json() for r in posts(simulator, path)] for path in theirs}
    assert _said(ours["/"]) == _said(theirs["/"])
    assert _said(ours["/v1/chat/completions"]) == _said(theirs["/v1/chat/completions"])
    await task.close()
    await router.close()


def _said(value: Any) -> Any:
    """Without what says nothing: null and false."""
    if isinstance(value, list):
        return [_said(item) for item in value]
    if isinstance(value, dict):
        return {name: _said(item) for name, item in value.items() if item is not None and item is not False}
    return value
