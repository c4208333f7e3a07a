"""Sources of a text: its citations, each about the whole block.

    {"type": "web_search_result_location", "url": "https://…", "title": "…", "cited_text": "…", "encrypted_index": "…"}
    {"type": "search_result_location", "source": "https://…", "title": "…", "cited_text": "…",
     "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}
    {"type": "page_location", "document_index": 0, "document_title": "…", "file_id": null, "cited_text": "…", …}

Source: platform.claude.com/docs/en/build-with-claude/citations and …/search-results (2026-11).

What others cite is written as a search result: its source may be any name or address, and it needs no proof, as a web
search of Anthropic's own does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genai_spine.dialects.citations import citation_of, named
from genai_spine.model.content import Citation


def citations_of(citations: Any) -> tuple[Citation, ...]:
    if not isinstance(citations, list):
        return ()
    return named(
        citation_of(
            url=citation.get("url") or citation.get("source"),
            title=citation.get("title") or citation.get("document_title"),
            file_id=citation.get("file_id"),
            cited_text=citation.get("cited_text"),
        )
        for citation in citations
        if isinstance(citation, dict)
    )


def citations_written(citations: Iterable[Citation]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for citation in citations:
        source = citation.url or citation.file_id or citation.title or ""
        place = places.setdefault(source, len(places))
        written.append(
            {
                "type": "search_result_location",
                "source": source,
                "title": citation.title,
                "cited_text": citation.cited_text or "",
                "search_result_index": place,
                "start_block_index": 0,
                "end_block_index": 1,
            }
        )
    return written
