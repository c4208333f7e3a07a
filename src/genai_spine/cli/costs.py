"""`spine costs`: the ledger's costs by other prices, on another model, and beside the provider's own account."""

from __future__ import annotations

import click

from genai_spine.cli import reconcile, reprice, whatif


@click.group()
def command() -> None:
    """Reckon the ledger's costs again, elsewhere, or beside a bill."""


command.add_command(reprice.command, "reprice")
command.add_command(whatif.command, "whatif")
command.add_command(reconcile.command, "reconcile")
