"""Whom a request is sent to: the plan of its names, the state of its targets, the strategy's word.

    names ─ policy/route.py ─▶ plan ─ conditions, needs, breakers ─▶ options ─ strategy ─▶ Decision

What does not change from one request to the next is worked out once for what they name, and kept: a request
with one target, or with several in a fixed order, costs a look-up. Must not know: HTTP, dialects.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from genai_spine.engine.routing.asking import Asking, consider, nobody_left
from genai_spine.engine.routing.book import book_of
from genai_spine.engine.routing.decision import Considered, Count, Decision, Explained, LeftOut, passing_over
from genai_spine.engine.routing.known import Branch, Known, Node, facts_of
from genai_spine.engine.routing.request_facts import About, RequestFacts
from genai_spine.engine.routing.sticky import Key, Sticky, prefix_of
from genai_spine.engine.routing.within import Within
from genai_spine.engine.targets import Target, Targets
from genai_spine.model.errors import ProviderNotFound, SpineError
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.allowed import allowances_of
from genai_spine.policy.conditions import unmet_condition
from genai_spine.policy.custom_strategies import load_strategy
from genai_spine.policy.route import Choice, NotLocal, RouteBook, Wanted, resolve
from genai_spine.policy.strategy import Moment, Option, Strategy
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import Settings, TimeoutOverrides

Objection = Callable[[Choice, str | None, tuple[str, ...]], str | None]
"""Why a target would not be asked now, for a caller's key and tags; None: it would."""

_LEFT_ALONE = "it failed too often and is left alone for a while"
_MOST_KNOWN = 1000
"""Callers may name models of their own making."""

logger = logging.getLogger(__name__)


class Router:
    """One for each manager. `fallbacks` may grow: providers that a program adds, to be asked after the others."""

    def __init__(
        self,
        registry: ProviderRegistry,
        settings: Settings,
        targets: Targets | None = None,
        *,
        fallbacks: Sequence[str] = (),
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises: ConfigError for a strategy that there is not."""
        self._registry = registry
        self._settings = settings
        self._targets = targets
        self._fallbacks = fallbacks
        self._chance = chance
        self._clock = clock
        self._strategies: dict[str, Strategy] = {}
        for name in (settings.routing.strategy, *(route.strategy for route in settings.routes.values())):
            self._strategy(name)
        keeps = settings.routing.sticky
        self._sticky = Sticky(float(settings.routing.sticky_for)) if keeps != "none" else None
        self._keeps_prefixes = keeps == "prefix"
        self.allowances = allowances_of(settings)
        self._memories: dict[object, dict[int, float]] = {}
        self._known: dict[Wanted, Known] = {}
        self._book: RouteBook | None = None
        self._size = -1
        self.looks_about = self._sticky is not None or any(
            target.when is not None for route in settings.routes.values() for target in route.targets
        )
        """Whether anything is decided by what is said about a request; else nobody need gather it."""
        self.objections: list[Objection] = []
        """Who may know why a target would be passed over now: for explanations, since each call asks them itself."""

    # ------------------------------------------------------------ what is configured

    @property
    def book(self) -> RouteBook:
        """What routing looks at; made anew when a provider is added."""
        if self._book is None or self._size != len(self._registry):
            self._book = book_of(self._registry, self._settings, self._fallbacks)
            self._size = len(self._registry)
            self._known.clear()
        return self._book

    def forget(self) -> None:
        """Look at the providers anew."""
        self._book = None
        self._known.clear()

    def plan(self, wanted: Wanted, caller: str | None = None) -> tuple[Choice, ...]:
        """The targets as they are written, for what cannot be sent just anywhere. Raises: as `decide`."""
        known = self._know(wanted, caller)
        within = self._within(wanted, known, caller)
        return known.choices if within is None else tuple(each for each in known.choices if each in within.choices)

    def first(self, wanted: Wanted, caller: str | None = None) -> Decision:
        """The first target as written and no other, for what two models cannot exchange. Raises: as `decide`."""
        choices = self.plan(wanted, caller)[:1]
        return msgspec.structs.replace(self._know(wanted).terms, choices=choices, strategy="ordered")

    def may_use(self, name: str, caller: str | None) -> bool:
        """Whether a caller's key may use anything that this name stands for."""
        try:
            return bool(self.plan(Wanted(model=name), caller))
        except SpineError:
            return False

    def provider_of(self, choice: Choice) -> LLMProvider:
        """Whom to ask: the provider, or the one that an agent sees. Raises: ProviderNotFound."""
        if choice.agent is not None:
            return self._registry.get_for_agent(choice.agent, self._settings)
        return self._registry.get(choice.provider)

    # ------------------------------------------------------------ deciding

    def decide(
        self,
        wanted: Wanted,
        ask: Callable[[], CompletionRequest],
        *,
        body: bytes | None = None,
        members: Collection[str] = (),
        about: About | None = None,
        caller: str | None = None,
        is_plain: Callable[[], bool] | None = None,
    ) -> Decision:
        """Whom to ask, in order. `ask` gives the request through the model and is called where that matters.

        `body` and its top-level `members` are the request as it came, of which a look can save that, or a longer one,
        which tells that it `is_plain`: words and functions alone. `about` is worth giving where `looks_about`, and
        `caller` names the caller's key. Raises: ProviderNotFound; NotLocal and ModelNotAllowed, InvalidRequests, where
        `routing.local_only` or the key's settings forbid what is named.
        """
        known = self._known.get(wanted) if self._size == len(self._registry) else None
        if known is None:
            known = self._know(wanted, caller)
        within = self._within(wanted, known, caller, members) if self.allowances else None
        steady = known.steady if within is None else within.steady
        may_filter = known.filters and not (body is not None and known.suits_all(body, members))
        if steady is not None and not may_filter:
            return steady
        facts = RequestFacts(ask, body, members, about, is_plain)
        filters = may_filter and known.may_leave_out(facts)
        if steady is not None and not filters:
            return steady
        return self._decide(wanted, known, facts, filters, within, caller)

    def keep(self, decision: Decision, choice: Choice) -> None:
        """This target has answered: the session's next request goes there first."""
        if decision.session is not None and self._sticky is not None:
            self._sticky.keep(decision.session, choice, self._clock())

    def explain(
        self,
        wanted: Wanted,
        ask: Callable[[], CompletionRequest],
        about: About | None = None,
        caller: str | None = None,
        *,
        members: Collection[str] = (),
    ) -> Explained:
        """What `decide` would say now, with its reasons; nothing is asked, and nothing remembered. Raises: as it."""
        known = self._know(wanted, caller)
        within = self._within(wanted, known, caller, members)
        facts = RequestFacts(ask, about=about)
        filters = known.filters and known.may_leave_out(facts)
        decision = self._decide(wanted, known, facts, filters, within, caller, is_dry=True)
        candidates = decision.considered(lambda model: (facts.tokens(model), facts.answer_tokens))
        if self.objections:
            candidates = passing_over(candidates, lambda choice: self._objection(choice, caller, facts.about.tags))
        return Explained(
            route=decision.route,
            strategy=decision.strategy,
            candidates=candidates,
            not_local=known.plan.refused,
            on_break=decision.on_break,
            on_context_length=decision.on_context_length,
            on_content_filter=decision.on_content_filter,
            session=decision.session[1] if decision.session is not None else None,
        )

    def _objection(self, choice: Choice, caller: str | None, tags: tuple[str, ...]) -> str | None:
        return next((why for ask in self.objections if (why := ask(choice, caller, tags)) is not None), None)

    def _decide(
        self,
        wanted: Wanted,
        known: Known,
        facts: RequestFacts,
        filters: bool,
        within: Within | None = None,
        caller: str | None = None,
        *,
        is_dry: bool = False,
    ) -> Decision:
        now_s = self._clock()
        session = self._session_of(wanted, known, facts, caller)
        kept = self._sticky.find(session, now_s) if self._sticky is not None and session is not None else None
        # Who keeps to its target takes nobody's turn.
        is_dry_order = is_dry or kept is not None
        asking = Asking(known, facts, now_s, takes_all=not filters, is_dry=is_dry_order, within=within)
        choices = [choice for node in known.nodes for choice in self._order(node, asking)]
        if not choices and asking.lacks_any:
            # Nobody is known to be able: whoever was asked for is asked all the same, and may be.
            asking = Asking(known, facts, now_s, takes_all=True, is_dry=is_dry_order, within=within)
            choices = self._order(known.nodes[0] if within is None else within.first_node(known), asking)
        if not choices:
            raise nobody_left(known, asking)
        if session is None and not asking.left_out:
            return known.in_order(tuple(choices))
        is_kept = (
            kept is not None
            and kept in known.nodes[0].choices
            and kept in choices
            and not any(left.choice == kept for left in asking.left_out)
        )
        if kept is not None and is_kept:
            choices.insert(0, kept)
        if self._sticky is not None and session is not None and not is_dry:
            self._sticky.keep(session, choices[0], now_s)
        return msgspec.structs.replace(
            known.terms,
            choices=tuple(dict.fromkeys(choices)),
            session=session,
            is_kept=is_kept,
            left_out=tuple(asking.left_out),
        )

    def _session_of(self, wanted: Wanted, known: Known, facts: RequestFacts, caller: str | None) -> Key | None:
        """Under which its target is remembered; None where nothing is kept, or nothing is to choose. Each key has
        sessions of its own: no caller decides by a session's name who is asked for another."""
        if self._sticky is None or len(known.nodes[0].choices) < 2:
            return None
        session = facts.about.session or (prefix_of(facts.request) if self._keeps_prefixes else None)
        return (wanted.model, session, caller) if session is not None else None

    def _order(self, node: Node, asking: Asking) -> list[Choice]:
        """The node's targets in the strategy's order; those that the breaker leaves alone behind all others."""
        options: list[Option] = []
        closed: list[Option] = []
        paths: dict[int, list[Choice]] = {}
        takes_all = node.is_plain and asking.takes_all and asking.within is None
        for branch in node.members:
            path = branch.path if takes_all else self._path(branch, asking)
            if not path:
                continue
            choice = path[0]
            paths[branch.place] = path
            target = self._targets.of(choice) if self._targets is not None and not asking.is_steady else None
            option = _option(branch, choice, node.strategy, asking, target)
            if target is None or target.breaker.would_admit(asking.now_s):
                options.append(option)
            else:
                asking.left_out.append(LeftOut(choice, _LEFT_ALONE, is_last=True))
                closed.append(option)
        if not options:  # all are left alone: the strategy spreads even the last resorts
            options, closed = closed, []
        ordered = self._asked(node, options, asking) if len(options) > 1 else options
        return [choice for option in (*ordered, *closed) for choice in paths[option.place]]

    def _path(self, branch: Branch, asking: Asking) -> list[Choice]:
        """Where a branch leads for this request; nowhere, where it is not meant for it or cannot answer it."""
        of = branch.of
        if branch.when is not None and (why := unmet_condition(branch.when, asking.facts.traits, asking.facts.tokens)):
            asking.leave_out(of.choices if isinstance(of, Node) else (of,), f"not meant for it: {why}")
            return []
        if isinstance(of, Node):
            return self._order(of, asking)
        if (why := asking.lack_of(of)) is not None:
            asking.leave_out((of,), why)
            return []
        return [of]

    def _asked(self, node: Node, options: list[Option], asking: Asking) -> Sequence[Option]:
        """The strategy's word. What a stranger's leaves out comes last; where it fails, all are as written."""
        exploration = self._settings.routing.exploration
        memory = dict(node.memory) if asking.is_dry else node.memory
        moment = Moment(now_s=asking.now_s, chance=self._chance, memory=memory, exploration=exploration)
        if node.strategy.is_ours:
            return node.strategy.order(options, moment)
        try:
            ordered = [option for option in node.strategy.order(tuple(options), moment) if option in options]
        except Exception:
            logger.exception("the strategy %s failed; its targets are asked as they are written", node.name)
            return options
        return list({option.place: option for option in (*ordered, *options)}.values())

    # ------------------------------------------------------------ what is worked out once

    def _within(self, wanted: Wanted, known: Known, caller: str | None, members: Collection[str] = ()) -> Within | None:
        """What of it the caller's key may use; None: everything. Raises: ModelNotAllowed."""
        if caller is None or (allowed := self.allowances.get(caller)) is None:
            return None
        allowed.refuse_others(members)
        found = known.within.get(caller)
        if found is None:
            found = known.within[caller] = Within(known, allowed)
        if not found.choices:
            raise allowed.refusal(wanted.model or wanted.provider)
        return found

    def _know(self, wanted: Wanted, caller: str | None = None) -> Known:
        """To a key that may not use everything, what there is not is what it may not use. Raises: as `decide`."""
        try:
            return self._look_up(wanted)
        except (ProviderNotFound, NotLocal):
            if caller is None or (allowed := self.allowances.get(caller)) is None:
                raise
            raise allowed.refusal(wanted.model or wanted.provider) from None

    def _look_up(self, wanted: Wanted) -> Known:
        book = self.book
        known = self._known.get(wanted)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
                self._memories.clear()
            known = self._known[wanted] = self._learn(wanted, book)
        return known

    def _learn(self, wanted: Wanted, book: RouteBook) -> Known:
        plan = resolve(wanted, book)
        nodes = [Node(group, self._strategy, self._memories) for group in plan.groups]
        ranks = any(node.strategy.needs_rank for top in nodes for node in top.nodes())
        ranking = self._settings.routing.ranking
        facts = {
            choice: facts_of(choice, self._registry.get(choice.provider), ranking, ranks) for choice in plan.choices
        }
        known = Known(plan, nodes, facts, self._terms(plan.route, nodes[0].name))
        is_sticky = self._sticky is not None and len(nodes[0].choices) > 1
        if all(node.is_steady for node in nodes) and not is_sticky:
            asking = Asking(known, RequestFacts(_no_request), 0.0, is_steady=True)
            choices = [choice for node in nodes for choice in self._order(node, asking)]
            known.steady = msgspec.structs.replace(known.terms, choices=tuple(dict.fromkeys(choices)))

        def explain(decision: Decision, count: Count | None) -> tuple[Considered, ...]:
            return consider(decision, known, self._targets, self._clock(), count)

        known.terms = msgspec.structs.replace(known.terms, explain=explain)
        if known.steady is not None:
            known.steady = msgspec.structs.replace(known.steady, explain=explain)
        return known

    def _terms(self, route: str | None, strategy: str) -> Decision:
        """What holds of every decision for a route, or where none is named."""
        settings = self._settings
        terms = Decision(
            choices=(),
            route=route,
            strategy=strategy,
            on_break=settings.streams.on_break,
            on_context_length=settings.retry.on_context_length,
            on_content_filter=settings.retry.on_content_filter,
        )
        if route is None:
            return terms
        own = settings.routes[route]
        return msgspec.structs.replace(
            terms,
            on_break=own.on_break or terms.on_break,
            on_context_length=own.on_context_length or terms.on_context_length,
            on_content_filter=own.on_content_filter or terms.on_content_filter,
            timeouts=own.timeouts if own.timeouts != TimeoutOverrides() else None,
        )

    def _strategy(self, name: str) -> Strategy:
        if name not in self._strategies:
            self._strategies[name] = load_strategy(name)
        return self._strategies[name]


def _option(branch: Branch, choice: Choice, strategy: Strategy, asking: Asking, target: Target | None) -> Option:
    facts = asking.known.facts[choice]
    cost = asking.cost_of(facts) if strategy.needs_cost else None
    if target is None or not strategy.is_live:
        return Option(
            choice=choice, place=branch.place, weight=branch.weight, is_local=facts.is_local, rank=facts.rank or 0,
            cost_usd=cost,
        )  # fmt: skip
    pace = target.pace
    return Option(
        choice=choice,
        place=branch.place,
        weight=branch.weight,
        is_local=facts.is_local,
        rank=facts.rank or 0,
        cost_usd=cost,
        in_flight=target.in_flight,
        seen=pace.count,
        first_s=pace.first_s,
        tokens_per_s=pace.tokens_per_s,
        peak_s=pace.peak_s(asking.now_s),
    )


def _no_request() -> CompletionRequest:
    return CompletionRequest(messages=())
