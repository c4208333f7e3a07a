"""One request's way through a plan: who is left out for it and why, and what each would cost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from genai_spine.engine.routing.decision import Considered, Count, Decision, LeftOut
from genai_spine.engine.routing.known import Facts, Known
from genai_spine.engine.routing.request_facts import RequestFacts
from genai_spine.engine.routing.within import NOT_ALLOWED, Within
from genai_spine.engine.targets import Targets
from genai_spine.model.errors import ProviderNotFound, SpineError
from genai_spine.policy.needs import TOLD
from genai_spine.policy.route import Choice


class Asking:
    """`takes_all`: nobody is left out for what it lacks. `is_steady`: what holds of every such request is asked.
    `is_dry`: nothing is remembered of it. `within`: what the caller's key may use, where that is not everything.
    """

    __slots__ = ("facts", "is_dry", "is_steady", "known", "lacks_any", "left_out", "now_s", "takes_all", "within")

    def __init__(
        self,
        known: Known,
        facts: RequestFacts,
        now_s: float,
        *,
        takes_all: bool = False,
        is_steady: bool = False,
        is_dry: bool = False,
        within: Within | None = None,
    ) -> None:
        self.known = known
        self.facts = facts
        self.now_s = now_s
        self.takes_all = takes_all or is_steady
        self.is_steady = is_steady
        self.is_dry = is_dry
        self.within = within
        self.lacks_any = False
        self.left_out: list[LeftOut] = []

    def leave_out(self, choices: Iterable[Choice], reason: str) -> None:
        self.left_out += [LeftOut(choice, reason) for choice in choices]

    def lack_of(self, choice: Choice) -> str | None:
        """Why this target cannot answer the request, as far as is known, or may not; None where it may.

        The only target that a request names is never too little: the caller knows why.
        """
        if self.within is not None and choice not in self.within.choices:
            return NOT_ALLOWED
        known = self.known
        if self.takes_all or (choice == known.choices[0] and len(known.nodes[0].choices) == 1):
            return None
        facts = known.facts[choice]
        said = _lack_of(facts, known.lacking, self.facts)
        self.lacks_any = self.lacks_any or said is not None
        return said

    def cost_of(self, facts: Facts) -> Decimal | None:
        """USD, for an answer of ordinary length; None where no price is known."""
        request = self.facts
        return _cost(facts, request.tokens(facts.model), request.answer_tokens)


def _lack_of(facts: Facts, differing: frozenset[str], request: RequestFacts) -> str | None:
    lacks = facts.lacks & differing
    if lacks and (needed := request.needed(lacks)):
        return " and ".join(TOLD[name] for name in TOLD if name in needed)
    window, cap = facts.window, request.cap
    if cap is not None:
        window = cap if window is None else min(window, cap)
    if window is None or request.fits(window) or request.tokens(facts.model) <= window:
        return None
    return f"about {request.tokens(facts.model)} tokens are more than its window of {window}"


def _cost(facts: Facts, input_tokens: int, output_tokens: int) -> Decimal | None:
    model = facts.choice.model or facts.provider.default_model or ""
    return facts.provider.calculate_cost(model, input_tokens, output_tokens)


def nobody_left(known: Known, asking: Asking) -> SpineError:
    """The error of a request for which no target of its route is meant."""
    told = [left for left in asking.left_out if left.reason != NOT_ALLOWED]
    said = "; ".join(f"{left.choice.provider}/{left.choice.model}: {left.reason}" for left in told)
    name = known.plan.route or "the request"
    return ProviderNotFound(f'"{name}" leads nowhere for this request: {said}')


# ---------------------------------------------------------------- an account of it


def consider(
    decision: Decision,
    known: Known,
    targets: Targets | None,
    now_s: float,
    count: Count | None,
) -> tuple[Considered, ...]:
    """Every target of the plan: first those that are asked, in order."""
    reasons = {left.choice: left.reason for left in decision.left_out}
    places = {choice: place for place, choice in enumerate(decision.choices, 1)}
    choices = dict.fromkeys((*decision.choices, *known.choices))
    described = []
    for choice in choices:
        facts = known.facts[choice]
        target = targets.of(choice) if targets is not None else None
        place = places.get(choice)
        counted = count(facts.model) if count is not None else None
        described.append(
            Considered(
                provider=choice.provider,
                model=choice.model,
                place=place,
                reason=reasons.get(choice) or _reason(decision, known, choice, place),
                health=target.breaker.state(now_s) if target is not None else "closed",
                is_local=facts.is_local,
                rank=facts.rank + 1 if facts.rank is not None else None,
                weight=known.weights.get(choice, 1.0),
                in_flight=target.in_flight if target is not None else 0,
                first_s=target.pace.first_s if target is not None else None,
                tokens_per_s=target.pace.tokens_per_s if target is not None else None,
                input_tokens=counted[0] if counted is not None else None,
                cost_usd=_cost(facts, *counted) if counted is not None else None,
                context_window=facts.window,
            )
        )
    return tuple(described)


def _reason(decision: Decision, known: Known, choice: Choice, place: int | None) -> str:
    """Why a target of which nothing special is known stands where it stands."""
    if place is None:
        return "not asked: another one was taken for it"
    if place == 1 and decision.is_kept:
        return "it answered this session before"
    node = next((node for node in known.nodes if choice in node.choices), known.nodes[0])
    if node is not known.nodes[0]:
        return "asked when those before it fail"
    return f"by {node.name}" if len(node.choices) > 1 else "named"
