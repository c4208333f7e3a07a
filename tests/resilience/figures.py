"""What a simulation finds, and what is worked out of it. Knows nothing of the engine: a parent process reads it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Of the calls that were begun between two moments."""

    calls: int
    answered_share: float
    attempts_per_call: float
    p50_s: float
    p95_s: float
    p99_s: float


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """How long after its outage a service gave half of its usual answers again; None: it never did."""

    service: str
    kind: str
    ended_s: float
    back_s: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    calls: int
    left: int
    """Calls whose callers went away; they count for nothing else."""
    answered: int
    outcomes: dict[str, int]
    attempts: int
    last_resorts: int
    """Calls of which every target was left alone, so that one was asked all the same."""
    probes: int
    most_probing: int
    """Probes of one service that were under way at the same time, at most."""
    while_open: int
    """Requests to a service that a breaker had closed the way to, last resorts apart."""
    arrivals: int
    """Requests that came to any service."""
    extra_load: float
    """Requests to services, for each call, beyond the one that it takes: retries, hedges, fallbacks."""
    kinds: dict[str, int]
    refused: int
    """Requests that services turned away."""
    in_vain: int
    """Answers that services made for nobody."""
    fairness: float
    """Jain's index of the callers' shares of answered calls: 1 where all have the same."""
    fairness_of_calls: float
    """The same of the number of their answered calls."""
    fairness_by_class: float
    """The same between callers with priority and those without."""
    answered_share: dict[str, float]
    p95_by_class: dict[str, float]
    p50_s: float
    p95_s: float
    p99_s: float
    first_p50_s: float
    first_p95_s: float
    first_p99_s: float
    phases: dict[str, Phase]
    after_leaving: int
    """Requests that went out for a call whose caller had gone, or that had ended."""
    recoveries: list[Recovery]
    answered_by_s: list[int]
    failed_by_s: list[int]
    asked_by_s: list[int]
    arrivals_by_s: dict[str, list[int]]
    served_by_s: dict[str, list[int]]
    peak_100ms: dict[str, int]
    usd: float
    in_flight_left: int

    @property
    def goodput(self) -> float:
        """The part of the calls that were answered; those whose callers left apart."""
        return self.answered / max(1, self.calls - self.left)

    def extra_load_of(self, begins_s: int, ends_s: int) -> float:
        """The extra load between two moments."""
        arrivals = sum(sum(series[begins_s:ends_s]) for series in self.arrivals_by_s.values())
        return arrivals / max(1, sum(self.asked_by_s[begins_s:ends_s])) - 1

    def failed_share(self, begins_s: int, ends_s: int) -> float:
        """Of the calls that ended between two moments."""
        failed, good = sum(self.failed_by_s[begins_s:ends_s]), sum(self.answered_by_s[begins_s:ends_s])
        return failed / (failed + good) if failed + good else 0.0

    def well_again_s(self, ended_s: int, until_s: int, allowed: float = 0.05) -> float:
        """Seconds from a moment until no five seconds have more failures than allowed, up to another moment."""
        bad = [second for second in range(ended_s, until_s) if self.failed_share(second, second + 5) > allowed]
        return float(bad[-1] + 1 - ended_s) if bad else 0.0


def jain(shares: Sequence[float]) -> float:
    """Jain, Chiu and Hawe, 1984: 1 where all are equal, 1/n where one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in ascending order; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
