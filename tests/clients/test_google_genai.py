"""Google's own SDK as an oracle: what it asks of a service is what we ask, and what we answer it understands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_environments import GOOGLE, python_of

from genai_spine.dialects.gemini import inbound, outbound
from genai_spine.dialects.gemini.schema import camel
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Document, Image, Text, ToolCall, ToolResult
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
MODEL = "gemini-2.5-flash"
KEY = "gw-key-0123456789"

Play = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def play() -> Play:
    """Plays some of google_genai_calls.py against a URL: what each said."""
    python = python_of(*GOOGLE)

    def played(url: str, *names: str, key: str = KEY, model: str = MODEL) -> dict[str, Any]:
        command = [str(python), str(HERE / "google_genai_calls.py"), url, key, model, *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONUTF8": "1"})
        assert done.returncode == 0, done.stderr
        return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))

    return played


@pytest.fixture
def upstream() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def gateway_url(upstream: Simulator) -> Iterator[str]:
    urls = {"gemini": upstream.urls.gemini, "anthropic": upstream.urls.anthropic, "openai": upstream.urls.openai}
    providers = {name: {"api_key": "k-of-upstream", "base_url": url} for name, url in urls.items()}
    with running_gateway({"providers": providers, "server": {"api_keys": [KEY]}}) as gateway:
        yield gateway.url


# ---------------------------------------------------------------- requests


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", description="Weather", parameters=SCHEMA)
SIGNED = {"gemini": {"thoughtSignature": "c2ln"}}


def asked(text: str, **options: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message(role="user", content=(Text(text=text),)),), **options)


OURS: dict[str, CompletionRequest] = {
    "chats": CompletionRequest(
        messages=(
            Message(role="system", content=(Text(text="Be brief."),)),
            Message(role="user", content=(Text(text="Hi"),)),
        ),
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_tokens=200,
        stop=("END",),
        seed=7,
    ),
    "streams": asked("Hi", stream=True),
    "shows_media": CompletionRequest(
        messages=(
            Message(
                role="user",
                content=(
                    Image(data="iVBORw0KGgo=", media_type="image/png"),
                    Document(url="gs://bucket/a.pdf", media_type="application/pdf"),
                    Text(text="What is this?"),
                ),
            ),
        )
    ),
    "calls_a_tool": asked("get_weather", tools=(WEATHER,), tool_choice=ToolChoice(mode="tool", name="get_weather")),
    "answers_a_call": CompletionRequest(
        messages=(
            Message(role="user", content=(Text(text="Weather?"),)),
            Message(
                role="assistant",
                content=(
                    ToolCall(
                        id="c1",
                        name="get_weather",
                        arguments='{"city":"Oslo"}',
                        provider_metadata=asked("", extra=SIGNED).extra,
                    ),
                ),
            ),
            Message(role="tool", content=(ToolResult(call_id="c1", content=(Text(text="sunny"),)),)),
        ),
        tools=(WEATHER,),
    ),
    "wants_json": asked("Where?", output_schema=OutputSchema(schema=SCHEMA)),
    "thinks": asked("Hi", thinking=ThinkingConfig(enabled=True, budget_tokens=2000)),
    "sets_safety": asked(
        "Hi",
        extra={"gemini": {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}},
    ),
}

AGREEMENTS = (
    "the SDK writes some names in snake_case, which the service takes, too",
    "the SDK gives instructions a role, and a generationConfig with nothing in it",
)
"""What may differ between the SDK's request and ours for the same call."""

_FREE = ("args", "response", "properties")


def agreed(node: Any) -> Any:
    if isinstance(node, list):
        return [agreed(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {camel(key): value if key in _FREE else agreed(value) for key, value in node.items()}
    if isinstance(instruction := found.get("systemInstruction"), dict):
        instruction.pop("role", None)
    if found.get("generationConfig") == {}:
        del found["generationConfig"]
    return found


def test_the_sdk_asks_for_the_same_thing_as_we_do(play: Play, upstream: Simulator) -> None:
    play(upstream.urls.root, *OURS)
    target = Target(card=ModelCard(id=MODEL))
    for name, received in zip(OURS, upstream.received, strict=True):
        ours = outbound.encode_request(OURS[name], target, stream=OURS[name].stream)
        path, _, query = ours.path.partition("?")
        assert (received.path, received.query) == (f"/v1{path}", query), name
        assert agreed(json.loads(received.body)) == agreed(json.loads(ours.body)), name
        again = inbound.decode_request(inbound.addressed(received.body, MODEL, stream=OURS[name].stream))
        sent = outbound.encode_request(again, target, stream=again.stream)
        assert agreed(json.loads(sent.body)) == agreed(json.loads(received.body)), name


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("model", ["gemini/gemini-2.5-flash", "anthropic/sim-think", "openai/sim-echo"])
def test_the_sdk_understands_what_the_gateway_says(play: Play, gateway_url: str, model: str) -> None:
    names = ("chats", "streams", "calls_a_tool", "answers_a_call", "wants_json", "thinks", "sets_safety", "counts")
    said = {name: line["said"] for name, line in play(gateway_url, *names, model=model).items()}
    for name in ("chats", "streams", "sets_safety"):
        assert said[name]["text"] == "You said: Hi"
        assert said[name]["finish"] == "STOP"
        assert said[name]["tokens"][1] == 3
        assert said[name]["model"] == model.partition("/")[2]
    assert said["streams"]["chunks"] >= 3
    assert said["calls_a_tool"]["calls"] == [["get_weather", {"city": "city"}]]
    assert said["answers_a_call"]["text"].startswith("The tool said: sunny")
    assert said["wants_json"] == {"city": "city"}
    assert said["thinks"]["thought"].startswith("I was given 1 tokens")
    assert said["thinks"]["text"] == "You said: Hi"
    assert said["counts"] >= 3


def test_the_sdk_gets_vectors_and_models(play: Play, gateway_url: str) -> None:
    said = play(gateway_url, "embeds", "lists_models", "gets_a_model", model="openai/sim-embed")
    assert said["embeds"]["said"] == [3, 3]
    assert {"models/openai/sim-embed", "models/gemini/sim-think"} <= set(said["lists_models"]["said"])
    assert said["gets_a_model"]["said"] == "models/openai/sim-embed"


def test_the_sdk_is_told_what_is_wrong(play: Play, gateway_url: str) -> None:
    def told(name: str = "chats", *, model: str = "gemini/simulated", key: str = KEY) -> tuple[str, int, str]:
        line = play(gateway_url, name, key=key, model=model)[name]
        assert "k-of-upstream" not in line["message"]
        return line["error"], line["code"], line["status"]

    assert told(key="wrong-key-0123456789") == ("ClientError", 401, "UNAUTHENTICATED")
    assert told(model="nobody/x") == ("ClientError", 404, "NOT_FOUND")
    assert told(model="gemini/simulated+status=429") == ("ClientError", 429, "RESOURCE_EXHAUSTED")
    assert told("streams", model="gemini/sim-long-50+error_at=6") == ("ServerError", 500, "INTERNAL")
    assert told("streams", model="gemini/sim-long-50+reset=6") == ("ServerError", 502, "INTERNAL")
