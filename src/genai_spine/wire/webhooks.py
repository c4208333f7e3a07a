"""Signatures of webhooks, as Standard Webhooks 1.0.0 has them: HMAC-SHA256 over `id.timestamp.body`.

    webhook-id: msg_5f3c09ab12de7741               the same, however often it is sent
    webhook-timestamp: 1795287667                  when this was sent, in seconds since 1970
    webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=

A secret is written `whsec_` and base64, of 24 to 64 bytes. Must not know: sockets, what a webhook is about.
Source (read 2026-11): github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
FEWEST_BYTES = 24
MOST_BYTES = 64


def key_of(secret: str) -> bytes:
    """The key in a secret, whose prefix may be missing. Raises: ValueError, which does not repeat it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("no base64: `openssl rand -base64 32` makes one") from None
    if not FEWEST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"{len(key)} bytes: it has {FEWEST_BYTES} to {MOST_BYTES}; `openssl rand -base64 32` makes one"
        )
    return key


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. An id holds no full stop."""
    signed = hmac.digest(key, b"%s.%d.%s" % (id.encode(), timestamp, body), hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()
