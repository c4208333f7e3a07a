"""What `spine doctor` finds on this machine: versions, extras, TLS roots, proxies, the gateway's port."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import ssl
from collections.abc import Iterator
from importlib import metadata
from typing import Literal

import certifi
import msgspec

from genai_spine.gateway.server import open_sockets
from genai_spine.model.errors import ConfigError
from genai_spine.providers.proxies import Proxies, Proxy, load_proxies
from genai_spine.settings import ServerSettings

PORT_S = 1.0

Status = Literal["ok", "info", "warning", "failure"]

_PACKAGES = ("msgspec", "httptools", "uvloop", "certifi", "click")
_EXTRAS = {
    "aiohttp": ("aiohttp", "the second transport, and SOCKS proxies"),
    "brotli": ("compression", "answers packed with br"),
    "zstandard": ("compression", "answers packed with zstd"),
    "cryptography": ("google", "service accounts of Google Cloud"),
    "botocore": ("aws", "profiles of AWS that take more than a file, such as single sign-on"),
    "tiktoken": ("tokens", "exact counts of tokens for OpenAI's models"),
    "litellm": ("litellm", "the provider type litellm"),
    "jsonschema_rs": ("jsonschema", "data taken out of texts: `spine extract`"),
    "psycopg": ("postgres", "a ledger in Postgres"),
    "redis": ("redis", "what several gateways count together, or cache, in Redis"),
    "opentelemetry_sdk": ("opentelemetry", "traces of calls: logging.observers"),
}
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finding. `mend` is what to do about it."""

    status: Status
    subject: str
    detail: str
    mend: str | None = None


def examine_machine() -> Iterator[Check]:
    versions = ", ".join(f"{name} {_version(name) or 'missing'}" for name in _PACKAGES)
    machine = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    yield Check(status="ok", subject="python", detail=f"{machine} {platform.machine()}")
    yield Check(
        status="ok", subject="versions", detail=f"genai-spine {_version('genai-spine') or 'not installed'}, {versions}"
    )
    for name, (extra, use) in _EXTRAS.items():
        if (version := _version(name)) is not None:
            yield Check(status="ok", subject="extras", detail=f"{name} {version}: {use}")
        else:
            mend = f"if wanted: pip install 'genai-spine[{extra}]'"
            yield Check(status="info", subject="extras", detail=f"{name} is not installed: {use}", mend=mend)
    yield _tls_roots()
    yield from _proxies()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tls_roots() -> Check:
    try:
        count = len(ssl.create_default_context(cafile=certifi.where()).get_ca_certs())
    except OSError as error:
        mend = "pip install --force-reinstall certifi"
        return Check(status="failure", subject="TLS", detail=f"{certifi.where()}: {error}", mend=mend)
    return Check(status="ok", subject="TLS", detail=f"{count} roots of certifi {_version('certifi')}")


def _proxies() -> Iterator[Check]:
    names = [name for base in _PROXY_VARIABLES for name in (base, base.upper()) if os.environ.get(name)]
    if not names:
        yield Check(status="ok", subject="proxies", detail="none in the environment")
        return
    try:
        proxies = load_proxies(os.environ)
    except ConfigError as error:
        mend = f"correct {', '.join(names)}"
        yield Check(status="failure", subject="proxies", detail=error.message, mend=mend)
        return
    said = [f"{scheme} through {proxy.peer}" for scheme, proxy in _by_scheme(proxies) if proxy is not None]
    if proxies.no_proxy:
        said.append(f"not for {', '.join(proxies.no_proxy)}")
    yield Check(status="info", subject="proxies", detail=f"{'; '.join(said)} ({', '.join(names)})")
    if any(proxy is not None and proxy.is_socks for _, proxy in _by_scheme(proxies)):
        missing = [name for name in ("aiohttp", "aiohttp_socks") if importlib.util.find_spec(name) is None]
        if missing:
            mend = "pip install 'genai-spine[aiohttp]'"
            detail = f"a SOCKS proxy needs {' and '.join(missing)}"
            yield Check(status="failure", subject="proxies", detail=detail, mend=mend)


def _by_scheme(proxies: Proxies) -> tuple[tuple[str, Proxy | None], ...]:
    return (("http", proxies.http), ("https", proxies.https))


async def examine_port(server: ServerSettings) -> list[Check]:
    """Whether the gateway could listen, or does already."""
    where = f"{server.host}:{server.port}"
    try:
        for sock in open_sockets(server):
            sock.close()
    except ConfigError as error:
        if await _is_gateway(server):
            return [Check(status="ok", subject="port", detail=f"{where}: the gateway is running")]
        return [Check(status="failure", subject="port", detail=error.message)]
    return [Check(status="ok", subject="port", detail=f"{where} is free for `spine serve`")]


async def _is_gateway(server: ServerSettings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    try:
        async with asyncio.timeout(PORT_S):
            reader, writer = await asyncio.open_connection(host, server.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return b"GenAI Spine" in await reader.read(4096)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
