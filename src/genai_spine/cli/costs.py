"""`spine costs`: the ledger's costs by other prices, on another model, and beside the provider's own account."""

from __future__ import annotations

import click

from genai_spine.cli import reconcile, reprice, whatif


@click.group()
def command() -> None:
    """Recalculate the ledger's costs, or compare them with a bill."""


command.add_command(reprice.command, "reprice")
command.add_command(whatif.command, "whatif")
command.add_command(reconcile.command, "reconcile")
