"""Google's paths, `/v1beta/models/{model}:{method}`: the model, the method and whether to stream stand in the URL.

What the URL says is put into the body, and all that follows is as for every other dialect; but for a stream that is
asked for without `alt=sse`, which is a JSON array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai_spine.dialects.gemini import inbound
from genai_spine.dialects.gemini.json_array import JsonArray, wants_array
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.chat import chat
from genai_spine.gateway.counting import method_of, reply_counted
from genai_spine.gateway.request import Request
from genai_spine.gateway.vectors import embed_body
from genai_spine.model.errors import InvalidRequest
from genai_spine.policy.route import Wanted
from genai_spine.policy.tokens import Method
from genai_spine.providers.provider import LLMProvider

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

_CHATS = {"generateContent": False, "streamGenerateContent": True}
_EMBEDDINGS = {"batchEmbedContents": "gemini_embeddings", "embedContent": "gemini_embed_content"}


async def method(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The methods of a model: generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents.

    Raises: InvalidRequest with status 404 for any other.
    """
    named = request.path.removeprefix("/v1beta/").removeprefix("/v1/").removeprefix("models/")
    model, name = inbound.split_path(named)
    if not model or name not in (*_CHATS, *_EMBEDDINGS, "countTokens"):
        offered = ", ".join((*_CHATS, "countTokens", *_EMBEDDINGS))
        raise InvalidRequest(
            f"{request.path[:200]}: methods of a model are {offered}", status_code=404, code="not_found"
        )
    if name == "streamGenerateContent" and wants_array(request.scope["query_string"].decode("latin-1")):
        request.framing = JsonArray()
    body = inbound.addressed(await gateway.body_of(request), model, stream=_CHATS.get(name, False))
    if name in _CHATS:
        await chat(gateway, request, record, "gemini", streams_unasked=False, body=body)
    elif name in _EMBEDDINGS:
        await embed_body(gateway, request, record, _EMBEDDINGS[name], body)
    else:
        await _count(gateway, request, record, body)


async def _count(gateway: Gateway, request: Request, record: CallRecord, body: bytes) -> None:
    wanted = inbound.decode_count_request(body)

    async def count(provider: LLMProvider, model: str | None) -> tuple[bytes, Method]:
        tokens = await provider.count_tokens(wanted, model)
        return inbound.encode_count_response(int(tokens)), method_of(tokens)

    await reply_counted(
        gateway, request, record, Wanted(model=wanted.model, provider=wanted.provider), count, "totalTokens"
    )
