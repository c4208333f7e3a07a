"""Times as RFC 3339 writes them, `2026-08-07T06:08:14.73237Z`, and seconds since 1970.

Ollama gives up to nine digits of a second and any offset; what is finer than a second stays with the
caller's text. Source: RFC 3339, 5.6.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_of(text: str | None) -> int | None:
    """Whole seconds since 1970; None for what is no time, and for Go's zero time of the year 1."""
    found = _TIME.fullmatch(text) if text else None
    if found is None:
        return None
    *numbers, sign, hours, minutes = found.groups()
    try:
        time = datetime(*map(int, numbers), tzinfo=UTC)  # type: ignore[misc, arg-type]  # six integers
    except ValueError:
        return None
    seconds = (time - _EPOCH) // timedelta(seconds=1)
    if sign is not None:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds if seconds >= 0 else None


def text_of(seconds: int | None) -> str:
    """`1970-01-01T00:00:00Z` where it is not known, which is how Anthropic says so too."""
    try:
        time = _EPOCH + timedelta(seconds=seconds or 0)
    except OverflowError:
        time = _EPOCH
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
