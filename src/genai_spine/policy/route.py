"""Which provider and model a request is meant for, and which come after it when that fails.

Pure: a `RouteBook` says what is configured, the request says what is wanted. A model is named

    provider_id/model      that provider, by the provider's own name for the model
    a bare name            found by exactly one rule: a route, a provider's list, the catalog
    nothing                the default

and what nobody knows goes to the default provider, which may know more than its list says. An explicit
`provider` is asked alone; otherwise the providers of `fallback_order` come after the first, each with
the same model if it has that, else with its own default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

import msgspec

from genai_spine.catalog.cards import rows_knowing
from genai_spine.model.errors import ProviderNotFound
from genai_spine.model.response import Notice


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


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One target of a plan. `model` is the provider's own name for it; None leaves it to the provider."""

    provider: str
    model: str | None


class RouteBook(msgspec.Struct, frozen=True, kw_only=True):
    """What is configured. `candidates` are in the order of preference where nothing else decides."""

    candidates: Mapping[str, Candidate]
    aliases: Mapping[str, str] = {}
    """Other names of providers, such as `claude` for the one provider of Anthropic's row."""
    default: str | None = None
    fallback_order: tuple[str, ...] = ()
    routes: Mapping[str, tuple[str, ...]] = {}

    def find(self, provider: str) -> Candidate | None:
        return self.candidates.get(self.aliases.get(provider, provider))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about where it should go."""

    model: str | None = None
    provider: str | None = None
    hint: str | None = None
    fallbacks: tuple[str, ...] = ()


def unmet(hint: str | None, cost_limit: Decimal | None) -> tuple[Notice, ...]:
    """What a request asks of routing that this version understands and does not do yet."""
    if hint is None and cost_limit is None:
        return ()
    asked = {"provider_hint": hint if hint in ("best_quality", "cheapest") else None, "cost_limit": cost_limit}
    return tuple(
        Notice(code="not_in_force", message=f"{name} is understood, but not in force in this version", param=name)
        for name, value in asked.items()
        if value is not None
    )


def plan(wanted: Wanted, book: RouteBook) -> tuple[Choice, ...]:
    """The targets to try, in order, each once.

    Raises: ProviderNotFound, naming what was looked for and what there is.
    """
    if not book.candidates:
        raise ProviderNotFound("no provider is configured: set a key such as OPENAI_API_KEY, or start Ollama")
    choices = list(_first(wanted, book))
    for name in wanted.fallbacks:
        choices.extend(_named(name, book))
    if wanted.provider is None and not wanted.fallbacks and wanted.model not in book.routes:
        choices.extend(_further(choices[0], book))
    return tuple(dict.fromkeys(choices))


def _first(wanted: Wanted, book: RouteBook) -> Iterable[Choice]:
    if wanted.provider is not None:
        candidate = book.find(wanted.provider)
        if candidate is None:
            raise _unknown_provider(wanted.provider, book)
        prefix = f"{wanted.provider}/"
        model = wanted.model.removeprefix(prefix) if wanted.model is not None else None
        return [_choice(candidate, model)]
    if wanted.model is None:
        return [_choice(candidate, None) for candidate in _defaults(book, wanted.hint)]
    return _named(wanted.model, book)


def _named(name: str, book: RouteBook, within: tuple[str, ...] = ()) -> list[Choice]:
    """The targets that a name stands for: a route, `provider/model`, or a model that somebody has.

    `within` are the routes that led here.
    """
    if name in within:
        raise ProviderNotFound(f'the route "{name}" leads to itself')
    if name in book.routes:
        return [choice for target in book.routes[name] for choice in _named(target, book, (*within, name))]
    provider, slash, model = name.partition("/")
    if slash and (candidate := book.find(provider)) is not None:
        return [_choice(candidate, model)]
    if (candidate := book.find(name)) is not None:
        return [_choice(candidate, None)]
    if found := list(_having(name, book)):
        return [_choice(candidate, name) for candidate in found]
    default = _default(book)
    if default is None:
        raise _unknown_model(name, book)
    return [_choice(default, name)]


def _having(model: str, book: RouteBook) -> Iterator[Candidate]:
    """The providers that list a model, else those of whose kind the catalog knows it."""
    listed = [candidate for candidate in book.candidates.values() if candidate.has(model)]
    if listed:
        yield from _preferred(listed, book)
        return
    rows = rows_knowing(model, frozenset(candidate.row for candidate in book.candidates.values()))
    yield from _preferred([c for c in book.candidates.values() if c.row in rows], book)


def _preferred(candidates: list[Candidate], book: RouteBook) -> list[Candidate]:
    """The default first, then those of the fallback order, then the others."""
    order = [book.default, *book.fallback_order]
    return sorted(candidates, key=lambda c: order.index(c.id) if c.id in order else len(order))


def _default(book: RouteBook) -> Candidate | None:
    if book.default is not None:
        return book.candidates[book.default]
    if book.fallback_order:
        return book.candidates[book.fallback_order[0]]
    return next(iter(book.candidates.values())) if len(book.candidates) == 1 else None


def _defaults(book: RouteBook, hint: str | None) -> list[Candidate]:
    """Who answers when no model is named: the default, or whoever has one, local ones first."""
    if book.default is not None and hint not in ("local_preferred", "cloud_preferred"):
        return [book.candidates[book.default]]
    order = [book.candidates[id] for id in book.fallback_order] or list(book.candidates.values())
    able = order if len(order) == 1 else [candidate for candidate in order if candidate.default_model is not None]
    if not able:
        raise ProviderNotFound("no model named, and no provider has a default model: name one")
    if not book.fallback_order or hint == "local_preferred":
        able.sort(key=lambda candidate: not candidate.is_local)
    if hint == "cloud_preferred":
        able.sort(key=lambda candidate: candidate.is_local)
    return able


def _further(first: Choice, book: RouteBook) -> Iterator[Choice]:
    for id in book.fallback_order:
        candidate = book.candidates[id]
        if id == first.provider:
            continue
        if first.model is not None and candidate.has(first.model):
            yield _choice(candidate, first.model)
        elif candidate.default_model is not None:
            yield _choice(candidate, None)


def _choice(candidate: Candidate, model: str | None) -> Choice:
    name = model or candidate.default_model
    return Choice(provider=candidate.id, model=candidate.own_name(name) if name is not None else None)


def _unknown_provider(name: str, book: RouteBook) -> ProviderNotFound:
    return ProviderNotFound(f'no provider "{name}": configured are {", ".join(book.candidates)}')


def _unknown_model(name: str, book: RouteBook) -> ProviderNotFound:
    known = ", ".join(book.candidates)
    return ProviderNotFound(
        f'no provider for the model "{name}": name it as provider/model (configured: {known}), or set providers.default'
    )
