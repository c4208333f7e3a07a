"""Keys that are set and have no effect, since another one is not set or the provider is of another kind.

Each is worth a warning: what somebody has written they believe to be in force. Must not know: files, the environment.
"""

from __future__ import annotations

from collections.abc import Iterator

from genai_spine.catalog.rows import ProviderRow, find_row
from genai_spine.settings.budget_checks import has_budgets
from genai_spine.settings.explain import did_you_mean
from genai_spine.settings.tree import ProviderSettings, RoutingStrategy, Settings

_OF_CALLERS = ("requests_per_min", "tokens_per_min", "max_concurrency")
_OF_THE_LEDGER = ("journal", "retention_days", "on_failure", "content_days", "content_max_kb", "redact")
_OF_AWS = ("region", "profile", "access_key_id", "secret_access_key", "session_token")
_OF_GOOGLE = ("project", "location", "credentials_file")
_OF_AZURE = ("resource", "api_version", "tenant_id", "client_id", "client_secret")
_MARKED = ("anthropic_messages", "bedrock_converse", "bedrock_invoke", "vertex_anthropic")
"""The dialects in which prompts can be marked for a cache (dialects/auto_marks.py)."""
_OF_OLLAMA = ("keep_alive", "num_predict", "auto_pull")


def idle_keys(settings: Settings) -> Iterator[str]:
    """Warnings, one for each reason. Only what a source has set is told of: `settings.loaded` knows."""
    given = frozenset(settings.loaded.keys)
    for key, reason in _reasons(settings):
        if key in given:
            yield f"{key}: has no effect: {reason}"
    for id, provider in settings.providers.by_id.items():
        row = find_row(provider.type)
        if row is None or not (row.base_url or row.needs_base_url):
            continue  # a plug-in reads what it likes, and so does a library that asks services of any kind
        for name, service in _foreign(provider, row):
            if f"providers.{id}.{name}" in given:
                yield f"providers.{id}.{name}: has no effect: only {service} knows it"
    if settings.server.workers > 1 and not settings.state.url and _has_limits(settings):
        count = settings.server.workers
        alone = f"each of the {count} counts limits alone, so that {count} times as much goes through"
        yield f"server.workers: {alone}: set state.url"
    if settings.server.workers > 1 and settings.routing.sticky != "none":
        alone = f"each of the {settings.server.workers} workers remembers sessions of its own"
        yield f"routing.sticky: {alone}, and a session's requests reach any of them"
    if settings.server.metrics == "keyed" and settings.server.keys and not settings.server.api_keys:
        yield 'server.metrics: nobody can read them, as every key has a name: add one to server.api_keys, or say "open"'
    yield from _unmet_budgets(settings)
    for key in _patterns(settings):
        yield f"{key}: has no effect: `*` is no pattern here, so name each model"


def _has_limits(settings: Settings) -> bool:
    providers = settings.providers.by_id.values()
    own = [settings.limits] if settings.server.all_keys else []
    tables = [
        *own,
        *settings.server.keys.values(),
        *providers,
        *(each for p in providers for each in p.limits.values()),
    ]
    return any(getattr(table, name) is not None for table in tables for name in _OF_CALLERS)


def _reasons(settings: Settings) -> Iterator[tuple[str, str]]:
    """Keys that would have no effect, were they set, and why."""
    if settings.ledger.url is None:
        for name in _OF_THE_LEDGER:
            yield f"ledger.{name}", "ledger.url is not set"
        for caller in settings.server.keys:
            yield f"server.keys.{caller}.on_ledger_failure", "ledger.url is not set"
    elif settings.ledger.content == "none":
        for name in ("content_days", "content_max_kb", "redact"):
            yield f"ledger.{name}", "ledger.content is not set, so that no prompt and no answer is kept"
    if settings.cache.url is None:
        for name in ("ttl", "max_mb", "answers", "scope"):
            yield f"cache.{name}", "cache.url is not set"
    if not settings.server.all_keys:
        for name in _OF_CALLERS:
            yield f"limits.{name}", "it is of each caller's key, and server.api_keys is not set"
    if settings.server.access_log and settings.logging.level in ("warning", "error"):
        yield "server.access_log", f"its lines are of the level info, and logging.level is {settings.logging.level}"
    if not settings.hedge.budget:
        yield "hedge.after", "hedge.budget is not set"
    if settings.routing.sticky == "none":
        yield "routing.sticky_for", "routing.sticky is not set"
    strategies = {settings.routing.strategy, *(route.strategy for route in settings.routes.values())}
    for name, strategy in (("ranking", RoutingStrategy.QUALITY), ("exploration", RoutingStrategy.SPEED)):
        if strategies <= {each.value for each in RoutingStrategy} - {strategy}:  # those of others may well look at it
            yield f"routing.{name}", f"no route has the strategy {strategy.value}"
    if settings.health.probe == "never" and settings.providers.health_check_interval is None:
        for name in ("interval", "paid"):
            yield f"health.{name}", "no probe is sent: health.probe is never"
    elif "health.interval" in settings.loaded.keys:
        yield "providers.health_check_interval", "health.interval is set, and stands over it"
    if not has_budgets(settings.costs):
        for key in ("alerts.webhook", "alerts.webhook_secret"):
            yield f"costs.{key}", "there is no budget"


def _foreign(provider: ProviderSettings, row: ProviderRow) -> Iterator[tuple[str, str]]:
    """Keys of one service's that would say nothing to this provider, and which service knows them."""
    of = [(_OF_AWS, "aws", "AWS"), (_OF_GOOGLE, "google", "Google's cloud"), (_OF_AZURE, "azure", "Azure")]
    for names, auth, service in of:
        for name in names:
            if row.auth != auth and name not in row.settings_used:
                yield name, service
    if row.chat[0] != "ollama_chat":
        for name in _OF_OLLAMA:
            yield name, "Ollama"
    spoken = {*row.chat, provider.dialect}
    if spoken.isdisjoint(("gemini", "gemini_vertex")):
        yield "safety_settings", "Gemini"
    if spoken.isdisjoint(_MARKED):
        yield "auto_cache", "Anthropic or Bedrock"
    if row.organization_header is None:
        yield "org_id", "OpenAI"


def _patterns(settings: Settings) -> Iterator[str]:
    """Names of models with a `*` where names are compared as they are; keys, prices and budgets take patterns."""
    for id, provider in settings.providers.by_id.items():
        for table in ("custom_models", "deployments", "limits"):
            yield from (f"providers.{id}.{table}.{name}" for name in getattr(provider, table) if "*" in name)
        yield from (f"providers.{id}.models[{at}]" for at, name in enumerate(provider.models) if "*" in name)
    yield from (f"routes.{name}" for name in settings.routes if "*" in name)


def _unmet_budgets(settings: Settings) -> Iterator[str]:
    """Budgets that bound nothing, since nobody is called so."""
    for name, budget in settings.costs.budgets.items():
        agent = budget.agent
        if agent is not None and not set(agent) & set("*?[") and agent not in settings.agents:
            known = did_you_mean(agent, settings.agents)
            yield f"costs.budgets.{name}: no agent {agent!r} is configured, so this limits nothing{known}"
