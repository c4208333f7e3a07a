"""Families of numbers as the text that Prometheus reads, or OpenMetrics for whoever prefers that.

https://prometheus.io/docs/instrumenting/exposition_formats/ (read 2026-11); prometheus-client writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from genai_spine.engine.metrics.families import Family


class _Metrics(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(families: Iterable[Family], pids: list[int] | None, accept: str) -> tuple[bytes, str]:
    """The text and its content type. Memory, CPU and files are told beside, where there is a /proc: of this process,
    or of all `pids`, each with its label."""
    encode, content_type = choose_encoder(accept)
    processes = ProcessCollector(registry=None).collect() if pids is None else _processes(pids)
    return encode(_Metrics([*map(_metric, families), *processes])), content_type


def _metric(family: Family) -> Metric:
    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for sample in family.samples:
                counter.add_metric(sample.labels, sample.value / family.divisor)
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for sample in family.samples:
                gauge.add_metric(sample.labels, sample.value / family.divisor)
            return gauge
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            bounds = [*map(str, family.bounds), "+Inf"]
            for sample in family.samples:
                buckets = list(zip(bounds, accumulate(sample.counts or ()), strict=True))
                histogram.add_metric(sample.labels, buckets, sum_value=sample.value)
            return histogram


def _processes(pids: list[int]) -> Iterator[Metric]:
    found: dict[str, Metric] = {}
    for pid in pids:
        for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            known = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                known.add_sample(sample.name, {"pid": str(pid)}, sample.value)
    yield from found.values()
