"""What one caller's key may use of what a request names, worked out once for both."""

from __future__ import annotations

import msgspec

from genai_spine.engine.routing.decision import Decision, LeftOut
from genai_spine.engine.routing.known import Known, Node
from genai_spine.policy.allowed import Allowed

NOT_ALLOWED = "the caller's key may not use it"


class Within:
    """`choices` are those that the key may use; `steady` is the decision where no request changes it."""

    __slots__ = ("choices", "steady")

    def __init__(self, known: Known, allowed: Allowed) -> None:
        self.choices = allowed.within(known.plan)
        self.steady = self._of(known, known.steady) if known.steady is not None else None

    def _of(self, known: Known, decision: Decision) -> Decision:
        left_out = tuple(LeftOut(choice, NOT_ALLOWED) for choice in known.choices if choice not in self.choices)
        choices = tuple(choice for choice in decision.choices if choice in self.choices)
        return msgspec.structs.replace(decision, choices=choices, left_out=left_out) if left_out else decision

    def first_node(self, known: Known) -> Node:
        """The first group of the plan of which the key may use anything."""
        return next(node for node in known.nodes if not self.choices.isdisjoint(node.choices))
