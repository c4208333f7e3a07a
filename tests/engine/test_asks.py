"""What a request asks for that costs: nothing that it says makes it look cheaper than it can be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from genai_spine.engine.costs.asks import asks_of, asks_of_embedding, asks_of_exchange, asks_of_rerank
from genai_spine.engine.exchange import Exchange
from genai_spine.gateway import inbounds
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.request import CompletionRequest
from genai_spine.model.rerank import RerankRequest
from genai_spine.policy.budget_need import Asks

HELLO = [{"role": "user", "content": "hello"}]


def asks(dialect: str = "openai_chat", **body: Any) -> Asks:
    if dialect == "gemini":
        body = {"model": "m", "contents": [{"role": "user", "parts": [{"text": "hello"}]}], **body}
    else:
        body = {"model": "m", "messages": HELLO, **body}
    return asks_of_exchange(Exchange(dialect, inbounds.inbound(dialect), msgspec.json.encode(body)))


@pytest.mark.parametrize(
    ("dialect", "body", "limit"),
    [
        ("openai_chat", {}, None),
        ("openai_chat", {"max_tokens": 7}, 7),
        ("openai_chat", {"max_completion_tokens": 7, "max_tokens": 900}, 900),  # who answers may look at either
        ("openai_chat", {"max_tokens": 0}, None),
        ("openai_chat", {"max_tokens": -1}, None),
        ("openai_chat", {"max_tokens": "many"}, None),
        ("anthropic_messages", {"max_tokens": 7}, 7),
        ("ollama_chat", {"options": {"num_predict": 7}}, 7),
        ("ollama_chat", {"options": {"num_predict": -1}}, None),
        ("gemini", {"generationConfig": {"maxOutputTokens": 7, "candidateCount": 2}}, 7),
        ("gemini", {"generation_config": {"max_output_tokens": 7}}, 7),
        ("gemini", {"generationConfig": {"maxOutputTokens": 7, "max_output_tokens": 900}}, 900),
        ("gemini", {"generationConfig": {"maxOutputTokens": 7}, "generation_config": {"maxOutputTokens": 900}}, 900),
    ],
)
def test_the_longest_answer_is_read_in_every_dialect(dialect: str, body: dict[str, Any], limit: int | None) -> None:
    assert asks(dialect, **body).max_tokens == limit


def test_of_two_limits_the_larger_counts_beside_a_picture_too() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    said = asks(messages=[{"role": "user", "content": [picture]}], max_completion_tokens=7, max_tokens=900)
    assert said.has_media and said.max_tokens == 900
    search = {"generationConfig": {"maxOutputTokens": 7}, "generation_config": {"candidate_count": 2}}
    assert asks("gemini", tools=[{"google_search": {}}], **search).answers == 2


def test_several_answers_are_counted() -> None:
    assert asks(n=3).answers == 3
    assert asks("gemini", generationConfig={"candidateCount": 2}).answers == 2
    assert asks("gemini", generation_config={"candidate_count": 2}).answers == 2
    assert asks(n=0).answers == asks(n=-5).answers == 1


def test_every_byte_may_be_a_token_and_a_picture_many() -> None:
    text = "語" * 100
    assert asks(messages=[{"role": "user", "content": text}]).most_input > 300
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    seen = asks(messages=[{"role": "user", "content": [picture]}])
    assert seen.has_media and seen.most_input > 20_000
    assert asks_of(CompletionRequest(messages=text)).most_input > 300  # type: ignore[arg-type]  # a text is taken


def test_tools_that_the_provider_runs_bring_input_and_searches() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    found = asks("anthropic_messages", max_tokens=5, tools=[search])
    assert found.searches and found.most_input > 50_000
    options = asks(web_search_options={})
    assert options.searches and options.most_input > 50_000
    own = asks(tools=[{"type": "function", "function": {"name": "add", "parameters": {}}}])
    assert not own.searches and own.most_input < 2_000


def test_a_prompt_that_the_provider_keeps_is_told() -> None:
    assert asks("gemini", cachedContent="cachedContents/abc").has_kept_prompt
    assert asks("gemini", cachedContent="cachedContents/abc", tools=[{"google_search": {}}]).has_kept_prompt
    assert asks("openai_responses", previous_response_id="resp_1").has_kept_prompt
    asked = CompletionRequest(messages="hello", extra={"gemini": {"cachedContent": "abc"}})  # type: ignore[arg-type, dict-item]  # accept.py
    assert asks_of(asked).has_kept_prompt
    assert not asks().has_kept_prompt and not asks("gemini").has_kept_prompt


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": {"id": "pmpt_1"}, "input": "hi"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}], "tools": [{"type": "web_search"}]},
    ],
)
def test_openais_templates_and_kept_items_are_such_prompts(body: dict[str, Any]) -> None:
    assert asks("openai_responses", **body).has_kept_prompt
    asked = inbounds.inbound("openai_responses").decode_request(msgspec.json.encode({"model": "m", **body}))
    assert asks_of(asked).has_kept_prompt


@pytest.mark.parametrize("body", [{"prompt": "hi"}, {"messages": [{"role": "user", "content": 'an "item_reference"'}]}])
def test_words_are_no_prompt_that_is_kept(body: dict[str, Any]) -> None:
    assert not asks(**body).has_kept_prompt


def test_a_tier_that_is_asked_for_is_told() -> None:
    assert asks(service_tier="priority").service == "priority"
    assert asks(service_tier=5).service is None
    assert asks(service_tier="auto").service is None
    assert asks("anthropic_messages", max_tokens=5, speed="fast").service == "fast"
    assert asks("gemini", serviceTier="priority").service == "priority"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages"])
def test_a_tier_is_told_beside_a_picture_and_of_a_program_too(dialect: str) -> None:
    source = {"type": "url", "url": "https://example.com/a.png"}
    picture = (
        {"type": "image_url", "image_url": source} if dialect == "openai_chat" else {"type": "image", "source": source}
    )
    body = {"messages": [{"role": "user", "content": [picture]}], "max_tokens": 5, "service_tier": "priority"}
    said = asks(dialect, **body)
    assert said.has_media and said.service == "priority"
    asked = inbounds.inbound(dialect).decode_request(msgspec.json.encode({"model": "m", **body}))
    assert asks_of(asked).service == "priority"


def test_a_picture_is_seen_whose_name_is_written_with_escapes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": [picture]}]})
    hidden = body.replace(b"image_url", rb"im\u0061ge_url")
    said = asks_of_exchange(Exchange("openai_chat", inbounds.inbound("openai_chat"), hidden))
    assert said.has_media and said.most_input > 20_000


def test_all_that_a_server_compares_is_counted() -> None:
    assert asks(best_of=8).answers == 8


def test_vectors_and_scores_have_no_answer() -> None:
    vectors = asks_of_embedding(EmbeddingRequest(input=("abcdefgh", (1, 2, 3))))
    assert (vectors.max_tokens, vectors.input_tokens, vectors.most_input) == (0, 5, 27)
    scores = asks_of_rerank(RerankRequest(query="q", documents=tuple("ab" * 75)))
    assert (scores.max_tokens, scores.searches) == (0, 2)
