"""What an exception means that is none of the tree's: one that a provider of somebody else's let through.

A provider may be written over any client library, whose exceptions nobody knows by class. What they have in common is
read, as dialects do it (dialects/failure.py): the status of an HTTP answer first, then what Python itself raised below.

    status_code 429, or a response with it      RateLimitError, with its Retry-After
    TimeoutError, itself or behind it           ProviderTimeout
    OSError of no file, itself or behind it     APIConnectionError
    anything else                               ProviderError, code "provider_failed": not tried again, another is asked

Where libraries keep the status and the headers, as exceptions made with them tell: `response` (httpx 0.28),
`status_code` and `response` (openai 3.54, anthropic 2.12), `status` and `headers` (aiohttp 3.14), `code` and `headers`
(urllib); 2026-11. Must not know: any of these libraries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

from genai_spine.dialects.failure import failed, redact
from genai_spine.model.errors import APIConnectionError, ProviderError, ProviderTimeout, SpineError

CODE = "provider_failed"
_URL = re.compile(r"\bhttps?://[^\s'\"<>]+")
_MOST_CAUSES = 20


def failure_of(error: Exception, method: str, *, tells: bool = False) -> SpineError:
    """The error of the tree for what `method` raised, with `error` as its cause.

    Of an exception that nobody knows the message has the kind alone: its text may hold anything, such as a prompt, and
    goes to callers of a gateway. With `tells` it has the text, too.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # of a TaskGroup with one that failed
        error = error.exceptions[0]
    if isinstance(error, SpineError):
        return error
    failure = _classified(error, method, tells=tells)
    failure.__cause__ = error
    return failure


def throw(error: SpineError) -> NoReturn:
    """Raises: it, with its own cause."""
    try:
        raise error from error.__cause__
    finally:
        del error  # else it and each frame that has a name for it keep each other, and the prompt, alive


def _classified(error: Exception, method: str, *, tells: bool) -> ProviderError:
    kind = _name_of(error)
    text = _text_of(error)
    if (status := _status_of(error)) is not None:
        message = text or f"its {method} failed: {kind}"
        return failed(status, _headers_of(error), message=message, code=None, codes={})
    causes = list(_causes(error))
    if any(isinstance(cause, TimeoutError) for cause in causes):
        said = text if isinstance(error, TimeoutError) else kind
        return ProviderTimeout(f"the provider gave up: {said}" if said else "the provider gave up")
    if any(isinstance(cause, OSError) and cause.filename is None for cause in causes):
        return APIConnectionError(f"no connection, or it broke: {kind}" + (f": {text}" if tells and text else ""))
    return provider_failed(f"its {method} failed: {kind}" + (f": {text}" if tells and text else ""))


def provider_failed(message: str) -> ProviderError:
    """A fault of the provider's own code. Nobody knows what it had done by then."""
    failure = ProviderError(message, code=CODE)
    failure.is_uncertain = True
    return failure


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it came from: by context too, since httpcore raises its own `from None`."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _name_of(error: Exception) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text_of(error: Exception) -> str:
    """The first line of what it says, without addresses and what looks like a key."""
    with suppress(Exception):  # even that is a stranger's code
        return redact(_URL.sub("[address]", str(error).strip().partition("\n")[0]))
    return ""


def _status_of(error: Exception) -> int | None:
    """The status of an HTTP answer that says that something failed."""
    for holder in (error, _member(error, "response")):
        for name in ("status_code", "status", "code"):
            value = _member(holder, name)
            if type(value) is int and 400 <= value < 600:
                return value
    return None


def _headers_of(error: Exception) -> dict[str, str]:
    for holder in (error, _member(error, "response")):
        with suppress(Exception):  # no headers, or none that can be read
            return {str(name).lower(): str(value) for name, value in _member(holder, "headers").items()}
    return {}


def _member(holder: object, name: str) -> Any:
    try:
        return getattr(holder, name, None)
    except Exception:  # a property of a stranger's may raise
        return None
