"""Azure OpenAI's dated paths, `/openai/deployments/{deployment}/chat/completions`: the deployment is the model.

It is put into the body, in place of any that is there, as Azure takes the one of the path; all that follows is as for
every caller of OpenAI's dialect. The `api-version` of the query is not looked at.

https://learn.microsoft.com/azure/ai-services/openai/reference (read 2026-11), and the requests of openai 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai_spine.engine.record import CallRecord
from genai_spine.gateway.chat import chat
from genai_spine.gateway.request import Request
from genai_spine.gateway.vectors import embed_body
from genai_spine.model.errors import InvalidRequest
from genai_spine.wire import json

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

ROOT = "/openai/deployments/"
_CHATS = {"/chat/completions": "openai_chat", "/completions": "openai_completions"}
"""In which dialect a request is, by the end of its path: the first that fits."""
_EMBEDDINGS = "/embeddings"


async def deployment(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """`chat/completions`, `completions` and `embeddings` with the model in the path, for clients of Azure OpenAI

    Raises: InvalidRequest with status 404 for anything else.
    """
    named = request.path.removeprefix(ROOT)
    ending = next((each for each in (*_CHATS, _EMBEDDINGS) if named.endswith(each)), "")
    model = named.removesuffix(ending)
    if not ending or not model:
        known = ", ".join(f"{ROOT}MODEL{each}" for each in (*_CHATS, _EMBEDDINGS))
        message = f"{request.path[:200]}: here are {known}"
        raise InvalidRequest(message, status_code=404, code="not_found")
    members = json.top_level(await gateway.body_of(request))
    body = json.join_object(members | {"model": json.encode(model)})
    if ending in _CHATS:
        await chat(gateway, request, record, _CHATS[ending], streams_unasked=False, body=body)
    else:
        await embed_body(gateway, request, record, "openai_embeddings", body)
