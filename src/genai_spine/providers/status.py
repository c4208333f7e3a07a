"""How a provider fares: the specifications' `ProviderStatus` and `ProviderMetrics`. Values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from genai_spine.model.response import TokenUsage, UsageTotals

_SMOOTHING = 0.2


class ProviderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """As of `last_check` (UTC); `error` says why it is not healthy. `latency_s` is in seconds."""

    name: str
    healthy: bool
    last_check: datetime | None = None
    latency_s: float | None = None
    error: str | None = None
    capabilities: tuple[str, ...] = ()

    @classmethod
    def now(cls, name: str, *, error: str | None, latency_s: float) -> ProviderStatus:
        return cls(name=name, healthy=error is None, last_check=datetime.now(UTC), latency_s=latency_s, error=error)


class ProviderMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Calls since the start. The averages weigh recent calls more (exponential average); that of the first token is
    over streams."""

    request_count: int = 0
    error_count: int = 0
    avg_latency_s: float | None = None
    avg_first_token_s: float | None = None
    total_cost_usd: Decimal = Decimal(0)
    last_health_check: datetime | None = None


class Counts:
    """What a provider has done since the start, as it grows: `totals` and `metrics` are views of it."""

    __slots__ = (
        "_avg_latency_s",
        "_calls",
        "_cost_usd",
        "_errors",
        "_input",
        "_output",
        "_sent",
        "_unpriced",
    )

    def __init__(self) -> None:
        self._sent = self._errors = 0
        self._avg_latency_s: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was used; what was sent and how long it took stays."""
        self._calls = self._unpriced = self._input = self._output = 0
        self._cost_usd = Decimal(0)

    def answered(self, usage: TokenUsage | None, cost_usd: Decimal | None, duration_s: float) -> None:
        self._timed(duration_s)
        self._calls += 1
        if usage is not None:
            self._input += usage.input_tokens or 0
            self._output += usage.output_tokens or 0
        if cost_usd is None:
            self._unpriced += 1
        else:
            self._cost_usd += cost_usd

    def failed(self, duration_s: float) -> None:
        self._timed(duration_s)
        self._errors += 1

    def _timed(self, duration_s: float) -> None:
        self._sent += 1
        before = self._avg_latency_s
        self._avg_latency_s = duration_s if before is None else before + _SMOOTHING * (duration_s - before)

    @property
    def totals(self) -> UsageTotals:
        return UsageTotals(
            total_input=self._input,
            total_output=self._output,
            total_cost_usd=self._cost_usd,
            call_count=self._calls,
            unpriced_calls=self._unpriced,
        )

    @property
    def metrics(self) -> ProviderMetrics:
        return ProviderMetrics(
            request_count=self._sent,
            error_count=self._errors,
            avg_latency_s=self._avg_latency_s,
            total_cost_usd=self._cost_usd,
        )
