"""Which providers and models a request is meant for: names to a plan.

Pure: a `RouteBook` says what is configured, the request says what is wanted. A model is named

    provider_id/model      that provider, by the provider's own name for the model
    agent:name             the provider and model of `[agents.name]`
    a bare name            found by exactly one rule: a route, a provider, a provider's list, the catalog
    nothing                the default, or whomever the strategy takes

and what nobody knows goes to the default provider, which may know more than its list says. An explicit
`provider` is asked alone; otherwise the providers of `fallback_order` come after the first, each with
the same model if it has that, else with its own default.

A plan is groups that are asked one after the other; in which order those of one group are asked is a
strategy's decision (strategy.py), made anew for each request by engine/routing/router.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from genai_spine.catalog.cards import rows_knowing
from genai_spine.catalog.owners import whose
from genai_spine.catalog.rows import find_row
from genai_spine.model.errors import InvalidRequest, ProviderNotFound
from genai_spine.policy.locality import runs_elsewhere
from genai_spine.settings.tree import Conditions, RouteSettings

AGENT = "agent:"
HINTS = {
    "local_preferred": "local_first",
    "cloud_preferred": "cloud_first",
    "best_quality": "quality",
    "cheapest": "cost_optimized",
}
"""What a request's `provider_hint` asks for, as a strategy."""

MOST_FALLBACKS = 32
LONGEST_NAME = 1_000
"""Letters of a model's name, or a provider's: names are kept, and compared with patterns."""
_AS_WRITTEN = frozenset({"local_first", "ordered"})
"""Strategies under which `providers.default` and `fallback_order` say the order."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider, as far as routing looks at it."""

    id: str
    row: str
    is_local: bool = False
    default_model: str | None = None
    models: tuple[str, ...] = ()
    names: Mapping[str, str] = {}
    """The user's own names for models, and what they stand for."""

    def has(self, model: str) -> bool:
        return model in self.models or model in self.names or model == self.default_model

    def own_name(self, model: str) -> str:
        return self.names.get(model, model)


class Choice(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One target of a plan. `model` is the provider's own name for it; None leaves it to the provider."""

    provider: str
    model: str | None
    agent: str | None = None
    """The agent whose temperature and output limit hold where the request says nothing."""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One target of a route, as it is written."""

    target: str
    weight: float = 1.0
    when: Conditions | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    legs: tuple[Leg, ...]
    strategy: str = "ordered"


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    provider: str | None = None
    model: str | None = None


class RouteBook(msgspec.Struct, frozen=True, kw_only=True):
    """What is configured. `candidates` are in the order of preference where nothing else decides."""

    candidates: Mapping[str, Candidate]
    aliases: Mapping[str, str] = {}
    """Other names of providers, such as `claude` for the one provider of Anthropic's row."""
    default: str | None = None
    fallback_order: tuple[str, ...] = ()
    routes: Mapping[str, Route] = {}
    agents: Mapping[str, Agent] = {}
    strategy: str = "local_first"
    local_only: bool = False
    remote: Mapping[str, Candidate] = {}
    """With `local_only`: the providers that are configured and never asked."""

    def find(self, provider: str) -> Candidate | None:
        return self.candidates.get(self.aliases.get(provider, provider))

    def find_remote(self, provider: str) -> Candidate | None:
        return self.remote.get(self.aliases.get(provider, provider))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about where it should go."""

    model: str | None = None
    provider: str | None = None
    hint: str | None = None
    fallbacks: tuple[str, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One of a group: a target, or what a nested route leads to."""

    of: Choice | Group
    weight: float = 1.0
    when: Conditions | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Those among whom a strategy chooses."""

    strategy: str
    members: tuple[Member, ...]
    route: str | None = None

    @property
    def choices(self) -> Iterator[Choice]:
        """All of them as written, those of nested routes in their place."""
        for member in self.members:
            if isinstance(member.of, Group):
                yield from member.of.choices
            else:
                yield member.of


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a request may be sent to: the groups are asked one after the other."""

    groups: tuple[Group, ...]
    route: str | None = None
    """The route that the request names."""
    refused: tuple[str, ...] = ()
    """Targets of routes and fallbacks that `routing.local_only` leaves out."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The targets as they are written, each once."""
        return tuple(dict.fromkeys(choice for group in self.groups for choice in group.choices))


def resolve(wanted: Wanted, book: RouteBook) -> Plan:
    """Whom a request may be sent to.

    Raises: ProviderNotFound, naming what was looked for and what there is; InvalidRequest with status 403 where
    `local_only` forbids what is named.
    """
    return _Resolver(wanted, book).plan()


class _Resolver:
    """One resolution. `refused` collects what local_only leaves out of routes."""

    def __init__(self, wanted: Wanted, book: RouteBook) -> None:
        self.wanted = wanted
        self.book = book
        self.refused: list[str] = []

    def plan(self) -> Plan:
        wanted, book = self.wanted, self.book
        if not book.candidates:
            raise _nothing_configured(book)
        if wanted.hint is not None and wanted.hint not in HINTS:
            raise InvalidRequest(f"provider_hint: expected one of {', '.join(HINTS)}", param="provider_hint")
        if len(wanted.fallbacks) > MOST_FALLBACKS:
            raise InvalidRequest(f"fallbacks: at most {MOST_FALLBACKS} can be named", param="fallbacks")
        self._check_lengths()
        groups = [self._first(), *(self._named(name) for name in wanted.fallbacks)]
        if wanted.provider is None and not wanted.fallbacks and wanted.model not in book.routes:
            groups.append(_group("ordered", self._further(next(groups[0].choices))))
        route = wanted.model if wanted.provider is None and wanted.model in book.routes else None
        return Plan(groups=tuple(g for g in groups if g.members), route=route, refused=tuple(self.refused))

    def _check_lengths(self) -> None:
        wanted = self.wanted
        named = {"model": wanted.model, "provider": wanted.provider}
        named |= {f"fallbacks[{index}]": name for index, name in enumerate(wanted.fallbacks)}
        for param, name in named.items():
            if name is not None and len(name) > LONGEST_NAME:
                raise InvalidRequest(f"{param}: a name has at most {LONGEST_NAME} letters", param=param)

    def _first(self) -> Group:
        wanted = self.wanted
        if wanted.provider is not None:
            prefix = f"{wanted.provider}/"
            model = wanted.model.removeprefix(prefix) if wanted.model is not None else None
            return _group("ordered", [self._choice(self._provider(wanted.provider), model)])
        if wanted.model is None:
            return self._unnamed()
        return self._named(wanted.model)

    def _provider(self, name: str) -> Candidate:
        if (candidate := self.book.find(name)) is not None:
            return candidate
        if self.book.find_remote(name) is not None:
            raise not_local(name)
        raise _unknown_provider(name, self.book)

    def _named(self, name: str, within: tuple[str, ...] = ()) -> Group:
        """What a name stands for: a route, an agent, `provider/model`, a provider, or a model that somebody has.

        `within` are the routes that led here.
        """
        book = self.book
        if name in within:
            raise ProviderNotFound(f"the route {path_of((*within, name))} leads to itself")
        if name in book.routes:
            return self._route(name, within)
        if name.startswith(AGENT):
            return _group("ordered", [self._agent(name.removeprefix(AGENT))])
        provider, slash, model = name.partition("/")
        if slash and (candidate := book.find(provider)) is not None:
            return _group("ordered", [self._choice(candidate, model)])
        if (candidate := book.find(name)) is not None:
            return _group("ordered", [self._choice(candidate, None)])
        if book.find_remote(provider) is not None:
            raise not_local(name)
        return self._having(name)

    def _route(self, name: str, within: tuple[str, ...]) -> Group:
        route = self.book.routes[name]
        members = []
        for leg in route.legs:
            try:
                group = self._named(leg.target, (*within, name))
            except NotLocal:
                self.refused.append(leg.target)
                continue
            of = group.members[0].of if len(group.members) == 1 and group.route is None else group
            members.append(Member(of=of, weight=leg.weight, when=leg.when))
        if not members:
            raise not_local(name)
        return Group(strategy=self._hinted(route.strategy), members=tuple(members), route=name)

    def _agent(self, id: str) -> Choice:
        agent = self.book.agents.get(id)
        if agent is None or agent.provider is None:
            known = ", ".join(self.book.agents) or "none"
            said = "names no provider" if agent is not None else f"is not configured; configured are {known}"
            raise ProviderNotFound(f'the agent "{id}" {said}')
        choice = self._choice(self._provider(agent.provider), agent.model)
        return msgspec.structs.replace(choice, agent=id)

    def _having(self, model: str) -> Group:
        """The providers that list a model, else those of whose kind the catalog knows it, else the default."""
        book = self.book
        if found := list(_knowing(model, book.candidates)):
            strategy = "ordered" if book.strategy == "local_first" else book.strategy
            choices = [self._choice(candidate, model) for candidate in self._preferred(found)]
            return _group(self._hinted(strategy), choices)
        if list(_knowing(model, book.remote)):
            raise not_local(model)
        default = self._default()
        if default is None:
            raise _unknown_model(model, book)
        return _group("ordered", [self._choice(default, model)])

    def _preferred(self, candidates: list[Candidate]) -> list[Candidate]:
        """The default first, then those of the fallback order, then the others, local ones before remote ones."""
        order = [self.book.default, *self.book.fallback_order]
        return sorted(candidates, key=lambda c: order.index(c.id) if c.id in order else len(order) + (not c.is_local))

    def _default(self) -> Candidate | None:
        book = self.book
        if book.default is not None:
            return book.candidates[book.default]
        if book.fallback_order:
            return book.candidates[book.fallback_order[0]]
        return next(iter(book.candidates.values())) if len(book.candidates) == 1 else None

    def _unnamed(self) -> Group:
        """Who may answer when no model is named: the default, or whoever has one."""
        book = self.book
        is_written = book.strategy in _AS_WRITTEN and self.wanted.hint not in HINTS
        if book.default is not None and is_written:
            return _group("ordered", [self._choice(book.candidates[book.default], None)])
        ids = dict.fromkeys(id for id in (book.default, *book.fallback_order) if id is not None)
        order = [book.candidates[id] for id in ids] if book.fallback_order else self._default_first()
        able = order if len(order) == 1 else [candidate for candidate in order if candidate.default_model is not None]
        if not able:
            raise ProviderNotFound("no model named, and no provider has a default model: name one")
        strategy = "ordered" if book.fallback_order and is_written else book.strategy
        return _group(self._hinted(strategy), [self._choice(candidate, None) for candidate in able])

    def _default_first(self) -> list[Candidate]:
        return sorted(self.book.candidates.values(), key=lambda candidate: candidate.id != self.book.default)

    def _hinted(self, strategy: str) -> str:
        """The caller's hint decides among those that could answer, wherever there are several."""
        return HINTS.get(self.wanted.hint or "", strategy)

    def _further(self, first: Choice) -> Iterator[Choice]:
        for id in self.book.fallback_order:
            candidate = self.book.candidates[id]
            if id == first.provider:
                continue
            if first.model is not None and candidate.has(first.model):
                yield self._choice(candidate, first.model)
            elif candidate.default_model is not None:
                yield self._choice(candidate, None)

    def _choice(self, candidate: Candidate, model: str | None) -> Choice:
        name = model or candidate.default_model
        own = candidate.own_name(name) if name is not None else None
        if self.book.local_only and own is not None and runs_elsewhere(own):
            raise not_local(f"{candidate.id}/{own}")
        return Choice(provider=candidate.id, model=own)


def _group(strategy: str, choices: Iterable[Choice]) -> Group:
    return Group(strategy=strategy, members=tuple(Member(of=choice) for choice in choices))


def _knowing(model: str, candidates: Mapping[str, Candidate]) -> Iterator[Candidate]:
    """Those that list a model, else those of whose kind the catalog knows it."""
    listed = [candidate for candidate in candidates.values() if candidate.has(model)]
    if listed:
        yield from listed
    elif candidates:
        rows = rows_knowing(model, frozenset(candidate.row for candidate in candidates.values()))
        yield from (candidate for candidate in candidates.values() if candidate.row in rows)


# ---------------------------------------------------------------- from settings


def route_of(settings: RouteSettings) -> Route:
    legs = tuple(Leg(target=each.target, weight=each.weight, when=each.when) for each in settings.targets)
    return Route(legs=legs, strategy=settings.strategy)


# ---------------------------------------------------------------- what is said of what cannot be


class NotLocal(InvalidRequest):
    """`routing.local_only` is set, and what is named is not on this machine."""


def path_of(names: Iterable[str]) -> str:
    return " → ".join(names)


def not_local(name: str) -> NotLocal:
    return NotLocal(
        f'"{name}" is not on this machine, and routing.local_only lets nothing leave it: name a local model',
        status_code=403,
        code="local_only",
        param="model",
    )


def _nothing_configured(book: RouteBook) -> Exception:
    if book.remote:
        known = ", ".join(book.remote)
        return ProviderNotFound(
            f"routing.local_only is set, and no provider is on this machine: configured are {known}"
        )
    return ProviderNotFound("no provider is configured: set a key such as OPENAI_API_KEY, or start Ollama")


def _unknown_provider(name: str, book: RouteBook) -> ProviderNotFound:
    row, mend = find_row(name), ""
    if row is not None and row.key_variables and not row.local:
        mend = f"; it takes its key from {row.key_variables[0]}"
    return ProviderNotFound(f'no provider "{name}": configured are {", ".join(book.candidates)}{mend}')


def _unknown_model(name: str, book: RouteBook) -> ProviderNotFound:
    known = ", ".join(book.candidates)
    return ProviderNotFound(
        f'no provider for the model "{name}": name it as provider/model (configured: {known}), or set providers.default'
        f"{whose(name)}"
    )
