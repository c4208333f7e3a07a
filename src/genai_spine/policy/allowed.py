"""What a caller's key may use: patterns over `provider/model`, and names of routes and agents.

A key that may use a route, or an agent, may use all that it leads to, where the request names it; one that may use
some of its targets gets those. Must not know: keys, callers' requests.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from genai_spine.model.errors import InvalidRequest
from genai_spine.policy.route import AGENT, Choice, Group, Plan
from genai_spine.settings import Settings

OTHERS = "models"
"""The member that names further models which OpenRouter may answer with (openrouter.ai/docs/model-routing, 2026-11)."""


class ModelNotAllowed(InvalidRequest):
    """The caller's key may not use what the request names. The same words where there is no such model."""


class Allowed:
    """What one key may use. In a pattern `*` stands for any letters, also for none and for a slash."""

    __slots__ = ("_fits", "caller", "patterns")

    def __init__(self, caller: str, patterns: Collection[str], other_names: Iterable[str] = ()) -> None:
        """`other_names` are patterns that say the same in a provider's own words, and are not shown."""
        self.caller = caller
        self.patterns = tuple(patterns)
        self._fits = re.compile("|".join(map(_expression, (*patterns, *other_names))), re.DOTALL).fullmatch

    def may_name(self, name: str) -> bool:
        """Whether a pattern fits this very name."""
        return self._fits(name) is not None

    def may_use(self, choice: Choice) -> bool:
        """Whether this target may be named by itself."""
        if choice.agent is not None and self.may_name(AGENT + choice.agent):
            return True
        return self.may_name(f"{choice.provider}/{choice.model or ''}")

    def may_ask(self, provider: str) -> bool:
        """Whether any model of this provider may be named."""
        named = [pattern.partition("/")[0] for pattern in self.patterns if "/" in pattern]
        return self.may_name(f"{provider}/") or any(re.fullmatch(_expression(id), provider) for id in named)

    def within(self, plan: Plan) -> frozenset[Choice]:
        """The targets of a plan that the key may use."""
        return frozenset(choice for group in plan.groups for choice in self._within(group))

    def _within(self, group: Group) -> Iterator[Choice]:
        if group.route is not None and self.may_name(group.route):
            yield from group.choices
            return
        for member in group.members:
            if isinstance(member.of, Group):
                yield from self._within(member.of)
            elif self.may_use(member.of):
                yield member.of

    def refuse_others(self, members: Collection[str]) -> None:
        """Raises: ModelNotAllowed where a request has a member that leaves it to the provider which model answers."""
        if OTHERS in members:
            raise ModelNotAllowed(
                f"this key may not leave it to a provider which of `{OTHERS}` answers: name them in `fallbacks`; "
                f"it may use {', '.join(self.patterns)}",
                status_code=403,
                code="model_not_allowed",
                param=OTHERS,
            )

    def refusal(self, model: str | None) -> ModelNotAllowed:
        what = f'"{model[:200]}"' if model is not None else "the default model"
        return ModelNotAllowed(
            f"this key may not use {what}; it may use {', '.join(self.patterns)}",
            status_code=403,
            code="model_not_allowed",
            param="model",
        )


def allowances_of(settings: Settings) -> Mapping[str, Allowed]:
    """Of each key that may not use everything, by the key's name."""
    return {
        name: Allowed(name, key.models, _own_names(key.models, settings))
        for name, key in settings.server.keys.items()
        if key.models
    }


def _own_names(patterns: Iterable[str], settings: Settings) -> Iterator[str]:
    """`openai/fast` also as `openai/gpt-4o-mini`, where `fast` is the user's own name for that."""
    for pattern in patterns:
        id, slash, model = pattern.partition("/")
        if slash and id in settings.providers and (own := settings.providers[id].custom_models.get(model)) is not None:
            yield f"{id}/{own}"


def _expression(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.split("*")))
