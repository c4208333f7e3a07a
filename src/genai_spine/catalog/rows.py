"""The rows of providers.toml: where a provider is, how it is authorised, which dialects it speaks.

Must not know: settings, keys, HTTP. A row is the same for everyone; what a user says of a provider is in
`genai_spine.settings.ProviderSettings`, and the two meet in `genai_spine.providers`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from genai_spine.catalog.places import PLACE, based, places_of
from genai_spine.dialects.quirks import Quirks

Auth = Literal["bearer", "optional-bearer", "x-api-key", "x-goog-api-key", "api-key", "none", "aws", "google", "azure"]
"""How a request is authorised. The last three are clouds: a key where one is configured, sent as in
`KEY_HEADERS`; otherwise `providers/authorize.py` makes the headers for each request."""

KEY_HEADERS: Mapping[Auth, tuple[str, str]] = MappingProxyType(
    {
        "bearer": ("authorization", "Bearer "),
        "optional-bearer": ("authorization", "Bearer "),
        "x-api-key": ("x-api-key", ""),
        "x-goog-api-key": ("x-goog-api-key", ""),
        "api-key": ("api-key", ""),
        # Bedrock API keys (docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html, 2026-11).
        "aws": ("authorization", "Bearer "),
        # Vertex AI in express mode (docs.cloud.google.com/vertex-ai, express mode, 2026-11).
        "google": ("x-goog-api-key", ""),
        "azure": ("api-key", ""),
    }
)
"""The header that carries a key, and what stands before the key in it."""


class BaseUrlVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another address, for certain settings."""

    when: dict[str, str]
    """Setting to value; "*" is any value, "" is none. All must be so."""
    base_url: str
    base_urls: dict[str, str] = {}

    def applies(self, values: Mapping[str, str]) -> bool:
        """Whether it is the one for settings of these values; those that are not set are not in it."""
        return all(
            (name in values) if wanted == "*" else values.get(name, "") == wanted for name, wanted in self.when.items()
        )


_VERSIONED = ("gemini", "gemini_embeddings")
"""Dialects whose own clients are given a host alone (GOOGLE_GEMINI_BASE_URL) and add the version's path."""


class Continuation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That models go on with the last message where it is an assistant's, instead of answering it."""

    models: tuple[str, ...] = ("*",)
    """Which of them, by name in lower case; `*` stands for any letters."""
    body: dict[str, Any] = {}
    """What a request that is to be continued has to say besides, in the row's first dialect."""
    echoes: bool = False
    """Whether the answer says that message once more before it goes on."""

    def holds_for(self, model: str) -> bool:
        return any(fnmatchcase(model.lower(), pattern) for pattern in self.models)


class Rather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That some models are asked in another of the row's dialects than the best: in that they answer with an error."""

    dialect: str
    models: tuple[str, ...]
    """Which of them, by name in lower case, shell-style."""
    with_tools: bool = False
    """Only where they are given tools."""
    body: dict[str, Any] = {}
    """What a request has to say besides in that dialect, to mean what it means in the best."""

    def holds_for(self, model: str, *, has_tools: bool) -> bool:
        return (has_tools or not self.with_tools) and any(
            fnmatchcase(model.lower(), pattern) for pattern in self.models
        )


class Searches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That its models search the web where they are asked to."""

    dialect: str
    """In which they are asked."""
    body: dict[str, Any] = {}
    """What a request has to say besides, where that is not the best of the row."""
    limit: str | None = None
    """The member beside the tools that bounds how often they do."""


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider, as its documentation tells it."""

    id: str
    name: str
    docs: str
    aliases: tuple[str, ...] = ()
    note: str | None = None
    """A caution, such as an end that was announced: a warning at every start, and in `spine providers --all`."""
    chat: tuple[str, ...]
    """The dialects it speaks, the best first; a caller's own dialect comes before that (relay)."""
    completing: tuple[str, ...] | None = None
    """Which models continue a bare prompt, where `chat` has openai_completions; by name in lower case, shell-style.
    None: all."""
    rather: tuple[Rather, ...] = ()
    searches: Searches | None = None
    embeddings: str | None = None
    rerank: str | None = None
    """The dialect in which it orders texts by a query."""
    counts: str | None = None
    """The dialect that it counts tokens in where the one spoken has no word for it. A server too old for that
    answers 404, and tokens are estimated."""
    base_url: str = ""
    """Of the first dialect in `chat`; empty where the user must give it, or where there is no network."""
    base_urls: dict[str, str] = {}
    """Of other dialects, where it differs; under "models", that of `models_path`."""
    variants: tuple[BaseUrlVariant, ...] = ()
    """The first that applies stands for `base_url` and `base_urls`."""
    variables: dict[str, tuple[str, ...]] = {}
    """Setting to the variables that the service's own clients read for it; taken where it is not set."""
    defaults: dict[str, str] = {}
    """Setting to the value that the service's own clients take where nobody says one."""
    base_url_variables: tuple[str, ...] = ()
    """With which the service's own clients move the base URL; read in zero-config discovery only."""
    needs_base_url: bool = False
    local: bool = False
    """Runs on the user's machines and costs nothing: first under `local_first`."""
    auth: Auth = "bearer"
    key_variables: tuple[str, ...] = ()
    credential_variables: tuple[tuple[str, ...], ...] = ()
    """Of a cloud: variables that together are an identity; any of these sets stands for a key in discovery."""
    keyless: str | None = None
    """The row that is meant where no key is set and `project` or `credentials_file` is."""
    organization_header: str | None = None
    headers: dict[str, str] = {}
    models_path: str = "/models"
    """Relative to the base URL of the first dialect; empty where models cannot be listed."""
    default_model: str | None = None
    embed_model: str | None = None
    continues: Continuation | None = None
    """Whether a broken answer can be gone on with here; None where no documentation says so."""
    quirks: Quirks = Quirks()

    @property
    def needs_key(self) -> bool:
        """Whether nothing can be sent without a key."""
        return self.auth in ("bearer", "x-api-key", "x-goog-api-key", "api-key")

    @property
    def is_cloud(self) -> bool:
        """Whether requests may be authorised by a cloud's identity, one by one, instead of a key."""
        return self.auth in ("aws", "google", "azure")

    @property
    def lists_at(self) -> str:
        """The name in `base_urls` under which its models are listed: "models", or the first dialect."""
        return "models" if any("models" in place.base_urls for place in self._places()) else self.chat[0]

    @property
    def settings_used(self) -> frozenset[str]:
        """The settings that decide where it is: those in places and in conditions."""
        conditions = {name for variant in self.variants for name in variant.when}
        places = {place for url in self._templates() for place in places_of(url)}
        return frozenset((places | conditions) - {"model"})

    @property
    def dialects(self) -> tuple[str, ...]:
        """Every dialect of the row, embeddings and reranking included."""
        return (*self.chat, *(dialect for dialect in (self.embeddings, self.rerank) if dialect is not None))

    def chat_of(self, model: str) -> tuple[str, ...]:
        """The dialects of `chat` in which this model is spoken to."""
        if self.completing is None or any(fnmatchcase(model.lower(), pattern) for pattern in self.completing):
            return self.chat
        return tuple([dialect for dialect in self.chat if dialect != "openai_completions"])

    def rather_for(self, model: str, *, has_tools: bool) -> Rather | None:
        """The first that holds for such a request."""
        return next((rather for rather in self.rather if rather.holds_for(model, has_tools=has_tools)), None)

    def template_for(self, dialect: str, values: Mapping[str, str], base_url: str | None = None) -> str:
        """The base URL of `dialect`, its places still open, under settings of these values.

        `base_url` is the user's own: see `base_url_for`, and `places.based` for rows with places.
        """
        if not any(PLACE.search(url) for url in self._templates()):
            return self.base_url_for(dialect, base_url)
        applying = (variant for variant in self.variants if variant.applies(values))
        variant: ProviderRow | BaseUrlVariant = next(applying, self)
        template = variant.base_urls.get(dialect, variant.base_url).rstrip("/")
        return template if base_url is None else based(base_url, template, self._templates())

    def _places(self) -> tuple[ProviderRow | BaseUrlVariant, ...]:
        return (self, *self.variants)

    def _templates(self) -> tuple[str, ...]:
        return tuple(url for place in self._places() for url in (place.base_url, *place.base_urls.values()))

    def base_url_for(self, dialect: str, base_url: str | None = None) -> str:
        """The base URL at which `dialect` is spoken, without a slash at the end.

        `base_url` is the user's own, written for any of the row's dialects or as the host alone: the others
        are derived from it as they lie in the row. For `ollama`, `http://gpu:11434` and
        `http://gpu:11434/v1` are the same place; for `vllm` too. Any other path is taken as it is written.
        """
        home = self.base_url.rstrip("/")
        there = self.base_urls.get(dialect, home).rstrip("/")
        if base_url is None:
            return there
        given = base_url.rstrip("/")
        urls = {home, *(url.rstrip("/") for url in self.base_urls.values())}
        if given in urls:
            return there
        root = min(urls, key=len)
        tails = sorted((url.removeprefix(root) for url in urls), key=len, reverse=True)
        tail = next((tail for tail in tails if tail and given.endswith(tail)), "")
        if tail or not urlsplit(given).path:
            given = given.removesuffix(tail) + there.removeprefix(root)
        elif there != home and there.startswith(home):
            given = given.removesuffix("/v1") + there.removeprefix(home)
        if dialect in _VERSIONED and not urlsplit(given).path:
            return given + urlsplit(there).path
        # Its path begins with /v1, and many people write the base with it.
        return given.removesuffix("/v1") if dialect == "anthropic_messages" else given

    def quirks_with(self, overrides: Mapping[str, Any]) -> Quirks:
        """The row's quirks with the user's on top. Raises msgspec.ValidationError for an unknown one."""
        if not overrides:
            return self.quirks
        return msgspec.convert({**msgspec.structs.asdict(self.quirks), **quirk_values(overrides)}, Quirks)


def quirk_values(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: "none" stands for it in the fields where None is a value and "none" is no word."""
    nullable = ("reasoning_field", "effort", "cache_marks")
    return {key: None if value == "none" and key in nullable else value for key, value in table.items()}


@cache
def load_rows() -> Mapping[str, ProviderRow]:
    """Every row by its id, in the order of the file; read once."""
    text = resources.files("genai_spine.catalog").joinpath("providers.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    for id, table in tables.items():
        table["id"] = id
        table["quirks"] = quirk_values(table.get("quirks", {}))
    return MappingProxyType({id: msgspec.convert(table, ProviderRow) for id, table in tables.items()})


def find_row(name: str) -> ProviderRow | None:
    """The row of that id or alias."""
    rows = load_rows()
    return rows.get(name) or next((row for row in rows.values() if name in row.aliases), None)
