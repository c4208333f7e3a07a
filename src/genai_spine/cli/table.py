"""Tables of text: columns as wide as what is in them, folded at words where a terminal has less room."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

NARROWEST = 16
"""Cells of a terminal: a column of words is not folded to less."""

GAP = "  "


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    room: int | None = None,
    paint: Callable[[str, int, bool], str] = lambda text, _column, _is_head: text,
) -> Iterator[str]:
    """The lines of a table. `right` names columns of numbers, `room` is how many cells wide a line may be; `paint` is
    given a text, the number of its column, and whether that is its head."""
    widths = [max(map(cells_of, column)) for column in zip(columns, *rows, strict=True)]
    if room is not None:
        _squeeze(widths, room)
    for number, row in enumerate((columns, *rows)):
        folded = [fold(text, width) for text, width in zip(row, widths, strict=True)]
        for height in range(max(map(len, folded))):
            line = ""
            for index, (texts, width) in enumerate(zip(folded, widths, strict=True)):
                text = texts[height] if height < len(texts) else ""
                space = " " * (width - cells_of(text))
                painted = paint(text, index, number == 0) if text else ""
                line += (space + painted if columns[index] in right else painted + space) + GAP
            yield line.rstrip()


def _squeeze(widths: list[int], room: int) -> None:
    """Take from the widest columns what there is no room for. The first, a name, is never folded; where there is no
    room even for narrow ones, the terminal breaks the lines: else there would be a letter on each."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - room
    while excess > 0 and max(widths[1:], default=0) > NARROWEST:
        widths[widths.index(max(widths[1:]), 1)] -= 1
        excess -= 1


def fold(text: str, width: int) -> list[str]:
    """The text in lines of at most this many cells, broken at spaces, and within a word that is longer than a line."""
    if cells_of(text) <= width:
        return [text]
    lines, line, used = [], "", 0
    for word in text.split(" "):
        needed = cells_of(word)
        if line and used + 1 + needed <= width:
            line, used = f"{line} {word}", used + 1 + needed
            continue
        if line:
            lines.append(line)
        *whole, line = _cut(word, width)
        lines += whole
        used = cells_of(line)
    return [*lines, line]


def _cut(word: str, width: int) -> list[str]:
    pieces, used = [""], 0
    for letter in word:
        needed = cells_of(letter)
        if used + needed > width and pieces[-1]:
            pieces.append("")
            used = 0
        pieces[-1] += letter
        used += needed
    return pieces


def cells_of(text: str) -> int:
    """How many cells of a terminal the text takes: two for a wide letter, none for an accent of the one before it."""
    if text.isascii():
        return len(text)
    return sum(_cells(letter) for letter in text)


def _cells(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
