"""What was spent in the windows of budgets, read from the ledger as a process starts, or later if it can't be then.

Whole days (UTC) come from the roll-ups, as far as their sums can tell a budget's part: by one of provider, model,
key, agent and tag, and by one of these of each key. The rest, such as the hours that a day in another zone begins
before UTC's, what one agent used of one provider, or a pattern of tags, comes from the attempts themselves, as far as
they are kept. An attempt whose cost or tokens are not known counts with what budgets took for spent when it ended, and
one of which they took nothing, or whose end nobody saw, with what it may have cost at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import inf

import msgspec

from genai_spine.ledger.reading import Reader
from genai_spine.ledger.scan import midnight
from genai_spine.ledger.tables import OTHERS
from genai_spine.policy.budget import Budget, Span, Subject, span_of
from genai_spine.settings.budget_checks import is_pattern

KINDS = {"provider": "provider", "model": "model", "key": "caller", "agent": "agent", "tag": "tag"}
_TOKENS = "sum(input_tokens + output_tokens + uncounted_tokens)"
_SUMS = {
    "expected": f"sum(cost_nanousd) + sum(taken_nanousd), {_TOKENS}",
    "hard": f"sum(cost_nanousd) + sum(most_nanousd), {_TOKENS}",
}
_COSTS = {
    "expected": "coalesce(a.cost_nanousd, a.taken_nanousd, a.most_nanousd, 0)",
    "hard": "coalesce(a.cost_nanousd, a.most_nanousd, 0)",
}
_ATTEMPTS = (
    "SELECT a.provider, a.model, c.caller, c.agent, c.tags, sum({cost}), "
    "sum(coalesce(a.input_tokens, 0) + coalesce(a.output_tokens, 0) + coalesce(a.uncounted_tokens, 0)) "
    "FROM attempt a JOIN call c ON c.id = a.call "
    "WHERE c.ended_at >= ? AND a.begun_at >= ? AND a.begun_at < ? "
    "GROUP BY a.provider, a.model, c.caller, c.agent, c.tags"
)

_FAR_S = 1e11
"""A moment after all others that is still one."""

_tags = msgspec.json.Decoder(tuple[str, ...])


class Spent:
    """By budget and by whose it is: nano-dollars and tokens, in the window under way when it was read."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], tuple[int, int]] = {}
        self._starts: dict[str, float] = {}

    def of(self, budget: Budget, whose: str, starts_s: float) -> tuple[int, int] | None:
        """Of the window that begins then; None where nothing is known of it."""
        return self._sums.get((budget.name, whose)) if self._starts.get(budget.name) == starts_s else None

    def names(self, budget: Budget) -> tuple[str, ...]:
        """Who has spent anything of what each has."""
        return tuple(whose for name, whose in self._sums if name == budget.name)

    def add(self, budget: Budget, subject: Subject, nanousd: int, tokens: int) -> None:
        for whose in budget.whose(subject):
            before = self._sums.get((budget.name, whose), (0, 0))
            self._sums[budget.name, whose] = (before[0] + nanousd, before[1] + tokens)

    def begin(self, budget: Budget, starts_s: float) -> None:
        self._starts[budget.name] = starts_s


def read_spent(reader: Reader, budgets: tuple[Budget, ...], now_s: float, *, before_s: float = inf) -> Spent:
    """In the windows of now; of attempts that began before `before_s`. Raises: the driver's errors."""
    spent = Spent()
    for budget in budgets:
        span = span_of(budget.window, now_s, budget.zone)
        spent.begin(budget, span.starts_s)
        # Not what a clock that was ahead has dated beyond it.
        for subject, nanousd, tokens in _parts(reader, budget, Span(span.starts_s, min(span.ends_s, before_s))):
            spent.add(budget, subject, nanousd, tokens)
    return spent


def _parts(reader: Reader, budget: Budget, span: Span) -> Iterator[tuple[Subject, int, int]]:
    mode = "hard" if budget.is_hard else "expected"
    kinds = kinds_of(budget)
    if kinds is None or _fits_many_tags(budget):
        yield from _of_attempts(reader, mode, span)
        return
    first = _day_of(span.starts_s, is_begun=False)
    last = _day_of(span.ends_s, is_begun=True)
    if first >= last:  # not a single whole day
        yield from _of_attempts(reader, mode, span)
        return
    # A part of a day, whole ones, and a part of one.
    yield from _of_attempts(reader, mode, Span(span.starts_s, midnight(first)))
    crowded = _crowded_days(reader, kinds, first, last)
    for day in crowded:
        yield from _of_attempts(reader, mode, Span(midnight(day), midnight(day + timedelta(1))))
    yield from _of_days(reader, mode, kinds, first, last, without=crowded)
    if last < date.max:
        yield from _of_attempts(reader, mode, Span(midnight(last), span.ends_s))


def _day_of(moment_s: float, *, is_begun: bool) -> date:
    """The day (UTC) of that moment, or the next one where it is to begin then or later."""
    if moment_s >= _FAR_S:
        return date.max
    moment = datetime.fromtimestamp(moment_s, UTC)
    return moment.date() if is_begun or moment.time() == time() else moment.date() + timedelta(days=1)


def _fits_many_tags(budget: Budget) -> bool:
    """Whether an attempt may be in the sums of several tags, and is to count once."""
    return budget.tag is not None and budget.each != "tag" and is_pattern(budget.tag)


def kinds_of(budget: Budget) -> frozenset[str] | None:
    """What the roll-ups are to tell apart; None where they do not."""
    names = frozenset(name for name in KINDS if getattr(budget, name) is not None or budget.each == name)
    rest = names - {"key"}
    if rest == {"provider", "model"}:  # a model's name there has its provider's before it
        rest = frozenset({"model"})
    return rest | (names & {"key"}) if len(rest) <= 1 else None


def _crowded_days(reader: Reader, kinds: frozenset[str], first: date, end: date) -> list[date]:
    """The days that had more names than their sums tell apart, if their attempts are all still kept."""
    kind, by_key = kind_of(kinds)
    rows = reader.query(
        f"SELECT DISTINCT day FROM daily WHERE kind = ? AND caller {'<>' if by_key else '='} ? AND name = ? "
        "AND day >= ? AND day < ?",
        (KINDS.get(kind, "all"), "", OTHERS, first.isoformat(), end.isoformat()),
    )
    days = sorted(date.fromisoformat(day) for (day,) in rows)
    return [day for day in days if _is_kept(reader, day)]


def _is_kept(reader: Reader, day: date) -> bool:
    [(summed,)] = reader.query(
        "SELECT sum(attempts) FROM daily WHERE kind = 'all' AND caller = '' AND day = ?", (day.isoformat(),)
    )
    [(kept,)] = reader.query(
        "SELECT count(*) FROM attempt WHERE begun_at >= ? AND begun_at < ?",
        (midnight(day), midnight(day + timedelta(1))),
    )
    return int(kept) >= int(summed or 0)


def _of_days(
    reader: Reader, mode: str, kinds: frozenset[str], first: date, end: date, *, without: Sequence[date]
) -> Iterator[tuple[Subject, int, int]]:
    kind, by_key = kind_of(kinds)
    left_out = f"AND day NOT IN ({', '.join('?' * len(without))}) " if without else ""
    rows = reader.query(
        f"SELECT caller, name, {_SUMS[mode]} FROM daily WHERE kind = ? AND caller {'<>' if by_key else '='} ? "
        f"AND day >= ? AND day < ? {left_out}GROUP BY caller, name",
        (
            KINDS.get(kind, "all"),
            "",
            first.isoformat(),
            end.isoformat(),
            *(day.isoformat() for day in without),
        ),
    )
    for caller, name, nanousd, tokens in rows:
        yield subject_of(kind, caller, name), int(nanousd or 0), int(tokens or 0)


def kind_of(kinds: frozenset[str]) -> tuple[str, bool]:
    """Of which kind the roll-ups are that tell these apart, "" being all, and whether it is those of each key."""
    [kind] = kinds - {"key"} or {"key" if "key" in kinds else ""}
    return kind, "key" in kinds and kind != "key"


def subject_of(kind: str, caller: str, name: str) -> Subject:
    """Whose a roll-up is, as far as it tells."""
    subject = Subject("", "", caller or None)
    match kind:
        case "provider":
            return subject._replace(provider=name)
        case "model":
            provider, _, model = name.partition("/")
            return subject._replace(provider=provider, model=model)
        case "key":
            return subject._replace(key=name)
        case "agent":
            return subject._replace(agent=name)
        case "tag":
            return subject._replace(tags=(name,))
        case _:
            return subject


def _of_attempts(reader: Reader, mode: str, span: Span) -> Iterator[tuple[Subject, int, int]]:
    if span.starts_s >= span.ends_s:
        return
    until = min(span.ends_s, _FAR_S)
    for provider, model, caller, agent, tags, nanousd, tokens in reader.query(
        _ATTEMPTS.format(cost=_COSTS[mode]), (span.starts_s, span.starts_s, until)
    ):
        subject = Subject(provider, model, caller, agent, _tags.decode(tags) if tags else ())
        yield subject, int(nanousd or 0), int(tokens or 0)
