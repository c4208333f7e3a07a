"""The measured parts of docs/resilience.md: simulations of ten thousand callers, their tables and their plots.

    python scripts/resilience_report.py            about ten minutes on two cores
    python scripts/resilience_report.py --quick    a tenth of the callers, into the same places: to see that it works

A simulation is the real engine in virtual time: tests/resilience says how, and tests what must hold. Seeds are
fixed; the same code gives the same figures.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "resilience"))

from figures import Figures  # noqa: E402
from line_chart import Shade, line_chart, smooth  # noqa: E402
from scenarios import STRATEGIES  # noqa: E402
from simulate import simulate  # noqa: E402

PAGE = ROOT / "docs" / "resilience.md"
IMAGES = ROOT / "docs" / "img"
MARK = re.compile(r"(<!-- measured: (?P<name>[\w-]+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
WEATHER = (Shade(60, 120, "grand: errors"), Shade(170, 210, "steady: slow"), Shade(260, 290, "swift: silent"))

Find = Callable[..., Figures]


def main(quick: bool) -> None:
    callers = 1000 if quick else 10_000
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        under_way: dict[str, Future[Figures]] = {}

        def ask(scenario: str, **given: Any) -> Future[Figures]:
            key = f"{scenario} {sorted(given.items())}"
            if key not in under_way:
                under_way[key] = pool.submit(simulate, scenario, **given)
                under_way[key].add_done_callback(lambda _: print(key, file=sys.stderr))
            return under_way[key]

        for strategy in STRATEGIES:
            for adaptive in (False, True):
                ask("weather", strategy=strategy, callers=callers, adaptive=adaptive)
        for row in PARTS:
            for given in (row.given, row.without):
                ask(row.scenario, **given)

        def find(scenario: str, **given: Any) -> Figures:
            return ask(scenario, **given).result()

        blackout = find("blackout", callers=callers)
        measured = {
            "strategies": strategies(find, callers),
            "parts": parts(find),
            "blackout": told_of(blackout),
            "recovery": recovery(find),
        }
        plots(find, callers, blackout)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        MARK.sub(lambda found: f"{found[1]}\n{measured[found['name']]}\n\n{found[3]}", text), encoding="utf-8"
    )


# ---------------------------------------------------------------- strategies


def strategies(find: Find, callers: int) -> str:
    rows = []
    for strategy in STRATEGIES:
        for adaptive in (False, True):
            figures = find("weather", strategy=strategy, callers=callers, adaptive=adaptive)
            back = {found.kind: found.back_s for found in figures.recoveries}
            rows.append(
                (
                    f"`{strategy}`" if not adaptive else "with `adaptive`",
                    f"{figures.goodput:.2%}",
                    f"{figures.extra_load:.1%}",
                    f"{figures.fairness:.3f}",
                    f"{figures.fairness_by_class:.3f}",
                    " / ".join(_seconds(back[kind]) if kind in back else "–" for kind in ("errors", "slow", "silent")),
                    f"{figures.p50_s:.1f} / {figures.p95_s:.1f} / {figures.p99_s:.1f}",
                    f"{1000 * figures.usd / max(1, figures.answered / 2):.2f}",
                )
            )
    calls = find("weather", strategy="latency", callers=callers, adaptive=True).calls
    head = (
        "strategy", "answered", "extra load", "fairness", "between classes", "back after, s", "p50 / p95 / p99, s",
        "USD per 1,000",
    )  # fmt: skip
    size = "" if callers == 10_000 else f", services of {callers / 10_000:g} times the size"
    crowd = f"{callers:,} callers{size}, about {round(calls, -3):,} calls in 400 seconds for each line."
    return f"{crowd}\n\n{_table(head, rows)}"


# ---------------------------------------------------------------- what each part is for


class Part:
    def __init__(
        self, name: str, scenario: str, given: dict[str, Any], without: dict[str, Any], tell: Callable[[Figures], str]
    ):
        self.name, self.scenario, self.given, self.without, self.tell = name, scenario, given, without, tell


def _after(figures: Figures) -> str:
    return (
        f"{figures.phases['after'].answered_share:.1%} answered once it has passed, {figures.extra_load:.0%} extra load"
    )


def _during(figures: Figures) -> str:
    phase = figures.phases["during"]
    return f"p95 {phase.p95_s:.1f} s, {phase.attempts_per_call:.2f} requests a call"


def _refused(figures: Figures) -> str:
    return f"{figures.refused:,} refused requests, {figures.goodput:.1%} answered"


def _first(figures: Figures) -> str:
    tail = f"first token p95 {figures.first_p95_s:.1f} s, p99 {figures.first_p99_s:.1f} s"
    return f"{tail}, {figures.extra_load:.1%} extra load"


def _greedy(figures: Figures) -> str:
    return f"fairness of answered calls {figures.fairness_of_calls:.2f}"


PARTS = (
    Part("retry budget", "storm", {}, {"budget": 10.0}, _after),
    Part("breaker", "absence", {"kind": "silent"}, {"kind": "silent", "breaker": False}, _during),
    Part("jitter", "wave", {}, {"jitter": False}, lambda figures: f"{figures.goodput:.1%} answered"),
    Part("Retry-After", "limited", {}, {"told": False}, _refused),
    Part("hedging", "tail", {}, {"budget": 0.0}, _first),
    Part("caller's own limit", "scarce", {}, {"own_limits": False}, _greedy),
    Part("`limits.adaptive`", "weather", {"strategy": "cost_optimized", "callers": 1000, "adaptive": True},
         {"strategy": "cost_optimized", "callers": 1000},
         lambda figures: f"{figures.goodput:.1%} answered, {figures.extra_load:.0%} extra load"),
)  # fmt: skip


def parts(find: Find) -> str:
    rows = [
        (
            row.name,
            f"`{row.scenario}`",
            row.tell(find(row.scenario, **row.given)),
            row.tell(find(row.scenario, **row.without)),
        )
        for row in PARTS
    ]
    scarce = find("scarce", own_limits=False)
    share, p95_s = scarce.answered_share, scarce.p95_by_class
    return (
        f"{_table(('part', 'simulation', 'with it', 'without'), rows)}\n\n"
        "Priority, in `scarce` without limits of callers: those with priority had "
        f"{share['1']:.1%} of their calls answered, 95 % of them within {p95_s['1']:.1f} s; "
        f"those without {share['0']:.1%}, within {p95_s['0']:.1f} s. "
        f"Jain's index between the two is {scarce.fairness_by_class:.3f}, over all callers {scarce.fairness:.3f}."
    )


# ---------------------------------------------------------------- outages


def told_of(blackout: Figures) -> str:
    late = blackout.extra_load_of(80, 120)
    whole = blackout.extra_load_of(60, 120)
    return (
        f"In the 60 seconds {sum(blackout.asked_by_s[60:120]):,} calls came. Each was given up after {1 + whole:.2f} "
        f"requests on average; from the twentieth second on, when all breakers were open, after {1 + late:.2f}. "
        f"{blackout.well_again_s(120, 290):.0f} s after the end no more than one call in twenty failed."
    )


def recovery(find: Find) -> str:
    rows = []
    for lasts_s in (60.0, 600.0):
        for kind in ("errors", "silent"):
            figures = find("absence", kind=kind, lasts_s=lasts_s)
            back = next((found.back_s for found in figures.recoveries if found.kind == kind), None)
            rows.append(
                (
                    f"{lasts_s:g} s of {kind}",
                    _seconds(back),
                    str(figures.probes),
                    f"{figures.extra_load:.1%}",
                    f"{figures.goodput:.2%}",
                )
            )
    return _table(("absence", "back after, s", "probes", "extra load", "answered"), rows)


# ---------------------------------------------------------------- plots


def plots(find: Find, callers: int, blackout: Figures) -> None:
    latency = find("weather", strategy="latency", callers=callers, adaptive=True)
    _write("weather", line_chart(
        "Strategy latency: requests to each of five services",
        {name: smooth(series[:400]) for name, series in latency.arrivals_by_s.items()},
        unit="requests a second", shades=WEATHER,
    ))  # fmt: skip
    good, bad = find("storm"), find("storm", budget=10.0)
    _write("storm", line_chart(
        "A service loses four fifths of its places for 20 seconds",
        {
            "answered, with the budget": smooth(good.answered_by_s[:240]),
            "answered, without": smooth(bad.answered_by_s[:240]),
            "requests, without": smooth(bad.arrivals_by_s["alone"][:240]),
        },
        unit="a second", shades=(Shade(60, 80, "hiccup"),),
    ))  # fmt: skip
    arrivals = [sum(second) for second in zip(*blackout.arrivals_by_s.values(), strict=True)]
    _write("blackout", line_chart(
        "All five services fail for a minute",
        {
            "calls": smooth(blackout.asked_by_s[:240]),
            "requests": smooth(arrivals[:240]),
            "answered": smooth(blackout.answered_by_s[:240]),
        },
        unit="a second", shades=(Shade(60, 120, "all fail"),),
    ))  # fmt: skip


def _write(name: str, svg: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / f"resilience-{name}.svg").write_text(svg, encoding="utf-8")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
