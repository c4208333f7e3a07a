"""The command `spine`: its subcommands, its exit codes, and what is said when something goes wrong.

    0    it worked            1    it failed: one clear line on stderr
    2    wrong usage          130  interrupted by Ctrl-C          141  nobody reads the output any more

A subcommand's module is imported when it is called, so that `spine --help` stays as fast as Python's own
start. Nobody sees a traceback who has not asked for it with `--verbose`.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Any, cast

import click

from genai_spine import __version__
from genai_spine.cli.output import Output
from genai_spine.model.errors import SpineError

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
NOBODY_READS = 141  # 128 + SIGPIPE

COMMANDS = {
    "serve": "Run the gateway.",
    "chat": "Ask a model; without a prompt, start a conversation.",
    "summarize": "Summarize a text of any length.",
    "extract": "Extract data from a text, as JSON that fits a JSON Schema.",
    "classify": "Say which labels fit a text.",
    "models": "List the models of every provider.",
    "providers": "List the providers.",
    "route": "Show where a request would be sent, and why.",
    "streams": "List the open streams of the running gateway.",
    "usage": "Show usage and costs.",
    "budgets": "Show how much of each budget is left.",
    "logs": "Show the last calls, or one call with its attempts.",
    "costs": "Recalculate the ledger's costs, or compare them with a bill.",
    "doctor": "Find what is missing or does not work.",
    "config": "Check, show or describe the settings.",
    "simulate": "Serve canned answers in real wire formats.",
}
"""Each subcommand with the line that help shows for it: its docstring's first, as a test makes sure."""


class Spine(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast(click.Command, import_module(f"genai_spine.cli.{cmd_name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _discard_output()
            ctx.exit(NOBODY_READS)
        except SpineError as error:
            _output_of(ctx).fail(error)
            ctx.exit(1)
        except Exception as error:
            _output_of(ctx).fail_unexpectedly(error)
            if isinstance(error, OSError):  # of the output's disk, maybe: Python would try again at its end
                _discard_output()
            ctx.exit(1)


@click.group(
    cls=Spine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings: spine.toml or spine.yaml here, .env, GENAI_* variables. Without any: the keys in the "
    "environment, and Ollama.",
)
@click.version_option(__version__, "--version", prog_name="spine")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, and show tracebacks.")
@click.pass_context
def spine(ctx: click.Context, verbose: bool) -> None:
    """One interface over every LLM provider: the gateway, and tools around it."""
    ctx.obj = Output(is_verbose=verbose)
    if ctx.invoked_subcommand != "serve":  # which logs as its settings say
        ctx.obj.log("debug" if verbose else "critical")


def main() -> None:
    """The entry point; leaves by SystemExit."""
    _hold_standard_files()
    if sys.stdout is None:  # closed by whoever started us: what is said goes nowhere
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # it is the process's
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Whatever a model says can be printed, on whatever terminal.
            stream.reconfigure(errors="backslashreplace")
    try:
        spine.main(prog_name="spine")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:  # of the output's disk: help is said before any command is invoked
        Output().fail_unexpectedly(error)
        _discard_output()
        sys.exit(1)


def _hold_standard_files() -> None:
    """Of the files 0 to 2 those that whoever started us has closed lead nowhere. A socket would get their numbers, and
    uvloop's libuv aborts where it closes one of them (`uv__close`, src/unix/core.c)."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(file, True)  # of workers, too
    os.close(file)


def _output_of(ctx: click.Context) -> Output:
    return ctx.obj if isinstance(ctx.obj, Output) else Output()


def _discard_output() -> None:
    """What is still buffered goes nowhere, so that Python does not complain of it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
