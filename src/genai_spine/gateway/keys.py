"""Who may call, and what it is called: the name of `[server.keys.NAME]`, or one made of the key's SHA-256.

Keys are kept as their SHA-256 and compared in constant time. Every key is compared on every call, found or not, so
that time says nothing about which one fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qs

from genai_spine.gateway.request import Request
from genai_spine.model.errors import ErrorType, SpineError
from genai_spine.settings import Secret, ServerSettings
from genai_spine.settings.caller_keys import digest_of


class NotAllowed(SpineError):
    """A caller without a key of ours, or with none at all: the same words for both."""

    type = ErrorType.AUTHENTICATION
    fault = "caller"
    status_code = 401
    code = "invalid_api_key"


class Keys:
    """The keys of one gateway; without any, everyone may call (the server then listens on loopback only)."""

    __slots__ = ("_callers", "named")

    def __init__(self, keys: Iterable[Secret] = (), named: Mapping[str, Secret] | None = None) -> None:
        # An empty key is none: a caller without one would present it.
        plain = [digest_of(key) for key in keys if key]
        own = {digest_of(key): name for name, key in (named or {}).items() if key}
        self._callers = tuple({**{digest: digest[:8].hex() for digest in plain}, **own}.items())
        self.named = frozenset(own.values())
        """The names of those that have one; they see their own calls and streams, and no others."""

    @classmethod
    def of(cls, server: ServerSettings) -> Keys:
        return cls(server.api_keys, {name: named.key for name, named in server.keys.items()})

    def __bool__(self) -> bool:
        return bool(self._callers)

    def check(self, headers: Mapping[bytes, bytes], query: bytes = b"") -> str | None:
        """Who calls: the name of its key, or one that does not give it away; None where there are no keys.

        `query` is that of a caller who may send the key in it, as Google's may. Raises: NotAllowed.
        """
        if not self._callers:
            return None
        presented = sha256(_presented(headers) or _queried(query)).digest()
        caller = None
        for digest, name in self._callers:
            if compare_digest(digest, presented):
                caller = name
        if caller is None:
            raise NotAllowed(
                "no valid key for this gateway: send one of its api_keys as "
                "`Authorization: Bearer <key>`, `x-api-key`, `api-key` or `x-goog-api-key`"
            )
        return caller


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"api-key") or headers.get(b"x-goog-api-key") or b""


def _queried(query: bytes) -> bytes:
    """`?key=…`, beside `alt=sse`."""
    given = parse_qs(query.decode("latin-1")).get("key", [""])
    return given[0].encode("latin-1", "replace")


def is_google(request: Request) -> bool:
    """Whether a caller speaks as Google's clients do: by its path, or, where three services have the same one, by
    the headers that only they send (google-genai 3.4, recorded 2026-11)."""
    if request.path.startswith("/v1beta/"):
        return True
    by_headers = b"x-goog-api-client" in request.headers or b"x-goog-api-key" in request.headers
    is_method = request.method == "POST" and request.path.startswith("/v1/models/")
    return is_method or (by_headers and request.path.startswith("/v1/models"))
