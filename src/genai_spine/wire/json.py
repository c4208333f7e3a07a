"""Strict JSON: who is at fault for bad bytes, and where in them; and surgery that keeps every other byte.

msgspec refuses NaN, Infinity, BOM, lone surrogates and control characters by itself; the surrogates are
mended where a provider sent them. Added here: UTF-8
is checked everywhere (msgspec does not look into what it skips), nesting ends at 128, a member given
twice at the top level is refused, and errors name the position or the path in at most 300 characters.

Members stay `Raw`, the very bytes of their value, so that `0.10`, `1e400` and integers of any length
survive being taken out of one object and put into another.

Knows nothing of what the members mean. Source: RFC 8259; msgspec 0.22 on CPython 3.11, 3.12, 3.13 (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from genai_spine.model.errors import BadReply, InvalidRequest

T = TypeVar("T")

MAX_DEPTH = 128

ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
OBJECT: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_TEXT = msgspec.json.Decoder(str)

encode = msgspec.json.Encoder().encode
"""A value as JSON; Raw goes out as it is."""

_LINE_ENDS = (("\x85".encode(), b"\\u0085"), ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))


def encode_line(value: Any) -> bytes:
    """The same for a reader of lines who ends one wherever `str.splitlines` does."""
    return on_one_line(encode(value))


def on_one_line(data: bytes) -> bytes:
    """JSON with every character escaped at which `str.splitlines` cuts, as some Python SDKs do (by httpx' iter_lines)
    with what they read: Ollama's 0.6.3, google-genai 2.34, LiteLLM 1.106, huggingface_hub 2.4. Ollama and Google escape
    U+2028 and U+2029 themselves."""
    if not data.isascii():
        for character, escaped in _LINE_ENDS:
            data = data.replace(character, escaped)
    return data


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that a msgspec decoder raises for bytes that are not what it wants."""

SHORT_FRAME = 512

_LONGEST_MESSAGE = 300


def decode_inbound(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What a caller sent.

    Raises: InvalidRequest, as in `messages[0].content: expected str or array, got int`.
    """
    try:
        check_utf8(body)
        _check_depth(body, MAX_DEPTH)
        return decoder.decode(body)
    except UNREADABLE as error:
        _refuse(error, body)


def decode_outbound(reply: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What a provider sent.

    Raises: BadReply.
    """
    try:
        check_utf8(reply)
        _check_depth(reply, MAX_DEPTH)
        return decoder.decode(reply)
    except UNREADABLE as error:
        return _decode_mended(error, reply, decoder)


def read_or_none(reply: bytes) -> Any:
    """What a provider sent where it may be anything; None where it is no JSON, or null."""
    try:
        return decode_outbound(reply, ANY)
    except BadReply:
        return None


def decode_frame(frame: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """One event of a stream, or a part of one: `decode_outbound` without its look at the nesting.

    Meant for what skips most of the frame, which cannot hurt, and for frames of up to `SHORT_FRAME` bytes,
    which cannot nest deep enough to. Raises: BadReply.
    """
    try:
        if isinstance(frame, bytes):
            check_utf8(frame)
        return decoder.decode(frame)
    except UNREADABLE as error:
        return _decode_mended(error, bytes(frame), decoder)


def read_kept(raw: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """A member of an answer that was kept as bytes, or an event's payload. Raises: BadReply."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise bad_reply(error, bytes(raw)) from None


def _decode_mended(error: Exception, reply: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What was refused, with U+FFFD for each half of a surrogate pair, if that is all that ails it.

    Servers that cut a text by UTF-16 write an emoji's halves into two events. That is valid JSON (RFC 8259, section
    8.2), which Python's and JavaScript's clients read; msgspec does not. Raises: BadReply.
    """
    mended = _ESCAPES(_mended_escape, reply) if type(error) is msgspec.DecodeError and b"\\u" in reply else reply
    if mended != reply:
        try:
            return decoder.decode(mended)
        except UNREADABLE as other:
            raise bad_reply(other, mended) from None
    raise bad_reply(error, reply) from None


_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
).sub


def _mended_escape(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] is None else b"\\ufffd"


def bad_reply(error: Exception, reply: bytes) -> BadReply:
    """Why a decoder raised one of `UNREADABLE` for a provider's bytes."""
    reason, path = explain(error, reply)
    return BadReply(_short(f"the provider's reply cannot be read: {path and path + ': '}{reason}"))


def member(members: Mapping[str, Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """One member of a caller's object, or None where it is absent.

    Raises: InvalidRequest.
    """
    value = members.get(name)
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except UNREADABLE as error:
        _refuse(error, bytes(value), name)


def top_level(body: bytes) -> dict[str, Raw]:
    """The members of a caller's object, each value as the bytes that it is, in order.

    Auth, router and provider must see one and the same `model` (FAULTS 37), so a member given twice
    is refused, however its name is spelled: also in upper case, which servers in Go read as the same
    (github.com/golang/go/issues/43664, 2026-11).

    Raises: InvalidRequest.
    """
    try:
        check_utf8(body)
        members = OBJECT.decode(body)
        for value in members.values():
            if len(value) >= 2 * MAX_DEPTH:  # so many levels take as many openers, and closers
                _check_depth(value, MAX_DEPTH - 1)
    except UNREADABLE as error:
        _refuse(error, body)
    # Without spaces, escapes and repeats an object has exactly this many bytes; most clients' bodies do.
    letters = sum(map(len, members))
    texts = letters + sum(map(len, members.values()))
    if len(body) != 1 + texts + 4 * len(members) and not (
        letters <= _USUAL_LETTERS and _is_spaced(body, texts, members)
    ):
        _refuse_duplicates(body, members)
    if not ((names := "".join(members)).islower() and names.isascii()):
        _refuse_other_case(members)
    return members


def join_object(members: Mapping[str, Raw | bytes]) -> bytes:
    """An object of encoded values, which go out byte for byte."""
    return encode({name: Raw(value) for name, value in members.items()})


def merge(encoded: bytes, extra: Raw | bytes | None) -> bytes:
    """Two encoded objects as one, spliced. They share no member.

    merge(b'{"a":1}', b'{"b":0.10}') == b'{"a":1,"b":0.10}'
    """
    if extra is None:
        return encoded
    first = bytes(encoded).strip()[1:-1].strip()
    second = bytes(extra).strip()[1:-1].strip()
    return b"{" + first + (b"," if first and second else b"") + second + b"}"


def replace_member(encoded: bytes | Raw, name: str, value: bytes | Raw) -> bytes:
    """The valid object with one member set, at its place or at the end."""
    return join_object({**OBJECT.decode(encoded), name: value})


def explain(error: Exception, data: bytes) -> tuple[str, str]:
    """Why the bytes were refused and the path where, "" for the whole; never the bytes themselves."""
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH} levels", ""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}", ""
    reason = "".join(char if char.isprintable() else "?" for char in str(error))
    if isinstance(error, msgspec.ValidationError):
        return _explain_type(reason)
    if data.startswith(b"\xef\xbb\xbf"):
        return "not valid JSON: a byte order mark at byte 0", ""
    if not data.strip():
        return "empty, expected JSON", ""
    if any(word in reason for word in _AFTER_HALF) and (half := _HALF_A_PAIR(data)):
        return f"not valid JSON: half a surrogate pair at byte {half.start(1)}; was a text cut within a character?", ""
    if reason == "Input data was truncated":
        return f"not valid JSON: it ends too early, at byte {len(data)}", ""
    reason = reason.removeprefix("JSON is malformed: ").replace("(byte ", "at byte ").removesuffix(")")
    return f"not valid JSON: {reason}", ""


_HALF_A_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])").search
_AFTER_HALF = ("truncated", "surrogate", "hex escape")
"""What msgspec says of half a pair: it looks for the other half in the bytes that follow, whatever they are."""


def depth(data: bytes) -> int:
    """How deep arrays and objects nest in JSON that may be malformed; exact up to the first fault in it.

    All in C, linear in the bytes: keep what can be structure or an escape, take the escaped quotes and
    backslashes out, then the strings, and sum what is left, openers as +1 and closers as -1.
    """
    rest = data.translate(None, _NEITHER_STRUCTURE_NOR_ESCAPE)
    rest = rest.replace(b"\\\\", b"").replace(b'\\"', b"")
    rest = rest.translate(_STEPS, _NO_STRUCTURE).replace(b'""', b"")
    if b'"' in rest:
        rest = b"".join(rest.split(b'"')[::2])
    return max(accumulate(memoryview(rest).cast("b")), default=0)


def _all_but(kept: bytes) -> bytes:
    return bytes(char for char in range(256) if char not in kept)


_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_NO_STRUCTURE = _all_but(b'[]{}"')
_NEITHER_STRUCTURE_NOR_ESCAPE = _all_but(b'[]{}"\\/bfnrtu')  # the letters keep `\n"` apart from `\"`


def check_utf8(data: bytes) -> None:
    """msgspec does not look into what it skips. Raises: UnicodeDecodeError."""
    if not data.isascii():
        data.decode()


def _check_depth(value: bytes | Raw, allowed: int, looks: int = 2) -> None:
    """Raises: RecursionError for what nests too deep. What is malformed is left to whoever reads it.

    So many levels take as many openers, and closers. To count these is quicker than to tell which are within texts,
    but what is long mostly has some code in it, and more of them than levels. Its items, as messages and tools, hardly
    ever have so many each: `looks` is how many levels of items are looked at, which bounds the work.
    """
    if len(value) < 2 * (allowed + 1) or _TEXT_BEGINS(value):
        return
    data = bytes(value)
    if _openers(data) <= allowed:
        return
    items = _items(data) if looks and len(data) > _LONG else None
    if items is not None:
        for item in items:
            if len(item) >= 2 * allowed:
                _check_depth(item, allowed - 1, looks - 1)
    elif depth(data) > allowed:
        raise RecursionError


_LONG = 4000
_TEXT_BEGINS = re.compile(rb'"').match
_LIST = msgspec.json.Decoder(list[Raw])


def _openers(data: bytes) -> int:
    # In C, twice as fast as to count them: what is between two of them is skipped, and copied, as a whole.
    return 2 * len(data) - len(data.replace(b"{", b"")) - len(data.replace(b"[", b""))


def _items(data: bytes) -> Sequence[Raw] | None:
    """Of a list or an object; None where there may be others, which a member given twice hides."""
    if data.startswith(b"["):
        return _LIST.decode(data)
    if not data.startswith(b"{"):
        return None
    members = OBJECT.decode(data)
    values = [*members.values()]
    is_whole = len(data) - sum(map(len, members)) - sum(map(len, values)) < 2 * MAX_DEPTH
    return values if is_whole else None


_PLACE = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>.*)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`$")


def _explain_type(reason: str) -> tuple[str, str]:
    """msgspec's "Expected `str | null`, got `int` - at `$.a[0].b`", in our words."""
    path = ""
    if found := _PLACE.search(reason):
        reason = reason[: found.start()]
        path = found["path"].removeprefix(".")
    if missing := _MISSING.match(reason):
        return "required, and missing", f"{path}.{missing[1]}".removeprefix(".")
    reason = reason[:1].lower() + reason[1:].replace("`", "").replace(" | ", " or ")
    return reason, path


def _refuse(error: Exception, data: bytes, name: str = "") -> NoReturn:
    reason, path = explain(error, data)
    where = name + (path if path.startswith("[") or not (name and path) else "." + path)
    raise InvalidRequest(_short(f"{where or 'request body'}: {reason}"), param=where or None) from None


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


def _refuse_other_case(members: Mapping[str, Raw]) -> None:
    seen: dict[str, str] = {}
    for name in members:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise InvalidRequest(_short(f"{name}: given twice, as {other} too"), param=name)


_NAME = re.compile(rb'[ \t\n\r]*+[{,][ \t\n\r]*+("(?:[^"\\]|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+')
_END = re.compile(rb"[ \t\n\r]*+}")


_USUAL_LETTERS = 1000
"""Of all names of a body together: longer ones are not worth a template, which is kept."""


def _is_spaced(body: bytes, texts: int, members: Mapping[str, Raw]) -> bool:
    """Whether the body is the members and nothing else, in the spacing of Python's own encoder."""
    return len(body) == texts + 6 * len(members) and body == _spaced(tuple(members)) % tuple(members.values())


@lru_cache(maxsize=256)
def _spaced(names: tuple[str, ...]) -> bytes:
    """The object of members of these names, as a template of their values: callers send the same names all day."""
    return b"{%b}" % b", ".join([b'"%b": %%b' % name.encode().replace(b"%", b"%%") for name in names])


def _refuse_duplicates(body: bytes, members: Mapping[str, Raw]) -> None:
    """Walk the valid object beside its members, which stand in the order of their first places, with their
    last values: as soon as one was given twice, name or value differ."""
    at = 0
    last = ""
    for name in members:
        found = _NAME.match(body, at)
        if found is None:  # the value before this was not the whole one: `1` where `12` stands
            break
        last = _TEXT.decode(found[1])
        value = bytes(members[name])
        at = found.end() + len(value)
        if last != name or not body.startswith(value, found.end()):
            break
    else:
        if not members or _END.match(body, at):
            return
        found = _NAME.match(body, at)
        last = _TEXT.decode(found[1]) if found else last
    raise InvalidRequest(_short(f"{last}: given twice"), param=last)
