"""Credentials from the place where a program runs: of its container (ECS, EKS), or of its instance (EC2).

Both are asked over plain HTTP on the machine's own link, and never through a proxy. The instance's service is
asked in its second version only, with a token of its own (IMDSv2).

Must not know: requests to models. Sources (read 2026-11): docs.aws.amazon.com/sdkref/latest/guide/
{feature-container-credentials, feature-imds-credentials}.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from genai_spine.model.errors import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    ConfigError,
    InvalidRequest,
    ProviderTimeout,
)
from genai_spine.providers.access_tokens import Absent
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.proxies import NO_PROXIES
from genai_spine.providers.transport import HttpRequest, Timeouts
from genai_spine.wire.http import Headers, Url, parse_url
from genai_spine.wire.sigv4 import AwsCredentials

CONTAINER = "http://169.254.170.2"
INSTANCE = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}

_ROLES = "/latest/meta-data/iam/security-credentials/"
_CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})
_TIMEOUTS = Timeouts(connect_s=2, first_byte_s=5, idle_s=5, total_s=10)
# Outside of EC2 nobody answers there as a rule, and the wait is the caller's.
_PROBE = Timeouts(connect_s=1, first_byte_s=2, idle_s=2, total_s=5)
_LONGEST_ANSWER = 100_000


async def ask_container(environ: Mapping[str, str]) -> AwsCredentials:
    """Raises: Absent where no container service is named; ConfigError, AuthenticationError, the transport's errors."""
    relative, full = (environ.get(f"AWS_CONTAINER_CREDENTIALS_{kind}_URI") for kind in ("RELATIVE", "FULL"))
    if not relative and not full:
        raise Absent("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set")
    url = _container_url(CONTAINER + relative if relative else full or "")
    headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
    if token := _container_token(environ):
        headers = (*headers, ("authorization", token))
    status, body = await _ask("GET", url, headers, _TIMEOUTS)
    return _credentials_in(status, body, "the container's credentials")


def _container_url(text: str) -> Url:
    """Secrets come from there, so plain HTTP goes to this machine and to ECS's and EKS's own addresses only."""
    try:
        url = parse_url(text)
    except InvalidRequest as error:
        raise ConfigError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI: {error}") from None
    if url.scheme == "https" or url.host in _CONTAINER_HOSTS or _is_loopback(url.host):
        return url
    raise ConfigError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI: {url.host} is not this machine: use https")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _container_token(environ: Mapping[str, str]) -> str | None:
    """From the file, which is written anew as tokens end, else from the variable."""
    path = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if not path:
        return environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: {path}: {error.strerror}") from None


async def ask_instance(environ: Mapping[str, str]) -> AwsCredentials:
    """Raises: Absent where there is no such service, or no role; AuthenticationError, BadReply."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise Absent("AWS_EC2_METADATA_DISABLED is true")
    mode = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv4").lower()
    base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or INSTANCE.get(mode, INSTANCE["ipv4"])
    try:
        home = parse_url(base)
    except InvalidRequest as error:
        raise ConfigError(f"AWS_EC2_METADATA_SERVICE_ENDPOINT: {error}") from None
    try:
        lifetime = (("x-aws-ec2-metadata-token-ttl-seconds", "21600"),)
        status, token = await _ask("PUT", home.at("/latest/api/token"), lifetime, _PROBE)
        if status != 200:
            raise Absent(f"{home.authority} gives no token (HTTP {status})")
        headers = (("x-aws-ec2-metadata-token", token.decode("ascii", "replace").strip()),)
        status, role = await _ask("GET", home.at(_ROLES), headers, _PROBE)
    except (APIConnectionError, ProviderTimeout, BadReply) as error:
        raise Absent(str(error)) from None
    name = role.decode("ascii", "replace").strip().partition("\n")[0]
    if status != 200 or not name:
        raise Absent(f"the instance has no role (HTTP {status})")
    status, body = await _ask("GET", home.at(_ROLES + name), headers, _TIMEOUTS)
    return _credentials_in(status, body, f"the instance's role {name[:64]}")


async def _ask(method: str, url: Url, headers: Headers, timeouts: Timeouts) -> tuple[int, bytes]:
    transport = HttpTransport(proxies=NO_PROXIES)
    try:
        response = await transport.send(HttpRequest(method=method, url=url, headers=headers, timeouts=timeouts))
        return response.status, await response.read(_LONGEST_ANSWER)
    finally:
        await transport.close()


class _Answer(msgspec.Struct):
    AccessKeyId: str
    SecretAccessKey: str
    Token: str | None = None
    Expiration: datetime | None = None


_answer = msgspec.json.Decoder(_Answer)


def _credentials_in(status: int, body: bytes, source: str) -> AwsCredentials:
    """{"AccessKeyId", "SecretAccessKey", "Token", "Expiration": "2026-11-21T20:00:00Z"}; or a failure."""
    if status != 200:
        raise AuthenticationError(f"{source}: HTTP {status}: {_said(body)}")
    try:
        found = _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AuthenticationError(f"{source}: no credentials in the answer: {_said(body)}") from None
    expires = found.Expiration
    return AwsCredentials(
        access_key_id=found.AccessKeyId,
        secret_access_key=found.SecretAccessKey,
        session_token=found.Token,
        expires=expires.replace(tzinfo=expires.tzinfo or UTC) if expires is not None else None,
    )


def _said(body: bytes) -> str:
    """Why there are none, as the service says it; never what else is in the answer, which may be a secret."""
    try:
        members: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no JSON"
    if not isinstance(members, dict):
        return "no object"
    said = [members.get(name) for name in ("Code", "code", "Message", "message")]
    return ": ".join(text[:200] for text in said if isinstance(text, str)) or "no reason given"
