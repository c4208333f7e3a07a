"""URLs and heads: values in, bytes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import InvalidRequest
from genai_spine.wire.http import encode_head, encode_headers, finish_head, parse_url


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://api.openai.com/v1", ("https", "api.openai.com", 443, "/v1", "api.openai.com")),
        ("HTTP://Localhost:11434", ("http", "localhost", 11434, "/", "localhost:11434")),
        ("http://[::1]:80/a?b=c#d", ("http", "::1", 80, "/a?b=c", "[::1]")),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example")),
    ],
)
def test_a_url_is_read_once_into_its_parts(text, parts):
    url = parse_url(text)
    assert (url.scheme, url.host, url.port, url.target, url.authority) == parts


@pytest.mark.parametrize(
    "text",
    ["", "api.openai.com", "ftp://x/", "file:///etc/passwd", "http://", "http://a b/", "http://x:port/",
     "http://user:pw@x/", "http://x/\r\n", "http://x/a b", "http://x/é", "http://[::1", "http://x\0y/",
     "http://a..b\u3002/", "http://x:70000/"],
)  # fmt: skip
def test_what_is_no_url_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_url(text)


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("https://x/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://x/v1/", "chat", "/v1/chat"),
        ("https://x", "/v1/messages", "/v1/messages"),
        ("https://x/openai?api-version=1", "/chat", "/openai/chat?api-version=1"),
        ("https://x/openai?api-version=1", "/chat?alt=sse", "/openai/chat?alt=sse&api-version=1"),
    ],
)
def test_a_path_is_added_to_a_base(base, path, target):
    assert parse_url(base).at(path).target == target


def test_a_head_is_written_in_order():
    url = parse_url("https://x.test/v1?a=b")
    head = finish_head(encode_head("POST", url, (("a", " 1 "), ("B", "2"))), "POST", 7)
    assert head == (
        b"POST /v1?a=b HTTP/1.1\r\nhost: x.test\r\na: 1\r\nB: 2\r\naccept-encoding: identity\r\n"
        b"content-length: 7\r\n\r\n"
    )


def test_host_and_accept_encoding_may_be_given():
    url = parse_url("https://x.test/")
    head = encode_head("GET", url, ((b"Host", b"y.test"), ("Accept-Encoding", "gzip")))
    assert head == b"GET / HTTP/1.1\r\nHost: y.test\r\nAccept-Encoding: gzip\r\n"


@pytest.mark.parametrize("method", ["", "post", "GET /", "CONNECT", "A" * 21])
def test_what_is_no_method_is_refused(method):
    with pytest.raises(InvalidRequest):
        encode_head(method, parse_url("http://x/"), ())


@given(st.text(max_size=20), st.text(max_size=20))
def test_fault_43_a_header_is_one_line_or_refused(name, value):
    try:
        line = encode_headers(((name, value),))
    except InvalidRequest:
        return
    assert line.count(b"\r\n") == 1
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert b"\0" not in line
