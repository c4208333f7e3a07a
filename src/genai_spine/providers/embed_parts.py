"""Embeddings of more inputs than one request of a service holds: several requests, one answer.

Must not know: which service it is, HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import reduce

import msgspec

from genai_spine.model.embedding import EmbeddingRequest, EmbeddingResponse
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.response import Notice
from genai_spine.model.usage import together

AT_ONCE = 8
"""Requests under way at a time: services bound their rate, and the texts of one caller are one caller's."""


async def embed_in_parts(
    request: EmbeddingRequest,
    most: int,
    embed: Callable[[EmbeddingRequest], Awaitable[EmbeddingResponse]],
) -> EmbeddingResponse:
    """The vectors in the order of the inputs, `most` inputs a request. The first failure ends all, and is raised: since
    others were sent that are charged, nobody knows what all that cost."""
    inputs = request.input
    if len(inputs) <= most:
        return await embed(request)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(start: int) -> EmbeddingResponse:
        async with gate:
            try:
                response = await embed(msgspec.structs.replace(request, input=inputs[start : start + most]))
            except InvalidRequest as error:
                error.message, error.param = _moved(error.message, start), _moved(error.param or "", start) or None
                raise
        return msgspec.structs.replace(response, notices=tuple(_moved_notice(each, start) for each in response.notices))

    tasks = [asyncio.create_task(one(start)) for start in range(0, len(inputs), most)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        return _joined([task.result() for task in _over(tasks)])
    except ProviderError as error:
        answered = [task for task in tasks if task.done() and task.exception() is None]
        if answered or (error.fault != "operator" and not all(task.done() for task in tasks)):
            error.sent = error.is_uncertain = True
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _over(tasks: list[asyncio.Task[EmbeddingResponse]]) -> list[asyncio.Task[EmbeddingResponse]]:
    """All of them; where one has failed, it alone."""
    failed = [task for task in tasks if task.done() and task.exception() is not None]
    return failed[:1] or tasks


_PLACE = re.compile(r"\binput\[(\d+)\]")


def _moved(said: str, start: int) -> str:
    """The same of the whole request, where an input of the part that begins at `start` is named."""
    return _PLACE.sub(lambda place: f"input[{int(place[1]) + start}]", said)


def _moved_notice(notice: Notice, start: int) -> Notice:
    if notice.param is None:
        return notice
    return msgspec.structs.replace(notice, message=_moved(notice.message, start), param=_moved(notice.param, start))


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
