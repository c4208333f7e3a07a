"""A look at a request's bytes: what it takes for words and functions alone is nothing else."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from recorded_exchanges import exchanges

from genai_spine.dialects.anthropic_messages import inbound as anthropic_messages
from genai_spine.dialects.gemini import inbound as gemini
from genai_spine.dialects.ollama_chat import inbound as ollama_chat
from genai_spine.dialects.openai_chat import inbound as openai_chat
from genai_spine.dialects.openai_responses import inbound as openai_responses
from genai_spine.dialects.plain_request import is_plain
from genai_spine.model.content import Opaque
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import ProviderTool
from genai_spine.policy.needs import media_count
from genai_spine.wire.json import OBJECT

FUNCTION = {"name": "read_file", "description": "An image, a pdf or a google_search.", "parameters": {}}
GIF = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="}
INLINE = {"inlineData": {"mimeType": "image/gif", "data": "R0lGODlhAQABAAAAACw="}}


def looks_plain(**members: Any) -> bool:
    return is_plain(OBJECT.decode(json.dumps(members).encode()))


def said(*parts: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(parts)}]


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "user", "content": "Draw no image; search nothing."}], "max_tokens": 5},
        {
            "messages": said({"type": "text", "text": '{"type": "image"}'}),
            "tools": [{"type": "function", "function": {}}],
        },
        {
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": FUNCTION}]}
            ]
        },
        {"system": [{"type": "text", "text": "a"}], "messages": said(), "tools": [{"name": "f", "input_schema": {}}]},
        {"messages": said({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a"}]})},
        {"input": "hello", "instructions": "be brief"},
        {
            "input": [
                {"type": "function_call_output", "call_id": "1", "output": "image"},
                {"role": "user", "content": "a"},
            ]
        },
        {"contents": [{"role": "user", "parts": [{"text": "inlineData"}, {"functionCall": FUNCTION}]}]},
        {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"result": "a file"}}}]}]},
        {"contents": [], "tools": [{"functionDeclarations": [FUNCTION]}]},
        {"prompt": "hello", "options": {"num_predict": 5}},
    ],
)
def test_words_and_functions_are_plain(request_: dict[str, Any]) -> None:
    assert looks_plain(model="m", **request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": said({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})},
        {"messages": said({"type": "input_audio", "input_audio": {}})},
        {"messages": said({"type": "file", "file": {"file_id": "f"}})},
        {"messages": said({"type": "image", "source": GIF})},
        {"messages": said({"type": "document", "source": {"type": "text", "data": "a"}})},
        {"messages": said({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": GIF}]})},
        {"messages": said({"type": "what is new", "text": "a"})},
        {"messages": [{"role": "user", "content": "a", "images": ["R0lGODlhAQABAAAAACw="]}]},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        {"input": [{"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image"}]}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": "a", "previous_response_id": "resp_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"prompt": "a", "images": ["R0lGODlhAQABAAAAACw="]},
        {"contents": [{"parts": [INLINE]}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "gs://a"}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}, "parts": [INLINE]}}]}]},
        {"contents": [], "tools": [{"googleSearch": {}}]},
        {"contents": [], "cachedContent": "cachedContents/1"},
        {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [], "tools": [{"type": "function", "function": FUNCTION}, {"type": "mcp", "server_url": "a"}]},
        {"messages": [], "web_search_options": {}},
        {"messages": [], "plugins": [{"id": "web"}]},
        {"messages": 5},
        {"messages": [5]},
        {"messages": [{"content": {"type": "image"}}]},
        {"messages": [], "tools": "all"},
    ],
)
def test_whatever_else_there_is_or_may_be_is_not(request_: dict[str, Any]) -> None:
    assert not looks_plain(model="m", **request_)


APIS = {
    "chat": openai_chat,
    "messages": anthropic_messages,
    "ollama_chat": ollama_chat,
    "responses": openai_responses,
    "generate_content": gemini,
}


@pytest.mark.parametrize(("api", "inbound"), APIS.items(), ids=APIS)
def test_no_recorded_request_that_looks_plain_has_media_or_tools_of_the_providers(
    api: str, inbound: ModuleType
) -> None:
    plain = others = 0
    for exchange in exchanges(api):
        if not isinstance(exchange.request, dict):
            continue
        body = json.dumps(exchange.request).encode()
        if not is_plain(OBJECT.decode(body)):
            others += 1
            continue
        try:
            request = inbound.decode_request(body)
        except InvalidRequest:
            continue
        plain += 1
        assert not media_count(request), exchange.name
        assert not any(isinstance(tool, ProviderTool) for tool in request.tools), exchange.name
        assert not any(isinstance(part, Opaque) for each in request.messages for part in each.content), exchange.name
    assert plain + others == 0 or plain > others, "most requests are plain"
