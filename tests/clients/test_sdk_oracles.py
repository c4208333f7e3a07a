"""Vendors' SDKs as witnesses of what we send: the same call, by the SDK and by us, is the same request on the wire.

The simulator listens on a real socket and keeps what it was asked. What differs is declared, in sdk_calls.py for
bodies and here for headers, and a difference that is gone must go from the declaration, too. Other SDKs want an
environment of their own: test_cohere_sdk.py, test_google_genai.py, test_vendor_wires.py. Anthropic's client for
Vertex: tests/providers/test_vertex_anthropic.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import anthropic
import botocore.session
import ollama
import openai
import pytest
import sdk_calls
import sdk_calls_claude
from botocore.config import Config
from sdk_calls import Case

from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.fold import collect
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Received, Simulator

KEY = "sk-of-a-test-0123456789"
AWS = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "a/secret+key"}
REGION = "eu-west-1"

ABOUT_THE_CLIENT = (
    *("user-agent", "host", "connection", "accept-encoding", "content-length", "x-stainless-", "amz-sdk-"),
    *("x-amz-date", "x-spine-hop"),
)
"""Headers, or how they begin, that say who calls, how and when, and nothing of what is asked."""

WANTS_JSON = {"-accept": "the SDK says that it wants JSON; no service has a choice"}


class Sdk(NamedTuple):
    client: Callable[[str], Any]
    """Made for the simulator's root URL."""
    row: str
    settings: dict[str, Any]
    """Of our provider; `base_url` is a path at the simulator."""
    cases: dict[str, Case]
    headers: Mapping[str, str] = {}
    """Headers that differ in some case, marked as in sdk_calls.py, and why; also the path."""


def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def anthropic_client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)


def amazon_client(url: str) -> Any:
    """botocore's, which is also boto3's."""
    return botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=AWS["access_key_id"],
        aws_secret_access_key=AWS["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def bedrock(dialect: str) -> dict[str, Any]:
    return {"dialect": dialect, "region": REGION, **AWS, "secret_access_key": Secret(AWS["secret_access_key"])}


WITH_KEY: dict[str, Any] = {"api_key": Secret(KEY)}
OPENAI: dict[str, Any] = {**WITH_KEY, "base_url": "/v1"}
OLDER_VERSION = {
    **WANTS_JSON,
    # platform.claude.com/docs/en/api/versioning (2026-11): 2023-06-01 is kept, and takes temperature, top_p and top_k.
    "≠anthropic-version": "the SDK says 2026-10-21 since 2.0; we the one in which models have a temperature",
    "-authorization": "the SDK sends the key as a bearer's since 2.0",
    "+x-api-key": "where the API takes it, too, of either version",
}

SDKS: dict[str, Sdk] = {
    "openai chat": Sdk(openai_client, "openai", OPENAI, sdk_calls.CHAT, WANTS_JSON),
    "openai responses": Sdk(
        openai_client, "openai", {**OPENAI, "dialect": "openai_responses"}, sdk_calls.RESPONSES, WANTS_JSON
    ),
    "openai embeddings": Sdk(openai_client, "openai", OPENAI, sdk_calls.OPENAI_VECTORS, WANTS_JSON),
    "anthropic": Sdk(anthropic_client, "anthropic", WITH_KEY, sdk_calls_claude.MESSAGES, OLDER_VERSION),
    "anthropic's count": Sdk(anthropic_client, "anthropic", WITH_KEY, sdk_calls_claude.CLAUDE_COUNTS, OLDER_VERSION),
    "ollama": Sdk(
        lambda url: ollama.Client(host=url, headers={"authorization": f"Bearer {KEY}"}),
        "ollama",
        WITH_KEY,
        sdk_calls.OLLAMA,
        WANTS_JSON,
    ),
    "bedrock converse": Sdk(amazon_client, "bedrock", bedrock("bedrock_converse"), sdk_calls_claude.CONVERSE),
    "bedrock invoke": Sdk(amazon_client, "bedrock", bedrock("bedrock_invoke"), sdk_calls_claude.INVOKE),
    "anthropic on bedrock": Sdk(
        lambda url: anthropic.AnthropicBedrock(base_url=url, api_key=KEY, aws_region=REGION, max_retries=0),
        "bedrock",
        {**WITH_KEY, "region": REGION, "dialect": "bedrock_invoke"},
        sdk_calls_claude.HOSTED,
        {
            **WANTS_JSON,
            "≠path": "Anthropic's client leaves the colon of a model's name; we write %3A, as Amazon's does",
        },
    ),
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.mark.parametrize("name", SDKS)
async def test_what_we_send_is_what_the_sdk_sends(simulator: Simulator, name: str) -> None:
    sdk = SDKS[name]
    client = sdk.client(simulator.urls.root)
    beside_bodies: set[str] = set()
    for called, case in sdk.cases.items():
        simulator.received.clear()
        case.theirs(client)
        await ask(sdk, simulator.urls.root, case.ours, counts=called == "count_tokens")
        theirs, ours = simulator.received
        assert theirs.method == ours.method == "POST"
        assert (unquote(theirs.path), theirs.query) == (unquote(ours.path), ours.query), called
        assert differences(theirs.json(), ours.json()) == case.differences, called
        beside_bodies |= differences(head_of(theirs), head_of(ours))
    assert beside_bodies == sdk.headers.keys()


def test_every_difference_has_its_reason() -> None:
    declared = {place for sdk in SDKS.values() for case in sdk.cases.values() for place in case.differences}
    assert declared == sdk_calls.REASONS.keys()


async def ask(sdk: Sdk, url: str, request: Any, *, counts: bool) -> None:
    settings = {**sdk.settings, "base_url": url + sdk.settings.get("base_url", "")}
    provider = HttpProvider(sdk.row, ProviderSettings(**settings))
    try:
        if counts:
            await provider.count_tokens(request)
        elif isinstance(request, EmbeddingRequest):
            await provider.embed(request)
        elif request.stream:
            collect([event async for event in provider.stream(request)])
        else:
            assert (await provider.complete(request)).notices == ()
    finally:
        await provider.close()


def head_of(received: Received) -> dict[str, str]:
    """The headers that matter, and the path. Of a signature: by whom and for what it is, not when."""
    head = {name.decode(): value.decode() for name, value in received.headers}
    head = {name: value for name, value in head.items() if not name.startswith(ABOUT_THE_CLIENT)}
    if (by := re.match(r"(AWS4-HMAC-SHA256 Credential=\w+)/\d+/([\w/-]+),", head.get("authorization", ""))) is not None:
        head["authorization"] = " ".join(by.groups())
    return {**head, "path": received.path}


def differences(theirs: Any, ours: Any, place: str = "") -> set[str]:
    """Where two values of JSON differ, as deep inside as they can be told apart."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        inside = f"{place}." if place else ""
        found = {f"-{inside}{name}" for name in theirs.keys() - ours.keys()}
        found |= {f"+{inside}{name}" for name in ours.keys() - theirs.keys()}
        return found.union(*(differences(theirs[name], ours[name], inside + name) for name in theirs.keys() & ours))
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        pairs = enumerate(zip(theirs, ours, strict=True))
        return set().union(*(differences(*pair, f"{place}[{index}]") for index, pair in pairs))
    return set() if theirs == ours and type(theirs) is type(ours) else {f"≠{place}"}
