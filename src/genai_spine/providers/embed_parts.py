"""Embeddings of more inputs than one request of a service holds: several requests, one answer.

Must not know: which service it is, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.response import TokenUsage

AT_ONCE = 8
"""Requests under way at a time: services bound their rate, and the texts of one caller are one caller's."""


async def embed_in_parts(
    request: EmbeddingRequest,
    most: int,
    embed: Callable[[EmbeddingRequest], Awaitable[EmbeddingResponse]],
) -> EmbeddingResponse:
    """The vectors in the order of the inputs, `most` inputs a request. The first failure ends all, and is raised."""
    inputs = request.input
    parts = [
        msgspec.structs.replace(request, input=inputs[start : start + most]) for start in range(0, len(inputs), most)
    ]
    if len(parts) <= 1:
        return await embed(request)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(part: EmbeddingRequest) -> EmbeddingResponse:
        async with gate:
            return await embed(part)

    tasks = [asyncio.create_task(one(part)) for part in parts]
    try:
        return _joined([await task for task in tasks])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _joined(responses: list[EmbeddingResponse]) -> EmbeddingResponse:
    """One answer: tokens are added up, and what was said of each request is said once."""
    counts = [response.usage.input_tokens if response.usage is not None else None for response in responses]
    known = [count for count in counts if count is not None]
    usage = TokenUsage(input_tokens=sum(known)) if len(known) == len(counts) else None
    return msgspec.structs.replace(
        responses[0],
        embeddings=tuple(vector for response in responses for vector in response.embeddings),
        usage=usage,
        notices=tuple(dict.fromkeys(notice for response in responses for notice in response.notices)),
    )
