"""What one value alone cannot tell: types resolved, keys looked up, names checked against each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import get_args
from urllib.parse import urlsplit

import msgspec

from genai_spine.catalog.places import places_of
from genai_spine.catalog.rows import (
    ProviderRow,
    find_row,
    load_rows,
    quirk_values,
)
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.errors import InvalidRequest
from genai_spine.settings import budget_checks
from genai_spine.settings.alerts import alert_problems
from genai_spine.settings.build import field_types, split
from genai_spine.settings.caller_keys import key_problems
from genai_spine.settings.discover import discover, first_set
from genai_spine.settings.explain import Path, Problem, did_you_mean, unknown_key
from genai_spine.settings.ledger import content_problems
from genai_spine.settings.prices import ModelCostSettings
from genai_spine.settings.routes import route_problems
from genai_spine.settings.tree import ProviderSettings, ProvidersSettings, RouteTarget, Settings
from genai_spine.settings.values import Secret
from genai_spine.wire.http import encode_headers, parse_url

_ENDS = (
    *("/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"),
    *("/api/chat", "/api/generate", "/v2/chat"),
)
"""Of addresses of single calls, which services' consoles show."""
_KEEP_ALIVE = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
"""A text goes to Ollama as it is, which reads it by Go's `time.ParseDuration`: a sequence of numbers, each with a unit
(pkg.go.dev/time#ParseDuration; docs.ollama.com/faq, "keep a model loaded in memory"; read 2026-11)."""
_NO_HOST = re.compile(r"[\s/\[\],]|^[^:]+:\d+$")
"""What no address to listen on has: it is a URL, a list, or has a port."""
_AWS_KEYS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
_SECRETS = frozenset(name for name, hint in field_types(ProviderSettings).items() if Secret in get_args(split(hint)[0]))


def complete(
    settings: Settings,
    variables: Mapping[str, str],
    plugins: Collection[str],
    problems: list[Problem],
    strategies: Callable[[], Collection[str]],
    warnings: list[str],
) -> Settings:
    """The settings as the engine takes them; `problems` gets what is wrong, `warnings` what is left out."""
    by_id = dict(settings.providers.by_id) or discover(variables, load_rows(), settings.server, warnings)
    for name, _ in _names_of(settings):  # naming a row is configuring it
        if find_row(name) and name not in by_id and not _of_row(name, by_id):
            by_id[name] = ProviderSettings()
    for id, provider in by_id.items():
        by_id[id] = _complete_provider(id, provider, variables, plugins, problems)
    providers = msgspec.structs.replace(settings.providers, by_id=by_id)
    for name, path in _names_of(settings):
        if providers.find(name) is None:
            known = did_you_mean(name, by_id) or f"; the providers are {', '.join(sorted(by_id))}"
            problems.append(Problem(path, f"no provider of that name{known}"))
    problems += _problems_of(settings)
    problems += route_problems(settings, strategies)
    problems += key_problems(settings)
    problems += alert_problems(settings.costs.alerts)
    keys = settings.server.keys.items()
    problems += content_problems(settings.ledger, {name: key.content for name, key in keys})
    return _with_ids(settings, providers)


def _with_ids(settings: Settings, providers: ProvidersSettings) -> Settings:
    """The settings with every mention of a provider as its id: `anthropic` may mean the provider `claude`."""

    def id_of(name: str | None) -> str | None:
        return None if name is None else providers.find(name)

    def target_of(target: RouteTarget) -> RouteTarget:
        name, slash, model = target.target.partition("/")
        return msgspec.structs.replace(target, target=f"{id_of(name)}/{model}") if slash else target

    def pattern_of(pattern: str) -> str:
        name, slash, model = pattern.partition("/")
        return f"{id_of(name) or name}/{model}" if slash else pattern

    replace = msgspec.structs.replace
    keys = {
        name: replace(key, models=[pattern_of(each) for each in key.models])
        for name, key in settings.server.keys.items()
    }
    order = [id for name in providers.fallback_order if (id := id_of(name)) is not None]
    return replace(
        settings,
        server=replace(settings.server, keys=keys),
        providers=replace(providers, default=id_of(providers.default), fallback_order=order),
        agents={id: replace(agent, provider=id_of(agent.provider)) for id, agent in settings.agents.items()},
        routes={
            name: replace(route, targets=[target_of(target) for target in route.targets])
            for name, route in settings.routes.items()
        },
    )


def _of_row(name: str, by_id: Mapping[str, ProviderSettings]) -> bool:
    """Whether some provider is of the row that `name` means, so that `name` alone would be ambiguous."""
    row = find_row(name)
    return any(find_row(provider.type or id) == row for id, provider in by_id.items())


def _names_of(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every mention of a provider, and where."""
    providers = settings.providers
    if providers.default is not None:
        yield providers.default, ("providers", "default")
    for index, name in enumerate(providers.fallback_order):
        yield name, ("providers", "fallback_order", index)
    for id, agent in settings.agents.items():
        if agent.provider is not None:
            yield agent.provider, ("agents", id, "provider")
    for route, value in settings.routes.items():
        for index, target in enumerate(value.targets):
            provider, slash, _ = target.target.partition("/")
            if slash:
                yield provider, ("routes", route, "targets", index)


def _complete_provider(
    id: str,
    provider: ProviderSettings,
    variables: Mapping[str, str],
    plugins: Collection[str],
    problems: list[Problem],
) -> ProviderSettings:
    path: Path = ("providers", "by_id", id)
    if not id or "/" in id:
        problems.append(Problem(path, "cannot be a provider's id: no slash, not empty"))
    type_ = provider.type or id
    row = find_row(type_)
    if row is None and type_ not in plugins:
        at = (*path, "type") if provider.type else path
        problems.append(Problem(at, f"unknown provider{_which_provider(type_, plugins)}"))
        return provider
    if row is not None:
        row = _meant(provider, row, variables)
        type_ = row.id
        if row.needs_base_url and provider.base_url is None:
            problems.append(Problem(path, f"{row.id} needs base_url, the address of the service"))
        provider = msgspec.structs.replace(provider, **_read(provider, row, variables))
    if provider.base_url is not None and (reason := _bad_url(provider.base_url)):
        problems.append(Problem((*path, "base_url"), reason))
    if (reason := _bad_keep_alive(provider.keep_alive)) is not None:
        problems.append(Problem((*path, "keep_alive"), reason))
    problems += _bad_headers(provider, path)
    problems += _bad_quirks(provider, path)
    problems += _bad_costs(provider, path)
    dialects = sorted({dialect for row in load_rows().values() for dialect in row.chat})
    if provider.dialect is not None and provider.dialect not in dialects:
        hint = did_you_mean(provider.dialect, dialects) or f"; the dialects are {', '.join(dialects)}"
        problems.append(Problem((*path, "dialect"), f"unknown dialect{hint}"))
    elif provider.dialect is not None and row is not None and not (provider.base_url or provider.dialect in row.chat):
        reason = f"{row.name} does not speak it: it speaks {', '.join(row.chat)}; set base_url for a server that does"
        problems.append(Problem((*path, "dialect"), reason))
    return msgspec.structs.replace(provider, type=type_, api_key=_key(provider, row, variables))


def _meant(provider: ProviderSettings, row: ProviderRow, variables: Mapping[str, str]) -> ProviderRow:
    """The row, or the one of the same models in its maker's cloud: `gemini` with a project and no key is `vertex`."""
    if row.keyless is None or not (provider.project or provider.credentials_file):
        return row
    return row if provider.api_keys or _key(provider, row, variables) else load_rows()[row.keyless]


def _read(provider: ProviderSettings, row: ProviderRow, variables: Mapping[str, str]) -> dict[str, str | Secret]:
    """The settings that are not set and that a variable of the row tells."""
    read: dict[str, str | Secret] = {}
    placed = any(getattr(provider, place) for place in places_of(row.base_url) if place != "model")
    for setting, names in row.variables.items():
        text = first_set(names, variables)
        if text is None or getattr(provider, setting) is not None or (setting == "base_url" and placed):
            continue  # an address of which the settings tell a part is not that of the variable
        read[setting] = Secret(text) if setting in _SECRETS else text
    if (identity := _IDENTITIES.get(row.auth)) is not None:
        read |= identity(provider, variables)
    return read


def _aws_identity(provider: ProviderSettings, variables: Mapping[str, str]) -> dict[str, str | Secret]:
    """The keys that the variables tell, all of them or none, else the profile, in the order of aws_credentials.py,
    which reads the environment itself and knows no .env."""
    if provider.profile or provider.access_key_id or provider.secret_access_key:
        return {}
    found = {setting: text for setting, name in _AWS_KEYS.items() if (text := first_set((name,), variables))}
    if {"access_key_id", "secret_access_key"} <= found.keys():
        return {setting: Secret(text) if setting in _SECRETS else text for setting, text in found.items()}
    profile = first_set(("AWS_PROFILE", "AWS_DEFAULT_PROFILE"), variables)
    if found or profile is None or first_set(("AWS_WEB_IDENTITY_TOKEN_FILE",), variables):
        return {}
    return {"profile": profile}


_IDENTITIES = {"aws": _aws_identity}
"""By a row's `auth`: what the variables tell of who calls, beyond the row's own."""


def _key(provider: ProviderSettings, row: ProviderRow | None, variables: Mapping[str, str]) -> Secret | None:
    """The configured key, else that of `api_key_env`, else that of the service's usual variable."""
    if provider.api_key:
        return provider.api_key
    if provider.api_keys:
        return None
    names = (provider.api_key_env,) if provider.api_key_env else row.key_variables if row else ()
    text = first_set(names, variables)
    return None if text is None else Secret(text)


def _which_provider(type_: str, plugins: Collection[str]) -> str:
    ids = [*load_rows(), *plugins]
    names = [*ids, *(alias for row in load_rows().values() for alias in row.aliases)]
    near = did_you_mean(type_, names)
    known = ", ".join(sorted(set(ids) - {"openai_compatible"}))
    return f'{near}; known are {known}; for any other service set type = "openai_compatible" and base_url'


def _bad_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected a URL such as https://api.example.com/v1"
    if parts.username or parts.password:
        return "no user and password in a URL, which may be logged; use headers"
    if (end := next((end for end in _ENDS if parts.path.rstrip("/").endswith(end)), None)) is not None:
        return f"leave {end} and what follows out: each dialect adds its own path"
    if parts.query or parts.fragment:
        return "no ? or # in a base URL"
    try:
        parse_url(url)
    except InvalidRequest as error:
        return error.message
    return None


def _bad_keep_alive(given: str | float | None) -> str | None:
    if not isinstance(given, str) or _KEEP_ALIVE.fullmatch(given):
        return None
    return 'expected a duration as Ollama reads it, such as "5m" or "1h30m", or seconds as a number; -1: for ever'


def _bad_headers(provider: ProviderSettings, path: Path) -> Iterator[Problem]:
    """What could not be sent: each call would fail on it."""
    keys = [(("api_key",), provider.api_key), *((("api_keys", at), key) for at, key in enumerate(provider.api_keys))]
    for place, key in keys:
        if key is not None and any(ord(letter) < 32 or ord(letter) == 127 for letter in key.reveal()):
            yield Problem((*path, *place), "has a control character within, such as the end of a line: no key has")
    for name, value in provider.headers.items():
        try:
            encode_headers(((name, value.reveal()),))
        except InvalidRequest as error:
            yield Problem((*path, "headers", name), error.message)


def _bad_quirks(provider: ProviderSettings, path: Path) -> Iterator[Problem]:
    for key in provider.quirks:
        if key not in Quirks.__struct_fields__:
            yield Problem((*path, "quirks", key), unknown_key(key, Quirks.__struct_fields__))
            continue
        try:
            msgspec.convert(quirk_values({key: provider.quirks[key]}), Quirks)
        except msgspec.ValidationError:
            yield Problem((*path, "quirks", key), "not a value that this quirk may have; see the providers reference")


def _bad_costs(provider: ProviderSettings, path: Path) -> Iterator[Problem]:
    """A price per thousand and another per million of the same."""
    if provider.cost is None:
        return
    models = provider.cost.models.items()
    tables: list[tuple[Path, ModelCostSettings]] = [((), provider.cost), *((("models", name), c) for name, c in models)]
    for place, cost in tables:
        for kind in ("input", "output"):
            name = f"{kind}_cost_per_1k"
            if getattr(cost, name) is not None and getattr(cost, f"{kind}_cost_per_1m") is not None:
                yield Problem((*path, "cost", *place, name), f"{kind}_cost_per_1m says the same: leave one out")


def _is_origin(text: str) -> bool:
    """Scheme, host and a port that is not the scheme's own (RFC 6454, section 6.2): it is compared byte by byte."""
    scheme, _, host = text.partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme)
    return (
        usual is not None
        and bool(host)
        and text == text.lower()
        and not (host.endswith(usual) or set(host) & set("/?#@ "))
    )


def _problems_of(settings: Settings) -> Iterator[Problem]:
    if _NO_HOST.search(settings.server.host):
        yield Problem(
            ("server", "host"),
            "expected an address or a name without scheme, brackets or port, such as 127.0.0.1, ::1 or 0.0.0.0",
        )
    for index, origin in enumerate(settings.server.cors):
        if origin != "*" and not _is_origin(origin):
            yield Problem(
                ("server", "cors", index),
                "expected an origin as browsers send it, such as https://app.example.com: in lower case, without path",
            )
    if settings.retry.max_delay < settings.retry.initial_delay:
        yield Problem(("retry", "max_delay"), "shorter than initial_delay")
    yield from budget_checks.problems(settings)
