"""One interface over every LLM provider.

    import genai_spine as spine

    print(spine.complete("Why is the sky blue?", model="ollama/llama3.2").content)

`ProviderManager` is the same for async code. What is not needed is not imported: each name here is
loaded when it is first used. Type checkers read the same names in __init__.pyi.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "engine.costs.cost_tracker": "CostTracker",
    "dialects.web_search": "web_search",
    "engine.health": "HealthChecker",
    "engine.manager": "ManagerConfig ProviderManager",
    "engine.observers": "Observed Observer",
    "engine.shortcuts": "complete embed stream text_stream",
    "engine.streams.open_streams": "StreamManager",
    "engine.sync": "SyncManager",
    "ledger.days": "DailyCost",
    "model.card": "Capabilities ModelCard Price Rates Tier",
    "model.content": (
        "Audio CacheMark Citation ContentPart Document Image Opaque Refusal Text Thinking ToolCall ToolResult"
    ),
    "model.embedding": "EmbeddingRequest EmbeddingResponse",
    "model.errors": (
        "APIConnectionError APIError AuthenticationError BadReply BadRequest BudgetExceeded ConfigError "
        "ContentFiltered ContextLengthExceeded ErrorType InvalidRequest ModelNotFound Overloaded "
        "PermissionDenied PoolExhausted ProviderError ProviderNotFound ProviderTimeout QuotaExceeded "
        "RateLimitError ServerError SpineError StreamBroken"
    ),
    "model.events": "MessageEnd MessageStart PartDelta PartEnd PartStart StreamEvent",
    "model.fold": "Collector collect replay",
    "model.pull": "PullProgress",
    "model.request": (
        "ChatRequest CompletionRequest LLMMessage Message OutputSchema ProviderTool ThinkingConfig Tool ToolChoice"
    ),
    "model.rerank": "RerankRequest RerankResponse RerankResult",
    "model.response": ("ChatResponse CompletionResponse FinishReason LLMResponse Notice TokenUsage UsageTotals"),
    "policy.tokens": "TokenCount",
    "providers.http_provider": "HttpProvider",
    "providers.ollama_provider": "OllamaProvider",
    "providers.provider": "LLMProvider",
    "providers.registry": "ProviderRegistry",
    "providers.simulated": "SimulatedProvider",
    "providers.status": "ProviderMetrics ProviderStatus",
    "settings": "ProviderConfig ProvidersConfig ProviderSettings ProvidersSettings RetryConfig RoutingStrategy Settings load_settings",  # noqa: E501
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


__all__ = list(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]  # it reads the stub


def __dir__() -> list[str]:
    return [*_HOME_OF, "__version__"]
