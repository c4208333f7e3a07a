"""`spine providers`: what is configured, and with `--all` what could be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec

from genai_spine.catalog.rows import ProviderRow, find_row, load_rows
from genai_spine.cli.loop import run
from genai_spine.cli.output import Output, one_line
from genai_spine.cli.running import ask_gateway
from genai_spine.cli.sources import config_option, has_key, key_source, load, nothing_found, retired_default
from genai_spine.providers.address import known_of
from genai_spine.providers.keys import keys_of
from genai_spine.providers.presence import OllamaProbe, without_absent_ollama
from genai_spine.settings import ProviderSettings, Settings


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; the JSON of it, too."""

    id: str
    name: str | None = None
    """What the settings call it beside."""
    type: str
    state: str
    """configured, found (in the environment) or available."""
    base_url: str | None
    dialects: tuple[str, ...]
    key: str
    """set, missing, needed (where nothing is configured), cloud (credentials of it will do), optional or not needed."""
    key_from: str | None
    keys: int = 0
    """How many there are, used in turn."""
    default_model: str | None
    retired: str | None = None
    """That the default model is: since when, and what succeeds it."""
    docs: str | None = None
    note: str | None = None


@click.command()
@config_option
@click.option("--all", "is_all", is_flag=True, help="All providers that there are, configured or not.")
@click.option("--running", "is_running", is_flag=True, help="Show the state that the running gateway sees.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(output: Output, config: Path | None, is_all: bool, is_running: bool, is_json: bool) -> None:
    """List the providers.

    No provider is asked; `spine doctor` shows which ones answer. With --running the gateway tells how each fares: its
    health, its calls, its breakers and keys.
    """
    settings = load(output, config)
    if is_running:
        if is_all:
            raise click.UsageError("--all and --running exclude each other")
        _tell_running(output, run(ask_gateway(settings.server, "/v1/providers")), is_json)
        return
    settings = without_absent_ollama(settings, OllamaProbe(settings))
    listed = list(_configured(settings))
    if is_all:
        listed += _others({provider.type for provider in listed})
    if is_json:
        output.json({"default": settings.providers.default, "providers": listed})
        return
    if not listed:
        output.note(f"{nothing_found(settings)}. `spine providers --all` lists what there is.")
        return
    _print(output, listed, is_all)


def _print(output: Output, listed: list[Listed], is_all: bool) -> None:
    """What is configured with its address and model; of all there is, where to read more."""
    columns = ["provider", "state", "key", "dialects"]
    columns += ["more"] if is_all else ["base URL", "default model"]
    rows: list[list[str]] = []
    for provider in listed:
        of_type = "" if provider.id == provider.type else f" ({provider.type})"
        row = [
            _with_name(provider.id, provider.name) + of_type,
            provider.state,
            _key_words(provider),
            " ".join(provider.dialects) or "–",
        ]
        if is_all:
            row.append("; ".join(part for part in (provider.note, provider.docs) if part))
        else:
            row += [provider.base_url or "–", (provider.default_model or "–") + (" (retired)" * bool(provider.retired))]
        rows.append(row)
    output.table(columns, rows)
    for provider in listed:
        if provider.retired is not None:
            output.warn(f"{provider.id}: {provider.retired}: set providers.{provider.id}.model")


def _with_name(id: str, name: str | None) -> str:
    return f'{id} "{one_line(name)}"' if name else id


def _tell_running(output: Output, answer: Any, is_json: bool) -> None:
    if is_json:
        output.json(answer)
        return
    columns = ["provider", "health", "calls", "errors", "latency", "first token", "keys", "breakers"]
    rows = [[_with_name(told["id"], told.get("name")), *_fares(told)] for told in answer["data"]]
    output.table(columns, rows, right=("calls", "errors", "latency", "first token"))


def _fares(told: Mapping[str, Any]) -> Iterator[str]:
    """One provider of the gateway's list, in words."""
    status, metrics, keys = told["status"], told["metrics"], told["keys"]
    yield "well" if status["healthy"] else f"failing: {one_line(status['error'] or '')}"
    yield str(metrics["request_count"])
    yield str(metrics["error_count"])
    yield _ms(metrics["avg_latency_s"])
    yield _ms(metrics["avg_first_token_s"])
    yield f"{keys['count'] - keys['out']} of {keys['count']}" if keys is not None else "–"
    not_closed = [f"{model['model']} {model['breaker']}" for model in told["models"] if model["breaker"] != "closed"]
    yield ", ".join(not_closed) or "closed"


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def _key_words(provider: Listed) -> str:
    if provider.key == "cloud":
        return f"{provider.key_from} or the cloud's" if provider.key_from else "the cloud's"
    if provider.keys > 1:
        return f"{provider.keys} keys"
    return f"{provider.key}: {provider.key_from}" if provider.key in ("missing", "needed") else provider.key


def _configured(settings: Settings) -> Iterator[Listed]:
    for id, provider in settings.providers.by_id.items():
        row = find_row(provider.type)
        yield Listed(
            id=id,
            name=provider.name,
            type=provider.type,
            state="found" if settings.loaded.discovered else "configured",
            base_url=_base_url(row, provider),
            dialects=_dialects(row, provider),
            key=_key_state(row, provider),
            key_from=key_source(settings, id) if row is None or row.auth != "none" else None,
            keys=len(keys_of(provider)),
            default_model=provider.model or (row.default_model if row is not None else None),
            retired=retired_default(settings, id),
            docs=row.docs if row is not None else None,
            note=row.note if row is not None else None,
        )


def _others(types: set[str]) -> Iterator[Listed]:
    for row in load_rows().values():
        if row.id not in types:
            nothing = ProviderSettings()
            yield Listed(
                id=row.id,
                type=row.id,
                state="available",
                base_url=_base_url(row, nothing),
                dialects=row.dialects,
                key="needed" if row.needs_key else _key_state(row, nothing),
                key_from=" or ".join(row.key_variables) or None,
                default_model=row.default_model,
                docs=row.docs,
                note=row.note,
            )


def _dialects(row: ProviderRow | None, provider: ProviderSettings) -> tuple[str, ...]:
    if row is None:
        return ()
    if provider.dialect is not None:
        return (provider.dialect, *((row.embeddings,) if row.embeddings else ()))
    return row.dialects


def _base_url(row: ProviderRow | None, provider: ProviderSettings) -> str | None:
    """Where it is, without whatever may be secret in a URL."""
    url = provider.base_url
    if row is not None:
        url = known_of(row, provider, provider.dialect or row.chat[0], row.id)
    if not url:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _key_state(row: ProviderRow | None, provider: ProviderSettings) -> str:
    if has_key(provider):
        return "set"
    if row is None:
        return "optional"
    if row.is_cloud:
        return "cloud"
    return "not needed" if row.auth == "none" else "missing" if row.needs_key else "optional"
