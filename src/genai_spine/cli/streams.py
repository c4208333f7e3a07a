"""`spine streams`: the streams that a gateway writes now, and `spine streams cancel ID` to end one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
import msgspec

from genai_spine.cli.loop import run
from genai_spine.cli.output import Output
from genai_spine.cli.running import ask_gateway
from genai_spine.cli.sources import config_option, load
from genai_spine.settings import ServerSettings

_PORTS = {"http": 80, "https": 443}


@click.group(invoke_without_command=True)
@config_option
@click.option("--url", metavar="URL", help="Another gateway than that of the settings; its key is SPINE_KEY.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_context
def command(ctx: click.Context, config: Path | None, url: str | None, is_json: bool) -> None:
    """List the open streams of the running gateway."""
    output: Output = ctx.obj
    server = _server(load(output, config).server, url)
    if ctx.invoked_subcommand is not None:
        ctx.meta["server"], ctx.meta["is_json"] = server, is_json
        return
    found = run(ask_gateway(server, "/v1/streams"))["data"]
    if is_json:
        output.json(found)
    elif not found:
        output.note("No streams are under way.")
    else:
        columns = ["id", "provider", "model", "dialect", "age", "bytes", ""]
        output.table(columns, [_row(stream) for stream in found], right=("age", "bytes"))


@command.command()
@click.argument("id")
@click.pass_context
def cancel(ctx: click.Context, id: str) -> None:
    """End a stream; its caller gets an error."""
    output: Output = ctx.obj
    answer = run(ask_gateway(ctx.meta["server"], f"/v1/streams/{quote(id, safe='')}", "DELETE"))
    if ctx.meta["is_json"]:
        output.json(answer)
    else:
        output.note(f"Cancelled {answer['id']}.")


def _row(stream: dict[str, Any]) -> list[str]:
    left = "its caller left" if stream["is_draining"] else ""
    size = stream["bytes_out"]
    return [
        stream["id"],
        stream["provider"],
        stream["model"] or "–",
        stream["dialect"] or "–",
        f"{stream['age_s']:.0f} s",
        "–" if size is None else str(size),
        left,
    ]


def _server(server: ServerSettings, url: str | None) -> ServerSettings:
    """The settings' gateway, or the one at `url`, which gets none of their keys. Raises: click.BadParameter."""
    if url is None:
        return server
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise click.BadParameter(f"{url} is no address of a gateway, such as http://127.0.0.1:8100", param_hint="--url")
    return msgspec.structs.replace(server, host=parts.hostname, port=port, api_keys=[], keys={})
