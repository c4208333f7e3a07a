"""What the ledger would be told, counted: calls, attempts, tokens, costs and times.

The numbers come from the same entries as the ledger's rows, through the same matching, so the two agree; no ledger is
needed for it. They are those of this process since its start, and are lost with it.
"""

from __future__ import annotations

from collections import Counter

from genai_spine.engine.metrics.families import DURATIONS_S, Family, Histogram, Sample
from genai_spine.ledger.entry import NANO, Call, Entry, Tokens
from genai_spine.ledger.matching import Attempt, Matching

MOST_MODELS = 1000
"""Callers may name models of their own making: those beyond are counted together, as `OTHER`."""
OTHER = "(other)"
_AT_ONCE = 50
"""Entries; what has come is counted in steps that hold up nobody."""

_TARGET = ("provider", "model")
_USE = ("provider", "model", "key")


class _Target:
    """A model of a provider."""

    __slots__ = ("first_s", "outcomes", "took_s")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.took_s = Histogram(DURATIONS_S)
        self.first_s: Histogram | None = None


class _Use:
    """What one caller's key has used of a model."""

    __slots__ = ("cached", "cost_nanousd", "saved_nanousd", "tokens", "unpriced")

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()
        self.cost_nanousd = 0
        self.unpriced = 0
        self.cached = 0
        self.saved_nanousd = 0


class CallMetrics:
    """`take` is told each entry; `families` says what came of all so far."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._matching = Matching()
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._targets: dict[tuple[str, str], _Target] = {}
        self._uses: dict[tuple[str, str, str], _Use] = {}

    def take(self, *entries: Entry) -> None:
        self._entries += entries
        if len(self._entries) >= _AT_ONCE:
            self._count()

    def _count(self) -> None:
        entries, self._entries = self._entries, []
        for row in self._matching.take(entries):
            if isinstance(row, Attempt):
                self._attempt(row)
            else:
                self._call(row)

    def _attempt(self, attempt: Attempt) -> None:
        begun, ended = attempt.begun, attempt.ended
        target = self._target(begun.provider, begun.model)
        target.outcomes[(ended.error_type or "unknown") if ended.status == "failed" else ended.status] += 1
        if ended.status == "answered":
            target.took_s.observe(ended.duration_s)
        if ended.first_s is not None:
            if target.first_s is None:
                target.first_s = Histogram(DURATIONS_S)
            target.first_s.observe(ended.first_s)
        use = self._use(begun.provider, begun.model, begun.caller)
        if ended.tokens is not None:
            _add_tokens(use.tokens, ended.tokens)
        if ended.cost_nanousd is None:
            use.unpriced += 1
        else:
            use.cost_nanousd += ended.cost_nanousd

    def _call(self, call: Call) -> None:
        self._calls[call.caller or "", call.route or "", call.status] += 1
        if call.is_cached:
            use = self._use(call.provider or "", call.model or "", call.caller)
            use.cached += 1
            use.saved_nanousd += call.saved_nanousd or 0

    def _target(self, provider: str, model: str) -> _Target:
        found = self._targets.get((provider, model))
        if found is None:
            if len(self._targets) >= MOST_MODELS and model != OTHER:
                return self._target(provider, OTHER)
            found = self._targets[provider, model] = _Target()
        return found

    def _use(self, provider: str, model: str, caller: str | None) -> _Use:
        if (provider, model) not in self._targets and len(self._targets) >= MOST_MODELS:
            model = OTHER
        name = provider, model, caller or ""
        found = self._uses.get(name)
        if found is None:
            found = self._uses[name] = _Use()
        return found

    # ------------------------------------------------------------ what came of it

    def families(self) -> list[Family]:
        self._count()
        calls = [Sample(labels, value) for labels, value in self._calls.items()]
        targets = self._targets.items()
        outcomes = [Sample((*of, outcome), value) for of, each in targets for outcome, value in each.outcomes.items()]
        took = [each.took_s.sample(*of) for of, each in targets if each.outcomes["answered"]]
        first = [each.first_s.sample(*of) for of, each in targets if each.first_s is not None]
        return [
            _counter("calls", "Calls, by what their callers got.", ("key", "route", "status"), calls),
            _counter("attempts", "Attempts, by how they ended.", (*_TARGET, "outcome"), outcomes),
            _times("attempt_duration", "Time of answered attempts, until the end of the answer.", took),
            _times("first_token", "Time to the first event of streams.", first),
            *self._used(),
        ]

    def _used(self) -> list[Family]:
        uses = self._uses.items()
        tokens = [Sample((*of, kind), value) for of, each in uses for kind, value in each.tokens.items()]
        cost = [Sample(of, each.cost_nanousd) for of, each in uses]
        unpriced = [Sample(of, each.unpriced) for of, each in uses if each.unpriced]
        cached = [Sample(of, each.cached) for of, each in uses if each.cached]
        saved = [Sample(of, each.saved_nanousd) for of, each in uses if each.cached]
        return [
            _counter("tokens", "Tokens; all kinds but input and output are parts of these.", (*_USE, "kind"), tokens),
            _counter("cost_usd", "Cost of attempts in USD, if known.", _USE, cost, divisor=NANO),
            _counter("unpriced_attempts", "Attempts that may be billed, at an unknown cost.", _USE, unpriced),
            _counter("cached_answers", "Answers from the cache.", _USE, cached),
            _counter("cache_saved_usd", "First cost of answers from the cache, in USD.", _USE, saved, divisor=NANO),
        ]  # fmt: skip


def _counter(name: str, help: str, labels: tuple[str, ...], samples: list[Sample], *, divisor: int = 1) -> Family:
    return Family(name=f"spine_{name}", kind="counter", help=help, labels=labels, samples=samples, divisor=divisor)


def _times(name: str, help: str, samples: list[Sample]) -> Family:
    return Family(
        name=f"spine_{name}_seconds", kind="histogram", help=help, labels=_TARGET, samples=samples, bounds=DURATIONS_S
    )


def _add_tokens(to: Counter[str], tokens: Tokens) -> None:
    to["input"] += tokens.input or 0
    to["output"] += tokens.output or 0
    for kind in ("cache_read", "cache_write", "reasoning"):
        if count := getattr(tokens, kind):
            to[kind] += count
