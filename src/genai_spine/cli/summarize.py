"""`spine summarize`: a text of any length in few words."""

from __future__ import annotations

from typing import Any

import click

from genai_spine.capabilities.summarize import FORMATS, LENGTHS
from genai_spine.cli import capabilities
from genai_spine.cli.output import Output


def _length(context: click.Context, param: click.Parameter, value: str) -> str | int:
    if value in LENGTHS:
        return value
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither {', '.join(LENGTHS)} nor a number of words")


@click.command()
@click.option(
    "--length", callback=_length, default="medium", metavar="L", help="short, medium, long, or so many words [medium]."
)
@click.option("--format", type=click.Choice(list(FORMATS)), default="paragraph", help="What it looks like [paragraph].")
@click.option("--language", metavar="L", help="Of the summary, such as French; else that of the text.")
@click.option("--focus", metavar="TEXT", help="What to look at above all.")
@capabilities.options
@click.pass_obj
def command(
    output: Output, /, length: str | int, format: str, language: str | None, focus: str | None, **given: Any
) -> None:
    """Summarize a text of any length.

    It is read from FILE, or piped in:

        git log | spine summarize --format bullets
    """
    members = {"length": length, "format": format, "language": language, "focus": focus}
    capabilities.ask(output, "summarize", lambda result: result.summary, members, **given)
