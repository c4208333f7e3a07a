"""The headers of a provider's requests: ours, those of the settings, and a caller's.

Must not know: URLs, bodies, which key is used next.
"""

from __future__ import annotations

from genai_spine.catalog.rows import KEY_HEADERS, ProviderRow
from genai_spine.providers import hops
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import Headers

JSON_HEADERS: Headers = (("content-type", "application/json"), ("user-agent", "genai-spine"))
_MOST_MERGED = 256
_ACCOUNTS = frozenset({"openai-organization", "openai-project"})
"""Say whose account is asked. One that is not the key's is answered with 401 and `mismatched_organization`
(github.com/openai/codex/issues/1000, read 2026-11)."""
_JOINED = "anthropic-beta"
"""The one header of which several words are wanted: the settings', the row's and the caller's."""


class OwnHeaders:
    """What every request with one key has in its head. `plain` is that of a request for which no caller said more.

    The same tuple each time: the transport keeps the bytes of a tuple that it has seen.
    """

    __slots__ = ("_merged", "_operators", "plain")

    def __init__(self, row: ProviderRow, settings: ProviderSettings, key: str | None) -> None:
        self.plain = _plain(row, settings, key)
        self._operators = {name.lower() for name in settings.headers} - {_JOINED}
        if settings.org_id is not None and row.organization_header is not None:
            self._operators.add(row.organization_header.lower())
        self._merged: dict[Headers, Headers] = {}

    def merged(self, given: Headers) -> Headers:
        """Ours and a caller's: its word stands over the row's, the settings' over its; of betas both are wanted."""
        if not given:
            return self.plain
        merged = self._merged.get(given)
        if merged is None:
            merged = self._merge(given)
            if len(self._merged) < _MOST_MERGED:
                self._merged[given] = merged
        return merged

    def chooses_account(self, given: Headers) -> bool:
        """Whether a caller says whose account is asked, and is heard: a refusal may be of that, and not of the key."""
        names = {_text(name).lower() for name, _ in given}
        return not _ACCOUNTS.isdisjoint(names - self._operators)

    def _merge(self, headers: Headers) -> Headers:
        given = {_text(name).lower(): _text(value) for name, value in headers}
        given = {name: value for name, value in given.items() if name not in self._operators}
        for name, value in self.plain:
            if _text(name).lower() == _JOINED and _JOINED in given:
                given[_JOINED] = f"{_text(value)},{given[_JOINED]}"
        kept = [(name, value) for name, value in self.plain if _text(name).lower() not in given]
        return (*kept, *given.items())


def _plain(row: ProviderRow, settings: ProviderSettings, key: str | None) -> Headers:
    headers: list[tuple[str, str]] = [(_text(name), _text(value)) for name, value in JSON_HEADERS]
    if key is not None and (header := KEY_HEADERS.get(row.auth)) is not None:
        headers.append((header[0], header[1] + key))
    headers.extend(row.headers.items())
    if settings.base_url is not None:
        headers.append((hops.HEADER, hops.HERE))
    if settings.org_id is not None and row.organization_header is not None:
        headers.append((row.organization_header, settings.org_id))
    own = {name.lower(): value.reveal() for name, value in settings.headers.items()}
    return (*((name, value) for name, value in headers if name.lower() not in own), *own.items())


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
