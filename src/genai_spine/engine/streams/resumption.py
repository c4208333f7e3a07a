"""Who goes on with a stream that broke: the targets of its call that can, under the same deadline and record."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.call import call
from genai_spine.engine.costs.asks import asks_of
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.streams import event_stream
from genai_spine.engine.streams.continuation import Partial, goes_on
from genai_spine.engine.streams.event_stream import EventStream
from genai_spine.engine.traffic import Traffic
from genai_spine.model.response import Notice
from genai_spine.policy.route import Choice
from genai_spine.providers.provider import LLMProvider


class Resumption:
    """Of one call. Its attempts stand in the call's record like all others."""

    __slots__ = ("_decision", "_provider_of", "_record", "_traffic")

    def __init__(
        self, decision: Decision, record: CallRecord, traffic: Traffic, provider_of: Callable[[Choice], LLMProvider]
    ) -> None:
        self._decision = decision
        self._record = record
        self._traffic = traffic
        self._provider_of = provider_of

    @classmethod
    def of(
        cls, record: CallRecord, traffic: Traffic, provider_of: Callable[[Choice], LLMProvider]
    ) -> Resumption | None:
        """For the call that is under way; None where a stream of it that breaks ends with an error, as its decision
        says or because none of its targets could go on: it is relayed then, where it can be."""
        decision = record.decision
        if decision is None or decision.on_break != "continue":
            return None
        is_of_use = any(goes_on(provider_of(choice), choice) for choice in decision.choices)
        return cls(decision, record, traffic, provider_of) if is_of_use else None

    async def resume(self, partial: Partial) -> EventStream | None:
        """The stream that goes on, begun; None where nobody can, or no time is left. Raises: SpineError."""
        targets = partial.targets(self._decision.choices, self._provider_of)
        record = self._record
        if not targets or time.monotonic() >= record.ends_at_s:
            return None

        async def send(choice: Choice, attempt: Attempt) -> EventStream:
            provider = self._provider_of(choice)
            request = partial.request_for(provider, choice)
            if attempt.max_tokens is not None:
                request = msgspec.structs.replace(request, max_tokens=attempt.max_tokens)
            least = self._traffic.settings.streams.min_tokens_per_s
            return await event_stream.begin(provider, request, attempt, min_tokens_per_s=least)

        asks_before = record.asks
        record.asks = lambda: asks_of(msgspec.structs.replace(partial.request, messages=partial.messages))
        try:
            decision = msgspec.structs.replace(self._decision, choices=targets)
            return await call(
                send, decision, self._traffic, record, discard=EventStream.aclose, ends_at_s=record.ends_at_s
            )
        finally:
            record.decision, record.asks = self._decision, asks_before

    def note(self, notice: Notice) -> None:
        """The caller's headers are out: what happened stands in the record."""
        self._record.notices = (*self._record.notices, notice)
