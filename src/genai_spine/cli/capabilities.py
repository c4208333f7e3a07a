"""What `spine summarize`, `extract` and `classify` have in common: a text in, a result out.

The text is a file's or what is piped in. stdout has the result and nothing else; notices, use and cost go to
stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from genai_spine.capabilities import registry
from genai_spine.capabilities.capability import CapabilityResult
from genai_spine.cli.chat import read_file, said_of_usage, usd
from genai_spine.cli.loop import run
from genai_spine.cli.output import Output, is_terminal, neutralise
from genai_spine.cli.sources import config_option, load_usable
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.errors import InvalidRequest
from genai_spine.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """The argument and the options of every one of them; `ask` takes what they give."""
    for option in (
        click.option(
            "--json", "is_json", is_flag=True, help="Print the whole result as JSON, with usage, cost and notices."
        ),
        click.option("--provider", metavar="P", help="Ask only this provider."),
        click.option("-m", "--model", metavar="MODEL", help="`provider/model`, a model, or a route."),
        config_option,
        click.argument("file", required=False),
    ):
        command = option(command)
    return command


def ask(
    output: Output,
    name: str,
    shown: Callable[[Any], str],
    members: dict[str, Any],
    *,
    file: str | None,
    config: Path | None,
    model: str | None,
    provider: str | None,
    is_json: bool,
) -> None:
    """Runs a capability on a text and says its result, as `shown` writes it. Raises: SpineError."""
    content = _text(file)
    settings = load_usable(output, config, provider, model)
    members = {"content": content, "model": model, "provider": provider, **members}
    result: CapabilityResult = run(_run(settings, name, members))
    if is_json:
        output.json(msgspec.json.decode(msgspec.json.encode(result)))
        return
    text = shown(result)
    click.echo(neutralise(text) if is_terminal(sys.stdout) else text)
    for notice in result.notices:
        output.note(f"{notice.code}: {notice.message}")
    calls = f"{result.calls} calls" if result.calls > 1 else "1 call"
    spent = [f"{result.provider}/{result.model}", calls, *said_of_usage(result.usage), usd(result.cost_usd)]
    output.note(" · ".join(spent))


async def _run(settings: Settings, name: str, members: dict[str, Any]) -> CapabilityResult:
    async with ProviderManager.from_settings(settings) as manager:
        result: CapabilityResult = await registry.run(manager, name, **members)
        return result


def _text(file: str | None) -> str:
    """What is in the file, or piped in. Raises: UsageError where there is neither; InvalidRequest."""
    if file is None or file == "-":
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise click.UsageError("no text: name a file, or pipe it in")
        data, name = sys.stdin.buffer.read(), "stdin"
    else:
        data, name = read_file(file), file
    if not data.strip():
        raise InvalidRequest(f"{name} is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is no text: not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise InvalidRequest(f"{name} is no text: a null byte at character {text.index(chr(0))}")
    return text
