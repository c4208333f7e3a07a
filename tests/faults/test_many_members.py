"""A request of very many members, or long names of them: read in time of its length, and forgotten when answered."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import inbound
from genai_spine.gateway.request import header_value
from genai_spine.model.card import ModelCard
from genai_spine.providers import codecs
from genai_spine.testing.fixtures import RunningGateway
from genai_spine.wire.json import top_level

MANY = 40_000


def _body(names: int, length: int = 0, more: str = "") -> bytes:
    odd = {f"{more}{number:06}".ljust(length, "x"): 1 for number in range(names)}
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}], **odd}).encode()


@pytest.mark.parametrize("dialect", [name for name in codecs.OUTBOUND if name not in codecs.EMBEDDINGS])
def test_fault_81_members_that_a_provider_does_not_know_cost_no_more_than_to_be_read(dialect: str) -> None:
    request = inbound.decode_request(_body(MANY))
    target = Target(card=ModelCard(id="owner/name"))
    begun = time.perf_counter()
    outgoing = codecs.outbound(dialect).encode_request(request, target, stream=False)
    assert time.perf_counter() - begun < 4  # each compared with all others: from 15 s up
    told = len([notice for notice in outgoing.notices if notice.code == "dropped"])
    assert told == (0 if dialect == "openai_chat" else MANY)


def _kept(work: Callable[[int], Any]) -> int:
    """Bytes that are left of doing something a hundred times."""
    work(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 101):
            work(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("names", "length"), [(2000, 0), (1, 20_000)], ids=["many", "long"])
def test_fault_82_names_of_a_callers_making_are_not_remembered(names: int, length: int) -> None:
    assert _kept(lambda number: top_level(_body(names, length, str(number)))) < 500_000


def test_fault_82_nor_what_headers_were_made_of() -> None:
    assert _kept(lambda number: header_value(f"{number} " + "x" * 20_000)) < 500_000


def test_fault_81_what_was_dropped_is_told_as_far_as_a_header_goes(gateway: RunningGateway) -> None:
    model = {"model": "anthropic/sim-short"}
    body = {**json.loads(_body(3000)), **model}
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    told = answer.headers["x-spine-notices"]
    assert "; dropped 000000: " in told
    assert len(told) == 1000
