"""What Bedrock's failures mean: of HTTP answers, and of exceptions inside streams.

    400, x-amzn-errortype: ValidationException:http://internal.amazon.com/coral/…   {"message": "…"}
    403  {"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "…"}
    :message-type exception, :exception-type throttlingException                     {"message": "…"}
    :message-type error, :error-code InternalFailure, :error-message …

Sources: docs.aws.amazon.com/bedrock/latest/{userguide/troubleshooting-api-error-codes,
APIReference/CommonErrors}.html, the service's published model (2026-11), recorded 400s and 403s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.failure import failed, unreadable
from genai_spine.model.errors import (
    AuthenticationError,
    ContextLengthExceeded,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    ServerError,
)
from genai_spine.wire import json
from genai_spine.wire.eventstream import EventMessage

# ValidationException and AccessDeniedException say no more than 400 and 403 do.
ERROR_CODES: dict[str, type[ProviderError]] = {
    "ExpiredTokenException": AuthenticationError,
    "InvalidSignatureException": AuthenticationError,
    "IncompleteSignature": AuthenticationError,
    "MissingAuthenticationToken": AuthenticationError,
    "MissingAuthenticationTokenException": AuthenticationError,
    "UnrecognizedClientException": AuthenticationError,
    "InvalidClientTokenId": AuthenticationError,
    "ModelErrorException": ServerError,
    "ModelNotReadyException": Overloaded,
    "ModelStreamErrorException": ServerError,
    "ResourceNotFoundException": ModelNotFound,
    "ServiceQuotaExceededException": QuotaExceeded,
    "ServiceUnavailableException": Overloaded,
    "ThrottlingException": RateLimitError,
    "TooManyRequestsException": RateLimitError,
}

# An exception inside a stream has no status; these are those of the service's model.
_STATUSES = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "InternalFailure": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}

# Two more things that are said in words only (recorded 400s, 2026).
_SAID_IN_WORDS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile("input tokens exceeded|number of input tokens exceeds", re.IGNORECASE), ContextLengthExceeded),
    (re.compile("provided model identifier is invalid", re.IGNORECASE), ModelNotFound),
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error of an answer that is not 200; whatever the body is."""
    try:
        members = msgspec.json.decode(body)
    except json.UNREADABLE:
        members = None
    if isinstance(members, dict):
        error = _error_of(members, _code_of(members, headers), status, headers)
    else:
        error = unreadable(status, headers)
    error.request_id = headers.get("x-amzn-requestid") or error.request_id
    return error


def decode_embedded_error(body: bytes) -> ProviderError | None:
    """{"__type": "…#ThrottlingException", "message": "…"} under a status of 200."""
    members = json.read_or_none(body)
    if not isinstance(members, dict) or not isinstance(members.get("__type"), str):
        return None
    code = _code_of(members, {})
    return _error_of(members, code, _STATUSES.get(code or ""), {})


def checked(message: EventMessage) -> EventMessage:
    """The message of a stream. Raises: the provider's error, where it is one."""
    kind = message.text(":message-type")
    if kind == "exception":
        code = message.text(":exception-type") or ""
        raise _in_stream(code[:1].upper() + code[1:], _members(message.payload))
    if kind == "error":
        raise _in_stream(message.text(":error-code") or "", {"message": message.text(":error-message")})
    return message


def _in_stream(code: str, members: dict[str, Any]) -> ProviderError:
    return _error_of(members, code or None, _STATUSES.get(code), {})


def _members(payload: bytes) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(payload)
    except json.UNREADABLE:
        return {}
    return members if isinstance(members, dict) else {}


def _code_of(members: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The exception's name, without the addresses that stand around it."""
    for name in (headers.get("x-amzn-errortype"), members.get("__type"), members.get("code")):
        if isinstance(name, str) and name:
            return name.partition(":")[0].rpartition("#")[2]
    return None


def _error_of(
    members: Mapping[str, Any], code: str | None, status: int | None, headers: Mapping[str, str]
) -> ProviderError:
    message = _text(members, "message") or _text(members, "Message") or code or msgspec.json.encode(members).decode()
    if original := _text(members, "originalMessage"):
        message = f"{message} ({original})"
    codes = dict(ERROR_CODES)
    for pattern, kind in _SAID_IN_WORDS:
        if pattern.search(message):
            code = code or "ValidationException"
            codes[code] = kind
    # 424 is the model's failure and no fault of the caller's, who would be told of one: it is worth another attempt.
    status = 500 if status == 424 else status
    error = failed(status, headers, message=message, code=code, codes=codes)
    if status is not None:
        error.status_code = status
    return error


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
