"""Which web pages may call: none, unless `server.cors` names them.

A browser says in `Origin` on whose behalf it asks, and sends a POST before it asks whether it may. A gateway
without keys stands open to every page that its user visits, so there a foreign origin is refused before anything
is spent. A page whose own name is bound anew to 127.0.0.1 asks as of the same origin, and a GET without `Origin`;
but its name stands in `Host`, and a public one is refused there, too. With keys, a page would have to know one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from genai_spine.gateway.request import HeaderList, header_value
from genai_spine.model.errors import InvalidRequest

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_INSTALLED = ("app", "tauri", "vscode-file", "vscode-webview")
"""Schemes of programs on this machine, as Ollama lets them in (docs.ollama.com/faq, 2026-11)."""
_PRIVATE = frozenset(
    {
        *("localhost", "local", "test"),  # RFC 6761 §6.2, §6.3; RFC 6762 §3
        *("internal", "intranet", "private", "corp", "home", "lan"),  # RFC 6762, appendix G
    }
)
"""The last labels of names that no registry sells: host.docker.internal, printer.local."""
_METHODS = b"GET, POST, DELETE, OPTIONS"
_EXPOSED = (
    b"x-request-id, retry-after, x-should-retry, x-spine-provider, x-spine-model, x-spine-attempts, "
    b"x-spine-cost-usd, x-spine-notices, x-spine-cache, age, idempotent-replayed, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens"
)


class Origins:
    """`is_open`: callers need no key. `host` is what the gateway listens on."""

    def __init__(self, allowed: Iterable[str], *, is_open: bool, host: str = "") -> None:
        self.allowed = frozenset(origin.encode() for origin in allowed)
        self.is_open = is_open
        self._hosts = {host.lower(), *(urlsplit(origin.decode()).hostname for origin in self.allowed)}

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """What a gateway without keys asks of every call. Raises: InvalidRequest with status 403."""
        origin = headers.get(b"origin")
        if origin is not None and not self._allows(origin) and not _is_local(origin):
            raise InvalidRequest(
                "this gateway has no keys and takes no calls from other sites' pages: set server.api_keys, "
                "or name the page's origin in server.cors",
                status_code=403,
                code="origin_not_allowed",
            )
        name = _public_name(headers.get(b"host", b""))
        if name is not None and name not in self._hosts and b"*" not in self.allowed:
            raise InvalidRequest(
                f"this gateway has no keys and does not answer to the name {name[:100]}, which anyone may have bound "
                f"to its address: set server.api_keys, or add https://{name[:100]} to server.cors",
                status_code=403,
                code="host_not_allowed",
            )

    def headers(self, headers: Mapping[bytes, bytes]) -> HeaderList:
        """What lets a page of an allowed origin read the answer; never with credentials, which are not used."""
        origin = headers.get(b"origin")
        if origin is None or not self._allows(origin):
            return []
        return [
            (b"access-control-allow-origin", header_value(origin.decode("latin-1"))),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]

    def preflight_headers(self, headers: Mapping[bytes, bytes]) -> HeaderList:
        """The answer to "may I?", beside `headers`."""
        if not self._allows(headers.get(b"origin", b"")):
            return []
        wanted = headers.get(b"access-control-request-headers", b"authorization, content-type")
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", header_value(wanted.decode("latin-1"))),
            (b"access-control-max-age", b"600"),
        ]

    def _allows(self, origin: bytes) -> bool:
        return origin in self.allowed or b"*" in self.allowed


@lru_cache(100)
def _public_name(host: bytes) -> str | None:
    """The name in a Host header, if it is one that can be had on the internet: with a dot, and no address."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):  # an IPv6 address
        return None
    name = name.partition(":")[0].removesuffix(".")
    _, dot, last = name.rpartition(".")
    is_ours = not dot or last.isdigit() or last in _PRIVATE or name.endswith(".home.arpa")  # RFC 8375
    return None if is_ours else name


def _is_local(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("latin-1"))
        return parts.hostname in _LOOPBACK or parts.scheme in _INSTALLED
    except ValueError:
        return False
