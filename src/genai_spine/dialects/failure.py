"""What an error answer means, for every dialect: the status first, then the body's machine code by the
dialect's own table; message text only through the declared patterns below.

Status before message, because texts change without notice and statuses do not. Secrets that a provider
echoes ("Incorrect API key provided: sk-…") are taken out of every text that leaves here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from genai_spine.dialects.limits import rate_limits, wait_s
from genai_spine.model.errors import (
    AuthenticationError,
    BadReply,
    BadRequest,
    ContentFiltered,
    ContextLengthExceeded,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    ProviderTimeout,
    QuotaExceeded,
    RateLimitError,
    ServerError,
    SpineError,
    StreamBroken,
)
from genai_spine.wire.redaction import secrets

BY_STATUS: dict[int, type[ProviderError]] = {
    400: BadRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: PermissionDenied,
    404: ModelNotFound,
    405: BadRequest,
    408: ProviderTimeout,
    409: BadRequest,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
    429: RateLimitError,
    498: Overloaded,  # Groq: flex tier capacity exceeded (console.groq.com/docs/errors, 2026-11)
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    529: Overloaded,
}

# The only message texts that are read, where providers give no code of their own (recordings, 2026-11).
DEAD_KEY = re.compile(
    r"(invalid|incorrect|expired|revoked|disabled) api[ _-]?key"
    r"|api[ _-]?key (is |was |has )?(been )?(reported as )?(invalid|incorrect|expired|revoked|disabled|deleted|leaked)"
    r"|project has been denied access",
    re.IGNORECASE,
)
"""A 403 of which this holds is about the key itself: no request with it goes through. Google's texts:
github.com/continuedev/continue/issues/10513, github.com/poenl/gemini-api/issues/8 (read 2026-11)."""
CONTEXT_LENGTH = re.compile(
    r"context (length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
    r"|exceeds? the (available )?context|input is too long",
    re.IGNORECASE,
)
CONTENT_FILTER = re.compile(r"content (management )?(filter|policy)|responsible ai policy", re.IGNORECASE)

FLAGGED = re.compile(r"requires moderation|input was flagged", re.IGNORECASE)
"""A 403 of which this holds is about the prompt, and no key may more: OpenRouter's moderation
(openrouter.ai/docs/errors: "your chosen model requires moderation and your input was flagged", read 2026-11)."""

_LONGEST_MESSAGE = 2000

_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "x-debug-trace-id",
    "x-ds-trace-id",
)
"""How OpenAI's followers, Anthropic, Azure, AWS, Cohere and DeepSeek call it (recorded 2026)."""


def redact(text: str) -> str:
    """The text without anything that looks like a key, cut to a length fit for an error."""
    return secrets().sub("[redacted]", text[:_LONGEST_MESSAGE])


def error_class(
    status: int | None, code: str | None, message: str, codes: Mapping[str, type[ProviderError]]
) -> type[ProviderError]:
    """The class of an error, from its status, its code in the dialect's table `codes`, and its text."""
    found = codes.get(code) if code is not None else None
    by_status = BY_STATUS.get(status) if status is not None else None
    if by_status is None and status is not None:
        by_status = BadRequest if 400 <= status < 500 else ServerError if status >= 500 else None
    if status == 403 and DEAD_KEY.search(message):
        return AuthenticationError
    if status == 403 and FLAGGED.search(message):
        return ContentFiltered
    if found is not None and (by_status is None or issubclass(found, by_status) or found in _REFINES):
        return found
    if by_status is BadRequest or by_status is None:
        if CONTEXT_LENGTH.search(message):
            return ContextLengthExceeded
        if CONTENT_FILTER.search(message):
            return ContentFiltered
    return by_status or found or StreamBroken


# Codes that say more than the status they come with.
_REFINES = frozenset(
    {
        QuotaExceeded,
        Overloaded,
        ContextLengthExceeded,
        ContentFiltered,
        ModelNotFound,
        RateLimitError,
        AuthenticationError,
    }
)


def failed(
    status: int | None,
    headers: Mapping[str, str],
    *,
    message: str,
    code: str | None,
    codes: Mapping[str, type[ProviderError]],
) -> ProviderError:
    """The error for one answer. `headers` have lower-case names."""
    kind = error_class(status, code, message, codes)
    limits = rate_limits(headers)
    wanted_s = retry_after_s(headers)
    error = kind(
        redact(message) or f"HTTP {status}",
        code=code,
        retry_after_s=wait_s(limits) if wanted_s is None and status == 429 else wanted_s,
        request_id=next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None),
        rate_limits=limits,
    )
    if status is not None:
        error.status_code = status
    if status in (501, 508):  # what a server was not made for, or a way in a circle, no second try mends
        error.retryable = False
    if (should := headers.get("x-should-retry")) is not None and kind is not BadReply:
        error.retryable = should == "true"
    return error


def unreadable(status: int, headers: Mapping[str, str]) -> ProviderError:
    """The error for an answer whose body is no JSON of the dialect: a proxy's HTML page, or nothing."""
    what = headers.get("content-type", "").partition(";")[0] or "no content type"
    return failed(status, headers, message=f"HTTP {status} with a body we cannot read ({what})", code=None, codes={})


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the provider asks us to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date.

    A date is read against the answer's own `Date` header, so that no clock is needed here. Negative and
    unreadable values are None; the caller caps what is left.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,12}(\.\d+)?\s*", text):
        return None
    return float(text)


def status_for_caller(error: SpineError) -> int:
    """The HTTP status that a caller of ours gets for an error; 500 for what is none (RFC 9110 §15), such as 999."""
    return error.status_code if error.status_code is not None and 400 <= error.status_code < 600 else 500
