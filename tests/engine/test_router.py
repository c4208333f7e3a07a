"""The router: what is filtered and what is not, the state of targets, sessions, and what is kept of it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine import ConfigError, LLMProvider, ProviderNotFound, ProviderRegistry, ServerError
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.routing.request_facts import About, RequestFacts
from genai_spine.engine.routing.router import Router
from genai_spine.engine.targets import Targets
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import Image, Text
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse
from genai_spine.policy import custom_strategies
from genai_spine.policy.route import Choice, Wanted
from genai_spine.policy.tokens import estimate
from genai_spine.providers.registry import settings_of
from genai_spine.settings import Settings

HELLO = CompletionRequest(messages="hello")
PICTURE = CompletionRequest(messages=(Message(role="user", content=(Text(text="what?"), Image(url="http://x/y.png"))),))
LONG = CompletionRequest(messages="word " * 20_000)
NOBODY: Callable[[], CompletionRequest] = lambda: pytest.fail("the request need not be read")  # noqa: E731


class Known(LLMProvider):
    """A provider of which just this is known."""

    def __init__(self, name: str, card: ModelCard | None = None, *, is_local: bool = False) -> None:
        self.name = name
        self.known = card or ModelCard(id="m")
        self.is_local = is_local

    @property
    def default_model(self) -> str:
        return "m"

    def card(self, model: str | None = None) -> ModelCard:
        return self.known

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(id="1", model="m", parts=(Text(text=self.name),), finish_reason="stop")

    async def list_models(self) -> list[ModelCard]:
        return [self.known]


def settings_for(providers: Iterable[LLMProvider], **tables: Any) -> Settings:
    """Settings that name these providers, whatever they are."""
    return settings_of({"providers": {each.name: {"type": "simulated"} for each in providers}, **tables})


def router(*providers: LLMProvider, **tables: Any) -> Router:
    made = settings_for(providers, **tables)
    registry = ProviderRegistry(providers)
    return Router(registry, made, Targets(registry, made))


def ids(decision: Decision) -> list[str]:
    return [choice.provider for choice in decision.choices]


def route(*targets: str | Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"routes": {"smart": {"targets": list(targets), **more}}}


def of(*names: str) -> tuple[Known, ...]:
    return tuple(Known(name) for name in names)


SMART = Wanted(model="smart")
BLIND = Known("blind", ModelCard(id="m", capabilities=Capabilities(images=False)))
SIGHTED = Known("sighted", ModelCard(id="m", capabilities=Capabilities(images=True)))
SMALL = Known("small", ModelCard(id="m", context_window=1000))
LARGE = Known("large", ModelCard(id="m", context_window=1_000_000))


# ---------------------------------------------------------------- what costs nothing


def test_a_fixed_order_is_decided_once() -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m"))
    assert one.decide(SMART, NOBODY) is one.decide(SMART, NOBODY)
    assert one.decide(Wanted(model="a/m"), NOBODY) is one.decide(Wanted(model="a/m"), NOBODY)


def test_a_provider_that_is_added_is_seen() -> None:
    made = settings_for(of("a", "b"), **route("a", "b"))
    registry = ProviderRegistry(of("a"))
    one = Router(registry, made)
    with pytest.raises(ProviderNotFound):
        one.decide(Wanted(model="b/m", provider="b"), NOBODY)
    registry.register("b", Known("b"))
    assert ids(one.decide(SMART, NOBODY)) == ["a", "b"]


def test_a_body_is_decoded_only_where_targets_differ_in_what_it_may_need() -> None:
    one = router(BLIND, SIGHTED, **route("blind/m", "sighted/m"))
    plain = json.dumps({"model": "smart", "messages": [{"role": "user", "content": "hello"}]}).encode()
    assert ids(one.decide(SMART, NOBODY, body=plain, members=("model", "messages"))) == ["blind", "sighted"]
    shown = plain.replace(b"hello", b"an image")
    assert ids(one.decide(SMART, lambda: HELLO, body=shown, members=("model", "messages"))) == ["blind", "sighted"]
    assert ids(one.decide(SMART, lambda: PICTURE, body=shown, members=("model", "messages"))) == ["sighted"]
    alike = router(BLIND, Known("other", BLIND.known), **route("blind/m", "other/m"))
    assert ids(alike.decide(SMART, NOBODY, body=shown, members=("model", "messages"))) == ["blind", "other"]


# ---------------------------------------------------------------- what a request needs


def test_who_cannot_is_not_asked() -> None:
    one = router(BLIND, SIGHTED, **route("blind/m", "sighted/m"))
    assert ids(one.decide(SMART, lambda: HELLO)) == ["blind", "sighted"]
    decision = one.decide(SMART, lambda: PICTURE)
    assert ids(decision) == ["sighted"]
    assert [(left.choice.provider, left.reason) for left in decision.left_out] == [("blind", "takes no images")]


def test_a_window_that_is_too_small_is_passed_over_by_estimate() -> None:
    one = router(SMALL, LARGE, **route("small/m", "large/m"))
    assert ids(one.decide(SMART, lambda: HELLO)) == ["small", "large"]
    decision = one.decide(SMART, lambda: LONG)
    assert ids(decision) == ["large"]
    assert "tokens are more than its window of 1000" in decision.left_out[0].reason
    # Many bytes are not many tokens: where it may be close, it is estimated.
    spaced = CompletionRequest(messages="hello" + " " * 3000)
    assert ids(one.decide(SMART, lambda: spaced)) == ["small", "large"]


@pytest.mark.parametrize("text", ["The quick brown fox jumps. ", "混ぜると何が起こるか。", 'x = {"a": [1, 2, 3]}\n'])
def test_a_long_request_is_measured_by_samples(text: str) -> None:
    once = CompletionRequest(messages=text * 20)
    many = CompletionRequest(messages=(*(Message(role="user", content=text * 20) for _ in range(200)),))
    expected = int(estimate(once, "gpt-4o")) * 200
    assert RequestFacts(lambda: many).tokens("gpt-4o") == pytest.approx(expected, rel=0.25)


def test_the_requests_own_window_is_a_cap() -> None:
    unknown = Known("unknown")
    one = router(unknown, SMALL, LARGE, **route("unknown/m", "small/m", "large/m"))
    middling = CompletionRequest(messages="word " * 3000, context_window=100_000)
    assert ids(one.decide(SMART, lambda: middling)) == ["unknown", "large"]


def test_where_all_lack_it_those_asked_for_are_asked_all_the_same() -> None:
    other = Known("other", BLIND.known)
    seeing = Known("unasked", SIGHTED.known)
    one = router(BLIND, other, SMALL, seeing, **route("blind/m", {"target": "other/m"}))
    assert ids(one.decide(SMART, lambda: PICTURE)) == ["blind", "other"]


def test_what_is_named_is_asked_whatever_it_lacks() -> None:
    """The caller knows why; only what comes after it is looked at."""
    one = router(BLIND, SIGHTED, Known("third", BLIND.known))
    fallbacks = ("third/m", "sighted/m")
    assert ids(one.decide(Wanted(model="blind/m"), lambda: PICTURE)) == ["blind"]
    assert ids(one.decide(Wanted(model="blind/m", fallbacks=fallbacks), lambda: PICTURE)) == ["blind", "sighted"]


def test_a_request_that_cannot_be_read_is_for_its_target_to_refuse() -> None:
    from genai_spine import InvalidRequest

    def unreadable() -> CompletionRequest:
        raise InvalidRequest("no")

    one = router(BLIND, SIGHTED, **route("blind/m", "sighted/m", strategy="round_robin"))
    body = b'{"model": "smart", "messages": [{"image": 1}]}'
    assert ids(one.decide(SMART, unreadable, body=body, members=("model", "messages"))) == ["blind", "sighted"]


answers = st.sampled_from([True, False, None])


@given(
    st.lists(
        st.builds(
            ModelCard,
            id=st.just("m"),
            context_window=st.none() | st.integers(1, 50_000),
            capabilities=st.builds(Capabilities, images=answers, tools=answers, thinking=answers),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(
        ["ordered", "round_robin", "weighted", "cost_optimized", "latency", "quality", "least_busy", "speed"]
    ),
    st.builds(
        CompletionRequest,
        messages=st.sampled_from([HELLO.messages, PICTURE.messages, LONG.messages]),
        tools=st.sampled_from([(), ({"name": "f"},)]),
        thinking=st.sampled_from([None, True]),
        context_window=st.none() | st.integers(1, 50_000),
    ),
)
@settings(max_examples=80)
def test_somebody_is_always_asked(cards: list[ModelCard], strategy: str, request_: CompletionRequest) -> None:
    providers = [Known("abcde"[place], card) for place, card in enumerate(cards)]
    one = router(*providers, **route(*(f"{provider.name}/m" for provider in providers), strategy=strategy))
    decision = one.decide(SMART, lambda: request_)
    assert decision.choices and len(set(decision.choices)) == len(decision.choices)
    lacking = {left.choice for left in decision.left_out}
    assert not lacking & set(decision.choices) or len(lacking) == len(cards)
    assert len(decision.considered(lambda model: (10, 10))) == len(cards)


# ---------------------------------------------------------------- conditions


def test_a_target_is_for_the_requests_that_its_condition_holds_of() -> None:
    one = router(
        *of("a", "b", "c"),
        **route(
            {"target": "a/m", "when": {"tags": ["night"]}},
            {"target": "b/m", "when": {"min_tokens": 1000}},
            {"target": "c/m", "when": {"metadata": {"team": "x"}}},
        ),
    )
    assert ids(one.decide(SMART, lambda: HELLO, about=About(tags=("night",)))) == ["a"]
    assert ids(one.decide(SMART, lambda: LONG)) == ["b"]
    told = CompletionRequest(messages="hi", extra={"openai_chat": {"metadata": {"team": "x", "tags": ["night"]}}})
    assert ids(one.decide(SMART, lambda: told)) == ["a", "c"]
    with pytest.raises(ProviderNotFound, match=r'"smart" leads nowhere for this request: a/m: not meant for it'):
        one.decide(SMART, lambda: HELLO)
    assert one.looks_about and not router(*of("a"), **route("a/m")).looks_about


def test_a_condition_holds_for_all_that_a_nested_route_leads_to() -> None:
    tables = {
        "routes": {
            "smart": {"targets": [{"target": "inner", "when": {"tags": ["x"]}}, "c/m"]},
            "inner": {"targets": ["a/m", "b/m"], "strategy": "round_robin"},
        }
    }
    one = router(*of("a", "b", "c"), **tables)
    assert ids(one.decide(SMART, lambda: HELLO)) == ["c"]
    asked = [ids(one.decide(SMART, lambda: HELLO, about=About(tags=("x",)))) for _ in range(2)]
    assert asked == [["a", "b", "c"], ["b", "a", "c"]]


def test_a_nested_route_takes_the_share_of_its_weight() -> None:
    tables = {
        "routes": {
            "smart": {
                "targets": [{"target": "inner", "weight": 3}, {"target": "c/m", "weight": 1}],
                "strategy": "weighted",
            },
            "inner": {"targets": ["a/m", "b/m"], "strategy": "weighted"},
        }
    }
    one = router(*of("a", "b", "c"), **tables)
    firsts = Counter(ids(one.decide(SMART, lambda: HELLO))[0] for _ in range(4000))
    assert firsts["c"] == pytest.approx(1000, rel=0.15)
    assert firsts["a"] == pytest.approx(1500, rel=0.15)


# ---------------------------------------------------------------- the state of targets


def fail(one: Router, provider: str, times: int = 20) -> None:
    assert one._targets is not None
    target = one._targets.of(Choice(provider=provider, model="m"))
    for _ in range(times):
        target.breaker.record(one._clock(), ServerError("it is down", provider=provider))  # type: ignore[attr-defined]


def test_who_is_left_alone_is_asked_last() -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m", strategy="round_robin"))
    fail(one, "a")
    for _ in range(4):
        decision = one.decide(SMART, lambda: HELLO)
        assert ids(decision) == ["b", "a"]
    (left,) = decision.left_out
    assert (left.choice.provider, left.is_last) == ("a", True)
    considered = {each.provider: each for each in decision.considered()}
    assert (considered["a"].health, considered["a"].place) == ("open", 2)
    assert "left alone" in considered["a"].reason


def test_the_busy_one_is_passed_over() -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m", strategy="least_busy"))
    assert one._targets is not None
    one._targets.of(Choice(provider="a", model="m")).in_flight = 3  # type: ignore[misc]
    assert ids(one.decide(SMART, lambda: HELLO)) == ["b", "a"]


def test_turns_are_one_row_for_all_who_name_the_route() -> None:
    one = router(*of("a", "b", "c"), **route("a/m", "b/m", "c/m", strategy="round_robin"))
    wishes = (SMART, Wanted(model="smart", fallbacks=("a/m",)))
    firsts = Counter(ids(one.decide(wishes[turn % 2], lambda: HELLO))[0] for turn in range(300))
    assert set(firsts.values()) == {100}


# ---------------------------------------------------------------- a strategy of another package


def shortest_name(options: Any, moment: Any) -> Any:
    return sorted(options, key=lambda option: len(option.choice.provider))[:1]


def broken(options: Any, moment: Any) -> Any:
    raise RuntimeError("no order today")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    points = {
        name: EntryPoint(name=name, value=f"{__name__}:{name}", group=custom_strategies.GROUP)
        for name in ("shortest_name", "broken", "ids")
    }
    monkeypatch.setattr(custom_strategies, "_found", lambda: points)


def test_a_strategy_of_another_package(installed: None) -> None:
    """Whom it leaves out is asked last."""
    one = router(*of("long", "b"), **route("long/m", "b/m", strategy="shortest_name"))
    assert ids(one.decide(SMART, lambda: HELLO)) == ["b", "long"]


def test_a_strategy_that_fails_costs_no_request(installed: None, caplog: pytest.LogCaptureFixture) -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m", strategy="broken"))
    log = logging.getLogger("genai_spine.engine.routing.router")
    log.addHandler(caplog.handler)  # a command that ran before may have turned the root's off
    with caplog.at_level(logging.ERROR, logger=log.name):
        assert ids(one.decide(SMART, lambda: HELLO)) == ["a", "b"]
    log.removeHandler(caplog.handler)
    assert "the strategy broken failed" in caplog.text


def test_a_strategy_that_is_nowhere_is_told_when_the_settings_are_read() -> None:
    with pytest.raises(ConfigError, match=r'routing.strategy: no such strategy; did you mean "round_robin"\?'):
        router(routing={"strategy": "round_robbin"})
    with pytest.raises(ConfigError, match=r"routes.smart.strategy: no such strategy; there are local_first, cost_opt"):
        router(*of("a"), **route("a/m", strategy="zzz"))


def test_routes_that_lead_back_to_themselves_are_told_with_their_way() -> None:
    tables = {"a": {"targets": ["b"]}, "b": {"targets": ["x/m", "c"]}, "c": {"targets": ["b"]}}
    with pytest.raises(ConfigError) as told:
        router(*of("x"), routes=tables)
    assert "routes.b.targets[1]: leads back to itself: b → c → b" in str(told.value)
    assert "routes.c.targets[0]: leads back to itself: c → b → c" in str(told.value)


# ---------------------------------------------------------------- terms


def test_a_routes_terms_stand_over_the_settings() -> None:
    terms = {"on_break": "continue", "on_context_length": "fallback", "timeouts": {"total": 5}}
    one = router(*of("a"), **route("a/m", **terms), retry={"on_content_filter": "fallback"})
    decision = one.decide(SMART, NOBODY)
    assert (decision.route, decision.on_break, decision.on_context_length) == ("smart", "continue", "fallback")
    assert decision.on_content_filter == "fallback"
    assert decision.timeouts is not None and decision.timeouts.total == 5
    plain = one.decide(Wanted(model="a/m"), NOBODY)
    assert (plain.route, plain.on_break, plain.on_context_length, plain.timeouts) == (None, "error", "error", None)


def test_what_cannot_be_exchanged_goes_to_the_first_as_written() -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m", strategy="round_robin"))
    assert {one.first(SMART).choices for _ in range(4)} == {(Choice(provider="a", model="m"),)}


# ---------------------------------------------------------------- the dry run


def test_a_dry_run_remembers_nothing() -> None:
    one = router(*of("a", "b"), **route("a/m", "b/m", strategy="round_robin"), routing={"sticky": "session"})
    about = About(session="s")
    dry = [one.explain(SMART, lambda: HELLO, about).candidates[0].provider for _ in range(5)]
    assert set(dry) == {"a"}
    assert [ids(one.decide(SMART, lambda: HELLO))[0] for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_decision_tells_who_was_considered_and_why() -> None:
    priced = settings_of(
        {
            "providers": {"openai": {"api_key": "k"}, "anthropic": {"api_key": "k"}},
            **route("anthropic/claude-sonnet-4-5", "openai/gpt-4o", strategy="cost_optimized"),
        }
    )
    from genai_spine.providers.registry import build_providers

    one = Router(ProviderRegistry(build_providers(priced)), priced)
    explained = one.explain(SMART, lambda: HELLO)
    assert (explained.route, explained.strategy) == ("smart", "cost_optimized")
    first, second = explained.candidates
    assert (first.provider, first.place, first.reason) == ("openai", 1, "by cost_optimized")
    assert first.cost_usd is not None and second.cost_usd is not None and first.cost_usd < second.cost_usd
    assert first.input_tokens and first.context_window == 128_000
