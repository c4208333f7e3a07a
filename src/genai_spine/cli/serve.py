"""`spine serve`: the gateway, and the lines to copy into a client's environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from genai_spine import __version__
from genai_spine.cli.output import Output
from genai_spine.cli.sources import (
    config_option,
    lacking,
    load,
    nothing_found,
    retired_default,
    secrets_in,
    simulated_only,
)
from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.app import Gateway
from genai_spine.gateway.server import run
from genai_spine.model.errors import ConfigError
from genai_spine.providers.address import known_of
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.presence import (
    OLLAMA_URL,
    OllamaProbe,
    is_unasked_ollama,
    without_absent_ollama,
)
from genai_spine.settings import ServerSettings, Settings, warnings_of

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses to listen on, and how this machine calls them."""


@click.command()
@config_option
@click.option("--host", metavar="H", help="Address to listen on [127.0.0.1]; any but loopback needs keys.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), metavar="P", help="Port [8100]; 0 picks a free one.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Number of worker processes [1].")
@click.pass_obj
def command(output: Output, config: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the gateway.

    Any client of OpenAI, Anthropic, Gemini or Ollama can be pointed at it. Without settings it finds the keys in
    the environment and a running Ollama.
    """
    level = "debug" if output.is_verbose else None
    overrides = {"server": {"host": host, "port": port, "workers": workers}, "logging": {"level": level}}
    settings = load(output, config, overrides)
    _log(output, settings)
    probe = OllamaProbe(settings)
    for warning in warnings_of(settings):
        output.warn(warning)
    settings, is_simulated = _settled(output, settings, probe)

    def announce(address: str, port: int) -> None:
        with suppress(OSError):  # whoever started us may not listen; the gateway serves all the same
            for line in banner(settings, address, port, probe, is_simulated):
                output.line(line)

    run(create_gateway, settings, ready=announce)


def create_gateway(settings: Settings) -> Gateway:
    """The application of one process; a worker of several gets here without `command`."""
    output = Output()
    output.conceal(secrets_in(settings))
    _log(output, settings)
    return Gateway(ProviderManager.from_settings(settings), settings)


def _log(output: Output, settings: Settings) -> None:
    output.log(settings.logging.level, settings.logging.format)


def _settled(output: Output, settings: Settings, probe: OllamaProbe) -> tuple[Settings, bool]:
    """The settings with providers that can be asked, and whether those are only the simulated one.

    Raises: ConfigError where a file was written and names no provider: canned answers would hide that.
    """
    _warn_of_circles(output, settings)
    settings = without_absent_ollama(settings, probe)
    if settings.providers.by_id:
        return settings, False
    if settings.loaded.file is not None:
        raise ConfigError(
            f"{nothing_found(settings)}, or add a provider to {settings.loaded.file}; "
            "[providers.simulated] gives canned answers"
        )
    output.warn(nothing_found(settings))
    return simulated_only(settings), True


def _warn_of_circles(output: Output, settings: Settings) -> None:
    """Tells of providers at the gateway's own address; what variables have found there is left out before."""
    for id, provider in settings.providers.by_id.items():
        if _is_here(provider.base_url, settings.server):
            output.warn(f"providers.{id}.base_url is this gateway's own address: calls would go in circles")


def _is_here(url: str | None, server: ServerSettings) -> bool:
    parts = urlsplit(url or "")
    return parts.hostname in (*LOCAL_NAMES, server.host) and parts.port == server.port


# ------------------------------------------------------------ the banner


def banner(settings: Settings, address: str, port: int, probe: OllamaProbe, is_simulated: bool) -> Iterator[str]:
    url = f"http://{_called(address)}:{port}"
    workers = f", {settings.server.workers} workers" if settings.server.workers > 1 else ""
    where = " (all addresses of this machine)" if address in EVERYWHERE else ""
    yield f"GenAI Spine {__version__} on {url}{where}{workers}"
    yield ""
    if is_simulated:
        yield "  ANSWERS ARE CANNED: nothing is configured, so the provider `simulated` answers every model."
        yield "  Set a key such as OPENAI_API_KEY or start Ollama, then start this again."
    else:
        yield from (f"  {line}" for line in _provider_lines(settings, probe))
    yield ""
    yield "Point a client at it:"
    yield f"  export OPENAI_BASE_URL={url}/v1"
    yield f"  export ANTHROPIC_BASE_URL={url}"
    yield f"  export GOOGLE_GEMINI_BASE_URL={url}"
    yield f"  export OLLAMA_HOST={url}"
    if settings.server.all_keys:
        yield "  with one of server.api_keys or server.keys as the client's key"
    else:
        yield "  with any text as OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY: only the clients insist on one"


def _called(address: str) -> str:
    """The host in a URL for clients on this machine."""
    if address in EVERYWHERE:
        return EVERYWHERE[address]
    try:
        is_ipv6 = ipaddress.ip_address(address).version == 6
    except ValueError:
        is_ipv6 = False
    return f"[{address}]" if is_ipv6 else address


def _provider_lines(settings: Settings, probe: OllamaProbe) -> Iterator[str]:
    by_id = settings.providers.by_id
    manager = ProviderManager.from_settings(settings)
    width = max(map(len, by_id))
    for provider in manager.registry:
        table = by_id[provider.name]
        said = [f"default model {provider.default_model}" if provider.default_model else "no default model"]
        if isinstance(provider, HttpProvider) and (table.base_url or provider.is_local):
            said.append(known_of(provider.row, table, provider.dialect, provider.name))
        if is_unasked_ollama(settings, provider.name):
            said.append("running" if probe.answers else "does not answer")
        if (words := retired_default(settings, provider.name)) is not None:
            said.append(f"RETIRED: {words}")
        if (lack := lacking(settings, provider.name)) is not None:
            said.append(f"CANNOT BE ASKED: {lack}")
        if provider.name == manager.default_provider:
            said.append("the default")
        yield f"{provider.name.ljust(width)}  {', '.join(said)}"
    if settings.loaded.discovered and "ollama" not in by_id:
        yield f"{'ollama'.ljust(width)}  not running at {OLLAMA_URL}; start it, then start this again"
