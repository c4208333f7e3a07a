"""Sources of a text: annotations of its content part.

    {"type": "url_citation", "url": "https://…", "title": "…", "start_index": 340, "end_index": 449}
    {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 154}
    {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1", "filename": "a.png",
     "start_index": 91, "end_index": 132}

Source: the service's published schema (2026-11). The indexes are places in the text; xAI leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genai_spine.dialects.citations import citation_of, named, place_of
from genai_spine.model.content import Citation

_KINDS = ("url_citation", "file_citation", "container_file_citation")


def citations_of(annotations: Any) -> tuple[Citation, ...]:
    if not isinstance(annotations, list):
        return ()
    return named(
        citation_of(
            url=annotation.get("url"),
            title=annotation.get("title") or annotation.get("filename"),
            file_id=annotation.get("file_id"),
            start=annotation.get("start_index"),
            end=annotation.get("end_index"),
        )
        for annotation in annotations
        if isinstance(annotation, dict) and annotation.get("type") in _KINDS
    )


def annotations_written(citations: Iterable[Citation], length: int) -> list[dict[str, Any]]:
    """Annotations for those that have a page, or a file."""
    written: list[dict[str, Any]] = []
    for citation in citations:
        start, end = place_of(citation, length)
        name = citation.title or citation.url or citation.file_id
        if citation.url is not None:
            place = {"start_index": start, "end_index": end}
            written.append({"type": "url_citation", "url": citation.url, "title": name, **place})
        elif citation.file_id is not None:
            written.append({"type": "file_citation", "file_id": citation.file_id, "filename": name, "index": end})
    return written
