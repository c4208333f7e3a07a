"""Everything that can go wrong, and what to do about it.

    SpineError
    ├── ConfigError (ValueError)          settings that cannot work: file, key, reason, mend
    ├── ProviderNotFound (KeyError)       no provider, agent or model of that name
    ├── InvalidRequest (ValueError)       the caller's request, refused by us before anything was sent
    └── ProviderError                     a call to a provider failed
        ├── AuthenticationError           401: the key is wrong, missing or revoked
        ├── PermissionDenied              403: the key may not do this
        ├── ModelNotFound                 404: the provider does not know the model
        ├── BadRequest                    400, 413, 422: the provider refused the request
        │   ├── ContextLengthExceeded     the prompt is longer than the model's window
        │   └── ContentFiltered           the provider's safety system refused it
        ├── RateLimitError                429: slow down
        │   └── LimitReached              a limit that we keep ourselves: nothing was sent
        ├── QuotaExceeded                 402, or a 429 that waiting does not end: out of credit
        │   └── BudgetExceeded            402: a budget that we keep ourselves: nothing was sent
        ├── APIError                      the provider's side failed
        │   ├── ServerError               500, 502, 503, 504
        │   ├── Overloaded                503 or 529 with a word for overload
        │   └── BadReply                  bytes that are not what the wire format promises
        │       └── StreamBroken          a stream that ended without its ending, or with an error in it
        ├── APIConnectionError            no connection, or it broke
        ├── ProviderTimeout (TimeoutError)  connect, first byte, idle or total
        ├── PoolExhausted                 our own bound on connections, kept too long by others
        └── TargetClosed                  the breaker leaves this model alone for a while: nothing was sent

The engine asks an error three things and never its class: whose fault it is (`fault`), whether the
same call may be tried again (`retryable`), whether another provider may be asked (`fallback`).
Every class sets them once; an instance may differ where the provider's answer says so.

Imports nothing of the project: any floor may raise these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, NamedTuple

Fault = Literal["caller", "provider", "network", "operator"]


class ErrorType(StrEnum):
    """What kind of failure, in the words of the specification."""

    AUTHENTICATION = "authentication"
    RATE_LIMIT = "rate_limit"
    QUOTA_EXCEEDED = "quota_exceeded"
    INVALID_REQUEST = "invalid_request"
    SERVER_ERROR = "server_error"
    NETWORK_ERROR = "network_error"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class RateLimit(NamedTuple):
    """One limit of the provider's, as its answer told it: `requests`, `tokens`, `input_tokens`, `req_minute` …

    `reset_s` is seconds from then until it is whole again.
    """

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


class SpineError(Exception):
    """The root: `except SpineError` catches all that this package raises on purpose."""

    type: ErrorType = ErrorType.UNKNOWN
    fault: Fault = "provider"
    retryable: bool = False
    fallback: bool = False
    code: str | None = None
    status_code: int | None = None
    retry_after_s: float | None = None
    refused_for: Literal["context_length", "content_filter"] | None = None
    """A refusal that another model, or another provider, might not share."""
    is_uncertain: bool = False
    """Once it was sent, the work may have been done all the same, and be charged."""
    has_another_key: bool = False
    """The key was refused, and the provider has another one: it may be asked again at once."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy, as between processes: without `__init__`, which wants more than the message of some."""
        return _remade, (type(self), *self.args), self.__dict__


def _seconds(text: str) -> float | None:
    """Of a header's text, as somebody else's provider may give it; None where it is no number, such as a date."""
    try:
        return float(text)
    except ValueError:
        return None


def _remade(kind: type[SpineError], *args: Any) -> SpineError:
    return kind.__new__(kind, *args)


class ConfigError(SpineError, ValueError):
    """Settings that cannot work. The message names file, key, reason and mend."""

    type = ErrorType.INVALID_REQUEST
    fault: Fault = "operator"
    fallback = True
    code = "config_error"


class ProviderNotFound(SpineError, KeyError):
    """No provider, agent or model of that name is configured."""

    type = ErrorType.INVALID_REQUEST
    fault: Fault = "caller"
    status_code = 404
    code = "model_not_found"


class InvalidRequest(SpineError, ValueError):
    """The caller's request cannot be read, or cannot be said to the provider.

    `param` is the path of the offending value, for example `messages[0].content`.
    """

    type = ErrorType.INVALID_REQUEST
    fault: Fault = "caller"
    fallback = True  # what one provider's dialect cannot say, another's may
    status_code = 400
    code = "invalid_request"

    def __init__(
        self, message: str, *, param: str | None = None, status_code: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status_code = status_code
        if code is not None:
            self.code = code


class ProviderError(SpineError):
    """A call to a provider failed; the attributes are the specification's `ProviderError`.

    `retry_after_s` is what the provider asked for, in seconds. `rate_limits` are the limits that its answer
    told of, and `body` is the answer itself, without anything that looks like a key. `sent` says whether the
    provider may have begun to work (and to bill): False only where no byte of the request left this machine.
    """

    fallback = True

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        code: str | None = None,
        status_code: int | None = None,
        type: ErrorType | None = None,
        retryable: bool | None = None,
        fallback: bool | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        sent: bool = True,
        body: Any = None,
        rate_limits: tuple[RateLimit, ...] = (),
    ) -> None:
        super().__init__(message)
        self.rate_limits = rate_limits
        self.provider = provider
        self.model = model
        self.retry_after_s = _seconds(retry_after_s) if isinstance(retry_after_s, str) else retry_after_s
        self.request_id = request_id
        self.sent = sent
        self.body = body
        if code is not None:
            self.code = code
        if status_code is not None:
            self.status_code = status_code
        if type is not None:
            self.type = type
        if retryable is not None:
            self.retryable = retryable
        if fallback is not None:
            self.fallback = fallback


class AuthenticationError(ProviderError):
    type = ErrorType.AUTHENTICATION
    fault: Fault = "operator"
    status_code = 401


class PermissionDenied(ProviderError):
    type = ErrorType.AUTHENTICATION
    fault: Fault = "operator"
    status_code = 403


class ModelNotFound(ProviderError):
    type = ErrorType.INVALID_REQUEST
    fault: Fault = "caller"
    status_code = 404


class BadRequest(ProviderError):
    type = ErrorType.INVALID_REQUEST
    fault: Fault = "caller"
    fallback = False
    status_code = 400


class ContextLengthExceeded(BadRequest):
    code = "context_length_exceeded"
    refused_for = "context_length"


class ContentFiltered(BadRequest):
    code = "content_filter"
    refused_for = "content_filter"


class RateLimitError(ProviderError):
    type = ErrorType.RATE_LIMIT
    retryable = True
    status_code = 429


class LimitReached(RateLimitError):
    """A limit of requests, tokens or calls at a time that we keep: the provider was not asked."""

    fault: Fault = "operator"
    retryable = False
    code = "limit_reached"

    def __init__(self, message: str, *, retry_after_s: float | None = None, fallback: bool = True) -> None:
        super().__init__(message, retry_after_s=retry_after_s, fallback=fallback, sent=False)


class QuotaExceeded(ProviderError):
    type = ErrorType.QUOTA_EXCEEDED
    fault: Fault = "operator"
    status_code = 402


class BudgetExceeded(QuotaExceeded):
    """What may be spent is spent, or this call could cost more than is left of it. Nothing was sent, unless a stream
    is cut: then `sent` is True, and `is_uncertain`. Amounts are whole nano-dollars; `resets_at_s` is in seconds since
    1970, None for a budget that never begins anew.
    """

    code = "budget_exceeded"

    def __init__(
        self,
        message: str,
        *,
        budget: str,
        limit_nanousd: int | None = None,
        spent_nanousd: int = 0,
        reserved_nanousd: int = 0,
        limit_tokens: int | None = None,
        spent_tokens: int = 0,
        resets_at_s: float | None = None,
        retry_after_s: float | None = None,
        is_cut: bool = False,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, sent=is_cut, fallback=not is_cut)
        self.budget = budget
        self.limit_nanousd = limit_nanousd
        self.spent_nanousd = spent_nanousd
        self.reserved_nanousd = reserved_nanousd
        self.limit_tokens = limit_tokens
        self.spent_tokens = spent_tokens
        self.resets_at_s = resets_at_s
        if is_cut:  # the provider has worked, and is not to blame
            self.fault = "caller"
            self.is_uncertain = True


class APIError(ProviderError):
    type = ErrorType.SERVER_ERROR
    retryable = True


class ServerError(APIError):
    status_code = 500


class Overloaded(APIError):
    status_code = 529


class BadReply(APIError):
    """The provider's bytes are not what its wire format promises."""

    is_uncertain = True
    status_code = 502
    code = "bad_reply"


class StreamBroken(BadReply):
    """A stream that ended without its ending, or carried an error."""

    code = "stream_broken"


class APIConnectionError(ProviderError):
    type = ErrorType.NETWORK_ERROR
    fault: Fault = "network"
    retryable = True
    is_uncertain = True
    status_code = 502
    code = "connection_error"


class ProviderTimeout(ProviderError, TimeoutError):
    type = ErrorType.TIMEOUT
    fault: Fault = "network"
    retryable = True
    is_uncertain = True
    status_code = 504
    code = "timeout"


class PoolExhausted(ProviderError):
    """Every connection we allow to this host is busy, and none came free in time."""

    type = ErrorType.NETWORK_ERROR
    fault: Fault = "operator"
    status_code = 503
    code = "pool_exhausted"


class TargetClosed(ProviderError):
    """The circuit breaker leaves a model that failed too often alone for a while: it was not asked."""

    type = ErrorType.SERVER_ERROR
    status_code = 503
    code = "target_closed"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s, sent=False)
