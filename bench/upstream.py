"""The provider that the bench talks to: nginx with static answers, and nginx `proxy_pass` as the floor.

One nginx answers every POST with bytes written beforehand, in plain HTTP and over TLS, so that the
provider's own cost is small and constant. A second nginx does what any gateway must do at the least:
take the request, open nothing new, move the bytes. Must not know: the gateways that are measured.

The answers follow the published wire formats of OpenAI's chat completions and Anthropic's Messages.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPENAI_MODEL = "gpt-4o-mini"
ANTHROPIC_MODEL = "claude-sonnet-4-5"
EVENTS = 100
MARKER = "tide-gauge"  # in every plain answer, whatever dialect it ends in
LAST_WORD = "w095"  # in the last piece of text of every stream
TEXT = (
    "The tide-gauge reads higher at new and full moon, because sun and moon then pull along one line. "
    "Halfway between, they pull at right angles and the range is smallest."
)

# Bytes that a caller sends. Usage is asked for, so that a relay has nothing to add to the request.
QUESTION = "Why are some tides higher than others? Answer in two sentences."
SYSTEM = "You are a harbour master who answers briefly."


def chat_request(model: str, *, stream: bool) -> bytes:
    """An OpenAI chat request: `{"model": …, "messages": [system, user], "max_tokens": 256, …}`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def openai_plain() -> bytes:
    """A chat completion of about 0.7 KB with usage, all counters included."""
    return json.dumps(
        {
            "id": "chatcmpl-bench0000000000000000000",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 34,
                "completion_tokens": 41,
                "total_tokens": 75,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    ).encode()


def openai_chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One `chat.completion.chunk` as an SSE event; the usage chunk has no choices."""
    chunk = {
        "id": "chatcmpl-bench0000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": [] if usage else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def openai_events() -> list[bytes]:
    """100 events: the role, 97 words, the finish reason, the usage; then `data: [DONE]` as one more frame."""
    words = [f" w{number:03}" for number in range(EVENTS - 3)]
    words[-1] = f" {LAST_WORD}"
    usage = {"prompt_tokens": 34, "completion_tokens": len(words), "total_tokens": 34 + len(words)}
    return [
        openai_chunk({"role": "assistant", "content": "", "refusal": None}),
        *(openai_chunk({"content": word}) for word in words),
        openai_chunk({}, finish="stop"),
        openai_chunk({}, usage=usage),
        b"data: [DONE]\n\n",
    ]


def anthropic_plain() -> bytes:
    """A Messages answer of about 0.6 KB with usage."""
    return json.dumps(
        {
            "id": "msg_bench000000000000000000",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 34,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 41,
                "service_tier": "standard",
            },
        }
    ).encode()


def _anthropic_event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def anthropic_events() -> list[bytes]:
    """100 events: start, block start, 95 text deltas, block stop, message delta, message stop."""
    words = [f" w{number:03}" for number in range(EVENTS - 5)]
    words[-1] = f" {LAST_WORD}"
    message = json.loads(anthropic_plain())
    message |= {"content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    return [
        _anthropic_event("message_start", message=message),
        _anthropic_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            _anthropic_event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in words
        ),
        _anthropic_event("content_block_stop", index=0),
        _anthropic_event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": len(words)},
        ),
        _anthropic_event("message_stop"),
    ]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Ports on 127.0.0.1. An upstream is one port, because nginx cannot look into a body."""

    plain: int  # static plain answers, both dialects
    stream: int  # static streams of 100 events, both dialects
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
    default_type {media};
    location = /v1/chat/completions {{ error_page 405 =200 /openai.{kind}; return 405; }}
    location = /v1/messages {{ error_page 405 =200 /anthropic.{kind}; return 405; }}
    location = /openai.{kind} {{ internal; }}
    location = /anthropic.{kind} {{ internal; }}
    location / {{ return 404; }}
  }}
"""

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
    """Writes the four static answers into `folder/answers`."""
    answers = folder / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    (answers / "openai.json").write_bytes(openai_plain())
    (answers / "anthropic.json").write_bytes(anthropic_plain())
    (answers / "openai.sse").write_bytes(b"".join(openai_events()))
    (answers / "anthropic.sse").write_bytes(b"".join(anthropic_events()))


def write_configs(folder: Path, ports: Ports) -> tuple[Path, Path]:
    """Writes answers, certificate and both nginx configurations; returns (upstream's, floor's) file."""
    write_answers(folder)
    certificate = make_certificate(folder)
    tls = f"    ssl_certificate {certificate};\n    ssl_certificate_key {folder / 'key.pem'};\n"
    static = [
        _STATIC.format(port=ports.plain, tls="", extra="", folder=folder, media="application/json", kind="json"),
        _STATIC.format(port=ports.tls, tls=" ssl", extra=tls, folder=folder, media="application/json", kind="json"),
        _STATIC.format(port=ports.stream, tls="", extra=_CHUNKED, folder=folder, media="text/event-stream", kind="sse"),
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
