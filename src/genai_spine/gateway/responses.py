"""What OpenAI's Responses have beside the answering of a request: responses that the service keeps.

This gateway keeps none. A caller who asks for one is told so, and what to do instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai_spine.engine.record import CallRecord
from genai_spine.gateway.request import Request
from genai_spine.model.errors import InvalidRequest

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway


async def kept(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """An error: no responses are kept; it says what to do instead.

    Raises: InvalidRequest with status 404, always.
    """
    name = request.path.removeprefix("/v1/responses/")[:200]
    raise InvalidRequest(
        f"no {request.method} of responses/{name} here: the gateway keeps no responses. Send the whole conversation "
        'as `input`, with `"store": false`, or ask the provider itself',
        status_code=404,
        code="not_found",
    )
