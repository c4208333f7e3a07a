"""Providers from other packages: entry points of the group `genai_spine.providers`.

    [project.entry-points."genai_spine.providers"]
    parrot = "my_package:Parrot"

makes `type = "parrot"` a provider type. What it names is called with the provider's id and its settings,
or, for an `LLMProvider` class that takes no arguments, with none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from genai_spine.model.errors import ConfigError
from genai_spine.policy.custom_strategies import loaded
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import ProviderSettings

GROUP = "genai_spine.providers"


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> tuple[str, ...]:
    return tuple(_found())


def find(kind: str) -> Callable[[str, ProviderSettings], LLMProvider] | None:
    """What makes a provider of this type; None where no package offers it."""
    point = _found().get(kind)
    if point is None:
        return None

    def make(id: str, settings: ProviderSettings) -> LLMProvider:
        made: Any = loaded(point)
        provider = made(id, settings) if _takes_two(made) else made()
        if not isinstance(provider, LLMProvider):
            raise ConfigError(f"{point.value} is no LLMProvider: it made {type(provider).__name__}")
        provider.name = id
        return provider

    return make


def _takes_two(made: Any) -> bool:
    try:
        inspect.signature(made).bind("id", ProviderSettings())
    except TypeError:
        return False
    return True
