"""Reranking as Jina writes it: `POST {base_url}/rerank`. llama.cpp, vLLM and others speak it. An error is OpenAI's.

    {"model", "results": [{"index": 2, "relevance_score": 0.82}, …], "usage": {"prompt_tokens", "total_tokens"}}

Voyage answers alike but for `data` in place of `results`, which is read too; it wants `top_k` in place of `top_n`:
give it in `extra`. `return_documents` goes through in `extra`, too.

Sources: api.jina.ai/docs (reranker) and llama.cpp's tools/server/README.md, both 2026-11, and recordings of
llama.cpp and Voyage.
"""

from __future__ import annotations

from genai_spine.dialects import rankings
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.openai_chat import outbound
from genai_spine.dialects.openai_embeddings import input_usage_of
from genai_spine.model.errors import BadReply
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.wire import json

DIALECT = "jina_rerank"
PATH = "/rerank"

decode_error = outbound.decode_error

_READ = ("id", "model", "object", "results", "data", "usage")


def encode_request(request: RerankRequest, target: Target) -> Outgoing:
    return rankings.encode_request(request, target, PATH, DIALECT)


def decode_response(body: bytes, target: Target) -> RerankResponse:
    """The results as they came; `rankings.ranked` orders and checks them.

    Raises: BadReply; the provider's error where a 200 carries one.
    """
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("a ranking that is no object")
    if (error := outbound.decode_embedded_error(body)) is not None:
        raise error
    found = members.get("results") if "results" in members else members.get("data")
    answer_id, model = members.get("id"), members.get("model")
    return RerankResponse(
        model=model if isinstance(model, str) and model else target.model,
        results=rankings.results_of(found, DIALECT),
        usage=input_usage_of(members.get("usage")),
        id=answer_id if isinstance(answer_id, str) and answer_id else None,
        extra=keep(DIALECT, unknown(members, _READ)),
    )
