"""`spine extract`: what a text says, as JSON of a JSON Schema."""

from __future__ import annotations

import sys
from typing import Any

import click

from genai_spine.cli import capabilities
from genai_spine.cli.chat import read_schema
from genai_spine.cli.output import Output, json_text


@click.command()
@click.option("--schema", required=True, metavar="JSON", help="JSON Schema of the data: a file, or the schema itself.")
@click.option("--instructions", metavar="TEXT", help="What to look for, in addition to the schema.")
@capabilities.options
@click.pass_obj
def command(output: Output, /, schema: str, instructions: str | None, **given: Any) -> None:
    """Extract data from a text, as JSON that fits a JSON Schema.

    The text is read from FILE or from stdin; the output fits the schema:

        spine extract --schema invoice.json letter.txt
    """
    members = {"schema": read_schema(schema), "instructions": instructions}
    capabilities.ask(output, "extract", _shown, members, **given)


def _shown(result: Any) -> str:
    return json_text(result.data, sys.stdout)
