"""Which proxy a request goes through: a value, read once from a mapping that is given.

The names and their meaning are curl's: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, lower
case before upper case. `HTTP_PROXY` in upper case is not read where `REQUEST_METHOD` is set, since
a CGI server fills it from a request's header (httpoxy, CVE-2016-5385).

Must not know: the process's environment (the caller passes a mapping), sockets.
Sources (read 2026-11): curl.se/docs/manpage.html (ENVIRONMENT), RFC 9110 §9.3.6 (CONNECT), RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from genai_spine.model.errors import ConfigError
from genai_spine.wire.http import Url

_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy. `authorization` is the whole value of Proxy-Authorization."""

    scheme: Literal["http", "https", "socks4", "socks4a", "socks5", "socks5h"]
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")

    @property
    def is_plain(self) -> bool:
        """Spoken to in HTTP over TCP as it is, which our own transport can."""
        return self.scheme == "http"

    @property
    def peer(self) -> str:
        """`host:port`, as error messages name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The value of Proxy-Authorization (RFC 7617 §2), None without a user name."""
        if self.username is None:
            return None
        pair = f"{self.username}:{self.password or ''}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.peer})"


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies of a process. `no_proxy` holds hosts, domains, networks, `host:port`, or `*`."""

    http: Proxy | None = None
    https: Proxy | None = None
    no_proxy: tuple[str, ...] = ()

    def find(self, url: Url) -> Proxy | None:
        """The proxy for this URL; None means straight there."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None or any(_matches(entry, url) for entry in self.no_proxy):
            return None
        return proxy


NO_PROXIES = Proxies()


def parse_proxy(text: str) -> Proxy:
    """Read `[scheme://][user:password@]host[:port]`; without a scheme it is http, as for curl.

    Raises: ConfigError, whose message does not repeat the text: it may hold a password.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise ConfigError("a proxy's address cannot be read: use http://host:port") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname or any(c in text for c in "\r\n\t\0 "):
        raise ConfigError("a proxy's address cannot be read: use http://host:port or socks5://host:port")
    return msgspec.convert(
        {
            "scheme": scheme,
            "host": parts.hostname,
            "port": _PORTS[scheme] if port is None else port,
            "username": None if parts.username is None else unquote(parts.username),
            "password": None if parts.password is None else unquote(parts.password),
        },
        Proxy,
    )


def load_proxies(environment: Mapping[str, str]) -> Proxies:
    """The proxies that an environment names; empty values name none.

        load_proxies({"https_proxy": "http://proxy:3128", "no_proxy": "localhost,.corp"})

    Raises: ConfigError naming the variable.
    """

    def proxy_of(name: str) -> Proxy | None:
        text = _value(environment, name)
        if not text:
            return None
        try:
            return parse_proxy(text)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None

    fallback = proxy_of("all_proxy")
    entries = _value(environment, "no_proxy").replace(",", " ").split()
    return Proxies(
        http=proxy_of("http_proxy") or fallback,
        https=proxy_of("https_proxy") or fallback,
        no_proxy=tuple(entry.lower() for entry in entries),
    )


def _value(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value and not (name == "http_proxy" and "REQUEST_METHOD" in environment):
        value = environment.get(name.upper(), "")
    return value.strip()


def _matches(entry: str, url: Url) -> bool:
    """Whether one entry of no_proxy names this host: `corp.example` also covers what is below it."""
    if entry == "*":
        return True
    host = url.host.lower()
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is a name
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit():
        if int(port) != url.port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*").removeprefix(".").rstrip(".")
    host = host.rstrip(".")
    return host == entry or host.endswith(f".{entry}")
