"""AWS Signature Version 4: the headers that sign a request. A pure function: the clock and the keys are given.

Paths are encoded once more than they are sent, as all services but S3 want it: `/model/a%3A0` is signed as
`/model/a%253A0`. All headers given are signed, but those that proxies change; the body is signed by its hash.

Must not know: where credentials come from, services, sockets. Source (read 2026-11):
docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

import msgspec

from genai_spine.wire.http import Headers, Url

_ALGORITHM = "AWS4-HMAC-SHA256"

# What is between us and the service may change these: they are not signed.
_UNSIGNED = frozenset(
    ("authorization", "baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
     "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id")
)  # fmt: skip


class AwsCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key; temporary ones have a session token, and end."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"AwsCredentials({self.access_key_id[:4]}…)"


def sign(
    method: str,
    url: Url,
    headers: Headers,
    body: bytes,
    *,
    credentials: AwsCredentials,
    region: str,
    service: str,
    now: datetime,
) -> Headers:
    """The headers to add to the request: `x-amz-date`, `authorization`, and the session token where there is one.

    `headers` are those that will be sent beside them; none of them may be changed on the way. `now` is aware.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    date, token = stamp[:8], credentials.session_token
    before, after, names = _canonical_request(method, url, headers, token)
    canonical = f"{before}{stamp}{after}{sha256(body).hexdigest()}"
    scope = f"{date}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(credentials.secret_access_key, date, region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={credentials.access_key_id}/{scope}"
    authorization = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    session = (("x-amz-security-token", token),) if token is not None else ()
    return (("x-amz-date", stamp), *session, ("authorization", authorization))


@lru_cache(maxsize=32)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """It is good for a day, and half of a signature's cost."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=128)
def _canonical_request(method: str, url: Url, headers: Headers, session_token: str | None) -> tuple[str, str, str]:
    """The request in the one form that both sides hash: what stands before and after the value of `x-amz-date`, the
    body's hash left out at the end; and the names of the headers in it. The same from one call to the next."""
    signed: dict[str, list[str]] = {}
    for name, value in _as_text(headers):
        if name not in _UNSIGNED:
            signed.setdefault(name, []).append(" ".join(value.split()))
    signed.setdefault("host", [url.authority])
    signed["x-amz-date"] = [""]
    if session_token is not None:
        signed["x-amz-security-token"] = [" ".join(session_token.split())]
    names = sorted(signed)
    place = names.index("x-amz-date") + 1
    path, _, query = url.target.partition("?")
    lines = [method.upper(), quote(_without_dots(path), safe="/~"), _canonical_query(query)]
    lines += [f"{name}:{','.join(signed[name])}" for name in names]
    rest = [*lines[3 + place :], "", ";".join(names), ""]
    return "\n".join(lines[: 3 + place]), "\n".join(["", *rest]), ";".join(names)


def _canonical_query(query: str) -> str:
    """Pairs in order of their encoded names and values; a name alone has an empty value."""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&")) if query else []
    return "&".join(f"{name}={value}" for name, value in pairs)


def _without_dots(path: str) -> str:
    """The path without `.`, `..` and empty segments (RFC 3986 §5.2.4)."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")


def _as_text(headers: Headers) -> list[tuple[str, str]]:
    def text(value: str | bytes) -> str:
        return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")

    return [(text(name).lower(), text(value)) for name, value in headers]
