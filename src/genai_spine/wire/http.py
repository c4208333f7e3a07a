"""What of HTTP/1.1 can be said without a socket: where a request goes, and how its head is written.

A `Url` is read once, when a provider's row is read; a head is encoded once for each different
(method, url, headers) and then taken from a small cache, since a gateway sends the same few
thousands of times per second. Nothing of a caller's can break the framing: names, values and
targets are checked before one byte leaves (FAULTS 43).

Must not know: sockets, connections, providers, the meaning of any body.
Sources (read 2026-11): RFC 9110 §5.1 and §5.5 (field names and values), §7.2 (Host), RFC 9112 §3.2
(request target), §6 (framing), RFC 3986 §3.2 (authority).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from genai_spine.model.errors import InvalidRequest

Headers = tuple[tuple[str | bytes, str | bytes], ...]
"""Fields in the order in which they are sent. Text is written as UTF-8; ASCII is what travels safely."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FIELD_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")  # no CR, LF, NUL or other control but TAB
_TARGET = re.compile(r"/[\x21-\x22\x24-\x7e]*")  # visible ASCII without "#"
_HOST = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.%]+\]")

# The transport frames the message and keeps the connection; a caller who sets these could smuggle.
_FRAMING = frozenset(
    (b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade")
)  # fmt: skip
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


class Url(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """Where a request goes. `host` is without brackets, `target` is path and query, never empty."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str = "/"

    @property
    def authority(self) -> str:
        """What `Host` says (RFC 9110 §7.2): the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def peer(self) -> str:
        """`host:port`, as error messages name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, path: str) -> Url:
        """The same place, `path` added to the target's path; a query in the base stays behind it.

        parse_url("https://api.example/v1").at("/chat/completions").target == "/v1/chat/completions"
        """
        base, mark, query = self.target.partition("?")
        joined = f"{base.rstrip('/')}/{path.lstrip('/')}"
        if mark:
            joined += ("&" if "?" in joined else "?") + query
        return Url(scheme=self.scheme, host=self.host, port=self.port, target=joined)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Read an absolute http or https URL; a fragment is dropped, names beyond ASCII become IDNA.

    Raises: InvalidRequest for any other scheme, a missing or malformed host or port, a user or
    password inside the URL, and for spaces, controls or non-ASCII in path and query.
    """
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidRequest(f"not a URL: {error}", param="url") from None
    if scheme not in DEFAULT_PORTS:
        raise InvalidRequest(f"not an http or https URL: scheme {scheme[:20]!r}", param="url")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("a URL must not carry a user or a password", param="url")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise InvalidRequest(f"not a host name: {host[:80]!r}", param="url") from None
    if not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        raise InvalidRequest(f"not a host name: {host[:80]!r}", param="url")
    # urlsplit drops CR, LF and TAB in silence; that is not ours to mend.
    if any(c in text for c in "\r\n\t\0"):
        raise InvalidRequest("a URL must not hold control characters", param="url")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    check_target(target)
    return Url(
        scheme="https" if scheme == "https" else "http",
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        target=target,
    )


def check_target(target: str) -> None:
    """Raises: InvalidRequest unless `target` is an origin-form (RFC 9112 §3.2.1), ready to be sent."""
    if not _TARGET.fullmatch(target):
        raise InvalidRequest("a request target is '/' and visible ASCII, percent-encoded", param="url")


def encode_headers(headers: Headers) -> bytes:
    """The field lines, each with its CRLF.

    Raises: InvalidRequest for a name that is no token, a value with CR, LF, NUL or another control
    character, and for the fields that frame a message, which are the transport's. The message has
    the name, never the value: values are secrets.
    """
    lines = []
    for raw_name, raw_value in headers:
        name = raw_name.encode() if isinstance(raw_name, str) else raw_name
        value = raw_value.encode() if isinstance(raw_value, str) else raw_value
        if not _TOKEN.fullmatch(name):
            raise InvalidRequest(f"not a header name: {name[:40]!r}", param="headers")
        if not _FIELD_VALUE.fullmatch(value):
            raise InvalidRequest(f"header {name.decode()!r} has a control character in its value", param="headers")
        if name.lower() in _FRAMING:
            raise InvalidRequest(f"header {name.decode()!r} is written by the transport", param="headers")
        lines.append(b"%s: %s\r\n" % (name, value.strip(b" \t")))
    return b"".join(lines)


@lru_cache(maxsize=512)
def encode_head(method: str, url: Url, headers: Headers, absolute: bool = False) -> bytes:
    """Request line and fields, still open: `finish_head` adds the length and the empty line.

        POST /v1/chat/completions HTTP/1.1\\r\\nhost: api.example\\r\\nauthorization: …\\r\\n

    `host` is added unless given. `accept-encoding: identity` is added unless given, since a stream
    of small events costs more to unpack than to read (RFC 9110 §12.5.3). `absolute` writes the
    target in absolute-form, for a plain proxy (RFC 9112 §3.2.2).

    Cached by value, so a provider's headers are checked once. Secrets in them stay in memory as
    long as the process's configuration does. Raises: InvalidRequest.
    """
    if not re.fullmatch(r"[A-Z]{1,20}", method) or method == "CONNECT":
        raise InvalidRequest(f"not a method: {method[:20]!r}", param="method")
    check_target(url.target)
    target = f"{url.scheme}://{url.authority}{url.target}" if absolute else url.target
    names = {name.lower() if isinstance(name, bytes) else name.lower().encode() for name, _ in headers}
    head = f"{method} {target} HTTP/1.1\r\n".encode()
    if b"host" not in names:
        head += f"host: {url.authority}\r\n".encode()
    head += encode_headers(headers)
    if b"accept-encoding" not in names:
        head += b"accept-encoding: identity\r\n"
    return head


def finish_head(head: bytes, method: str, length: int) -> bytes:
    """The whole head (RFC 9112 §6.2): a POST without a body says so, a GET without one says nothing."""
    if length or method in _WITH_BODY:
        return b"%scontent-length: %d\r\n\r\n" % (head, length)
    return head + b"\r\n"
