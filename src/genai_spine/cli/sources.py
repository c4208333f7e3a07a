"""Settings as every command gets them, and the providers that they come down to.

Without configuration the providers are those whose keys are in the environment, and Ollama; whether an
Ollama runs is asked here, since one that does not would be the first to be asked of all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from genai_spine.catalog.cards import card_of
from genai_spine.catalog.rows import find_row, load_rows
from genai_spine.cli.output import Output
from genai_spine.model.errors import ConfigError
from genai_spine.policy import custom_strategies
from genai_spine.policy.standing import standing_of
from genai_spine.providers import plugins
from genai_spine.providers.address import base_url_of
from genai_spine.providers.connect import lacks_proxy_extra
from genai_spine.providers.dial import PROXY_EXTRA, tls_context
from genai_spine.providers.presence import OLLAMA_URL, OllamaProbe, with_providers, without_absent_ollama
from genai_spine.providers.registry import lacks_library
from genai_spine.settings import ProviderSettings, ProvidersSettings, Settings, load_settings
from genai_spine.settings.values import secrets_of

SIMULATED = ProviderSettings(type="simulated")
_MAY_HOLD_A_PASSWORD = re.compile("[@?]")
_NAMES_A_FILE = re.compile(r"(?:sqlite:|memory:)?[^:@=?#]*")

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file. Default: GENAI_CONFIG, then spine.toml or spine.yaml here.",
)


def load(output: Output, config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force here. Raises: ConfigError."""
    settings = load_settings(
        config,
        environ=os.environ,
        cwd=Path.cwd(),
        overrides=overrides,
        plugins=plugins.names(),
        strategies=custom_strategies.names,
    )
    output.settings = settings
    output.conceal(secrets_in(settings))
    return settings


def load_usable(output: Output, config: Path | None, *names: str | None, lack: str | None = None) -> Settings:
    """The same with the providers that can be asked; `names` are a provider and a model that are wanted.

    Raises: ConfigError, also where there is no provider at all; `lack` is what to say then, if not what suits most.
    """
    settings = load(output, config)
    wanted = {name.partition("/")[0] for name in names if name}
    if "simulated" in wanted and "simulated" not in settings.providers.by_id:
        settings = with_providers(settings, {**settings.providers.by_id, "simulated": SIMULATED})
    settings = without_absent_ollama(settings, OllamaProbe(settings), wanted)
    if not settings.providers.by_id:
        for warning in settings.loaded.warnings:  # such as a key that was left out
            output.warn(warning)
        raise ConfigError(lack or f"{nothing_found(settings, wanted)}; --provider simulated gives canned answers")
    return settings


def nothing_found(settings: Settings, wanted: Collection[str] = ()) -> str:
    """Why there is no provider, and what to do about it; `wanted` may be names of providers."""
    file = f"{settings.loaded.file} names no provider" if settings.loaded.file else "no spine.toml"
    rows = (find_row(name) for name in sorted(wanted))
    keys = next((" or ".join(row.key_variables) for row in rows if row is not None and row.needs_key), "")
    return (
        f"nothing to ask: {file}, no key in the environment, no Ollama at {OLLAMA_URL}; "
        f"set {keys or 'a key such as OPENAI_API_KEY'}, or start Ollama"
    )


def simulated_only(settings: Settings) -> Settings:
    providers = ProvidersSettings(default="simulated", by_id={"simulated": SIMULATED})
    return msgspec.structs.replace(settings, providers=providers)


# ------------------------------------------------------------ keys


def key_source(settings: Settings, id: str) -> str:
    """Where a provider's key comes from or should: `OPENAI_API_KEY`, or the key of the file."""
    provider = settings.providers.by_id.get(id)
    row = find_row(provider.type if provider is not None and provider.type else id)
    for key in ("api_key", "api_keys"):
        if f"providers.{id}.{key}" in settings.loaded.keys:
            where = settings.loaded.file
            return f"providers.{id}.{key}" + (f" ({where} or its GENAI_ variable)" if where else "")
    if provider is not None and provider.api_key_env:
        return provider.api_key_env
    names = row.key_variables if row is not None else ()
    return " or ".join([name for name in names if os.environ.get(name)] or names) or f"providers.{id}.api_key"


def has_key(provider: ProviderSettings) -> bool:
    return bool(provider.api_key or any(provider.api_keys))


def lacking(settings: Settings, id: str) -> str | None:
    """What keeps every request to a provider from being sent: an extra, a part of its address, its key, or the file of
    its credentials or authorities. What takes the network is not asked for."""
    table = settings.providers.by_id[id]
    row = find_row(table.type)
    if row is None:
        return None
    if lacks_library(row):
        return f"needs an extra: pip install 'genai-spine[{row.id}]'"
    if row.base_url or table.base_url:
        try:
            base_url = base_url_of(row, table, table.dialect or row.chat[0], id)
        except ConfigError as error:
            return error.message.removeprefix(f'"{id}" ').removeprefix(f"providers.{id}.")
        if lacks_proxy_extra(table, base_url):
            return f"is behind a SOCKS or https:// proxy, which needs an extra: {PROXY_EXTRA}"
    if row.needs_key and not has_key(table) and not table.headers:
        return f"has no key: set {key_source(settings, id)}"
    if table.credentials_file and not has_key(table):
        from genai_spine.providers.google_authorizer import token_form  # noqa: PLC0415  # who has no cloud pays nothing

        try:
            token_form(Path(table.credentials_file), f"credentials file {table.credentials_file}")
        except ConfigError as error:
            return f"has no credentials: {error.message}"
    if table.ca_file is not None:
        try:
            tls_context(table.ca_file)
        except ConfigError as error:
            return error.message
    return None


def retired_default(settings: Settings, id: str) -> str | None:
    """That the model for requests which name none is retired, as the catalog knows it."""
    table = settings.providers.by_id[id]
    row = find_row(table.type)
    model = table.model or (row.default_model if row is not None else None)
    if row is None or model is None:
        return None
    card = card_of(row.id, id, table.custom_models.get(model, model))
    return next((notice.message for notice in standing_of(card, time.time()).notices), None)


def secrets_in(settings: Settings) -> set[str]:
    """Every secret text in the settings, but for those that are none: many a local server's key is its name, and a
    ledger's, cache's or shared state's URL may be that of a file or have no password, and stand in other words of
    ours: which server it is that is away."""
    names = {"lm-studio", *settings.providers.by_id}
    urls = [url.reveal() for url in (settings.ledger.url, settings.cache.url, settings.state.url) if url is not None]
    names |= {url for url in urls if _NAMES_A_FILE.fullmatch(url) or not _MAY_HOLD_A_PASSWORD.search(url)}
    for row in load_rows().values():
        names |= {row.id, *row.aliases}
    return set(secrets_of(settings)) - names
