"""The configured providers by their id, and what they have used."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from genai_spine.catalog.rows import ProviderRow, find_row
from genai_spine.model.errors import ConfigError, ProviderNotFound, SpineError
from genai_spine.model.response import UsageTotals
from genai_spine.policy import custom_strategies
from genai_spine.providers import plugins
from genai_spine.providers.agent import AgentProvider
from genai_spine.providers.connect import check_proxy
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.presence import OllamaProbe, without_absent_ollama
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.simulated import SimulatedProvider
from genai_spine.settings import (
    AgentSettings,
    ProviderSettings,
    ProvidersSettings,
    Settings,
    TimeoutSettings,
    load_settings,
)
from genai_spine.settings.build import build
from genai_spine.settings.explain import Problem, dotted

logger = logging.getLogger(__name__)


def build_provider(id: str, settings: ProviderSettings, timeouts: TimeoutSettings | None = None) -> LLMProvider:
    """The provider of one table of the settings.

    Raises: ConfigError for a type that neither the catalog nor an entry point knows.
    """
    kind = settings.type or id
    row = find_row(kind)
    check_proxy(id, settings)
    if row is None:
        if (made := plugins.find(kind)) is not None:
            return made(id, settings)
        raise ConfigError(f'providers.{id}: no provider type "{kind}"')
    if row.id == "simulated" and settings.base_url is None:
        return SimulatedProvider(name=id, settings=settings)
    if row.id == "litellm":
        library = import_module("genai_spine.providers.litellm_provider")
        return cast("LLMProvider", library.LiteLLMProvider(row, settings, name=id, timeouts=timeouts))
    return _class_of(row)(row, settings, name=id, timeouts=timeouts)


def lacks_library(row: ProviderRow) -> bool:
    """Whether its calls go through a package, an extra, that is not installed."""
    return row.id == "litellm" and find_spec("litellm") is None


_CLASSES = {
    "ollama_chat": ("ollama_provider", "OllamaProvider"),
    "replicate": ("replicate_provider", "ReplicateProvider"),
}
"""By a row's first dialect: those whose calls are more than one exchange, or who can do more than answer."""


def _class_of(row: ProviderRow) -> type[HttpProvider]:
    """Imported when it is first wanted, as dialects are."""
    if (home := _CLASSES.get(row.chat[0])) is None:
        return HttpProvider
    found: type[HttpProvider] = getattr(import_module(f"genai_spine.providers.{home[0]}"), home[1])
    return found


def build_providers(settings: Settings) -> dict[str, LLMProvider]:
    """All providers of the settings by id. Raises: ConfigError."""
    return {id: build_provider(id, table, settings.timeouts) for id, table in settings.providers.by_id.items()}


class ProviderRegistry:
    """Providers by id."""

    def __init__(self, providers: Mapping[str, LLMProvider] | Iterable[LLMProvider] = ()) -> None:
        """Raises: ConfigError, as `register` does."""
        self._providers: dict[str, LLMProvider] = {}
        if isinstance(providers, Mapping):
            for provider_id, provider in cast("Mapping[str, LLMProvider]", providers).items():
                self.register(provider_id, provider)
        else:
            for provider in providers:
                self.register(getattr(provider, "name", ""), provider)

    @classmethod
    def from_config(
        cls,
        providers_config: Settings | ProvidersSettings | Mapping[str, Any],
        validate_connectivity: bool = False,
    ) -> ProviderRegistry:
        """The providers of a configuration: settings, or the `providers` table as a mapping.

        With `validate_connectivity` each is asked for its models first.
        Raises: ConfigError, naming the providers that do not answer and why.
        """
        settings = settings_of(providers_config)
        registry = cls(build_providers(settings))
        if validate_connectivity:
            _run_apart(registry.validate_connectivity())
        return registry

    async def validate_connectivity(self) -> None:
        """Raises: ConfigError, naming every provider that does not answer, and why."""

        async def failure(provider: LLMProvider) -> str | None:
            try:
                await provider.list_models()
            except SpineError as error:
                return f"{provider.name}: {error.message}"
            finally:
                await provider.close()
            return None

        failures = await asyncio.gather(*(failure(provider) for provider in self._providers.values()))
        if said := [text for text in failures if text is not None]:
            raise ConfigError("no connection to " + "; ".join(said))

    def register(self, provider_id: str, provider: LLMProvider) -> None:
        """Raises: ConfigError where the id is taken by another provider or cannot be one, or what is no provider."""
        if not isinstance(provider, LLMProvider):
            if isinstance(provider, type):
                what, mend = f"the class {provider.__name__}", "make one of it"
            else:
                what, mend = type(provider).__name__, "settings of providers go to from_settings"
            raise ConfigError(f"expected an instance of LLMProvider, got {what}: {mend}")
        if not provider_id or "/" in provider_id:
            raise ConfigError(f"{provider_id!r} cannot be a provider's id: no slash, not empty")
        if self._providers.get(provider_id, provider) is not provider:
            raise ConfigError(f'a provider "{provider_id}" is registered already: give each a name of its own')
        provider.name = provider_id
        self._providers[provider_id] = provider

    def get(self, provider_id: str) -> LLMProvider:
        """Raises: ProviderNotFound (a KeyError), naming those there are."""
        found = self._providers.get(provider_id) or self._of_row(provider_id)
        if found is None:
            known = ", ".join(self._providers) or "none"
            raise ProviderNotFound(f'no provider "{provider_id}": registered are {known}')
        return found

    def _of_row(self, name: str) -> LLMProvider | None:
        """`claude` also means the one provider of Anthropic's row, whatever its id."""
        row = find_row(name)
        of_row = [provider for provider in self._providers.values() if row and provider.provider_type == row.id]
        return of_row[0] if len(of_row) == 1 else None

    def get_for_agent(
        self, agent_id: str, agents_config: Settings | Mapping[str, AgentSettings | Mapping[str, Any]]
    ) -> LLMProvider:
        """The provider configured for an agent. Raises: ProviderNotFound (a KeyError)."""
        agents = agents_config.agents if isinstance(agents_config, Settings) else agents_config
        agent = agents.get(agent_id)
        if agent is None:
            raise ProviderNotFound(f'no agent "{agent_id}": configured are {", ".join(agents) or "none"}')
        if isinstance(agent, Mapping):
            agent = _agent_of(agent_id, agent)
        if agent.provider is None:
            raise ProviderNotFound(f'the agent "{agent_id}" names no provider')
        provider = self.get(agent.provider)
        has_own = agent.model is not None or agent.temperature is not None or agent.max_tokens is not None
        return AgentProvider(provider, agent) if has_own else provider

    def list_providers(self) -> list[str]:
        return list(self._providers)

    def __iter__(self) -> Any:
        return iter(self._providers.values())

    def __len__(self) -> int:
        return len(self._providers)

    def __contains__(self, provider_id: object) -> bool:
        return provider_id in self._providers

    def get_total_usage(self) -> dict[str, UsageTotals]:
        return {id: provider.usage() for id, provider in self._providers.items()}

    def get_usage_summary(self) -> dict[str, Any]:
        """For people and JSON: one entry a provider under `providers`, the sums under `total`.

        Costs are floats, for show; `get_total_usage` has them exactly. `unpriced_calls` are not in them.
        """
        by_provider = {id: _summary(totals) for id, totals in self.get_total_usage().items()}
        keys = _summary(UsageTotals())
        total = {key: sum(summary[key] for summary in by_provider.values()) for key in keys}
        return {"providers": by_provider, "total": total}

    def reset_all_usage(self) -> None:
        for provider in self._providers.values():
            provider.reset_usage()

    async def close(self) -> None:
        for provider in self._providers.values():
            try:
                await provider.close()
            except Exception:  # somebody else's may fail: the rest is to be closed all the same
                logger.exception("%s could not be closed", provider.name)


def settings_of(config: Settings | ProvidersSettings | Mapping[str, Any]) -> Settings:
    """Settings of what a program has in hand: a mapping is the whole file, or only its `providers` table, where no key
    of it is one of the file's.

    No file is read and no `GENAI_*` variable, but keys come from the environment as everywhere; where it configures no
    provider, an Ollama is one if it runs. Raises: ConfigError.
    """
    if isinstance(config, Settings):
        return config
    if isinstance(config, ProvidersSettings):
        return Settings(providers=config)
    if not isinstance(config, Mapping):
        raise ConfigError(f"settings: expected a mapping, a path or Settings, got {type(config).__name__}")
    tree = dict(config) if config.keys() & set(Settings.__struct_fields__) else {"providers": dict(config)}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GENAI_")}
    settings = load_settings(
        environ=environ,
        cwd=Path(os.devnull),
        overrides=tree,
        plugins=plugins.names(),
        strategies=custom_strategies.names,
    )
    return without_absent_ollama(settings, OllamaProbe(settings))


def _agent_of(agent_id: str, members: Mapping[str, Any]) -> AgentSettings:
    """Raises: ConfigError, naming every key that is wrong."""
    problems: list[Problem] = []
    agent = build(AgentSettings, dict(members), ("agents", agent_id), problems)
    if problems:
        said = "; ".join(f"{dotted(problem.path)}: {problem.text}" for problem in problems)
        raise ConfigError(said)
    found: AgentSettings = agent
    return found


def _summary(totals: UsageTotals) -> dict[str, Any]:
    return {
        "input_tokens": totals.total_input,
        "output_tokens": totals.total_output,
        "total_tokens": totals.total_input + totals.total_output,
        "cost_usd": float(totals.total_cost_usd),
        "calls": totals.call_count,
        "unpriced_calls": totals.unpriced_calls,
    }


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs to the end in a loop of its own, also from within a running one, without blocking on it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="genai-spine-validate")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
