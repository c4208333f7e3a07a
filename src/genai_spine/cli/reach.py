"""The way to a provider in its steps, for `spine doctor`: a name, an address, a secure connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

import certifi

from genai_spine.cli.machine import Check
from genai_spine.providers.connect import proxies_of
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.wire.http import Url, parse_url

CONNECT_S = 4.0


async def examine_way(provider: HttpProvider) -> Check:
    """DNS, TCP and TLS in turn, each with its time."""
    id = provider.name
    url = parse_url(str(provider.url(provider.dialect, "/")))
    proxy = proxies_of(provider.settings).find(url)
    host, port = (url.host, url.port) if proxy is None else (proxy.host, proxy.port)
    where = f"{host}:{port}" if proxy is None else f"the proxy {proxy.peer}"
    steps: list[str] = []
    writer = None
    step = "DNS"
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(CONNECT_S):
            loop = asyncio.get_running_loop()
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            steps.append(f"DNS {_ms(begun)}")
            step, begun = "TCP", time.perf_counter()
            writer = await _connect(addresses)
            steps.append(f"TCP {_ms(begun)}")
            if url.scheme == "https" and proxy is None:
                step, begun = "TLS", time.perf_counter()
                await _start_tls(writer, url, provider.settings.ca_file)
                steps.append(f"TLS {_ms(begun)}")
    except (OSError, TimeoutError, UnicodeError) as error:
        why = _why(error)
        mend = _mend(step, provider, url)
        return Check(status="failure", subject=id, detail=f"{where}: {step} failed: {why}", mend=mend)
    finally:
        if writer is not None:
            writer.close()
    return Check(status="ok", subject=id, detail=f"{where} is reached: {', '.join(steps)}")


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"nothing within {CONNECT_S:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _ms(begun: float) -> str:
    return f"{(time.perf_counter() - begun) * 1000:.0f} ms"


def _mend(step: str, provider: HttpProvider, url: Url) -> str:
    if step == "TLS":
        return f"behind a proxy that opens TLS: set providers.{provider.name}.ca_file to its authority's PEM"
    if provider.is_local or url.host in ("localhost", "127.0.0.1", "::1"):
        how = "`ollama serve`" if provider.row.id == "ollama" else "start it"
        return f"is {provider.row.name} running there? {how}, or correct providers.{provider.name}.base_url"
    if step == "DNS":
        return f"check the network's DNS, and the host in providers.{provider.name}.base_url"
    return "check the network and its firewall; HTTPS_PROXY names a proxy where one is needed"


async def _connect(addresses: Sequence[Any]) -> asyncio.StreamWriter:
    """To the first address that answers. Raises: the last one's OSError."""
    failure: OSError = OSError("no address")
    for family, _, _, _, address in addresses:
        try:
            async with asyncio.timeout(CONNECT_S / 2):
                _, writer = await asyncio.open_connection(address[0], address[1], family=family)
                return writer
        except OSError as error:
            failure = error
    raise failure


async def _start_tls(writer: asyncio.StreamWriter, url: Url, ca_file: str | None) -> None:
    context = ssl.create_default_context(cafile=ca_file or certifi.where())
    await writer.start_tls(context, server_hostname=url.host)
