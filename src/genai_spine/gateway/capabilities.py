"""Capabilities over HTTP: one handler for all of them, and their list.

    POST /v1/summarize   {"content": "…", "length": "short"}     the result; errors have OpenAI's shape
    GET  /v1/capabilities                                        what there is, as JSON Schemas

A capability of another package gets a path of its own in the same way; the gateway's other paths come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from genai_spine.capabilities import registry
from genai_spine.capabilities.capability import CapabilityResult
from genai_spine.capabilities.checked import UnfitAnswer
from genai_spine.engine.record import CallRecord
from genai_spine.gateway import inbounds
from genai_spine.gateway.answer_headers import notices_value
from genai_spine.gateway.idempotency import reply_once
from genai_spine.gateway.request import HeaderList, Request, header_value, plain_amount

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway, Handler

DIALECT = "openai_chat"
"""In whose shape errors are."""


def ours() -> dict[str, Handler]:
    """The paths of our capabilities, and what serves each."""
    return {path_of(point.name): _handler(point.name) for point in registry.OURS}


def of_packages() -> dict[str, Handler]:
    """The same for those of other packages that are installed."""
    served = ours()
    return {path: _handler(name) for name in registry.names() if (path := path_of(name)) not in served}


def path_of(name: str) -> str:
    return f"/v1/{name}"


def _handler(name: str) -> Handler:
    async def handler(gateway: Gateway, request: Request, record: CallRecord) -> None:
        capability = registry.resolve(name)
        body = await gateway.body_of(request)
        wanted = capability.decode_request(body)
        request.cancel_when_gone()

        async def answer() -> tuple[bytes, HeaderList]:
            result = await capability.answer(gateway.manager, wanted, record)
            request.notes = f"{name}: {result.provider} {result.model}"
            result = _discreet(gateway, result)
            return msgspec.json.encode(result), _headers_of(result, record)

        try:
            await reply_once(gateway.idempotency, request, record.caller, body, answer)
        except UnfitAnswer as error:
            await _refuse(gateway, request, error, record)

    handler.__doc__ = f"The result of the capability `{name}`."
    return handler


def _discreet(gateway: Gateway, result: CapabilityResult) -> CapabilityResult:
    """The result with notices that a caller may read: what a provider said of an earlier try may stand in them."""
    notices = tuple(msgspec.structs.replace(each, message=gateway.discretion(each.message)) for each in result.notices)
    return msgspec.structs.replace(result, notices=notices)


def _headers_of(result: CapabilityResult, record: CallRecord) -> HeaderList:
    headers: HeaderList = [
        (b"x-spine-provider", header_value(result.provider or "")),
        (b"x-spine-model", header_value(result.model or "")),
        (b"x-spine-attempts", b"%d" % len(record.attempts)),
    ]
    if result.cost_usd is not None:
        headers.append((b"x-spine-cost-usd", plain_amount(result.cost_usd)))
    if result.notices:
        headers.append((b"x-spine-notices", notices_value(result.notices)))
    return headers


async def _refuse(gateway: Gateway, request: Request, error: UnfitAnswer, record: CallRecord) -> None:
    """The error with the model's last words in it: they were paid for."""
    gateway.discretion.mend(error)
    request.notes = f"UnfitAnswer: {error.message}"
    status, body = inbounds.inbound(DIALECT).encode_error(error, request.id)
    told: dict[str, Any] = msgspec.json.decode(body)
    told["error"]["text"] = gateway.discretion(error.text)
    told["error"]["problems"] = [gateway.discretion(problem) for problem in error.problems]
    headers: HeaderList = [
        (b"x-should-retry", b"false"),
        (b"x-spine-attempts", b"%d" % len(record.attempts)),
        (b"x-spine-provider", header_value(error.provider or "")),
    ]
    await request.reply(status, msgspec.json.encode(told), headers)


async def listing(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The capabilities, each with JSON Schemas of its request and its result."""
    data = [{**one.schema(), "path": path_of(one.name)} for one in registry.every()]
    await request.reply(200, msgspec.json.encode({"object": "list", "data": data}))
