"""What happened on the way to an answer: one record a call, one entry an attempt."""

from __future__ import annotations

import msgspec

from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.policy.route import Choice


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one provider. `error` is None where it was answered."""

    provider: str
    model: str | None
    duration_s: float
    error: str | None = None
    error_type: str | None = None
    status_code: int | None = None


class CallRecord:
    """Grows while a call is under way."""

    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def add(self, choice: Choice, duration_s: float, error: SpineError | None = None) -> None:
        self.attempts.append(
            Attempt(
                provider=choice.provider,
                model=choice.model,
                duration_s=duration_s,
                error=error.message if error is not None else None,
                error_type=error.type.value if error is not None else None,
                status_code=error.status_code if error is not None else None,
            )
        )

    def exhausted(self, last: SpineError) -> SpineError:
        """The error for the caller: the last one, naming every attempt where there were several."""
        if len(self.attempts) > 1:
            tried = "; ".join(f"{attempt.provider}: {attempt.error}" for attempt in self.attempts)
            last.message = f"no provider answered after {len(self.attempts)} attempts. {tried}"
        else:
            name_provider(last)
        return last


def name_provider(error: SpineError) -> None:
    """Puts the provider's name before the message of a failure of its own."""
    if isinstance(error, ProviderError) and error.provider is not None:
        error.message = f"{error.provider}: {error.message}"
