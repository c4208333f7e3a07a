"""What an answer holds and its caller's dialect cannot show is told in a Notice."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider, Text
from genai_spine.engine.exchange import Answered, Exchange
from genai_spine.gateway.inbounds import INBOUND, inbound
from genai_spine.model.content import Audio, Document, Image, Opaque, Part, Refusal, Thinking, ToolCall
from genai_spine.policy.route import Choice

SEARCH = Opaque(dialect="another", kind="web_search_call", raw=msgspec.Raw(b'{"type":"web_search_call","id":"ws_1"}'))
HIDDEN = Thinking(redacted="abc")
PDF = Document(data="JVBERi0xLjQ=", media_type="application/pdf")
PNG = Image(data="iVBORw0KGgo=", media_type="image/png")
SOUND = Audio(data="AAAA", format="wav")
THOUGHT = Thinking(text="Hm")
SHOWN = (Text(text="Hello"), Refusal(text="No"), ToolCall(id="c1", name="f", arguments="{}"))
UNSHOWN: dict[str, tuple[Part, ...]] = {
    "openai_chat": (SEARCH, PDF),
    "openai_responses": (SEARCH, PDF, SOUND),
    "openai_completions": (SEARCH, THOUGHT, HIDDEN, PDF, PNG, SOUND),
    "anthropic_messages": (SEARCH, PDF, SOUND),
    "ollama_chat": (SEARCH, HIDDEN, PDF, SOUND),
    "ollama_generate": (SEARCH, HIDDEN, PDF, SOUND),
    "gemini": (SEARCH,),
}


class Saying(LLMProvider):
    name = "saying"

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="m", parts=self.parts)


def answer(dialect: str, *parts: Part) -> Answered:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "input": "Hi", "prompt": "Hi"}
    asked["contents"] = [{"parts": [{"text": "Hi"}]}]
    exchange = Exchange(dialect, inbound(dialect), json.dumps(asked).encode(), stream=False)
    return asyncio.run(exchange.answer(Saying(*parts), Choice(provider="saying", model="m")))


@pytest.mark.parametrize("dialect", INBOUND)
def test_what_is_not_shown_is_told(dialect: str) -> None:
    unshown = UNSHOWN[dialect]
    found = answer(dialect, *SHOWN, *unshown).notices
    assert [notice.param for notice in found] == [f"content[{3 + index}]" for index in range(len(unshown))]
    assert "web_search_call" in found[0].message
    others = [part for part in (THOUGHT, HIDDEN, PDF, PNG, SOUND) if part not in unshown]
    assert answer(dialect, *SHOWN, *others).notices == ()


def test_a_part_of_the_callers_own_dialect_is_shown() -> None:
    for dialect in ("openai_responses", "anthropic_messages", "gemini"):
        assert answer(dialect, msgspec.structs.replace(SEARCH, dialect=dialect)).notices == ()
