"""Every recorded exchange of OpenAI's older completions: read from both ends, and each request written again."""

from __future__ import annotations

import json

import pytest
from recorded_exchanges import Exchange, each, exchanges

from genai_spine.dialects.interface import Target
from genai_spine.dialects.openai_chat import tap
from genai_spine.dialects.openai_completions import inbound, outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.fold import collect, replay
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="asked-model"))
SERVICES = ("openai", "ollama", "vllm", "together", "writer")
"""Anthropic's, recorded under the same name, is another API, which it has given up."""
MAY_DIFFER = {
    "model": "it is the target's",
    "stream": "false and absent mean the same",
    "stream_options": "we ask for usage",
    "stop": "one stop sequence is a list of one",
    "prompt": "a list of one prompt is that prompt",
}


def answer(exchange: Exchange) -> CompletionResponse:
    if not exchange.streamed:
        return outbound.decode_response(exchange.body, TARGET)
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(exchange.body), *decoder.close()])


def said_in(exchange: Exchange) -> tuple[str, str | None, int | None]:
    """Text, finish reason and total of tokens, read without our decoders."""
    lines = exchange.body.decode().splitlines() if exchange.streamed else [exchange.body.decode().replace("\n", " ")]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line not in ("", "data: [DONE]")]
    firsts = [choice for chunk in chunks for choice in chunk["choices"] if not choice.get("index")]
    ends = [choice["finish_reason"] for choice in firsts if choice.get("finish_reason")]
    totals = [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")]
    return "".join(choice["text"] for choice in firsts), *[found[-1] if found else None for found in (ends, totals)]


@each("legacy_completions", *SERVICES)
def test_every_recorded_answer_says_what_it_says(exchange: Exchange) -> None:
    if exchange.status != 200:
        error = outbound.decode_error(exchange.status, {}, exchange.body)
        assert error.message == json.loads(exchange.body)["error"]["message"]
        return
    response = answer(exchange)
    text, finish, total = said_in(exchange)
    assert (response.text, response.raw_finish_reason) == (text, finish)
    assert (response.usage.total_tokens if response.usage is not None else None) == total


@each("legacy_completions", *SERVICES)
def test_every_recorded_request_is_written_again(exchange: Exchange) -> None:
    body = json.dumps(exchange.request).encode()
    sent = outbound.encode_request(inbound.decode_request(body), TARGET, stream=exchange.streamed)
    again = json.loads(sent.body)
    for name, value in exchange.request.items():
        if value is not None and name not in MAY_DIFFER:
            assert again[name] == value
    prompt = exchange.request["prompt"]
    assert again["prompt"] == (prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt)
    assert again.keys() <= exchange.request.keys() | {"stream_options"}
    assert sent.notices == ()


@each("legacy_completions", *SERVICES)
def test_every_recorded_answer_goes_out_again(exchange: Exchange) -> None:
    if exchange.status != 200:
        return
    response = answer(exchange)
    request = inbound.decode_request(json.dumps(exchange.request).encode())
    again = outbound.decode_response(inbound.encode_response(response, request), TARGET)
    assert (again.parts, again.usage, again.extra) == (response.parts, response.usage, response.extra)
    assert (again.id, again.created_s, again.raw_finish_reason) == (
        response.id or "cmpl-unnamed",
        response.created_s,
        response.raw_finish_reason,
    )
    encoder = inbound.stream_encoder(request)
    stream = b"".join(encoder.encode(event) for event in replay(response))
    decoder = outbound.stream_decoder(TARGET)
    events = [event for byte in stream for event in decoder.feed(bytes([byte]))]
    assert collect([*events, *decoder.close()]).text == response.text


@each("legacy_completions", *SERVICES)
def test_the_chats_tap_reads_every_recorded_answer_along(exchange: Exchange) -> None:
    if exchange.status != 200:
        return
    response = answer(exchange)
    if not exchange.streamed:
        told = tap.tap_answer(exchange.body)
        assert (told.finish_reason, told.model) == (response.raw_finish_reason, json.loads(exchange.body)["model"])
        assert (None if told.usage is None else outbound.decode_usage(told.usage)) == response.usage
        return
    opened = tap.open_tap()
    assert opened.feed(exchange.body) + opened.close() == exchange.body
    assert opened.finish_reason == response.raw_finish_reason


def test_there_are_recordings() -> None:
    if not exchanges("legacy_completions"):
        pytest.skip("no recordings here")
    assert len([one for one in exchanges("legacy_completions") if one.provider in SERVICES]) == 46
