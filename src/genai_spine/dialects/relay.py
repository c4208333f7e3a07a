"""The same dialect in and out: an answer's bytes go through as they are, and we read along.

    caller ◀── StreamTap · tap_answer ── provider      usage, finish and errors are read

Here is what the taps of all dialects have in common; each dialect's own is its `tap.py` (`Tapping` in
interface.py). Nothing is decoded that is not read: usage stays `Raw`, and the dialect's `decode_usage` turns
it into counts. Must not know routes, prices or connections; what to do about a failure is the engine's.
The request that goes before: relayed_request.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from genai_spine.dialects.failure import redact
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.wire.json import ANY, UNREADABLE
from genai_spine.wire.ndjson import NDJSONParser
from genai_spine.wire.sse import SSEEvent, SSEParser

if TYPE_CHECKING:
    from genai_spine.dialects.interface import StreamEncoder

ABSENT = Raw()
"""The default of a member that may be missing: msgspec refuses a value for `Raw | None`; null is b"null"."""


class StreamTap:
    """Forwards one provider's stream frame by frame and reads along.

    No frame is forwarded before it was read, so neither broken JSON nor a provider's error event ever
    reaches the caller. A failure does not cost the frames before it: `feed` returns those, sets `failure`,
    and the next call raises it. So the loop is

        async for data in body:
            if out := tap.feed(data): await send(out)
            if tap.over: break
        await send(tap.close())

    and the BadReply that leaves it becomes the dialect's error event (StreamBroken: an error that the
    provider sent, or an ending that never came).
    """

    __slots__ = ("_parser", "failure", "finish_reason", "finished", "model", "usage")

    def __init__(self) -> None:
        self._parser = self._new_parser()
        self.usage: Raw | None = None
        """The last usage object as the provider wrote it, unchecked (Ollama: the whole last line)."""
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.finished = False
        """The stream's own ending was seen. What comes after it is ignored (FAULTS 24)."""
        self.failure: BadReply | None = None
        """Kept and raised as copies: itself and the frames that it passes would keep each other, and prompts, alive."""

    @property
    def over(self) -> bool:
        """Nothing more is to be read: call `close`."""
        return self.finished or self.failure is not None

    def feed(self, data: bytes) -> bytes:
        """The bytes to forward now; the same object where nothing is held back or taken out.

        Raises: BadReply, StreamBroken.
        """
        if self.failure is not None:
            raise copy(self.failure)
        if self.finished:
            return b""
        parser = self._parser
        whole = not parser.tail
        out: list[bytes] = []
        frames: Sequence[object] = ()
        plain = None
        try:
            if isinstance(parser, SSEParser):
                plain = parser.plain_frames(data, self._PREFIX)
            if plain is not None:
                frames = plain
                self._read_plain(plain, out)
            else:
                frames = cut = parser.frames(data)
                self._read_frames(cut, out)
        except BadReply as failure:
            self.failure = copy(failure)
            if not out:
                raise
        if whole and not parser.tail and len(out) == len(frames):
            return data
        if plain is None or not out:
            return b"".join(out)
        return self._PREFIX + (b"\n\n" + self._PREFIX).join(out) + b"\n\n"

    def close(self) -> bytes:
        """The provider's bytes have ended: what is still to be forwarded.

        Raises: StreamBroken, where the stream's own ending never came; BadReply.
        """
        if self.failure is not None:
            raise copy(self.failure)
        if self.finished:
            return b""
        out = b""
        try:
            for event in self._parser.close():
                if self._read(event):
                    out = bytes(self._parser.tail).rstrip() + self._FRAME_END
            if not self.finished:
                out += self._ending()
                self.finished = True
        except BadReply as failure:
            self.failure = copy(failure)
            raise
        return out

    _FRAME_END = b"\n\n"
    _PREFIX = b"data: "
    """With what a plain frame of the dialect begins (`SSEParser.plain_frames`)."""

    def hand_over(self, encoder: StreamEncoder) -> None:
        """Tells an encoder what has gone out, as far as the end that it is to write instead must fit."""

    def _new_parser(self) -> SSEParser | NDJSONParser:
        return SSEParser()

    def _read_frames(self, frames: Sequence[tuple[bytes, Any]], out: list[bytes]) -> None:
        """Reads frames up to the stream's ending; `out` gets those to forward. Raises: as `_read`."""
        for raw, event in frames:
            if self._read(event) if event is not None else raw.startswith(_SAYS_NOTHING):
                out.append(raw)
            if self.finished:
                return

    def _read_plain(self, frames: Sequence[bytes], out: list[bytes]) -> None:
        """The same for what `SSEParser.plain_frames` gives."""
        for frame in frames:
            if self._read(SSEEvent(frame)):
                out.append(frame)
            if self.finished:
                return

    def _read(self, event: Any) -> bool:
        """Take note of one event; whether to forward it. Raises: BadReply, StreamBroken."""
        raise NotImplementedError

    def _ending(self) -> bytes:
        """What stands for an ending that the provider left out. Raises: StreamBroken."""
        raise StreamBroken("the provider's stream stopped before its end")


class NamedFramesTap(StreamTap):
    """Of a dialect whose frames begin with their name: `event: ping` before `data: …`."""

    __slots__ = ()

    _PREFIX = b"event: "

    def _read_plain(self, frames: Sequence[bytes], out: list[bytes]) -> None:
        for frame in frames:
            name, _, data = frame.partition(b"\ndata: ")
            if self._read(SSEEvent(data, name or None)):
                out.append(frame)
            if self.finished:
                return


# Comments and fields without data go on as they are. A page of HTML, which to a reader of events is
# fields without a meaning, does not.
_SAYS_NOTHING = (b":", b"\n", b"\r", b"event", b"id", b"retry")


class Answer(Struct, frozen=True, kw_only=True):
    """What a whole answer says of itself. Its bytes are forwarded as they are."""

    model: str | None
    finish_reason: str | None
    usage: Raw | None
    """As in StreamTap."""


_NO_ERRORS = (b"", b"null", b"false", b'""', b"{}")


def object_or_none(value: Raw) -> Raw | None:
    return value if bytes(value).startswith(b"{") else None


_ORDINARY = frozenset((b"", b"null", b'"default"', b'"auto"', b'"standard"', b'"on_demand"'))


def served_as(service_tier: Raw, usage: Raw | None) -> Raw | None:
    """The usage with the answer's word on how it was served in it, where that is out of the ordinary: it has a price
    of its own."""
    if usage is None or (tier := bytes(service_tier)) in _ORDINARY:
        return usage
    return with_member("service_tier", tier, usage)


def with_member(name: str, value: bytes, members: Raw) -> Raw:
    """A JSON object with one more member, before its own."""
    rest = bytes(members)[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return Raw(b'{"%b":%b%b%b' % (name.encode(), value, comma, rest))


def require(has: bool, name: str) -> None:
    if not has:
        raise BadReply(f"the provider's reply is no answer: it has no `{name}`")


def refuse_error(error: Raw, data: bytes, event: bytes | None = None) -> None:
    """Raises: StreamBroken, where the frame or answer is an error."""
    there = bytes(error) not in _NO_ERRORS
    if not there and event != b"error":
        return
    said: dict[str, Any] = {}
    try:
        decoded = ANY.decode(error if there else data)
        said = decoded if isinstance(decoded, dict) else {"message": decoded}
    except UNREADABLE:
        pass  # valid JSON, with a number that no float holds
    message = said.get("message")
    codes = [code for code in (said.get("code"), said.get("type")) if isinstance(code, str)]
    raise StreamBroken(
        "the provider answered with an error: " + (redact(message) if isinstance(message, str) else "no message"),
        code=codes[0] if codes else None,
        body=data,
    )
