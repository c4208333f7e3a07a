"""Ollama: a row like the others, and the settings that only it has on requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.request import CompletionRequest
from genai_spine.providers.http_provider import HttpProvider

DIALECT = "ollama_chat"


class OllamaProvider(HttpProvider):
    """Ollama's row, with `keep_alive`, `num_ctx` and `num_predict` of the settings on each request."""

    def speaks(self, dialect: str) -> bool:
        return super().speaks("ollama_chat" if dialect == "ollama_generate" else dialect)

    def _with_defaults(self, request: CompletionRequest) -> CompletionRequest:
        request = super()._with_defaults(request)
        changes: dict[str, Any] = {}
        if request.context_window is None and self.settings.num_ctx is not None:
            changes["context_window"] = self.settings.num_ctx
        if request.max_tokens is None and self.settings.num_predict is not None:
            changes["max_tokens"] = self.settings.num_predict
        own = kept(request.extra, DIALECT)
        if "keep_alive" not in own and self.settings.keep_alive is not None:
            members = keep(DIALECT, {**own, "keep_alive": self.settings.keep_alive})
            changes["extra"] = {**(request.extra or {}), **(members or {})}
        return msgspec.structs.replace(request, **changes) if changes else request

    def has_defaults_for(self, members: Mapping[str, Any]) -> bool:
        settings = self.settings
        own = settings.num_ctx is not None or settings.num_predict is not None
        if own or settings.max_tokens is not None or settings.temperature is not None:
            return True  # they stand in `options`, which a relay does not open
        return settings.keep_alive is not None and "keep_alive" not in members
