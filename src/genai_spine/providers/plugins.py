"""Providers from other packages: entry points of the group `genai_spine.providers`.

    [project.entry-points."genai_spine.providers"]
    parrot = "my_package:Parrot"

makes `type = "parrot"` a provider type. What it names is called with the provider's id and its settings,
or, for an `LLMProvider` class that takes no arguments, with none.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from genai_spine.catalog.entry_points import loaded, points, told
from genai_spine.catalog.rows import load_rows
from genai_spine.model.errors import ConfigError, SpineError
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import ProviderSettings

GROUP = "genai_spine.providers"
_OF_THE_ENGINE = frozenset(
    {"type", "name", "requests_per_min", "tokens_per_min", "max_concurrency", "limits", "on_disconnect"}
)
"""Keys of a provider's table that hold for whatever provider it is."""

logger = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    return tuple(_found())


def _found() -> dict[str, EntryPoint]:
    rows = load_rows().values()
    return points(GROUP, taken=tuple(name for row in rows for name in (row.id, *row.aliases)))


def find(kind: str) -> Callable[[str, ProviderSettings], LLMProvider] | None:
    """What makes a provider of this type; None where no package offers it."""
    point = _found().get(kind)
    if point is None:
        return None

    def make(id: str, settings: ProviderSettings) -> LLMProvider:
        made: Any = loaded(point)
        takes_settings = _takes_two(made)
        try:
            provider = made(id, settings) if takes_settings else made()
        except SpineError:
            raise
        except Exception as error:  # a stranger's constructor, which may want a variable that is not set
            what = f"{told(point)} cannot be made: {type(error).__name__}: {error}"
            raise ConfigError(f"providers.{id}: {what}") from error
        if not isinstance(provider, LLMProvider):
            raise ConfigError(f"{point.value} is no LLMProvider: it made {type(provider).__name__}")
        if not takes_settings and (unread := _unread(settings)):
            logger.warning(
                "providers.%s: %s has no effect: %s takes no settings", id, ", ".join(unread), told(point).rstrip(",")
            )
        provider.name = id
        return provider

    return make


def _unread(settings: ProviderSettings) -> list[str]:
    """What is set and only the provider itself could heed."""
    unset = ProviderSettings()
    names = (name for name in settings.__struct_fields__ if getattr(settings, name) != getattr(unset, name))
    return [name for name in names if name not in _OF_THE_ENGINE]


def _takes_two(made: Any) -> bool:
    """Whether it is to be called with id and settings. What can do without has parameters of its own there, unless its
    names say otherwise."""
    try:
        signature = inspect.signature(made)
        signature.bind("id", ProviderSettings())
    except (TypeError, ValueError):
        return False
    try:
        signature.bind()
    except TypeError:
        return True
    first, *others = signature.parameters.values()
    if first.kind is inspect.Parameter.VAR_POSITIONAL or not others:
        return True
    return any(word in str(others[0]).lower() for word in ("settings", "config"))
