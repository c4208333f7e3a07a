"""Why there is no answer: errors of the API, and of the model that ran.

Sources: replicate.com/docs/reference/http (errors are RFC 7807) and /docs/reference/error-codes (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import error_class, failed, redact, unreadable
from genai_spine.model.errors import ProviderError, ServerError, StreamBroken
from genai_spine.wire import json

_CODE = re.compile(r"\bE\d{4}\b|\(code: ([A-Z]{2,3})\)")
# "Try retrying your prediction" (replicate.com/docs/reference/error-codes, 2026-11): not what the model itself threw.
_PASSING = re.compile(r"\b(E1000|E6716|E8765|E9243|E9825)\b|interrupted|please retry", re.IGNORECASE)


def model_failed(said: Any) -> ProviderError:
    """A model's own error is not tried again: the same input gives it again, and costs again."""
    message = said if isinstance(said, str) else json.encode(said).decode() if said is not None else "no reason given"
    kind = error_class(None, None, message, {})
    found = _CODE.search(message)
    code = (found[1] or found[0]) if found is not None else "prediction_failed"
    if kind is not StreamBroken:
        return kind(redact(message), code=code)
    return ServerError(
        f"the prediction failed: {redact(message)}", code=code, retryable=_PASSING.search(message) is not None
    )


class Problem(msgspec.Struct):
    """RFC 7807."""

    title: Any = None
    detail: Any = None


_problem = msgspec.json.Decoder(Problem)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """{"title": "Input validation failed", "detail": "- input: prompt is required\\n", "status": 422}"""
    try:
        problem = _problem.decode(body)
    except json.UNREADABLE:
        return unreadable(status, headers)
    said = [text.strip() for text in (problem.title, problem.detail) if isinstance(text, str) and text.strip()]
    if not said:
        return unreadable(status, headers)
    error = failed(status, headers, message=": ".join(said), code=None, codes={})
    reset = headers.get("ratelimit-reset", "")
    if error.retry_after_s is None and status == 429 and reset.isdigit() and len(reset) < 6:
        error.retry_after_s = float(reset)
    return error
