"""Where a provider is: its row's base URL, the places in it filled from its settings.

Must not know: which paths a dialect has, keys (but whether there is one), HTTP.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from genai_spine.catalog.places import fill, fill_model, places_of
from genai_spine.catalog.rows import ProviderRow
from genai_spine.dialects.bedrock_ids import region_of
from genai_spine.model.errors import ConfigError
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Url, parse_url

MOST_URLS = 1000


class Addresses:
    """The URLs of one provider, each parsed once. `name` tells what it is called, in errors."""

    __slots__ = ("_bases", "_fixed", "_name", "_row", "_settings", "_urls")

    def __init__(self, row: ProviderRow, settings: ProviderSettings, name: Callable[[], str]) -> None:
        self._row = row
        self._settings = settings
        self._name = name
        self._urls: dict[tuple[str, str, str], Url] = {}
        self._bases: dict[tuple[str, str | None], str] = {}
        self._fixed: dict[tuple[str, str], Url] = {}
        """Those in which no model has a say, by dialect and path."""

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._urls)

    def url(self, dialect: str, path: str, model: str = "") -> Url:
        """Where a request of this dialect goes: the base URL with its places filled, and the dialect's path.

        `model` is the provider's own name of it, for addresses that hold it. Raises: ConfigError.
        """
        known = self._fixed.get((dialect, path))
        if known is not None:
            return known
        base = self._base_url(dialect, model)
        key = (base, path, model if "{model}" in base else "")
        found = self._urls.get(key)
        if found is None:
            found = parse_url(fill_model(base, model)).at(path)
            if len(self._urls) < MOST_URLS:  # paths may hold names that callers choose
                self._urls[key] = found
                if "{model}" not in base and "region" not in self._row.settings_used:
                    self._fixed[dialect, path] = found
        return found

    def _base_url(self, dialect: str, model: str) -> str:
        """A model that is bound to a region is asked there, whatever the settings' region is."""
        is_bound = model.startswith("arn:") and "region" in self._row.settings_used
        region = region_of(model) if is_bound else None
        key = (dialect, region)
        if (base := self._bases.get(key)) is None:
            settings = self._settings if region is None else msgspec.structs.replace(self._settings, region=region)
            base = base_url_of(self._row, settings, dialect, self._name())
            if len(self._bases) < MOST_URLS:  # a region is a part of a name that callers choose
                self._bases[key] = base
        return base


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
