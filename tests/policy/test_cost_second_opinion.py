"""The same usage blocks, priced by the package `genai-prices` from its own dated data: a second opinion.

Both know the same price lists, so this is about arithmetic: what is a part of what, tiers, dates. Where we differ on
purpose the row stands in DIFFERENCES, which is asserted both ways.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from test_cost_cases import CASES, DAY, Case

from genai_spine.catalog.rows import find_row
from genai_spine.policy.cost import cost_of

COMPARED = [case for case in CASES if not case.cost.startswith("reported")]

PROVIDERS = {"xai": "x-ai", "gemini": "google", "vertex": "google", "bedrock": "aws", "moonshot": "moonshotai"}

DIFFERENCES = {
    "code_interpreter_call": "a session of the interpreter costs something beside, and they leave it out",
    "advisor_message": "another model's tokens, at another price, and they leave them out",
    "compaction": "what compaction read and wrote stands in `iterations` alone, and they do not look there",
    "the service tier": "they take every service tier for the ordinary one unless told which it is",
    "what was read from the cache": "without a rate for it they charge the input's, and we know none",
    "what was written to the cache": "the same",
    "no rate for searches": "without a rate for it they leave it out, and the cost is too low",
    "per hour": "Voxtral's sound is charged by the second, which usage as they read it does not tell",
    "local": "what runs here costs nothing, and they know no price of it",
    "of which this one reads none": "what nobody counted costs nothing there, and is not known here",
    "cached beside": "more was cached than there was input: we take it to be beside, and they refuse such counts",
}
"""What is different on purpose, or by what is known: each is a word of a row's arithmetic, or of its place."""


def explained(case: Case) -> str | None:
    """The difference that a row is known for."""
    if find_row(case.row).local:  # type: ignore[union-attr]  # a case's row is one of ours
        return "local"
    if (case.counted.cache_read_tokens or 0) > (case.counted.input_tokens or 0):
        return "cached beside"
    details = case.counted.details
    if details is not None and details.apart is not None:
        return "compaction"
    return next((name for name in DIFFERENCES if name in case.cost), None)


def opinion(case: Case) -> Decimal | None:
    """What the package says; None where it knows no price."""
    usage, details = case.counted, case.counted.details
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "input_audio_tokens": usage.audio_input_tokens,
        "output_audio_tokens": usage.audio_output_tokens,
    }
    if details is not None:
        counts |= {
            "input_image_tokens": details.image_input_tokens,
            "output_image_tokens": details.image_output_tokens,
            "cache_audio_read_tokens": details.cached_audio_tokens,
            "input_video_tokens": details.video_input_tokens,
            "web_searches": details.searches,
            "storage_searches": details.file_searches,
        }
    known = {name: count for name, count in counts.items() if count}
    moment = datetime.combine(DAY, time(), UTC)
    try:
        return calc_price(
            Usage(**known),
            model_ref=case.model,
            provider_id=PROVIDERS.get(case.row, case.row),
            genai_request_timestamp=moment,
        ).total_price
    except (LookupError, ValueError):
        return None


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: f"{case.exchange}-{case.dialect}")
def test_two_reckon_alike_but_for_what_is_explained(case: Case) -> None:
    ours, theirs = cost_of(case.counted, case.price), opinion(case)
    if (why := explained(case)) is None:
        assert ours == theirs
    else:
        assert ours != theirs, f"no longer different: {why}"


def test_every_difference_of_the_table_is_there() -> None:
    assert {explained(case) for case in COMPARED} - {None} == DIFFERENCES.keys()
    assert sum(explained(case) is None and opinion(case) is not None for case in COMPARED) >= 100
