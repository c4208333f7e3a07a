"""Sessions that keep to one target: by name, by the beginning of the prompt, for a while and not for ever."""

from __future__ import annotations

from typing import Any

from test_router import HELLO, SMART, fail, ids, of, route, settings_for

from genai_spine import ProviderRegistry
from genai_spine.engine.routing.request_facts import About
from genai_spine.engine.routing.router import Router
from genai_spine.engine.routing.sticky import Sticky, prefix_of
from genai_spine.engine.targets import Targets
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.policy.route import Choice, Wanted

A, B = Choice(provider="a", model="m"), Choice(provider="b", model="m")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def sticky_router(clock: Clock, sticky: str = "session", **more: Any) -> Router:
    tables = route("a/m", "b/m", "c/m", strategy="round_robin")
    providers = of("a", "b", "c")
    made = settings_for(providers, **tables, routing={"sticky": sticky, "sticky_for": 300, **more})
    registry = ProviderRegistry(providers)
    return Router(registry, made, Targets(registry, made), clock=clock)


def firsts(one: Router, session: str | None, times: int = 3) -> list[str]:
    about = About(session=session)
    return [ids(one.decide(SMART, lambda: HELLO, about=about))[0] for _ in range(times)]


def test_a_session_keeps_to_its_target_and_others_go_on_in_turn() -> None:
    one = sticky_router(Clock())
    assert set(firsts(one, "x")) == {"a"}
    assert len({firsts(one, f"s{turn}", 1)[0] for turn in range(3)}) == 3
    assert set(firsts(one, "x")) == {"a"}
    assert one.decide(SMART, lambda: HELLO, about=About(session="x")).is_kept


def test_what_is_kept_takes_nobodys_turn() -> None:
    one = sticky_router(Clock())
    assert firsts(one, "x", 1) == ["a"]
    mixed = [firsts(one, "x", 1) + firsts(one, None, 1) for _ in range(3)]
    assert mixed == [["a", "b"], ["a", "c"], ["a", "a"]]


def test_without_a_session_nothing_is_kept() -> None:
    assert firsts(sticky_router(Clock()), None) == ["a", "b", "c"]


def test_it_is_kept_from_the_last_request_on() -> None:
    clock = Clock()
    one = sticky_router(clock)
    (first,) = firsts(one, "x", 1)
    for _ in range(4):
        clock.now_s += 299
        assert firsts(one, "x", 1) == [first]
    clock.now_s += 301
    assert firsts(one, "x", 1) != [first]


def test_who_answered_in_its_place_is_kept_to() -> None:
    one = sticky_router(Clock())
    decision = one.decide(SMART, lambda: HELLO, about=About(session="x"))
    assert decision.choices[0] == A
    one.keep(decision, B)
    assert set(firsts(one, "x")) == {"b"}


def test_who_is_not_well_is_not_kept_to() -> None:
    one = sticky_router(Clock())
    assert firsts(one, "x", 1) == ["a"]
    fail(one, "a")
    assert firsts(one, "x", 1)[0] != "a"


def test_each_model_of_a_session_has_its_own() -> None:
    one = sticky_router(Clock())
    firsts(one, "x", 1)
    decision = one.decide(Wanted(model="b/m", fallbacks=("c/m",)), lambda: HELLO, about=About(session="x"))
    assert ids(decision) == ["b", "c"]
    assert set(firsts(one, "x")) == {"a"}


def test_what_is_named_goes_before_who_answered_last() -> None:
    one = sticky_router(Clock())
    named = Wanted(model="b/m", fallbacks=("c/m",))
    decision = one.decide(named, lambda: HELLO, about=About(session="x"))
    one.keep(decision, Choice(provider="c", model="m"))
    assert ids(one.decide(named, lambda: HELLO, about=About(session="x"))) == ["b", "c"]
    several = Wanted(model="smart", fallbacks=("b/m",))
    one.keep(one.decide(several, lambda: HELLO, about=About(session="y")), Choice(provider="b", model="m"))
    assert ids(one.decide(several, lambda: HELLO, about=About(session="y")))[0] == "b", "one of the route's"


def test_what_is_remembered_is_bounded() -> None:
    kept = Sticky(300, most=100)
    for number in range(1000):
        kept.keep(("m", str(number)), A, 0.0)
    assert len(kept) == 100
    assert (kept.find(("m", "999"), 0.0), kept.find(("m", "1"), 0.0)) == (A, None)


# ---------------------------------------------------------------- by the beginning


def talk(*texts: str, system: str = "You are a helper.") -> CompletionRequest:
    roles = ("user", "assistant") * len(texts)
    turns = [Message(role=role, content=text) for role, text in zip(roles, texts, strict=False)]  # type: ignore[arg-type]
    return CompletionRequest(messages=(Message(role="system", content=system), *turns))


def test_further_turns_of_a_conversation_begin_the_same() -> None:
    assert prefix_of(talk("hi")) == prefix_of(talk("hi", "hello", "and then?"))
    assert prefix_of(talk("hi")) != prefix_of(talk("ho"))
    assert prefix_of(talk("hi")) != prefix_of(talk("hi", system="You are a poet."))


def test_a_line_that_differs_each_time_does_not_count() -> None:
    one, other = (talk("hi", system=f"x-anthropic-billing-header: cc_version=2.1; cch={number}") for number in (1, 2))
    assert prefix_of(one) == prefix_of(other)


def test_a_conversation_keeps_to_its_target_without_a_name() -> None:
    one = sticky_router(Clock(), "prefix")
    turns = [talk("hi"), talk("ho"), talk("hi", "hello", "more"), talk("ho", "hum", "more")]
    asked = [ids(one.decide(SMART, lambda turn=turn: turn))[0] for turn in turns]  # type: ignore[misc]
    assert asked[0] == asked[2] and asked[1] == asked[3] and asked[0] != asked[1]
    assert firsts(one, "named", 2)[0] == firsts(one, "named", 1)[0], "a session's name goes before"
