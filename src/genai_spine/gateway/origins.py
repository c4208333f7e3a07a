"""Which web pages may call: none, unless `server.cors` names them.

A browser says in `Origin` on whose behalf it asks, and sends a POST before it asks whether it may. A gateway
without keys stands open to every page that its user visits (and to names that are bound anew to 127.0.0.1),
so there a foreign origin is refused before anything is spent. With keys, a page would have to know one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from genai_spine.gateway.request import HeaderList, header_value
from genai_spine.model.errors import InvalidRequest

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_INSTALLED = ("app", "tauri", "vscode-file", "vscode-webview")
"""Schemes of programs on this machine, as Ollama lets them in (docs.ollama.com/faq, 2026-11)."""
_METHODS = b"GET, POST, OPTIONS"
_EXPOSED = (
    b"x-request-id, retry-after, x-should-retry, x-spine-provider, x-spine-model, x-spine-attempts, "
    b"x-spine-cost-usd, x-spine-notices"
)


class Origins:
    """`is_open`: callers need no key."""

    def __init__(self, allowed: Iterable[str], *, is_open: bool) -> None:
        self.allowed = frozenset(origin.encode() for origin in allowed)
        self._is_open = is_open

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises: InvalidRequest with status 403."""
        origin = headers.get(b"origin")
        if origin is None or not self._is_open or self._allows(origin) or _is_local(origin):
            return
        raise InvalidRequest(
            "this gateway has no keys and takes no calls from other sites' pages: set server.api_keys, "
            "or name the page's origin in server.cors",
            status_code=403,
            code="origin_not_allowed",
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


def _is_local(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("latin-1"))
        return parts.hostname in _LOOPBACK or parts.scheme in _INSTALLED
    except ValueError:
        return False
