"""Embeddings and rankings: one handler for every dialect of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from genai_spine.dialects import rerank_inbound
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.answer_headers import answer_headers
from genai_spine.gateway.counting import COUNTED
from genai_spine.gateway.idempotency import reply_once
from genai_spine.gateway.request import HeaderList, Request
from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.policy import tokens
from genai_spine.providers import codecs
from genai_spine.wire.json import top_level

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway, Handler

_MANY_NUMBERS = 100_000
"""To write more takes longer than other callers should wait."""
_NO_FALLBACKS = Notice(
    code="dropped", message="vectors of two models cannot be mixed: no other one is asked", param="fallbacks"
)


def embed(dialect: str) -> Handler:
    """The handler for one dialect of embeddings."""

    async def handler(gateway: Gateway, request: Request, record: CallRecord) -> None:
        body = await gateway.body_of(request)
        top_level(body)  # refuses members given twice
        await embed_body(gateway, request, record, dialect, body)

    return handler


async def embed_body(gateway: Gateway, request: Request, record: CallRecord, dialect: str, body: bytes) -> None:
    codec = codecs.embeddings(dialect)
    wanted = codec.decode_request(body)
    record.dialect = dialect
    request.cancel_when_gone()

    async def answer() -> tuple[bytes, HeaderList]:
        response = await _embedded(gateway, record, dialect, wanted, body)
        request.notes = f"{response.provider} {response.model}"
        headers = answer_headers(response, record, gateway.manager.limiter, response.cost_usd)
        numbers = sum(map(len, response.embeddings))
        if numbers < _MANY_NUMBERS:
            return codec.encode_response(response, wanted), headers
        return await asyncio.to_thread(codec.encode_response, response, wanted), headers

    await reply_once(gateway.idempotency, request, record.caller, body, answer)


async def _embedded(
    gateway: Gateway, record: CallRecord, dialect: str, wanted: EmbeddingRequest, body: bytes
) -> EmbeddingResponse:
    response = await gateway.manager.embed(wanted, record=record)
    if response.usage is None and dialect == "openai_embeddings":
        response = await asyncio.to_thread(_estimated, response, wanted)  # of a long text it takes its time
    if b'"fallbacks"' in body and top_level(body).get("fallbacks") is not None:
        response = msgspec.structs.replace(response, notices=(*response.notices, _NO_FALLBACKS))
    return response


def rerank(dialect: str) -> Handler:
    """The handler for one dialect of rankings."""

    async def handler(gateway: Gateway, request: Request, record: CallRecord) -> None:
        body = await gateway.body_of(request)
        top_level(body)  # refuses members given twice
        asked = rerank_inbound.decode_request(body, dialect)
        record.dialect = dialect
        request.cancel_when_gone()

        async def answer() -> tuple[bytes, HeaderList]:
            response = await gateway.manager.rerank(asked.request, record=record)
            response = msgspec.structs.replace(response, notices=(*response.notices, *asked.notices))
            request.notes = f"{response.provider} {response.model}"
            headers = answer_headers(response, record, gateway.manager.limiter, response.cost_usd)
            return rerank_inbound.encode_response(response, asked.documents), headers

        await reply_once(gateway.idempotency, request, record.caller, body, answer)

    return handler


def _estimated(response: EmbeddingResponse, request: EmbeddingRequest) -> EmbeddingResponse:
    """With a usage, which OpenAI's clients require (openapi: CreateEmbeddingResponse, read 2026-11), where the provider
    told none. Nothing is charged by it."""
    counts = (tokens.estimate(each, response.model) if isinstance(each, str) else len(each) for each in request.input)
    code, message = COUNTED["estimate"]
    return msgspec.structs.replace(
        response,
        usage=TokenUsage(input_tokens=sum(counts), estimated=True),
        notices=(*response.notices, Notice(code=code, message=message, param="usage")),
    )
