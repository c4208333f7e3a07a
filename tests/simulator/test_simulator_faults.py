"""Every fault, provoked on a real socket and seen from a client that hides nothing."""

from __future__ import annotations

import zlib
from email.utils import parsedate_to_datetime
from itertools import pairwise

import msgspec
import pytest
from raw_client import HELLO, PATHS, ask, connect, read_to_end, request_bytes

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import KNOBS, Simulator

dialects = pytest.mark.parametrize("dialect", PATHS)
streamed_or_not = pytest.mark.parametrize("stream", [True, False])

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}


def test_every_setting_is_provoked_in_this_file():
    with open(__file__, encoding="utf-8") as source:
        text = source.read()
    assert [name for name in KNOBS if f"{name}=" not in text and f'"{name}' not in text] == []


# ---------------------------------------------------------------- errors in place of answers


@dialects
@streamed_or_not
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529])
def test_a_status_comes_with_an_error_of_the_dialect(simulator: Simulator, dialect: str, stream: bool, status: int):
    reply = ask(simulator, dialect, f"status={status}; message=so it is", stream=stream)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert "so it is" in str(reply.json()["error"])
    assert (reply.json().get("type") == "error") is (dialect == "anthropic")


def test_an_error_has_the_code_that_is_asked_for(simulator: Simulator):
    reply = ask(simulator, fault="status=429; code=insufficient_quota")
    assert reply.json()["error"]["code"] == "insufficient_quota"


def test_retry_after_as_seconds_date_milliseconds_and_garbage(simulator: Simulator):
    headers = ask(simulator, fault="status=429; retry_after=2; retry_after_ms=1500; should_retry=false").headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == (
        "2",
        "1500",
        "false",
    )
    headers = ask(simulator, fault="status=429; retry_after=date:30").headers
    wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    assert 29 <= wait.total_seconds() <= 31
    assert ask(simulator, fault="status=429; retry_after=soon").headers["retry-after"] == "soon"


@dialects
@streamed_or_not
def test_bodies_that_are_no_answers(simulator: Simulator, dialect: str, stream: bool):
    html = ask(simulator, dialect, "body=html", stream=stream)
    assert html.status == 502 and html.body.startswith(b"<!DOCTYPE html>")
    assert html.headers["content-type"] == "text/html; charset=UTF-8"
    text = ask(simulator, dialect, "body=text", stream=stream)
    assert text.status == 503 and text.body.startswith(b"upstream connect error")
    empty = ask(simulator, dialect, "body=empty", stream=stream)
    assert empty.status == 200 and empty.body == b"" and empty.is_whole
    error = ask(simulator, dialect, "body=error", stream=stream)
    assert error.status == 200 and "error" in error.json()
    assert ask(simulator, dialect, "body=html; status=200", stream=stream).status == 200


@dialects
def test_a_plain_answer_where_a_stream_was_asked_for(simulator: Simulator, dialect: str):
    reply = ask(simulator, dialect, "body=plain", stream=True)
    assert reply.headers["content-type"] == "application/json"
    assert b"You said: hello there" in reply.body and reply.json()


def test_a_wrong_content_type(simulator: Simulator):
    reply = ask(simulator, fault="content_type=text/plain", stream=True)
    assert reply.headers["content-type"] == "text/plain"
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_redirects(simulator: Simulator):
    reply = ask(simulator, fault="redirect")
    assert (reply.status, reply.headers["location"], reply.body) == (302, "/redirected", b"")
    reply = ask(simulator, fault="redirect=http://127.0.0.1:1/; status=307")
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/")


@pytest.mark.parametrize("by", ["header", "script"])
def test_an_answer_before_the_upload_is_here(simulator: Simulator, by: str):
    body = msgspec.json.encode({"messages": HELLO, "pad": "x" * 100_000})
    if by == "script":
        simulator.run("early")
    request = request_bytes(PATHS["openai"], body, {"x-simulate": "early"} if by == "header" else {})
    with connect(simulator) as sock:
        sock.sendall(request[:1000])
        head = sock.recv(65536)
        assert head.startswith(b"HTTP/1.1 413 ")
        sock.sendall(request[1000:])  # still taken: the server lingers
        assert read_to_end(sock, silence_s=2).end == "close"
    assert simulator.received[0].body == b""
    assert ask(simulator, fault="early=true; status=503").status == 503


# ---------------------------------------------------------------- time


@dialects
@streamed_or_not
def test_silence_before_the_head(simulator: Simulator, dialect: str, stream: bool):
    reply = ask(simulator, dialect, "stall=head", stream=stream, silence_s=0.15)
    assert (reply.raw, reply.end) == (b"", "silence")
    wait_until(lambda: simulator.received[0].outcome == "gone")


def test_silence_within_the_head(simulator: Simulator):
    reply = ask(simulator, fault="stall=mid-head", silence_s=0.15)
    assert reply.raw.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in reply.raw and reply.end == "silence"


@dialects
def test_silence_before_the_first_event_and_between_events(simulator: Simulator, dialect: str):
    first = ask(simulator, dialect, "stall=first", stream=True, silence_s=0.15)
    assert first.status == 200 and first.body == b"" and first.end == "silence"
    third = ask(simulator, dialect, "stall=3", stream=True, silence_s=0.15)
    assert len(third.frames) == 3 and third.end == "silence"


def test_silence_inside_a_plain_body(simulator: Simulator):
    reply = ask(simulator, fault="stall=1", silence_s=0.15)
    assert 0 < len(reply.body) < int(reply.headers["content-length"]) and reply.end == "silence"


@streamed_or_not
def test_silence_may_end(simulator: Simulator, stream: bool):
    reply = ask(simulator, fault="stall=1; for_s=0.2", stream=stream, silence_s=2)
    assert reply.is_whole
    assert max(later - sooner for sooner, later in pairwise(reply.at_s)) >= 0.15


def test_a_stream_is_paced(simulator: Simulator):
    reply = ask(simulator, fault="rate=50", stream=True, silence_s=2)
    assert reply.is_whole and len(reply.frames) == 8
    assert reply.at_s[-1] - reply.at_s[0] >= 0.9 * 7 / 50


@streamed_or_not
def test_a_slow_drip_of_single_bytes(simulator: Simulator, stream: bool):
    reply = ask(simulator, fault="drip=1; every_ms=0.1", stream=stream, silence_s=2)
    assert reply.is_whole and len(reply.reads) > len(reply.raw) / 4
    whole = ask(simulator, stream=stream)
    assert reply.body == whole.body


# ---------------------------------------------------------------- broken connections


@streamed_or_not
@pytest.mark.parametrize(("fault", "end"), [("reset", "reset"), ("close", "close")])
def test_the_end_of_the_connection_before_the_head(simulator: Simulator, stream: bool, fault: str, end: str):
    reply = ask(simulator, fault=f"{fault}=head", stream=stream)
    assert (reply.raw, reply.end) == (b"", end)
    assert simulator.received[0].outcome == "broken"


@pytest.mark.parametrize(("fault", "end"), [("reset", "reset"), ("close", "close")])
def test_the_end_of_the_connection_within_the_head(simulator: Simulator, fault: str, end: str):
    reply = ask(simulator, fault=f"{fault}=mid-head")
    assert reply.raw.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in reply.raw and reply.end == end


@dialects
@pytest.mark.parametrize(("fault", "end"), [("reset", "reset"), ("close", "close")])
@pytest.mark.parametrize("count", [0, 3])
def test_the_end_of_the_connection_after_some_events(
    simulator: Simulator, dialect: str, fault: str, end: str, count: int
):
    reply = ask(simulator, dialect, f"{fault}={count}", stream=True)
    assert len(reply.frames) == count and not reply.is_whole and reply.end == end


@pytest.mark.parametrize(("fault", "end"), [("reset", "reset"), ("close", "close")])
def test_the_end_of_the_connection_inside_a_plain_body(simulator: Simulator, fault: str, end: str):
    reply = ask(simulator, fault=f"{fault}=1")
    assert 0 < len(reply.body) < int(reply.headers["content-length"]) and reply.end == end


def test_a_place_past_the_end_is_before_the_end_of_the_body(simulator: Simulator):
    reply = ask(simulator, fault="close=1000", stream=True)
    assert reply.body.endswith(b"data: [DONE]\n\n") and not reply.is_whole


@dialects
def test_a_body_that_ends_early_and_seems_whole(simulator: Simulator, dialect: str):
    reply = ask(simulator, dialect, "end=3", stream=True)
    assert len(reply.frames) == 3 and reply.is_whole
    assert ask(simulator, dialect, "end=1").is_whole


def test_the_answer_says_that_the_connection_closes(simulator: Simulator):
    with connect(simulator) as sock:
        request = {"messages": HELLO}
        sock.sendall(request_bytes(PATHS["openai"], request, {"x-simulate": "connection=close"}))
        reply = read_to_end(sock)
    assert reply.headers["connection"] == "close" and reply.end == "close" and reply.is_whole


# ---------------------------------------------------------------- framing


@streamed_or_not
def test_each_framing(simulator: Simulator, stream: bool):
    expected = ask(simulator, stream=stream).body
    chunked = ask(simulator, fault="framing=chunked", stream=stream)
    assert chunked.headers["transfer-encoding"] == "chunked" and chunked.body == expected
    length = ask(simulator, fault="framing=length", stream=stream)
    assert length.is_whole and length.body == expected
    until_close = ask(simulator, fault="framing=until-close", stream=stream)
    assert not {"content-length", "transfer-encoding"} & until_close.headers.keys()
    assert until_close.raw_body == expected and until_close.end == "close"


@streamed_or_not
@pytest.mark.parametrize("error", [-5, 5])
def test_a_length_that_is_wrong(simulator: Simulator, stream: bool, error: int):
    reply = ask(simulator, fault=f"length={error:+d}", stream=stream)
    assert int(reply.headers["content-length"]) == len(reply.raw_body) + error
    assert reply.end == "close"


@pytest.mark.parametrize("stream", [True, False])
def test_a_chunk_size_that_is_no_number(simulator: Simulator, stream: bool):
    reply = ask(simulator, fault="bad_chunk=1", stream=stream)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert b"\r\nzz\r\n" in reply.raw_body


@streamed_or_not
@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_packed_bodies(simulator: Simulator, stream: bool, coding: str, wbits: int):
    reply = ask(simulator, fault=f"coding={coding}", stream=stream)
    assert reply.headers["content-encoding"] == coding
    assert zlib.decompress(reply.body, wbits) == ask(simulator, stream=stream).body


def test_a_bomb(simulator: Simulator):
    reply = ask(simulator, fault="coding=bomb; bomb_bytes=50000000")
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.body) < 100_000
    assert len(zlib.decompress(reply.body, 31)) >= 50_000_000


# ---------------------------------------------------------------- events


@dialects
@pytest.mark.parametrize(("newline", "written"), [("crlf", b"\r\n"), ("cr", b"\r"), ("lf", b"\n")])
def test_line_ends(simulator: Simulator, dialect: str, newline: str, written: bytes):
    expected = ask(simulator, dialect, stream=True).body
    assert ask(simulator, dialect, f"newline={newline}", stream=True).body == expected.replace(b"\n", written)


@streamed_or_not
def test_a_byte_order_mark(simulator: Simulator, stream: bool):
    assert ask(simulator, fault="bom", stream=stream).body.startswith(b"\xef\xbb\xbf")


def test_comments_between_events(simulator: Simulator):
    expected = ask(simulator, stream=True)
    reply = ask(simulator, fault="pings", stream=True)
    assert reply.frames.count(b": keep-alive") == len(expected.frames)
    assert [frame for frame in reply.frames if not frame.startswith(b":")] == expected.frames
    lines = ask(simulator, "ollama", "pings", stream=True)
    assert lines.body.startswith(b"\n{")


@dialects
def test_a_malformed_event(simulator: Simulator, dialect: str):
    expected = ask(simulator, dialect, stream=True).frames
    frames = ask(simulator, dialect, "malformed=2", stream=True).frames
    assert len(frames) == len(expected)
    assert [index for index, frame in enumerate(frames) if frame != expected[index]] == [2]
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(frames[2].rpartition(b"data: ")[2])


@dialects
def test_a_malformed_plain_answer(simulator: Simulator, dialect: str):
    reply = ask(simulator, dialect, "malformed")
    assert reply.is_whole
    with pytest.raises(msgspec.DecodeError):
        reply.json()


@dialects
def test_an_error_inside_the_stream(simulator: Simulator, dialect: str):
    reply = ask(simulator, dialect, "error_at=2; status=529; message=too much", stream=True)
    assert reply.status == 200 and reply.is_whole
    assert len(reply.frames) == 3
    assert b"too much" in reply.frames[-1] and b'"error"' in reply.frames[-1]
    assert reply.frames[-1].startswith(b"event: error") is (dialect == "anthropic")


@dialects
@streamed_or_not
def test_a_huge_event(simulator: Simulator, dialect: str, stream: bool):
    reply = ask(simulator, dialect, "huge=5000000", stream=stream, silence_s=2)
    assert reply.is_whole
    assert len(reply.body) > 5_000_000
    if stream:
        assert max(len(frame) for frame in reply.frames) > 5_000_000


@dialects
@streamed_or_not
def test_a_line_that_never_ends(simulator: Simulator, dialect: str, stream: bool):
    reply = ask(simulator, dialect, "endless=1; framing=until-close", stream=stream, silence_s=2, most=20_000_000)
    assert reply.end == "enough"
    assert b"\n" not in reply.raw_body[-10_000_000:]
    wait_until(lambda: simulator.received[0].outcome == "gone")


def test_an_endless_line_in_chunks(simulator: Simulator):
    reply = ask(simulator, fault="endless", stream=True, silence_s=2, most=3_000_000)
    assert reply.raw_body.startswith(b"6\r\ndata: \r\n10000\r\nxxxx")


COUNTERS = {
    "openai": (b'"prompt_tokens":', b'"usage":'),
    "anthropic": (b'"input_tokens":', b'"usage":'),
    "ollama": (b'"prompt_eval_count":', b'"eval_count":'),
}


@dialects
@streamed_or_not
@pytest.mark.parametrize(
    ("usage", "written"),
    [("null", b"null"), ("strings", b'"2 tokens"'), ("negative", b"-3"), ("absurd", b"1000000000000000002")],
)
def test_counters_of_the_wrong_kind(simulator: Simulator, dialect: str, stream: bool, usage: str, written: bytes):
    body = ask(simulator, dialect, f"usage={usage}", stream=stream).body
    assert COUNTERS[dialect][0] + written in body.replace(b": ", b":")
    assert COUNTERS[dialect][0] + b"2" not in body.replace(b": ", b":")


@dialects
@streamed_or_not
def test_counters_that_are_missing(simulator: Simulator, dialect: str, stream: bool):
    assert all(name in ask(simulator, dialect, stream=stream).body for name in COUNTERS[dialect])
    body = ask(simulator, dialect, "usage=missing", stream=stream).body
    assert not any(name in body for name in COUNTERS[dialect][:1])
    if stream is False and dialect != "openai":
        assert not any(name in body for name in COUNTERS[dialect])


@dialects
def test_counters_that_come_twice(simulator: Simulator, dialect: str):
    expected = ask(simulator, dialect, stream=True).frames
    frames = ask(simulator, dialect, "usage=twice", stream=True).frames
    assert len(frames) == len(expected) + 1
    again = [frame for frame, following in pairwise(frames) if frame == following]
    assert len(again) == 1 and (b"_tokens" in again[0] or b"_count" in again[0])


LAST = {"openai": b"data: [DONE]", "anthropic": b"event: message_stop", "ollama": b'"done":true'}


@dialects
def test_the_last_event(simulator: Simulator, dialect: str):
    expected = ask(simulator, dialect, stream=True).frames
    assert LAST[dialect] in expected[-1]
    missing = ask(simulator, dialect, "ending=missing", stream=True)
    assert missing.frames == expected[:-1] and missing.is_whole
    assert ask(simulator, dialect, "ending=twice", stream=True).frames == [*expected, expected[-1]]
    after = ask(simulator, dialect, "ending=data-after", stream=True).frames
    assert after[:-1] == expected and LAST[dialect] not in after[-1]


@dialects
def test_the_finish_reason(simulator: Simulator, dialect: str):
    def finishes(fault: str) -> int:
        body = ask(simulator, dialect, fault, stream=True).body
        return body.count(b'_reason":"stop"') + body.count(b'stop_reason":"end_turn"')

    assert [finishes(fault) for fault in ("ok", "finish=twice", "finish=missing")] == [1, 2, 0]


@streamed_or_not
def test_tool_calls_with_something_missing(simulator: Simulator, stream: bool):
    def calls(fault: str) -> bytes:
        return ask(simulator, fault=fault, stream=stream, tools=[TOOL]).body

    assert b'"id":"call_' in calls("ok") and b'"arguments"' in calls("ok")
    assert b'"id":"call_' not in calls("tool_calls=no-id")
    assert b'"arguments"' not in calls("tool_calls=no-arguments")
    if stream:
        assert b'"tool_calls":[{"index":0' in calls("ok")
        assert b'"tool_calls":[{"index":0' not in calls("tool_calls=no-index")


def test_faults_go_together(simulator: Simulator):
    reply = ask(simulator, fault="newline=crlf; pings; bom; drip=7; reset=4", stream=True, silence_s=2)
    assert reply.end == "reset" and not reply.is_whole
    assert reply.body.startswith(b"\xef\xbb\xbf: keep-alive\r\n\r\ndata: ")
    assert ask(simulator, model="x+status=503,times=1").status == 503


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
def test_faults_of_embeddings(simulator: Simulator, path: str):
    from raw_client import exchange

    body = {"model": "e+status=503,retry_after=1", "input": "hello"}
    reply = exchange(simulator, path, body)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert exchange(simulator, path, {**body, "model": "e+malformed"}).status == 200


def test_faults_of_lists_come_by_header_or_script(simulator: Simulator):
    from raw_client import exchange

    assert exchange(simulator, "/v1/models", headers={"x-simulate": "status=500"}).status == 500
    simulator.run("reset")
    assert exchange(simulator, "/api/tags").end == "reset"
