"""Whether the Ollama that nobody has configured is there.

Without configuration the providers are those whose keys are in the environment, and an Ollama at its usual
place; one that does not run would be the first to be asked of all, and each request would wait for it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

import msgspec

from genai_spine.settings import ProviderSettings, Settings
from genai_spine.settings.discover import ollama_url

PROBE_S = 0.3
OLLAMA_URL = ollama_url("")
"""Where an Ollama is looked for that nobody has configured."""


def with_providers(settings: Settings, by_id: dict[str, ProviderSettings]) -> Settings:
    providers = msgspec.structs.replace(settings.providers, by_id=by_id)
    return msgspec.structs.replace(settings, providers=providers)


def is_unasked_ollama(settings: Settings, id: str) -> bool:
    """Whether this is the Ollama that is only looked for because nothing is configured."""
    provider = settings.providers.by_id.get(id)
    is_usual = provider is not None and provider.base_url == OLLAMA_URL
    return settings.loaded.discovered and id == "ollama" and is_usual


class OllamaProbe:
    """Whether such an Ollama answers, asked in a thread while other things go on."""

    def __init__(self, settings: Settings) -> None:
        self._answers = False
        self._thread: threading.Thread | None = None
        if any(is_unasked_ollama(settings, id) for id in settings.providers.by_id):
            # A daemon: a name that does not resolve must not keep the program from ending.
            self._thread = threading.Thread(target=self._ask, name="ollama-probe", daemon=True)
            self._thread.start()

    @property
    def answers(self) -> bool:
        """Waits for the answer, `PROBE_S` at most."""
        if self._thread is not None:
            self._thread.join(PROBE_S)
        return self._answers

    def _ask(self) -> None:
        parts = urlsplit(OLLAMA_URL)
        try:
            with socket.create_connection((parts.hostname, parts.port), PROBE_S) as connection:
                connection.sendall(b"GET /api/version HTTP/1.0\r\nhost: localhost\r\n\r\n")
                status = connection.recv(64).split(b" ", 2)[1:2]
        except OSError:
            return
        self._answers = status == [b"200"]


def without_absent_ollama(settings: Settings, probe: OllamaProbe, wanted: Collection[str] = ()) -> Settings:
    """Without an Ollama that neither answers nor was asked for."""
    by_id = settings.providers.by_id
    named = {*wanted, *_named(settings)}
    absent = {id for id in by_id if is_unasked_ollama(settings, id) and id not in named and not probe.answers}
    if not absent:
        return settings
    return with_providers(settings, {id: table for id, table in by_id.items() if id not in absent})


def _named(settings: Settings) -> Iterator[str]:
    """The providers that settings name."""
    providers = settings.providers
    yield from (providers.default or "", *providers.fallback_order)
    yield from (agent.provider or "" for agent in settings.agents.values())
    for route in settings.routes.values():
        yield from (target.target.partition("/")[0] for target in route.targets)
