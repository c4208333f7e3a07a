"""Who may call. Keys are kept as their SHA-256 and compared in constant time.

Every key is compared on every call, found or not, so that time says nothing about which one fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest

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

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises: NotAllowed."""
        if not self._digests:
            return
        presented = sha256(_presented(headers)).digest()
        allowed = False
        for digest in self._digests:
            allowed |= compare_digest(digest, presented)
        if not allowed:
            raise NotAllowed(
                "no valid key for this gateway: send one of its api_keys as "
                "`Authorization: Bearer <key>`, `x-api-key` or `x-goog-api-key`"
            )


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or b""


def _digest(key: str) -> bytes:
    prefix, _, digest = key.partition(":")
    return bytes.fromhex(digest) if prefix == "sha256" and digest else sha256(key.encode()).digest()
