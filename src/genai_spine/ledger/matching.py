"""From entries as they come to rows of the ledger: each attempt's end with its beginning, and what has no end.

Must not know: where entries come from, and where rows go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from genai_spine.ledger.entry import Begun, Bounded, Call, Ended, Entry

LONGEST_CALL_S = 24 * 3600.0
"""What has not ended after so long, by the times of later entries, counts as interrupted."""


class Attempt(NamedTuple):
    begun: Begun
    ended: Ended
    is_late: bool = False
    """Whether its call was over before: what it cost is added to the call's."""

    @property
    def most_nanousd(self) -> int | None:
        """What it may have cost at most, as far as that was worked out."""
        most = self.ended.most_nanousd
        return most if most is not None else self.begun.most_nanousd


Row = Attempt | Call


class _Open:
    """A call that is not over, or of which an attempt has not ended."""

    __slots__ = ("ended", "is_over", "known", "known_nanousd", "last", "period", "under_way")

    def __init__(self, last: Begun) -> None:
        self.last = last
        self.under_way: list[str] = []
        self.ended = 0
        """Attempts; of `known` of those the cost is known, and is `known_nanousd` together."""
        self.known = 0
        self.known_nanousd = 0
        self.is_over = False
        self.period = 0
        """In which something was told of it last."""


class Matching:
    """The calls of one process."""

    def __init__(self) -> None:
        self._calls: dict[str, _Open] = {}
        self._attempts: dict[str, Begun] = {}
        """Those under way."""
        self._period = 0
        self._now = 0.0

    def take(self, entries: Iterable[Entry]) -> list[Row]:
        """The rows that are complete by these entries, in order."""
        rows: list[Row] = []
        for entry in entries:
            if isinstance(entry, Begun):
                self._begin(entry)
            elif isinstance(entry, Ended):
                attempt = self._end(entry)
                if attempt is not None:
                    rows.append(attempt)
                    if entry.call_s is not None:
                        rows.append(_over_with(attempt, entry.call_s))
            elif isinstance(entry, Bounded):
                self._bound(entry)
            else:
                rows.append(entry)
                self._close(entry)
        return rows

    def take_touched(self) -> set[str]:
        """The open calls of which something was told since this was asked last."""
        period = self._period
        self._period += 1
        return {id for id, call in self._calls.items() if call.period == period}

    def has_open(self, calls: set[str]) -> bool:
        return not self._calls.keys().isdisjoint(calls)

    def __len__(self) -> int:
        return len(self._calls)

    def interrupted(self, *, all_of_them: bool = False) -> list[Row]:
        """The rows of calls that nobody will end any more: those that are too old, or `all_of_them`."""
        rows: list[Row] = []
        for id, call in list(self._calls.items()):
            if all_of_them or call.last.at < self._now - LONGEST_CALL_S:
                del self._calls[id]
                rows += self._given_up(id, call)
        return rows

    def _begin(self, begun: Begun) -> None:
        if begun.id in self._attempts:
            return  # said twice
        call = self._calls.get(begun.call)
        if call is None:
            call = self._calls[begun.call] = _Open(begun)
        call.last = begun
        call.under_way.append(begun.id)
        call.period = self._period
        self._attempts[begun.id] = begun
        if begun.at > self._now:
            self._now = begun.at

    def _bound(self, bounded: Bounded) -> None:
        begun = self._attempts.get(bounded.id)
        if begun is not None:
            self._attempts[begun.id] = msgspec.structs.replace(begun, most_nanousd=bounded.most_nanousd)
            self._calls[begun.call].period = self._period

    def _end(self, ended: Ended) -> Attempt | None:
        begun = self._attempts.pop(ended.id, None)
        if begun is None:
            return None  # said twice, or its beginning is in a segment that was done with
        call = self._calls[begun.call]
        call.under_way.remove(ended.id)
        call.ended += 1
        if ended.cost_nanousd is not None:
            call.known += 1
            call.known_nanousd += ended.cost_nanousd
        call.period = self._period
        is_late = call.is_over
        call.is_over = is_late or ended.call_s is not None
        if call.is_over and not call.under_way:
            del self._calls[begun.call]
        return Attempt(begun, ended, is_late)

    def _close(self, over: Call) -> None:
        call = self._calls.get(over.id)
        if call is None:
            return
        call.period = self._period
        call.is_over = True
        if not call.under_way:
            del self._calls[over.id]

    def _given_up(self, id: str, call: _Open) -> list[Row]:
        begun = [self._attempts.pop(attempt) for attempt in call.under_way]
        given_up: list[Row] = [Attempt(each, _interrupted(each), call.is_over) for each in begun]
        if call.is_over:
            return given_up
        last, attempts = call.last, call.ended + len(begun)
        return [
            *given_up,
            Call(
                id=id, at=last.at, duration_s=0.0, status="interrupted", attempts=attempts, caller=last.caller,
                agent=last.agent, route=last.route, tags=last.tags, dialect=last.dialect, is_stream=last.is_stream,
                provider=last.provider, model=last.model, cost_nanousd=call.known_nanousd if call.known else None,
                unpriced=attempts - call.known,
            ),
        ]  # fmt: skip


def _over_with(attempt: Attempt, call_s: float) -> Call:
    """The call that was over with its only attempt."""
    begun, ended, _ = attempt
    return Call(
        id=begun.call, at=ended.at, duration_s=call_s, status=ended.status, attempts=1, caller=begun.caller,
        agent=begun.agent, route=begun.route, tags=begun.tags, dialect=begun.dialect, is_stream=begun.is_stream,
        provider=begun.provider, model=begun.model or None, cost_nanousd=ended.cost_nanousd,
        unpriced=int(ended.cost_nanousd is None), error_type=ended.error_type, status_code=ended.status_code,
        operation=begun.operation,
    )  # fmt: skip


def _interrupted(begun: Begun) -> Ended:
    """An attempt whose end nobody saw: it may have cost what was set aside for it."""
    held = begun.held_tokens
    return Ended(id=begun.id, at=begun.at, status="interrupted", duration_s=0.0, uncounted_tokens=held)
