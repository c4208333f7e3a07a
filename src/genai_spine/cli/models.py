"""`spine models`: what every provider offers, asked now, with what the catalog knows of it.

Its subcommands, for the models on the user's own machines, are in model_store.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec

from genai_spine.cli import model_matrix, model_store
from genai_spine.cli.loop import run
from genai_spine.cli.output import Output
from genai_spine.cli.sources import config_option, load_usable
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.card import Capabilities, ModelCard, Price
from genai_spine.model.errors import ProviderError, ProviderTimeout, SpineError
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import Settings

TIMEOUT_S = 10.0

_ABILITIES = ("tools", "images", "documents", "audio", "thinking", "structured_output")


@click.group(invoke_without_command=True)
@config_option
@click.option("--provider", metavar="P", help="Ask only this provider.")
@click.option("--capabilities", "is_matrix", is_flag=True, help="Show what each model can do instead of what it costs.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_context
def command(context: click.Context, config: Path | None, provider: str | None, is_matrix: bool, is_json: bool) -> None:
    """List the models of every provider.

    A provider that does not answer is named on stderr; the exit code is 1 if none answers. The commands
    are for the models on your own machines, which Ollama keeps.
    """
    if (subcommand := context.invoked_subcommand) is not None:
        if config or provider or is_matrix or is_json:
            raise click.UsageError(f"options stand behind the command: spine models {subcommand} …")
        return
    output = context.find_object(Output) or Output()
    settings = load_usable(output, config, provider)
    cards, failures = run(_ask_all(settings, provider))
    if is_json:
        said = [{"provider": name, "error": output.without_secrets(output.explain(error))} for name, error in failures]
        output.json({"models": [_for_programs(card) for card in cards], "failures": said})
    elif cards and is_matrix:
        output.table(list(model_matrix.HEADINGS), model_matrix.rows(cards), right=list(model_matrix.right()))
    elif cards:
        _print(output, cards)
    for name, error in failures:
        output.fail_with(f"{name}: {output.explain(error)}")
    if failures and not cards:
        raise click.exceptions.Exit(1)
    if not cards:
        output.note("no provider lists a model")


for _subcommand in model_store.COMMANDS:
    command.add_command(_subcommand)


async def _ask_all(settings: Settings, only: str | None) -> tuple[list[ModelCard], list[tuple[str, SpineError]]]:
    """The models of all that answer, by provider, and why the others do not."""
    async with ProviderManager.from_settings(settings) as manager:
        providers = [manager.registry.get(only)] if only is not None else list(manager.registry)
        answers = await asyncio.gather(*(_ask(provider) for provider in providers))
    cards: list[ModelCard] = []
    failures: list[tuple[str, SpineError]] = []
    for provider, answer in zip(providers, answers, strict=True):
        if isinstance(answer, SpineError):
            failures.append((provider.name, answer))
        else:
            cards += sorted(answer, key=lambda card: card.id)
    return cards, failures


async def _ask(provider: LLMProvider) -> list[ModelCard] | SpineError:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await provider.list_models()
    except TimeoutError as error:
        if isinstance(error, SpineError):
            return _named(error, provider)
        return ProviderTimeout(f"no answer within {TIMEOUT_S:g} s", provider=provider.name)
    except SpineError as error:
        return _named(error, provider)
    except Exception as error:  # of a stranger's provider; the others are none the worse
        return ProviderError(f"its list_models failed: {type(error).__name__}: {error}", provider=provider.name)


def _named(error: SpineError, provider: LLMProvider) -> SpineError:
    if isinstance(error, ProviderError):
        error.provider = error.provider or provider.name
    return error


def _for_programs(card: ModelCard) -> dict[str, object]:
    """As a caller may name it, with what is known; the provider's own list entry is left out."""
    known: dict[str, object] = msgspec.to_builtins(msgspec.structs.replace(card, extra=None, prices=()))
    return {**known, "id": f"{card.provider}/{card.id}"}


def _print(output: Output, cards: list[ModelCard]) -> None:
    rows = [
        [
            f"{card.provider}/{card.id}",
            model_matrix.number(card.context_window),
            model_matrix.number(card.max_output_tokens),
            *_prices(card.price),
            _abilities(card.capabilities),
        ]
        for card in cards
    ]
    columns = ["model", "context", "max output", "$/M in", "$/M out", "can"]
    output.table(columns, rows, right=columns[1:5])


def _prices(price: Price | None) -> tuple[str, str]:
    rates = (price.input, price.output) if price is not None else (None, None)
    return tuple("–" if rate is None else f"{rate:f}" for rate in rates)  # type: ignore[return-value]  # two


def _abilities(capabilities: Capabilities) -> str:
    return " ".join(name for name in _ABILITIES if getattr(capabilities, name)) or "–"
