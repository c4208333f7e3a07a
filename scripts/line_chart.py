"""Line charts as SVG, written by hand: a few kilobytes each, legible on light pages and on dark ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, log10
from typing import NamedTuple

WIDTH, HEIGHT = 760, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 46, 34
COLOURS = (
    ("#1d4ed8", "#93c5fd"),
    ("#c2410c", "#fdba74"),
    ("#15803d", "#86efac"),
    ("#7e22ce", "#d8b4fe"),
    ("#475569", "#cbd5e1"),
)
"""Each on white, and on black."""
DASHES = ("none", "6 3", "2 3", "9 3 2 3", "1 4")
"""So that the lines can be told apart without colours."""


class Shade(NamedTuple):
    begins: float
    ends: float
    label: str


def line_chart(title: str, lines: Mapping[str, Sequence[float]], *, unit: str, shades: Sequence[Shade] = ()) -> str:
    """Values by second, a line each. `unit` says what a value is."""
    length = max(map(len, lines.values()))
    most = _round_up(max(max(values) for values in lines.values()))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(second: float) -> float:
        return LEFT + across * second / max(1, length - 1)

    def y(value: float) -> float:
        return TOP + down * (1 - value / most)

    parts = [_head(title)]
    for shade in shades:
        begins, ends = x(shade.begins), x(min(shade.ends, length - 1))
        parts.append(f'<rect class="shade" x="{begins:.1f}" y="{TOP}" width="{ends - begins:.1f}" height="{down}"/>')
        parts.append(f'<text class="quiet" x="{begins + 3:.1f}" y="{TOP + 12}">{escape(shade.label)}</text>')
    for step in range(5):
        value = most * step / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="quiet" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for second in range(0, length, 60 if length <= 600 else 120):
        parts.append(
            f'<text class="quiet" x="{x(second):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{second} s</text>'
        )
    place = float(LEFT)
    for number, (name, values) in enumerate(lines.items()):
        points = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in enumerate(values))
        parts.append(f'<polyline class="line c{number}" points="{points}"/>')
        parts.append(f'<line class="line c{number}" x1="{place:.0f}" x2="{place + 22:.0f}" y1="32" y2="32"/>')
        parts.append(f'<text x="{place + 27:.0f}" y="36">{escape(name)}</text>')
        place += 27 + 6.6 * len(name) + 18
    parts.append(f'<text class="quiet" x="{WIDTH - RIGHT}" y="36" text-anchor="end">{escape(unit)}</text></svg>\n')
    return "\n".join(parts)


def smooth(values: Sequence[float], width: int = 5) -> list[float]:
    """The mean of each value and those around it."""
    half = width // 2
    around = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    return [sum(some) / len(some) for some in around]


def _round_up(value: float) -> float:
    """The next number that divides well by four."""
    if value <= 0:
        return 1.0
    size = 10.0 ** int(log10(value))
    return next(
        step * size for step in (0.4, 0.8, 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, ceil(value)) if step * size >= value
    )


def _head(title: str) -> str:
    light = "".join(
        f".c{n}{{stroke:{on_white};stroke-dasharray:{DASHES[n]}}}" for n, (on_white, _) in enumerate(COLOURS)
    )
    dark = "".join(f".c{number}{{stroke:{on_black}}}" for number, (_, on_black) in enumerate(COLOURS))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">\n'
        "<style>.back{fill:#fff}.grid{stroke:#e5e7eb}.shade{fill:#f3f4f6}text{fill:#111827}.quiet{fill:#6b7280}"
        f".line{{fill:none;stroke-width:1.6}}{light}"
        "@media (prefers-color-scheme: dark){.back{fill:#111827}.grid{stroke:#374151}.shade{fill:#1f2937}"
        f"text{{fill:#f3f4f6}}.quiet{{fill:#9ca3af}}{dark}}}</style>\n"
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="8"/>\n'
        f'<text x="{LEFT}" y="18" font-weight="600" font-size="13">{escape(title)}</text>'
    )
