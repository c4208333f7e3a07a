"""The queries, alerts and configuration of docs/metrics.md name metrics and labels that there are."""

from __future__ import annotations

import re

import yaml
from page_examples import ROOT

TEXT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(spine_\w+)` \| (\w+) \|", TEXT, re.MULTILINE))
"""By name the type, as the generated table has them."""
QUERIES = re.findall(r"^```promql\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FILES = [yaml.safe_load(text) for text in re.findall(r"^```yml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]


def test_queries_and_alerts_ask_for_what_there_is() -> None:
    alerts = [rule["expr"] for file in FILES for group in file.get("groups", ()) for rule in group["rules"]]
    assert len(alerts) >= 5
    named = set(re.findall(r"\bspine_\w+", " ".join([*QUERIES, *alerts, *re.findall(r"`(spine_\w+)`", TEXT)])))
    assert len(named) > 10
    for name in named - ROWS.keys():
        assert ROWS.get(name.removesuffix("_bucket")) == "histogram", name
    for query in [*QUERIES, *alerts]:
        for metric in re.findall(r"rate\((spine_\w+)|increase\((spine_\w+)", query):
            assert max(metric).endswith(("_total", "_bucket")), metric


def test_prometheus_is_told_where_to_ask() -> None:
    jobs = next(file for file in FILES if "scrape_configs" in file)["scrape_configs"]
    assert jobs[0]["static_configs"] == [{"targets": ["localhost:8100"]}]
