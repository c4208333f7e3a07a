"""What both ends share."""

from __future__ import annotations

from genai_spine.model.response import FinishReason

DIALECT = "openai_completions"

BARE = "prompt"
"""The member that is kept of every caller's request, so that who can continue a bare prompt is asked to; whoever
cannot says in a Notice what became of it."""
PROMPTS = "prompts"
"""The kind of an opaque part: several prompts, an empty one, or tokens, which no message can say."""

WRITTEN_FINISH: dict[FinishReason, str] = {
    FinishReason.LENGTH: "length",
    FinishReason.CONTENT_FILTER: "content_filter",
}
"""All others are `stop`: there are no more words for it here."""
