"""Errors of Google's services, `google.rpc.Status` in JSON, both ways.

    {"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "…PerMinute…"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}]}}

Sources: google.aip.dev/193, ai.google.dev/gemini-api/docs/troubleshooting (2026-11). A wrong key is a 400 whose
ErrorInfo has the reason API_KEY_INVALID (recorded); the answer of a stream asked for without `alt=sse` is an array
of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genai_spine.dialects.failure import failed
from genai_spine.model.errors import (
    AuthenticationError,
    ContextLengthExceeded,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    SpineError,
)
from genai_spine.wire import json

CODES: dict[str, type[ProviderError]] = {
    "API_KEY_INVALID": AuthenticationError,
    "API_KEY_EXPIRED": AuthenticationError,
    "CREDENTIALS_MISSING": AuthenticationError,
    "ACCESS_TOKEN_EXPIRED": AuthenticationError,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": AuthenticationError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": ModelNotFound,
    "RESOURCE_EXHAUSTED": RateLimitError,
    "UNAVAILABLE": Overloaded,  # "The service may be temporarily overloaded or down" (troubleshooting)
    "QUOTA_EXCEEDED": QuotaExceeded,
    "CONTEXT_LENGTH_EXCEEDED": ContextLengthExceeded,
}
"""By the reason of an ErrorInfo or by status; the last two names are ours, for what `_code_of` finds out."""

# "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576)." (recorded 400)
_TOO_LONG = re.compile(r"token count .{0,40}exceeds the maximum number of tokens", re.IGNORECASE)

STATUSES: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_TYPE = "type.googleapis.com/google.rpc."


def error_of(members: Any, status: int | None, headers: Mapping[str, str]) -> ProviderError:
    """The error of a body, whatever it is; `status` is None inside a stream, where the body's own code counts."""
    if isinstance(members, list) and members:
        members = members[0]
    error = members.get("error", members) if isinstance(members, dict) else members
    if not isinstance(error, dict):
        return failed(status, headers, message=str(error), code=None, codes=CODES)
    message = error.get("message")
    message = message if isinstance(message, str) and message else json.encode(error).decode()
    if status is None:
        own = error.get("code")
        status = own if type(own) is int and 400 <= own < 600 else None
    found = failed(status, headers, message=message, code=_code_of(error, message), codes=CODES)
    if found.retry_after_s is None:
        found.retry_after_s = _retry_delay_s(error)
    return found


def _code_of(error: Mapping[str, Any], message: str) -> str | None:
    """The most telling code: a quota that no waiting mends, a reason that we know, or the status."""
    if _TOO_LONG.search(message):
        return "CONTEXT_LENGTH_EXCEEDED"
    if any(_is_final(violation) for violation in _violations(error)):
        return "QUOTA_EXCEEDED"
    reasons = [info.get("reason") for info in _details(error, "ErrorInfo")]
    known = next((reason for reason in reasons if isinstance(reason, str) and reason in CODES), None)
    status = error.get("status")
    return known or (status if isinstance(status, str) else None)


def _is_final(violation: Mapping[str, Any]) -> bool:
    """A day's quota, or one of nothing at all (a model that a free key may not use): no retry helps."""
    return "PerDay" in str(violation.get("quotaId", "")) or str(violation.get("quotaValue", "")) == "0"


def _violations(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for failure in _details(error, "QuotaFailure"):
        violations = failure.get("violations")
        yield from (each for each in (violations if isinstance(violations, list) else ()) if isinstance(each, dict))


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("@type") == _TYPE + kind:
            yield detail


_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def _retry_delay_s(error: Mapping[str, Any]) -> float | None:
    """A google.protobuf.Duration: "48s", "0.5s"."""
    for info in _details(error, "RetryInfo"):
        if found := _SECONDS.fullmatch(str(info.get("retryDelay", ""))):
            return float(found[1])
    return None


def error_written(error: SpineError, status: int, request_id: str) -> dict[str, Any]:
    """The error as Google's clients read it, with our request's id and what to wait."""
    name = STATUSES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    details: list[dict[str, Any]] = [{"@type": _TYPE + "RequestInfo", "requestId": request_id}]
    if error.code is not None:
        details.append({"@type": _TYPE + "ErrorInfo", "reason": error.code, "domain": "genai-spine"})
    if error.retry_after_s is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    return {"error": {"code": status, "message": error.message, "status": name, "details": details}}
