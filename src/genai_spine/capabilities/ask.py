"""What a capability asks with: one caller's wishes at one manager, and a count of what the calls cost.

    answer = await ask("How many words?", output_schema=…)       one call, with retries and fallback
    notes = await ask.each(note_of, parts)                       several at a time, within a bound
    return Summary(summary=…, **ask.bill())

Must not know: what is asked for, HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from genai_spine.capabilities.window import window_of
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.request_facts import wanted_of
from genai_spine.model.card import Capabilities
from genai_spine.model.content import Text
from genai_spine.model.errors import BadReply, ContentFiltered
from genai_spine.model.request import CompletionRequest, Message, OutputSchema
from genai_spine.model.response import CompletionResponse, FinishReason, Notice, TokenUsage
from genai_spine.policy.route import Choice
from genai_spine.policy.tokens import estimate

if TYPE_CHECKING:
    from genai_spine.capabilities.capability import CapabilityRequest

AT_ONCE = 4
"""Calls of one request that are under way at a time; what the providers' limits allow is the engine's affair."""

_LEAST_S = 0.001
"""Given to a call for which no time is left, so that it ends as one that took too long."""

T = TypeVar("T")
X = TypeVar("X")


class Ask:
    """`await ask(messages)` is one answer. Lives as long as one request to a capability."""

    def __init__(self, manager: ProviderManager, wishes: CapabilityRequest, record: CallRecord) -> None:
        self.manager = manager
        self._wishes = wishes
        self._base = CompletionRequest(
            messages=(),
            model=wishes.model,
            provider=wishes.provider,
            provider_hint=wishes.provider_hint,
            fallbacks=tuple(wishes.fallbacks),
            cost_limit=wishes.cost_limit,
        )
        self._record = record
        self._answers: list[CompletionResponse] = []
        self._notices: list[Notice] = []
        self._begun_s = time.monotonic()

    # ------------------------------------------------------------ asking

    async def __call__(
        self, messages: str | Sequence[Message], *, output_schema: OutputSchema | None = None
    ) -> CompletionResponse:
        """One answer, with something in it: a model that says nothing is asked once more.

        Raises: SpineError; ContentFiltered where the model refuses, BadReply where it says nothing again.
        """
        request = msgspec.structs.replace(
            self._base,
            messages=messages,
            output_schema=output_schema,
        )
        answer = await self._answer(request)
        if _says_nothing(answer) and answer.finish_reason is FinishReason.STOP:
            self.notice("asked_again", f"{_name(answer)} answered nothing, and was asked once more")
            answer = await self._answer(request)
        _check(answer)
        return answer

    async def _answer(self, request: CompletionRequest) -> CompletionResponse:
        with self._recorded() as record:
            answer = await self.manager.complete(request, record=record)
        self._answers.append(answer)
        return answer

    async def each(self, work: Callable[[X], Awaitable[T]], items: Iterable[X]) -> list[T]:
        """The work done on each item, in order, at most `AT_ONCE` under way; the first failure ends the others.

        Raises: that failure.
        """
        # What is left of a limit is known when a call has ended.
        gate = asyncio.Semaphore(AT_ONCE if self._wishes.cost_limit is None else 1)

        async def one(item: X) -> T:
            async with gate:
                return await work(item)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    @contextmanager
    def _recorded(self) -> Iterator[CallRecord]:
        """A record of one call, on the terms of the whole, which gets what became of it."""
        whole = self._record
        part = whole.begin_part(self._time_left_s())
        try:
            yield part
        finally:
            whole.end_part(part)
            self.manager.traffic.recent.add(whole)

    def _time_left_s(self) -> float | None:
        if self._record.timeout_s is None:
            return None
        return max(_LEAST_S, self._record.timeout_s - (time.monotonic() - self._begun_s))

    # ------------------------------------------------------------ whom

    @cached_property
    def target(self) -> Choice:
        """Who is asked first. Raises: ProviderNotFound."""
        return self.manager.router.plan(wanted_of(self._base), self._record.caller)[0]

    @property
    def target_can(self) -> Capabilities:
        return self.manager.router.provider_of(self.target).capabilities(self.target.model)

    async def window(self) -> int | None:
        """Tokens that fit the target, in and out; None where nobody knows. May ask it for its models."""
        return await window_of(self.manager, self.target)

    def tokens(self, text: str) -> int:
        """By estimate, as one message to the target. A megabyte takes some milliseconds: better in a thread."""
        said = Message(role="user", content=(Text(text=text),))
        return estimate(CompletionRequest(messages=(said,)), self.target.model)

    # ------------------------------------------------------------ what it came to

    def notice(self, code: str, message: str, param: str | None = None) -> None:
        self._notices.append(Notice(code=code, message=message, param=param))

    def bill(self) -> dict[str, Any]:
        """The members of `CapabilityResult`, for the calls so far."""
        last = self._answers[-1] if self._answers else None
        told = [notice for answer in self._answers for notice in answer.notices]
        return {
            "provider": last.provider if last is not None else None,
            "model": last.model if last is not None else None,
            "calls": len(self._answers),
            "usage": _sum([answer.usage for answer in self._answers]),
            "cost_usd": self._cost(),
            "notices": tuple(dict.fromkeys([*self._notices, *told, *self._unknown(), *self._others()])),
        }

    def _cost(self) -> Decimal | None:
        costs = [answer.cost_usd for answer in self._answers]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(costs) else None

    def _unknown(self) -> Iterable[Notice]:
        """What the sums do not have."""
        all_calls = len(self._answers)
        for code, param, what, missing in (
            ("cost_unknown", "cost_usd", "have no known price", [a for a in self._answers if a.cost_usd is None]),
            ("usage_unknown", "usage", "told of no usage", [a for a in self._answers if a.usage is None]),
        ):
            if missing:
                whose = ", ".join(dict.fromkeys(map(_name, missing)))
                yield Notice(code=code, message=f"{len(missing)} of {all_calls} calls {what}: {whose}", param=param)

    def _others(self) -> Iterable[Notice]:
        names = list(dict.fromkeys(map(_name, self._answers)))
        if len(names) > 1:
            yield Notice(code="several_models", message=f"answered by {', '.join(names)}", param="model")


def _name(answer: CompletionResponse) -> str:
    return f"{answer.provider}/{answer.model}"


def _says_nothing(answer: CompletionResponse) -> bool:
    return answer.refusal is None and not answer.content.strip()


def _check(answer: CompletionResponse) -> None:
    """Raises: ContentFiltered, BadReply."""
    said = {"provider": answer.provider, "model": answer.model}
    if answer.refusal is not None:
        raise ContentFiltered(f"{_name(answer)} refused: {answer.refusal[:300]}", **said)  # type: ignore[arg-type]  # names
    if answer.finish_reason is FinishReason.CONTENT_FILTER:
        raise ContentFiltered(f"{_name(answer)}: its content filter stopped the answer", **said)  # type: ignore[arg-type]
    if _says_nothing(answer):
        within = " within its limit of output tokens" if answer.finish_reason is FinishReason.LENGTH else ""
        raise BadReply(f"{_name(answer)} answered nothing{within}", retryable=False, **said)  # type: ignore[arg-type]


def _sum(usages: Sequence[TokenUsage | None]) -> TokenUsage | None:
    """Of each count those that are known; what a provider says beside its counts is left to its own answer."""
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    sums: dict[str, Any] = {}
    for field in msgspec.structs.fields(TokenUsage):
        if field.name in ("estimated", "provider_metadata", "service_tier", "details"):
            continue
        counts = [count for usage in known if (count := getattr(usage, field.name)) is not None]
        sums[field.name] = sum(counts[1:], counts[0]) if counts else None
    return TokenUsage(**sums, estimated=any(usage.estimated for usage in known))
