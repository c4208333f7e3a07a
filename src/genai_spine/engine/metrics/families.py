"""Numbers for a monitoring system as values: families of samples, in the sense of Prometheus.

Several processes that serve as one each have their own; `merged` makes one of them. Must not know: what is counted,
how it is written (gateway/metrics.py).

https://prometheus.io/docs/concepts/metric_types/ (read 2026-11)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

Merge = Literal["sum", "max", "min"]

_MERGES: dict[Merge, Callable[[tuple[float, float]], float]] = {"sum": sum, "max": max, "min": min}

DURATIONS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The upper bounds of OpenTelemetry's conventions for calls of models
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics, read 2026-11)."""
SHORT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""For what should take no time."""


class Sample(msgspec.Struct, array_like=True):
    """One number with its labels' values. Of a histogram `value` is the sum of all that was observed, and `counts` how
    many fell into each bucket, the last without an upper bound."""

    labels: tuple[str, ...]
    value: float
    counts: list[int] | None = None


class Family(msgspec.Struct, kw_only=True):
    """Samples of one kind. `divisor` keeps money whole: what is shown is `value / divisor`. `merge` says how those of
    several processes become one; of a counter and a histogram they are always summed."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    samples: list[Sample]
    divisor: int = 1
    merge: Merge = "sum"
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, but for the last."""


class Histogram:
    """Counts how often something took how long, in seconds."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    def sample(self, *labels: str) -> Sample:
        return Sample(labels, self.sum_s, list(self.counts))


def counters(families: Iterable[Family]) -> list[Family]:
    """Those that only grow: what is left of a process that has ended."""
    return [family for family in families if family.kind != "gauge"]


def merged(several: Iterable[Iterable[Family]]) -> list[Family]:
    """The families of several processes as those of one."""
    found: dict[str, Family] = {}
    for families in several:
        for family in families:
            known = found.get(family.name)
            if known is None:
                found[family.name] = msgspec.structs.replace(family, samples=[_copy(each) for each in family.samples])
            else:
                _add(known, family)
    return list(found.values())


def _copy(sample: Sample) -> Sample:
    return Sample(sample.labels, sample.value, list(sample.counts) if sample.counts is not None else None)


def _add(to: Family, family: Family) -> None:
    by_labels = {sample.labels: sample for sample in to.samples}
    for sample in family.samples:
        known = by_labels.get(sample.labels)
        if known is None:
            to.samples.append(_copy(sample))
            continue
        known.value = _MERGES[to.merge]((known.value, sample.value))
        if known.counts is not None and sample.counts is not None:
            known.counts = [one + other for one, other in zip(known.counts, sample.counts, strict=True)]
