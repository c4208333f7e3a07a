"""Where a provider is: its row's base URL, the places in it filled from its settings.

Must not know: dialects' paths, keys (but whether there is one), HTTP.
"""

from __future__ import annotations

from genai_spine.catalog.places import fill, places_of
from genai_spine.catalog.rows import ProviderRow
from genai_spine.model.errors import ConfigError
from genai_spine.settings import ProviderSettings


def base_url_of(row: ProviderRow, settings: ProviderSettings, dialect: str, name: str) -> str:
    """The base URL of a dialect; nothing is open in it but `{model}`, where it holds the model's name.

    Raises: ConfigError naming the setting that is missing in the provider `name`, and its variables.
    """
    base = known_of(row, settings, dialect, name)
    if not base:
        raise ConfigError(f'"{name}" has no address: set providers.{name}.base_url')
    missing = [place for place in places_of(base) if place != "model"]
    if missing:
        settings_named = [missing[0], *(["base_url"] if "base_url" in row.variables else [])]
        ways = [variable for setting in settings_named for variable in row.variables.get(setting, ())]
        ways += [f"providers.{name}.{setting}" for setting in settings_named]
        raise ConfigError(f'"{name}" needs {missing[0]}, a part of its address: set {" or ".join(ways)}')
    return base


def known_of(row: ProviderRow, settings: ProviderSettings, dialect: str, name: str) -> str:
    """The base URL with the places filled that are known; the others stay. Raises: ConfigError."""
    values = {**row.defaults}
    values |= {setting: str(value) for setting in row.settings_used if (value := getattr(settings, setting))}
    if settings.api_key or settings.api_keys:
        values["api_key"] = "*"  # a condition may ask whether there is one; no address holds it
    try:
        return fill(row.template_for(dialect, values, settings.base_url), values)
    except ValueError as error:
        raise ConfigError(f"providers.{name}.{error}: not a value that can stand in a URL") from None
