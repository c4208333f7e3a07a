"""Sources of an answer: what a candidate says of its grounding, and which known texts it repeats.

    "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://…", "title": "…"}}],
     "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 35, "text": "…"}, "groundingChunkIndices": [0]}]}
    "citationMetadata": {"citationSources": [{"startIndex": 0, "endIndex": 35, "uri": "https://…"}]}

Source: ai.google.dev/api/generate-content#GroundingMetadata and #CitationMetadata (2026-11). The indexes count bytes.
What is grounded is the last text of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from genai_spine.dialects.citations import citation_of, named, place_of
from genai_spine.dialects.gemini.schema import DIALECT
from genai_spine.dialects.lenient import object_of
from genai_spine.model.content import Citation, Part, Text

_CHUNKS = ("web", "retrievedContext", "maps", "image")


def is_grounded(candidate: Mapping[str, Any]) -> bool:
    return "groundingMetadata" in candidate or "citationMetadata" in candidate


def citations_of(candidate: Mapping[str, Any], text: str) -> tuple[Citation, ...]:
    """Those of this text: by segment, and then the sources of no segment."""
    encoded = text.encode(errors="surrogatepass")
    grounding = object_of(candidate.get("groundingMetadata"))
    chunks = [_source_of(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
    found: list[Citation] = []
    cited: set[int] = set()
    for support in _objects(grounding.get("groundingSupports")):
        indices = support.get("groundingChunkIndices")
        for index in indices if isinstance(indices, list) else ():
            if type(index) is int and 0 <= index < len(chunks):
                cited.add(index)
                found.append(_placed(chunks[index], object_of(support.get("segment")), encoded))
    found += [chunk for index, chunk in enumerate(chunks) if index not in cited]
    repeated = object_of(candidate.get("citationMetadata"))
    for source in _objects(repeated.get("citationSources") or repeated.get("citations")):
        found.append(_placed(citation_of(url=source.get("uri"), title=source.get("title")), source, encoded))
    return named(found)


def grounded(parts: Sequence[Part], candidate: Mapping[str, Any]) -> list[Part]:
    """The parts of a plain answer, the last text with its citations."""
    found = list(parts)
    if is_grounded(candidate):
        for index in reversed(range(len(found))):
            part = found[index]
            if isinstance(part, Text) and part.text:
                found[index] = msgspec.structs.replace(part, citations=citations_of(candidate, part.text))
                break
    return found


def grounding_written(texts: Sequence[Text]) -> dict[str, Any]:
    """{"groundingMetadata": {…}} for a candidate whose texts have citations, which here are of all texts together."""
    chunks: dict[str, tuple[int, dict[str, Any]]] = {}
    supports: list[dict[str, Any]] = []
    before = 0
    for text in texts:
        for citation in text.citations:
            chunk = _chunk_of(citation)
            index, _ = chunks.setdefault(msgspec.json.encode(chunk).decode(), (len(chunks), chunk))
            start, end = place_of(citation, len(text.text))
            if segment := text.text[start:end]:
                first = before + len(text.text[:start].encode(errors="surrogatepass"))
                last = first + len(segment.encode(errors="surrogatepass"))
                place = {"startIndex": first, "endIndex": last, "text": segment}
                supports.append({"segment": place, "groundingChunkIndices": [index]})
        before += len(text.text.encode(errors="surrogatepass"))
    if not chunks:
        return {}
    return {
        "groundingMetadata": {
            "groundingChunks": [chunk for _, chunk in chunks.values()],
            "groundingSupports": supports,
        }
    }


def texts_joined(parts: Sequence[Part]) -> list[Part]:
    """Of an answer with citations: texts in a row as one, which is how the indexes count. Other answers as they are."""
    if not any(isinstance(part, Text) and part.citations for part in parts):
        return list(parts)
    found: list[Part] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, Text) and not _has_own(part)):
        each = list(group)
        if is_text:
            found.append(Text(text="".join(part.text for part in each if isinstance(part, Text))))
        else:
            found += each
    return found


def _has_own(part: Part) -> bool:
    return part.provider_metadata is not None and DIALECT in part.provider_metadata


def _source_of(chunk: Mapping[str, Any]) -> Citation:
    for kind in _CHUNKS:
        if isinstance(source := chunk.get(kind), dict):
            url = source.get("uri") or source.get("sourceUri")
            return citation_of(url=url, title=source.get("title"), cited_text=source.get("text"))
    return Citation()


def _chunk_of(citation: Citation) -> dict[str, Any]:
    name = citation.title or citation.file_id
    if citation.url is None:
        return {"retrievedContext": {"title": name or "", "text": citation.cited_text or ""}}
    return {"web": {"uri": citation.url, "title": name or citation.url}}


def _placed(citation: Citation, segment: Mapping[str, Any], text: bytes) -> Citation:
    """The citation at its place among the letters, where the text has the segment's words there, if it says them."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        return citation
    words = text[start:end].decode(errors="replace")
    if segment.get("text") not in (None, words):
        return citation
    first = len(text[:start].decode(errors="replace"))
    return msgspec.structs.replace(citation, start=first, end=first + len(words))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()
