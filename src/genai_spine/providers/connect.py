"""Which transport a provider gets: ours, or aiohttp's where the user's network needs it."""

from __future__ import annotations

import os
from importlib.util import find_spec

from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.proxies import NO_PROXIES, Proxies, load_proxies
from genai_spine.providers.transport import Transport
from genai_spine.settings import ProviderSettings
from genai_spine.wire.http import parse_url


def transport_for(settings: ProviderSettings) -> Transport:
    """A new transport. The proxy is the provider's own, else that of HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

    Where a SOCKS or https:// proxy lacks the extra that speaks it, ours asks for it at the first call that goes
    through that proxy: an address in NO_PROXY needs none.
    """
    proxies = proxies_of(settings)
    if any(proxy is not None and not proxy.is_plain for proxy in (proxies.http, proxies.https)):
        try:
            from genai_spine.providers.aiohttp_transport import AiohttpTransport  # noqa: PLC0415  # an extra
        except ImportError:
            pass
        else:
            return AiohttpTransport(proxies=proxies, ca_file=settings.ca_file)
    return HttpTransport(proxies=proxies, ca_file=settings.ca_file)


def lacks_proxy_extra(settings: ProviderSettings, base_url: str) -> bool:
    """Whether every call to this address would ask for the extra. Of a proxy or an address that cannot be read others
    tell."""
    try:
        proxy = proxies_of(settings).find(parse_url(base_url))
    except (ConfigError, InvalidRequest):
        return False
    if proxy is None or proxy.is_plain:
        return False
    return not all(map(find_spec, ("aiohttp", "aiohttp_socks") if proxy.is_socks else ("aiohttp",)))


def check_proxy(id: str, settings: ProviderSettings) -> None:
    """Raises: ConfigError, which every call would raise, for a proxy's address that cannot be read."""
    try:
        if settings.proxy is not None:
            proxies_of(settings)
    except ConfigError as error:
        raise ConfigError(f"providers.{id}.proxy: {error.message.removeprefix('http_proxy: ')}") from None


def proxies_of(settings: ProviderSettings) -> Proxies:
    if settings.proxy is None:
        return load_proxies(os.environ)
    text = settings.proxy.reveal()
    return NO_PROXIES if text == "none" else load_proxies({"http_proxy": text, "https_proxy": text})
