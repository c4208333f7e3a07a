"""What the simulator would charge: its own rules, each on a real socket."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import pytest

from genai_spine.model.errors import InvalidRequest
from genai_spine.model.response import TokenUsage
from genai_spine.testing.fixtures import running_simulator, wait_until
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.simulator import bill as bills
from genai_spine.testing.simulator.bill import Bill, Rates, Work, parse_rates

RATES = {"dear": Rates(input=100, output=1000, cache_read=10, cache_write=125), "sim-*": Rates(input=1, output=10)}
PATHS = ("/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(rates=RATES) as running:
        yield running


def ask(simulator: Simulator, path: str, model: str, *, stream: bool = False, **more: Any) -> bytes:
    turns = [{"role": "user", "content": "Hi there"}]
    said = {"input": "Hi there"} if path.endswith("responses") else {"messages": turns}
    body = {"model": model, "stream": stream, "max_tokens": 500, **said, **more}
    request = urllib.request.Request(simulator.urls.root + path, json.dumps(body).encode(), {"connection": "close"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, HTTPException, OSError):
        return b""


def charge(simulator: Simulator, path: str, model: str, *, stream: bool = False) -> tuple[int, int, int] | None:
    """Tokens in and out, and nano-dollars, of one request; None where it is not on the bill."""
    before = len(simulator.bill.charges)
    ask(simulator, path, model, stream=stream)
    new = simulator.bill.charges[before:]
    assert len(new) <= 1
    return (new[0].input_tokens, new[0].output_tokens, new[0].nanousd) if new else None


def test_a_whole_answer_is_charged_whole_plain_or_streamed(simulator: Simulator) -> None:
    for path in PATHS:
        for stream in (False, True):
            assert charge(simulator, path, "sim-long-9", stream=stream) == (2, 9, 92), path
            assert charge(simulator, path, "sim-long-9+pings,newline=crlf,coding=gzip", stream=stream) == (2, 9, 92)
            assert charge(simulator, path, "sim-long-9+usage=missing", stream=stream) == (2, 9, 92)


def test_what_is_refused_or_unread_costs_nothing(simulator: Simulator) -> None:
    faults = ("status=429", "status=503", "status=502,body=html", "body=error", "body=empty", "reset=head", "redirect")
    for fault in faults:
        assert charge(simulator, "/v1/chat/completions", f"sim-long-9+{fault}") is None, fault
    assert charge(simulator, "/v1/chat/completions", "another") is None  # it has no price


def test_a_plain_answer_that_is_lost_on_its_way_is_charged_all_the_same(simulator: Simulator) -> None:
    for fault in ("reset=mid-head", "reset=1", "length=%2B5", "malformed"):
        assert charge(simulator, "/v1/messages", f"sim-long-9+{fault}") == (2, 9, 92), fault


def test_of_a_stream_what_has_left_is_charged(simulator: Simulator) -> None:
    for path in PATHS:
        made = [charge(simulator, path, f"sim-long-50+reset={piece}", stream=True) for piece in (0, 5, 20, 10_000)]
        tokens = [found[1] for found in made if found is not None]
        assert len(tokens) == 4 and tokens[0] == 0 < tokens[1] < tokens[2] < 50 == tokens[3], path
        assert all(found is not None and found[2] == 2 + 10 * found[1] for found in made)
        cut = charge(simulator, path, "sim-long-50+end=20", stream=True)
        assert cut == made[2], path
        told = [charge(simulator, path, f"sim-long-50+error_at={piece}", stream=True) for piece in (0, 5, 20)]
        assert [told[0], told[2]] == [None, made[2]] and told[1] in (None, made[1]), path


def test_a_stream_is_charged_no_further_than_its_reader_stayed(simulator: Simulator) -> None:
    async def leave() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        turns = [{"role": "user", "content": "a"}]
        body = json.dumps({"model": "sim-long-50+rate=100", "stream": True, "messages": turns})
        writer.write(f"POST /api/chat HTTP/1.1\r\nhost: s\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        for _ in range(12):
            await reader.readuntil(b"\n")
        writer.transport.abort()

    asyncio.run(leave())
    wait_until(lambda: simulator.received[-1].outcome == "gone")
    assert 0 < simulator.bill.charges[-1].output_tokens < 50


def test_the_cache_has_its_own_rates(simulator: Simulator) -> None:
    mark = [{"type": "text", "text": "Hi there", "cache_control": {"type": "ephemeral"}}]
    turns = [{"role": role, "content": text} for role, text in (("user", mark), ("assistant", "Yes"), ("user", "a"))]
    ask(simulator, "/v1/messages", "dear", messages=turns[:1])
    ask(simulator, "/v1/messages", "dear", messages=turns)
    written, read = simulator.bill.charges[-2:]
    assert written.nanousd == 2 * 125 + written.output_tokens * 1000
    assert read.nanousd == 2 * 10 + (read.input_tokens - 2) * 100 + read.output_tokens * 1000


def test_the_bill_is_told_over_http() -> None:
    with running_simulator(rates=RATES) as simulator:
        for model in ("sim-long-9", "sim-long-4", "sim-long-9+status=500"):
            ask(simulator, "/v1/chat/completions", model)
        with urllib.request.urlopen(f"{simulator.urls.root}/simulator/bill", timeout=20) as answer:
            told = json.load(answer)
    assert (told["object"], told["nanousd"], len(told["requests"])) == ("bill", 92 + 42, 2)
    assert told["requests"][0] == {
        "request_id": "req_sim_000001", "path": "/v1/chat/completions", "model": "sim-long-9", "input_tokens": 2,
        "output_tokens": 9, "nanousd": 92,
    }  # fmt: skip


def test_what_is_no_longer_told_one_by_one_is_in_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "MOST_KEPT", 3)
    bill = Bill({"*": Rates(input=1, output=1)})
    for number in range(10):
        bill.add(f"r{number}", "/", "m", Work(TokenUsage(input_tokens=number, output_tokens=1)))
    assert ([charge.request_id for charge in bill.charges], bill.nanousd) == (["r7", "r8", "r9"], 45 + 10)


def test_prices_are_read_from_the_command_line() -> None:
    assert parse_rates([]) is bills.DEFAULT_RATES
    assert parse_rates(["gpt-*=1250,10000", "a=b=1, 2"]) == {
        "gpt-*": Rates(input=1250, output=10000), "a=b": Rates(input=1, output=2),
    }  # fmt: skip
    for wrong in ("gpt", "gpt=1", "=1,2", "gpt=-1,2", "gpt=1.5,2", "gpt=1,2,3"):
        with pytest.raises(InvalidRequest, match="MODEL=IN,OUT"):
            parse_rates([wrong])
