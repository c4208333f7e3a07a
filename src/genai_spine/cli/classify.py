"""`spine classify`: which labels fit a text."""

from __future__ import annotations

from typing import Any

import click

from genai_spine.cli import capabilities
from genai_spine.cli.output import Output


@click.command()
@click.option("--labels", required=True, metavar="A,B,…", help="The labels, separated by commas.")
@click.option("--multi", is_flag=True, help="Any number of labels may fit, or none.")
@click.option("--instructions", metavar="TEXT", help="How to decide, in addition to the labels.")
@capabilities.options
@click.pass_obj
def command(output: Output, /, labels: str, multi: bool, instructions: str | None, **given: Any) -> None:
    """Say which labels fit a text.

    The text is read from FILE or from stdin. The labels that fit are printed, one per line:

        spine classify --labels spam,ham mail.txt
    """
    named = [label for name in labels.split(",") if (label := name.strip())]
    if not named:
        raise click.UsageError("--labels names none")
    members = {"labels": named, "multi": multi, "instructions": instructions}
    capabilities.ask(output, "classify", lambda result: "\n".join(result.labels), members, **given)
