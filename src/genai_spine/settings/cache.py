"""The cache of answers: `[cache]`, part of the tree of tree.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from genai_spine.settings.prices import doc
from genai_spine.settings.values import Duration, Secret


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers that are given again to the same request, and cost nothing then."""

    url: Annotated[Secret | None, doc("`memory:`, `sqlite:///cache.db` or a Redis URL; none: nothing is cached.")] = (
        None
    )
    ttl: Annotated[Duration, doc("How old an answer may be that is given again.", gt=0)] = Duration(3600)
    max_mb: Annotated[
        float, doc("What memory (of each process) or the file may hold, in MB of a million bytes.", gt=0)
    ] = 100
    answers: Annotated[
        Literal["repeatable", "all"],
        doc("`repeatable`: requests with temperature 0, with a seed, or that ask to be cached; `all`: all."),
    ] = "repeatable"
    scope: Annotated[
        Literal["key", "all"], doc("Whose answers a caller may get: those of its own key, or everyone's.")
    ] = "key"
