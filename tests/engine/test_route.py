"""Which targets a request gets: one rule for every way to name a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import ProviderNotFound
from genai_spine.policy.route import Candidate, Choice, RouteBook, Wanted, plan

OLLAMA = Candidate(id="ollama", row="ollama", is_local=True, default_model="llama3.2")
OPENAI = Candidate(id="openai", row="openai", default_model="gpt-4o-mini", names={"fast": "gpt-4o-mini"})
CLAUDE = Candidate(id="main", row="anthropic", default_model="claude-haiku")
BARE = Candidate(id="bare", row="openai_compatible", models=("mine",))


def book(*candidates: Candidate, **more: Any) -> RouteBook:
    return RouteBook(candidates={candidate.id: candidate for candidate in candidates}, **more)


def names(choices: tuple[Choice, ...]) -> list[str]:
    return [f"{choice.provider}/{choice.model}" for choice in choices]


ALL = book(OLLAMA, OPENAI, CLAUDE, BARE, aliases={"claude": "main", "anthropic": "main"}, default="ollama")


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("openai/gpt-5", "openai/gpt-5"),
        ("openai/fast", "openai/gpt-4o-mini"),
        ("claude/claude-haiku", "main/claude-haiku"),
        ("openai", "openai/gpt-4o-mini"),
        ("claude", "main/claude-haiku"),
        ("mine", "bare/mine"),
        ("fast", "openai/gpt-4o-mini"),
        ("gpt-4o", "openai/gpt-4o"),
        ("claude-3-opus-20240229", "main/claude-3-opus-20240229"),
        ("llama3.2", "ollama/llama3.2"),
        ("qwen/qwen3-32b", "ollama/qwen/qwen3-32b"),
        ("nobody-knows-this", "ollama/nobody-knows-this"),
    ],
)
def test_a_name_leads_to_one_place(model: str, target: str) -> None:
    """In order: provider/model, a provider, whoever lists it, whoever's kind the catalog knows, the default."""
    assert names(plan(Wanted(model=model), ALL)) == [target]


def test_no_model_is_the_default() -> None:
    assert names(plan(Wanted(), ALL)) == ["ollama/llama3.2"]


def test_an_explicit_provider_is_asked_alone() -> None:
    pinned = book(OLLAMA, OPENAI, CLAUDE, default="ollama", fallback_order=("ollama", "openai", "main"))
    assert names(plan(Wanted(provider="openai", model="llama3.2"), pinned)) == ["openai/llama3.2"]
    assert names(plan(Wanted(provider="openai", model="openai/gpt-5"), pinned)) == ["openai/gpt-5"]
    assert names(plan(Wanted(provider="openai"), pinned)) == ["openai/gpt-4o-mini"]
    with pytest.raises(ProviderNotFound, match='no provider "nobody": configured are ollama, openai, main'):
        plan(Wanted(provider="nobody"), pinned)


def test_an_aliased_provider_is_asked_by_its_own_name() -> None:
    assert names(plan(Wanted(provider="claude", model="claude/x"), ALL)) == ["main/x"]


def test_the_others_come_after_it_in_their_order_with_a_model_they_have() -> None:
    ordered = book(OLLAMA, OPENAI, CLAUDE, BARE, fallback_order=("main", "ollama", "bare", "openai"))
    assert names(plan(Wanted(model="openai/gpt-5"), ordered)) == [
        "openai/gpt-5",
        "main/claude-haiku",
        "ollama/llama3.2",
    ]
    assert names(plan(Wanted(model="mine"), ordered))[0] == "bare/mine"


def test_fallbacks_of_the_request_take_the_place_of_the_order() -> None:
    ordered = book(OLLAMA, OPENAI, CLAUDE, fallback_order=("main", "ollama"))
    wanted = Wanted(model="openai/gpt-5", fallbacks=("openai/gpt-4o", "claude-haiku", "openai/gpt-5"))
    assert names(plan(wanted, ordered)) == ["openai/gpt-5", "openai/gpt-4o", "main/claude-haiku"]


def test_a_route_is_its_targets_and_nothing_else() -> None:
    routed = book(
        OLLAMA,
        OPENAI,
        CLAUDE,
        fallback_order=("ollama",),
        aliases={"claude": "main"},
        routes={"smart": ("claude/claude-opus", "openai/gpt-5"), "any": ("smart", "llama3.2")},
    )
    assert names(plan(Wanted(model="smart"), routed)) == ["main/claude-opus", "openai/gpt-5"]
    assert names(plan(Wanted(model="any"), routed)) == ["main/claude-opus", "openai/gpt-5", "ollama/llama3.2"]


@pytest.mark.parametrize(
    "routes", [{"a": ("a",)}, {"a": ("b",), "b": ("a",)}, {"a": ("openai/x", "b"), "b": ("c",), "c": ("b",)}]
)
def test_a_route_that_leads_to_itself_is_an_error(routes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ProviderNotFound, match="leads to itself"):
        plan(Wanted(model="a"), book(OPENAI, routes=routes))


def test_hints() -> None:
    mixed = book(OPENAI, OLLAMA, CLAUDE)
    assert names(plan(Wanted(hint="local_preferred"), mixed))[0] == "ollama/llama3.2"
    assert names(plan(Wanted(hint="cloud_preferred"), mixed))[0] == "openai/gpt-4o-mini"
    assert names(plan(Wanted(), mixed))[0] == "ollama/llama3.2", "local first, where nothing is said"


def test_nothing_configured_says_what_to_do() -> None:
    with pytest.raises(ProviderNotFound, match="set a key such as OPENAI_API_KEY, or start Ollama"):
        plan(Wanted(model="gpt-4o"), book())


def test_a_model_that_nobody_has_is_named_with_the_mend() -> None:
    with pytest.raises(ProviderNotFound, match="name it as provider/model"):
        plan(Wanted(model="unheard-of"), book(OLLAMA, OPENAI))


names_of_anything = st.sampled_from(
    ["openai", "ollama", "main", "claude", "openai/x", "mine", "fast", "route", "nobody", "", "/", "openai/", "/x"]
)


@given(
    st.builds(
        Wanted,
        model=st.none() | names_of_anything,
        provider=st.none() | names_of_anything,
        hint=st.sampled_from([None, "local_preferred", "cloud_preferred", "cheapest", "best_quality"]),
        fallbacks=st.lists(names_of_anything, max_size=3).map(tuple),
    ),
    st.lists(st.sampled_from([OLLAMA, OPENAI, CLAUDE, BARE]), unique_by=lambda c: c.id),
    st.lists(st.sampled_from(["ollama", "openai", "main", "bare"]), unique=True),
)
def test_every_wish_is_a_plan_or_an_error(wanted: Wanted, candidates: list[Candidate], order: list[str]) -> None:
    ids = [candidate.id for candidate in candidates]
    made = book(
        *candidates,
        fallback_order=tuple(id for id in order if id in ids),
        default=ids[0] if ids and len(order) % 2 else None,
        routes={"route": tuple(f"{id}/x" for id in ids)} if ids else {},
        aliases={"claude": "main"},
    )
    try:
        choices = plan(wanted, made)
    except ProviderNotFound:
        return
    assert choices
    assert len(set(choices)) == len(choices), "no target is asked twice"
    assert all(choice.provider in ids for choice in choices)
    if wanted.provider is not None and not wanted.fallbacks:
        assert len(choices) == 1
