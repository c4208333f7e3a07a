"""OpenAI's Responses relayed: what the tap notes, and that every byte goes through."""

from __future__ import annotations

import json

import pytest
from openai_responses_bodies import ANSWER, events
from recorded_exchanges import Exchange, each

from genai_spine.dialects.openai_responses import outbound
from genai_spine.dialects.openai_responses.tap import open_tap, tap_answer
from genai_spine.dialects.relay import StreamTap
from genai_spine.model.errors import BadReply, QuotaExceeded, StreamBroken


def written(*, named: bool = True) -> bytes:
    return b"".join(
        (f"event: {event['type']}\n".encode() if named else b"") + b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events()
    )


def relayed(data: bytes, size: int) -> tuple[bytes, StreamTap]:
    tap = open_tap()
    out = b"".join(tap.feed(data[start : start + size]) for start in range(0, len(data), size))
    return out + tap.close(), tap


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_every_byte_goes_through_and_the_end_is_noted(named: bool, size: int) -> None:
    data = written(named=named)
    out, tap = relayed(data, size)
    assert out == data
    assert (tap.model, tap.finish_reason, tap.finished) == ("gpt-5.1-2025-11-13", "completed", True)
    assert tap.usage is not None
    usage = outbound.decode_usage(tap.usage)
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens) == (90, 64, 12)


def test_an_incomplete_answer_names_its_reason() -> None:
    response = {**ANSWER, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    event = {"type": "response.incomplete", "response": response}
    _, tap = relayed(b"data: " + json.dumps(event).encode() + b"\n\n", 50)
    assert tap.finish_reason == "max_output_tokens"
    assert tap_answer(json.dumps(response).encode()).finish_reason == "max_output_tokens"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"code": "insufficient_quota", "message": "No credit."}},
        {"type": "error", "code": "insufficient_quota", "message": "No credit.", "param": None},
        {"type": "response.failed", "response": {"error": {"code": "insufficient_quota", "message": "No credit."}}},
    ],
)
def test_an_error_is_held_back_and_raised(event: dict[str, object]) -> None:
    begun = written()[:2000].rpartition(b"\n\n")[0] + b"\n\n"
    tap = open_tap()
    assert tap.feed(begun + b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n") == begun
    with pytest.raises(StreamBroken, match="No credit") as raised:
        tap.close()
    assert isinstance(raised.value.body, bytes)
    assert isinstance(outbound.decode_embedded_error(raised.value.body), QuotaExceeded)


def test_an_end_that_never_comes() -> None:
    tap = open_tap()
    tap.feed(written()[:3000])
    with pytest.raises(BadReply):
        tap.close()


@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b"<html>", b'{"output":{}}', b'{"error":{"message":"no"}}'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadReply):
        tap_answer(body)


def test_a_failed_answer_of_status_200_is_its_error() -> None:
    failed = {**ANSWER, "status": "failed", "error": {"code": "server_error", "message": "It failed."}}
    with pytest.raises(StreamBroken, match="It failed"):
        tap_answer(json.dumps(failed).encode())


@each("responses", streamed=True)
def test_recorded_streams_go_through_and_are_counted(exchange: Exchange) -> None:
    out, tap = relayed(exchange.body, 1000)
    read = tap.usage
    assert exchange.body.startswith(out)
    assert exchange.body.removeprefix(out).strip() in (b"", b"data: [DONE]") or out.count(b"response.completed") == 2
    assert read is None or outbound.decode_usage(read) is not None
