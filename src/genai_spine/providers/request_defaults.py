"""What a provider's settings say of requests that say nothing: limits, temperature, Gemini's safety thresholds.

Must not know: dialects' own words but Gemini's, HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.model.errors import ConfigError
from genai_spine.model.request import CompletionRequest
from genai_spine.settings import ProviderSettings

_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})


class RequestDefaults:
    """Of the provider `name`. Raises: ConfigError for `safety_settings` in no form that is known."""

    __slots__ = ("_is_any", "_max_tokens", "_temperature", "_thresholds")

    def __init__(self, settings: ProviderSettings, name: str) -> None:
        self._max_tokens = settings.max_tokens
        self._temperature = settings.temperature
        self._thresholds = _thresholds_of(settings.safety_settings, name)
        self._is_any = bool(self._thresholds) or not (self._max_tokens is None and self._temperature is None)

    def onto(self, request: CompletionRequest) -> CompletionRequest:
        """The request, with what the settings say where it says nothing."""
        if not self._is_any:
            return request
        changes: dict[str, Any] = {}
        if request.max_tokens is None and self._max_tokens is not None:
            changes["max_tokens"] = self._max_tokens
        if request.temperature is None and self._temperature is not None:
            changes["temperature"] = self._temperature
        request = msgspec.structs.replace(request, **changes) if changes else request
        return self._with_safety(request) if self._thresholds else request

    def concern(self, members: Mapping[str, Any]) -> bool:
        """Whether they would add something to a request with these top-level members."""
        if not self._is_any:
            return False
        return (
            bool(self._thresholds)
            or (self._max_tokens is not None and members.keys().isdisjoint(_LIMITS))
            or (self._temperature is not None and "temperature" not in members)
        )

    def _with_safety(self, request: CompletionRequest) -> CompletionRequest:
        from genai_spine.dialects.gemini.safety import with_safety  # noqa: PLC0415  # Gemini's callers pay for it

        return with_safety(request, self._thresholds)


def _thresholds_of(given: Any, name: str) -> dict[str, str]:
    """`safety_settings` as a table of category and threshold, or as the list that Gemini's own clients take."""
    if given is None:
        return {}
    if isinstance(given, list) and all(
        isinstance(each, dict) and each.keys() == {"category", "threshold"} for each in given
    ):
        given = {each["category"]: each["threshold"] for each in given}
    if isinstance(given, dict) and all(isinstance(text, str) for pair in given.items() for text in pair):
        return given
    raise ConfigError(
        f"providers.{name}.safety_settings: expected a table such as "
        '{ HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH" }, or a list of category and threshold'
    )
