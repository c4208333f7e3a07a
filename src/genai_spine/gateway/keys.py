"""Who may call. Keys are kept as their SHA-256 and compared in constant time.

Every key is compared on every call, found or not, so that time says nothing about which one fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qs

from genai_spine.gateway.request import Request
from genai_spine.model.errors import ErrorType, SpineError
from genai_spine.settings import Secret


class NotAllowed(SpineError):
    """A caller without a key of ours, or with none at all: the same words for both."""

    type = ErrorType.AUTHENTICATION
    fault = "caller"
    status_code = 401
    code = "invalid_api_key"


class Keys:
    """The keys of one gateway; without any, everyone may call (the server then listens on loopback only)."""

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[Secret]) -> None:
        # An empty key is none: a caller without one would present it.
        self._digests = tuple(_digest(text) for key in keys if (text := key.reveal()))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, headers: Mapping[bytes, bytes], query: bytes = b"") -> str | None:
        """Who calls: a name for its key that does not give it away; None where there are no keys.

        `query` is that of a caller who may send the key in it, as Google's may. Raises: NotAllowed.
        """
        if not self._digests:
            return None
        presented = sha256(_presented(headers) or _queried(query)).digest()
        allowed = False
        for digest in self._digests:
            allowed |= compare_digest(digest, presented)
        if not allowed:
            raise NotAllowed(
                "no valid key for this gateway: send one of its api_keys as "
                "`Authorization: Bearer <key>`, `x-api-key` or `x-goog-api-key`"
            )
        return presented[:8].hex()


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or b""


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


def _digest(key: str) -> bytes:
    prefix, _, digest = key.partition(":")
    return bytes.fromhex(digest) if prefix == "sha256" and digest else sha256(key.encode()).digest()
