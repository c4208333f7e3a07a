"""What was spent, over HTTP: sums of usage and the calls of the ledger.

    GET /v1/usage?by=model&since=7d     sums by provider, model, key, agent, route, tag or day
    GET /v1/requests?limit=50           the last calls, page by page: `before` is the `next` of the page before
    GET /v1/requests/{id}?content=1     what was said in one of them, where that is kept (routing.py has the rest)

Where the gateway has keys, each sees its own. The ledger is read in a thread: a database that is slow holds up
nobody but who asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import parse_qsl

from genai_spine.engine.record import CallRecord
from genai_spine.gateway.request import Request
from genai_spine.ledger.content import find_content, told_content, why_none
from genai_spine.ledger.database import said
from genai_spine.ledger.entry import Status
from genai_spine.ledger.forecasts import month_forecasts
from genai_spine.ledger.opening import open_reader
from genai_spine.ledger.reading import (
    FILTERS,
    LoggedAttempt,
    LoggedCall,
    Reader,
    arithmetic_of,
    day_of,
    find_call,
    recent_calls,
    told,
    usage,
)
from genai_spine.model.card import Price
from genai_spine.model.errors import InvalidRequest, SpineError
from genai_spine.providers.registry import ProviderRegistry

if TYPE_CHECKING:
    from genai_spine.gateway.app import Gateway

T = TypeVar("T")
_MOST = 1000

logger = logging.getLogger(__name__)


class LedgerUnreadable(SpineError):
    """The database of the ledger is locked, slow or down; calls go on, and are entered later."""

    fault = "operator"
    status_code = 503
    code = "ledger_unreadable"


async def usage_sums(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """Usage and cost, summed from the ledger; `by`, `since`, `until`; `forecast=month` adds what they will be at the
    end of this month.

    {"object": "usage", "by": "model", "total": {"calls": 12, "cost_usd": "0.0387", …}, "data": [{"name": …}],
     "forecast": [{"kind": "total", "last_day": "2026-11-30", "expected": "58.9", "low": "52.1", "high": "66", …}]}

    Raises: InvalidRequest, LedgerUnreadable.
    """
    query = _query(request, {"by", "since", "until", "forecast"})
    if query.get("forecast", "month") != "month":
        raise InvalidRequest("a forecast is of the month: forecast=month", param="forecast")
    today = datetime.now(UTC).date()
    since, until = (day_of(query[name], today, name) if name in query else None for name in ("since", "until"))
    if since is not None and until is not None and until < since:
        raise InvalidRequest(f"until {until} is before since {since}", param="until")
    by, caller = query.get("by"), record.caller
    report = await _read(gateway, lambda reader: usage(reader, by, since=since, until=until, caller=caller))
    answer = {"object": "usage", **told(report)}
    if "forecast" in query:
        now = datetime.now(UTC)
        answer["forecast"] = told(await _read(gateway, lambda reader: month_forecasts(reader, now, by, caller=caller)))
    await gateway.discretion.reply(request, answer)


async def calls(gateway: Gateway, request: Request, record: CallRecord) -> None:
    """The last calls of the ledger, page by page; `limit`, `before`, `provider`, `model`, `status`.

    {"object": "list", "data": [{"id": "req_…", "cost_usd": "0.00387", …}], "next": "…" or null}

    Raises: InvalidRequest, LedgerUnreadable.
    """
    query = _query(request, {"limit", "before", *FILTERS})
    limit = _limit(query.pop("limit", "50"))
    before = query.pop("before", None)
    if (status := query.get("status")) is not None and status not in get_args(Status):
        raise InvalidRequest(f"status is one of {', '.join(get_args(Status))}", param="status")
    filters: dict[str, str | None] = {**query}
    if record.caller is not None:
        filters["caller"] = record.caller
    found = await _read(gateway, lambda reader: recent_calls(reader, limit=limit, before=before, **filters))
    next_page = found[-1].cursor if len(found) == limit else None
    await gateway.discretion.reply(request, {"object": "list", "data": told(found), "next": next_page})


async def ledger_call(gateway: Gateway, id: str, caller: str | None) -> dict[str, Any] | None:
    """A call of the caller's with its attempts, for whoever does not remember it; None where there is no such call,
    or no ledger. Raises: LedgerUnreadable."""
    if gateway.settings.ledger.url is None:
        return None
    found = await _read(gateway, lambda reader: find_call(reader, id))
    if found is None or found[0].caller != caller:
        return None
    return {"request_id": id, **detail(gateway.manager.registry, *found)}


async def content_of(gateway: Gateway, request: Request, id: str) -> dict[str, Any]:
    """What was said in a call, where `content=1` asks for that; of a call that is the caller's to see.

    {"content": {"request": {…}, "answer": {…}, "level": "redacted", "is_cut": false, "at": "…"}}
    {"content": null, "why_no_content": "no text is kept (ledger.content)"}

    Raises: InvalidRequest, LedgerUnreadable.
    """
    wanted = _query(request, {"content"}).get("content", "0")
    if wanted not in ("0", "1"):
        raise InvalidRequest("content is 1, or left out", param="content")
    if wanted == "0":
        return {}
    ledger = gateway.settings.ledger
    content = await _read(gateway, lambda reader: find_content(reader, id)) if ledger.url is not None else None
    if content is None:
        return {"content": None, "why_no_content": why_none(ledger.content)}
    return {"content": told_content(content)}


def detail(registry: ProviderRegistry, call: LoggedCall, attempts: tuple[LoggedAttempt, ...]) -> dict[str, Any]:
    """A call, its attempts, and of each the arithmetic of its cost."""
    sums = [{**told(each), "arithmetic": arithmetic_of(each, _price_of(registry, each))} for each in attempts]
    return {**told(call), "attempts": sums}


def _price_of(registry: ProviderRegistry, attempt: LoggedAttempt) -> Price | None:
    """The price of an attempt's model when it began, where its provider is still configured."""
    if attempt.provider not in registry:
        return None
    return registry.get(attempt.provider).card(attempt.model).price_at(attempt.begun_at, attempt.service)


async def _read(gateway: Gateway, ask: Callable[[Reader], T]) -> T:
    settings = gateway.settings.ledger
    if settings.url is None:
        raise InvalidRequest("this gateway keeps no ledger: ledger.url is not set", status_code=404, code="no_ledger")

    def work() -> T:
        reader = open_reader(settings)
        try:
            return ask(reader)
        finally:
            reader.close()

    try:
        return await asyncio.to_thread(work)
    except InvalidRequest:
        raise
    except Exception as error:
        # Whose words may tell where the database is.
        logger.error("the ledger cannot be read: %s", said(error))
        raise LedgerUnreadable("the ledger cannot be read now; the gateway's log says why") from error


def _query(request: Request, known: set[str]) -> dict[str, str]:
    """Raises: InvalidRequest."""
    given = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
    for name in given.keys() - known:
        raise InvalidRequest(f"no parameter {name[:50]!r} here; there are {', '.join(sorted(known))}", param=name[:50])
    return given


def _limit(text: str) -> int:
    """Raises: InvalidRequest."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST):
        raise InvalidRequest(f"limit is a number from 1 to {_MOST}", param="limit")
    return int(text)
