"""Limits told in headers: each service's spelling, and every recorded one."""

from __future__ import annotations

import json
from functools import cache

import pytest
from recorded_exchanges import ROOT

from genai_spine.dialects.failure import failed
from genai_spine.dialects.limits import rate_limits, wait_s
from genai_spine.model.errors import RateLimit

DATE = "Wed, 19 Aug 2026 14:34:35 GMT"


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-limit-tokens": "150000",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            [RateLimit("requests", 60, 59, 1.0), RateLimit("tokens", 150000, 149984, 360.0)],
        ),
        (
            {
                "date": DATE,
                "anthropic-ratelimit-input-tokens-limit": "2000000",
                "anthropic-ratelimit-input-tokens-remaining": "1999000",
                "anthropic-ratelimit-input-tokens-reset": "2026-08-19T14:34:36Z",
                "anthropic-ratelimit-requests-reset": "2026-08-19T14:34:00Z",
            },
            [RateLimit("input_tokens", 2000000, 1999000, 1.0), RateLimit("requests", None, None, 0.0)],
        ),
        ({"ratelimit-remaining": "2999", "ratelimit-reset": "1"}, [RateLimit("requests", None, 2999, 1.0)]),
        ({"ratelimit-limit": "100, 100;w=60"}, [RateLimit("requests", 100)]),
        ({"x-ratelimit-limit": "10", "x-ratelimit": "false"}, [RateLimit("requests", 10)]),
        (  # Azure: recorded in milliseconds
            {
                "x-ratelimit-limit-tokens": "120000",
                "x-ratelimit-remaining-tokens": "119986",
                "x-ratelimit-renewalperiod-tokens": "60",
                "x-ratelimit-reset-tokens": "7",
                "x-ratelimit-abusepenalty-active": "False",
            },
            [RateLimit("tokens", 120000, 119986, 0.007)],
        ),
        (  # OpenRouter
            {"date": DATE, "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1787150080000"},
            [RateLimit("requests", None, 0, 5.0)],
        ),
        ({"date": DATE, "x-ratelimit-reset": "1787150085"}, [RateLimit("requests", None, None, 10.0)]),
        ({"x-ratelimit-reset": "1787150085"}, [RateLimit("requests")]),  # no Date to read it against
        (
            {"x-ratelimit-remaining-req-minute": "99", "ratelimitbysize-remaining": "348385"},
            [RateLimit("req_minute", None, 99), RateLimit("size", None, 348385)],
        ),
        ({"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "soon"}, [RateLimit("requests")]),
        ({"x-ratelimit-remaining-tokens-day": "9223372036854767616"}, [RateLimit("tokens_day", None, 2**63 - 8192)]),
        ({"x-ratelimit-reset-tokens": "26ms"}, [RateLimit("tokens", None, None, 0.026)]),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, [RateLimit("tokens", None, None, 3723.5)]),
        ({"content-type": "application/json"}, []),
    ],
)
def test_the_spellings(headers: dict[str, str], limits: list[RateLimit]) -> None:
    assert list(rate_limits(headers)) == limits


def test_a_429_without_retry_after_waits_for_the_limit_that_is_used_up() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-remaining-tokens": "5",
        "x-ratelimit-reset-tokens": "1m",
    }
    assert wait_s(rate_limits(headers)) == 2.0
    error = failed(429, headers, message="slow down", code=None, codes={})
    assert error.retry_after_s == 2.0
    assert [limit.name for limit in error.rate_limits] == ["requests", "tokens"]
    assert failed(429, {**headers, "retry-after": "9"}, message="x", code=None, codes={}).retry_after_s == 9.0
    assert failed(500, headers, message="x", code=None, codes={}).retry_after_s is None


@pytest.mark.parametrize(
    "secret",
    [
        "eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJodHRwczo.c2lnbmF0dXJl",
        "ya29.a0AfH6SMBx-yz_12345",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "Bearer abc.def",
        "sk-proj-1234567890",
        "AIzaSyD-1234567890abc",
    ],
)
def test_secrets_of_the_clouds_are_taken_out(secret: str) -> None:
    error = failed(401, {}, message=f"the credential {secret} is refused", code=None, codes={})
    assert secret not in error.message
    assert "[redacted]" in error.message


@cache
def recorded_headers() -> list[dict[str, str]]:
    found = []
    for path in sorted((ROOT / "exchanges").glob("*/*.json")):
        text = path.read_text()
        if "ratelimit" in text:
            headers = json.loads(text)["response"].get("headers") or {}
            found.append({name.lower(): str(value) for name, value in headers.items()})
    return found


def test_every_recorded_limit_is_read_whole() -> None:
    if not recorded_headers():
        pytest.skip(f"no recordings in {ROOT}: set GENAI_WIRE")
    read = 0
    for headers in recorded_headers():
        told = {name for name, value in headers.items() if "ratelimit" in name and "REDACTED" not in value}
        limits = rate_limits(headers)
        for word in ("limit", "remaining", "reset"):
            fields = [name for name in told if f"-{word}" in name and "anthropic" not in name]
            fields += [name for name in told if name.endswith(f"-{word}") and "anthropic" in name]
            values = [getattr(limit, "reset_s" if word == "reset" else word) for limit in limits]
            assert sum(value is not None for value in values) == len(fields), (headers, limits)
        read += len(limits)
    assert read > 500


def test_azures_resets_are_milliseconds_in_every_recording() -> None:
    """What is used of a limit comes back at the limit's rate: so its unit can be told."""
    found = [headers for headers in recorded_headers() if "x-ratelimit-renewalperiod-tokens" in headers]
    if not found:
        pytest.skip(f"no recordings in {ROOT}: set GENAI_WIRE")
    for headers in found:
        for limit in rate_limits(headers):
            assert limit.limit and limit.remaining is not None and limit.reset_s is not None
            if limit.reset_s == 0:
                continue  # newer resources say 0 always
            period = float(headers[f"x-ratelimit-renewalperiod-{limit.name}"])
            assert limit.reset_s == pytest.approx((limit.limit - limit.remaining) / limit.limit * period, abs=0.002)
