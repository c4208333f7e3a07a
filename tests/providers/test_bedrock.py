"""Bedrock as a provider: through real sockets, to the simulated service and to peers that check signatures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cloud_peers import Asked, running

from genai_spine.catalog.rows import find_row
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import (
    AuthenticationError,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RateLimitError,
    SpineError,
    StreamBroken,
)
from genai_spine.model.fold import collect
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.simulator import Simulator

KEYS = ProviderSettings(access_key_id="AKIAEXAMPLE", secret_access_key=Secret("a/secret+key"), region="eu-west-1")
HELLO = CompletionRequest(model="sim-echo", messages=(Message(role="user", content=(Text(text="Hello there"),)),))
DIALECTS = ["bedrock_converse", "bedrock_invoke"]


def bedrock(base_url: str | None, **changes: Any) -> HttpProvider:
    from msgspec.structs import replace

    return HttpProvider("bedrock", replace(KEYS, base_url=base_url, **changes), name="bedrock")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running_simulator:
        yield running_simulator


@pytest.fixture(params=DIALECTS)
async def provider(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[HttpProvider]:
    made = bedrock(simulator.urls.root, dialect=request.param)
    yield made
    await made.close()


def asking(model: str, text: str = "Hello there", **more: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=(Message(role="user", content=(Text(text=text),)),), **more)


async def test_a_plain_answer_and_a_stream_say_the_same(provider: HttpProvider, simulator: Simulator) -> None:
    for model in ("sim-echo", "us.anthropic.claude-sonnet-4-20250514-v1:0"):
        plain = await provider.complete(asking(model))
        streamed = collect([event async for event in provider.stream(asking(model))])
        assert plain.content == streamed.content != ""
        assert plain.usage is not None
        assert streamed.usage is not None
        assert plain.usage.input_tokens == streamed.usage.input_tokens
        assert plain.finish_reason == streamed.finish_reason == "stop"
        first, second = list(simulator.received)[-2:]
        assert unquote(first.path).split("/")[2] == model
        assert (second.path.rpartition("/")[2]) in ("converse-stream", "invoke-with-response-stream")
        assert "authorization" in {name.decode().lower() for name, _ in first.headers}


async def test_tools_are_called_and_answered(provider: HttpProvider) -> None:
    weather = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object", "properties": {}}}
    request = asking("sim-tools", tools=[weather])
    response = await provider.complete(request)
    streamed = collect([event async for event in provider.stream(request)])
    calls = [(part.name, part.input) for part in response.parts if isinstance(part, ToolCall)]
    assert calls == [(part.name, part.input) for part in streamed.parts if isinstance(part, ToolCall)] != []
    assert response.finish_reason == streamed.finish_reason == "tool_calls"


async def test_thoughts_come_with_their_signatures(provider: HttpProvider) -> None:
    plain = await provider.complete(asking("sim-think"))
    streamed = collect([event async for event in provider.stream(asking("sim-think"))])
    assert plain.thinking == streamed.thinking != ""


async def test_a_hidden_thought_is_the_same_to_both_dialects(simulator: Simulator) -> None:
    hidden = []
    for dialect in DIALECTS:
        provider = bedrock(simulator.urls.root, dialect=dialect)
        plain = await provider.complete(asking("sim-redacted"))
        streamed = collect([event async for event in provider.stream(asking("sim-redacted"))])
        hidden += [[part.redacted for part in each.parts if isinstance(part, Thinking)] for each in (plain, streamed)]
        await provider.close()
    assert all(each == hidden[0] != [] for each in hidden)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status=429", RateLimitError),
        ("status=503", Overloaded),
        ("status=404", ModelNotFound),
        ("status=401", AuthenticationError),
    ],
)
async def test_errors_are_classified(provider: HttpProvider, fault: str, kind: type[SpineError]) -> None:
    with pytest.raises(kind):
        await provider.complete(asking(f"sim-echo+{fault}"))
    with pytest.raises(kind):
        [event async for event in provider.stream(asking(f"sim-echo+{fault}"))]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("error_at=2;status=429", RateLimitError),
        ("error_at=1;status=503", Overloaded),
        ("end=2", StreamBroken),
        ("ending=missing;finish=missing;end=3", StreamBroken),
    ],
)
async def test_a_stream_that_goes_wrong_is_an_error(provider: HttpProvider, fault: str, kind: type[SpineError]) -> None:
    with pytest.raises(kind):
        [event async for event in provider.stream(asking(f"sim-echo+{fault}", "one two three four five six"))]


async def test_tokens_are_counted_by_the_service(provider: HttpProvider, simulator: Simulator) -> None:
    model = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    assert await provider.count_tokens(asking(model), model) > 0
    assert unquote(simulator.received[-1].path) == "/model/anthropic.claude-sonnet-4-20250514-v1:0/count-tokens"


async def test_models_are_listed(simulator: Simulator) -> None:
    provider = bedrock(simulator.urls.root)
    assert "sim-think" in {card.id for card in await provider.list_models()}
    assert simulator.received[-1].path == "/foundation-models"
    await provider.close()


# ---------------------------------------------------------------- embeddings


@pytest.mark.parametrize(
    ("model", "requests"), [("amazon.titan-embed-text-v2:0", 30), ("cohere.embed-v4:0", 1), ("amazon.nope", None)]
)
async def test_texts_go_in_as_many_requests_as_the_model_needs(
    simulator: Simulator, model: str, requests: int | None
) -> None:
    provider = bedrock(simulator.urls.root)
    texts = tuple(f"text {number}" for number in range(30))
    request = EmbeddingRequest(input=texts, model=model, dimensions=8)
    if requests is None:
        with pytest.raises(InvalidRequest, match="how it takes texts is not known"):
            await provider.embed(request)
    else:
        response = await provider.embed(request)
        singly = [(await provider.embed(EmbeddingRequest(input=(text,), model=model, dimensions=8))) for text in texts]
        assert response.embeddings == tuple(vector for each in singly for vector in each.embeddings)
        assert len(simulator.received) == requests + 30
        if requests > 1:
            assert response.usage is not None
            assert response.usage.input_tokens == sum(each.usage.input_tokens or 0 for each in singly if each.usage)
    await provider.close()


async def test_one_failure_of_many_is_the_failure_of_all(simulator: Simulator) -> None:
    simulator.run("ok", "ok", "status=429")
    provider = bedrock(simulator.urls.root)
    with pytest.raises(RateLimitError):
        await provider.embed(EmbeddingRequest(input=tuple("abcdefgh"), model="amazon.titan-embed-text-v1"))
    await provider.close()


# ---------------------------------------------------------------- signatures, keys and regions


def is_signed(asked: Asked, host: str, region: str) -> bool:
    """What the service does: signs the request again with the secret that it knows, and compares."""
    given = asked.headers["authorization"]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: asked.headers[name] for name in names}
    request = AWSRequest(asked.method, f"http://{host}{asked.target}", headers=headers, data=asked.body)
    stamp = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 300
    signer = SigV4Auth(Credentials("AKIAEXAMPLE", "a/secret+key"), "bedrock", region)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    return bool(signature) and given.endswith(f"Signature={signature}")


ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


async def test_requests_carry_a_signature_that_the_service_accepts() -> None:
    async with running(lambda _: (200, ANSWER)) as peer:
        provider = bedrock(peer.url)
        for model in ("anthropic.claude-3-haiku-20240307-v1:0", "arn:aws:bedrock:eu-west-1:1:inference-profile/é x"):
            await provider.complete(asking(model, "Grüße 日本"))
            assert is_signed(peer.asked[-1], peer.host, "eu-west-1")
            assert json.loads(peer.asked[-1].body)["messages"][0]["content"] == [{"text": "Grüße 日本"}]
        await provider.close()


async def test_an_api_key_is_sent_as_it_is() -> None:
    async with running(lambda _: (200, ANSWER)) as peer:
        provider = bedrock(peer.url, api_key=Secret("bedrock-api-key"))
        await provider.complete(asking("amazon.nova-lite-v1:0"))
        assert peer.asked[-1].headers["authorization"] == "Bearer bedrock-api-key"
        await provider.close()


def test_the_row_says_where_it_is() -> None:
    row = find_row("bedrock")
    assert row is not None
    assert row.default_model == "anthropic.claude-3-sonnet-20240229-v1:0"
    assert row.key_variables == ("AWS_BEARER_TOKEN_BEDROCK",)
    default = HttpProvider("bedrock", ProviderSettings())
    assert str(default.url("bedrock_converse", "/x")) == "https://bedrock-runtime.us-east-1.amazonaws.com/x"
    assert str(default.url("models", "/x")) == "https://bedrock.us-east-1.amazonaws.com/x"


def test_a_model_bound_to_a_region_is_asked_there() -> None:
    provider = HttpProvider("bedrock", ProviderSettings(region="us-west-2"))
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0"
    assert provider.url("bedrock_converse", "/x", "amazon.nova-lite-v1:0").host.split(".")[1] == "us-west-2"
    assert provider.url("bedrock_converse", "/x", arn).host == "bedrock-runtime.eu-west-1.amazonaws.com"
    own = HttpProvider("bedrock", ProviderSettings(base_url="https://proxy.corp"))
    assert own.url("bedrock_converse", "/x", arn).host == "proxy.corp"
