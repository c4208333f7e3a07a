"""What the commands say, and how: colour and tables on a terminal, plain text elsewhere.

Whatever comes from outside (a model's words, names in a list, an upstream's message) is neutralised before
a terminal sees it: a control character is shown, never obeyed. Secrets of the settings are struck out of
everything but a model's words.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from genai_spine.cli.table import table_lines
from genai_spine.model.errors import BudgetExceeded, ErrorType, ProviderError, SpineError

if TYPE_CHECKING:
    from genai_spine.settings import Settings

SHORTEST_SECRET = 8
"""Shorter ones would strike out ordinary words."""

_HARMLESS: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)},
    0x0D: None,
    0x7F: "\u2421",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
}
"""Control pictures for C0, escapes for C1; tab and newline stay, carriage returns go."""


def neutralise(text: str) -> str:
    """The text with nothing in it that a terminal would obey."""
    return text.translate(_HARMLESS)


def json_text(value: Any, stream: IO[str] | None, *, indent: int | None = 2) -> str:
    """JSON for this stream: what a terminal would obey, and what its encoding has no bytes for, is escaped, as JSON
    allows. The stream's own escapes, such as `\\xe9`, are no JSON."""
    import msgspec  # noqa: PLC0415  # 20 ms that `spine --help` does not pay

    data = msgspec.json.encode(value)
    text = (data if indent is None else msgspec.json.format(data, indent=indent)).decode()
    text = _CONTROL.sub(_escape, text)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return _BEYOND_ASCII.sub(_escape, text)
    return text


_CONTROL = re.compile("[\x7f-\x9f]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")


def _escape(found: re.Match[str]) -> str:
    """Beyond U+FFFF as both halves of a surrogate pair (RFC 8259, section 7)."""
    return re.sub("....", r"\\u\g<0>", found[0].encode("utf-16-be").hex())


def one_line(text: str) -> str:
    return neutralise(" ".join(text.split()))


def is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def has_colour(stream: IO[str] | None) -> bool:
    """https://no-color.org: NO_COLOR, if not empty, means no colour."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Output:
    """stdout and stderr of one run of `spine`."""

    def __init__(self, *, is_verbose: bool = False) -> None:
        self.is_verbose = is_verbose
        self.settings: Settings | None = None
        self._secrets: tuple[str, ...] = ()

    def conceal(self, secrets: Iterable[str]) -> None:
        """Strike these out of all that is said from now on."""
        long = {secret for secret in (*self._secrets, *secrets) if len(secret) >= SHORTEST_SECRET}
        self._secrets = tuple(sorted(long, key=len, reverse=True))

    def without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def log(self, level: str, form: str = "text") -> None:
        """Log to stderr from this level on. `form` is text or json."""
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter(self, form))
        logging.basicConfig(handlers=[handler], level=level.upper(), force=True)

    # ------------------------------------------------------------ stdout

    def line(self, text: str = "", **style: Any) -> None:
        self._write(sys.stdout, text, style)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
        """Columns named in `right` are numbers."""
        cells = [[self.without_secrets(one_line(cell)) for cell in row] for row in rows]
        if has_colour(sys.stdout):
            lines = table_lines(columns, cells, right=right, room=shutil.get_terminal_size().columns, paint=_paint)
        else:
            lines = table_lines(columns, cells, right=right)
        for line in lines:
            click.echo(line)

    def json(self, value: Any, *, indent: int | None = 2) -> None:
        """Without an indent all of it is one line."""
        click.echo(json_text(value, sys.stdout, indent=indent))

    # ------------------------------------------------------------ stderr

    def note(self, text: str) -> None:
        """Something beside the matter; dim on a terminal."""
        self._write(sys.stderr, text, {"dim": True})

    def warn(self, text: str) -> None:
        self._write(sys.stderr, f"warning: {text}", {"fg": "yellow"})

    def fail(self, error: SpineError) -> None:
        """What, why, and how to mend it."""
        self.fail_with(self.explain(error))

    def fail_with(self, text: str) -> None:
        self._write(sys.stderr, f"Error: {text}", {"fg": "red"})

    def fail_unexpectedly(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename is not None else ""
            said = f"{error.strerror}{where}"
        else:
            said = one_line(f"{type(error).__name__}: {error}").removesuffix(": ")
        if self.is_verbose:
            self._write(sys.stderr, "".join(traceback.format_exception(error)).rstrip(), {"dim": True})
            self.fail_with(said)
        else:
            self.fail_with(f"{said}; `spine --verbose …` shows where it comes from")

    def explain(self, error: SpineError) -> str:
        """The error's message, with the mend where a provider's own words have none."""
        mend = self._mend(error) if isinstance(error, ProviderError) else ""
        return f"{error.message.rstrip(' .')}: {mend}" if mend else error.message

    def _mend(self, error: ProviderError) -> str:
        if isinstance(error, BudgetExceeded):  # of ours, which says itself what to do; no account lacks credit
            return ""
        if error.status_code == 404:
            of = f" --provider {error.provider}" if error.provider else ""
            return f"`spine models{of}` lists the models there are"
        if error.type is ErrorType.AUTHENTICATION and self.settings is not None and error.provider:
            from genai_spine.cli.sources import key_source  # noqa: PLC0415  # after an error only

            return f"check {key_source(self.settings, error.provider)}"
        return _MENDS.get(error.type, "")

    # ------------------------------------------------------------

    def _write(self, stream: IO[str] | None, text: str, style: dict[str, Any]) -> None:
        if stream is None:
            return
        text = self.without_secrets(neutralise(text))
        if style and has_colour(stream):
            text = click.style(text, **style)
        try:
            print(text, file=stream, flush=True)
        except OSError:
            if stream is not sys.stderr:  # of which nobody can be told
                raise


_MENDS = {
    ErrorType.AUTHENTICATION: "check its key",
    ErrorType.RATE_LIMIT: "wait a little, or name another model",
    ErrorType.QUOTA_EXCEEDED: "the account needs credit, or another key",
    ErrorType.NETWORK_ERROR: "`spine doctor` shows what can be reached",
    ErrorType.TIMEOUT: "`spine doctor` shows what can be reached",
    ErrorType.SERVER_ERROR: "try again, or name another provider",
    ErrorType.UNKNOWN: "`spine --verbose …` shows where it comes from",
}


def _paint(text: str, column: int, is_head: bool) -> str:
    if is_head:
        return click.style(text, bold=True)
    return click.style(text, fg="cyan") if column == 0 else text


_ACCESS = ("method", "path", "status", "duration_ms", "bytes", "attempts", "request_id", "notes")
"""The arguments of the gateway's line about a request (gateway/app.py), in their order."""


class _Formatter(logging.Formatter):
    """Log lines without secrets and control characters; as JSON, one object a line."""

    def __init__(self, output: Output, form: str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._output = output
        self._is_json = form == "json"

    def formatMessage(self, record: logging.LogRecord) -> str:
        """On one line: a provider's words may hold a second one that looks like ours."""
        return " ".join(super().formatMessage(record).splitlines())

    def format(self, record: logging.LogRecord) -> str:
        if not self._is_json:
            return self._output.without_secrets(neutralise(super().format(record)))
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._output.without_secrets(record.getMessage()),
        }
        if record.name == "genai_spine.access" and isinstance(record.args, tuple) and len(record.args) == len(_ACCESS):
            line |= {name: self._member(value) for name, value in zip(_ACCESS, record.args, strict=True)}
        if isinstance(data := getattr(record, "data", None), dict):  # what a program may want to read of it
            line |= data
        if record.exc_info:
            line["error"] = self._output.without_secrets(self.formatException(record.exc_info))
        return json_text(line, sys.stderr, indent=None)

    def _member(self, value: object) -> object:
        if isinstance(value, str):
            return self._output.without_secrets(value)
        return round(value, 1) if isinstance(value, float) else value
