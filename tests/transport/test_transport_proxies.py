"""Proxies: how the environment names them, and real small ones on loopback."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import struct
import sys

import pytest
import trustme
from transport_peers import answering, ok, serve, short, within

from genai_spine.model.errors import APIConnectionError, ConfigError, ProviderTimeout
from genai_spine.providers.aiohttp_transport import AiohttpTransport
from genai_spine.providers.connect import transport_for
from genai_spine.providers.proxies import Proxies, load_proxies, parse_proxy
from genai_spine.providers.transport import HttpRequest
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.wire.http import parse_url

AUTH = "Basic " + base64.b64encode(b"us er:p@ss").decode()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def tunnelling(answer: bytes = b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n"):
    """A CONNECT proxy; it sends every name to loopback."""

    def make(peer):
        async def handle(reader, writer):
            head = await peer.read_request(reader)
            target = head.split(b" ")[1].decode()
            writer.write(answer)
            if b" 200 " not in answer:
                return
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            await asyncio.gather(pipe(reader, there_writer), pipe(there_reader, writer))

        return handle

    return make


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(context)
    return context


async def test_https_goes_through_a_tunnel_with_credentials(make_transport, ca_file, tls):
    async with serve(answering(ok()), ssl=tls) as peer, serve(tunnelling()) as proxy:
        proxies = load_proxies({"https_proxy": f"http://us%20er:p%40ss@127.0.0.1:{proxy.port}"})
        transport = make_transport(proxies=proxies, ca_file=ca_file)
        for _ in range(3):
            response = await within(transport.send(peer.request(scheme="https", host="api.test")))
            assert await response.read() == b"fine"
        assert len(proxy.heads) == 1
        assert proxy.heads[0].startswith(b"CONNECT api.test:%d HTTP/1.1\r\n" % peer.port)
        assert f"proxy-authorization: {AUTH}".lower() in proxy.heads[0].decode().lower()
        assert b"proxy-authorization" not in peer.heads[0].lower()


async def test_http_goes_to_the_proxy_in_absolute_form(make_transport):
    async with serve(answering(ok(b"by proxy"))) as proxy:
        proxies = load_proxies({"http_proxy": f"http://us%20er:p%40ss@127.0.0.1:{proxy.port}"})
        transport = make_transport(proxies=proxies)
        request = proxy.request("/v1?x=1", host="api.test")
        assert await (await within(transport.send(request))).read() == b"by proxy"
        head = proxy.heads[0].decode()
        assert head.startswith(f"POST http://api.test:{proxy.port}/v1?x=1 HTTP/1.1\r\n")
        assert f"proxy-authorization: {AUTH}".lower() in head.lower()
        assert f"host: api.test:{proxy.port}\r\n" in head.lower()


async def test_no_proxy_goes_straight_there(make_transport):
    async with serve(answering(ok(b"straight"))) as peer:
        environment = {"http_proxy": "http://127.0.0.1:1", "no_proxy": "localhost, 127.0.0.0/8"}
        transport = make_transport(proxies=load_proxies(environment))
        assert await (await transport.send(peer.request())).read() == b"straight"


@pytest.mark.parametrize(
    ("answer", "words", "retryable"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "credentials", False),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refused the tunnel", False),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused the tunnel", True),
    ],
)
async def test_a_proxy_that_refuses_is_named(make_transport, answer, words, retryable):
    async with serve(tunnelling(answer)) as proxy:
        transport = make_transport(proxies=load_proxies({"https_proxy": f"us:secret@127.0.0.1:{proxy.port}"}))
        with pytest.raises(APIConnectionError, match=words) as caught:
            await within(transport.send(proxy.request(scheme="https", host="api.test")))
        assert caught.value.sent is False
        assert caught.value.retryable is retryable
        assert "secret" not in repr(caught.value)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nmore", bytes(20_000)])
async def test_a_proxy_that_speaks_nonsense_is_an_error(own, answer):
    def make(peer):
        async def handle(reader, writer):
            await peer.read_request(reader)
            writer.write(answer)

        return handle

    async with serve(make) as proxy:
        transport = own(proxies=load_proxies({"https_proxy": f"127.0.0.1:{proxy.port}"}))
        with pytest.raises(APIConnectionError, match="proxy"):
            await within(transport.send(proxy.request(scheme="https", host="api.test")))


async def test_a_proxy_that_is_silent_ends_at_the_connect_timeout(make_transport):
    async with serve(lambda peer: lambda reader, writer: reader.read()) as proxy:
        transport = make_transport(proxies=load_proxies({"https_proxy": f"127.0.0.1:{proxy.port}"}))
        request = proxy.request(scheme="https", host="api.test", timeouts=short(connect_s=0.2))
        with pytest.raises(ProviderTimeout) as caught:
            await within(transport.send(request), 2)
        assert caught.value.code == "connect_timeout"
        assert caught.value.sent is False


async def test_socks_names_the_extra_that_speaks_it(own):
    transport = own(proxies=load_proxies({"all_proxy": "socks5://127.0.0.1:1080"}))
    with pytest.raises(ConfigError, match=r"genai-spine\[aiohttp\]"):
        await transport.send(await _any_request())


async def test_without_the_extra_what_no_proxy_names_is_asked_straight(monkeypatch):
    """SOCKS for the world, and a model on this machine; it was refused, too."""
    monkeypatch.setitem(sys.modules, "genai_spine.providers.aiohttp_transport", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost")
    transport = transport_for(ProviderSettings())
    async with serve(answering(ok())) as peer:
        request = HttpRequest(method="GET", url=parse_url(f"http://localhost:{peer.port}/"))
        response = await within(transport.send(request))
        assert await response.read() == b"fine"
    with pytest.raises(ConfigError, match=r"SOCKS proxies need the extra: pip install 'genai-spine\[aiohttp\]'"):
        await transport.send(await _any_request())
    await transport.close()


async def _any_request():
    return HttpRequest(method="GET", url=parse_url("http://api.test/"))


async def test_the_aiohttp_transport_speaks_socks5():
    pytest.importorskip("aiohttp_socks")
    asked = []

    def make(peer):
        async def handle(reader, writer):
            _, count = await reader.readexactly(2)
            await reader.readexactly(count)
            writer.write(b"\x05\x00")
            await reader.readexactly(4)
            (length,) = await reader.readexactly(1)
            name = await reader.readexactly(length)
            (port,) = struct.unpack("!H", await reader.readexactly(2))
            asked.append((name, port))
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x05\x00\x00\x01" + socket.inet_aton("127.0.0.1") + struct.pack("!H", port))
            await asyncio.gather(pipe(reader, there_writer), pipe(there_reader, writer))

        return handle

    async with serve(answering(ok())) as peer, serve(make) as socks:
        proxies = Proxies(http=parse_proxy(f"socks5h://127.0.0.1:{socks.port}"))
        transport = AiohttpTransport(proxies=proxies)
        response = await within(transport.send(peer.request(host="api.test")))
        assert await response.read() == b"fine"
        assert asked == [(b"api.test", peer.port)]
        await transport.close()


async def test_an_https_proxy_is_spoken_to_in_tls(authority, ca_file):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with serve(answering(ok()), ssl=tls) as proxy:
        proxied = ProviderSettings(proxy=Secret(f"https://localhost:{proxy.port}"), ca_file=ca_file)
        transport = transport_for(proxied)
        response = await within(transport.send(await _any_request()))
        assert await response.read() == b"fine"
        assert proxy.heads[0].startswith(b"GET http://api.test/ HTTP/1.1\r\n")
        await transport.close()


def test_the_environment_is_read_as_curl_reads_it():
    proxies = load_proxies({"HTTPS_PROXY": "http://up:1", "https_proxy": "http://low:2", "ALL_PROXY": "all:3"})
    assert proxies.https is not None
    assert proxies.https.peer == "low:2"
    assert proxies.http is not None
    assert proxies.http.peer == "all:3"
    assert load_proxies({}) == Proxies()
    assert load_proxies({"http_proxy": ""}) == Proxies()


def test_http_proxy_in_upper_case_is_not_read_under_cgi():
    assert load_proxies({"HTTP_PROXY": "evil:1"}).http is not None
    assert load_proxies({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": "GET"}).http is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "straight"),
    [
        ("*", "https://a.example/", True),
        ("example.com", "https://example.com/", True),
        ("example.com", "https://api.example.com/", True),
        ("example.com", "https://notexample.com/", False),
        (".example.com", "https://api.EXAMPLE.com./", True),
        ("*.example.com", "https://api.example.com/", True),
        ("example.com:8443", "https://example.com/", False),
        ("example.com:8443", "https://example.com:8443/", True),
        ("10.0.0.0/8", "https://10.2.3.4/", True),
        ("10.0.0.0/8", "https://11.2.3.4/", False),
        ("10.0.0.0/8", "https://ten.example/", False),
        ("::1", "https://[::1]/", True),
        ("[::1]:8080", "https://[::1]:8080/", True),
        ("localhost,, 127.0.0.1", "https://127.0.0.1/", True),
        ("", "https://a.example/", False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_networks(no_proxy, url, straight):
    proxies = load_proxies({"https_proxy": "http://proxy:1", "no_proxy": no_proxy})
    assert (proxies.find(parse_url(url)) is None) is straight


@pytest.mark.parametrize("text", ["ftp://x:1", "http://", "http://x:99999", "http://a b:1", "http://x\r\n:1"])
def test_a_malformed_proxy_names_the_variable_and_not_the_password(text):
    with pytest.raises(ConfigError, match="http_proxy") as caught:
        load_proxies({"http_proxy": text.replace("://", "://user:secret@", 1)})
    assert "secret" not in str(caught.value)


def test_a_proxy_does_not_show_its_password():
    proxy = parse_proxy("http://user:secret@proxy:3128")
    assert repr(proxy) == "Proxy(http://proxy:3128)"
    assert "secret" not in repr(Proxies(http=proxy))
