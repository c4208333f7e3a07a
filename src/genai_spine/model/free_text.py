"""Tools that take free text, said as functions where a service has none but these, and the way back.

    {"type": "custom", "name": "apply_patch"}  ──▶  the function apply_patch, which takes one string named `input`
    its call with `*** Begin Patch …`          ◀──  its call with {"input": "*** Begin Patch …"}

Whichever service was asked, the caller reads a call of his free-text tool: a function of that name is none of his. So
nothing has to be remembered for the answer. Arguments of another shape than was asked for stay the text that the model
wrote. A grammar is told in the description, for nothing enforces it. Must not know any dialect but where the two of
OpenAI keep a tool's `format`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from genai_spine.model.content import Metadata, Part, ToolCall
from genai_spine.model.events import PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.request import CompletionRequest, Message, ProviderTool, Tool
from genai_spine.model.response import CompletionResponse

Notify = Callable[[str, str, str], None]

_INPUT = {"type": "string", "description": "The text for the tool, as it is."}
_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"input": _INPUT}, "required": ["input"]}


# ---------------------------------------------------------------- as functions


def names_of(tools: Iterable[Tool | ProviderTool]) -> frozenset[str]:
    """The names of those that take free text."""
    return frozenset([tool.name for tool in tools if _is_free(tool)])


def as_functions(request: CompletionRequest, notice: Notify) -> CompletionRequest:
    """The request with its free-text tools as functions, and their earlier calls with their text as an argument."""
    names = names_of(request.tools)
    if not names and not any(map(_has_free_call, request.messages)):
        return request
    for name in sorted(names):
        notice("changed", f"the free-text tool {name} is sent as a function that takes its text as `input`", "tools")
    messages = [_said(message, f"messages[{index}]", names, notice) for index, message in enumerate(request.messages)]
    tools = [_function(tool) if _is_free(tool) else tool for tool in request.tools]
    return msgspec.structs.replace(request, messages=tuple(messages), tools=tuple(tools))


def _is_free(tool: Tool | ProviderTool) -> bool:
    return type(tool) is Tool and tool.kind == "custom"


def _function(tool: Tool | ProviderTool) -> Tool:
    assert isinstance(tool, Tool)
    metadata, grammar = _without_format(tool.provider_metadata)
    described = "\n\n".join(filter(None, (tool.description, grammar))) or None
    return msgspec.structs.replace(
        tool, kind="function", parameters=_SCHEMA, description=described, provider_metadata=metadata
    )


def _without_format(metadata: Metadata | None) -> tuple[Metadata | None, str | None]:
    """What is known of a tool beside its `format`, and that in words."""
    left: dict[str, msgspec.Raw] = {}
    grammar = None
    for dialect, raw in (metadata or {}).items():
        members = msgspec.json.decode(raw)
        for holder in (members, members.get("custom")):  # Responses', and chat's
            if isinstance(holder, dict) and isinstance(holder.get("format"), dict):
                grammar = _in_words(holder.pop("format")) or grammar
        if members.get("custom") == {}:
            del members["custom"]
        if members:
            left[dialect] = msgspec.Raw(msgspec.json.encode(members))
    return left or None, grammar


def _in_words(form: dict[str, Any]) -> str | None:
    """{"type": "grammar", "syntax": "lark", "definition": "…"}; in chat the last two stand in `grammar`."""
    inner = form.get("grammar")
    said = inner if isinstance(inner, dict) else form
    definition, syntax = said.get("definition"), said.get("syntax")
    if not isinstance(definition, str):
        return None
    return f"The text must follow this grammar ({syntax}):\n{definition}"


def _said(message: Message, path: str, told: frozenset[str], notice: Notify) -> Message:
    if not _has_free_call(message):
        return message
    parts: list[Part] = []
    for index, part in enumerate(message.content):
        if isinstance(part, ToolCall) and part.kind == "custom":
            if part.name not in told:
                place = f"{path}.content[{index}]"
                notice("changed", f"the text for {part.name} is sent as its argument `input`", place)
            arguments = msgspec.json.encode({"input": part.arguments}).decode()
            part = msgspec.structs.replace(part, kind="function", arguments=arguments)
        parts.append(part)
    return msgspec.structs.replace(message, content=tuple(parts))


def _has_free_call(message: Message) -> bool:
    if message.role != "assistant":
        return False
    return any(type(part) is ToolCall and part.kind == "custom" for part in message.content)


# ---------------------------------------------------------------- and back


def told_back(response: CompletionResponse, names: frozenset[str]) -> CompletionResponse:
    """The answer with the calls of these tools as calls of free text. `raw` stays what the provider wrote."""
    parts = tuple([_with_text(part) if _is_called_as_function(part, names) else part for part in response.parts])
    return msgspec.structs.replace(response, parts=parts)


def _is_called_as_function(part: Part, names: frozenset[str]) -> bool:
    return type(part) is ToolCall and part.kind == "function" and part.name in names


def _with_text(part: Part) -> Part:
    assert isinstance(part, ToolCall)
    return msgspec.structs.replace(part, kind="custom", arguments=_InputReader().feed(part.arguments))


class ToldBack:
    """The same of one stream, as it comes."""

    __slots__ = ("_names", "_open")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._open: dict[int, _InputReader] = {}

    def events(self, events: list[StreamEvent]) -> list[StreamEvent]:
        told: list[StreamEvent] = []
        for event in events:
            match event:
                case PartStart(index=index, part=part) if _is_called_as_function(part, self._names):
                    assert isinstance(part, ToolCall)
                    reader = self._open[index] = _InputReader()
                    text = reader.feed(part.arguments)
                    told.append(
                        PartStart(index=index, part=msgspec.structs.replace(part, kind="custom", arguments=text))
                    )
                case PartDelta() if event.index in self._open:
                    if text := self._open[event.index].feed(event.text):
                        told.append(PartDelta(event.index, text))
                case PartEnd():
                    self._open.pop(event.index, None)
                    told.append(event)
                case _:
                    told.append(event)
        return told


_BEGIN = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MAY_BEGIN = re.compile(r'\s*(?:\{\s*(?:\}\s*|"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?\Z')
_WHOLE = re.compile(r'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class _InputReader:
    """Reads `input` out of the arguments of one call, in pieces cut at any place; what stands after it is not read.

    Arguments of another shape come out as they are. None at all, an empty object, and what was cut off before the text
    began are no text.
    """

    __slots__ = ("_half", "_held", "_reads")

    def __init__(self) -> None:
        self._reads: Callable[[str], str] = self._begin
        self._held = ""
        self._half = ""
        """The first half of a letter that JSON writes as two."""

    def feed(self, text: str) -> str:
        return self._reads(text)

    def _begin(self, text: str) -> str:
        self._held += text
        if (begin := _BEGIN.match(self._held)) is not None:
            rest, self._held = self._held[begin.end() :], ""
            self._reads = self._string
            return self._string(rest)
        if _MAY_BEGIN.match(self._held) is not None:
            return ""
        self._reads = _as_it_is
        rest, self._held = self._held, ""
        return rest

    def _string(self, text: str) -> str:
        self._held += text
        whole = _WHOLE.match(self._held)
        assert whole is not None  # of nothing, if need be
        said, self._held = whole.group(), self._held[whole.end() :]
        if self._held.startswith('"'):
            self._reads, self._held = _nothing, ""
        said = self._half + (_ESCAPE.sub(_unescaped, said) if "\\" in said else said)
        self._half = ""
        if _SURROGATE.search(said) is None:
            return said
        if "\ud800" <= said[-1] <= "\udbff" and self._reads != _nothing:
            said, self._half = said[:-1], said[-1]
        return said.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _as_it_is(text: str) -> str:
    return text


def _nothing(text: str) -> str:
    return ""


def _unescaped(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(letter, escape.group())
