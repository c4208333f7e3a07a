"""Providers without configuration: whoever has a key in the environment, and Ollama.

Pure: whether an Ollama runs is for `genai_spine.providers` to find out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from genai_spine.catalog.places import places_of
from genai_spine.catalog.rows import ProviderRow
from genai_spine.settings.tree import ProviderSettings, ServerSettings
from genai_spine.settings.values import Secret

OLLAMA_PORT = 11434
LOOPBACK = ("localhost", "127.0.0.1", "::1")
USUAL = ServerSettings()


def discover(
    environ: Mapping[str, str],
    rows: Mapping[str, ProviderRow],
    server: ServerSettings = USUAL,
    warnings: list[str] | None = None,
) -> dict[str, ProviderSettings]:
    """The providers that the environment has keys for, and always Ollama, by id.

    An address that is that of `server`, or of a gateway at its usual place, is there for clients, and the key beside it
    is one of ours: taking either would send the gateway's requests to itself. What is left out for that is told in
    `warnings`; Ollama is then looked for at its usual place.
    """
    found: dict[str, ProviderSettings] = {}
    for row in rows.values():
        if row.id == "ollama":
            url = ollama_url(environ.get("OLLAMA_HOST", ""))
            url = ollama_url("") if _is_gateway(url, server) else url
            found[row.id] = ProviderSettings(type=row.id, base_url=url, api_key=_key(environ, row))
            continue
        addresses = (*row.base_url_variables, *row.variables.get("base_url", ()))
        base_url = first_set(addresses, environ)
        key = _key(environ, row)
        # A server on this machine says nothing by its key's variable.
        if row.local or row.needs_base_url:
            continue
        if base_url is not None and _is_gateway(base_url, server):
            if key is not None and warnings is not None:
                address, name = _first_name(addresses, environ), _first_name(row.key_variables, environ)
                warnings.append(
                    f"{address} is the gateway's own address, as clients need it: {name} is taken for the client's, "
                    f"and {row.id} is left out; to ask {row.name} with it, unset {address}"
                )
            continue
        if key is None and not _has_identity(environ, row):
            continue
        if base_url is None and not _has_address(environ, row, has_key=key is not None):
            continue
        found[row.id] = ProviderSettings(type=row.id, base_url=base_url, api_key=key)
    return found


def first_set(names: Iterable[str], variables: Mapping[str, str]) -> str | None:
    """The text of the first of these variables that has one."""
    name = _first_name(names, variables)
    return None if name is None else variables[name].strip()


def _first_name(names: Iterable[str], variables: Mapping[str, str]) -> str | None:
    return next((name for name in names if variables.get(name, "").strip()), None)


def _key(environ: Mapping[str, str], row: ProviderRow) -> Secret | None:
    text = first_set(row.key_variables, environ)
    return None if text is None else Secret(text)


def _has_identity(environ: Mapping[str, str], row: ProviderRow) -> bool:
    return any(all(environ.get(name, "").strip() for name in names) for names in row.credential_variables)


def _has_address(environ: Mapping[str, str], row: ProviderRow, *, has_key: bool) -> bool:
    """Whether the variables tell every part of its address: on a cloud it is the user's own."""
    told = {name: text for name, names in row.variables.items() if (text := first_set(names, environ)) is not None}
    values = {**row.defaults, **told, **({"api_key": "*"} if has_key else {})}
    return set(places_of(row.template_for(row.chat[0], values))) <= values.keys() | {"model"}


def _is_gateway(url: str, server: ServerSettings) -> bool:
    try:
        parts = urlsplit(url)
        return parts.hostname in (*LOOPBACK, server.host) and parts.port in (server.port, USUAL.port)
    except ValueError:
        return False


def ollama_url(host: str) -> str:
    """OLLAMA_HOST as Ollama reads it: `gpu`, `:8000`, `0.0.0.0`, `https://gpu`; nothing: this machine."""
    host = host.strip().strip("\"'").rstrip("/")
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "http", host
    default_port = {"http": 80, "https": 443}[scheme] if separator and scheme in ("http", "https") else OLLAMA_PORT
    parts = urlsplit(f"//{rest}")
    try:
        port = parts.port or default_port
    except ValueError:
        port = default_port
    name = parts.hostname or "localhost"
    if name in ("0.0.0.0", "::"):  # an address to listen on, not one to call
        name = "localhost"
    if ":" in name:
        name = f"[{name}]"
    return f"{scheme}://{name}:{port}{parts.path}"
