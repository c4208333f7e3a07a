"""Retries and fallback of a manager in the words of the first specification."""

from __future__ import annotations

import msgspec

from genai_spine.model.errors import ConfigError
from genai_spine.settings import Duration, RetrySettings, Settings
from genai_spine.settings.build import MOST


class ManagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Retries and fallback in the words of the first specification: before each retry up to the same wait."""

    enable_fallback: bool = True
    max_retries: int = 2
    retry_delay_ms: int = 1000

    def __post_init__(self) -> None:
        """Raises: ConfigError for what would be no number of retries, or no wait."""
        for name in ("max_retries", "retry_delay_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
                raise ConfigError(f"ManagerConfig.{name}: expected a whole number, 0 or more")

    @property
    def retry(self) -> RetrySettings:
        return self.over(RetrySettings())

    def over(self, retry: RetrySettings) -> RetrySettings:
        """`retry` with what is said here; what is not, such as `retryable_errors`, stays as it was."""
        delay = Duration(self.retry_delay_ms / 1000)
        return msgspec.structs.replace(
            retry,
            enable_fallback=self.enable_fallback,
            max_retries=self.max_retries,
            initial_delay=delay,
            max_delay=max(delay, retry.max_delay),
            backoff_factor=1.0,
        )


def settings_with(settings: Settings, retry: RetrySettings | None) -> Settings:
    """The settings, and other retries where some are given. Raises: ConfigError for what is neither."""
    if not isinstance(settings, Settings):
        kind = type(settings).__name__
        raise ConfigError(f"settings: expected Settings, got {kind}: a mapping or a file goes to from_settings")
    if retry is None:
        return settings
    if not isinstance(retry, RetrySettings):
        kind = type(retry).__name__
        raise ConfigError(f"retry: expected a RetryConfig, such as RetryConfig(max_retries=1), got {kind}")
    return msgspec.structs.replace(settings, retry=retry)
