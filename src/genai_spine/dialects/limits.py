"""What an answer's headers say of the limits that the caller runs under, in the spellings of all services.

    x-ratelimit-limit-requests: 60, x-ratelimit-remaining-requests: 59, x-ratelimit-reset-requests: 1s
    anthropic-ratelimit-input-tokens-limit: …, anthropic-ratelimit-input-tokens-reset: 2026-08-19T14:34:35Z
    ratelimit-limit: 100, ratelimit-remaining: 50, ratelimit-reset: 30

A time of day is read against the answer's own `Date`, so that no clock is needed here. Pure.
Sources (read 2026-11): platform.openai.com/docs/guides/rate-limits; docs.anthropic.com/en/api/rate-limits;
console.groq.com/docs/rate-limits; openrouter.ai/docs/api-reference/limits;
datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers (to -06); recorded traffic of fourteen services.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from genai_spine.dialects import rfc3339
from genai_spine.model.errors import RateLimit

_FIELD = re.compile(r"(?:x-)?ratelimit(bysize)?-(limit|remaining|reset)(?:-(.+))?")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(?:(.+)-)?(limit|remaining|reset)")
_NUMBER = re.compile(r"\s*(\d{1,24})(?:\.\d+)?\s*(?:[,;].*)?")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def rate_limits(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """Every limit that the headers tell, by name, in their order. Names of headers are lower-case."""
    found: dict[str, dict[str, str]] = {}
    for field, text in headers.items():
        if "ratelimit" not in field:
            continue
        if match := _FIELD.fullmatch(field):
            what = "-".join(part for part in ("size" if match[1] else None, match[3]) if part) or "requests"
            found.setdefault(what, {})[match[2]] = text
        elif match := _ANTHROPIC.fullmatch(field):
            found.setdefault(match[1] or "requests", {})[match[2]] = text
    return tuple(
        RateLimit(
            name=name.replace("-", "_"),
            limit=_count(told.get("limit")),
            remaining=_count(told.get("remaining")),
            reset_s=_reset_s(told.get("reset"), headers, name),
        )
        for name, told in found.items()
    )


def wait_s(limits: tuple[RateLimit, ...]) -> float | None:
    """The seconds until every limit that is used up is not any more; None where none says when."""
    waits = [limit.reset_s for limit in limits if limit.remaining == 0 and limit.reset_s is not None]
    return max(waits, default=None)


def _count(text: str | None) -> int | None:
    match = _NUMBER.fullmatch(text) if text else None
    return int(match[1]) if match else None


def _reset_s(text: str | None, headers: Mapping[str, str], name: str) -> float | None:
    """Seconds from now, whatever way it is written: `6m0s`, `26ms`, `1`, since 1970, or a time of day."""
    if not text:
        return None
    text = text.strip()
    if re.fullmatch(r"\d{1,16}(\.\d+)?", text):
        return _plain_s(float(text), headers, name)
    spans = _SPAN.findall(text)
    if spans and "".join(number + unit for number, unit in spans) == text:
        return round(sum(float(number) * _UNITS[unit] for number, unit in spans), 9)
    ends_s, now_s = rfc3339.seconds_of(text), _date_s(headers)
    return None if ends_s is None or now_s is None else max(0.0, float(ends_s - now_s))


def _plain_s(number: float, headers: Mapping[str, str], name: str) -> float | None:
    if number >= 1e9:  # since 1970: in seconds, or (OpenRouter) in milliseconds
        now_s = _date_s(headers)
        ends_s = number / 1000 if number >= 1e11 else number
        return None if now_s is None else max(0.0, ends_s - now_s)
    # Azure writes milliseconds: recorded 2026, of 120,000 tokens a minute 14 used come back in "7".
    return number / 1000 if f"x-ratelimit-renewalperiod-{name}" in headers else number


def _date_s(headers: Mapping[str, str]) -> float | None:
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
