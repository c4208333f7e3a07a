"""The provider that the bench talks to: nginx with static answers, and nginx `proxy_pass` as the floor.

One nginx answers every POST with bytes written beforehand, in plain HTTP and over TLS, so that the
provider's own cost is small and constant. A second nginx does what any gateway must do at the least:
take the request, open nothing new, move the bytes. Must not know: the gateways that are measured, what the
answers say (answers.py).
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from answers import PLAIN, STREAMS, path_of


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Ports on 127.0.0.1. An upstream is one port, because nginx cannot look into a body."""

    plain: int  # static plain answers of every dialect
    stream: int  # static streams of 100 events of every dialect
    tls: int  # as `plain`, over TLS
    paced: int  # endless OpenAI streams, one event a second
    trickle: int  # OpenAI streams of 100 events, each event a packet of its own
    floor: int  # nginx proxy_pass before all of them: /plain/…, /stream/…, /tls/…, /paced/…, /trickle/…

    def origin(self, upstream: str) -> str:
        """`http://127.0.0.1:PORT` of an upstream by its name."""
        scheme = "https" if upstream == "tls" else "http"
        return f"{scheme}://127.0.0.1:{getattr(self, upstream)}"


_NGINX = """{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
error_log {folder}/{name}.log warn;
pid {folder}/{name}.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/{name}.body;
  proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.fastcgi;
  uwsgi_temp_path {folder}/{name}.uwsgi;
  scgi_temp_path {folder}/{name}.scgi;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  client_body_buffer_size 64k;
{inner}}}
"""

# nginx refuses a POST to a static file with 405; the error page is then the file itself, with status 200.
_STATIC = """  server {{
    listen 127.0.0.1:{port}{tls} backlog=4096;
{extra}    root {folder}/answers;
    open_file_cache max=16 inactive=1h;
{locations}    location / {{ return 404; }}
  }}
"""
_STATIC_LOCATION = """    location = {path} {{ error_page 405 =200 /{file}; return 405; }}
    location = /{file} {{ internal; default_type {media}; }}
"""

_STREAM_TYPES = {"bedrock": "application/vnd.amazon.eventstream"}

# A filter that never finds its text takes Content-Length away: the stream is chunked, as providers send it.
_CHUNKED = "    sub_filter_types *;\n    sub_filter 'a text that no stream has' '';\n"

_FLOOR_UPSTREAM = """  upstream {name} {{
    server 127.0.0.1:{port}; keepalive 1024; keepalive_requests 100000000;
  }}
"""
_FLOOR_LOCATION = """    location /{name}/ {{
      proxy_pass {scheme}://{name}/;
{extra}    }}
"""
_FLOOR_SERVER = """  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_read_timeout 300s;
    location = /health {{ return 200 "ok"; }}
{locations}  }}
"""


def make_certificate(folder: Path) -> Path:
    """Makes `ca.pem`, self-signed for 127.0.0.1 and localhost, and `key.pem`; returns the former."""
    certificate = folder / "ca.pem"
    if not certificate.exists():
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-days", "3650", "-subj", "/CN=bench-upstream"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(certificate)]
        subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate


def write_answers(folder: Path) -> None:
    """Writes the static answers, a plain one and a stream of each dialect, into `folder/answers`."""
    answers = folder / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    for dialect, answer in PLAIN.items():
        (answers / f"{dialect}.plain").write_bytes(answer())
    for dialect, events in STREAMS.items():
        (answers / f"{dialect}.stream").write_bytes(b"".join(events()))


def static_locations(*, stream: bool) -> str:
    """nginx's locations for the answers of every dialect. It compares paths decoded and without their query."""
    locations = []
    for dialect in PLAIN:
        path = unquote(path_of(dialect, stream=stream).partition("?")[0])
        media = _STREAM_TYPES.get(dialect, "text/event-stream") if stream else "application/json"
        file = f"{dialect}.{'stream' if stream else 'plain'}"
        locations.append(_STATIC_LOCATION.format(path=path, file=file, media=media))
    return "".join(locations)


def write_configs(folder: Path, ports: Ports) -> tuple[Path, Path]:
    """Writes answers, certificate and both nginx configurations; returns (upstream's, floor's) file."""
    write_answers(folder)
    certificate = make_certificate(folder)
    tls = f"    ssl_certificate {certificate};\n    ssl_certificate_key {folder / 'key.pem'};\n"
    plain, stream = static_locations(stream=False), static_locations(stream=True)
    static = [
        _STATIC.format(port=ports.plain, tls="", extra="", folder=folder, locations=plain),
        _STATIC.format(port=ports.tls, tls=" ssl", extra=tls, folder=folder, locations=plain),
        _STATIC.format(port=ports.stream, tls="", extra=_CHUNKED, folder=folder, locations=stream),
    ]
    verified = (
        f"      proxy_ssl_verify on;\n      proxy_ssl_trusted_certificate {certificate};\n"
        "      proxy_ssl_name localhost;\n"
    )
    upstreams, locations = [], []
    for name in ("plain", "stream", "tls", "paced", "trickle"):
        scheme, extra = ("https", verified) if name == "tls" else ("http", "")
        upstreams.append(_FLOOR_UPSTREAM.format(name=name, port=getattr(ports, name)))
        locations.append(_FLOOR_LOCATION.format(name=name, scheme=scheme, extra=extra))
    floor = "".join(upstreams) + _FLOOR_SERVER.format(port=ports.floor, locations="".join(locations))
    user = "user root;\n" if os.geteuid() == 0 else ""  # else the worker could not read a private folder
    files = []
    for name, inner in (("upstream", "".join(static)), ("floor", floor)):
        file = folder / f"{name}.conf"
        file.write_text(_NGINX.format(user=user, folder=folder, name=name, inner=inner))
        files.append(file)
    return files[0], files[1]
