"""Keeping what the model has no name for.

A reader gives `keep` the members that it did not understand; a writer of the same dialect puts them
back with `extend`. Nothing of another dialect is ever written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from genai_spine.model.content import Metadata


def unknown(members: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The members that are not known and not null."""
    return {key: value for key, value in members.items() if key not in known and value is not None}


def keep(dialect: str, members: Mapping[str, Any]) -> Metadata | None:
    """The members as metadata of this dialect; None where there are none."""
    return {dialect: msgspec.Raw(msgspec.json.encode(members))} if members else None


def kept(metadata: Metadata | None, dialect: str) -> dict[str, Any]:
    """What `keep` kept for this dialect, as values."""
    if metadata is None or (raw := metadata.get(dialect)) is None:
        return {}
    members: dict[str, Any] = msgspec.json.decode(raw)
    return members


def extend(written: dict[str, Any], metadata: Metadata | None, dialect: str) -> dict[str, Any]:
    """`written` with the kept members of this dialect added; members already written win."""
    if metadata is not None and dialect in metadata:
        _add(written, kept(metadata, dialect))
    return written


def _add(written: dict[str, Any], members: Mapping[str, Any]) -> None:
    for key, value in members.items():
        present = written.get(key)
        if present is None:
            written[key] = value
        elif isinstance(present, dict) and isinstance(value, dict):
            _add(present, value)
