"""Google Cloud's tokens: real token and metadata servers on loopback, google-auth as the oracle for the JWT."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from cloud_peers import Asked, closed_port, running
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.auth import _default as google_default
from google.auth import environment_vars
from google.auth.transport import Response
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

from genai_spine.catalog.rows import load_rows
from genai_spine.model.errors import AuthenticationError, ConfigError, PermissionDenied
from genai_spine.providers.google_authorizer import GoogleAuthorizer, signed_jwt
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import parse_url

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
REQUEST = HttpRequest(method="POST", url=parse_url("http://127.0.0.1/x"))
GRANTED = {"access_token": "ya29.granted", "expires_in": 3599, "token_type": "Bearer"}


def pem_of(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def account(**changes: Any) -> dict[str, Any]:
    info = {
        "type": "service_account",
        "project_id": "our-project",
        "private_key_id": "key-7",
        "private_key": pem_of(KEY),
        "client_email": "robot@our-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    } | changes
    return {name: value for name, value in info.items() if value is not None}


def written(tmp_path: Path, info: Any) -> str:
    file = tmp_path / "credentials.json"
    file.write_text(info if isinstance(info, str) else json.dumps(info))
    return str(file)


def parts_of(jwt: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    header, claims, signature = jwt.split(".")
    decoded = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (header, claims, signature)]
    return json.loads(decoded[0]), json.loads(decoded[1]), decoded[2], f"{header}.{claims}".encode()


# ------------------------------------------------------------ a service account


def test_the_jwt_is_googles_own() -> None:
    info = account(token_uri="https://elsewhere.example/token")
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    oracle = service_account.Credentials.from_service_account_info(info, scopes=scopes)
    header, claims, _, _ = parts_of(oracle._make_authorization_grant_assertion().decode())
    ours_header, ours, signature, signed = parts_of(signed_jwt(info, claims["iat"], "s"))
    assert ours == claims
    assert ours_header == header
    KEY.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())


async def test_a_service_account_trades_its_jwt_for_a_token_once(tmp_path: Path) -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        file = written(tmp_path, account(token_uri=f"{peer.url}/token"))
        authorizer = GoogleAuthorizer(ProviderSettings(credentials_file=file), {})
        for _ in range(3):
            assert await authorizer.headers(REQUEST) == (("authorization", "Bearer ya29.granted"),)
        (asked,) = peer.asked
    assert (asked.method, asked.target) == ("POST", "/token")
    assert asked.form.keys() == {"grant_type", "assertion"}
    assert asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert parts_of(asked.form["assertion"])[1]["iss"] == "robot@our-project.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a JSON object"),
        (account(private_key=None), "it has no private_key"),
        (account(client_email=7), "it has no client_email"),
        (account(private_key="-----BEGIN-----"), "its private_key cannot be read"),
        (account(private_key=pem_of(ec.generate_private_key(ec.SECP256R1()))), "its private_key is no RSA key"),
        (account(token_uri="ftp://x"), "not an http or https URL: scheme 'ftp'"),
        (account(token_uri=7), "it has no token_uri"),
        (
            account(type="external_account"),
            'its type is "external_account"; understood are service_account and authorized_user',
        ),
        ({"type": "authorized_user", "client_id": "a", "client_secret": "b"}, "it has no refresh_token"),
    ],
)
async def test_a_file_that_cannot_serve_says_why_and_shows_nothing(tmp_path: Path, info: Any, message: str) -> None:
    file = written(tmp_path, info)
    with pytest.raises(ConfigError) as caught:
        await GoogleAuthorizer(ProviderSettings(credentials_file=file), {}).headers(REQUEST)
    assert str(caught.value) == f"credentials file {file}: {message}"


async def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    authorizer = GoogleAuthorizer(ProviderSettings(credentials_file=written(tmp_path, account())), {})
    with pytest.raises(ConfigError, match=r"pip install 'genai-spine\[google\]'"):
        await authorizer.headers(REQUEST)


async def test_a_refused_account_is_named_with_what_was_said(tmp_path: Path) -> None:
    said = {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
    async with running(lambda _: (400, said)) as peer:
        file = written(tmp_path, account(token_uri=f"{peer.url}/token"))
        with pytest.raises(AuthenticationError) as caught:
            await GoogleAuthorizer(ProviderSettings(credentials_file=file), {}).headers(REQUEST)
    assert str(caught.value) == (
        f"no access token: credentials file {file}, asked at {peer.url}: "
        "invalid_grant: Invalid grant: account not found"
    )


# ------------------------------------------------------------ where credentials are looked for


def user(**changes: Any) -> dict[str, Any]:
    return {
        "type": "authorized_user",
        "client_id": "id.apps.googleusercontent.com",
        "client_secret": "d-FL95Q19q7MQmFpd7hHD0Ty",
        "refresh_token": "1//refresh",
    } | changes


async def test_gclouds_login_refreshes_as_googles_library_does(tmp_path: Path) -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        info = user(token_uri=f"{peer.url}/token", quota_project_id="pays")
        (tmp_path / "application_default_credentials.json").write_text(json.dumps(info))
        authorizer = GoogleAuthorizer(ProviderSettings(), {"CLOUDSDK_CONFIG": str(tmp_path)})
        headers = dict(await authorizer.headers(REQUEST))
        (asked,) = peer.asked
    assert headers == {"authorization": "Bearer ya29.granted", "x-goog-user-project": "pays"}

    seen: list[bytes] = []
    oracle = user_credentials.Credentials.from_authorized_user_info(info)
    oracle.refresh(_recorder(seen))
    assert asked.form == Asked("POST", "", {}, seen[0]).form
    applied: dict[str, str] = {}
    oracle.apply(applied)
    assert {name.lower(): value for name, value in applied.items()} == headers


def _recorder(seen: list[bytes]) -> Any:
    class Answer(Response):
        status = 200
        headers: Any = None
        data = json.dumps(GRANTED).encode()

    def request(url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Response:
        seen.append(body if isinstance(body, bytes) else body.encode())
        return Answer()

    return request


async def test_the_named_file_comes_first_and_nothing_replaces_it(tmp_path: Path) -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        gcloud = tmp_path / "application_default_credentials.json"
        gcloud.write_text(json.dumps(user(token_uri=f"{peer.url}/gcloud")))
        named = written(tmp_path, account(token_uri=f"{peer.url}/named"))
        environ = {"CLOUDSDK_CONFIG": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": named}
        await GoogleAuthorizer(ProviderSettings(), environ).headers(REQUEST)
        assert [asked.target for asked in peer.asked] == ["/named"]
        environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "gone.json")
        with pytest.raises(ConfigError, match=r"gone\.json: No such file or directory$"):
            await GoogleAuthorizer(ProviderSettings(), environ).headers(REQUEST)
        await GoogleAuthorizer(ProviderSettings(credentials_file=named), environ).headers(REQUEST)
        assert [asked.target for asked in peer.asked] == ["/named", "/named"]


async def test_the_metadata_server_is_the_last_place(tmp_path: Path) -> None:
    async with running(lambda _: (200, GRANTED, {"metadata-flavor": "Google"})) as peer:
        environ = {"CLOUDSDK_CONFIG": str(tmp_path), "GCE_METADATA_HOST": peer.host}
        assert await GoogleAuthorizer(ProviderSettings(), environ).headers(REQUEST) == (
            ("authorization", "Bearer ya29.granted"),
        )
        (asked,) = peer.asked
    assert asked.target == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


async def test_without_credentials_every_place_is_named(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "GCE_METADATA_HOST": f"127.0.0.1:{await closed_port()}"}
    with pytest.raises(ConfigError) as caught:
        await GoogleAuthorizer(ProviderSettings(), environ).headers(REQUEST)
    message = str(caught.value)
    assert message.startswith(
        "no Google Cloud credentials: set GOOGLE_APPLICATION_CREDENTIALS or credentials_file to a service account's "
        "JSON file, or run `gcloud auth application-default login`; looked at: credentials_file (not set); "
        f"GOOGLE_APPLICATION_CREDENTIALS (not set); gcloud's {tmp_path}/.config/gcloud/"
        "application_default_credentials.json (no such file); the metadata server ("
    )
    environ["NO_GCE_CHECK"] = "True"
    with pytest.raises(ConfigError, match=r"the metadata server \(NO_GCE_CHECK is set\)$"):
        await GoogleAuthorizer(ProviderSettings(), environ).headers(REQUEST)


async def test_a_user_without_a_home_has_no_file_of_gclouds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(ConfigError, match=r"application_default_credentials\.json \(no such file\)"):
        await GoogleAuthorizer(ProviderSettings(), {"NO_GCE_CHECK": "true"}).headers(REQUEST)


def test_our_names_of_variables_and_files_are_google_auths() -> None:
    source = (Path(sys.modules[GoogleAuthorizer.__module__].__file__ or "")).read_text()
    for name in (
        environment_vars.CREDENTIALS,
        environment_vars.CLOUD_SDK_CONFIG_DIR,
        environment_vars.GCE_METADATA_HOST,
        environment_vars.NO_GCE_CHECK,
    ):
        assert f'"{name}"' in source
    assert {"service_account", "authorized_user"} < set(google_default._VALID_TYPES)


async def test_a_401_ends_a_token_and_a_403_does_not(tmp_path: Path) -> None:
    async with running(lambda _: (200, GRANTED)) as peer:
        file = written(tmp_path, account(token_uri=f"{peer.url}/token"))
        authorizer = GoogleAuthorizer(ProviderSettings(credentials_file=file), {})
        await authorizer.headers(REQUEST)
        authorizer.refused(PermissionDenied("not allowed"))
        await authorizer.headers(REQUEST)
        assert len(peer.asked) == 1
        authorizer.refused(AuthenticationError("expired"))
        await authorizer.headers(REQUEST)
        assert len(peer.asked) == 2


def test_rows_that_use_it_name_their_variables() -> None:
    for row in load_rows().values():
        if row.auth == "google" and row.id.startswith("vertex"):
            assert row.variables["credentials_file"] == ("GOOGLE_APPLICATION_CREDENTIALS",)
