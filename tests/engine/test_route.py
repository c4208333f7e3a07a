"""Which targets a request gets: one rule for every way to name a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import InvalidRequest, ProviderNotFound
from genai_spine.policy.route import Agent, Candidate, Choice, Leg, NotLocal, Route, RouteBook, Wanted, resolve

OLLAMA = Candidate(id="ollama", row="ollama", is_local=True, default_model="llama3.2")
OPENAI = Candidate(id="openai", row="openai", default_model="gpt-4o-mini", names={"fast": "gpt-4o-mini"})
CLAUDE = Candidate(id="main", row="anthropic", default_model="claude-haiku")
BARE = Candidate(id="bare", row="openai_compatible", models=("mine",))


def book(*candidates: Candidate, **more: Any) -> RouteBook:
    return RouteBook(candidates={candidate.id: candidate for candidate in candidates}, **more)


def routes(**targets: tuple[str, ...]) -> dict[str, Route]:
    return {name: Route(legs=tuple(Leg(target=target) for target in legs)) for name, legs in targets.items()}


def plan(wanted: Wanted, book: RouteBook) -> tuple[Choice, ...]:
    return resolve(wanted, book).choices


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


def test_nobody_names_fallbacks_without_end() -> None:
    with pytest.raises(InvalidRequest, match="fallbacks: at most 32 can be named"):
        plan(Wanted(model="openai/x", fallbacks=tuple(f"openai/{number}" for number in range(33))), ALL)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(model="openai/" + "x" * 1000),
        Wanted(model="gpt-5", provider="x" * 1001),
        Wanted(model="openai/gpt-5", fallbacks=("openai/gpt-4o", "x" * 1001)),
    ],
)
def test_nobody_names_a_model_without_end(wanted: Wanted) -> None:
    with pytest.raises(InvalidRequest, match=r"^(model|provider|fallbacks\[1\]): a name has at most 1000 letters"):
        plan(wanted, ALL)


def test_a_route_is_its_targets_and_nothing_else() -> None:
    routed = book(
        OLLAMA,
        OPENAI,
        CLAUDE,
        fallback_order=("ollama",),
        aliases={"claude": "main"},
        routes=routes(smart=("claude/claude-opus", "openai/gpt-5"), any=("smart", "llama3.2")),
    )
    assert names(plan(Wanted(model="smart"), routed)) == ["main/claude-opus", "openai/gpt-5"]
    assert names(plan(Wanted(model="any"), routed)) == ["main/claude-opus", "openai/gpt-5", "ollama/llama3.2"]


@pytest.mark.parametrize(
    ("targets", "way"),
    [
        ({"a": ("a",)}, "a → a"),
        ({"a": ("b",), "b": ("a",)}, "a → b → a"),
        ({"a": ("openai/x", "b"), "b": ("c",), "c": ("b",)}, "a → b → c → b"),
    ],
)
def test_a_route_that_leads_to_itself_is_an_error(targets: dict[str, tuple[str, ...]], way: str) -> None:
    with pytest.raises(ProviderNotFound, match=rf"{way} leads to itself"):
        plan(Wanted(model="a"), book(OPENAI, routes=routes(**targets)))


@pytest.mark.parametrize(
    ("hint", "strategy"),
    [
        ("local_preferred", "local_first"),
        ("cloud_preferred", "cloud_first"),
        ("best_quality", "quality"),
        ("cheapest", "cost_optimized"),
        (None, "local_first"),
    ],
)
def test_a_hint_is_the_strategy_among_those_that_could_answer(hint: str | None, strategy: str) -> None:
    mixed = book(OPENAI, OLLAMA, CLAUDE)
    (group,) = resolve(Wanted(hint=hint), mixed).groups
    assert group.strategy == strategy
    assert names(tuple(group.choices)) == ["openai/gpt-4o-mini", "ollama/llama3.2", "main/claude-haiku"]


def test_a_hint_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="provider_hint: expected one of local_preferred, cloud_preferred"):
        plan(Wanted(hint="anything else"), ALL)


def test_a_hint_counts_for_more_than_the_default_and_the_order() -> None:
    ordered = book(OLLAMA, OPENAI, CLAUDE, default="main", fallback_order=("openai", "ollama"))
    first = resolve(Wanted(hint="cheapest"), ordered).groups[0]
    assert first.strategy == "cost_optimized"
    assert names(tuple(first.choices)) == ["main/claude-haiku", "openai/gpt-4o-mini", "ollama/llama3.2"]


def test_a_hint_counts_for_more_than_the_strategy_of_a_route() -> None:
    route = Route(legs=(Leg(target="openai/x"), Leg(target="inner")), strategy="weighted")
    inner = Route(legs=(Leg(target="main/y"), Leg(target="ollama/z")), strategy="round_robin")
    outer = resolve(Wanted(model="smart", hint="best_quality"), book(*MIXED, routes={"smart": route, "inner": inner}))
    (group,) = outer.groups
    assert [group.strategy, group.members[1].of.strategy] == ["quality", "quality"]  # type: ignore[union-attr]


# ---------------------------------------------------------------- strategies

MIXED = (OPENAI, OLLAMA, CLAUDE)


def test_the_strategy_is_asked_where_several_could_answer() -> None:
    """No model is named, or several providers have the named one; and not where one is meant."""
    twice = Candidate(id="twice", row="openai_compatible", models=("mine",), default_model="mine")
    made = book(*MIXED, BARE, twice, strategy="latency")
    assert resolve(Wanted(), made).groups[0].strategy == "latency"
    assert resolve(Wanted(model="mine"), made).groups[0].strategy == "latency"
    for model in ("openai/gpt-5", "openai", "fast"):
        assert len(list(resolve(Wanted(model=model), made).groups[0].choices)) == 1


@pytest.mark.parametrize("strategy", ["local_first", "ordered"])
def test_a_default_and_an_order_are_kept_to_unless_another_strategy_is_set(strategy: str) -> None:
    ordered = book(*MIXED, fallback_order=("main", "ollama"), strategy=strategy)
    assert resolve(Wanted(), ordered).groups[0].strategy == "ordered"
    assert names(plan(Wanted(), ordered)) == ["main/claude-haiku", "ollama/llama3.2"]
    assert names(plan(Wanted(), book(*MIXED, default="openai", strategy=strategy))) == ["openai/gpt-4o-mini"]


def test_another_strategy_chooses_among_the_default_and_the_order() -> None:
    made = book(*MIXED, default="openai", fallback_order=("main",), strategy="round_robin")
    (group,) = resolve(Wanted(), made).groups[:1]
    assert (group.strategy, names(tuple(group.choices))) == ("round_robin", ["openai/gpt-4o-mini", "main/claude-haiku"])
    without_order = book(*MIXED, default="main", strategy="round_robin")
    assert names(plan(Wanted(), without_order))[0] == "main/claude-haiku", "the default stands first"
    assert len(plan(Wanted(), without_order)) == 3


def test_a_local_provider_comes_first_among_those_of_no_order() -> None:
    here = Candidate(id="here", row="openai_compatible", models=("mine",), is_local=True)
    assert names(plan(Wanted(model="mine"), book(BARE, here))) == ["here/mine", "bare/mine"]
    assert names(plan(Wanted(model="mine"), book(here, BARE, default="bare")))[0] == "bare/mine"


# ---------------------------------------------------------------- routes and agents


def test_weights_and_conditions_of_a_route_stay_with_their_targets() -> None:
    legs = (Leg(target="openai/x", weight=3.0), Leg(target="inner", weight=2.0))
    made = book(*MIXED, routes={"smart": Route(legs=legs, strategy="weighted"), **routes(inner=("main/y", "ollama/z"))})
    (group,) = resolve(Wanted(model="smart"), made).groups
    assert [member.weight for member in group.members] == [3.0, 2.0]
    assert names(tuple(group.choices)) == ["openai/x", "main/y", "ollama/z"]


def test_an_agent_is_named_as_a_model() -> None:
    made = book(*MIXED, agents={"reviewer": Agent(provider="main", model="claude-opus"), "lost": Agent()})
    (choice,) = plan(Wanted(model="agent:reviewer"), made)
    assert (choice.provider, choice.model, choice.agent) == ("main", "claude-opus", "reviewer")
    with pytest.raises(ProviderNotFound, match='the agent "nobody" is not configured; configured are reviewer, lost'):
        plan(Wanted(model="agent:nobody"), made)
    with pytest.raises(ProviderNotFound, match='the agent "lost" names no provider'):
        plan(Wanted(model="agent:lost"), made)


def test_an_agent_may_be_a_target_of_a_route() -> None:
    made = book(
        *MIXED, agents={"reviewer": Agent(provider="main")}, routes=routes(smart=("agent:reviewer", "openai/x"))
    )
    assert names(plan(Wanted(model="smart"), made)) == ["main/claude-haiku", "openai/x"]


# ---------------------------------------------------------------- nothing leaves this machine

HERE = RouteBook(
    candidates={"ollama": OLLAMA},
    remote={"openai": OPENAI, "main": CLAUDE},
    aliases={"claude": "main"},
    local_only=True,
    routes=routes(mixed=("openai/x", "ollama/y"), away=("openai/x", "main/y")),
    agents={"reviewer": Agent(provider="main")},
)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(model="openai/gpt-5"),
        Wanted(model="openai"),
        Wanted(model="claude/claude-haiku"),
        Wanted(model="gpt-4o"),
        Wanted(model="gpt-4o-mini"),
        Wanted(provider="openai"),
        Wanted(provider="claude", model="x"),
        Wanted(model="agent:reviewer"),
        Wanted(model="away"),
        Wanted(model="ollama/x", fallbacks=("openai/gpt-5",)),
        Wanted(model="ollama/gpt-oss:120b-cloud"),
        Wanted(model="kimi-k2-thinking:Cloud"),
    ],
    ids=str,
)
def test_what_is_not_on_this_machine_is_refused_by_name(wanted: Wanted) -> None:
    with pytest.raises(NotLocal, match=r"is not on this machine, and routing.local_only lets nothing leave it") as told:
        plan(wanted, HERE)
    assert (told.value.status_code, told.value.code) == (403, "local_only")


def test_a_route_keeps_what_is_on_this_machine() -> None:
    made = resolve(Wanted(model="mixed"), HERE)
    assert (names(made.choices), made.refused) == (["ollama/y"], ("openai/x",))


def test_nothing_configured_says_what_to_do() -> None:
    with pytest.raises(ProviderNotFound, match="set a key such as OPENAI_API_KEY, or start Ollama"):
        plan(Wanted(model="gpt-4o"), book())


def test_a_model_that_nobody_has_is_named_with_the_mend() -> None:
    with pytest.raises(ProviderNotFound, match="name it as provider/model") as error:
        plan(Wanted(model="unheard-of"), book(OLLAMA, OPENAI))
    assert str(error.value).endswith("or set providers.default")
    for name in ("groq/whatever", "llama-3.3-70b-versatile"):
        with pytest.raises(ProviderNotFound, match=r"; it seems to be a model of groq \(GROQ_API_KEY\)$"):
            plan(Wanted(model=name), book(OLLAMA, OPENAI))
    with pytest.raises(ProviderNotFound, match=r'no provider "groq": .*; it takes its key from GROQ_API_KEY$'):
        plan(Wanted(provider="groq"), book(OLLAMA, OPENAI))


names_of_anything = st.sampled_from(
    [
        *(
            "openai",
            "ollama",
            "main",
            "claude",
            "openai/x",
            "mine",
            "fast",
            "route",
            "nobody",
            "",
            "/",
            "openai/",
            "/x",
        ),
        *("agent:main", "agent:", "agent:nobody"),
    ]
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
    st.sampled_from(["local_first", "ordered", "round_robin", "quality"]),
)
def test_every_wish_is_a_plan_or_an_error(
    wanted: Wanted, candidates: list[Candidate], order: list[str], strategy: str
) -> None:
    ids = [candidate.id for candidate in candidates]
    made = book(
        *candidates,
        fallback_order=tuple(id for id in order if id in ids),
        default=ids[0] if ids and len(order) % 2 else None,
        routes=routes(route=tuple(f"{id}/x" for id in ids)) if ids else {},
        agents={"main": Agent(provider="main", model="x")},
        strategy=strategy,
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
