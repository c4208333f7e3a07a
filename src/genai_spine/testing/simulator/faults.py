"""What may go wrong with an answer of the simulator, as one closed value, and how it is written.

A fault is a list of settings, each of which means the same alone and together with others:

    status=503; retry_after=2               a header  x-simulate: status=503; retry_after=2
    sim-long-50+reset=3                     a model's name, a plus, and the settings (with "," or ";")
    fault = "stall=first; for_s=1.5"        a step of a script, as text or as a table

A setting without a value is true (`bom`), or its plainest value (`stall` is `stall=first`). Values may be
percent-encoded where they hold a separator. Numbers of pieces count from 0: "after n pieces" is before piece
n. The pieces of a stream are its events (frames); those of a plain answer are its two halves. A number past
the end means the end: after the last piece, before the body is finished.

`KNOBS` is the whole list, from which docs and help are made. Must not know: sockets, dialects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from genai_spine.model.errors import InvalidRequest

HEADER = b"x-simulate"

Place = int | Literal["head", "mid-head"]
"""Before any byte, in the middle of the answer's head, or after that many pieces of its body."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """See `KNOBS` for what each field does; None and False do nothing."""

    status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    should_retry: bool | None = None
    body: Literal["error", "html", "text", "empty", "plain"] | None = None
    content_type: str | None = None
    coding: Literal["gzip", "deflate", "bomb"] | None = None
    bomb_bytes: int | None = None
    redirect: str | None = None
    connection: Literal["close"] | None = None
    early: bool = False
    stall: Place | None = None
    for_s: float | None = None
    rate: float | None = None
    drip: int | None = None
    every_ms: float | None = None
    reset: Place | None = None
    close: Place | None = None
    end: int | None = None
    framing: Literal["chunked", "length", "until-close"] | None = None
    length: int | None = None
    bad_chunk: int | None = None
    newline: Literal["lf", "crlf", "cr"] | None = None
    bom: bool = False
    pings: bool = False
    malformed: int | None = None
    error_at: int | None = None
    huge: int | None = None
    endless: int | None = None
    usage: Literal["missing", "null", "strings", "negative", "absurd", "twice"] | None = None
    ending: Literal["missing", "twice", "data-after"] | None = None
    finish: Literal["missing", "twice"] | None = None
    tool_calls: Literal["no-index", "no-id", "no-arguments"] | None = None
    times: int | None = None

    @property
    def is_unread(self) -> bool:
        """Whether the connection ends before any byte of an answer, as if the request had come too late for it."""
        return "head" in (self.reset, self.close)


NO_FAULT = Fault()


class Knob(msgspec.Struct, frozen=True):
    """One setting. `read` makes its value of text, or raises ValueError, whose text says what is expected;
    `plainest` is what it means without a value, None where it needs one."""

    read: Callable[[str], Any]
    says: str
    plainest: str | None = None


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text):
        raise ValueError("expected a whole number from 0 on")
    return int(text)


def _signed(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,12}", text):
        raise ValueError("expected a number such as -5 or +5")
    return int(text)


def _positive(text: str) -> int:
    if not (value := _whole(text)):
        raise ValueError("expected a whole number from 1 on")
    return value


def _status(text: str) -> int:
    if not re.fullmatch(r"[2-5]\d\d", text):
        raise ValueError("expected an HTTP status from 200 to 599")
    return int(text)


def _amount(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        raise ValueError("expected a number such as 2 or 0.5")
    return float(text)


def _rate(text: str) -> float:
    if not (value := _amount(text)):
        raise ValueError("expected a number above 0")
    return value


def _claim(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return text == "true"


def _text(text: str) -> str:
    if any(not character.isprintable() for character in text):
        raise ValueError("expected text without control characters")
    return text


def _place(text: str) -> Place:
    if text == "head":
        return "head"
    if text == "mid-head":
        return "mid-head"
    if text == "first":
        return 0
    if not re.fullmatch(r"\d{1,12}", text):
        raise ValueError("expected head, mid-head, first or a number of pieces")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {' or '.join(words)}")
        return text

    return read


KNOBS: Mapping[str, Knob] = {
    # an error in place of the answer
    "status": Knob(_status, "this status; from 400 on with an error in the dialect's shape"),
    "code": Knob(_text, "the machine code of the error: insufficient_quota, context_length_exceeded, …"),
    "message": Knob(_text, "the words of the error"),
    "retry_after": Knob(_text, "Retry-After: seconds, date:N for N seconds from now, or any text as it is"),
    "retry_after_ms": Knob(_text, "retry-after-ms, as it is"),
    "should_retry": Knob(_claim, "x-should-retry: true or false", "true"),
    "body": Knob(
        _one_of("error", "html", "text", "empty", "plain"),
        "error: the dialect's error, though the status is 200; html, text: a proxy's page (502), line (503); "
        "empty: no byte (200); plain: the whole answer as JSON, though a stream was asked for",
    ),
    "content_type": Knob(_text, "this content-type, whatever is sent"),
    "redirect": Knob(_text, "302 (or status) to this location", "/redirected"),
    "early": Knob(
        _claim,
        "the answer, 413 or status, before the request's body is here; not from a model's name",
        "true",
    ),
    # time
    "stall": Knob(_place, "silence before the head, within it, or after n pieces", "first"),
    "for_s": Knob(_amount, "how long the silence lasts; for ever if not said"),
    "rate": Knob(_rate, "pieces per second"),
    "drip": Knob(_positive, "n bytes of the answer, head and all, in one write", "1"),
    "every_ms": Knob(_amount, "the pause after each drip; none if not said"),
    # the connection
    "reset": Knob(_place, "a TCP reset before the head, within it, or after n pieces", "head"),
    "close": Knob(_place, "a TCP close at such a place, the body's framing left open", "head"),
    "end": Knob(_whole, "the body ends after n pieces, as if it were whole"),
    "connection": Knob(_one_of("close"), "the answer says connection: close, and closes", "close"),
    # framing
    "framing": Knob(
        _one_of("chunked", "length", "until-close"),
        "how the end of the body is told; if not said, chunked for streams and a length for plain answers",
    ),
    "length": Knob(_signed, "content-length is wrong by n: -5 is too short, +5 too long"),
    "bad_chunk": Knob(_whole, "after n pieces comes a chunk whose size is no number", "0"),
    "coding": Knob(
        _one_of("gzip", "deflate", "bomb"), "the body is packed, asked for or not; bomb: gzip of bomb_bytes"
    ),
    "bomb_bytes": Knob(_positive, "to what the bomb unpacks; 268435456 if not said"),
    # events
    "newline": Knob(_one_of("lf", "crlf", "cr"), "the line ends of the stream"),
    "bom": Knob(_claim, "the body begins with a byte order mark", "true"),
    "pings": Knob(_claim, "a comment (or an empty line) before each event", "true"),
    "malformed": Knob(_whole, "after n pieces comes one whose JSON is cut off", "0"),
    "error_at": Knob(_whole, "after n pieces comes an error of the dialect, 500 or status, and the end", "0"),
    "huge": Knob(_positive, "the answer's text is n bytes, in one event"),
    "endless": Knob(_whole, "after n pieces comes a line that never ends", "0"),
    "usage": Knob(
        _one_of("missing", "null", "strings", "negative", "absurd", "twice"),
        "the counters are left out, null, text, below zero, about 10^18, or come twice",
    ),
    "ending": Knob(
        _one_of("missing", "twice", "data-after"),
        "the stream's last event ([DONE], message_stop, done) is missing, comes twice, or is not the last",
    ),
    "finish": Knob(_one_of("missing", "twice"), "the event with the finish reason is missing or comes twice"),
    "tool_calls": Knob(_one_of("no-index", "no-id", "no-arguments"), "what OpenAI's tool calls lack"),
    # how often
    "times": Knob(_positive, "only the first n requests with this very model and fault"),
}


def parse_fault(text: str) -> Fault:
    """`status=503; retry_after=2`, with "," or ";" between; "ok" and "" are no fault.

    Raises: InvalidRequest, naming the setting and what it expects.
    """
    settings: dict[str, str | None] = {}
    for item in re.split(r"[;,]", text):
        name, mark, value = item.partition("=")
        name = name.strip().replace("-", "_")
        if not name or (name == "ok" and not mark):
            continue
        if name in settings:
            raise InvalidRequest(f"fault: {name} is given twice", param=name)
        settings[name] = unquote(value.strip()) if mark else None
    return fault_of(settings)


def fault_of(settings: Mapping[str, Any]) -> Fault:
    """The same from a table of a script: {"status": 503, "bom": True}. Raises: InvalidRequest."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        knob = KNOBS.get(name)
        if knob is None:
            raise InvalidRequest(f"fault: unknown setting {name!r}; known: {', '.join(KNOBS)}", param=name)
        if value is None:
            if knob.plainest is None:
                raise InvalidRequest(f"fault: {name} needs a value: {knob.says}", param=name)
            value = knob.plainest
        written = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            values[name] = knob.read(written)
        except ValueError as error:
            raise InvalidRequest(f"fault: {name}={written[:80]}: {error}", param=name) from None
    return Fault(**values)


def split_model(name: str) -> tuple[str, str | None]:
    """`sim-echo+status=503` is ("sim-echo", "status=503"); no plus is no fault."""
    model, mark, fault = name.partition("+")
    return (model, fault) if mark else (name, None)
