"""Rankings on the wire and off it, for every dialect of reranking: {"index": 2, "relevance_score": 0.55, …}.

A place that no document has would show the wrong one, so it is refused.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import keep, kept, unknown
from genai_spine.model.errors import BadReply
from genai_spine.model.rerank import RerankRequest, RerankResponse, RerankResult
from genai_spine.model.response import Notice
from genai_spine.wire import json

_READ = ("index", "relevance_score", "document")


def results_of(entries: Any, dialect: str) -> tuple[RerankResult, ...]:
    """Raises: BadReply."""
    if not isinstance(entries, list):
        raise BadReply("a ranking without results")
    return tuple(_result_of(entry, dialect) for entry in entries)


def _result_of(entry: Any, dialect: str) -> RerankResult:
    members: dict[str, Any] = entry if isinstance(entry, dict) else {}
    index, score = members.get("index"), members.get("relevance_score")
    if type(index) is not int or isinstance(score, bool) or not isinstance(score, int | float):
        raise BadReply("a result without an index and a score")
    if not math.isfinite(score):
        raise BadReply("a score that is not finite")
    document = members.get("document")  # {"text": …}, or the text alone
    text = document.get("text") if isinstance(document, dict) else document
    return RerankResult(
        index=index,
        relevance_score=float(score),
        document=text if isinstance(text, str) else None,
        provider_metadata=keep(dialect, unknown(members, _READ)),
    )


def ranked(response: RerankResponse, request: RerankRequest) -> RerankResponse:
    """The response, the best result first, each with its document, and no more than were asked for.

    The caller of `decode_response` calls this: only it knows the request.

    Raises: BadReply.
    """
    places = [result.index for result in response.results]
    if len(set(places)) != len(places) or not all(0 <= place < len(request.documents) for place in places):
        raise BadReply(f"a ranking of {len(request.documents)} documents with the places {places[:20]}")
    best_first = sorted(response.results, key=lambda result: -result.relevance_score)[: request.top_n]
    results = tuple(msgspec.structs.replace(result, document=request.documents[result.index]) for result in best_first)
    return msgspec.structs.replace(response, results=results)


def encode_request(request: RerankRequest, target: Target, path: str, dialect: str) -> Outgoing:
    """This dialect's members, and a Notice for each of another's."""
    notices: list[Notice] = []
    body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        body["top_n"] = request.top_n
    for known_to in request.extra or ():
        for name, value in kept(request.extra, known_to).items():
            if known_to == dialect:
                body.setdefault(name, value)
            else:
                notices.append(Notice(code="dropped", message=f"{name} is known to {known_to} only", param=name))
    return Outgoing(path=path, body=json.encode(body), notices=tuple(notices))
