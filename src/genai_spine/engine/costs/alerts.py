"""Budgets that reach `alert_threshold` or their limit: who is told, and that it is once in each window.

    alerts = Alerts(settings.costs.alerts)
    alerts.callbacks.append(told)          # told(level: BudgetLevel), plain or async
    budgets.on_level.append(alerts.raised)

A line of the log, callbacks, and a webhook (webhook.py), each by itself: what one of them does is nothing to the
others, and nothing to a call. Once, over several workers and restarts, by the ledger's database (ledger/alerts.py);
without one, or while it is away, once in each process. A webhook that does not answer is tried again in the
background, and by another process where this one has gone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from math import inf
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from genai_spine.engine import tasks
from genai_spine.engine.costs.webhook import Exhausted, Gone, Webhook
from genai_spine.ledger.alerts import AlertBook, RaisedAlert
from genai_spine.ledger.database import said
from genai_spine.policy.budget import BudgetLevel
from genai_spine.providers.connect import transport_for
from genai_spine.settings import ProviderSettings
from genai_spine.settings.alerts import AlertSettings

P = ParamSpec("P")
T = TypeVar("T")
Callback = Callable[[BudgetLevel], object]

CLOSE_S = 3.0
"""How long alerts that are being told have at the end."""
LEASE_S = 90.0
"""So long after a try was due, another process may take an alert over."""
LOOK_EVERY_S = 30.0
_DATABASE_S = 5.0
_MOST_REMEMBERED = 10_000
_MOST_UNDER_WAY = 10_000
_SENT_AT_ONCE = 4

logger = logging.getLogger(__name__)


class Alerts:
    """`raised` may be called in any thread once it is started; all else belongs to the loop of `start`."""

    def __init__(self, settings: AlertSettings, webhook: Webhook | None = None) -> None:
        """Raises: ConfigError for a webhook that cannot be."""
        self.callbacks: list[Callback] = []
        self._logs = settings.log
        self._webhook = webhook
        if webhook is None and settings.webhook is not None:
            transport = transport_for(ProviderSettings())
            self._webhook = Webhook(settings.webhook, settings.webhook_secret, transport)
        self._book: AlertBook | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._seen: dict[str, float | None] = {}
        """What was raised here, with the end of its window."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._being_sent: dict[str, RaisedAlert] = {}
        """By id; those that were when the end came are left to the next process."""
        self._look: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._sending = asyncio.Semaphore(_SENT_AT_ONCE)
        self._asking = asyncio.Lock()  # one writer at a time is all that a database takes
        self._silent_s = -inf
        """When the database last did not answer."""

    # ------------------------------------------------------------ beginning and end

    def start(self, book: AlertBook | None) -> None:
        """From now on `book` decides whether an alert is new; what others left untold is taken over."""
        self._book = book
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._closing.clear()
        if book is not None and self._webhook is not None and self._look is None:
            self._look = asyncio.get_running_loop().create_task(self._take_over(), name="genai-spine-alerts")

    async def close(self) -> None:
        """What is being told has `CLOSE_S`; what waits for another try is left to the next process."""
        self._closing.set()
        self._loop = None
        look, self._look = self._look, None
        loop = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is loop]
        if mine:
            _, late = await asyncio.wait(mine, timeout=CLOSE_S)
            await tasks.end(late)
        if look is not None:
            await tasks.end([look])
        if self._being_sent:
            left, self._being_sent = [*self._being_sent.values()], {}
            await self._ask(AlertBook.hold, left, time.time())
        if self._webhook is not None:
            await self._webhook.close()

    # ------------------------------------------------------------ one alert

    def raised(self, level: BudgetLevel) -> None:
        """A budget has reached a level. Returns at once; where it was told before, nothing happens."""
        if self._loop is not None and self._thread != threading.get_ident():
            self._loop.call_soon_threadsafe(self.raised, level)
            return
        key = key_of(level)
        if key in self._seen:
            return
        if len(self._tasks) >= _MOST_UNDER_WAY:
            logger.error("%s: too many alerts are under way to tell it otherwise", words_of(level))
            return
        self._remember(key, level)
        self._begin(self._tell(level, key, time.time()))

    def _remember(self, key: str, level: BudgetLevel) -> None:
        now = time.time()
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen = {key: end for key, end in self._seen.items() if end is None or end > now}
        self._seen[key] = level.resets_at.timestamp() if level.resets_at is not None else None

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, level: BudgetLevel, key: str, now: float) -> None:
        body = msgspec.json.encode(told(level, now)).decode()
        alert = RaisedAlert(
            id=f"msg_{secrets.token_hex(12)}", key=key, body=body, raised_at=now, ends_at=self._seen.get(key)
        )
        if not await self._is_new(alert):
            return
        if self._logs:
            logger.warning("%s", words_of(level), extra={"data": {"alert": told(level, now)["data"]}})
        telling: list[Coroutine[Any, Any, None]] = [_call(callback, level) for callback in self.callbacks]
        if self._webhook is not None:
            telling.append(self._deliver(self._webhook, alert))
        await asyncio.gather(*telling)

    async def _is_new(self, alert: RaisedAlert) -> bool:
        """Where the database does not answer it is: better twice than never."""
        due_at = time.time() + LEASE_S if self._webhook is not None else None
        is_new = await self._ask(AlertBook.enter, alert, due_at)
        return is_new is not False

    # ------------------------------------------------------------ the webhook

    async def _deliver(self, webhook: Webhook, alert: RaisedAlert) -> None:
        """Until it was heard, given up, or this process ends."""
        while True:
            self._being_sent[alert.id] = alert
            try:
                async with self._sending:
                    wait_s = await webhook.send(alert.id, alert.body.encode(), alert.tries)
            except (Gone, Exhausted) as error:
                logger.error("the webhook at %s did not take an alert: %s. It was %s", webhook.peer, error, alert.body)
                await self._ask(AlertBook.close, alert, "given_up")
                del self._being_sent[alert.id]
                return
            del self._being_sent[alert.id]  # not where this is cancelled
            alert = msgspec.structs.replace(alert, tries=alert.tries + 1)
            if wait_s is None:
                await self._ask(AlertBook.close, alert, "told")
                return
            due_at = time.time() + wait_s
            await self._ask(AlertBook.postpone, alert, due_at + LEASE_S)
            if await self._ends_within(wait_s):
                await self._ask(AlertBook.postpone, alert, due_at)
                return

    async def _ends_within(self, wait_s: float) -> bool:
        """Whether the process ends before the wait is over."""
        try:
            async with asyncio.timeout(wait_s):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    async def _take_over(self) -> None:
        """What another process was to tell, and did not: it has died, or was stopped while it waited."""
        assert self._webhook is not None
        while True:
            now = time.time()
            if self._being_sent:
                await self._ask(AlertBook.hold, [*self._being_sent.values()], now + LEASE_S)
            for alert in await self._ask(AlertBook.take_overdue, now, now + LEASE_S) or ():
                logger.info("an alert that was left untold is told now: %s", alert.id)
                self._begin(self._deliver(self._webhook, alert))
            if await self._ends_within(LOOK_EVERY_S):
                return

    async def _ask(self, ask: Callable[Concatenate[AlertBook, P], T], *args: P.args, **options: P.kwargs) -> T | None:
        """What the database says, within `_DATABASE_S` of its own time; None where it says nothing, or there is none.
        Whoever waits for his turn while it was silent does not wait for it once more."""
        book = self._book
        if book is None:
            return None
        asked_s = time.monotonic()
        async with self._asking:
            if asked_s < self._silent_s:
                return None
            try:
                async with asyncio.timeout(_DATABASE_S):
                    return await _in_thread(lambda: ask(book, *args, **options))
            except Exception as error:  # of the driver's, or TimeoutError
                self._silent_s = time.monotonic()
                logger.warning("the ledger's database does not answer about alerts: %s", said(error))
                return None


# ---------------------------------------------------------------- callbacks


async def _call(callback: Callback, level: BudgetLevel) -> None:
    """A plain one has a thread of its own: it may wait for what it likes."""
    try:
        if inspect.iscoroutinefunction(callback):
            await callback(level)
        else:
            answer = await _in_thread(partial(callback, level))
            if inspect.isawaitable(answer):
                await answer
    except Exception:
        logger.exception("the callback for alerts failed")


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """What the work gives. The thread holds nobody up at the end, unlike those of the loop's executor."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(answer: Any, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
            done.exception()  # whoever waited may be gone
        else:
            done.set_result(answer)

    def run() -> None:
        answer, failure = None, None
        try:
            answer = work()
        except Exception as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, answer, failure)
        except RuntimeError:
            pass  # the loop is closed

    threading.Thread(target=run, name="genai-spine-alert", daemon=True).start()
    return done


# ---------------------------------------------------------------- what is said


def key_of(level: BudgetLevel) -> str:
    """What makes two alerts the same. A limit that was raised is worth another one."""
    parts = (
        level.budget, level.window, level.window_starts.isoformat(), level.level, level.limit_nanousd,
        level.limit_tokens,
    )  # fmt: skip
    return msgspec.json.encode(parts).decode()


def told(level: BudgetLevel, at: float) -> dict[str, Any]:
    """The webhook's body; amounts are texts, in USD.

    {"type": "budget.limit", "timestamp": "2026-11-21T19:01:07Z", "data": {"budget": "daily_limit", "level": 1.0,
     "limit_usd": "10", "spent_usd": "10.02", …, "message": "budget daily_limit (day): …"}}
    """
    return {
        "type": "budget.limit" if level.level >= 1 else "budget.threshold",
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        "data": {
            "budget": level.budget,
            "provider": level.provider,
            "window": level.window,
            "window_starts": level.window_starts.isoformat(),
            "resets_at": level.resets_at.isoformat() if level.resets_at is not None else None,
            "level": level.level,
            "limit_usd": _usd(level.limit_nanousd),
            "spent_usd": _usd(level.spent_nanousd),
            "limit_tokens": level.limit_tokens,
            "spent_tokens": level.spent_tokens,
            "message": words_of(level),
        },
    }


def words_of(level: BudgetLevel) -> str:
    """One line for people."""
    spent = []
    if level.limit_nanousd is not None:
        spent.append(f"${_usd(level.spent_nanousd)} of ${_usd(level.limit_nanousd)}")
    if level.limit_tokens is not None:
        spent.append(f"{level.spent_tokens:,} of {level.limit_tokens:,} tokens")
    reached = "has reached its limit" if level.level >= 1 else f"has reached {level.level:.0%} of its limit"
    if level.level >= 1 and not _is_used_up(level):
        reached = "refuses calls, for which too little of it is left"
    resets = f", until {level.resets_at:%Y-%m-%d %H:%M %Z}" if level.resets_at is not None else ""
    return f"budget {level.budget} ({level.window}) {reached}: {' and '.join(spent)} spent{resets}"


def _is_used_up(level: BudgetLevel) -> bool:
    return (level.limit_nanousd is not None and level.spent_nanousd >= level.limit_nanousd) or (
        level.limit_tokens is not None and level.spent_tokens >= level.limit_tokens
    )


def _usd(nanousd: int | None) -> str | None:
    return None if nanousd is None else f"{Decimal(nanousd).scaleb(-9).normalize():f}"
