"""What of a request's head could be read in two ways, or is too much: refused before any application sees it.

Must not know: connections, the parser, routes. Sources (read 2026-11): RFC 9112 §3.2 (targets, Host), §6.1 (framing).
"""

from __future__ import annotations

import re

from httptools import parse_url

MAX_HEADERS = 100
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")


class Refused(Exception):
    """A request that no application should see: raised in the parser's callbacks, which stops it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def check_fields(headers: list[tuple[bytes, bytes]], is_http10: bool, known_host: bytes | None) -> dict[bytes, bytes]:
    """The head's fields by name; `known_host` was found right before. Raises: Refused."""
    named = dict(headers)
    if len(headers) != len(named):
        _refuse_repeated(headers)
    if len(headers) > MAX_HEADERS:
        raise Refused(431, "too_many_headers", f"the request has more than {MAX_HEADERS} headers")
    host = named.get(b"host")
    if host is None and not is_http10:
        raise Refused(400, "bad_host", "the request has no Host header")
    if host is not None and host != known_host and _HOST.fullmatch(host) is None:
        raise Refused(400, "bad_host", "the request's Host header is not a host")
    if b"transfer-encoding" in named:
        if named[b"transfer-encoding"].lower() != b"chunked":
            raise Refused(400, "bad_transfer_encoding", "the only Transfer-Encoding understood is chunked")
        if is_http10:  # RFC 9112 §6.1: its framing is not to be trusted
            raise Refused(400, "bad_transfer_encoding", "HTTP/1.0 has no Transfer-Encoding")
    return named


def _refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Raises: Refused for fields sent twice that may be sent once."""
    names = [name for name, _ in headers]
    if names.count(b"host") > 1:
        raise Refused(400, "bad_host", "the request has more than one Host header")
    if names.count(b"transfer-encoding") > 1:
        raise Refused(400, "bad_transfer_encoding", "the only Transfer-Encoding understood is chunked")
    for name in _CREDENTIALS:  # a proxy in front may have looked at the other one
        if names.count(name) > 1 and len({value for each, value in headers if each == name}) > 1:
            told = name.decode().title()
            raise Refused(400, "bad_credentials", f"the request has two {told} headers that differ; send one")


_CREDENTIALS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """The path and the query of a request target in any of its four forms (RFC 9112 §3.2)."""
    if target.startswith(b"/") and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    if target == b"*":
        return target, b""
    url = parse_url(target.partition(b"#")[0])
    return url.path or b"/", url.query or b""
