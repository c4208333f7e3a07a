"""OpenAI's older completions over HTTP: relayed to services that continue prompts, asked as a chat of all others."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from genai_spine import CompletionRequest, SyncManager
from genai_spine.model.request import Message
from genai_spine.testing.fixtures import RunningGateway, Simulator, running_gateway, running_simulator

PROMPT = "def fib(n):"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def providers(simulator: Simulator) -> dict[str, Any]:
    urls = simulator.urls
    return {
        "vllm": {"base_url": urls.openai},
        "openai": {"api_key": "k", "base_url": urls.openai},
        "ollama": {"base_url": urls.ollama},
        "anthropic": {"api_key": "k", "base_url": urls.anthropic},
        "set": {"type": "vllm", "base_url": urls.openai, "temperature": 0.5},
        "chatty": {"type": "vllm", "base_url": urls.openai, "dialect": "openai_chat"},
    }


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    with running_gateway({"providers": providers(simulator), "retry": {"max_retries": 0}}) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0)


@pytest.mark.parametrize("model", ["vllm/m", "openai/gpt-3.5-turbo-instruct", "ollama/m", "set/m"])
def test_who_continues_prompts_gets_them_as_they_are(model: str, client: openai.OpenAI, simulator: Simulator) -> None:
    simulator.received.clear()
    asked: dict[str, Any] = {"model": model, "prompt": PROMPT, "suffix": "    return a", "max_tokens": 9, "logprobs": 1}
    answer = client.completions.with_raw_response.create(**asked)
    assert answer.parse().choices[0].text
    assert "prompt" not in answer.headers.get("x-spine-notices", "")
    received = simulator.received[-1]
    assert received.path == "/v1/completions"
    body = json.loads(received.body)
    assert body.pop("temperature", None) == (0.5 if model == "set/m" else None)
    assert body == {**asked, "model": model.partition("/")[2]}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("openai/gpt-x", "/v1/chat/completions"),
        ("anthropic/claude-x", "/v1/messages"),
        ("chatty/m", "/v1/chat/completions"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_of_all_others_a_chat_is_asked(
    model: str, path: str, stream: bool, client: openai.OpenAI, simulator: Simulator
) -> None:
    simulator.received.clear()
    with client.completions.with_streaming_response.create(
        model=model, prompt=[PROMPT], suffix="    return a", max_tokens=9, stream=stream
    ) as answer:
        notices = answer.headers["x-spine-notices"]
        data = answer.read()
    assert "a bare prompt is sent as a user's message" in notices and "suffix is known to" in notices
    received = simulator.received[-1]
    assert received.path == path
    said = json.loads(received.body)["messages"][-1]
    assert said["role"] == "user" and PROMPT in json.dumps(said)
    assert b'"text_completion"' in data and data.endswith(b"data: [DONE]\n\n") is stream


@pytest.mark.parametrize("model", ["vllm/m", "anthropic/claude-x"])
@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_says_what_the_answer_says(model: str, wants_usage: bool, client: openai.OpenAI) -> None:
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=50)
    options: Any = {"stream_options": {"include_usage": True}} if wants_usage else {}
    chunks = list(client.completions.create(model=model, prompt=PROMPT, max_tokens=50, stream=True, **options))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == [whole.choices[0].finish_reason]
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert usages == ([whole.usage] if wants_usage else [])


def test_several_prompts_reach_who_can_answer_them(client: openai.OpenAI, simulator: Simulator) -> None:
    simulator.received.clear()
    client.completions.create(model="vllm/m", prompt=["a", "b"], max_tokens=1)
    client.completions.create(model="set/m", prompt=[1, 2], max_tokens=1)
    assert [json.loads(received.body)["prompt"] for received in simulator.received] == [["a", "b"], [1, 2]]
    with pytest.raises(openai.BadRequestError, match=r"prompt: .*send one prompt, as a string") as raised:
        client.completions.create(model="anthropic/claude-x", prompt=["a", "b"], max_tokens=1)
    assert raised.value.param == "prompt"


def test_bad_input_is_refused_in_openais_words(client: openai.OpenAI, gateway: RunningGateway) -> None:
    with pytest.raises(openai.BadRequestError, match="prompt: missing"):
        client.post("/completions", body={"model": "anthropic/claude-x"}, cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nobody/m", prompt="x")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{gateway.url}/v1/completions", timeout=9)
    assert (refused.value.code, refused.value.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("root", ["", "/v1", "/openai/v1"])
def test_every_root_of_openais_has_it(root: str, gateway: RunningGateway) -> None:
    body = json.dumps({"model": "vllm/m", "prompt": PROMPT, "max_tokens": 5}).encode()
    with urllib.request.urlopen(f"{gateway.url}{root}/completions", body, timeout=9) as answer:
        assert json.load(answer)["object"] == "text_completion"


def test_azures_client_too(gateway: RunningGateway) -> None:
    azure = openai.AzureOpenAI(azure_endpoint=gateway.url, api_key="k", api_version="2024-10-21", max_retries=0)
    assert azure.completions.create(model="m", prompt=PROMPT, max_tokens=5, extra_body={"provider": "vllm"}).choices


def test_a_broken_stream_says_so(simulator: Simulator) -> None:
    with running_gateway({"providers": providers(simulator), "retry": {"max_retries": 0}}) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0)
        for model in ("vllm/m+reset=3", "anthropic/m+reset=3"):
            with pytest.raises(openai.APIError):
                list(client.completions.create(model=model, prompt=PROMPT, max_tokens=50, stream=True))


def test_a_hard_budget_counts_on_every_prompt(simulator: Simulator, tmp_path: Path) -> None:
    """At 1,000 USD for a million tokens, 0.30 USD are 300 tokens: eight prompts may be answered with 37 each."""
    price = {"input_cost_per_1m": 0.0, "output_cost_per_1m": 1000.0}
    settings = {
        "providers": {"vllm": {"base_url": simulator.urls.openai, "cost": price}},
        "ledger": {"url": f"sqlite:///{tmp_path}/spine.db"},
        "costs": {"budgets": {"all": {"limit_usd": 0.3, "mode": "hard"}}},
    }
    simulator.received.clear()
    with running_gateway(settings) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0)
        client.completions.create(model="vllm/m", prompt=["a"] * 8, max_tokens=100)
        client.completions.create(model="vllm/m", prompt=[1] * 8, max_tokens=100)
        with pytest.raises(openai.APIStatusError, match="budget"):
            client.completions.create(model="vllm/m", prompt=["a"] * 500, max_tokens=100)
    assert [json.loads(received.body)["max_tokens"] for received in simulator.received] == [37, 100]


def test_a_chat_with_a_model_that_only_continues_prompts(simulator: Simulator) -> None:
    simulator.received.clear()
    openais = {"api_key": "k", "base_url": simulator.urls.openai}
    with SyncManager.from_settings({"providers": {"openai": openais}}) as manager:
        asked = CompletionRequest(model="openai/gpt-3.5-turbo-instruct", messages=(Message(role="user", content="Hi"),))  # type: ignore[arg-type]
        assert manager.complete(asked).text
    received = simulator.received[-1]
    assert (received.path, json.loads(received.body)["prompt"]) == ("/v1/completions", "Hi")
