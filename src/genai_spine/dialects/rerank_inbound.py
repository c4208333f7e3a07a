"""A caller who wants documents in order: in Jina's form, which vLLM, llama.cpp and others took over, or in Cohere's.

    {"model": "cohere/rerank-v3.5", "query": "…", "documents": ["…", {"text": "…"}], "top_n": 3}
    {"id", "model", "results": [{"index": 2, "relevance_score": 0.82, "document": {"text": "…"}}], "usage", "meta"}

One answer serves both: the clients of one overlook the members of the other. Jina's gives the documents back unless
`return_documents` is false, Cohere's only where it is true.

Sources: api.jina.ai/docs (reranker), docs.cohere.com/reference/rerank and docs.vllm.ai (rerank API), all 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import cohere_rerank, jina_rerank
from genai_spine.dialects.metadata import keep
from genai_spine.dialects.reading import Reader, kind_of
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import Notice
from genai_spine.wire import json

_GIVES_DOCUMENTS = {jina_rerank.DIALECT: True, cohere_rerank.DIALECT: False}
_OURS = ("provider_hint", "fallbacks")
"""Members of ours that choose among several, which nothing can be done with here."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is in the model, and what its answer is to be like."""

    request: RerankRequest
    documents: tuple[Any, ...] | None
    """As the caller wrote them; None where they are not to be given back."""
    notices: tuple[Notice, ...]


def decode_request(body: bytes, dialect: str) -> Asked:
    """`dialect` is that of the members which the model has no name for. Raises: InvalidRequest, naming the place."""
    request = Reader(json.decode_inbound(body, json.ANY), "")
    documents = request.take("documents")
    if not isinstance(documents, list) or not documents:
        what = "an empty array" if documents == [] else kind_of(documents)
        raise request.wrong("documents", f"expected an array of texts, got {what}")
    wanted = request.boolean("return_documents")
    notices = tuple(
        Notice(code="dropped", message="scores of two models cannot be compared: no other one is asked", param=name)
        for name in _OURS
        if request.take(name) is not None
    )
    decoded = RerankRequest(
        query=request.text("query", required=True),
        documents=tuple(_text_of(document, request, index) for index, document in enumerate(documents)),
        model=request.text("model") or None,
        provider=request.text("provider") if isinstance(request.peek("provider"), str) else None,
        top_n=request.integer("top_n", least=1),
        cost_limit=request.amount("cost_limit"),
    )
    return Asked(
        request=msgspec.structs.replace(decoded, extra=keep(dialect, request.rest())),
        documents=tuple(documents) if (_GIVES_DOCUMENTS[dialect] if wanted is None else wanted) else None,
        notices=notices,
    )


def _text_of(document: Any, request: Reader, index: int) -> str:
    """The text that is ranked; what else an object has comes back with it. Raises: InvalidRequest."""
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        place = f"documents[{index}]"
        raise request.wrong(place, f"expected a text, or an object with a `text`, got {kind_of(document)}")
    return text


def encode_response(response: RerankResponse, documents: tuple[Any, ...] | None) -> bytes:
    results: list[dict[str, Any]] = []
    for result in response.results:
        written: dict[str, Any] = {"index": result.index, "relevance_score": result.relevance_score}
        if documents is not None:
            document = documents[result.index]
            written["document"] = {"text": document} if isinstance(document, str) else document
        results.append(written)
    answer: dict[str, Any] = {"id": response.id or "", "object": "list", "model": response.model, "results": results}
    meta: dict[str, Any] = {"api_version": {"version": "2"}}
    if (usage := response.usage) is not None:
        if usage.details is not None and usage.details.searches is not None:
            meta["billed_units"] = {"search_units": usage.details.searches}
        if usage.input_tokens is not None:
            answer["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return json.encode(answer | {"meta": meta})
