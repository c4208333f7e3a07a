"""The ledger's tables, what is written to them, and how calls add up to days: SQL that SQLite and Postgres both take,
with `?` for a value.

Roll-ups are of days (UTC, of the beginning) and kinds: `all`, and each provider, model, caller, agent, route and tag.
Each is kept for all callers together, under the caller "", and for each caller apart. Calls count where they ended,
tokens and money where they were spent: at the attempts. Must not know: a connection, the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec

from genai_spine.ledger.entry import Begun, Call, Tokens
from genai_spine.ledger.matching import Attempt

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE attempt (
            id TEXT NOT NULL, call TEXT NOT NULL, begun_at DOUBLE PRECISION NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, answered_model TEXT, dialect TEXT,
            is_stream INTEGER NOT NULL, is_hedge INTEGER NOT NULL, status TEXT NOT NULL,
            duration_s DOUBLE PRECISION, first_s DOUBLE PRECISION,
            input_tokens BIGINT, output_tokens BIGINT, cache_read_tokens BIGINT, cache_write_tokens BIGINT,
            cache_write_1h_tokens BIGINT, reasoning_tokens BIGINT, audio_input_tokens BIGINT,
            audio_output_tokens BIGINT, is_estimated INTEGER NOT NULL,
            cost_nanousd BIGINT, most_nanousd BIGINT, price_since TEXT, price_source TEXT,
            error_type TEXT, status_code INTEGER, service TEXT,
            PRIMARY KEY (call, id)
        ) WITHOUT ROWID""",
        """CREATE TABLE call (
            id TEXT PRIMARY KEY, ended_at DOUBLE PRECISION NOT NULL, duration_s DOUBLE PRECISION NOT NULL,
            status TEXT NOT NULL, attempts INTEGER NOT NULL, caller TEXT, agent TEXT, route TEXT, tags TEXT,
            dialect TEXT, is_stream INTEGER NOT NULL, provider TEXT, model TEXT,
            cost_nanousd BIGINT, unpriced INTEGER NOT NULL, error_type TEXT, status_code INTEGER
        )""",
        "CREATE INDEX call_ended ON call (ended_at)",
        "CREATE INDEX call_caller ON call (caller, ended_at)",
        "CREATE INDEX call_provider ON call (provider, ended_at)",
        "CREATE INDEX call_model ON call (model, ended_at)",
        "CREATE INDEX call_unanswered ON call (status, ended_at) WHERE status <> 'answered'",
        """CREATE TABLE daily (
            kind TEXT NOT NULL, caller TEXT NOT NULL, day TEXT NOT NULL, name TEXT NOT NULL,
            calls BIGINT NOT NULL, failed BIGINT NOT NULL, attempts BIGINT NOT NULL, failed_attempts BIGINT NOT NULL,
            input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, cache_read_tokens BIGINT NOT NULL,
            cache_write_tokens BIGINT NOT NULL, reasoning_tokens BIGINT NOT NULL,
            cost_nanousd BIGINT NOT NULL, unpriced BIGINT NOT NULL, most_nanousd BIGINT NOT NULL,
            unbounded BIGINT NOT NULL,
            PRIMARY KEY (kind, caller, day, name)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE alert (
            key TEXT PRIMARY KEY, id TEXT NOT NULL, body TEXT NOT NULL, raised_at DOUBLE PRECISION NOT NULL,
            ends_at DOUBLE PRECISION, state TEXT NOT NULL, tries INTEGER NOT NULL, due_at DOUBLE PRECISION NOT NULL
        )""",
        "CREATE INDEX alert_waiting ON alert (due_at) WHERE state = 'waiting'",
    ),
    (
        "ALTER TABLE attempt ADD COLUMN agent TEXT",
        "ALTER TABLE attempt ADD COLUMN more TEXT",
        """CREATE TABLE repricings (
            run TEXT NOT NULL, call TEXT NOT NULL, attempt TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
            cost_nanousd BIGINT, price_since TEXT, price_source TEXT,
            new_cost_nanousd BIGINT, new_price_since TEXT, new_price_source TEXT, unpriced_change INTEGER NOT NULL,
            PRIMARY KEY (run, call, attempt)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE call ADD COLUMN is_cached INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE call ADD COLUMN saved_nanousd BIGINT",
        "ALTER TABLE daily ADD COLUMN cached_calls BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE daily ADD COLUMN saved_nanousd BIGINT NOT NULL DEFAULT 0",
    ),
    (
        "ALTER TABLE attempt ADD COLUMN uncounted_tokens BIGINT",
        "ALTER TABLE daily ADD COLUMN uncounted_tokens BIGINT NOT NULL DEFAULT 0",
    ),
    (
        """CREATE TABLE content (
            call TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, request TEXT, answer TEXT, is_cut INTEGER NOT NULL,
            level TEXT NOT NULL
        )""",
        "CREATE INDEX content_at ON content (at)",
    ),
    (
        "ALTER TABLE attempt ADD COLUMN taken_nanousd BIGINT",
        "ALTER TABLE daily ADD COLUMN taken_nanousd BIGINT NOT NULL DEFAULT 0",
        "UPDATE daily SET taken_nanousd = most_nanousd",
    ),
)
"""Each is run once, in order, in one transaction with the others that are missing. What has been released is
never changed: a new one comes after it. `WITHOUT ROWID` is SQLite's alone: rows lie in the order of their key."""

SUMS = (
    "calls", "failed", "attempts", "failed_attempts", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_tokens", "reasoning_tokens", "cost_nanousd", "unpriced", "most_nanousd", "unbounded",
    "cached_calls", "saved_nanousd", "uncounted_tokens", "taken_nanousd",
)  # fmt: skip
"""Of `unpriced` attempts the cost is not known: it is `most_nanousd` at most, but for the `unbounded` ones, and budgets
take it for `taken_nanousd`."""

ATTEMPT = (
    "id", "call", "begun_at", "provider", "model", "answered_model", "dialect", "is_stream", "is_hedge", "status",
    "duration_s", "first_s", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "is_estimated",
    "cost_nanousd", "most_nanousd", "price_since", "price_source", "error_type", "status_code", "service", "agent",
    "more", "uncounted_tokens", "taken_nanousd",
)  # fmt: skip
"""The columns in the order of `attempt_row`."""
CALL = (
    "id", "ended_at", "duration_s", "status", "attempts", "caller", "agent", "route", "tags", "dialect", "is_stream",
    "provider", "model", "cost_nanousd", "unpriced", "error_type", "status_code", "is_cached", "saved_nanousd",
)  # fmt: skip
HAS_ATTEMPT = "SELECT id FROM attempt WHERE call IN"
HAS_CALL = "SELECT id FROM call WHERE id IN"
ADD_UP = (
    f"INSERT INTO daily (kind, caller, day, name, {', '.join(SUMS)}) VALUES ({', '.join('?' * (4 + len(SUMS)))}) "
    f"ON CONFLICT (kind, caller, day, name) DO UPDATE SET "
    + ", ".join(f"{name} = daily.{name} + excluded.{name}" for name in SUMS)
)
ADD_LATE = (
    "UPDATE call SET cost_nanousd = coalesce(cost_nanousd, 0) + ?, "
    "unpriced = CASE WHEN unpriced > 0 THEN unpriced - 1 ELSE 0 END WHERE id = ?"
)
OLDEST = "SELECT id FROM call WHERE ended_at < ? ORDER BY ended_at LIMIT ?"
DELETE_OLD = (
    f"DELETE FROM content WHERE call IN ({OLDEST})",
    f"DELETE FROM attempt WHERE call IN ({OLDEST})",
    f"DELETE FROM call WHERE id IN ({OLDEST})",
)

OTHERS = "(others)"
_MOST_NAMES = 1000
_MADE_UP = frozenset({"model", "tag"})
"""Of these kinds so many names of one caller and day are told apart, for they are whatever callers make up. The names
of the others are in the settings."""
_LONGEST_NAME = 200
_MOST_TOKENS = 10**12
_MOST_NANOUSD = 10**17
"""No call uses so much; a count beyond is a provider's mistake, and not known."""
_NO_TOKENS = Tokens()

Key = tuple[str, str, str, str]
Whose = tuple[int, str | None, str | None, str | None, str | None, str | None, tuple[str, ...]]
"""Day since 1970, caller, provider, model, agent, route, tags."""
_DAY_S = 86_400
_FIRST_DAY = date(1970, 1, 1)


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    begun, ended, _ = attempt
    tokens = ended.tokens or _NO_TOKENS
    return (
        begun.id, begun.call, begun.at, _text(begun.provider), _text(begun.model), _text(ended.model), begun.dialect,
        int(begun.is_stream), int(begun.is_hedge), ended.status, ended.duration_s, ended.first_s,
        *_counts(tokens), int(tokens.is_estimated), _money(ended.cost_nanousd),
        _money(attempt.most_nanousd), ended.price_since, ended.price_source, ended.error_type, ended.status_code,
        _text(ended.service), _text(begun.agent), _text(tokens.more), _count(ended.uncounted_tokens),
        _money(ended.taken_nanousd),
    )  # fmt: skip


def call_row(call: Call) -> tuple[Any, ...]:
    return (
        call.id, call.at, call.duration_s, call.status, call.attempts, _text(call.caller), _text(call.agent),
        _text(call.route), _text(msgspec.json.encode(call.tags).decode()) if call.tags else None, call.dialect,
        int(call.is_stream), _text(call.provider), _text(call.model), _money(call.cost_nanousd), call.unpriced,
        call.error_type, call.status_code, int(call.is_cached), _money(call.saved_nanousd),
    )  # fmt: skip


def late_row(attempt: Attempt) -> tuple[Any, ...] | None:
    cost = _money(attempt.ended.cost_nanousd)
    return (cost, attempt.begun.call) if attempt.is_late and cost is not None else None


class RollUps:
    """What rows add to their days. Remembers which names it has seen, so that made-up ones do not fill the table."""

    def __init__(self) -> None:
        self._parts: dict[Whose, list[int]] = {}
        """Sums of the rows that are alike in all that is summed by: most of a second's are."""
        self._names: dict[tuple[str, str, str], set[str]] = {}

    def add_call(self, call: Call) -> None:
        part = self._part(call.at - call.duration_s, call)
        part[0] += 1
        part[1] += call.status in ("failed", "interrupted")
        part[13] += call.is_cached
        if call.saved_nanousd is not None:  # also where some parts of a call were cached
            part[14] += _money(call.saved_nanousd) or 0

    def add_attempt(self, attempt: Attempt) -> None:
        begun, ended, _ = attempt
        part = self._part(begun.at, begun)
        part[2] += 1
        part[3] += ended.status in ("failed", "interrupted")
        if (tokens := ended.tokens) is not None:
            part[4] += _count(tokens.input) or 0
            part[5] += _count(tokens.output) or 0
            part[6] += _count(tokens.cache_read) or 0
            part[7] += _count(tokens.cache_write) or 0
            part[8] += _count(tokens.reasoning) or 0
        if ended.uncounted_tokens is not None:
            part[15] += _count(ended.uncounted_tokens) or 0
        if (cost := _money(ended.cost_nanousd)) is not None:
            part[9] += cost
        else:
            most = _money(attempt.most_nanousd)
            part[10] += 1
            part[11] += most or 0
            part[12] += most is None
            taken = _money(ended.taken_nanousd)
            part[16] += (most if taken is None else taken) or 0

    def take(self) -> list[tuple[Any, ...]]:
        """The rows to add, in an order that all writers keep to."""
        sums: dict[Key, list[int]] = {}
        for whose, part in self._parts.items():
            for key in self._keys(whose):
                found = sums.get(key)
                sums[key] = part if found is None else [a + b for a, b in zip(found, part, strict=True)]
        self._parts = {}
        return [(*key, *sums[key]) for key in sorted(sums)]

    def _part(self, at: float, of: Begun | Call) -> list[int]:
        whose = (int(at // _DAY_S), of.caller, of.provider, of.model, of.agent, of.route, of.tags)
        part = self._parts.get(whose)
        if part is None:
            part = self._parts[whose] = [0] * len(SUMS)
        return part

    def _keys(self, whose: Whose) -> Iterator[Key]:
        for kind, caller, day, name in keys_of(whose):
            yield kind, caller, day, self._known(kind, caller, day, name)

    def _known(self, kind: str, caller: str, day: str, name: str) -> str:
        names = self._names.get((kind, caller, day))
        if names is None:
            if len(self._names) > 20 * _MOST_NAMES:  # of days and callers that are long gone
                self._names.clear()
            names = self._names[kind, caller, day] = set()
        if name in names:
            return name
        if len(names) >= _MOST_NAMES and kind in _MADE_UP:
            return OTHERS
        names.add(name)
        return name


def keys_of(whose: Whose) -> Iterator[Key]:
    """The roll-ups that something is part of, as if all names were told apart."""
    day = (_FIRST_DAY + timedelta(whose[0])).isoformat()
    caller = None if whose[1] is None else _name(whose[1])
    for kind, name in _names_of(whose):
        yield kind, "", day, name
        if caller is not None and kind != "caller":
            yield kind, caller, day, name


def _names_of(whose: Whose) -> Iterator[tuple[str, str]]:
    _, caller, provider, model, agent, route, tags = whose
    yield "all", ""
    if provider is not None:
        yield "provider", _name(provider)
        yield "model", _name(f"{provider}/{model or ''}")
    for kind, name in (("caller", caller), ("agent", agent), ("route", route)):
        if name is not None:
            yield kind, _name(name)
    for tag in dict.fromkeys(map(_name, tags)):
        yield "tag", tag


def _name(text: str) -> str:
    return text[:_LONGEST_NAME].replace("\0", "�")


def _text(text: str | None) -> str | None:
    """Postgres has no NUL in a text."""
    return text if text is None or "\0" not in text else text.replace("\0", "�")


def _counts(tokens: Tokens) -> tuple[int | None, ...]:
    counts = (
        tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h,
        tokens.reasoning, tokens.audio_input, tokens.audio_output,
    )  # fmt: skip
    for count in counts:
        if count is not None and not 0 <= count <= _MOST_TOKENS:
            return tuple(map(_count, counts))
    return counts


def _count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens <= _MOST_TOKENS else None


def _money(nanousd: int | None) -> int | None:
    return nanousd if nanousd is not None and 0 <= nanousd <= _MOST_NANOUSD else None
