"""The ledger's tables, what is written to them, and how calls add up to days: SQL that SQLite and Postgres both take,
with `?` for a value.

Roll-ups are of days (UTC, of the beginning) and kinds: `all`, and each provider, model, caller, agent, route and tag.
Each is kept for all callers together, under the caller "", and for each caller apart. Calls count where they ended,
tokens and money where they were spent: at the attempts. Must not know: a connection, the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from genai_spine.ledger.entry import Begun, Call, Tokens
from genai_spine.ledger.matching import Attempt

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE attempt (
            id TEXT PRIMARY KEY, call TEXT NOT NULL, begun_at DOUBLE PRECISION NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, answered_model TEXT, dialect TEXT,
            is_stream INTEGER NOT NULL, is_hedge INTEGER NOT NULL, status TEXT NOT NULL,
            duration_s DOUBLE PRECISION, first_s DOUBLE PRECISION,
            input_tokens BIGINT, output_tokens BIGINT, cache_read_tokens BIGINT, cache_write_tokens BIGINT,
            cache_write_1h_tokens BIGINT, reasoning_tokens BIGINT, audio_input_tokens BIGINT,
            audio_output_tokens BIGINT, is_estimated INTEGER NOT NULL,
            cost_nanousd BIGINT, most_nanousd BIGINT, price_since TEXT, price_source TEXT,
            error_type TEXT, status_code INTEGER
        )""",
        "CREATE INDEX attempt_call ON attempt (call)",
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
        )""",
    ),
)
"""Each is run once, in order, in one transaction with the others that are missing. What has been released is
never changed: a new one comes after it."""

SUMS = (
    "calls", "failed", "attempts", "failed_attempts", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_tokens", "reasoning_tokens", "cost_nanousd", "unpriced", "most_nanousd", "unbounded",
)  # fmt: skip
"""Of `unpriced` attempts the cost is not known: it is `most_nanousd` at most, but for the `unbounded` ones."""

INSERT_ATTEMPT = "INSERT INTO attempt VALUES (" + ", ".join("?" * 27) + ") ON CONFLICT (id) DO NOTHING"
INSERT_CALL = "INSERT INTO call VALUES (" + ", ".join("?" * 17) + ") ON CONFLICT (id) DO NOTHING"
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
DELETE_OLD = (f"DELETE FROM attempt WHERE call IN ({OLDEST})", f"DELETE FROM call WHERE id IN ({OLDEST})")

OTHERS = "(others)"
_MOST_NAMES = 1000
"""Names of one kind, caller and day that are told apart: tags and models are whatever callers make up."""
_LONGEST_NAME = 200
_MOST_TOKENS = 10**12
_MOST_NANOUSD = 10**17
"""No call uses so much; a count beyond is a provider's mistake, and not known."""
_NO_TOKENS = Tokens()

Key = tuple[str, str, str, str]


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    begun, ended, _ = attempt
    tokens = ended.tokens or _NO_TOKENS
    return (
        begun.id, begun.call, begun.at, _text(begun.provider), _text(begun.model), _text(ended.model), begun.dialect,
        int(begun.is_stream), int(begun.is_hedge), ended.status, ended.duration_s, ended.first_s,
        *map(_count, _counts(tokens)), int(tokens.is_estimated), _money(ended.cost_nanousd),
        _money(begun.most_nanousd), ended.price_since, ended.price_source, ended.error_type, ended.status_code,
    )  # fmt: skip


def call_row(call: Call) -> tuple[Any, ...]:
    return (
        call.id, call.at, call.duration_s, call.status, call.attempts, _text(call.caller), _text(call.agent),
        _text(call.route), _text(msgspec.json.encode(call.tags).decode()) if call.tags else None, call.dialect,
        int(call.is_stream), _text(call.provider), _text(call.model), _money(call.cost_nanousd), call.unpriced,
        call.error_type, call.status_code,
    )  # fmt: skip


def late_row(attempt: Attempt) -> tuple[Any, ...] | None:
    cost = _money(attempt.ended.cost_nanousd)
    return (cost, attempt.begun.call) if attempt.is_late and cost is not None else None


class RollUps:
    """What rows add to their days. Remembers which names it has seen, so that made-up ones do not fill the table."""

    def __init__(self) -> None:
        self._sums: dict[Key, list[int]] = {}
        self._names: dict[tuple[str, str, str], set[str]] = {}

    def add_call(self, call: Call) -> None:
        part = [0] * len(SUMS)
        part[0], part[1] = 1, int(call.status in ("failed", "interrupted"))
        self._add(_day(call.at - call.duration_s), part, call)

    def add_attempt(self, attempt: Attempt) -> None:
        begun, ended, _ = attempt
        tokens = ended.tokens or _NO_TOKENS
        cost, most = _money(ended.cost_nanousd), _money(begun.most_nanousd)
        is_unpriced = cost is None
        part = [
            0, 0, 1, int(ended.status in ("failed", "interrupted")), _count(tokens.input) or 0,
            _count(tokens.output) or 0, _count(tokens.cache_read) or 0, _count(tokens.cache_write) or 0,
            _count(tokens.reasoning) or 0, cost or 0, int(is_unpriced), (most or 0) if is_unpriced else 0,
            int(is_unpriced and most is None),
        ]  # fmt: skip
        self._add(_day(begun.at), part, begun)

    def take(self) -> list[tuple[Any, ...]]:
        """The rows to add, in an order that all writers keep to."""
        rows = [(*key, *part) for key, part in sorted(self._sums.items())]
        self._sums = {}
        return rows

    def _add(self, day: str, part: list[int], of: Begun | Call) -> None:
        callers = ("",) if of.caller is None else ("", _name(of.caller))
        for kind, name in _names_of(of):
            for caller in callers:
                if caller and kind == "caller":
                    continue
                key = (kind, caller, day, self._known(kind, caller, day, name))
                sums = self._sums.get(key)
                self._sums[key] = part[:] if sums is None else [a + b for a, b in zip(sums, part, strict=True)]

    def _known(self, kind: str, caller: str, day: str, name: str) -> str:
        names = self._names.get((kind, caller, day))
        if names is None:
            if len(self._names) > 20 * _MOST_NAMES:  # of days and callers that are long gone
                self._names.clear()
            names = self._names[kind, caller, day] = set()
        if name in names:
            return name
        if len(names) >= _MOST_NAMES:
            return OTHERS
        names.add(name)
        return name


def _names_of(of: Begun | Call) -> Iterator[tuple[str, str]]:
    yield "all", ""
    if of.provider is not None:
        yield "provider", _name(of.provider)
        yield "model", _name(f"{of.provider}/{of.model or ''}")
    for kind, name in (("caller", of.caller), ("agent", of.agent), ("route", of.route)):
        if name is not None:
            yield kind, _name(name)
    for tag in dict.fromkeys(map(_name, of.tags)):
        yield "tag", tag


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _name(text: str) -> str:
    return text[:_LONGEST_NAME].replace("\0", "�")


def _text(text: str | None) -> str | None:
    """Postgres has no NUL in a text."""
    return text if text is None or "\0" not in text else text.replace("\0", "�")


def _counts(tokens: Tokens) -> tuple[int | None, ...]:
    return (
        tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h,
        tokens.reasoning, tokens.audio_input, tokens.audio_output,
    )  # fmt: skip


def _count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens <= _MOST_TOKENS else None


def _money(nanousd: int | None) -> int | None:
    return nanousd if nanousd is not None and 0 <= nanousd <= _MOST_NANOUSD else None
