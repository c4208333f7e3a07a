"""A whole answer for the caller, `chat.completion`; of a stream: encoder.py."""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.audio import audio_written
from genai_spine.dialects.openai_chat.citations import annotations_written, searched
from genai_spine.dialects.openai_chat.images import images_written, is_shown
from genai_spine.dialects.openai_chat.schema import DIALECT
from genai_spine.dialects.openai_chat.thoughts import detail_of_thinking, needs_detail
from genai_spine.dialects.openai_chat.usage import usage_written
from genai_spine.model.content import Audio, Image, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse


def encode_response(response: CompletionResponse, request: CompletionRequest) -> bytes:
    extra = kept(response.extra, DIALECT)
    more = wire.pop_choice(extra)
    choice = {
        "index": 0,
        "message": {**_message_written(response), **more.pop("message", {})},
        "logprobs": None,
        "finish_reason": wire.finish_written(response.finish_reason),
        **more,
    }
    written = {
        "id": response.id or "chatcmpl-unnamed",
        "object": "chat.completion",
        "created": response.created_s or 0,
        "model": response.model,
        "choices": [choice, *extra.pop("choices", ())],
        "usage": usage_written(response.usage) if response.usage is not None else None,
    }
    return msgspec.json.encode({**written, **extra})


def _message_written(response: CompletionResponse) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": response.refusal}
    calls: list[dict[str, Any]] = []
    thoughts: list[Thinking] = []
    texts: list[str] = []
    painted: list[Image] = []
    cited: list[dict[str, Any]] = []
    for part in response.parts:
        match part:
            case Text():
                if part.citations:
                    before = sum(map(len, texts))
                    cited += annotations_written(part.citations, before=before, length=len(part.text))
                texts.append(part.text)
                message.update(kept(part.provider_metadata, DIALECT))
            case ToolCall():
                if wire.has_empty_arguments(part, response.finish_reason):
                    part = msgspec.structs.replace(part, arguments="{}")
                calls.append(wire.tool_call_written(part))
            case Thinking():
                thoughts.append(part)
            case Audio():
                message["audio"] = audio_written(part)
            case Image() if is_shown(part):
                painted.append(part)
            case _:
                pass
    if texts or not calls:
        message["content"] = "".join(texts)
    if thoughts:
        message["reasoning_content"] = "".join(part.text for part in thoughts)
    if len(thoughts) > 1 or any(needs_detail(part) for part in thoughts):
        message["reasoning_details"] = [detail_of_thinking(part, index) for index, part in enumerate(thoughts)]
    if calls:
        message["tool_calls"] = calls
    if cited and "annotations" not in message and not searched(kept(response.extra, DIALECT)):
        message["annotations"] = cited
    if painted:
        message["images"] = images_written(painted)
    return message


def shows(part: Part) -> bool:
    return isinstance(part, Text | Refusal | Thinking | ToolCall | Audio) or (
        isinstance(part, Image) and is_shown(part)
    )
