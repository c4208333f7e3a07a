"""`spine doctor`: what is configured, what can be reached, what is missing, and how to mend it.

Everything is asked at once and nothing longer than `--timeout`. Exit code 1 if something that is configured
does not work; what is only worth knowing is a warning. machine.py looks around here, reach.py outside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from genai_spine.cli.ledger_state import examine_ledger
from genai_spine.cli.loop import run
from genai_spine.cli.machine import Check, Status, examine_machine, examine_port
from genai_spine.cli.output import Output, one_line
from genai_spine.cli.reach import examine_way
from genai_spine.cli.shared_state import examine_shared_state
from genai_spine.cli.sources import config_option, has_key, key_source, lacking, load
from genai_spine.engine.routing.book import stays_here
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import AuthenticationError, ConfigError, PermissionDenied, SpineError
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.keys import keys_of
from genai_spine.providers.presence import OLLAMA_URL, is_unasked_ollama
from genai_spine.providers.provider import LLMProvider
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings, Settings, warnings_of

TIMEOUT_S = 9.0
"""How long a provider may take, unless `--timeout` says otherwise."""
OLLAMA_S = 1.0

_COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "failure": "red"}


@click.command()
@config_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_S,
    metavar="SECONDS",
    help="Timeout for each provider.",
    show_default=True,
)
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(output: Output, config: Path | None, timeout_s: float, is_json: bool) -> None:
    """Find what is missing or does not work.

    Asks each provider for its list of models, which costs nothing. Exit code 1 if something that is
    configured does not work.
    """
    checks = run(_examine(output, config, timeout_s))
    is_well = all(check.status != "failure" for check in checks)
    if is_json:
        cleaned = [
            {
                key: output.without_secrets(value)
                for key, value in msgspec.structs.asdict(check).items()
                if value is not None
            }
            for check in checks
        ]
        output.json({"ok": is_well, "checks": cleaned})
    else:
        _print(output, checks)
    if not is_well:
        raise click.exceptions.Exit(1)


def _print(output: Output, checks: Sequence[Check]) -> None:
    width = max(len(check.subject) for check in checks)
    for check in checks:
        said = f"{check.status:8} {check.subject:{width}}  {one_line(check.detail)}"
        output.line(said, fg=_COLOURS[check.status])
        if check.mend is not None:
            output.line(f"{'':8} {'':{width}}  → {one_line(check.mend)}")


async def _examine(output: Output, config: Path | None, timeout_s: float) -> list[Check]:
    checks = [*examine_machine()]
    try:
        settings = load(output, config)
    except ConfigError as error:
        mend = "`spine config check` says the same; `spine config schema` describes the keys"
        checks += [
            Check(status="failure", subject="settings", detail=problem, mend=mend)
            for problem in error.message.splitlines()
        ]
        return checks
    checks += _settings(settings)
    by_id = settings.providers.by_id
    found = await asyncio.gather(
        *(_in_time(id, _provider(settings, id), timeout_s) for id in by_id),
        *([] if any(table.type == "ollama" for table in by_id.values()) else [_other_ollama()]),
        examine_port(settings.server),
        examine_ledger(settings),
        examine_shared_state(settings),
    )
    return [*checks, *(check for some in found for check in some)]


async def _in_time(id: str, findings: AsyncIterator[Check], timeout_s: float) -> list[Check]:
    """What is found in time; the last of it says why there is no more."""
    found: list[Check] = []
    try:
        async with asyncio.timeout(timeout_s):
            async for check in findings:
                found.append(check)
    except TimeoutError:
        detail = f"no answer within {timeout_s:g} s"
        found.append(Check(status="failure", subject=id, detail=detail, mend="is the service overloaded?"))
    except SpineError as error:
        found.append(Check(status="failure", subject=id, detail=error.message))
    except Exception as error:  # of a stranger's provider; the others are none the worse
        found.append(Check(status="failure", subject=id, detail=f"failed: {type(error).__name__}: {error}"))
    return found


# ------------------------------------------------------------ the settings


def _settings(settings: Settings) -> Iterator[Check]:
    file = settings.loaded.file
    if file is not None:
        yield Check(status="ok", subject="settings", detail=f"{file} can be read and makes sense")
    else:
        yield Check(status="ok", subject="settings", detail="no file: defaults, environment and .env")
    for warning in warnings_of(settings):
        yield Check(status="warning", subject="settings", detail=warning)
    if all(is_unasked_ollama(settings, id) for id in settings.providers.by_id):
        yield Check(
            status="info",
            subject="settings",
            detail="nothing is configured: only an Ollama is looked for",
            mend="set a key such as OPENAI_API_KEY; `spine serve` answers with canned words until then",
        )


# ------------------------------------------------------------ one provider


async def _provider(settings: Settings, id: str) -> AsyncIterator[Check]:
    """Its key, the way to it, its models."""
    table = settings.providers.by_id[id]
    provider = build_provider(id, table, settings.timeouts)
    if settings.routing.local_only and not stays_here(provider):
        yield Check(status="info", subject=id, detail="not asked: it is not on this machine (routing.local_only)")
        return
    try:
        async for check in _findings(settings, id, table, provider):
            yield check
    finally:
        await provider.close()


async def _findings(
    settings: Settings, id: str, table: ProviderSettings, provider: LLMProvider
) -> AsyncIterator[Check]:
    if not isinstance(provider, HttpProvider):
        if (lack := lacking(settings, id)) is not None:
            yield Check(status="failure", subject=id, detail=lack)
            return
        cards = await provider.list_models()
        yield Check(status="ok", subject=id, detail=f"in this process, {len(cards)} models")
        return
    source = key_source(settings, id)
    if has_key(table):
        count = len(keys_of(table))
        yield Check(status="ok", subject=id, detail=f"has {'a key' if count == 1 else f'{count} keys'} ({source})")
    elif provider.row.needs_key and not table.headers:
        mend = f"set {source}; {provider.row.docs} tells where to get one"
        yield Check(status="failure", subject=id, detail="has no key", mend=mend)
        return
    if (problem := await _problem_of_address_or_identity(id, provider)) is not None:
        yield problem
        return
    if provider.row.is_cloud and not has_key(table):
        yield Check(status="ok", subject=id, detail="has credentials of its cloud")
    way = await examine_way(provider)
    if way.status == "failure":
        yield _as_absent(way) if is_unasked_ollama(settings, id) else way
        return
    yield way
    for refused in await _refused_keys(id, provider):
        yield refused
    if table.models or not provider.row.models_path:
        why = "its models are set, not asked for" if table.models else "it lists no models"
        detail = f"{why}: whether its key is right only a call would tell"
        yield Check(status="info", subject=id, detail=detail)
        return
    begun = time.perf_counter()
    try:
        cards = await provider.list_models()
    except SpineError as error:
        yield _refused(id, source, error)
        return
    took = f"{(time.perf_counter() - begun) * 1000:.0f} ms"
    yield Check(status="ok", subject=id, detail=f"answers: {_models_of(cards)}, {took}")
    if (missing := _missing_model(id, table, provider, cards)) is not None:
        yield missing


async def _problem_of_address_or_identity(id: str, provider: HttpProvider) -> Check | None:
    """Why no request could be written: a part of its address is missing, or what stands for a key on a cloud."""
    try:
        await provider.check_credentials()
    except ConfigError as error:
        return Check(status="failure", subject=id, detail=error.message)
    except SpineError as error:
        return Check(status="failure", subject=id, detail=error.message, mend=f"check the credentials of {id}")
    return None


def _as_absent(way: Check) -> Check:
    """An Ollama that nobody configured may well not run."""
    mend = "if wanted: install it from https://ollama.com, `ollama serve`, `ollama pull llama3.2`"
    return Check(status="info", subject=way.subject, detail=f"none runs at {OLLAMA_URL}", mend=mend)


def _refused(id: str, source: str, error: SpineError) -> Check:
    status = f" ({error.status_code})" if error.status_code else ""
    if isinstance(error, AuthenticationError | PermissionDenied):
        detail = f"its key is refused{status}: {error.message}"
        return Check(status="failure", subject=id, detail=detail, mend=f"check {source}")
    if isinstance(error, ConfigError):
        return Check(status="failure", subject=id, detail=error.message)
    return Check(
        status="failure",
        subject=id,
        detail=f"does not list its models{status}: {error.message}",
        mend=f"check providers.{id}.base_url, and the service's status page",
    )


async def _refused_keys(id: str, provider: HttpProvider) -> list[Check]:
    """Of several keys, those that are refused; the others then answer for them."""
    if provider.keys is None:
        return []

    async def refused(position: int) -> Check | None:
        try:
            await provider.probe(key=position)
        except AuthenticationError as error:
            detail = f"key {position + 1} of {len(provider.keys or ())} is refused ({error.status_code})"
            return Check(status="warning", subject=id, detail=detail, mend=f"check providers.{id}.api_keys")
        except SpineError:
            pass  # what is not about the key is said of the provider
        return None

    found = await asyncio.gather(*(refused(position) for position in range(len(provider.keys))))
    return [check for check in found if check is not None]


def _models_of(cards: Sequence[ModelCard]) -> str:
    names = ", ".join(card.id for card in cards[:3])
    return f"{len(cards)} models ({names}{', …' if len(cards) > 3 else ''})" if cards else "no models"


def _missing_model(
    id: str, table: ProviderSettings, provider: HttpProvider, cards: Sequence[ModelCard]
) -> Check | None:
    """What to do where the default model is not in the list; None where it is, or none is set."""
    default = provider.default_model
    if default is None:
        return None
    model = table.custom_models.get(default, default)
    if any(_is_same(card.id, model) for card in cards):
        return None
    if provider.row.id == "ollama":
        mend = f"ollama pull {model.removesuffix(':latest')}"
        if cards:
            mend += f', or set providers.{id}.model = "{cards[0].id}"'
    else:
        mend = f"set providers.{id}.model; `spine models --provider {id}` lists what there is"
    status: Status = "failure" if table.model is not None else "warning"
    return Check(status=status, subject=id, detail=f"does not list its default model {model}", mend=mend)


def _is_same(listed: str, model: str) -> bool:
    return listed.removeprefix("models/").removesuffix(":latest") == model.removesuffix(":latest")


async def _other_ollama() -> list[Check]:
    """Providers are configured, Ollama is not among them; perhaps it runs all the same."""
    provider = build_provider("ollama", ProviderSettings(type="ollama"))
    try:
        async with asyncio.timeout(OLLAMA_S):
            cards = await provider.list_models()
    except (SpineError, TimeoutError):
        return []
    finally:
        await provider.close()
    detail = f"runs at {OLLAMA_URL} ({_models_of(cards)}), and is not configured"
    mend = "if wanted: add [providers.ollama]"
    return [Check(status="info", subject="ollama", detail=detail, mend=mend)]
