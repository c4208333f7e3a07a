"""`spine simulate`: upstreams that speak the real wire formats, with faults on demand."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import click

from genai_spine.cli.output import Output
from genai_spine.testing.simulator import DEFAULT_PORT, BaseUrls, serve
from genai_spine.testing.simulator.bill import parse_rates


@click.command()
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--script", type=click.Path(path_type=Path), metavar="F", help="TOML file that says what goes wrong, and when."
)
@click.option("--key", metavar="KEY", help="The key that callers must send. Default: any key will do.")
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="MODEL=IN,OUT",
    help="Nano-dollars per token in and out, for the bill; `*` matches any letters.  [default: *=1250,10000]",
)
@click.pass_obj
def command(
    output: Output, port: int, host: str, script: Path | None, key: str | None, prices: tuple[str, ...]
) -> None:
    """Serve canned answers in real wire formats.

    The paths of OpenAI, Anthropic, Gemini, Ollama and others on one port; no keys, no network. Request faults with
    the header `x-simulate: status=503; retry_after=2`, after a plus in the model's name (`gpt-4o+reset=3`), or with
    a script. What everything would cost is at /simulator/bill.
    """
    output.conceal([key] if key else [])

    def announce(urls: BaseUrls) -> None:
        with suppress(OSError):
            output.line(f"Simulated upstreams on {urls.root}: answers are canned, faults on demand")
            output.line(f"  export OPENAI_BASE_URL={urls.openai}")
            output.line(f"  export ANTHROPIC_BASE_URL={urls.anthropic}")
            output.line(f"  export OLLAMA_HOST={urls.ollama}")

    asyncio.run(serve(host, port, script=script, key=key, rates=parse_rates(prices), ready=announce))
