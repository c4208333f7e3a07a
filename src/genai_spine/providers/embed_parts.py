"""Embeddings of more inputs than one request of a service holds: several requests, one answer.

Must not know: which service it is, HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import reduce

import msgspec

from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.usage import together

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
    """One answer: what was used is added up, where each part told of it, and what was said of each request is said
    once."""
    usages = [response.usage for response in responses if response.usage is not None]
    is_whole = len(usages) == len(responses) and len({usage.input_tokens is None for usage in usages}) == 1
    return msgspec.structs.replace(
        responses[0],
        embeddings=tuple(vector for response in responses for vector in response.embeddings),
        usage=reduce(together, usages, None) if is_whole else None,
        notices=tuple(dict.fromkeys(notice for response in responses for notice in response.notices)),
    )
