"""What real services answered, kept and given again: the same bytes in the same form, the same answer in the other."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from recorded_exchanges import Exchange as Recorded
from recorded_exchanges import exchanges

from genai_spine import CompletionResponse, ProviderManager
from genai_spine.dialects.interface import Target
from genai_spine.engine.attempt import Attempt
from genai_spine.engine.caching import cached_exchanges
from genai_spine.engine.caching.response_cache import Slot
from genai_spine.engine.exchange import Answered, Exchange, Streaming
from genai_spine.engine.record import CallRecord
from genai_spine.gateway import inbounds
from genai_spine.model.card import ModelCard
from genai_spine.model.fold import collect
from genai_spine.providers import codecs

APIS = {
    "openai_chat": "chat",
    "anthropic_messages": "messages",
    "openai_responses": "responses",
    "ollama_chat": "ollama_chat",
    "gemini": "generate_content",
}
ROWS = {
    "openai_chat": "openai_compatible",
    "anthropic_messages": "anthropic",
    "openai_responses": "openai_compatible",
    "ollama_chat": "ollama",
    "gemini": "gemini",
}


@pytest.fixture(scope="module")
def manager() -> ProviderManager:
    providers = {
        dialect: {"type": row, "base_url": "http://127.0.0.1:9", "api_key": "k", "dialect": dialect}
        for dialect, row in ROWS.items()
    }
    cache = {"url": "memory:", "answers": "all", "max_mb": 1000}
    return ProviderManager.from_settings({"providers": providers, "cache": cache})


def slot_for(manager: ProviderManager, exchange: Exchange, caller: str) -> Slot:
    """The place of a call that one attempt has answered."""
    record = CallRecord(caller=caller)
    assert manager.cache is not None
    decision = manager.router.decide(exchange.wanted, exchange.asked)
    slot = manager.cache.slot_of_exchange(exchange, record, decision)
    assert slot is not None
    choice = record.answered_by = decision.choices[0]
    attempt = Attempt(manager.targets.of(choice))
    attempt.settle()
    record.attempts.append(attempt)
    return slot


async def nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


async def kept(manager: ProviderManager, dialect: str, recorded: Recorded) -> tuple[bool, bool]:
    """Whether the recording was kept, and whether it can be given in the other form; that it is the same then."""
    body = recorded.body
    stream = recorded.streamed or body.startswith(b"data:")  # Gemini's URL says it
    asked = {**recorded.request, "model": f"{dialect}/m", "stream": stream}
    inbound = inbounds.inbound(dialect)
    exchange = Exchange(dialect, inbound, json.dumps(asked).encode())
    slot = slot_for(manager, exchange, recorded.name)
    if stream:
        begun = Streaming(first=body, chunks=nothing(), provider=dialect, model="m", write_error=exchange.write_error)
        keeping = await cached_exchanges.keeping(slot, exchange, begun)
        assert keeping.first + b"".join([chunk async for chunk in keeping.chunks]) == body
        found = await cached_exchanges.streaming(slot, exchange)
        if found is None:
            return False, False
        assert found.first + b"".join([chunk async for chunk in found.chunks]) == body
    else:
        cached_exchanges.keep(slot, exchange, Answered(body=body, provider=dialect, model="m"))
        answer = await cached_exchanges.answered(slot, exchange)
        if answer is None:
            return False, False
        assert answer.body == body
    first = read(dialect, body, stream)
    tells_usage = {"stream_options": {"include_usage": True}} if dialect == "openai_chat" else {}
    other = Exchange(dialect, inbound, json.dumps({**asked, **tells_usage, "stream": not stream}).encode())
    place = slot_for(manager, other, recorded.name)
    if stream:
        whole = await cached_exchanges.answered(place, other)
        if whole is None:
            return True, False
        again = read(dialect, whole.body, False)
    else:
        begun_again = await cached_exchanges.streaming(place, other)
        if begun_again is None:
            return True, False
        again = read(dialect, begun_again.first + b"".join([chunk async for chunk in begun_again.chunks]), True)
    assert told(again) == told(first)
    assert first.id is None or again.id == first.id
    return True, True


def read(dialect: str, body: bytes, stream: bool) -> CompletionResponse:
    codec = codecs.outbound(dialect)
    target = Target(card=ModelCard(id="m", provider=dialect))
    if not stream:
        return codec.decode_response(body, target)
    decoder = codec.stream_decoder(target)
    return collect([*decoder.feed(body), *decoder.close()])


def told(response: CompletionResponse) -> Any:
    """What a caller is told: parts, why it ended, what it used."""
    usage = response.usage
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens or 0) if usage is not None else None
    calls = [(call.name, value_of(call.arguments)) for call in response.tool_calls]
    return response.content, response.thinking, response.refusal, calls, response.finish_reason, counts


def value_of(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:  # a model was cut short
        return arguments


@pytest.mark.parametrize("dialect", APIS)
async def test_what_was_recorded_is_given_again(dialect: str, manager: ProviderManager) -> None:
    found = exchanges(APIS[dialect])
    if not found:
        pytest.skip("no recordings: set GENAI_WIRE")
    outcomes = {}
    for recorded in found:
        if recorded.status == 200 and isinstance(recorded.request, dict):
            outcomes[recorded.name] = await kept(manager, dialect, recorded)
    assert sum(is_kept for is_kept, _ in outcomes.values()) > 0.75 * len(
        outcomes
    )  # the others were cut short, or errors
    for name, (is_kept, in_both) in outcomes.items():
        request = next(recorded.request for recorded in found if recorded.name == name)
        assert not is_kept or in_both or cached_exchanges.ONE_FORM.search(json.dumps(request).encode()), name
