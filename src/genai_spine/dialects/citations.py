"""What all dialects have in common that name the sources of a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genai_spine.dialects.lenient import text_of
from genai_spine.model.content import Citation


def citation_of(
    *,
    url: Any = None,
    title: Any = None,
    file_id: Any = None,
    cited_text: Any = None,
    start: Any = None,
    end: Any = None,
) -> Citation:
    """A citation of what a service said; what is no text, or no place, is left out.

    From 0 to 0 is how OpenRouter says that it knows no place.
    """
    has_place = type(start) is int and type(end) is int and 0 <= start < end
    return Citation(
        url=text_of(url),
        title=text_of(title),
        file_id=text_of(file_id),
        cited_text=text_of(cited_text),
        start=start if has_place else None,
        end=end if has_place else None,
    )


def named(citations: Iterable[Citation]) -> tuple[Citation, ...]:
    """Those that say what is cited."""
    return tuple(each for each in citations if each.url or each.title or each.file_id or each.cited_text)


def place_of(citation: Citation, length: int) -> tuple[int, int]:
    """Where in a text of this length; all of it where that is not known."""
    if citation.start is None or citation.end is None:
        return 0, length
    return citation.start, citation.end
