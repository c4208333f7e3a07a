"""What is on this machine, for `routing.local_only`.

A name that a resolver would have to look up is not believed, but for `localhost` (RFC 6761 §6.3).
"""

from __future__ import annotations

import ipaddress

_ELSEWHERE = ("-cloud", ":cloud")


def is_loopback(host: str) -> bool:
    """Whether a URL's host can only be this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def runs_elsewhere(model: str) -> bool:
    """Whether a local server only passes this model on: Ollama sends `gpt-oss:120b-cloud` to ollama.com.

    docs.ollama.com/cloud, 2026-11: the names of cloud models end so.
    """
    return model.lower().endswith(_ELSEWHERE)
