"""The ranking of models: S0's order, the same model wherever it is sold, and the user's own list in its place."""

from __future__ import annotations

import pytest

from genai_spine.catalog.cards import known_models
from genai_spine.catalog.ranking import load_ranking, rank_of


def rank(model: str) -> int:
    return rank_of("any", model)


def test_the_order_of_the_specification() -> None:
    assert rank("gpt-4o") < rank("claude-3-opus-20240229") < rank("llama3.1:70b") == rank("llama-3.1-70b-versatile")


@pytest.mark.parametrize(
    "descending",
    [
        ("claude-fable-5-2", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-3-5-haiku-latest"),
        ("gpt-6-astra", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-luna", "gpt-5-mini", "gpt-4o", "gpt-4o-mini"),
        ("gemini-4-argon", "gemini-3.1-pro-preview", "gemini-3.8-flash", "gemini-2.5-flash", "gemini-1.5-flash"),
        ("claude-opus-4-8", "claude-opus-4-5", "claude-opus-4-1", "claude-3-7-sonnet-latest", "claude-3-opus-latest"),
    ],
)
def test_within_a_house_the_order_is_the_makers(descending: tuple[str, ...]) -> None:
    ranks = [rank(model) for model in descending]
    assert ranks == sorted(ranks) and len(set(ranks)) == len(ranks)


def test_a_model_ranks_the_same_wherever_it_is_sold() -> None:
    assert rank("claude-opus-4-6") == rank("us.anthropic.claude-opus-4-6-v1:0") == rank("anthropic/claude-opus-4.6")
    assert rank("gpt-4o") == rank("openai/gpt-4o") == rank("gpt-4o-2024-11-20")


def test_what_is_for_other_work_or_unknown_comes_last() -> None:
    last = len(load_ranking().band)
    for model in ("gpt-4o-audio-preview", "gemini-3.8-flash-tts", "text-embedding-3-small", "a-model-of-mine", ""):
        assert rank(model) == last


@pytest.mark.parametrize("row", ["openai", "anthropic", "gemini"])
def test_no_pattern_of_ours_is_idle(row: str) -> None:
    """A pattern for these makers that fits none of their models is a slip of the pen."""
    heads = {"openai": ("gpt-", "o1", "o3", "o4", "chatgpt"), "anthropic": ("claude-",), "gemini": ("gemini-",)}[row]
    from genai_spine.catalog.names import candidates
    from genai_spine.catalog.prices import fits

    names = {name for model in known_models(row) for name in (*candidates(model), f"{model}-20240229", f"{model}-2024")}
    patterns = [p for band in load_ranking().band for p in band.match if p.startswith(heads) and "oss" not in p]
    idle = [pattern for pattern in patterns if not any(fits(name, pattern) for name in names)]
    assert idle == []


def test_a_list_of_the_users_stands_in_place_of_ours() -> None:
    own = ["openai/gpt-4o-mini", "claude-*", "Llama3*"]
    assert rank_of("openai", "gpt-4o-mini", own) == 0
    assert rank_of("azure", "gpt-4o-mini", own) == 3
    assert rank_of("bedrock", "anthropic.claude-3-haiku-20240307-v1:0", own) == 1
    assert rank_of("ollama", "llama3.2:1b", own) == 2
    assert rank_of("x", None, own) == 3
