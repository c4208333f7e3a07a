"""Settings: TOML, YAML, .env and GENAI_* into one strict tree.

    settings = load_settings(environ=os.environ, cwd=Path.cwd())

tree.py holds what can be set; load.py says where it comes from and in which order.
"""

from genai_spine.settings.discover import discover
from genai_spine.settings.ledger import LedgerSettings
from genai_spine.settings.load import load_settings
from genai_spine.settings.prices import CostSettings, ModelCostSettings
from genai_spine.settings.reference import Entry, document, redacted, schema, warnings_of
from genai_spine.settings.tree import (
    AgentSettings,
    BreakerSettings,
    CostsSettings,
    HealthSettings,
    HedgeSettings,
    Loaded,
    LoggingSettings,
    ProviderConfig,
    ProvidersConfig,
    ProviderSettings,
    ProvidersSettings,
    RetryConfig,
    RetrySettings,
    RouteSettings,
    RouteTarget,
    RoutingSettings,
    RoutingStrategy,
    ServerSettings,
    Settings,
    StateSettings,
    StreamSettings,
    TimeoutOverrides,
    TimeoutSettings,
)
from genai_spine.settings.values import Duration, Secret

__all__ = [
    "AgentSettings",
    "BreakerSettings",
    "CostSettings",
    "CostsSettings",
    "Duration",
    "Entry",
    "HealthSettings",
    "HedgeSettings",
    "LedgerSettings",
    "Loaded",
    "LoggingSettings",
    "ModelCostSettings",
    "ProviderConfig",
    "ProviderSettings",
    "ProvidersConfig",
    "ProvidersSettings",
    "RetryConfig",
    "RetrySettings",
    "RouteSettings",
    "RouteTarget",
    "RoutingSettings",
    "RoutingStrategy",
    "Secret",
    "ServerSettings",
    "Settings",
    "StateSettings",
    "StreamSettings",
    "TimeoutOverrides",
    "TimeoutSettings",
    "discover",
    "document",
    "load_settings",
    "redacted",
    "schema",
    "warnings_of",
]
