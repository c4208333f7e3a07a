"""How many tokens a request has, without sending it: by the provider's own count, or by ours, and which it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from genai_spine.dialects import relayed_request
from genai_spine.dialects.anthropic_messages import inbound as anthropic
from genai_spine.dialects.anthropic_messages.schema import COUNT_PATH
from genai_spine.engine.attempt import Attempt
from genai_spine.engine.record import CallRecord
from genai_spine.gateway.answer_headers import notices_value
from genai_spine.gateway.request import HeaderList, Request, header_value
from genai_spine.model.errors import ProviderError
from genai_spine.model.response import Notice
from genai_spine.policy.route import Choice, Wanted
from genai_spine.policy.tokens import Method, TokenCount
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.wire.http import Headers

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

Count = Callable[[LLMProvider, str | None], Awaitable[tuple[bytes, Method]]]
"""Counts the tokens of a request, for this model of this provider: the answer, and how the number came about."""

COUNTED: dict[Method, tuple[str, str]] = {
    "estimate": ("estimated", "this is not the provider's own count"),
    "exact": ("counted", "here, with the model's own vocabulary"),
}
"""Code and message of the notice about a count that is not the provider's own."""


async def count_tokens(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Anthropic's token count; of the caller's own bytes if the provider counts in this dialect."""
    body = await gateway.body_of(request)
    peek = relayed_request.peek(body)
    wanted = anthropic.decode_count_request(body)
    forwarded = request.values(anthropic.FORWARDED_HEADERS)

    async def count(provider: LLMProvider, model: str | None) -> tuple[bytes, Method]:
        if (
            isinstance(provider, HttpProvider)
            and provider.counting_dialect == anthropic.DIALECT
            and provider.relays(anthropic.DIALECT, peek.members, model)
            and (counted := await _count_relayed(provider, model, peek, forwarded)) is not None
        ):
            return counted, "provider"
        tokens = await provider.count_tokens(wanted, model)
        return anthropic.encode_count_response(tokens), method_of(tokens)

    await reply_counted(
        gateway, request, record, Wanted(model=peek.model, provider=peek.provider), count, "input_tokens"
    )


async def reply_counted(
    gateway: Gateway, request: Request, record: CallRecord, wanted: Wanted, count: Count, param: str
) -> None:
    """Answers with what `count` makes, and says in a notice where that is not the provider's own count.

    `param` is what the number is called in the answer.
    """
    request.cancel_when_gone()

    async def send(choice: Choice, attempt: Attempt) -> tuple[bytes, Method]:
        provider = gateway.manager.router.provider_of(choice)
        try:
            return await count(provider, choice.model)
        except ProviderError as error:
            error.provider = error.provider or provider.name
            raise

    record.is_accounted = False  # to count is free
    # Another provider would count with another's tokens: the first of the plan, or none.
    counted, method = await gateway.manager.ask_first(send, wanted, record)
    headers: HeaderList = (
        [(b"x-spine-provider", header_value(record.answered_by.provider))] if record.answered_by else []
    )
    if (said := COUNTED.get(method)) is not None:
        headers.append((b"x-spine-notices", notices_value((Notice(code=said[0], param=param, message=said[1]),))))
    await request.reply(200, counted, headers)


def method_of(count: int) -> Method:
    """How a number of tokens came about. A plain one, of a provider of somebody else's, is worth no more than ours."""
    return count.method if isinstance(count, TokenCount) else "estimate"


async def _count_relayed(
    provider: HttpProvider, model: str | None, peek: relayed_request.Peek, headers: Headers
) -> bytes | None:
    """The caller's own bytes, so that what we do not know is counted, too; None where the provider cannot count."""
    target = provider.target(model)
    body = relayed_request.rewrite(peek, model=target.model, dialect=anthropic.DIALECT, force_usage=False)
    counted = await provider.counted(anthropic.DIALECT, target, COUNT_PATH, body, headers)
    if counted is not None:
        codecs.counting(anthropic.DIALECT).decode_count_response(counted)  # raises BadReply for what is no count
    return counted
