"""What no caller may read in an error: the operator's keys, and where providers and proxies are.

Providers' texts are searched for what looks like a key when they are decoded (dialects/failure.py). This is
the last look at a message before it leaves, and knows the very texts. Logs keep the addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from genai_spine.gateway.request import Request
from genai_spine.model.errors import ConfigError, ProviderError, SpineError
from genai_spine.providers.address import base_url_of
from genai_spine.providers.connect import proxies_of
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import ProviderSettings, Settings
from genai_spine.settings.values import secrets_of
from genai_spine.wire.http import parse_url

SHORTEST_SECRET = 8
"""Shorter texts are no keys, and taking them out would garble words."""
LONGEST_CODE = 100


class Discretion:
    """`discretion(text)` is the text that a caller may read, `for_log(text)` the one that logs may keep; `mend(error)`
    makes an error fit to be told."""

    def __init__(self, registry: ProviderRegistry, settings: Settings) -> None:
        secrets = {text for text in _secrets(registry, settings) if len(text) >= SHORTEST_SECRET}
        places = {*_places(registry), *_places_set(registry, settings)}
        self._secret = _any_of(secrets)
        self._place = _any_of(places, r"( \(proxy [^)]*\))?(: )?")

    def for_log(self, text: str) -> str:
        return text if self._secret is None else self._secret.sub("[redacted]", text)

    def __call__(self, text: str) -> str:
        text = self.for_log(text)
        if self._place is not None:
            text = self._place.sub(lambda found: "" if found.group().endswith(": ") else "[address]", text)
        return text

    async def reply(self, request: Request, answer: dict[str, Any]) -> None:
        """An answer of ours about calls: errors of providers in it may say what they were sent."""
        await request.reply(200, self(msgspec.json.encode(answer).decode()).encode())

    def mend(self, error: SpineError) -> None:
        """A provider chooses message, code and body, so it may say in each what it was sent."""
        error.message = self(error.message)
        if isinstance(error, ProviderError) and isinstance(error.body, str):
            error.body = self(error.body)  # callers of Anthropic's dialect read its `details`
        if error.code is not None:
            error.code = self(error.code)[:LONGEST_CODE]


def _any_of(texts: set[str], more: str = "") -> re.Pattern[str] | None:
    """The longest first: a text may begin with another."""
    if not texts:
        return None
    return re.compile("(?:" + "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) + ")" + more)


def _secrets(registry: ProviderRegistry, settings: Settings) -> Iterator[str]:
    yield from (key.reveal() for key in settings.server.all_keys)
    for table in _tables(registry, settings):
        yield from secrets_of(table)


def _tables(registry: ProviderRegistry, settings: Settings) -> Iterator[ProviderSettings]:
    """Of all providers, LiteLLM's and somebody else's too, which may have been made by a program."""
    yield from settings.providers.by_id.values()
    for provider in registry:
        if isinstance(own := getattr(provider, "settings", None), ProviderSettings):
            yield own


def _places_set(registry: ProviderRegistry, settings: Settings) -> Iterator[str]:
    for table in _tables(registry, settings):
        with suppress(ValueError):  # a program's, which nobody has looked at
            if table.base_url is not None:
                yield parse_url(table.base_url).peer


def _places(registry: ProviderRegistry) -> Iterator[str]:
    """Hosts with their ports, as the transports' messages name them, and files of credentials."""
    for provider in registry:
        if not isinstance(provider, HttpProvider):
            continue
        for dialect in provider.row.dialects:
            try:
                yield parse_url(base_url_of(provider.row, provider.settings, dialect, provider.name)).peer
            except ValueError:
                continue  # no address, or none that can be read: nothing is sent there
        if provider.settings.credentials_file is not None:
            yield provider.settings.credentials_file
        try:
            proxies = proxies_of(provider.settings)
        except ConfigError:
            continue
        yield from (proxy.peer for proxy in (proxies.http, proxies.https) if proxy is not None)
