"""What is configured, as routing sees it; and which providers `routing.local_only` leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genai_spine.catalog.rows import find_row
from genai_spine.model.errors import ConfigError
from genai_spine.policy.locality import is_loopback
from genai_spine.policy.route import Agent, Candidate, RouteBook, route_of
from genai_spine.providers.address import base_url_of
from genai_spine.providers.agent import AgentProvider
from genai_spine.providers.connect import proxies_of
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import ProviderSettings, Settings
from genai_spine.wire.http import parse_url


def book_of(registry: ProviderRegistry, settings: Settings, fallbacks: Sequence[str] = ()) -> RouteBook:
    """`fallbacks` are providers that a program has added to be asked after the others. Of a `LocalRegistry` those
    that it does not give are known too, so that who names one hears why it is not asked."""
    here = {provider.name: candidate_of(provider) for provider in registry}
    remote = {id: candidate_of(provider) for id, provider in getattr(registry, "remote", {}).items()}
    tables = settings.providers
    order = dict.fromkeys((*tables.fallback_order, *fallbacks))
    default = tables.default or (next(iter(here), None) if fallbacks else None)
    every = {**here, **remote}
    aliases = {alias: found for alias in ("claude", "anthropic") if (found := _id_of(alias, every)) is not None}
    return RouteBook(
        candidates=here,
        aliases=aliases,
        default=default if default in here else None,
        fallback_order=tuple(id for id in order if id in here),
        routes={name: route_of(route) for name, route in settings.routes.items()},
        agents={id: Agent(provider=agent.provider, model=agent.model) for id, agent in settings.agents.items()},
        strategy=settings.routing.strategy,
        local_only=settings.routing.local_only,
        remote=remote,
    )


def candidate_of(provider: LLMProvider) -> Candidate:
    settings = getattr(provider, "settings", None)  # LiteLLM's, the simulated one and a stranger's have names, too
    if not isinstance(settings, ProviderSettings):
        settings = None
    return Candidate(
        id=provider.name,
        row=provider.provider_type,
        is_local=getattr(provider, "is_local", False),
        default_model=provider.default_model,
        models=tuple(settings.models) if settings is not None else (),
        names=settings.custom_models if settings is not None else {},
    )


def _id_of(alias: str, candidates: Mapping[str, Candidate]) -> str | None:
    """The one provider of the row that the alias means, if its id is another."""
    row = find_row(alias)
    ids = [id for id, candidate in candidates.items() if row is not None and candidate.row == row.id]
    return ids[0] if len(ids) == 1 and alias not in candidates else None


def stays_here(provider: LLMProvider) -> bool:
    """Whether nothing that this provider is asked leaves the machine, as far as its settings tell.

    Every address of it is a loopback address, and no proxy stands between. A provider that is no row's is
    believed: its `is_local`, or that of the row it is named for.
    """
    if isinstance(provider, AgentProvider):
        return stays_here(provider.provider)
    if not isinstance(provider, HttpProvider):
        row = find_row(provider.provider_type)
        return bool(getattr(provider, "is_local", row is not None and row.local and not row.base_url))
    row, settings = provider.row, provider.settings
    if row.is_cloud:
        return False  # who authorises is asked over the network, wherever the model is
    proxies = proxies_of(settings)
    for dialect in dict.fromkeys((provider.dialect, *row.dialects, row.lists_at)):
        try:
            url = parse_url(base_url_of(row, settings, dialect, provider.name))
        except (ConfigError, ValueError):
            return False
        if not is_loopback(url.host) or proxies.find(url) is not None:
            return False
    return True
