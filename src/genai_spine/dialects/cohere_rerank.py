"""Cohere's reranking: `POST {base_url}/v2/rerank`. An error is the chat's.

    {"results": [{"index": 1, "relevance_score": 0.86}, …], "meta": {"billed_units": {"search_units": 1}}}

It is paid for by the search (one query with up to 100 documents), not by the token: `search_units` are the
usage's searches. `max_tokens_per_doc` and `priority` go through in `extra`.

Source: docs.cohere.com/reference/rerank (2026-11), and recordings.
"""

from __future__ import annotations

from typing import Any

from genai_spine.dialects import rankings
from genai_spine.dialects.cohere_chat import outbound
from genai_spine.dialects.interface import Outgoing, Target
from genai_spine.dialects.lenient import count_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.errors import BadReply
from genai_spine.model.rerank import RerankRequest, RerankResponse
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.wire import json

DIALECT = "cohere_rerank"
PATH = "/v2/rerank"

decode_error = outbound.decode_error

_READ = ("id", "results", "meta")


def encode_request(request: RerankRequest, target: Target) -> Outgoing:
    return rankings.encode_request(request, target, PATH, DIALECT)


def decode_response(body: bytes, target: Target) -> RerankResponse:
    """The results as they came; `rankings.ranked` orders and checks them.

    Raises: BadReply.
    """
    members = json.decode_outbound(body, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("a ranking that is no object")
    answer_id, meta = members.get("id"), members.get("meta")
    rest = unknown(members, _READ)
    if isinstance(meta, dict) and (more := unknown(meta, ("billed_units", "tokens"))):
        rest["meta"] = more
    return RerankResponse(
        model=target.model,
        results=rankings.results_of(members.get("results"), DIALECT),
        usage=usage_of(meta),
        id=answer_id if isinstance(answer_id, str) and answer_id else None,
        extra=keep(DIALECT, rest),
    )


def usage_of(meta: Any) -> TokenUsage | None:
    """{"billed_units": {"search_units": 1}}, with `input_tokens` where tokens were billed."""
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    if not isinstance(billed, dict) or not billed:
        return None
    rest = unknown(billed, ("input_tokens", "output_tokens"))
    searches = count_of(billed.get("search_units"))
    return TokenUsage(
        input_tokens=count_of(billed.get("input_tokens")),
        output_tokens=count_of(billed.get("output_tokens")),
        details=UsageDetails(searches=searches) if searches else None,
        provider_metadata=keep(DIALECT, rest),
    )
