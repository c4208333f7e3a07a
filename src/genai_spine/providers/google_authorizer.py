"""Google Cloud's access tokens, as its own libraries look for them (Application Default Credentials).

In this order: the setting credentials_file (or GOOGLE_APPLICATION_CREDENTIALS), the file that
`gcloud auth application-default login` writes, the metadata server of the machine. A file is a service
account's key, whose JWT is signed here (RS256, extra `google`), or a user's refresh token.

Must not know: models, requests, projects and locations (the address has those).
Sources (read 2026-11): docs.cloud.google.com/docs/authentication/application-default-credentials;
developers.google.com/identity/protocols/oauth2/service-account (the JWT);
docs.cloud.google.com/compute/docs/access/authenticate-workloads (the metadata server).
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.model.errors import ConfigError, ProviderError
from genai_spine.providers.access_tokens import Token, TokenCache, first_of, post_form, probe_metadata, token_of
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"
METADATA_HOST = "metadata.google.internal"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME_S = 3600
"""Of the JWT; the most that is allowed."""

_NOTHING = (
    "no Google Cloud credentials: set GOOGLE_APPLICATION_CREDENTIALS or credentials_file to a service account's "
    "JSON file, or run `gcloud auth application-default login`"
)


class GoogleAuthorizer:
    """The token of one provider's credentials; see `authorize.Authorizer`."""

    def __init__(self, settings: ProviderSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._tokens = TokenCache(self._fetch)
        self._quota_project: str | None = None

    async def headers(self, request: HttpRequest) -> Headers:
        bearer = ("authorization", f"Bearer {await self._tokens.get()}")
        if self._quota_project is None:
            return (bearer,)
        return (bearer, ("x-goog-user-project", self._quota_project))

    def refused(self, error: ProviderError) -> None:
        if error.status_code == 401:  # a 403 is about what the account may do: a new token may no more
            self._tokens.forget()

    # ------------------------------------------------------------ where credentials are

    async def _fetch(self) -> Token:
        given = self._settings.credentials_file or self._environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if given:  # named, so nothing else is taken in its place
            return await self._from_file(Path(given), f"credentials file {given}")
        gcloud = _gcloud_file(self._environ)
        return await first_of(
            {
                "credentials_file": "not set",
                "GOOGLE_APPLICATION_CREDENTIALS": "not set",
                f"gcloud's {gcloud}": partial(self._from_file, gcloud, f"credentials file {gcloud}")
                if gcloud.is_file()
                else "no such file",
                "the metadata server": self._from_metadata
                if self._environ.get("NO_GCE_CHECK", "").lower() != "true"
                else "NO_GCE_CHECK is set",
            },
            nothing=_NOTHING,
        )

    async def _from_file(self, file: Path, source: str) -> Token:
        info, fields = token_form(file, source)
        quota_project = info.get("quota_project_id")
        self._quota_project = quota_project if isinstance(quota_project, str) else None
        url = info.get("token_uri") or TOKEN_URL
        answer = await post_form(self._settings, _text({"token_uri": url}, "token_uri", source), fields, source=source)
        return token_of(answer, source=source)

    async def _from_metadata(self) -> Token:
        host = self._environ.get("GCE_METADATA_HOST") or METADATA_HOST
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        source = f"the metadata server {host}"
        return token_of(await probe_metadata(url, (("metadata-flavor", "Google"),), source=source), source=source)


def _gcloud_file(environ: Mapping[str, str]) -> Path:
    """Where gcloud writes the credentials that programs may use."""
    if folder := environ.get("CLOUDSDK_CONFIG"):
        return Path(folder) / "application_default_credentials.json"
    if sys.platform == "win32":
        return Path(environ.get("APPDATA", "C:/")) / "gcloud" / "application_default_credentials.json"
    # Of a user without a home, such as a container's, "~" stays as it is: there is no such file.
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    return home / ".config" / "gcloud" / "application_default_credentials.json"


def token_form(file: Path, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A credentials file, and the form that is posted for its token. Raises: ConfigError that begins with `source`."""
    info = _read(file, source)
    match info.get("type"):
        case "service_account":
            return info, {"grant_type": JWT_BEARER, "assertion": signed_jwt(info, time.time(), source)}
        case "authorized_user":
            names = ("client_id", "client_secret", "refresh_token")
            return info, {"grant_type": "refresh_token", **{name: _text(info, name, source) for name in names}}
        case other:
            raise ConfigError(
                f'{source}: its type is "{str(other)[:40]}"; understood are service_account and authorized_user'
            )


def _read(file: Path, source: str) -> dict[str, Any]:
    """A credentials file. Raises: ConfigError; nothing of its content is quoted."""
    try:
        info = msgspec.json.decode(file.expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror or 'cannot be read'}") from None
    except msgspec.DecodeError:
        raise ConfigError(f"{source}: not a JSON file") from None
    if not isinstance(info, dict):
        raise ConfigError(f"{source}: not a JSON object")
    return info


def _text(info: Mapping[str, Any], name: str, source: str) -> str:
    value = info.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{source}: it has no {name}")
    return value


# ------------------------------------------------------------ a service account's JWT


def signed_jwt(info: Mapping[str, Any], now_s: float, source: str) -> str:
    """The assertion that a service account trades for a token.

        {"alg": "RS256", "typ": "JWT", "kid": …} . {"iss": client_email, "scope": …, "aud": …, "iat": …, "exp": …}

    Raises: ConfigError for a file that lacks something, or without the extra `google`.
    """
    # The audience is this one whatever token_uri says, as in Google's own libraries.
    claims = {
        "iss": _text(info, "client_email", source),
        "scope": SCOPE,
        "aud": TOKEN_URL,
        "iat": int(now_s),
        "exp": int(now_s) + LIFETIME_S,
    }
    header = {"alg": "RS256", "typ": "JWT", "kid": _text(info, "private_key_id", source)}
    signed = b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    signature = _rs256(_text(info, "private_key", source), signed, source)
    return (signed + b"." + _base64url(signature)).decode("ascii")


def _rs256(pem: str, data: bytes, source: str) -> bytes:
    try:
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  # an extra
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigError("a service account's key needs the extra: pip install 'genai-spine[google]'") from None
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"{source}: its private_key cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError(f"{source}: its private_key is no RSA key")
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
