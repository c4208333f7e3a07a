"""A text as it is kept: what is no text is named by its kind and size, secrets are out, and it is not too long.

All is done to values, not to their JSON: there a key may be written with escapes, or stand behind one. Of what is too
long the beginning and the end are kept, of all strings one after the other: the first instructions and the last turn.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from genai_spine.settings import LedgerSettings
from genai_spine.settings.ledger import ContentLevel
from genai_spine.wire.json import ANY, UNREADABLE
from genai_spine.wire.redaction import Redaction, own_rule, rules

_DATA_URL = re.compile(r"data:([\w.+-]{1,60}/[\w.+-]{1,60})?(?:;[\w=.-]{1,60}){0,4};base64,([A-Za-z0-9+/_-]*+)={0,2}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\r\n-]++={0,2}\s{0,2}")
_SHORTEST = 100
"""Letters; what is shorter is kept, whatever it is."""
_HOLDERS = frozenset(
    ("data", "file_data", "bytes", "b64_json", "images", "image", "audio", "imageBytes", "partial_image_b64")
)
"""Where the dialects have what is not text."""
_TYPES = ("media_type", "mime_type", "mimeType", "format")
_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "JVBERi0": "application/pdf",
    "SUQz": "audio/mpeg",
    "T2dnUw": "audio/ogg",
}
"""How files of these types begin, in base64."""
_ALWAYS_WHOLE = 80
"""Letters of a string that is kept whatever is left out around it: a role, a name, an id."""
_SHORTEST_NUMBER = 10**7
_MOST_NESTED = 3
"""Levels of JSON in strings of JSON: a tool's arguments are such."""


class Words:
    """`of_json` and `of_value` give the text, and whether something was left out of it."""

    def __init__(self, settings: LedgerSettings) -> None:
        own = [own_rule(rule.name, rule.pattern, rule.replacement) for rule in settings.redact]
        self._redaction = Redaction((*rules("secret", "personal"), *own))
        self._most = settings.content_max_kb * 1024

    def of_json(self, body: bytes, level: ContentLevel) -> tuple[str, bool]:
        """Of a caller's or a provider's bytes; as they are, where nothing is to be taken out."""
        try:
            value = ANY.decode(body)
        except UNREADABLE:
            return self._of_no_json(body, level)
        plain = without_files(value)
        if level == "full" and plain == value and len(body) <= self._most:
            return body.decode("utf-8", "replace"), False
        return self._of_plain(plain, level)

    def of_value(self, value: Any, level: ContentLevel) -> tuple[str, bool]:
        """Of a struct or a value that JSON can say. Raises: TypeError for others."""
        return self._of_plain(without_files(ANY.decode(msgspec.json.encode(value, enc_hook=repr))), level)

    def _of_plain(self, value: Any, level: ContentLevel) -> tuple[str, bool]:
        length = len(msgspec.json.encode(value))
        letters = _letters(value)
        room = letters if length <= self._most else max(self._most // 8, self._most * 7 // 8 - (length - letters))
        fit = _Fit(letters, room, 2 * self._most, self._redaction if level == "redacted" else _NOTHING)
        text = msgspec.json.encode(fit.of(value)).decode()
        whole = text.encode()
        if len(whole) <= self._most:
            return text, fit.is_cut
        return whole[: self._most].decode("utf-8", "ignore"), True

    def _of_no_json(self, body: bytes, level: ContentLevel) -> tuple[str, bool]:
        if level == "redacted":  # where a key may hide behind escapes that nobody can read
            return f"<{len(body):,} bytes that are no JSON>", True
        return body[: self._most].decode("utf-8", "replace"), len(body) > self._most


class _Fit:
    """One value, cut and redacted: strings in the order of their JSON, the first and the last of them."""

    def __init__(self, letters: int, room: int, most: int, redaction: Redaction) -> None:
        self.is_cut = letters > room
        self._head = room // 2 if self.is_cut else letters
        self._tail = letters - (room - room // 2) if self.is_cut else letters
        self._at = 0
        self._left = most
        """Letters that may still be looked at: what is all names and numbers is cut here."""
        self._redaction = redaction

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, dict):
            return self._members(value.items())
        if isinstance(value, list):
            return [self.of(one) for one in value if self._has_room(4)]
        return self._number(value)

    def _members(self, members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """An object's; of two names that are alike when they are redacted, both stay."""
        found: dict[str, Any] = {}
        for name, value in members:
            if self._has_room(len(name)):
                name = self._clean(name)
                found[name if name not in found else f"{name} {len(found)}"] = self.of(value)
        return found

    def _has_room(self, letters: int) -> bool:
        self._left -= letters
        self.is_cut = self.is_cut or self._left < 0
        return self._left >= 0

    def _string(self, text: str) -> str:
        begin, self._at = self._at, self._at + len(text)
        if len(text) <= _ALWAYS_WHOLE or self._at <= self._head or begin >= self._tail:
            self._has_room(len(text))
            return self._clean(text)
        first = max(0, min(len(text), self._head - begin))
        last = max(first, min(len(text), self._tail - begin))
        if first == last:
            return self._clean(text)
        clean = self._redaction.clean
        beginning, end = clean(text, 0, first) if first else "", clean(text, last) if last < len(text) else ""
        return f"{beginning}[… {last - first:,} letters …]{end}"

    def _clean(self, text: str, depth: int = 0) -> str:
        if self._redaction is _NOTHING:
            return text
        if text[:1] in ("{", "[") and depth < _MOST_NESTED:
            text = self._nested(text, depth + 1)
        return self._redaction.clean(text)

    def _nested(self, text: str, depth: int) -> str:
        """JSON in a string, such as a tool's arguments."""
        try:
            value = ANY.decode(text.encode())
        except (*UNREADABLE, UnicodeEncodeError):
            return text
        cleaned = self._within(value, depth)
        return text if cleaned == value else msgspec.json.encode(cleaned).decode()

    def _within(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._clean(value, depth)
        if isinstance(value, dict):
            return {self._clean(name, depth): self._within(one, depth) for name, one in value.items()}
        if isinstance(value, list):
            return [self._within(one, depth) for one in value]
        return self._number(value)

    def _number(self, value: Any) -> Any:
        """A number may be that of a card."""
        if type(value) is int and abs(value) >= _SHORTEST_NUMBER:
            text = self._redaction.clean(str(value))
            return value if text == str(value) else text
        return value


_NOTHING = Redaction(())


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_letters, value.values()))
    return sum(map(_letters, value)) if isinstance(value, list) else 0


# ---------------------------------------------------------------- what is no text


def without_files(value: Any, name: str = "", holder: Mapping[str, Any] | None = None) -> Any:
    """The value with images, sounds and documents named: `<image/png, 34,211 bytes>`."""
    if isinstance(value, str):
        return _named(value, name, holder)
    if isinstance(value, dict):
        return {key: without_files(one, key, value) for key, one in value.items()}
    return [without_files(one, name, holder) for one in value] if isinstance(value, list) else value


def _named(text: str, name: str, holder: Mapping[str, Any] | None) -> str:
    if len(text) < _SHORTEST:
        return text
    if "base64," in text:
        text = _DATA_URL.sub(lambda found: _name_of(found[1] or "text/plain", len(found[2])), text)
    kind = _kind_of(text)
    if (kind is not None or name in _HOLDERS) and _BASE64.fullmatch(text):
        said = next((holder[key] for key in _TYPES if isinstance(holder.get(key), str)), None) if holder else None
        return _name_of(said or kind or "file", len(text.rstrip("=\r\n ")))
    return text


def _name_of(kind: str, letters: int) -> str:
    return f"<{kind[:60]}, {letters * 3 // 4:,} bytes>"


def _kind_of(text: str) -> str | None:
    """What a file is by its first bytes, in base64."""
    if text.startswith("UklGR"):
        try:
            return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(b64decode(text[:16])[8:12])
        except ValueError:
            return None
    return next((kind for beginning, kind in _BEGINNINGS.items() if text.startswith(beginning)), None)
