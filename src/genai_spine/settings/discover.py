"""Providers without configuration: whoever has a key in the environment, and Ollama.

Pure: whether an Ollama runs is for `genai_spine.providers` to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from genai_spine.catalog.rows import ProviderRow
from genai_spine.settings.tree import ProviderSettings, Secret, ServerSettings

OLLAMA_PORT = 11434
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def discover(environ: Mapping[str, str], rows: Mapping[str, ProviderRow]) -> dict[str, ProviderSettings]:
    """The providers that the environment has keys for, and always Ollama, by id."""
    found: dict[str, ProviderSettings] = {}
    for row in rows.values():
        if row.id == "ollama":
            found[row.id] = ProviderSettings(
                type=row.id, base_url=ollama_url(environ.get("OLLAMA_HOST", "")), api_key=_key(environ, row)
            )
            continue
        base_url = next((environ[name] for name in row.base_url_variables if environ.get(name)), None)
        key = _key(environ, row)
        # A server on this machine says nothing by its key's variable; an address that is our own
        # gateway's is there for clients, and the key beside it is one of ours: taking either would
        # send the gateway's requests to itself.
        if key is None or row.local or row.needs_base_url or (base_url is not None and _is_gateway(base_url)):
            continue
        found[row.id] = ProviderSettings(type=row.id, base_url=base_url, api_key=key)
    return found


def _key(environ: Mapping[str, str], row: ProviderRow) -> Secret | None:
    text = next((environ[name].strip() for name in row.key_variables if environ.get(name, "").strip()), None)
    return None if text is None else Secret(text)


def _is_gateway(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.hostname in LOOPBACK and parts.port == ServerSettings().port
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
