"""Whose model a name means: the end of an error about a model that is not where it was looked for."""

from __future__ import annotations

from genai_spine.catalog.cards import known_models, rows_knowing
from genai_spine.catalog.rows import find_row

_MOST = 3


def whose(name: str, *, not_of: str = "") -> str:
    """`; it seems to be a model of anthropic (ANTHROPIC_API_KEY)`, or nothing.

    By the provider's name before a slash, else by the lists of models. `not_of` is the row that does not have it: one
    whose own models are named with a slash is none whose callers have named another.
    """
    maker, slash, _ = name.partition("/")
    row = find_row(maker) if slash else None
    if row is None:
        found = rows_knowing(name)
    elif any("/" in model for model in known_models(not_of)):
        return ""
    else:
        found = (row.id,)
    rows = [row for id in found if (row := find_row(id)) is not None]
    if not rows or not_of in found:
        return ""
    rows.sort(key=lambda row: row.needs_base_url or row.is_cloud)  # a cloud that has it, too, comes last
    keys = [f"{row.id} ({row.key_variables[0]})" if row.key_variables and not row.local else row.id for row in rows]
    return f"; it seems to be a model of {' or '.join(keys[:_MOST])}"
