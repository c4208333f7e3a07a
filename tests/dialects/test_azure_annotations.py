"""What Azure's content filter says of prompts and answers is kept, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

from recorded_exchanges import Exchange, each

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat import outbound
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import ContentFiltered
from genai_spine.model.fold import collect
from genai_spine.model.response import CompletionResponse

TARGET = Target(card=ModelCard(id="gpt"))
SAFE = {"filtered": False, "severity": "safe"}
LOW = {"filtered": False, "severity": "low"}
HIGH = {"filtered": True, "severity": "high"}


def streamed(*chunks: dict[str, Any]) -> CompletionResponse:
    decoder = outbound.stream_decoder(TARGET)
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    return collect([*decoder.feed(body), *decoder.close()])


def chunk(results: Any, text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"delta": {"content": text}}
    choice = {"index": 0, "finish_reason": finish, "content_filter_results": results, **delta, **more}
    return {"id": "c", "model": "gpt", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


def results_of(response: CompletionResponse) -> Any:
    return kept(response.extra, "openai_chat")["choices[0]"]["content_filter_results"]


def test_an_empty_word_at_the_end_does_not_take_back_what_was_said() -> None:
    response = streamed(
        chunk({}, ""), chunk({"hate": SAFE}, "a"), chunk({"violence": SAFE}, "b"), chunk({}, "", "stop")
    )
    assert results_of(response) == {"hate": SAFE, "violence": SAFE}


def test_what_was_found_once_stays_found() -> None:
    response = streamed(chunk({"hate": LOW}, "a"), chunk({"hate": SAFE}, "b"), chunk({"hate": SAFE}, "", "stop"))
    assert results_of(response) == {"hate": LOW}


def test_the_asynchronous_filter_speaks_without_a_delta() -> None:
    """learn.microsoft.com/azure/foundry/openai/concepts/content-streaming (2026-11)."""
    offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
    response = streamed(
        chunk({}, "a"), chunk({"hate": HIGH}, content_filter_offsets=offsets), chunk({}, finish="content_filter")
    )
    assert results_of(response) == {"hate": HIGH}
    assert kept(response.extra, "openai_chat")["choices[0]"]["content_filter_offsets"] == offsets
    assert response.finish_reason == "content_filter"


@each("chat", "azure-openai")
def test_every_recorded_annotation_is_kept(exchange: Exchange) -> None:
    if exchange.status != 200:
        return
    chunks = [json.loads(line[5:]) for line in exchange.body.decode().splitlines() if line.startswith("data: {")]
    try:
        if chunks:
            decoder = outbound.stream_decoder(TARGET)
            response = collect([*decoder.feed(exchange.body), *decoder.close()])
        else:
            response = outbound.decode_response(exchange.body, TARGET)
    except ContentFiltered:
        assert b'"innererror"' in exchange.body
        return
    extra = kept(response.extra, "openai_chat")
    for said in chunks or [json.loads(exchange.body)]:
        if said.get("prompt_filter_results"):
            assert extra["prompt_filter_results"] == said["prompt_filter_results"]
        for choice in said.get("choices", ()):
            for category, result in (choice.get("content_filter_results") or {}).items():
                assert results_of(response)[category] == result
