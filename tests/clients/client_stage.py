"""What a scenario of a real client is given, and how scenarios are found.

Nothing but the standard library is imported here: it runs in the SDKs' own environments, too.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

KEY = "sk-of-the-gateway-0123456789"
"""The gateway's key. The providers' keys are others, and none may be seen in the other's place."""

UPSTREAMS = ("compatible", "openai", "anthropic", "ollama")
"""Providers of the gateway's settings: an OpenAI-compatible service, and the three of these names."""


class Place:
    """Where a scenario plays: a gateway, and behind it one upstream, which keeps what it receives."""

    def __init__(self, url: str, upstream: str, received: Callable[[], list[dict[str, Any]]]) -> None:
        self.url = url
        self.upstream = upstream
        self.received = received
        """What came to the upstream since the scenario began: dicts of path, headers, body, status, outcome."""

    def model(self, name: str = "simulated") -> str:
        """A model of the upstream, as a caller of the gateway names it."""
        return f"{self.upstream}/{name}"

    def speaks(self, dialect: str) -> bool:
        """Whether the upstream speaks this dialect, so that requests in it are relayed."""
        own = {"compatible": "openai_chat", "openai": "openai_chat", "anthropic": "anthropic_messages"}
        return own.get(self.upstream, "ollama_chat") == dialect


Scenario = Callable[[Place], None]


def scenarios_of(module: ModuleType) -> dict[str, Scenario]:
    """The public functions that the module itself defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def only_for(*upstreams: str) -> Callable[[Scenario], Scenario]:
    """Marks a scenario that says something about these upstreams only."""

    def mark(scenario: Scenario) -> Scenario:
        scenario.upstreams = upstreams  # type: ignore[attr-defined]
        return scenario

    return mark


def upstreams_of(scenario: Scenario) -> tuple[str, ...]:
    return getattr(scenario, "upstreams", UPSTREAMS)


# ---------------------------------------------------------------- what scenarios say, in every SDK

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel, as base64."""

PDF = "JVBERi0xLjQKMSAwIG9iago8PC9UeXBlL0NhdGFsb2c+PgplbmRvYmoKdHJhaWxlcgo8PC9Sb290IDEgMCBSPj4KJSVFT0YK"
"""A PDF without pages, as base64."""

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 6}, "unit": {"type": "string", "enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TIME = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["name", "inhabitants"],
    "additionalProperties": False,
}
UNICODE = (
    "Grüße, 世界! 👩‍👩‍👧 a line\u2028a paragraph\u2029a next line\u0085a null-width\u200b joiner "
    '"quoted" back\\slash </script> {"json": true} data: [DONE]\r\n\r\nevent: done\ttab\n'
    "𝕊 e\u0301 \u202eright to left"
)
"""What `sim-unicode` says."""
