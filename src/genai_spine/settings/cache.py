"""The cache of answers: `[cache]`, part of the tree of tree.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from genai_spine.settings.prices import doc
from genai_spine.settings.values import Duration, Secret


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers that are given again to the same request, and cost nothing then."""

    url: Annotated[
        Secret | None, doc("`memory:`, `sqlite:///cache.db` or a Redis URL; without one, nothing is cached.")
    ] = None
    ttl: Annotated[Duration, doc("Greatest age of a cached answer.", gt=0)] = Duration(3600)
    max_mb: Annotated[float, doc("Size limit of the memory (per process) or file, in MB (a million bytes).", gt=0)] = (
        100
    )
    answers: Annotated[
        Literal["repeatable", "all"],
        doc("What to cache: `repeatable`, requests with temperature 0, with a seed, or that ask for it; or `all`."),
    ] = "repeatable"
    scope: Annotated[
        Literal["key", "all"], doc("Whose cached answers a caller may get: its own key's, or everyone's.")
    ] = "key"
