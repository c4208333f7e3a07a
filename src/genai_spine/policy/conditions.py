"""Whether a route's target is meant for a request: its `when`, and what requests say about themselves.

A request carries metadata and tags in members that its dialect has for the caller's own use: OpenAI's and
Anthropic's `metadata`, of which `tags` is a list or a text with commas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from genai_spine.model.request import CompletionRequest
from genai_spine.settings.tree import Conditions


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about itself, beside what it asks."""

    metadata: Mapping[str, str] = {}
    tags: frozenset[str] = frozenset()


def traits_of(metadata: Mapping[str, Any], tags: Iterable[str] = ()) -> Traits:
    """Of a request's `metadata`, and of tags that came beside it."""
    given = metadata.get("tags")
    own = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else ()
    texts = {name: _text(value) for name, value in metadata.items() if isinstance(value, str | int | float | bool)}
    found = frozenset(tag.strip() for tag in (*tags, *own) if isinstance(tag, str) and tag.strip())
    return Traits(metadata=texts, tags=found)


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def metadata_of(request: CompletionRequest) -> dict[str, Any]:
    """The `metadata` member that a request was given, in whatever dialect it came."""
    found: dict[str, Any] = {}
    for raw in (request.extra or {}).values():
        try:
            members = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            continue
        metadata = members.get("metadata") if isinstance(members, dict) else None
        if isinstance(metadata, dict):
            found |= metadata
    return found


def unmet_condition(when: Conditions, traits: Callable[[], Traits], tokens: Callable[[], int]) -> str | None:
    """What of `when` does not hold; None where all of it does. Tokens are estimated only if they are asked for."""
    for name, value in when.metadata.items():
        if traits().metadata.get(name) != value:
            return f"metadata.{name} is not {value}"
    for tag in when.tags:
        if tag not in traits().tags:
            return f"without the tag {tag}"
    if when.min_tokens is not None and tokens() < when.min_tokens:
        return f"fewer than {when.min_tokens} tokens"
    if when.max_tokens is not None and tokens() > when.max_tokens:
        return f"more than {when.max_tokens} tokens"
    return None
