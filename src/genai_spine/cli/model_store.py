"""`spine models pull`, `update`, `show`, `ps`, `delete`, `copy`: the models on the user's own machines."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import click
import msgspec

from genai_spine.cli.loop import run
from genai_spine.cli.output import Output, is_terminal, one_line
from genai_spine.cli.sources import config_option, load_usable
from genai_spine.engine.manager import ProviderManager
from genai_spine.model.card import ModelCard
from genai_spine.model.pull import PullProgress
from genai_spine.providers.presence import OLLAMA_URL
from genai_spine.settings import Settings

_ABILITIES = ("tools", "images", "documents", "audio", "thinking")
_BAR = 24
_UNITS = ("B", "kB", "MB", "GB", "TB")


def _load(output: Output, config: Path | None, model: str | None = None) -> Settings:
    lack = f"no Ollama runs at {OLLAMA_URL}, and none is configured: start it, or set providers.ollama.base_url"
    return load_usable(output, config, model, lack=lack)


@click.command()
@config_option
@click.argument("model")
@click.option("--json", "is_json", is_flag=True, help="Print each step as a line of JSON.")
@click.pass_obj
def pull(output: Output, config: Path | None, model: str, is_json: bool) -> None:
    """Download a model, or update it.

    Ctrl-C stops the download; the next pull continues it.
    """

    async def work() -> None:
        async with ProviderManager.from_settings(_load(output, config, model)) as manager:
            await _follow(output, manager.local.pull(model), is_json)

    run(work())


@click.command()
@config_option
@click.argument("model", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print each step as a line of JSON.")
@click.pass_obj
def update(output: Output, config: Path | None, model: str | None, is_json: bool) -> None:
    """Update one model, or all installed models."""

    async def work() -> None:
        async with ProviderManager.from_settings(_load(output, config, model)) as manager:
            await _follow(output, manager.local.update(model), is_json)

    run(work())


@click.command()
@config_option
@click.argument("model")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def show(output: Output, config: Path | None, model: str, is_json: bool) -> None:
    """Show details of an installed model."""

    async def work() -> ModelCard:
        async with ProviderManager.from_settings(_load(output, config, model)) as manager:
            return await manager.local.show(model)

    card = run(work())
    if is_json:
        output.json(card)
        return
    can = [name for name in _ABILITIES if getattr(card.capabilities, name)]
    window = "–" if card.context_window is None else f"{card.context_window:,} tokens"
    rows = [["model", card.id], ["family", card.owned_by or "–"], ["context", window], ["can", " ".join(can) or "–"]]
    for name, value in rows:
        output.line(f"{name:8} {one_line(value)}")


@click.command()
@config_option
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@click.pass_obj
def ps(output: Output, config: Path | None, is_json: bool) -> None:
    """List the models in memory."""

    async def work() -> list[ModelCard]:
        async with ProviderManager.from_settings(_load(output, config)) as manager:
            return await manager.local.running()

    cards = run(work())
    if is_json:
        output.json({"models": cards})
    elif not cards:
        output.note("no model is in memory")
    else:
        columns = ["model", "size", "in video memory", "until"]
        output.table(columns, [_running(card) for card in cards], right=columns[1:3])


@click.command()
@config_option
@click.argument("model")
@click.pass_obj
def delete(output: Output, config: Path | None, model: str) -> None:
    """Delete an installed model."""

    async def work() -> None:
        async with ProviderManager.from_settings(_load(output, config, model)) as manager:
            await manager.local.delete(model)

    run(work())
    output.note(f"{model} is deleted")


@click.command()
@config_option
@click.argument("source")
@click.argument("destination")
@click.pass_obj
def copy(output: Output, config: Path | None, source: str, destination: str) -> None:
    """Copy a model to another name."""

    async def work() -> None:
        async with ProviderManager.from_settings(_load(output, config, source)) as manager:
            await manager.local.copy(source, destination)

    run(work())
    output.note(f"{source} is {destination}, too")


COMMANDS = (pull, update, show, ps, delete, copy)


# ---------------------------------------------------------------- progress


async def _follow(output: Output, steps: AsyncIterator[PullProgress], is_json: bool) -> None:
    shown = Bar(sys.stderr) if is_terminal(sys.stderr) and not is_json else None
    last = ""
    try:
        async for step in steps:
            if is_json:
                output.json(step, indent=None)
            elif shown is not None:
                shown.show(step)
            elif (said := f"{step.model}: {step.status}") != last:
                output.note(said)
                last = said
    finally:
        if shown is not None:
            shown.close()


class Bar:
    """One line of a terminal for each file, drawn over until the next one comes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._status = ""
        self._length = 0

    def show(self, step: PullProgress) -> None:
        if self._status and step.status != self._status:
            self._stream.write("\n")
            self._length = 0
        self._status = step.status
        line = self.line_of(step)
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    @staticmethod
    def line_of(step: PullProgress) -> str:
        """`llama3.2: pulling 4c27e0f5b5ad  [######------------------]  25 %  0.5 GB of 2.0 GB`"""
        said = one_line(f"{step.model}: {step.status}")
        if step.fraction is None or step.total_bytes is None:
            return said
        full = int(step.fraction * _BAR)
        bar = "#" * full + "-" * (_BAR - full)
        sizes = f"{_size(step.completed_bytes or 0)} of {_size(step.total_bytes)}"
        return f"{said}  [{bar}] {int(step.fraction * 100):3} %  {sizes}"

    def close(self) -> None:
        if self._status:
            self._stream.write("\n")


def _size(count: float) -> str:
    """1000 bytes are a kB, as Ollama counts."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.1f} {unit}" if unit not in ("B", "kB") else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def _running(card: ModelCard) -> list[str]:
    own: dict[str, object] = next((msgspec.json.decode(raw) for raw in (card.extra or {}).values()), {})
    sizes = [own.get("size"), own.get("size_vram")]
    until = own.get("expires_at")
    return [
        f"{card.provider}/{card.id}" if card.provider else card.id,
        *("–" if not isinstance(size, int) else _size(size) for size in sizes),
        until if isinstance(until, str) else "–",
    ]
