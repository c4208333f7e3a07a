"""What keeps a caller's own bytes from a provider that a quirk forbids them to; and calls of the form before tools."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.openai_chat import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.content import ToolCall, ToolResult

BY_URL = {"type": "image_url", "image_url": {"detail": "low", "url": "https://example.com/a.png"}}
BY_DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CONTROL = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
BREAKPOINT = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
MENTIONED = {"role": "user", "content": 'What is "cache_control", "image_url": "https://x"? {"role": "tool"}'}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def tool(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "i", "content": list(parts)}


def concerns(members: dict[str, Any], **quirks: Any) -> bool:
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in members.items()}
    return outbound.concerns(raw, Quirks(**quirks))


def messages_concern(*messages: dict[str, Any], **quirks: Any) -> bool:
    return concerns({"messages": messages}, **quirks)


def test_top_k() -> None:
    assert concerns({"top_k": 5})
    assert not concerns({"top_k": 5}, top_k=True)


def test_image_urls() -> None:
    shorthand = {"type": "image_url", "image_url": "http://example.com/a.png"}
    for image in (BY_URL, shorthand):
        assert messages_concern(user(image), image_urls=False)
        assert not messages_concern(user(image))
    assert not messages_concern(user(BY_DATA), MENTIONED, image_urls=False)


def test_tool_result_images() -> None:
    assert messages_concern(user(BY_URL), tool(BY_DATA))
    assert not messages_concern(tool(BY_DATA), tool_result_images=True)
    assert not messages_concern(user(BY_URL), tool({"type": "text", "text": "a"}), MENTIONED)
    assert messages_concern({"role": 5, "content": [BY_DATA, {"type": "tool"}]}), (
        "what is no message is looked at closely"
    )


def test_cache_marks() -> None:
    assert messages_concern(user(CONTROL))
    assert concerns({"cache_control": {"type": "ephemeral"}})
    assert not messages_concern(user(CONTROL), cache_marks="cache_control")
    assert not concerns({"cache_control": {"type": "ephemeral"}}, cache_marks="cache_control")
    assert messages_concern(user(BREAKPOINT), cache_marks="cache_control")
    assert not messages_concern(user(BREAKPOINT), cache_marks="prompt_cache_breakpoint")
    assert not messages_concern(user(BREAKPOINT)), "OpenAI's own mark is for its caller to know"
    assert not messages_concern(MENTIONED)


@pytest.mark.parametrize("quirks", [{}, {"image_urls": False}, {"cache_marks": "cache_control"}])
def test_plain_messages_concern_nobody(quirks: dict[str, Any]) -> None:
    assert not messages_concern({"role": "system", "content": "Be brief."}, MENTIONED, **quirks)


# ---------------------------------------------------------------- functions of old


def called(name: str) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": "{}"}}


def answered(name: str, text: str) -> dict[str, Any]:
    return {"role": "function", "name": name, "content": text}


def ids(*messages: dict[str, Any]) -> list[tuple[str, str]]:
    """(call or result, id) of each message."""
    request = inbound.decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    found: list[tuple[str, str]] = []
    for message in request.messages:
        for part in message.content:
            if isinstance(part, ToolCall):
                found.append(("call", part.id))
            elif isinstance(part, ToolResult):
                found.append(("result", part.call_id))
    return found


def test_each_function_call_of_old_has_an_id_of_its_own_and_its_result_has_it_too() -> None:
    turns = (called("f"), answered("f", "1"), called("f"), answered("f", "2"), called("g"), answered("g", "3"))
    assert ids({"role": "user", "content": "Hi"}, *turns) == [
        ("call", "call_f"),
        ("result", "call_f"),
        ("call", "call_f_2"),
        ("result", "call_f_2"),
        ("call", "call_g"),
        ("result", "call_g"),
    ]


def test_a_result_of_old_without_its_call_is_read() -> None:
    assert ids(answered("f", "1")) == [("result", "call_f")]
    assert ids({**called("f"), "function_call": None, "content": "a"}, answered("f", "1")) == [("result", "call_f")]


def test_message_form_openai_strict() -> None:
    long_id, short_id = "i" * 41, "i" * 40
    for call_id, is_long in ((long_id, True), (short_id, False)):
        result = {"role": "tool", "tool_call_id": call_id, "content": "a"}
        assert messages_concern(result, message_form="openai_strict") is is_long
        assert not messages_concern(result), "other services take their own"
    told = {"role": "user", "content": f'{{"tool_call_id": "{long_id}"}}'}
    assert not messages_concern(told, message_form="openai_strict")

    assert concerns({"user": "u" * 65}, message_form="openai_strict")
    assert not concerns({"user": "u" * 64}, message_form="openai_strict")


@pytest.mark.parametrize(("name", "is_odd"), [("git.log", True), ("x" * 65, True), ("git-log_2", False), ("", False)])
@pytest.mark.parametrize("kind", ["function", "custom"])
def test_message_form_openai_strict_names_of_tools(name: str, is_odd: bool, kind: str) -> None:
    within = {"type": "object", "properties": {"name": {"enum": ["a b"]}, "x": {"default": {"name": "a b"}}}}
    tools = [{"type": kind, kind: {"parameters": within, "name": name}}]
    assert concerns({"tools": tools}, message_form="openai_strict") is is_odd
    assert not concerns({"tools": tools})
    assert not concerns({"tools": "none"}, message_form="openai_strict")
