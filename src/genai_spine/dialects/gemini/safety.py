"""A provider's safety settings, for requests that say nothing of a category.

    {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}

Source: ai.google.dev/gemini-api/docs/safety-settings, and HarmCategory and HarmBlockThreshold in the schemas of
generativelanguage.googleapis.com v1beta and aiplatform.googleapis.com v1 (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from genai_spine.dialects.gemini.schema import DIALECT
from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.request import CompletionRequest

CATEGORIES = frozenset(
    f"HARM_CATEGORY_{name}"
    for name in (
        *("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY", "JAILBREAK"),
        *("IMAGE_HATE", "IMAGE_DANGEROUS_CONTENT", "IMAGE_HARASSMENT", "IMAGE_SEXUALLY_EXPLICIT"),
    )
)
THRESHOLDS = frozenset(
    (
        *("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"),
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    )
)


def unknown_words(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, frozenset[str]]]:
    """Of categories and their thresholds those that the schemas do not have, each with what they have. Both are sent
    all the same: Google may know more than this."""
    return [
        (word, known)
        for category, threshold in pairs
        for word, known in ((category, CATEGORIES), (threshold, THRESHOLDS))
        if word not in known
    ]


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
