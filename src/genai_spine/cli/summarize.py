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
    "--length",
    callback=_length,
    default="medium",
    metavar="L",
    help="short, medium, long, or a number of words [medium].",
)
@click.option(
    "--format", type=click.Choice(list(FORMATS)), default="paragraph", help="Format of the summary [paragraph]."
)
@click.option("--language", metavar="L", help="Language of the summary, such as French. Default: that of the text.")
@click.option("--focus", metavar="TEXT", help="What to focus on.")
@capabilities.options
@click.pass_obj
def command(
    output: Output, /, length: str | int, format: str, language: str | None, focus: str | None, **given: Any
) -> None:
    """Summarize a text of any length.

    The text is read from FILE or from stdin:

        git log | spine summarize --format bullets
    """
    members = {"length": length, "format": format, "language": language, "focus": focus}
    capabilities.ask(output, "summarize", lambda result: result.summary, members, **given)
