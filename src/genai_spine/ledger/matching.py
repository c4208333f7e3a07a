"""From entries as they come to rows of the ledger: each attempt's end with its beginning, and what has no end.

Must not know: where entries come from, and where rows go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from genai_spine.ledger.entry import Begun, Call, Ended, Entry

LONGEST_CALL_S = 24 * 3600.0
"""What has not ended after so long, by the times of later entries, counts as interrupted."""


class Attempt(NamedTuple):
    begun: Begun
    ended: Ended
    is_late: bool = False
    """Whether its call was over before: what it cost is added to the call's."""


Row = Attempt | Call


class _Open:
    """A call that is not over, or of which an attempt has not ended."""

    __slots__ = ("ended", "is_over", "last", "under_way")

    def __init__(self, last: Begun) -> None:
        self.last = last
        self.under_way: dict[str, Begun] = {}
        self.ended: list[Attempt] = []
        self.is_over = False


class Matching:
    """The calls of one process."""

    def __init__(self) -> None:
        self._calls: dict[str, _Open] = {}
        self._call_of: dict[str, str] = {}
        """Of each attempt under way."""
        self._touched: set[str] = set()
        self._now = 0.0

    def take(self, entries: Iterable[Entry]) -> list[Row]:
        """The rows that are complete by these entries, in order."""
        rows: list[Row] = []
        for entry in entries:
            if isinstance(entry, Begun):
                self._begin(entry)
            elif isinstance(entry, Ended):
                rows += self._end(entry)
            else:
                rows.append(entry)
                self._close(entry)
        return rows

    def take_touched(self) -> set[str]:
        """The open calls of which something was told since this was asked last."""
        touched, self._touched = self._touched & self._calls.keys(), set()
        return touched

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
        call = self._calls.get(begun.call)
        if call is None:
            call = self._calls[begun.call] = _Open(begun)
        call.last = begun
        call.under_way[begun.id] = begun
        self._call_of[begun.id] = begun.call
        self._touched.add(begun.call)
        self._now = max(self._now, begun.at)

    def _end(self, ended: Ended) -> list[Row]:
        id = self._call_of.pop(ended.id, None)
        if id is None:
            return []  # said twice, or its beginning is in a segment that was done with
        call = self._calls[id]
        attempt = Attempt(call.under_way.pop(ended.id), ended, call.is_over)
        call.ended.append(attempt)
        self._touched.add(id)
        if call.is_over and not call.under_way:
            del self._calls[id]
        return [attempt]

    def _close(self, over: Call) -> None:
        call = self._calls.get(over.id)
        if call is None:
            return
        self._touched.add(over.id)
        call.is_over = True
        if not call.under_way:
            del self._calls[over.id]

    def _given_up(self, id: str, call: _Open) -> list[Row]:
        given_up = [Attempt(begun, _interrupted(begun), call.is_over) for begun in call.under_way.values()]
        for attempt in given_up:
            self._call_of.pop(attempt.begun.id, None)
        if call.is_over:
            return [*given_up]
        last, attempts = call.last, [*call.ended, *given_up]
        costs = [each.ended.cost_nanousd for each in attempts if each.ended.cost_nanousd is not None]
        return [
            *given_up,
            Call(
                id=id, at=last.at, duration_s=0.0, status="interrupted", attempts=len(attempts), caller=last.caller,
                agent=last.agent, route=last.route, tags=last.tags, dialect=last.dialect, is_stream=last.is_stream,
                provider=last.provider, model=last.model, cost_nanousd=sum(costs) if costs else None,
                unpriced=len(attempts) - len(costs),
            ),
        ]  # fmt: skip


def _interrupted(begun: Begun) -> Ended:
    """An attempt whose end nobody saw: it may have cost what was set aside for it."""
    return Ended(id=begun.id, at=begun.at, status="interrupted", duration_s=0.0)
