"""`spine config`: what the settings say, and whether they can work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import yaml

from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, lacking, load, retired_default
from genai_spine.engine.manager import ProviderManager
from genai_spine.gateway.server import addresses_of
from genai_spine.ledger.opening import check_url
from genai_spine.model.errors import ConfigError
from genai_spine.providers.presence import is_unasked_ollama
from genai_spine.providers.registry import build_provider
from genai_spine.settings import Settings, redacted, schema, warnings_of

_FILE = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Check, show or describe the settings."""


@command.command()
@click.argument("file", type=_FILE, required=False)
@config_option
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def check(output: Output, file: Path | None, config: Path | None, is_json: bool) -> None:
    """Check the settings; exit code 1 if they cannot work.

    A key or a part of an address that is missing is a warning: it may be set where the settings are used.
    """
    try:
        settings = load(output, _named(file, config))
    except ConfigError as error:
        _fail(output, error.message.splitlines(), is_json)
    if unusable := list(dict.fromkeys(_unusable(settings))):  # a manager says again what its provider said
        _fail(output, unusable, is_json)
    warnings = warnings_of(settings)
    ids = settings.providers.by_id
    warnings += [f"providers.{id} {lack}" for id in ids if (lack := lacking(settings, id)) is not None]
    for id in ids:
        if (words := retired_default(settings, id)) is not None:
            warnings.append(f"providers.{id}: for requests that name no model: {words}: set providers.{id}.model")
    providers = {id: table.type for id, table in settings.providers.by_id.items()}
    sources = list(_sources(settings))
    if is_json:
        output.json(
            {
                "ok": True,
                "problems": [],
                "warnings": warnings,
                "file": settings.loaded.file,
                "sources": sources,
                "providers": providers,
                "discovered": settings.loaded.discovered,
            }
        )
        return
    for warning in warnings:
        output.warn(warning)
    how = "found in the environment" if settings.loaded.discovered else "configured"
    listed = [id if id == type_ else f"{id} ({type_})" for id, type_ in providers.items()]
    if is_unasked_ollama(settings, "ollama"):
        listed[listed.index("ollama")] = "ollama (if it runs)"
    output.line(f"OK: settings from {', '.join(sources) or 'defaults alone'}", fg="green")
    output.line(f"providers {how}: {', '.join(listed) or 'none'}")


@command.command(name="schema")
@click.pass_obj
def schema_(output: Output) -> None:
    """Print a JSON Schema of the settings file, for editors."""
    output.json(schema())


@command.command()
@click.argument("file", type=_FILE, required=False)
@config_option
@click.option("--json", "is_json", is_flag=True, help="As JSON. Default: as YAML.")
@click.pass_obj
def show(output: Output, file: Path | None, config: Path | None, is_json: bool) -> None:
    """Show all settings in force, including defaults; secrets as ***."""
    settings = redacted(load(output, _named(file, config)))
    if is_json:
        output.json(settings)
    else:
        output.line(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip())


def _named(file: Path | None, config: Path | None) -> Path | None:
    if file is not None and config is not None:
        raise click.UsageError(f"name one file: {file}, or --config {config}")
    return file or config


def _unusable(settings: Settings) -> Iterator[str]:
    """What only making the parts finds: an extra that is not installed, a value in a form that a part does not know,
    and what else keeps `spine serve` from starting. Nothing is opened; a host is looked up where no key guards it."""
    steps: list[Callable[[], object]] = [
        partial(build_provider, id, table, settings.timeouts) for id, table in settings.providers.by_id.items()
    ]
    steps += [partial(ProviderManager.from_settings, settings), partial(check_url, settings.ledger)]
    if not any(settings.server.all_keys):
        steps.append(partial(addresses_of, settings.server))
    for step in steps:
        try:
            step()
        except ConfigError as error:
            yield error.message


def _fail(output: Output, problems: list[str], is_json: bool) -> NoReturn:
    if is_json:
        output.json({"ok": False, "problems": problems, "warnings": []})
    for problem in problems if not is_json else ():
        output.fail_with(problem)
    raise click.exceptions.Exit(1)


def _sources(settings: Settings) -> Iterator[str]:
    """What set something, in the order in which later ones win."""
    names = [name for name in settings.loaded.sources if name.startswith("GENAI_")]
    yield from (name for name in settings.loaded.sources if name not in names)
    yield from names[:5]
    if len(names) > 5:
        yield f"{len(names) - 5} more variables"
