"""A long text in pieces: nothing is lost, nothing is too long, and the cuts are where a reader would pause."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.capabilities.pieces import pieces
from genai_spine.policy.tokens import estimate

_ALPHABET = st.one_of(
    st.characters(codec="utf-8"),
    st.sampled_from(
        [" ", "\n", "\n\n", ". ", "! ", "。", "\r\n", "e\u0301", "👩‍👩‍👧", "👍🏽", "word ", "\u2028", "\0"]
    ),
)
TEXTS = st.lists(_ALPHABET, max_size=400).map("".join)


def words_of(text: str) -> int:
    return len(text.split()) + len(text) // 20


@given(TEXTS, st.integers(1, 60))
@settings(max_examples=40)
def test_the_pieces_joined_are_the_text(text: str, most: int) -> None:
    cut = pieces(text, most, words_of)
    assert "".join(cut) == text
    assert all(words_of(piece) <= most or len(piece) == 1 for piece in cut)
    assert all(cut) or text == ""


@given(TEXTS)
@settings(max_examples=40)
def test_so_they_are_by_the_estimate_that_is_used(text: str) -> None:
    cut = pieces(text, 10, lambda piece: int(estimate(piece, "claude-sonnet-4-5")))
    assert "".join(cut) == text


def test_a_text_that_fits_is_one_piece() -> None:
    assert pieces("one two three", 3, lambda text: len(text.split())) == ["one two three"]


@pytest.mark.parametrize(
    ("unit", "ending"),
    [
        ("A paragraph with a few words. And one more.\n\n", "\n\n"),
        ("a line without any full stop\n", "\n"),
        ("A sentence of seven words ends here. ", ". "),
        ("これは文です。", "。"),
        ("word ", " "),
    ],
)
def test_it_is_cut_at_the_best_place_near(unit: str, ending: str) -> None:
    cut = pieces(unit * 500, 100, lambda text: len(text) // 4)
    assert len(cut) > 5
    assert all(piece.endswith(ending) for piece in cut)


def test_pieces_are_about_as_long_as_each_other_and_few() -> None:
    text = "Some words that make a sentence. " * 3000
    cut = pieces(text, 1000, lambda piece: len(piece) // 4)
    assert len(cut) <= 1.4 * len(text) / 4000
    assert min(map(len, cut)) > max(map(len, cut)) / 3


def test_what_is_read_as_one_character_stays_one() -> None:
    family, accent = "👩‍👩‍👧", "e\u0301"
    for unit in (family, accent, "👍🏽"):
        cut = pieces(unit * 300, 50, len)
        assert "".join(cut) == unit * 300
        for piece in cut:
            assert not unicodedata.combining(piece[0]) and piece[0] not in "\u200d🏽"
            assert not piece.endswith("\u200d")


def test_runs_without_any_place_to_cut_are_cut_all_the_same() -> None:
    for text in ("x" * 10_000, " " * 10_000, "\n" * 10_000, "!" * 10_000, "\r\n" * 5_000):
        cut = pieces(text, 100, len)
        assert "".join(cut) == text
        assert max(map(len, cut)) <= 100


def test_long_runs_take_no_longer_than_their_length() -> None:
    """A pattern that backtracks would never come back from these."""
    for unit in ("\n ", ".\"'", ". ", "\n\t\t", "!)"):
        text = unit * 500_000
        assert "".join(pieces(text, 100_000, len)) == text
