"""Azure OpenAI: where requests go and how they are authorised; openai's own Azure client is the oracle."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from cloud_peers import Asked, closed_port, running

from genai_spine.dialects.openai_chat import inbound
from genai_spine.engine.exchange import Exchange
from genai_spine.engine.limits.gate import limits_told
from genai_spine.model.errors import (
    AuthenticationError,
    ConfigError,
    ContentFiltered,
    InvalidRequest,
    ModelNotFound,
    RateLimit,
    RateLimitError,
)
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.route import Choice
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1774962751,
    "model": "gpt-4o-2024-11-20",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
VECTORS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
HELLO = [{"role": "user", "content": "hello"}]


def service(asked: Asked) -> tuple[int, Any]:
    if "embeddings" in asked.target:
        return 200, VECTORS
    return 200, ANSWER


def azure(**settings: Any) -> HttpProvider:
    if "api_key" not in settings and "client_secret" not in settings:
        settings["api_key"] = Secret("k-1")
    return HttpProvider("azure", ProviderSettings(type="azure", **settings))


# ------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"resource": "ours"}, "https://ours.openai.azure.com/openai/v1/chat/completions"),
        ({"resource": "ours", "api_version": "v1"}, "https://ours.openai.azure.com/openai/v1/chat/completions"),
        (
            {"resource": "ours", "api_version": "preview"},
            "https://ours.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        (
            {"resource": "ours", "api_version": "2024-10-21"},
            "https://ours.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
        *(
            ({"base_url": written}, "https://myorg.openai.azure.com/openai/v1/chat/completions")
            for written in (
                "https://myorg.openai.azure.com",
                "https://myorg.openai.azure.com/",
                "https://myorg.openai.azure.com/openai",
                "https://myorg.openai.azure.com/openai/v1/",
                "https://myorg.openai.azure.com/openai/deployments/old-one",
            )
        ),
        *(
            (
                {"base_url": written, "api_version": "2024-10-21"},
                "https://myorg.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            )
            for written in (
                "https://myorg.openai.azure.com",
                "https://myorg.openai.azure.com/openai",
                "https://myorg.openai.azure.com/openai/v1",
            )
        ),
        (
            {"base_url": "https://x.example/openai/deployments/fixed", "api_version": "2024-10-21"},
            "https://x.example/openai/deployments/fixed/chat/completions?api-version=2024-10-21",
        ),
        ({"base_url": "https://gw.corp/llm/azure"}, "https://gw.corp/llm/azure/openai/v1/chat/completions"),
        ({"base_url": "https://gw.corp:8443/a/openai"}, "https://gw.corp:8443/a/openai/v1/chat/completions"),
        (
            {"base_url": "https://ours.cognitiveservices.azure.com", "resource": "ignored"},
            "https://ours.cognitiveservices.azure.com/openai/v1/chat/completions",
        ),
        (
            {"resource": "ours", "api_version": "2024-10-21", "deployments": {"gpt-4o": "our gpt/4"}},
            "https://ours.openai.azure.com/openai/deployments/our%20gpt%2F4/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_where_a_request_goes(settings: dict[str, Any], url: str) -> None:
    provider = azure(**settings)
    model = provider.target("gpt-4o").model
    assert str(provider.url("openai_chat", "/chat/completions", model)) == url


def test_responses_have_no_deployment_in_their_address() -> None:
    """The model stands in the body there (the published schema of 2025-03-01-preview: POST /responses)."""
    url = azure(resource="ours", api_version="2025-03-01-preview").url("openai_responses", "/responses", "our-gpt")
    assert str(url) == "https://ours.openai.azure.com/openai/responses?api-version=2025-03-01-preview"
    url = azure(resource="ours").url("openai_responses", "/responses", "our-gpt")
    assert str(url) == "https://ours.openai.azure.com/openai/v1/responses"


def test_a_place_that_is_not_filled_names_setting_and_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        azure().url("openai_chat", "/chat/completions", "gpt-4o")
    assert str(caught.value) == (
        '"azure" needs resource, a part of its address: '
        "set AZURE_OPENAI_ENDPOINT or providers.azure.resource or providers.azure.base_url"
    )
    with pytest.raises(ConfigError, match=r"^providers\.azure\.resource: not a value that can stand in a URL$"):
        azure(resource="evil.example/?x=").url("openai_chat", "/chat/completions", "gpt-4o")


@pytest.mark.parametrize("model", [".", ".."])
def test_a_callers_model_name_cannot_lead_to_another_path(model: str) -> None:
    with pytest.raises(InvalidRequest, match="no model is called"):
        azure(resource="ours", api_version="2024-10-21").url("openai_chat", "/chat/completions", model)


def test_names_that_callers_choose_do_not_fill_the_memory() -> None:
    provider = azure(resource="ours", api_version="2024-10-21")
    for number in range(3000):
        provider.url("openai_chat", "/chat/completions", f"model-{number}")
    assert len(provider._addresses) == 1000
    plain = azure(resource="ours")
    assert plain.url("openai_chat", "/x", "a") is plain.url("openai_chat", "/x", "b")


# ------------------------------------------------------------ against openai's own client


@pytest.mark.parametrize("api_version", ["2024-10-21", "2025-03-01-preview"])
async def test_dated_requests_are_those_of_openais_azure_client(api_version: str) -> None:
    async with running(service) as peer:
        oracle = openai.AsyncAzureOpenAI(azure_endpoint=peer.url, api_key="k-1", api_version=api_version)
        await oracle.chat.completions.create(model="our-gpt", messages=HELLO, max_completion_tokens=5)  # type: ignore[arg-type]
        await oracle.embeddings.create(model="our-vectors", input=["a"], encoding_format="float")
        ours = azure(base_url=peer.url, api_version=api_version, deployments={"gpt-4o": "our-gpt"})
        await ours.complete(CompletionRequest(model="gpt-4o", messages="hello", max_tokens=5))  # type: ignore[arg-type]
        await ours.embed(["a"], model="our-vectors")
        await ours.close()
        await oracle.close()
        theirs, mine = peer.asked[:2], peer.asked[2:]
    for one, other in zip(theirs, mine, strict=True):
        assert (one.method, one.target) == (other.method, other.target)
        assert other.headers["api-key"] == one.headers["api-key"] == "k-1"
        assert "authorization" not in other.headers
    assert json.loads(mine[0].body) == json.loads(theirs[0].body)


async def test_v1_requests_are_those_of_openais_plain_client() -> None:
    async with running(service) as peer:
        oracle = openai.AsyncOpenAI(base_url=f"{peer.url}/openai/v1/", api_key="k-1")
        await oracle.chat.completions.create(model="our-gpt", messages=HELLO)  # type: ignore[arg-type]
        await oracle.embeddings.create(model="our-vectors", input=["a"], encoding_format="float")
        ours = azure(base_url=peer.url, deployments={"gpt-4o": "our-gpt", "vectors": "our-vectors"})
        await ours.complete(CompletionRequest(model="gpt-4o", messages="hello"))  # type: ignore[arg-type]
        await ours.embed(["a"], model="vectors")
        await ours.close()
        await oracle.close()
        theirs, mine = peer.asked[:2], peer.asked[2:]
    assert [one.target for one in mine] == [one.target for one in theirs]
    assert [one.headers["api-key"] for one in mine] == ["k-1"] * 2
    assert json.loads(mine[0].body) == json.loads(theirs[0].body)
    assert json.loads(mine[1].body)["model"] == "our-vectors"


async def test_an_entra_token_goes_as_bearer_and_is_fetched_once() -> None:
    def entra_and_service(asked: Asked) -> tuple[int, Any]:
        if "oauth2" in asked.target:
            return 200, {"access_token": "eyJ0.x", "expires_in": 3599}
        return service(asked)

    async with running(entra_and_service) as peer:
        oracle = openai.AsyncAzureOpenAI(azure_endpoint=peer.url, azure_ad_token="eyJ0.x", api_version="2024-10-21")
        await oracle.chat.completions.create(model="our-gpt", messages=HELLO)  # type: ignore[arg-type]
        await oracle.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_AUTHORITY_HOST", peer.url)
            ours = azure(
                base_url=peer.url,
                api_version="2024-10-21",
                tenant_id="t",
                client_id="c",
                client_secret=Secret("s"),
            )
            for _ in range(2):
                await ours.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
            await ours.close()
        theirs, token, *mine = peer.asked
    assert token.target == "/t/oauth2/v2.0/token"
    assert len(mine) == 2
    for one in mine:
        assert one.target == theirs.target
        assert one.headers["authorization"] == theirs.headers["authorization"] == "Bearer eyJ0.x"
        assert "api-key" not in one.headers


async def test_a_401_fetches_another_token_for_the_next_request() -> None:
    tokens = iter(["one", "two"])

    def entra_and_service(asked: Asked) -> tuple[int, Any]:
        if "oauth2" in asked.target:
            return 200, {"access_token": next(tokens), "expires_in": 3599}
        if asked.headers["authorization"] == "Bearer one":
            return 401, {"error": {"code": "401", "message": "Unauthorized. Access token is expired."}}
        return service(asked)

    async with running(entra_and_service) as peer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_AUTHORITY_HOST", peer.url)
            ours = azure(base_url=peer.url, tenant_id="t", client_id="c", client_secret=Secret("s"))
            request = CompletionRequest(model="our-gpt", messages="hello")  # type: ignore[arg-type]
            with pytest.raises(AuthenticationError):
                await ours.complete(request)
            assert (await ours.complete(request)).text == "hi"
            await ours.close()


async def test_the_operators_own_header_stands_for_a_key_or_token() -> None:
    async with running(service) as peer:
        settings = ProviderSettings(type="azure", base_url=peer.url, headers={"Api-Key": Secret("mine")})
        provider = HttpProvider("azure", settings)
        await provider.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
        await provider.close()
        assert peer.asked[0].headers["api-key"] == "mine"


async def test_no_credentials_at_all_is_a_config_error_before_anything_is_sent() -> None:
    async with running(service) as peer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{await closed_port()}")
            provider = HttpProvider("azure", ProviderSettings(type="azure", base_url=peer.url))
            with pytest.raises(ConfigError, match=r"^no Azure credentials: set AZURE_OPENAI_API_KEY or api_key"):
                await provider.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
        assert not peer.asked


async def test_deployments_are_listed_since_the_service_lists_only_what_may_be_deployed() -> None:
    assert await azure(resource="ours").list_models() == []
    cards = await azure(resource="ours", deployments={"gpt-4o": "our-gpt"}).list_models()
    assert [card.id for card in cards] == ["our-gpt"]


def test_a_deployment_is_known_by_its_model() -> None:
    provider = azure(resource="ours", deployments={"gpt-4o": "our-gpt"})
    assert provider.card("our-gpt") == provider.card("gpt-4o")
    assert provider.card("our-gpt").context_window == provider.card("gpt-4o").context_window
    assert provider.target("gpt-4o").model == "our-gpt"


# ------------------------------------------------------------ relay


async def test_a_callers_bytes_go_to_the_deployment_as_they_are() -> None:
    body = b'{"model":"azure/gpt-4o","messages":[{"role":"user", "content":"hello"}],"max_completion_tokens":5}'
    async with running(service) as peer:
        provider = azure(base_url=peer.url, api_version="2024-10-21", deployments={"gpt-4o": "our-gpt"})
        exchange = Exchange("openai_chat", inbound, body)
        answered = await exchange.answer(provider, Choice(provider="azure", model="gpt-4o"))
        await provider.close()
        (asked,) = peer.asked
    assert asked.target == "/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21"
    assert asked.body == body.replace(b'"azure/gpt-4o"', b'"our-gpt"')
    assert json.loads(answered.body) == ANSWER


# ------------------------------------------------------------ limits and errors


async def test_the_limits_that_the_last_answer_told() -> None:
    headers = {
        "x-ratelimit-limit-requests": "120",
        "x-ratelimit-remaining-requests": "119",
        "x-ratelimit-renewalperiod-requests": "60",
        "x-ratelimit-reset-requests": "500",
    }
    async with running(lambda _: (200, ANSWER, headers)) as peer:
        provider = azure(base_url=peer.url)
        heads: list[list[tuple[bytes, bytes]]] = []
        provider.on_head = lambda model, headers: heads.append(headers)
        await provider.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
        await provider.close()
    assert limits_told(*heads) == (RateLimit("requests", 120, 119, 0.5),)


async def test_what_the_service_said_is_on_the_error_without_keys() -> None:
    said = {"error": {"code": "401", "message": "the key sk-abc1234567890 is wrong"}, "inner": "Bearer eyJ0.abc.def"}
    async with running(lambda _: (401, said)) as peer:
        provider = azure(base_url=peer.url)
        with pytest.raises(AuthenticationError) as caught:
            await provider.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
        await provider.close()
    assert '"inner"' in caught.value.body
    for text in (caught.value.body, str(caught.value)):
        assert "sk-abc1234567890" not in text
        assert "eyJ0" not in text


FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    }
}
"""As learn.microsoft.com/azure/foundry/openai/concepts/content-filter writes it (2026-11)."""


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "code", "retryable", "retry_after_s"),
    [
        (400, FILTERED, {}, ContentFiltered, "content_filter", False, None),
        (
            404,
            {
                "error": {
                    "type": "invalid_request_error",
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
            {},
            ModelNotFound,
            "DeploymentNotFound",
            False,
            None,
        ),
        (
            429,
            {"error": {"code": "429", "message": "Requests have exceeded the call rate limit."}},
            {"retry-after-ms": "1500", "retry-after": "2"},
            RateLimitError,
            "429",
            True,
            1.5,
        ),
        (401, {"error": {"code": "401", "message": "Access denied"}}, {}, AuthenticationError, "401", False, None),
    ],
)
async def test_azures_errors(
    status: int,
    body: Any,
    headers: dict[str, str],
    kind: type[Exception],
    code: str,
    retryable: bool,
    retry_after_s: float | None,
) -> None:
    async with running(lambda _: (status, body, {"apim-request-id": "req-9", **headers})) as peer:
        provider = azure(base_url=peer.url)
        with pytest.raises(kind) as caught:
            await provider.complete(CompletionRequest(model="our-gpt", messages="hello"))  # type: ignore[arg-type]
        await provider.close()
    error: Any = caught.value
    assert type(error) is kind
    assert (error.code, error.status_code, error.retryable) == (code, status, retryable)
    assert error.retry_after_s == retry_after_s
    assert error.request_id == "req-9"
