"""AWS credentials: real files, and real metadata services of containers and instances on loopback."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloud_peers import Asked, closed_port, running

from genai_spine.model.errors import AuthenticationError, ConfigError, PermissionDenied
from genai_spine.providers.aws_authorizer import AwsAuthorizer
from genai_spine.providers.aws_credentials import AwsCredentialSource
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.wire.http import parse_url
from genai_spine.wire.sigv4 import AwsCredentials

NO_INSTANCE = {"AWS_EC2_METADATA_DISABLED": "true"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
GIVEN = ProviderSettings(access_key_id="AKIASET", secret_access_key=Secret("set-secret"), session_token=Secret("tok"))


def role_keys(lives_s: float = 3600, key: str = "ASIAROLE") -> dict[str, Any]:
    ends = datetime.now(UTC) + timedelta(seconds=lives_s)
    expiration = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Code": "Success",
        "AccessKeyId": key,
        "SecretAccessKey": "role-secret",
        "Token": "role-token",
        "Expiration": expiration,
    }


def home(tmp_path: Path, credentials: str = "", config: str = "") -> dict[str, str]:
    folder = tmp_path / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / "credentials").write_text(credentials)
    (folder / "config").write_text(config)
    return {"HOME": str(tmp_path), **NO_INSTANCE}


async def found(settings: ProviderSettings = ProviderSettings(), **environ: str) -> AwsCredentials:  # noqa: B008
    return await AwsCredentialSource(settings, environ).current()


# ---------------------------------------------------------------- settings, environment, files


async def test_the_settings_come_before_all_else(tmp_path: Path) -> None:
    environ = {**home(tmp_path, "[default]\naws_access_key_id = F\naws_secret_access_key = f"), **KEYS}
    assert await found(GIVEN, **environ) == AwsCredentials(
        access_key_id="AKIASET", secret_access_key="set-secret", session_token="tok"
    )


async def test_the_environment_comes_before_the_files(tmp_path: Path) -> None:
    environ = home(tmp_path, "[default]\naws_access_key_id = F\naws_secret_access_key = f")
    assert (await found(**environ, **KEYS, AWS_SESSION_TOKEN="t")) == AwsCredentials(
        access_key_id="AKIAENV", secret_access_key="env-secret", session_token="t"
    )


async def test_a_profile_of_the_settings_comes_before_the_environment(tmp_path: Path) -> None:
    environ = home(tmp_path, "[work]\naws_access_key_id = W\naws_secret_access_key = w\naws_session_token = t")
    work = await found(ProviderSettings(profile="work"), **environ, **KEYS)
    assert (work.access_key_id, work.session_token) == ("W", "t")
    assert (await found(**environ, AWS_PROFILE="work")).access_key_id == "W"
    assert (await found(**environ, **KEYS, AWS_PROFILE="work")).access_key_id == "AKIAENV"


async def test_keys_may_stand_in_either_file_and_values_hold_any_sign(tmp_path: Path) -> None:
    config = "[profile work]\naws_access_key_id = C\naws_secret_access_key = 50%/x=;#\nregion = eu-west-1\n"
    environ = {**home(tmp_path, config=config), "AWS_PROFILE": "work"}
    assert (await found(**environ)).secret_access_key == "50%/x=;#"
    assert AwsCredentialSource(ProviderSettings(), environ).region() == "eu-west-1"
    assert AwsCredentialSource(ProviderSettings(), {**environ, "AWS_DEFAULT_REGION": "r"}).region() == "r"
    assert AwsCredentialSource(ProviderSettings(region="s"), {**environ, "AWS_REGION": "r"}).region() == "s"


async def test_files_may_stand_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("[default]\naws_access_key_id = E\naws_secret_access_key = e\n")
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "mine"), "HOME": str(tmp_path / "none"), **NO_INSTANCE}
    assert (await found(**environ)).access_key_id == "E"


async def test_a_user_without_a_home_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(ConfigError, match="profile default"):
        await found(**NO_INSTANCE)


async def test_nothing_anywhere_names_every_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        await found(HOME=str(tmp_path), **NO_INSTANCE)
    for said in (
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_ACCESS_KEY_ID is not set",
        "profile default",
        "container",
        "DISABLED",
    ):
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "environ", "said"),
    [
        (ProviderSettings(access_key_id="A"), {}, "secret_access_key is missing"),
        (ProviderSettings(secret_access_key=Secret("s")), {}, "access_key_id is missing"),
        (ProviderSettings(), {"AWS_ACCESS_KEY_ID": "A"}, "AWS_SECRET_ACCESS_KEY is missing"),
        (ProviderSettings(profile="nope"), {}, 'no profile "nope"'),
        (ProviderSettings(), {"AWS_PROFILE": "nope"}, 'no profile "nope"'),
        (ProviderSettings(), {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/x"}, "is not this machine"),
        (ProviderSettings(), {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "nonsense"}, "FULL_URI"),
    ],
)
async def test_half_of_a_setting_is_an_error(
    settings: ProviderSettings, environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        await found(settings, HOME=str(tmp_path), **environ, **NO_INSTANCE)


async def test_a_file_that_is_no_file_of_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="credentials: cannot be read"):
        await found(**home(tmp_path, "no section here"))


# ---------------------------------------------------------------- botocore's part


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """botocore reads the process's own variables."""
    environ = home(tmp_path)
    environ["AWS_CONFIG_FILE"] = str(tmp_path / ".aws" / "config")
    environ["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / ".aws" / "credentials")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for name in (*KEYS, "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return environ


async def test_a_process_that_gives_credentials_is_run_by_botocore(
    tmp_path: Path, own_environment: dict[str, str]
) -> None:
    script = tmp_path / "give.py"
    script.write_text(
        'print(\'{"Version": 1, "AccessKeyId": "PROC", "SecretAccessKey": "p", "SessionToken": "t", '
        '"Expiration": "2099-01-01T00:00:00Z"}\')\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    home(tmp_path, config=f"[profile run]\ncredential_process = {sys.executable} {script}\n")
    credentials = await found(ProviderSettings(profile="run"), **own_environment)
    assert (credentials.access_key_id, credentials.session_token) == ("PROC", "t")
    assert credentials.expires is not None


async def test_a_process_that_fails_says_so(tmp_path: Path, own_environment: dict[str, str]) -> None:
    home(tmp_path, config="[profile run]\ncredential_process = false\n")
    with pytest.raises(AuthenticationError, match='profile "run" with credential_process: botocore'):
        await found(ProviderSettings(profile="run"), **own_environment)


async def test_without_the_extra_the_error_names_it(
    tmp_path: Path, own_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    home(tmp_path, config="[profile sso]\nsso_session = corp\n")
    with pytest.raises(ConfigError, match=r"sso_session needs the extra: pip install 'genai-spine\[aws\]'"):
        await found(ProviderSettings(profile="sso"), **own_environment)


# ---------------------------------------------------------------- the container


async def test_a_container_gives_its_roles_keys(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer from-file\n")
    async with running(lambda _: (200, role_keys())) as peer:
        credentials = await found(
            HOME=str(tmp_path),
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{peer.url}/v1/credentials?id=1",
            AWS_CONTAINER_AUTHORIZATION_TOKEN="from-variable",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"),
            **NO_INSTANCE,
        )
        (asked,) = peer.asked
    assert (asked.method, asked.target) == ("GET", "/v1/credentials?id=1")
    assert asked.headers["authorization"] == "Bearer from-file"
    assert (credentials.access_key_id, credentials.session_token) == ("ASIAROLE", "role-token")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, {"code": "Denied", "message": "no role"}, "HTTP 403: Denied: no role"),
        (200, {"Code": "AssumeRoleUnauthorizedAccess", "Message": "not allowed"}, "AssumeRoleUnauthorizedAccess"),
        (200, b"<html>", "no JSON"),
        (500, b"", "HTTP 500"),
    ],
)
async def test_a_container_that_gives_none_is_an_error(status: int, body: Any, said: str, tmp_path: Path) -> None:
    async with running(lambda _: (status, body)) as peer:
        with pytest.raises(AuthenticationError, match=said):
            await found(HOME=str(tmp_path), AWS_CONTAINER_CREDENTIALS_FULL_URI=peer.url, **NO_INSTANCE)


# ---------------------------------------------------------------- the instance


def instance(keys: Any, *, role: bytes = b"our-role") -> Any:
    def answer(asked: Asked) -> tuple[int, Any]:
        if asked.target == "/latest/api/token":
            is_right = asked.method == "PUT" and asked.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
            return (200, b"imds-token") if is_right else (400, b"")
        if asked.headers.get("x-aws-ec2-metadata-token") != "imds-token":
            return 401, b""
        if asked.target == "/latest/meta-data/iam/security-credentials/":
            return (200, role) if role else (404, b"")
        return 200, keys() if callable(keys) else keys

    return answer


async def test_an_instance_is_asked_in_the_second_version(tmp_path: Path) -> None:
    async with running(instance(role_keys)) as peer:
        credentials = await found(HOME=str(tmp_path), AWS_EC2_METADATA_SERVICE_ENDPOINT=peer.url)
        targets = [(asked.method, asked.target) for asked in peer.asked]
    assert credentials.access_key_id == "ASIAROLE"
    assert targets == [
        ("PUT", "/latest/api/token"),
        ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/our-role"),
    ]


async def test_an_instance_without_a_role_and_no_instance_are_both_absent(tmp_path: Path) -> None:
    async with running(instance(role_keys, role=b"")) as peer:
        with pytest.raises(ConfigError, match="the instance has no role"):
            await found(HOME=str(tmp_path), AWS_EC2_METADATA_SERVICE_ENDPOINT=peer.url)
    nowhere = f"http://127.0.0.1:{await closed_port()}"
    with pytest.raises(ConfigError, match="the instance"):
        await found(HOME=str(tmp_path), AWS_EC2_METADATA_SERVICE_ENDPOINT=nowhere)


# ---------------------------------------------------------------- kept, and replaced


async def test_credentials_are_fetched_once_for_all_who_wait(tmp_path: Path) -> None:
    async with running(instance(role_keys)) as peer:
        source = AwsCredentialSource(
            ProviderSettings(), {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": peer.url}
        )
        peer.release.clear()
        waiting = [asyncio.create_task(source.current()) for _ in range(10)]
        await asyncio.sleep(0)
        peer.release.set()
        first = await asyncio.gather(*waiting)
        assert len(peer.asked) == 3
        assert all(credentials is first[0] for credentials in first)
        assert await source.current() is first[0]
        source.forget()
        assert (await source.current()) is not first[0]
        assert len(peer.asked) == 6


async def test_credentials_are_replaced_before_they_end(tmp_path: Path) -> None:
    given = iter(["ASIAONE", "ASIATWO"])
    now = 1000.0
    async with running(instance(lambda: role_keys(3600, next(given)))) as peer:
        environ = {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": peer.url}
        source = AwsCredentialSource(ProviderSettings(), environ, clock=lambda: now)
        assert (await source.current()).access_key_id == "ASIAONE"
        now += 3000
        assert (await source.current()).access_key_id == "ASIAONE"
        assert len(peer.asked) == 3
        now += 450  # 150 seconds before the end: others are fetched behind the callers' back
        assert (await source.current()).access_key_id == "ASIAONE"
        while (await source.current()).access_key_id == "ASIAONE":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert (await source.current()).access_key_id == "ASIATWO"


# ---------------------------------------------------------------- requests


def request(url: str) -> HttpRequest:
    return HttpRequest(method="POST", url=parse_url(url), headers=(("content-type", "application/json"),), body=b"{}")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1"),
        ("bedrock.ap-southeast-2.amazonaws.com", "ap-southeast-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0a1b-x.bedrock-runtime.us-west-2.vpce.amazonaws.com", "us-west-2"),
        ("bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("gateway.corp.example", "sa-east-1"),
    ],
)
async def test_a_request_is_signed_for_the_region_of_its_address(host: str, region: str) -> None:
    authorizer = AwsAuthorizer(ProviderSettings(region="sa-east-1"), KEYS)
    headers = dict(await authorizer.headers(request(f"https://{host}/model/a.b%3A0/converse")))
    assert f"/{region}/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date" in headers["authorization"]


async def test_refused_credentials_are_fetched_anew_and_forbidden_ones_are_not(tmp_path: Path) -> None:
    async with running(instance(role_keys)) as peer:
        environ = {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": peer.url}
        authorizer = AwsAuthorizer(ProviderSettings(), environ)
        await authorizer.headers(request("https://h/"))
        authorizer.refused(PermissionDenied("no", code="AccessDeniedException"))
        await authorizer.headers(request("https://h/"))
        assert len(peer.asked) == 3
        authorizer.refused(AuthenticationError("expired", code="ExpiredTokenException"))
        headers = dict(await authorizer.headers(request("https://h/")))
        assert len(peer.asked) == 6
    assert headers["x-amz-security-token"] == "role-token"
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in str(headers["authorization"])
