"""Whether a caller's request is words and functions alone, seen without reading it.

Media are few tokens for their bytes, and tools that a provider runs bring in what nobody has sent: who counts tokens
or looks for a model that takes images has to know of them. To read a long request through the model tells, and takes
some milliseconds; the kinds of its parts are told in a twentieth of that. Of what is not known here the answer is no.

Must not know: which dialect it is in; each of them says one or the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw

from genai_spine.wire.json import UNREADABLE

_NOTHING = Raw(b"")

_Textual = Literal[
    "", "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking", "reasoning", "reasoning_text",
    "summary_text", "message", "tool_use", "tool_result", "function_call", "function_call_output", "custom_tool_call",
    "custom_tool_call_output",
]  # fmt: skip
"""Kinds of messages, items and parts that hold nothing but text, or parts that are looked at too."""

_TALK = frozenset(("messages", "input", "contents", "system", "prompt"))
"""Where these stand: chat and Messages, Responses, Gemini; what Messages has apart, and what Ollama completes."""

_OTHERS = frozenset((
    "cache_control", "client_metadata", "context_management", "format", "frequency_penalty", "generationConfig",
    "generation_config", "include", "instructions", "keep_alive", "logit_bias", "logprobs", "max_completion_tokens",
    "max_output_tokens", "max_tokens", "metadata", "model", "n", "options", "output_config", "output_format",
    "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "reasoning", "reasoning_effort", "response_format", "safetySettings", "safety_identifier", "safety_settings",
    "seed", "service_tier", "stop", "stop_sequences", "store", "stream", "stream_options", "suffix",
    "systemInstruction", "system_instruction", "temperature", "text", "think", "thinking", "toolConfig", "tool_choice",
    "tool_config", "top_k", "top_logprobs", "top_p", "user", "verbosity",
))  # fmt: skip
"""Other members that have no media in them, and let a provider run nothing."""

_FUNCTION = frozenset((
    "allowed_callers", "cache_control", "custom", "defer_loading", "description", "eager_input_streaming", "format",
    "function", "functionDeclarations", "function_declarations", "input_examples", "input_schema", "name", "parameters",
    "strict", "type",
))  # fmt: skip
"""The members of a tool that its caller runs."""


class _Part(msgspec.Struct, gc=False):
    """A message, an item or a part; one that holds anything else cannot be decoded as such."""

    type: _Textual = ""
    content: str | list[_Part] | None = None
    output: str | list[_Part] | None = None
    parts: list[_Part] | None = None
    # What says by its name alone that there is something else.
    images: None = None
    audio: None = None
    inlineData: None = None
    inline_data: None = None
    fileData: None = None
    file_data: None = None
    functionResponse: Raw = _NOTHING
    function_response: Raw = _NOTHING


_talk = msgspec.json.Decoder(str | list[_Part] | None)
_tools = msgspec.json.Decoder(list[dict[str, Raw]] | None)
_type = msgspec.json.Decoder(str)


def is_plain(members: Mapping[str, Raw]) -> bool:
    """Whether nothing in a request is, beyond doubt, anything but text and functions that its caller runs."""
    try:
        for name, value in members.items():
            if name in _TALK:
                talk = _talk.decode(value)
                if isinstance(talk, list) and _says_result(bytes(value)) and not all(map(_has_textual_result, talk)):
                    return False
            elif name == "tools":
                if not all(map(_is_function, _tools.decode(value) or ())):
                    return False
            elif name not in _OTHERS:
                return False
    except UNREADABLE:
        return False
    return True


def _says_result(talk: bytes) -> bool:
    """Whether there may be a result of one of Gemini's tools in it."""
    return b"unctionResponse" in talk or b"unction_response" in talk


def _has_textual_result(part: _Part) -> bool:
    """Whether no such result in it holds media, or words that look like them."""
    if any(_IN_RESULT(result) is not None for result in (part.functionResponse, part.function_response)):
        return False
    inner = (part.content, part.output, part.parts)
    return all(all(map(_has_textual_result, each)) for each in inner if isinstance(each, list))


_IN_RESULT = re.compile(rb'"(?:inline|file)_?[Dd]ata"').search
"""Media in the result of a tool of Gemini's, or words of the result that look like them."""


def _is_function(tool: Mapping[str, Raw]) -> bool:
    if not tool.keys() <= _FUNCTION:
        return False
    kind = tool.get("type")
    return kind is None or _type.decode(kind) in ("function", "custom")
