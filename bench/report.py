"""`RESULTS.md` from the figures of a run. Must not know: how anything was measured.

`results[cell][peer]` is `{"rounds": [figures, …]}` or `{"rounds": […], "error": "why there are none"}`.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

Results = dict[str, dict[str, dict[str, Any]]]
LABELS = {
    "nginx": "nginx proxy_pass",
    "spine": "GenAI Spine",
    "governed": "GenAI Spine, limits, routes and hedging on",
    "accountable": "GenAI Spine, everything on",
    "litellm": "LiteLLM",
    "portkey": "Portkey",
    "openai": "OpenAI SDK",
}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure to reach: `figure` of a cell of ours, alone or as a ratio to a peer's."""

    title: str
    cell: str
    figure: str
    target: float
    moonshot: float | None = None
    unit: str = ""
    over: str = ""  # a peer: ours divided by theirs (nginx), round by round
    under: str = ""  # a peer: theirs divided by ours; more is better
    of: str = "spine"  # whose figure it is
    beyond: str = ""  # a peer: ours less theirs, round by round


GOALS = [
    Goal(title="Relay, plain: CPU", cell="relay", figure="cpu_us", over="nginx", target=5, moonshot=3),
    Goal(
        title="… with limits, routes and hedging on",
        cell="relay",
        figure="cpu_us",
        of="governed",
        beyond="spine",
        unit="µs more",
        target=25,
    ),
    Goal(
        title="… with everything on: budgets and the ledger too",
        cell="relay",
        figure="cpu_us",
        of="accountable",
        over="nginx",
        target=6,
        moonshot=4,
    ),
    Goal(title="… less than LiteLLM", cell="relay", figure="cpu_us", under="litellm", target=80),
    Goal(title="… less than Portkey", cell="relay", figure="cpu_us", under="portkey", target=10),
    Goal(
        title="Relay, 100 events: CPU",
        cell="relay_stream",
        figure="cpu_us",
        over="nginx",
        target=4,
        moonshot=3,
    ),
    Goal(
        title="OpenAI in, Anthropic out, plain",
        cell="cross",
        figure="cpu_us",
        over="nginx",
        target=8,
        moonshot=6,
    ),
    Goal(
        title="OpenAI in, Anthropic out, 100 events",
        cell="cross_stream",
        figure="cpu_us",
        over="nginx",
        target=10,
        moonshot=8,
    ),
    Goal(
        title="1,000 open streams",
        cell="memory",
        figure="kb_per_stream",
        unit="KB each",
        target=30,
        moonshot=18,
    ),
    Goal(title="Library, `complete`", cell="library", figure="cpu_us", unit="µs", target=200, moonshot=100),
    Goal(title="`import genai_spine`", cell="start", figure="import_ms", unit="ms", target=100, moonshot=50),
    Goal(title="`spine serve` ready", cell="start", figure="ready_s", unit="s", target=1, moonshot=0.5),
    Goal(title="Resident after start", cell="start", figure="rss_mb", unit="MB", target=60, moonshot=30),
    Goal(title="Core install, size", cell="size", figure="size_mb", unit="MB", target=30),
    Goal(title="Core install, packages", cell="size", figure="packages", unit="", target=18),
]

# Which figures each cell shows, with their headings.
COLUMNS: dict[str, list[tuple[str, str]]] = {
    "relay": [("cpu_us", "CPU µs per request"), ("per_s", "requests/s seen")],
    "relay_stream": [
        ("cpu_us", "CPU µs per stream"),
        ("event_us", "µs per event"),
        ("per_s", "streams/s seen"),
    ],
    "latency": [
        ("added_p50_us", "added p50 µs"),
        ("added_p95_us", "added p95 µs"),
        ("direct_p50_us", "direct p50 µs"),
        ("direct_p95_us", "direct p95 µs"),
    ],
    "memory": [
        ("kb_per_stream", "KB per stream (RSS)"),
        ("pss_kb_per_stream", "KB (PSS)"),
        ("streams", "streams"),
        ("rss_before_mb", "MB before"),
        ("rss_open_mb", "MB with all open"),
        ("paced_event_us", "CPU µs per paced event"),
        ("released_s", "s until the upstreams were released (15: not within 15 s)"),
    ],
    "start": [
        ("ready_s", "ready after s"),
        ("rss_mb", "RSS MB"),
        ("pss_mb", "PSS MB"),
        ("import_ms", "import ms"),
    ],
    "library": [
        ("cpu_us", "CPU µs per call"),
        ("wall_us", "µs per call"),
        ("uvloop_cpu_us", "CPU µs under uvloop"),
    ],
    "size": [("size_mb", "MB"), ("source_mb", "MB without bytecode"), ("packages", "packages")],
}
COLUMNS |= dict.fromkeys(("cross", "gemini", "bedrock", "agent", "relay_tls"), COLUMNS["relay"])
COLUMNS |= dict.fromkeys(("cross_stream", "gemini_stream", "bedrock_stream", "trickle"), COLUMNS["relay_stream"])


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def spread(values: list[float]) -> str:
    """`median (min–max)`, or the value alone."""
    middle = number(statistics.median(values))
    if len(values) == 1 or min(values) == max(values):
        return middle
    return f"{middle} ({number(min(values))}–{number(max(values))})"


def values_of(results: Results, cell: str, peer: str, figure: str) -> list[float]:
    rounds = results.get(cell, {}).get(peer, {}).get("rounds", [])
    return [one[figure] for one in rounds if figure in one]


def pairs(results: Results, cell: str, figure: str, one: str, other: str) -> list[tuple[float, float]]:
    """The figures of two peers in each round that has both."""
    by_round = {found["round"]: found[figure] for found in results.get(cell, {}).get(other, {}).get("rounds", [])}
    return [
        (found[figure], by_round[found["round"]])
        for found in results.get(cell, {}).get(one, {}).get("rounds", [])
        if found["round"] in by_round
    ]


def judge(goal: Goal, results: Results) -> tuple[str, str]:
    """What was measured for a goal, and whether it was met."""
    if goal.over or goal.under:
        pair = (goal.of, goal.over) if goal.over else (goal.under, "spine")
        found = [above / below for above, below in pairs(results, goal.cell, goal.figure, *pair) if below]
    elif goal.beyond:
        found = [ours - other for ours, other in pairs(results, goal.cell, goal.figure, goal.of, goal.beyond)]
    else:
        found = values_of(results, goal.cell, goal.of, goal.figure)
    if not found:
        return "not measured", "–"
    middle = statistics.median(found)
    sign = "× " if goal.over or goal.under else ""
    met = middle >= goal.target if goal.under else middle <= goal.target
    moon = goal.moonshot is not None and middle <= goal.moonshot
    return sign + spread(found), "yes, moonshot" if moon else "yes" if met else "**no**"


def goals_table(results: Results) -> list[str]:
    lines = ["| | target | moonshot | measured: median (min–max) | met? |", "|---|---|---|---|---|"]
    for goal in GOALS:
        if goal.under:
            target, moonshot = f"≥ {number(goal.target)} × less", "–"
        else:
            suffix = f" × {LABELS[goal.over]}" if goal.over else f" {goal.unit}".rstrip()
            target = f"≤ {number(goal.target)}{suffix}"
            moonshot = f"≤ {number(goal.moonshot)}{suffix}" if goal.moonshot is not None else "–"
        measured, met = judge(goal, results)
        lines.append(f"| {goal.title} | {target} | {moonshot} | {measured} | {met} |")
    return lines


def cell_table(cell: str, results: Results) -> list[str]:
    """A cell's figures, one line per peer; with nginx in it, the ratio to nginx in the same round."""
    peers = results[cell]
    has_floor = COLUMNS[cell] in (COLUMNS["relay"], COLUMNS["relay_stream"])
    columns = [one for one in COLUMNS[cell] if any(values_of(results, cell, peer, one[0]) for peer in peers)]
    heads = ["", *(title for _, title in columns), *(["× nginx"] if has_floor else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for peer, outcome in peers.items():
        row = [LABELS.get(peer, peer)]
        for figure, _ in columns:
            values = values_of(results, cell, peer, figure)
            row.append(spread(values) if values else "–")
        if has_floor:
            found = [ours / floor for ours, floor in pairs(results, cell, "cpu_us", peer, "nginx") if floor]
            row.append(spread(found) if found else "–")
        lines.append("| " + " | ".join(row) + " |")
        if "error" in outcome:
            lines[-1] = f"| {row[0]} | no figures: {outcome['error'][:300].replace('|', '/')} |"
    return lines


def render(facts: dict[str, str], titles: dict[str, str], results: Results) -> str:
    """The whole of RESULTS.md."""
    lines = [
        "# Results of `make bench`",
        "",
        "Generated by `bench/run.py`; what the cells mean: `bench/README.md`.",
        "",
    ]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    lines += ["## Goals", "", *goals_table(results), ""]
    for cell, title in titles.items():
        if results.get(cell):
            lines += [f"## {title} (`{cell}`)", "", *cell_table(cell, results), ""]
    return "\n".join(lines)
