"""Tables: how wide their columns are, and where the words of a narrow one are broken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genai_spine.cli.table import cells_of, fold, table_lines

WORDS = st.text(st.sampled_from("ab漢字é\u0301-/ "), max_size=40).map(lambda text: " ".join(text.split()))


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    rows = [["openai", "1,200", "a"], ["x", "3", ""]]
    assert list(table_lines(["provider", "calls", "note"], rows, right=["calls"])) == [
        "provider  calls  note",
        "openai    1,200  a",
        "x             3",
    ]


def test_a_wide_letter_takes_two_cells_and_an_accent_of_its_own_none() -> None:
    assert [cells_of(text) for text in ("abc", "漢字", "e\u0301", "\U0001f600")] == [3, 4, 1, 2]
    assert list(table_lines(["name", "n"], [["漢字", "1"], ["ab", "2"]])) == ["name  n", "漢字  1", "ab    2"]


def test_a_narrow_terminal_takes_from_the_widest_column_and_never_from_the_first() -> None:
    columns, row = ["a name", "words", "url"], ["anthropic/claude-opus", "one two three four five six", "http://abc"]
    assert list(table_lines(columns, [row], room=52)) == [
        "a name                 words              url",
        "anthropic/claude-opus  one two three      http://abc",
        "                       four five six",
    ]


def test_only_words_are_painted() -> None:
    lines = table_lines(["a", "b"], [["1", ""]], paint=lambda text, column, is_head: f"<{text}{column}{is_head:d}>")
    assert list(lines) == ["<a01>  <b11>", "<100>"]


def test_a_word_that_is_longer_than_a_line_is_cut() -> None:
    assert fold("see https://example.com now", 10) == ["see", "https://ex", "ample.com", "now"]
    assert fold("漢字漢", 5) == ["漢字", "漢"]


@given(WORDS, st.integers(2, 20))
def test_whatever_is_folded_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(cells_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=5), st.integers(30, 100))
def test_no_line_is_wider_than_the_terminal_unless_its_columns_are_as_narrow_as_can_be(
    rows: list[tuple[str, str, str]], room: int
) -> None:
    first = max([1, *(cells_of(row[0]) for row in rows)])
    for line in table_lines(["a", "b", "c"], rows, room=room):
        assert cells_of(line) <= max(room, first + 2 * (2 + 16))
