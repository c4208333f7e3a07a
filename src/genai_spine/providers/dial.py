"""Opening a connection: names to addresses, addresses to a socket, a proxy's tunnel, TLS.

Addresses are tried by happy eyeballs: families in turn, a new attempt every 250 ms while the
earlier ones are still trying, the first that connects wins; so a dead AAAA costs a quarter of a
second (FAULTS 2). This is ours because uvloop's create_connection has no such option. Nothing is
cached here, no failure either.

TLS always verifies name and chain, against certifi's roots or the file that was given. There is no
switch for that.

Must not know: HTTP beyond CONNECT, pools, requests.
Sources (read 2026-11): RFC 8305 §4–5, RFC 9110 §9.3.6 (CONNECT), RFC 7301 (ALPN).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Any

import certifi

from genai_spine.model.errors import APIConnectionError, ConfigError, ProviderTimeout
from genai_spine.providers.connection import BufferedConnection, Connection, Owner, describe
from genai_spine.providers.proxies import Proxies, Proxy
from genai_spine.wire.http import Url

READ_BYTES = 64 * 1024
"""At most so much is read at once on asyncio's own loop."""
ATTEMPT_DELAY_S = 0.25  # RFC 8305 §5, Connection Attempt Delay
MAX_PROXY_HEAD_BYTES = 16 * 1024
PROXY_EXTRA = "pip install 'genai-spine[aiohttp]'"
"""Speaks to the proxies that we do not: SOCKS, and those that are spoken to in TLS."""

Address = tuple[socket.AddressFamily, Any]
"""A family and what `connect` takes for it."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(host: str, port: int) -> list[Address]:
    """The system's answer, in its order. Raises: socket.gaierror."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class Dialer:
    """Opens connections; holds what all of them share: roots, proxies, how names are resolved."""

    def __init__(self, *, proxies: Proxies, ca_file: str | None = None, resolve: Resolve = resolve) -> None:
        self.proxies = proxies
        self._ca_file = ca_file
        self._resolve = resolve
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[Address]]] = {}
        self._tls: ssl.SSLContext | None = None
        self._buffer: memoryview | None = None

    async def dial(self, url: Url, owner: Owner, timeout_s: float | None) -> Connection:
        """A connection to `url`'s origin, through its proxy if it has one.

        Raises: APIConnectionError, ProviderTimeout(connect_timeout), ConfigError; `sent` is False.
        """
        proxy = self.proxies.find(url)
        if proxy is not None:
            check_proxy(proxy)
        where = url.peer if proxy is None else f"{url.peer} (proxy {proxy.peer})"
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(url, proxy, owner)
        except (APIConnectionError, ConfigError):
            raise
        except ssl.SSLCertVerificationError as error:
            raise _failure(f"{where}: TLS certificate refused: {error.verify_message}", False) from error
        except ssl.SSLError as error:
            raise _failure(f"{where}: TLS failed: {error.reason or type(error).__name__}", True) from error
        except TimeoutError as error:
            limit = "" if timeout_s is None else f" within {timeout_s:g} s"
            raise ProviderTimeout(f"{where}: no connection{limit}", code="connect_timeout", sent=False) from error
        except socket.gaierror as error:
            # EAI_AGAIN may mend itself; a name that does not exist will not within this call.
            name = url.host if proxy is None else proxy.host
            raise _failure(
                f"{where}: cannot resolve {name!r}: {error.strerror}", error.errno == socket.EAI_AGAIN
            ) from error
        except (OSError, UnicodeError) as error:
            raise _failure(f"{where}: cannot connect: {describe(error)}", True) from error

    async def _dial(self, url: Url, proxy: Proxy | None, owner: Owner) -> Connection:
        loop = asyncio.get_running_loop()
        host, port = (url.host, url.port) if proxy is None else (proxy.host, proxy.port)
        tls = self.tls if url.scheme == "https" else None
        sock = await connect_first(await self._look_up(host, port))
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if proxy is not None and tls is not None:
                await _open_tunnel(loop, sock, url, proxy)
            _, connection = await loop.create_connection(
                lambda: self._new_connection(owner, loop),
                sock=sock,
                ssl=tls,
                server_hostname=url.host if tls is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        """One lookup for all who wait for it. The system's takes a thread for as long as it lasts, whoever has left,
        and threads are few: a name that nobody answers for would soon have them all."""
        key = host, port
        lookup = self._lookups.get(key)
        if lookup is None or lookup.get_loop() is not asyncio.get_running_loop():
            lookup = self._lookups[key] = asyncio.ensure_future(self._resolve(host, port))
            lookup.add_done_callback(lambda ended: self._looked_up(key, ended))
        return await asyncio.shield(lookup)

    def _looked_up(self, key: tuple[str, int], lookup: asyncio.Future[Sequence[Address]]) -> None:
        if self._lookups.get(key) is lookup:
            del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # where nobody waits any more, its failure is no news

    def _new_connection(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> Connection:
        """asyncio's own loop makes 256 KB of new memory for each read, unless it is given some: a tenth of a call."""
        if not isinstance(loop, asyncio.SelectorEventLoop):
            return Connection(owner, loop)
        if self._buffer is None:
            self._buffer = memoryview(bytearray(READ_BYTES))
        return BufferedConnection(owner, loop, self._buffer)

    @property
    def tls(self) -> ssl.SSLContext:
        """Made on first use (reading the roots takes some 10 ms), then shared."""
        if self._tls is None:
            self._tls = tls_context(self._ca_file)
        return self._tls


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verifies name and chain, against certifi's roots where no file is given. Raises: ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca_file or certifi.where())
    except OSError as error:
        raise ConfigError(f"cannot read the CA file {ca_file!r}: {describe(error)}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_proxy(proxy: Proxy) -> None:
    """Raises: ConfigError for a proxy that this transport does not speak to."""
    if not proxy.is_plain:
        kind = "SOCKS" if proxy.is_socks else "https://"
        raise ConfigError(f"{kind} proxies need the extra: {PROXY_EXTRA}")


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """The first of these addresses that connects, tried in turns of `ATTEMPT_DELAY_S`.

    Raises: the first attempt's OSError when all have failed.
    """
    order = _interleave(addresses)
    if not order:
        raise OSError("no address")
    if len(order) == 1:
        return await _connect(order[0])
    pending: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while order or pending:
            if order:
                pending.add(asyncio.ensure_future(_connect(order.pop(0))))
            done, pending = await asyncio.wait(
                pending, timeout=ATTEMPT_DELAY_S if order else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                failure = task.exception()
                if failure is None:
                    done.discard(task)
                    pending |= done  # two at once: the other is closed below
                    return task.result()
                failures.append(failure)
    finally:
        for task in pending:
            task.add_done_callback(_close_late)
            task.cancel()
    raise failures[0]


def _interleave(addresses: Sequence[Address]) -> list[Address]:
    """Families in turn, the first one's first (RFC 8305 §4)."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [a for a in chain.from_iterable(zip_longest(*families.values())) if a is not None]


async def _connect(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _open_tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, url: Url, proxy: Proxy) -> None:
    """Ask a proxy for a tunnel to `url`'s host. Raises: APIConnectionError."""
    authority = f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
    if proxy.authorization is not None:
        head += f"proxy-authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(sock, f"{head}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = await loop.sock_recv(sock, 4096)
        answer += data
        if not data or len(answer) > MAX_PROXY_HEAD_BYTES:
            raise _failure(f"{url.peer}: the proxy {proxy.peer} gave no answer to CONNECT", True)
    status = answer.split(b"\r\n", 1)[0].split(b" ", 2)[1:2]
    code = status[0].decode("latin-1") if status else ""
    if not (answer.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit()):
        raise _failure(f"{url.peer}: the proxy {proxy.peer} does not speak HTTP/1.1", False)
    if code == "407":
        raise _failure(f"{url.peer}: the proxy {proxy.peer} wants other credentials (407)", False)
    if not code.startswith("2"):
        raise _failure(f"{url.peer}: the proxy {proxy.peer} refused the tunnel ({code})", code >= "500")
    if not answer.endswith(b"\r\n\r\n"):
        raise _failure(f"{url.peer}: the proxy {proxy.peer} sent bytes before the tunnel", False)


def _failure(message: str, retryable: bool) -> APIConnectionError:
    return APIConnectionError(message, retryable=retryable, sent=False)
