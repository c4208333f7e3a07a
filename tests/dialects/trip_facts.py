"""What a request says, told apart by name: two requests are compared by it, whatever dialects they came through."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.model.content import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from genai_spine.model.request import CompletionRequest, ProviderTool, ThinkingConfig, Tool
from genai_spine.model.response import Notice

Facts = dict[str, list[Any]]

_OPTIONS = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "user",
)
_SIDES = {"system": "system", "developer": "system", "assistant": "assistant", "user": "user", "tool": "user"}
AN_ANSWERS = "members of an answer"
"""What a provider said beside the parts of an earlier answer: ids, citations, how it was cut into items."""

_CONTENT = frozenset({"text", "image", "audio", "document", "call", "result", "opaque"})
"""Of these, what was added is a loss as much as what is missing."""


def facts_of(request: CompletionRequest) -> Facts:
    """What is the default of every service (one answer, tools as the model likes, details as it likes) is not said."""
    found: Facts = defaultdict(list)
    for name in _OPTIONS:
        value = getattr(request, name)
        if value not in (None, ()) and (name, value) != ("max_tokens", 0):  # no limit, to some
            found[name].append(value)
    if request.tool_choice is not None and request.tool_choice.mode != "auto":
        found["tool_choice"].append((request.tool_choice.mode, request.tool_choice.name))
    if request.parallel_tool_calls is False:
        found["parallel_tool_calls"].append(False)
    if request.cache is not None:
        found["cache"].append("mark")
    if (schema := request.output_schema) is not None:
        found["output_schema"].append(_canonical({**(schema.schema or {}), "title": 0, "description": 0}))
        for name in ("name", "description", "strict"):
            if (value := getattr(schema, name)) not in (None, False):
                found[f"output_schema.{name}"].append(value)
    if request.thinking is not None:
        _thinking(request.thinking, found)
    _beside(request.extra, "extra", found)
    for tool in request.tools:
        _tool(tool, found)
    for message in request.messages:
        if message.name is not None:
            found["message.name"].append(message.name)
        _beside(message.provider_metadata, "message", found)
        for part in message.content:
            _part(part, _SIDES[message.role], found)
    for name in [name for name in found if name.endswith(".text")]:
        # Texts are joined where a message has one, with or without lines between.
        found[name] = ["".join("".join(found[name]).split())]
    return {name: said for name, said in found.items() if said not in ([], [""])}


def _thinking(wanted: ThinkingConfig, found: Facts) -> None:
    if wanted.enabled is False or wanted.effort == "none":
        found["thinking"].append("off")
    elif wanted.budget_tokens or wanted.effort:
        found["thinking"].append(wanted.budget_tokens or wanted.effort)
    elif wanted.enabled or wanted.adaptive:
        found["thinking"].append("adaptive" if wanted.adaptive else "on")
    if wanted.display is not None:
        found["thinking.display"].append(wanted.display)


def _tool(tool: Tool | ProviderTool, found: Facts) -> None:
    if isinstance(tool, ProviderTool):
        found["provider_tool"].append(tool.name)
        return
    found["tool"].append((tool.name, tool.description or None, tool.kind))
    found["tool.parameters"].append(_canonical({"type": "object", "properties": {}, **(tool.parameters or {})}))
    if tool.strict:
        found["tool.strict"].append(tool.name)
    if tool.cache is not None:
        found["cache"].append("mark")
    _beside(tool.provider_metadata, "tool", found)


def _part(part: Part, side: str, found: Facts) -> None:
    if part.cache is not None:
        found["cache"].append("mark")
    _beside(part.provider_metadata, f"{side}.{type(part).__name__}", found)
    match part:
        case Text() | Refusal():
            found[f"{side}.text"].append(part.text)
        case Image():
            found["image"].append(part.data or part.url or part.file_id)
            if part.detail not in (None, "auto"):
                found["image.detail"].append(part.detail)
        case Audio():
            found["audio"].append(part.data or part.id)
        case Document():
            found["document"].append(part.data or part.url or part.file_id or part.text)
            if part.name is not None:
                found["document.name"].append(part.name)
        case Thinking():
            for name in ("text", "signature", "redacted"):
                if value := getattr(part, name):
                    found["thought" if name == "text" else name].append(value)
        case ToolCall():
            arguments = _value(part.arguments)
            found["call"].append((part.id, part.name, part.kind, _canonical({} if arguments is None else arguments)))
        case ToolResult():
            found["result"].append(part.call_id)
            if part.is_error:
                found["result.is_error"].append(part.call_id)
            for inner in part.content:
                _part(inner, "result", found)
        case Opaque():
            found["opaque"].append((part.dialect, part.kind))


def _beside(metadata: Mapping[str, msgspec.Raw] | None, where: str, found: Facts) -> None:
    for dialect, raw in (metadata or {}).items():
        for name in msgspec.json.decode(raw):
            found[AN_ANSWERS if where.startswith("assistant") else f"{where}.{dialect}.{name}"].append(dialect)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


# ---------------------------------------------------------------- what is lost, and whether it was told


def lost(before: Facts, after: Facts) -> set[str]:
    """The names of what is missing or another, and of content that nobody said."""
    gone = {name for name, said in before.items() if after.get(name) != said}
    return gone | {name for name in after.keys() - before.keys() if name.rpartition(".")[2] in _CONTENT}


_TOLD: dict[str, tuple[str, ...]] = {
    "tool": ("tools", "tool_choice", "the tool "),
    "tool.parameters": ("tools", "tool_choice", "the tool "),
    "tool.strict": ("strict",),
    "provider_tool": ("tools",),
    "tool_choice": ("tool_choice", "tools"),
    "parallel_tool_calls": ("parallel_tool_calls",),
    "output_schema": ("response_format", "output_schema"),
    "thinking": ("<thinking>", "<reasoning_effort>"),
    "thinking.display": ("<thinking.display>",),
    "cache": ("cache_control",),
    "message.name": (".name",),
    "document.name": (".name", "a text document"),
    "document": ("a text document",),
    "image.detail": ("detail",),
    "image": ("images of", "beside text follows"),
    "result.is_error": (".is_error",),
    "user.text": ("a text document", "a system message amid", "system messages only"),
    "result.text": ("a text document",),
    "system.text": ("a system message amid", "system messages only"),
    "thought": ("omitted_thinking",),
    "signature": ("omitted_thinking", ".signature"),
    "redacted": ("omitted_thinking",),
}
"""Words of a Notice (code, message, param) that tell of a loss of this name, or of one that begins with it."""


def is_told(loss: str, notices: list[Notice]) -> bool:
    said = [f"{notice.code} {notice.message} <{notice.param}>" for notice in notices]
    place = loss.split(".")
    if len(place) > 2:  # a member that only its dialect knows
        words: tuple[str, ...] = (f" {place[-1]} is known to", f" {place[-1]}.")
        if "Thinking" in loss:
            words = ("omitted_thinking", ".signature")
    else:
        words = _TOLD.get(loss) or _TOLD.get(place[0]) or (loss,)
    return any(word in text for word in words for text in said)
