"""Google's paths, `/v1beta/models/{model}:{method}`: the model, the method and whether to stream stand in the URL.

What the URL says is put into the body, and all that follows is as for every other dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai_spine.dialects.gemini import inbound
from genai_spine.engine.call import call
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.chat import chat
from genai_spine.gateway.listing import embed_body
from genai_spine.gateway.request import HeaderList, Request, header_value
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.policy.route import Choice, Wanted
from genai_spine.providers.http_provider import HttpProvider

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

_CHATS = {"generateContent": False, "streamGenerateContent": True}
_EMBEDDINGS = {"batchEmbedContents": "gemini_embeddings", "embedContent": "gemini_embed_content"}


async def method(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Raises: InvalidRequest with status 404 for a method that is not offered."""
    model, name = inbound.split_path(request.path.partition("/models/")[2])
    if not model or name not in (*_CHATS, *_EMBEDDINGS, "countTokens"):
        offered = ", ".join((*_CHATS, "countTokens", *_EMBEDDINGS))
        raise InvalidRequest(
            f"{request.path[:200]}: methods of a model are {offered}", status_code=404, code="not_found"
        )
    body = inbound.addressed(await gateway.body_of(request), model, stream=_CHATS.get(name, False))
    if name in _CHATS:
        await chat(gateway, request, record, "gemini", streams_unasked=False, body=body)
    elif name in _EMBEDDINGS:
        await embed_body(gateway, request, record, _EMBEDDINGS[name], body)
    else:
        await _count(gateway, request, record, body)


async def _count(gateway: Gateway, request: Request, record: CallRecord, body: bytes) -> None:
    """From a provider that counts, else estimated and labelled so."""
    wanted = inbound.decode_count_request(body)
    request.cancel_when_gone()

    async def send(choice: Choice) -> tuple[int, bool]:
        provider = gateway.manager.registry.get(choice.provider)
        try:
            count = await provider.count_tokens(wanted, choice.model)
        except ProviderError as error:
            error.provider = error.provider or provider.name
            raise
        return count, isinstance(provider, HttpProvider) and provider.counts_tokens

    # Another provider would count with another's tokens: the first of the plan, or none.
    choices = gateway.manager.plan(Wanted(model=wanted.model, provider=wanted.provider))[:1]
    count, is_exact = await call(send, choices, gateway.manager.retry, record)
    headers: HeaderList = [(b"x-spine-provider", header_value(choices[0].provider))]
    if not is_exact:
        headers.append((b"x-spine-notices", b"estimated totalTokens: from the length of the text"))
    await request.reply(200, inbound.encode_count_response(int(count)), headers)
