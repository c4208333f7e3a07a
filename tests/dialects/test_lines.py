"""Streams for SDKs that read by lines, and end one wherever Python does."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from genai_spine.gateway.inbounds import inbound
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.errors import ServerError
from genai_spine.model.events import MessageEnd
from genai_spine.model.fold import replay
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.response import CompletionResponse, FinishReason

ENDS = "a\x85b\u2028c\u2029d"
ASKED = CompletionRequest(model=ENDS, messages=(Message(role="user", content="hi"),))
ANSWER = CompletionResponse(
    model=ENDS,
    id="a1",
    parts=(
        Thinking(text=ENDS),
        Text(text=ENDS),
        ToolCall(id="c1", name="f", arguments=json.dumps({"x": ENDS}, ensure_ascii=False)),
    ),
    finish_reason=FinishReason.TOOL_CALLS,
)


@pytest.mark.parametrize("dialect", ["gemini", "ollama_chat"])
def test_no_text_has_a_line_end_in_it_and_every_text_comes_through(dialect: str) -> None:
    encoder = inbound(dialect).stream_encoder(ASKED)
    stream = b"".join(encoder.encode(event) for event in replay(ANSWER))
    stream += encoder.error(ServerError(ENDS), "req_1")
    lines = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line]
    said = json.dumps([json.loads(line) for line in lines], ensure_ascii=False)
    assert said.count(json.dumps(ENDS, ensure_ascii=False)) >= 4

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for each in value.values() for text in texts(each)]
        return [text for each in value for text in texts(each)] if isinstance(value, list) else [str(value)]

    assert sum(ENDS in text for text in texts(json.loads(said))) >= 4


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages", "openai_responses"])
def test_deltas_have_none_either(dialect: str) -> None:
    encoder = inbound(dialect).stream_encoder(ASKED)
    answer = msgspec.structs.replace(ANSWER, parts=(Thinking(text="Hm."), Text(text=ENDS)))
    deltas = [encoder.encode(event) for event in replay(answer) if type(event) is not MessageEnd]
    assert any(rb"a\u0085b\u2028c\u2029d" in delta for delta in deltas)
