"""Sources of an answer: annotations of its message, and Perplexity's list beside it.

    {"type": "url_citation", "url_citation": {"url": "https://…", "title": "…", "start_index": 0, "end_index": 12}}

The indexes are places in the message's content (platform.openai.com/docs/guides/tools-web-search, 2026-11). OpenRouter
adds `content`, the words of the page, and says 0 and 0 for the indexes where it knows none (recorded 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genai_spine.dialects.citations import citation_of, named, place_of
from genai_spine.model.content import Citation


def citations_of(annotations: Iterable[Any]) -> tuple[Citation, ...]:
    """Of those that name a page; others, such as OpenRouter's parsed files, are no sources."""
    found: list[Citation] = []
    for annotation in annotations:
        if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
            continue
        if isinstance(inner := annotation.get("url_citation", annotation), dict):
            place = {"start": inner.get("start_index"), "end": inner.get("end_index")}
            words = inner.get("content")
            found.append(citation_of(url=inner.get("url"), title=inner.get("title"), cited_text=words, **place))
    return named(found)


def searched(answer: Mapping[str, Any]) -> tuple[Citation, ...]:
    """The pages that Perplexity lists beside an answer: the text says [1] for the first of them.

    {"search_results": [{"title": "…", "url": "https://…", "snippet": "…"}], "citations": ["https://…"]}
    """
    results = answer.get("search_results")
    if not isinstance(results, list):
        results = []
    found = [
        citation_of(url=result.get("url"), title=result.get("title"), cited_text=result.get("snippet"))
        for result in results
        if isinstance(result, dict)
    ]
    if not found and isinstance(urls := answer.get("citations"), list):
        found = [citation_of(url=url) for url in urls]
    return tuple(citation for citation in found if citation.url is not None)


def annotations_written(citations: Iterable[Citation], *, before: int, length: int) -> list[dict[str, Any]]:
    """Annotations for those that have a page. Of the text that is cited: how long it is, and what is `before` it."""
    written: list[dict[str, Any]] = []
    for citation in citations:
        if citation.url is None:
            continue
        start, end = place_of(citation, length)
        page: dict[str, Any] = {"url": citation.url, "title": citation.title or citation.url}
        page |= {"start_index": before + start, "end_index": before + end}
        if citation.cited_text is not None:
            page["content"] = citation.cited_text
        written.append({"type": "url_citation", "url_citation": page})
    return written
