"""Entra tokens: real Entra, App Service and virtual machine endpoints on loopback."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cloud_peers import Asked, closed_port, running

from genai_spine.model.errors import AuthenticationError, ConfigError, PermissionDenied, ServerError
from genai_spine.providers.azure_authorizer import AzureAuthorizer
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.wire.http import parse_url

REQUEST = HttpRequest(method="POST", url=parse_url("http://127.0.0.1/x"))
GRANTED = {"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ0.granted"}
BEARER = (("authorization", "Bearer eyJ0.granted"),)
APPLICATION = ProviderSettings(tenant_id="our-tenant", client_id="our-app", client_secret=Secret("s3cret&="))


async def nobody() -> dict[str, str]:
    """No virtual machine's identity."""
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{await closed_port()}"}


async def test_an_applications_secret_is_traded_once() -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        authorizer = AzureAuthorizer(APPLICATION, {"AZURE_AUTHORITY_HOST": peer.url})
        for _ in range(3):
            assert await authorizer.headers(REQUEST) == BEARER
        (asked,) = peer.asked
    assert (asked.method, asked.target) == ("POST", "/our-tenant/oauth2/v2.0/token")
    assert asked.form == {
        "grant_type": "client_credentials",
        "client_id": "our-app",
        "client_secret": "s3cret&=",
        "scope": "https://cognitiveservices.azure.com/.default",
    }


async def test_the_variables_of_azures_own_libraries_do_as_well() -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        names = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "x"}
        environ = {**names, "AZURE_AUTHORITY_HOST": peer.url}
        assert await AzureAuthorizer(ProviderSettings(), environ).headers(REQUEST) == BEARER
        assert peer.asked[0].target == "/t/oauth2/v2.0/token"


async def test_a_refused_secret_is_an_error_and_nothing_else_is_tried() -> None:
    said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    async with running(lambda _: (401, said)) as peer, running(lambda _: (200, GRANTED)) as machine:
        environ = {"AZURE_AUTHORITY_HOST": peer.url, "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.url}
        with pytest.raises(AuthenticationError) as caught:
            await AzureAuthorizer(APPLICATION, environ).headers(REQUEST)
        assert not machine.asked
    assert str(caught.value) == (
        f"no access token: the application's secret, asked at {peer.url}: "
        "invalid_client: AADSTS7000215: Invalid client secret provided."
    )


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (ProviderSettings(client_secret=Secret("x"), client_id="c"), "tenant_id (AZURE_TENANT_ID)"),
        (ProviderSettings(client_secret=Secret("x"), tenant_id="t"), "client_id (AZURE_CLIENT_ID)"),
    ],
)
async def test_a_secret_needs_its_tenant_and_its_application(settings: ProviderSettings, missing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await AzureAuthorizer(settings, {}).headers(REQUEST)
    assert str(caught.value) == f"the application's secret needs {missing} beside it"


async def test_a_federated_tokens_file_is_read_for_each_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with running(lambda _: (200, GRANTED)) as peer:
        environ = {
            "AZURE_AUTHORITY_HOST": peer.url,
            "AZURE_FEDERATED_TOKEN_FILE": str(file),
            "AZURE_TENANT_ID": "t",
            "AZURE_CLIENT_ID": "c",
        }
        authorizer = AzureAuthorizer(ProviderSettings(), environ)
        assert await authorizer.headers(REQUEST) == BEARER
        file.write_text("second")
        authorizer.refused(AuthenticationError("expired"))
        await authorizer.headers(REQUEST)
        assert [asked.form["client_assertion"] for asked in peer.asked] == ["first", "second"]
        assert peer.asked[0].form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert "client_secret" not in peer.asked[0].form
        authorizer.refused(AuthenticationError("expired"))
        file.unlink()
        with pytest.raises(ConfigError, match=r"the federated token .*/token: No such file or directory$"):
            await authorizer.headers(REQUEST)


async def test_app_service_gives_the_time_of_a_tokens_end() -> None:
    ends = str(int(time.time()) + 3600)
    async with running(lambda _: (200, {"access_token": "eyJ0.granted", "expires_on": ends})) as peer:
        environ = {"IDENTITY_ENDPOINT": f"{peer.url}/msi/token", "IDENTITY_HEADER": "h-1", "AZURE_CLIENT_ID": "mine"}
        authorizer = AzureAuthorizer(ProviderSettings(), environ)
        assert await authorizer.headers(REQUEST) == BEARER
        await authorizer.headers(REQUEST)
        (asked,) = peer.asked
    assert asked.method == "GET"
    assert asked.target == (
        "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=mine"
    )
    assert asked.headers["x-identity-header"] == "h-1"


async def test_app_service_that_fails_is_no_reason_to_ask_the_machine() -> None:
    async with running(lambda _: (500, {})) as peer, running(lambda _: (200, GRANTED)) as machine:
        environ = {
            "IDENTITY_ENDPOINT": peer.url,
            "IDENTITY_HEADER": "h",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.url,
        }
        with pytest.raises(ServerError):
            await AzureAuthorizer(ProviderSettings(), environ).headers(REQUEST)
        assert not machine.asked


async def test_a_virtual_machines_identity_is_the_last_place() -> None:
    async with running(lambda _: (200, GRANTED | {"expires_in": "3599"})) as peer:
        environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": peer.url}
        assert await AzureAuthorizer(ProviderSettings(), environ).headers(REQUEST) == BEARER
        (asked,) = peer.asked
    assert asked.target == (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com"
    )
    assert asked.headers["metadata"] == "true"


async def test_a_machine_without_an_identity_says_so() -> None:
    said = {"error": "invalid_request", "error_description": "Identity not found"}
    async with running(lambda _: (400, said)) as peer:
        with pytest.raises(AuthenticationError, match=r"invalid_request: Identity not found$"):
            await AzureAuthorizer(ProviderSettings(), {"AZURE_POD_IDENTITY_AUTHORITY_HOST": peer.url}).headers(REQUEST)


async def test_without_credentials_every_place_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        await AzureAuthorizer(ProviderSettings(), await nobody()).headers(REQUEST)
    assert str(caught.value).startswith(
        "no Azure credentials: set AZURE_OPENAI_API_KEY or api_key, or tenant_id, client_id and client_secret "
        "(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET); looked at: an application's secret "
        "(client_secret and AZURE_CLIENT_SECRET are not set); workload identity (AZURE_FEDERATED_TOKEN_FILE is not "
        "set); App Service (IDENTITY_ENDPOINT and IDENTITY_HEADER are not set); the virtual machine's identity ("
    )


async def test_a_401_ends_a_token_and_a_403_does_not() -> None:
    def answer(asked: Asked) -> tuple[int, object]:
        return 200, GRANTED

    async with running(answer) as peer:
        authorizer = AzureAuthorizer(APPLICATION, {"AZURE_AUTHORITY_HOST": peer.url})
        await authorizer.headers(REQUEST)
        authorizer.refused(PermissionDenied("roles"))
        await authorizer.headers(REQUEST)
        assert len(peer.asked) == 1
        authorizer.refused(AuthenticationError("expired"))
        await authorizer.headers(REQUEST)
        assert len(peer.asked) == 2
