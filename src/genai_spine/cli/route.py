"""`spine route explain`: whom a request would be sent to, and why. Nobody is asked, and no key is needed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from genai_spine.cli.loop import run
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load_usable
from genai_spine.engine.manager import ProviderManager
from genai_spine.engine.routing.decision import Considered, Explained
from genai_spine.engine.routing.request_facts import About, wanted_of
from genai_spine.gateway.routing import exchange_of
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.route import HINTS, Wanted
from genai_spine.settings import Settings

_HEALTH = {"closed": "well", "open": "left alone", "half_open": "on trial"}
"""The breaker's states, for people."""


@click.group()
def command() -> None:
    """Show where a request would be sent, and why."""


@command.command()
@config_option
@click.option(
    "-m", "--model", metavar="MODEL", help="A model, a route, a provider or agent:NAME. Default: the default model."
)
@click.option("--provider", metavar="P", help="As `provider` in a request.")
@click.option("--hint", type=click.Choice(list(HINTS)), help="As `provider_hint` in a request.")
@click.option("--fallback", "fallbacks", multiple=True, metavar="MODEL", help="As `fallbacks` in a request.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="As in the header x-spine-tags.")
@click.option("--session", metavar="ID", help="As in the header x-spine-session.")
@click.option("--key", metavar="NAME", help="As a call with this key of [server.keys].")
@click.option("--body", type=click.File("rb"), metavar="FILE", help="A whole request in any dialect; - is stdin.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.argument("prompt", required=False)
@click.pass_obj
def explain(
    output: Output,
    config: Path | None,
    model: str | None,
    provider: str | None,
    hint: str | None,
    fallbacks: tuple[str, ...],
    tags: tuple[str, ...],
    session: str | None,
    key: str | None,
    body: BinaryIO | None,
    is_json: bool,
    prompt: str | None,
) -> None:
    """Show where a request with this PROMPT would be sent, and why.

    No provider is asked. What is measured while the gateway runs, such as speed and health, is in its own
    POST /v1/route.
    """
    request, wanted = _request(body.read() if body is not None else None, prompt, model)
    given = {"model": model, "provider": provider, "hint": hint, "fallbacks": fallbacks}
    wanted = msgspec.structs.replace(wanted, **{name: value for name, value in given.items() if value})
    settings = load_usable(output, config, wanted.provider)
    if key is not None and key not in settings.server.keys:
        known = ", ".join(settings.server.keys) or "none"
        raise click.UsageError(f'--key: there is no key "{key}" in [server.keys]; there are: {known}')
    explained = run(_explain(settings, wanted, request, About(session=session, tags=tags), key))
    if is_json:
        output.json(explained)
        return
    _print(output, explained)


def _request(body: bytes | None, prompt: str | None, model: str | None) -> tuple[CompletionRequest, Wanted]:
    """Raises: InvalidRequest, UsageError."""
    if body is None:
        request = CompletionRequest(messages=prompt or "", model=model)
        return request, wanted_of(request)
    if prompt is not None:
        raise click.UsageError("a PROMPT or --body, not both")
    try:
        exchange = exchange_of(body)
    except InvalidRequest as error:
        raise InvalidRequest(f"--body: {error.message}", param=error.param) from None
    return exchange.request, exchange.wanted


async def _explain(
    settings: Settings, wanted: Wanted, request: CompletionRequest, about: About, key: str | None
) -> Explained:
    async with ProviderManager.from_settings(settings) as manager:
        return manager.router.explain(wanted, lambda: request, about, key)


def _print(output: Output, explained: Explained) -> None:
    what = f"route {explained.route}, by {explained.strategy}" if explained.route else f"by {explained.strategy}"
    output.line(what)
    columns = ["", "target", "$ estimated", "context", "first token", "health", "why"]
    rows = [_row(each) for each in explained.candidates]
    output.table(columns, rows, right=[columns[0], *columns[2:5]])
    for target in explained.not_local:
        output.note(f"{target}: never asked, since routing.local_only is set")


def _row(each: Considered) -> list[str]:
    return [
        str(each.place) if each.place is not None else "–",
        f"{each.provider}/{each.model}" if each.model is not None else each.provider,
        _money(each.cost_usd),
        f"{each.context_window:,}" if each.context_window is not None else "–",
        f"{each.first_s:.2f} s" if each.first_s is not None else "–",
        _HEALTH[each.health],
        each.reason,
    ]


def _money(amount: Decimal | None) -> str:
    return "–" if amount is None else f"{amount.quantize(Decimal('0.000001')):f}"
