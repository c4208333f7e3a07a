"""Entra tokens for Azure OpenAI, for those who use no key.

In the order of Azure's own libraries: an application's secret, a federated token's file (workload
identity), the managed identity of App Service and its kin, the managed identity of a virtual machine. The
first that is configured is asked; what it refuses is an error, and not a reason to try the next.

Must not know: models, requests, deployments (the address has those).
Sources (read 2026-11): learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
(secret and federated assertion); learn.microsoft.com/azure/app-service/overview-managed-identity (REST);
learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token (IMDS);
learn.microsoft.com/azure/foundry/openai/how-to/managed-identity (the scope).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from genai_spine.model.errors import ConfigError, ProviderError
from genai_spine.providers.access_tokens import (
    Token,
    TokenCache,
    first_of,
    get_metadata,
    post_form,
    probe_metadata,
    token_of,
)
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers

RESOURCE = "https://cognitiveservices.azure.com"
AUTHORITY = "https://login.microsoftonline.com"
IMDS = "http://169.254.169.254"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_NOTHING = (
    "no Azure credentials: set AZURE_OPENAI_API_KEY or api_key, or tenant_id, client_id and client_secret "
    "(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET)"
)


class AzureAuthorizer:
    """The token of one provider's identity; see `authorize.Authorizer`."""

    def __init__(self, settings: ProviderSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._tokens = TokenCache(self._fetch)

    async def headers(self, request: HttpRequest) -> Headers:
        return (("authorization", f"Bearer {await self._tokens.get()}"),)

    def refused(self, error: ProviderError) -> None:
        if error.status_code == 401:  # a 403 is about roles: a new token has no more of them
            self._tokens.forget()

    # ------------------------------------------------------------ where credentials are

    @property
    def _tenant_id(self) -> str | None:
        return self._settings.tenant_id or self._environ.get("AZURE_TENANT_ID")

    @property
    def _client_id(self) -> str | None:
        return self._settings.client_id or self._environ.get("AZURE_CLIENT_ID")

    @property
    def _client_secret(self) -> str | None:
        secret = self._settings.client_secret
        return secret.reveal() if secret else self._environ.get("AZURE_CLIENT_SECRET")

    async def _fetch(self) -> Token:
        environ = self._environ
        return await first_of(
            {
                "an application's secret": self._from_secret
                if self._client_secret
                else "client_secret and AZURE_CLIENT_SECRET are not set",
                "workload identity": self._from_federated_token
                if environ.get("AZURE_FEDERATED_TOKEN_FILE")
                else "AZURE_FEDERATED_TOKEN_FILE is not set",
                "App Service": self._from_app_service
                if environ.get("IDENTITY_ENDPOINT") and environ.get("IDENTITY_HEADER")
                else "IDENTITY_ENDPOINT and IDENTITY_HEADER are not set",
                "the virtual machine's identity": self._from_imds,
            },
            nothing=_NOTHING,
        )

    async def _from_secret(self) -> Token:
        return await self._from_entra({"client_secret": self._client_secret or ""}, "the application's secret")

    async def _from_federated_token(self) -> Token:
        file = self._environ["AZURE_FEDERATED_TOKEN_FILE"]
        source = f"the federated token {file}"
        # Read each time: Kubernetes replaces it.
        fields = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": _read(Path(file), source)}
        return await self._from_entra(fields, source)

    async def _from_entra(self, proof: Mapping[str, str], source: str) -> Token:
        tenant, client = self._tenant_id, self._client_id
        if not tenant or not client:
            missing = "tenant_id (AZURE_TENANT_ID)" if not tenant else "client_id (AZURE_CLIENT_ID)"
            raise ConfigError(f"{source} needs {missing} beside it")
        authority = self._environ.get("AZURE_AUTHORITY_HOST") or AUTHORITY
        authority = authority if "://" in authority else f"https://{authority}"
        fields = {"grant_type": "client_credentials", "client_id": client, "scope": f"{RESOURCE}/.default", **proof}
        url = f"{authority.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        return token_of(await post_form(self._settings, url, fields, source=source), source=source)

    async def _from_app_service(self) -> Token:
        url = f"{self._environ['IDENTITY_ENDPOINT']}?{self._query('2019-08-01')}"
        headers = (("x-identity-header", self._environ["IDENTITY_HEADER"]),)
        source = "App Service's identity"
        return token_of(await get_metadata(url, headers, source=source), source=source)

    async def _from_imds(self) -> Token:
        host = self._environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or IMDS
        url = f"{host.rstrip('/')}/metadata/identity/oauth2/token?{self._query('2018-02-01')}"
        source = "the virtual machine's identity"
        return token_of(await probe_metadata(url, (("metadata", "true"),), source=source), source=source)

    def _query(self, api_version: str) -> str:
        fields = {"api-version": api_version, "resource": RESOURCE}
        if self._client_id:
            fields["client_id"] = self._client_id
        return urlencode(fields)


def _read(file: Path, source: str) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror or 'cannot be read'}") from None
    except ValueError:
        raise ConfigError(f"{source}: not a token") from None
