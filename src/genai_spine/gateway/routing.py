"""Routing, seen over HTTP: a dry run, and what became of each recent call.

    POST /v1/route             whom a request with this body would be sent to, and why; nobody is asked
    GET  /v1/requests/{id}     one of the last calls by its x-request-id: its candidates and its attempts

Must not know: how a decision comes about (engine/routing/router.py). No answer here has a word of a prompt, but
where settings keep it and `content=1` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from genai_spine.dialects import relayed_request
from genai_spine.engine.costs.accounts import status_of
from genai_spine.engine.exchange import Exchange
from genai_spine.engine.record import MOST_KEPT, CallRecord
from genai_spine.gateway import inbounds
from genai_spine.gateway.accounts import LedgerUnreadable, content_of, ledger_call
from genai_spine.gateway.call_headers import about_of
from genai_spine.gateway.request import Request
from genai_spine.ledger.reading import told
from genai_spine.model.errors import InvalidRequest

if TYPE_CHECKING:
    from genai_spine.engine.attempt import Attempt
    from genai_spine.gateway.app import Gateway


# ---------------------------------------------------------------- a dry run


async def dry_run(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Where a request would be sent, and why; no provider is asked. The body is that of any chat request; `?dialect=`
    names its dialect if its members do not show it.

    Raises: InvalidRequest, ProviderNotFound.
    """
    body = await gateway.body_of(request)
    named = parse_qs(request.scope["query_string"].decode("latin-1")).get("dialect", [None])[-1]
    if named is None and b"anthropic-version" in request.headers:
        named = "anthropic_messages"
    exchange = exchange_of(body, named)
    about = about_of(request.headers, exchange.peek.members)
    explained = gateway.manager.router.explain(
        exchange.wanted, exchange.asked, about, record.caller, members=exchange.peek.members
    )
    await gateway.discretion.reply(request, {"dialect": exchange.dialect, **msgspec.to_builtins(explained)})


def exchange_of(body: bytes, dialect: str | None = None) -> Exchange:
    """A request of any chat dialect, read as a call would read it. Raises: InvalidRequest."""
    if dialect is None:
        dialect = _dialect_of(relayed_request.peek(body).members)
    elif dialect not in inbounds.INBOUND:
        raise InvalidRequest(f"no dialect of that name; there are {', '.join(inbounds.INBOUND)}", param="dialect")
    exchange = Exchange(dialect, inbounds.inbound(dialect), body)
    exchange.asked()
    return exchange


def _dialect_of(members: Mapping[str, msgspec.Raw]) -> str:
    """The dialect that a body's members tell; OpenAI's chat, where they tell none."""
    if "messages" in members:
        return "anthropic_messages" if "system" in members else "openai_chat"
    told = {"contents": "gemini", "input": "openai_responses", "prompt": "ollama_generate"}
    return next((dialect for member, dialect in told.items() if member in members), "openai_chat")


# ---------------------------------------------------------------- what became of a call


async def recorded(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """One call by its `x-request-id`, with its attempts; `content=1` adds its texts, if they are kept.

    Raises: InvalidRequest with status 404 for an id that is unknown, forgotten or another caller's.
    """
    id = request.path.removeprefix("/v1/requests/")
    found = gateway.manager.traffic.recent.find(id)
    if found is not None and found.caller != record.caller:
        found = None
    try:
        logged = await ledger_call(gateway, id, record.caller)
    except LedgerUnreadable:
        if found is None:
            raise
        logged = None
    if found is None and logged is None:
        raise InvalidRequest(
            f"no call of yours by that id is remembered; the last {MOST_KEPT} of each worker are",
            status_code=404,
            code="not_found",
        )
    answer = _joined(_told(found), logged or {}) if found is not None else logged or {}
    await gateway.discretion.reply(request, {**answer, **await content_of(gateway, request, id)})


def _joined(remembered: dict[str, Any], logged: dict[str, Any]) -> dict[str, Any]:
    """What the ledger knows of a call, and what this worker remembers of it beside, attempt by attempt."""
    attempts = remembered["attempts"]
    if len(logged.get("attempts", ())) == len(attempts):
        attempts = [{**attempt, **one} for attempt, one in zip(attempts, logged["attempts"], strict=True)]
    return {**remembered, **logged, "attempts": attempts}


def _told(record: CallRecord) -> dict[str, Any]:
    decision = record.decision
    answered = next((attempt for attempt in record.attempts if status_of(attempt) == "answered"), None)
    usage = answered.usage if answered is not None else None
    costs = [attempt.cost_usd for attempt in record.attempts if attempt.cost_usd is not None]
    counted = (usage.input_tokens or 0, usage.output_tokens or 0) if usage is not None else None
    considered = decision.considered(None if counted is None else lambda model: counted) if decision is not None else ()
    return {
        "request_id": record.request_id,
        "begun": datetime.fromtimestamp(record.begun, UTC).isoformat(timespec="milliseconds"),
        "route": record.route,
        "strategy": decision.strategy if decision is not None else None,
        "provider": answered.provider if answered is not None else None,
        "model": answered.model if answered is not None else None,
        "cost_usd": told(sum(costs)) if costs else None,
        "cached": msgspec.to_builtins(record.cached),
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "passed_over": [
            {
                "provider": passed.choice.provider,
                "model": passed.choice.model,
                "reason": passed.reason,
                "retry_after_s": passed.retry_after_s,
            }
            for passed in record.passed_over
        ],
        "candidates": msgspec.to_builtins(considered),
        "notices": msgspec.to_builtins(record.billing_notices()),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "answered_model": attempt.answered_model,
        "status": status_of(attempt),
        "cost_usd": told(attempt.cost_usd),
        "is_hedge": attempt.is_hedge,
        "is_settled": attempt.is_settled,
        "first_s": attempt.first_s,
        "duration_s": attempt.duration_s,
        "error": attempt.error,
        "error_type": attempt.error_type,
        "status_code": attempt.status_code,
        "left": attempt.left,
        "may_be_billed": attempt.may_be_billed,
        "usage": msgspec.to_builtins(attempt.usage) if attempt.usage is not None else None,
    }
