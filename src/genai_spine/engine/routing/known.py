"""What is worked out once for all requests that name the same: their plan, and facts about its targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import msgspec

from genai_spine.catalog.ranking import rank_of
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.routing.request_facts import BYTES_PER_TOKEN, RequestFacts
from genai_spine.model.card import ModelCard
from genai_spine.policy.needs import MARKS, MEMBERS, lacks, window_of
from genai_spine.policy.route import Choice, Group, Plan
from genai_spine.policy.strategy import Strategy
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings.tree import Conditions

if TYPE_CHECKING:
    from genai_spine.engine.routing.within import Within


_MOST_ORDERS = 100


class Facts:
    """One target: what is known of it before any request."""

    __slots__ = ("card", "choice", "is_local", "lacks", "model", "provider", "rank", "window")

    def __init__(self, choice: Choice, provider: LLMProvider, rank: int | None) -> None:
        self.choice = choice
        self.provider = provider
        self.card: ModelCard = provider.card(choice.model)
        self.model = self.card.id
        self.is_local: bool = getattr(provider, "is_local", False)
        self.lacks = lacks(self.card.capabilities)
        # Ollama cuts a prompt that is longer than its own setting, whatever the model could take.
        self.window = window_of(self.card, getattr(getattr(provider, "settings", None), "num_ctx", None))
        self.rank = rank


class Node:
    """A group of the plan, ready to be ordered. `memory` is its strategy's, and outlives the plan."""

    __slots__ = ("choices", "is_plain", "members", "memory", "name", "route", "strategy")

    def __init__(
        self, group: Group, strategies: Callable[[str], Strategy], memories: dict[object, dict[int, float]]
    ) -> None:
        self.name = group.strategy
        self.route = group.route
        self.strategy = strategies(group.strategy)
        self.choices = tuple(dict.fromkeys(group.choices))
        self.memory = memories.setdefault(group.route or (group.strategy, self.choices), {})
        self.members = [
            Branch(
                Node(member.of, strategies, memories) if isinstance(member.of, Group) else member.of,
                member.weight,
                member.when,
                place,
            )
            for place, member in enumerate(group.members)
        ]
        self.is_plain = all(branch.path and branch.when is None for branch in self.members)
        """Whether each member is a target that any request may be sent to, as far as the settings say."""

    @property
    def is_steady(self) -> bool:
        """Whether its order is the same for every request that nothing of it is left out for."""
        if len(self.members) > 1 and self.strategy.is_live:
            return False
        return all(
            branch.when is None and (not isinstance(branch.of, Node) or branch.of.is_steady) for branch in self.members
        )

    def nodes(self) -> Iterator[Node]:
        yield self
        for branch in self.members:
            if isinstance(branch.of, Node):
                yield from branch.of.nodes()


class Branch:
    """One member of a node: a target, or a node below."""

    __slots__ = ("of", "path", "place", "weight", "when")

    def __init__(self, of: Choice | Node, weight: float, when: Conditions | None, place: int) -> None:
        self.of = of
        self.path = [of] if isinstance(of, Choice) else []
        """Where it leads, if that is one place."""
        self.weight = weight
        self.when = when
        self.place = place


class Known:
    """All that is known of a `Wanted`. `steady` is its decision where no request changes it but by what it needs."""

    __slots__ = (
        "_marks", "_members", "_orders", "choices", "facts", "filters", "lacking", "nodes", "plan", "smallest",
        "steady", "terms", "weights", "within",
    )  # fmt: skip

    def __init__(self, plan: Plan, nodes: list[Node], facts: dict[Choice, Facts], terms: Decision) -> None:
        self.plan = plan
        self.nodes = nodes
        self.facts = facts
        self.terms = terms
        self.choices = plan.choices
        self.steady: Decision | None = None
        self._orders: dict[tuple[Choice, ...], Decision] = {}
        self.within: dict[str, Within] = {}
        """What keys that may not use everything may use of it, by the key's name."""
        self.weights = {
            branch.of: branch.weight
            for top in nodes
            for node in top.nodes()
            for branch in node.members
            if isinstance(branch.of, Choice)
        }
        # The only target that is named is asked whatever is known of it.
        asked = self.choices if len(nodes[0].choices) > 1 else self.choices[1:]
        lacking: frozenset[str] = frozenset().union(*(facts[choice].lacks for choice in asked))
        # What all of them lack tells none from another.
        self.lacking = lacking.difference(frozenset.intersection(*(facts[choice].lacks for choice in self.choices)))
        windows = [window for choice in asked if (window := facts[choice].window) is not None]
        self.smallest: int | None = min(windows, default=None)
        self.filters = bool(self.lacking or windows) and len(self.choices) > 1

        self._members = frozenset().union(*(MEMBERS.get(name, ()) for name in self.lacking))
        self._marks = tuple({mark for name in self.lacking for mark in MARKS.get(name, ())})

    def in_order(self, choices: tuple[Choice, ...]) -> Decision:
        """The decision to ask these in this order, where no more is to be said of it."""
        found = self._orders.get(choices)
        if found is None:
            if len(self._orders) >= _MOST_ORDERS:
                self._orders.clear()
            made = msgspec.structs.replace(self.terms, choices=tuple(dict.fromkeys(choices)))
            found = self._orders[choices] = made
        return found

    def suits_all(self, body: bytes, members: Collection[str]) -> bool:
        """Whether a look at a body tells that no target need be left out for it."""
        if self.smallest is not None and len(body) > self.smallest * BYTES_PER_TOKEN:
            return False
        return self._members.isdisjoint(members) and not any(mark in body for mark in self._marks)

    def may_leave_out(self, request: RequestFacts) -> bool:
        """Whether one of the targets may be left out for what this request needs."""
        return bool(self.lacking and request.needed(self.lacking)) or (
            self.smallest is not None and not request.fits(self.smallest)
        )


def facts_of(choice: Choice, provider: LLMProvider, ranking: list[str], ranks: bool) -> Facts:
    rank = rank_of(choice.provider, choice.model or provider.default_model, ranking) if ranks else None
    return Facts(choice, provider, rank)
