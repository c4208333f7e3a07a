"""A provider's safety settings, for requests that say nothing of a category.

    {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}

Source: ai.google.dev/gemini-api/docs/safety-settings (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from genai_spine.dialects.gemini.schema import DIALECT
from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.request import CompletionRequest


def with_safety(request: CompletionRequest, thresholds: Mapping[str, str]) -> CompletionRequest:
    """The request with a threshold for each category that it has none for."""
    if not thresholds:
        return request
    own = kept(request.extra, DIALECT)
    given = own.get("safetySettings")
    settings = list(given) if isinstance(given, list) else []
    named = {each.get("category") for each in settings if isinstance(each, dict)}
    settings += [
        {"category": category, "threshold": threshold}
        for category, threshold in thresholds.items()
        if category not in named
    ]
    extra = {**(request.extra or {}), **(keep(DIALECT, {**own, "safetySettings": settings}) or {})}
    return msgspec.structs.replace(request, extra=extra)
