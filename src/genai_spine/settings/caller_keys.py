"""Callers' keys: what may be wrong with `server.api_keys` and `[server.keys.NAME]`.

A key stands in the settings as it is, or as `sha256:` and the SHA-256 of it; what tells keys apart is that digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256

from genai_spine.settings.explain import Path, Problem
from genai_spine.settings.tree import Settings
from genai_spine.settings.values import Secret

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASHED = re.compile(r"[0-9a-f]{16}")
"""How a key without a name is called in ledger and limits: no other may be called so."""
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def digest_of(key: Secret) -> bytes:
    """Raises: ValueError for a `sha256:` that is none."""
    prefix, _, digest = key.reveal().partition(":")
    return bytes.fromhex(digest) if prefix == "sha256" and digest else sha256(key.reveal().encode()).digest()


def key_problems(settings: Settings) -> Iterator[Problem]:
    """Keys that are none, names that cannot be, and a key that stands twice."""
    server = settings.server
    keys: list[tuple[Path, Secret]] = [
        (("server", "api_keys", index), key) for index, key in enumerate(server.api_keys)
    ]
    for name, named in server.keys.items():
        path: Path = ("server", "keys", name)
        keys.append(((*path, "key"), named.key))
        if not _NAME.fullmatch(name):
            yield Problem(path, "a name is of letters, digits and . _ @ -, 64 at most")
        elif _HASHED.fullmatch(name):
            yield Problem(path, "16 hexadecimal digits are what keys without a name are called: take another name")
    seen: dict[bytes, str] = {}
    for path, key in keys:
        if (why := _no_key(key)) is not None:
            yield Problem(path, why)
            continue
        other = seen.setdefault(digest_of(key), ".".join(map(str, path)))
        if other != ".".join(map(str, path)) and path[1] == "keys":
            yield Problem(path, f"the same key as {other}: whose call would it be?")


def _no_key(key: Secret) -> str | None:
    text = key.reveal()
    if text.startswith("sha256:") and not _SHA256.fullmatch(text.removeprefix("sha256:")):
        return "sha256: needs 64 hexadecimal digits behind it"
    return None if text.strip() else "an empty key would let everyone in"


def idle_patterns(settings: Settings) -> Iterator[str]:
    """Warnings of patterns that fit no route, agent or provider that is configured."""
    names = [*settings.routes, *(f"agent:{id}" for id in settings.agents)]
    for caller, key in settings.server.keys.items():
        for pattern in key.models:
            provider, slash, _ = pattern.partition("/")
            known = list(settings.providers) if slash else [*names, *(f"{id}/" for id in settings.providers)]
            asked = provider if slash else pattern
            if not any(fnmatchcase(name, asked) for name in known):
                mend = "write provider/model, provider/* or a route's name"
                yield f'server.keys.{caller}.models: "{pattern}" fits nothing that is configured: {mend}'
