"""Values of a wrong type are the caller's mistake, and named where they stand."""

from __future__ import annotations

from typing import Any

import pytest

from genai_spine.model.content import CacheMark, Document, Refusal, Thinking, ToolCall, ToolResult
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import InvalidRequest, RateLimitError
from genai_spine.model.request import CompletionRequest, Message, ToolChoice


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda any_: Document(text=any_(b"words")), "text"),
        (lambda any_: Document(text="t", name=any_(5)), "name"),
        (lambda any_: Message(role="user", content=[Refusal(text=any_(5))]), "content[0].text"),
        (lambda any_: Message(role="assistant", content=[Thinking(text=any_(None))]), "content[0].text"),
        (lambda any_: Message(role="assistant", content=[Thinking(signature=any_(5))]), "content[0].signature"),
        (lambda any_: Message(role="assistant", content=[ToolCall(id=any_(None), name="f")]), "content[0].id"),
        (lambda any_: Message(role="tool", content=[ToolResult(call_id=any_(5))]), "content[0].call_id"),
        (lambda any_: ToolChoice(mode="tool", name=any_(5)), "name"),
        (lambda any_: CompletionRequest(messages="x", tool_choice=any_({"name": 5})), "name"),
        (lambda any_: CompletionRequest(messages="x", cache=any_(5)), "cache"),
        (lambda any_: CompletionRequest(messages="x", thinking=any_({"type": "enabld"})), "thinking.type"),
        (lambda any_: EmbeddingRequest(input=any_((b"x",))), "input[0]"),
        (lambda any_: EmbeddingRequest(input=any_(("a", None))), "input[1]"),
        (lambda any_: EmbeddingRequest(input=any_((5,))), "input[0]"),
        (
            lambda any_: CompletionRequest(
                messages=[{"role": "user", "content": [{"type": "file", "file": {"file_data": any_(5)}}]}]
            ),
            "messages[0].content[0].file.file_data",
        ),
    ],
)
def test_a_wrong_type_is_named(make: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        make(lambda value: value)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("given", "mark"),
    [
        (True, CacheMark()),
        (False, None),
        (None, None),
        ("1h", CacheMark(ttl="1h")),
        ({"type": "ephemeral", "ttl": "5m"}, CacheMark(ttl="5m")),
        (CacheMark(), CacheMark()),
    ],
)
def test_a_mark_of_the_whole_prompt_in_every_form(given: Any, mark: CacheMark | None) -> None:
    assert CompletionRequest(messages="x", cache=given).cache == mark


def test_lists_of_token_ids_in_a_tuple_are_input() -> None:
    assert EmbeddingRequest(input=((1, 2), "a")).input == ((1, 2), "a")


@pytest.mark.parametrize(
    ("said", "seconds"), [("5", 5.0), ("1.5", 1.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), (2, 2)]
)
def test_retry_after_as_a_header_has_it(said: Any, seconds: float | None) -> None:
    assert RateLimitError("slow", retry_after_s=said).retry_after_s == seconds
