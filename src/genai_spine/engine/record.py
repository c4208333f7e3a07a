"""What happened on the way to an answer: one record a call, one entry an attempt. No word of a prompt."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.costs.spending import notice_of
from genai_spine.engine.ids import Ids
from genai_spine.model.errors import ErrorType, InvalidRequest, ProviderError, SpineError
from genai_spine.model.response import Notice
from genai_spine.policy.budget_need import Asks, nothing
from genai_spine.policy.cache_key import NO_TERMS, terms_of
from genai_spine.policy.route import Choice

if TYPE_CHECKING:
    from genai_spine.engine.routing.decision import Decision
    from genai_spine.engine.routing.request_facts import About
    from genai_spine.ledger.entry import Operation, Status
    from genai_spine.policy.budget import Tally
    from genai_spine.settings.ledger import ContentLevel

MOST_KEPT = 200
_ids = Ids("call_")


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A target that was not asked, and why."""

    choice: Choice
    reason: str
    retry_after_s: float | None = None


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that was given before, and by whom then."""

    age_s: float
    provider: str
    model: str
    saved_nanousd: int | None
    """What it cost then; None where that is not known."""

    def beside(self, other: Cached) -> Cached:
        """Both, as parts of one call."""
        known = [saved for saved in (self.saved_nanousd, other.saved_nanousd) if saved is not None]
        return msgspec.structs.replace(
            other, age_s=max(self.age_s, other.age_s), saved_nanousd=sum(known) if known else None
        )


class CallRecord:
    """Grows while a call is under way. `caller` tells the callers' keys apart, and is no key."""

    __slots__ = (
        "about", "allowance", "answered_by", "asks", "attempts", "begun", "begun_s", "cache_terms", "cached", "caller",
        "content", "cost_limit", "decision", "dialect", "ends_at_s", "is_accounted", "is_admitted", "is_closed",
        "is_last_resort", "is_left", "is_lent", "is_racing", "is_shared", "is_stream", "may_be_cached", "notices",
        "operation", "outcome", "part", "parts", "passed_over", "priority", "request_id", "timeout_s", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        request_id: str | None = None,
        *,
        caller: str | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
    ) -> None:
        self.request_id = request_id
        self.dialect: str | None = None
        """The caller's, where it has one."""
        self.is_stream = False
        self.operation: Operation | None = None
        """None: a chat."""
        self.caller = caller
        self.timeout_s = timeout_s
        """How long the whole call may take; None leaves it to the settings."""
        self.ends_at_s = math.inf
        """When all its attempts must be over (monotonic); told as the first one begins."""
        self.priority = priority
        """Who waits for a limit is let in by this, the higher first."""
        self.about: About | None = None
        """What is said of the call outside of its body, where routing looks at that."""
        self.begun = time.time()
        """For people; how long it took is told by `begun_s` (monotonic)."""
        self.begun_s = time.monotonic()
        self.attempts: list[Attempt] = []
        self.passed_over: list[PassedOver] = []
        self.decision: Decision | None = None
        self.answered_by: Choice | None = None
        self.is_last_resort = False
        """Whether a target that the breaker leaves alone is asked all the same, there being no other."""
        self.tokens: Callable[[], int] = _none
        """Estimates what the call will use, for limits of tokens."""
        self.asks: Callable[[], Asks] = nothing
        """What it asks for that costs, for budgets."""
        self.cost_limit: Decimal | None = None
        """USD that all attempts together may cost."""
        self.allowance: Tally | None = None
        """The same as a budget: what they have spent and set aside of it so far."""
        self.is_accounted = True
        """Whether the ledger hears of it: what costs nothing, such as a count of tokens, it does not."""
        self.is_admitted = False
        """Whether it has been counted among its caller's requests."""
        self.is_closed = False
        self.is_lent = False
        """Whether it is the record of work whose answer others may wait for, too, and not its caller alone."""
        self.is_left = False
        """Whether its caller has left meanwhile."""
        self.is_racing = False
        """Whether two attempts are under way for one answer: which of them is the caller's is not decided."""
        self.is_shared = False
        """Whether another call's answer is this one's too: its attempts are that call's to pay."""
        self.cache_terms = NO_TERMS
        """What the caller says of caching."""
        self.may_be_cached = False
        self.cached: Cached | None = None
        """The answer is one that was given before: nobody was asked."""
        self.content: ContentLevel | None = None
        """How much of its texts the caller lets be kept; None leaves it to the settings."""
        self.notices: tuple[Notice, ...] = ()
        """What happened when the caller's headers were out already, as that another target went on (resumption.py)."""
        self.parts = 0
        """The calls that it was made of so far, where it is no call of its own."""
        self.part = ""
        """Of such a call: what tells its attempts in the ledger from those of the others."""
        self.outcome: Status | None = None
        """How it ended, where its attempts do not tell."""

    def begin_part(self, timeout_s: float | None) -> CallRecord:
        """One of the calls that this one is made of, on its terms: what it spends is spent in this call."""
        self.parts += 1
        part = CallRecord(self.call_id, caller=self.caller, timeout_s=timeout_s, priority=self.priority)
        part.part = f"{self.parts}."
        part.is_closed = True  # the ledger hears of the end of the whole
        part.about, part.cache_terms, part.content = self.about, self.cache_terms, self.content
        part.allowance = self.allowance
        return part

    def end_part(self, part: CallRecord) -> None:
        self.attempts += part.attempts
        self.passed_over += part.passed_over
        self.decision = self.decision or part.decision
        self.answered_by, self.allowance = part.answered_by, part.allowance
        if part.cached is not None:
            self.cached = part.cached if self.cached is None else self.cached.beside(part.cached)

    def done(self) -> None:
        """The call is over: what could still tell its prompt is let go, unless others wait for its answer."""
        if self.is_lent:
            return
        self.tokens, self.asks = _none, nothing
        self.about = None

    def follow(self, other: CallRecord) -> None:
        """This call shares the answer of another: what became of that is told of this."""
        self.decision, self.answered_by = other.decision, other.answered_by
        self.attempts, self.passed_over = other.attempts, other.passed_over
        self.is_shared = True

    @property
    def call_id(self) -> str:
        """Names the call in the ledger: the request's id, or one made for a program's own call."""
        if self.request_id is None:
            self.request_id = _ids.new()
        return self.request_id

    @property
    def route(self) -> str | None:
        return self.decision.route if self.decision is not None else None

    @property
    def tags(self) -> tuple[str, ...]:
        return self.about.tags if self.about is not None else ()

    def exhausted(self, last: SpineError) -> SpineError:
        """The error for the caller: the most telling one, naming all that was tried where it was not one alone."""
        if len(self.attempts) + len(self.passed_over) > 1:
            tried = [f"{attempt.provider}: {attempt.error}" for attempt in self.attempts if attempt.error is not None]
            tried += [f"{passed.choice.provider}: {passed.reason}" for passed in self.passed_over]
            count = "1 attempt" if len(self.attempts) == 1 else f"{len(self.attempts)} attempts"
            last.message = f"no provider answered after {count}. {'; '.join(tried)}"
            if last.type is ErrorType.RATE_LIMIT:
                last.retry_after_s = self._soonest()
        else:
            name_provider(last)
        return last

    def pass_over(self, choice: Choice, error: SpineError) -> None:
        """A target is not asked; it is noted once, however often it is looked at."""
        passed = PassedOver(choice=choice, reason=error.message, retry_after_s=error.retry_after_s)
        if not any(passed.choice == each.choice and passed.reason == each.reason for each in self.passed_over):
            self.passed_over.append(passed)

    def _soonest(self) -> float | None:
        """When the first of those that were busy is free again, as far as they say."""
        waits = [attempt.retry_after_s for attempt in self.attempts]
        waits += [passed.retry_after_s for passed in self.passed_over]
        return min((wait for wait in waits if wait is not None), default=None)

    def cap_notices(self) -> tuple[Notice, ...]:
        """Whether the answer could not be as long as it may have been asked to be."""
        reservation = self.attempts[-1].reservation if self.attempts else None
        notice = notice_of(reservation) if reservation is not None else None
        return (notice,) if notice is not None else ()

    def billing_notices(self) -> tuple[Notice, ...]:
        """Attempts that gave no answer and may be charged: nobody is billed twice without being told."""
        return tuple(
            Notice(
                code="possibly_billed",
                message=f"an attempt at {attempt.provider} {_ending(attempt)}; it may be billed",
            )
            for attempt in self.attempts
            if attempt.may_be_billed
        )


def record_of(timeout_s: float | None, cache_control: str | None) -> CallRecord:
    """The record of a program's own call. Raises: InvalidRequest."""
    record = CallRecord()
    tell_terms(record, timeout_s, cache_control)
    return record


def tell_terms(record: CallRecord, timeout_s: float | None, cache_control: str | None) -> None:
    """What a program says of one call of its own: as much of caching as a header does. Raises: InvalidRequest."""
    if timeout_s is not None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
            kind = type(timeout_s).__name__
            raise InvalidRequest(f"timeout: expected a number of seconds, got {kind}", param="timeout")
        if not timeout_s > 0:  # nor is a NaN
            raise InvalidRequest(f"timeout: expected seconds, more than 0, got {timeout_s}", param="timeout")
        record.timeout_s = timeout_s
    if cache_control is not None:
        if not isinstance(cache_control, str):
            kind = type(cache_control).__name__
            raise InvalidRequest(
                f'cache_control: expected a text such as "no-store", got {kind}', param="cache_control"
            )
        record.cache_terms = terms_of(cache_control)


def _ending(attempt: Attempt) -> str:
    if attempt.left:
        return "was given up for a quicker one" if attempt.error is None else "was given up"
    return "ended after it was sent"


def _none() -> int:
    return 0


def name_provider(error: SpineError) -> None:
    """Puts the provider's name before the message of a failure of its own."""
    if isinstance(error, ProviderError) and error.provider is not None:
        error.message = f"{error.provider}: {error.message}"


class RecentCalls:
    """The records of the last calls, by request id."""

    __slots__ = ("_by_id", "_most")

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._by_id: OrderedDict[str, CallRecord] = OrderedDict()
        self._most = most

    def add(self, record: CallRecord) -> None:
        if record.request_id is None or record.part:
            return
        if record.request_id not in self._by_id and len(self._by_id) >= self._most:
            self._by_id.popitem(last=False)
        self._by_id[record.request_id] = record

    def find(self, request_id: str) -> CallRecord | None:
        return self._by_id.get(request_id)

    def __len__(self) -> int:
        return len(self._by_id)
