"""Hypothesis strategies for what the laws are about. Needs `hypothesis`; nothing of the product imports this."""

from __future__ import annotations

import copy
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from genai_spine.model.content import Part, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.request import CompletionRequest, Message, Tool, ToolChoice
from genai_spine.model.response import CompletionResponse, TokenUsage
from genai_spine.testing.laws import Speech
from genai_spine.wire.json import on_one_line

_SURROGATES: Any = ("Cs",)

texts = st.text(st.characters(exclude_categories=_SURROGATES), min_size=1, max_size=20)
"""Any text that JSON can hold: no lone surrogates. Not empty: an empty part is no part on most wires."""

words = texts.filter(lambda text: not text.isspace())
"""Texts that say something: white space alone is refused by some services, and not sent to them."""

names = st.text("abcdefghijklmnopqrstuvwxyz_-0123456789", min_size=1, max_size=12)
base64 = st.binary(min_size=1, max_size=12).map(lambda data: b64encode(data).decode())
counts = st.integers(0, 10**9)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=_SURROGATES), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
"""Any JSON."""

objects = st.dictionaries(names, values, max_size=3)
arguments = (
    objects.map(msgspec.json.encode).filter(lambda data: on_one_line(data) == data).map(lambda data: data.decode())
)
"""A tool call's arguments: the text of an object, without characters at which Python ends a line."""

tool_calls = st.builds(ToolCall, id=names, name=names, arguments=arguments)
schemas = st.dictionaries(names, st.just({"type": "string"}), max_size=3).map(
    lambda properties: {"type": "object", "properties": properties}
)
tools = st.lists(
    st.builds(Tool, name=names, description=st.none() | texts, parameters=schemas, strict=st.none() | st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)
tool_choices: st.SearchStrategy[ToolChoice] = st.one_of(
    st.sampled_from([ToolChoice(mode="auto"), ToolChoice(mode="none"), ToolChoice(mode="required")]),
    names.map(lambda name: ToolChoice(mode="tool", name=name)),
)


# ---------------------------------------------------------------- answers


@st.composite
def responses(draw: st.DrawFn, speech: Speech) -> CompletionResponse:
    """Answers within what the dialect can say."""
    parts = draw(_parts(speech.answer_parts, speech.repeated, in_order=speech.in_order))
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    reason, raw = speech.finish_with_calls if has_calls else draw(st.sampled_from(speech.finishes))
    counted: dict[str, Any] = {name: draw(counts) for name in speech.counts}
    return CompletionResponse(
        model=draw(names),
        parts=tuple(parts),
        finish_reason=reason,
        raw_finish_reason=raw,
        usage=TokenUsage(**counted),
        **{name: draw(strategy) for name, strategy in speech.answer_fields.items()},
    )


@st.composite
def _parts(
    draw: st.DrawFn, kinds: Mapping[type[Part], Any], repeated: frozenset[type[Part]], *, in_order: bool
) -> list[Part]:
    parts: list[Part] = []
    for kind, strategy in kinds.items():
        most = 3 if kind in repeated else 1
        parts.extend(draw(st.lists(strategy, max_size=most)))
    parts = parts if in_order else list(draw(st.permutations(parts)))
    return _with_ids_of_their_own(parts)


def _with_ids_of_their_own(parts: list[Part]) -> list[Part]:
    return [
        msgspec.structs.replace(part, id=f"{part.id}_{index}") if isinstance(part, ToolCall) else part
        for index, part in enumerate(parts)
    ]


# ---------------------------------------------------------------- requests


@st.composite
def messages(draw: st.DrawFn, speech: Speech) -> tuple[Message, ...]:
    """A conversation as services take them: turns alternate, and every call is answered."""
    written: list[Message] = []
    has_instructions = draw(st.booleans())
    if has_instructions and (roles := list(speech.system_roles)):
        written.append(Message(role=draw(st.sampled_from(roles)), content=(Text(text=draw(words)),)))
    for turn in range(draw(st.integers(1, 3))):
        kinds = st.one_of(*speech.user_parts.values())
        written.append(
            Message(role="user", content=tuple(draw(st.lists(kinds, min_size=1, max_size=speech.most_parts))))
        )
        parts = draw(_parts(speech.assistant_parts, frozenset({ToolCall}), in_order=True))
        if not any(not isinstance(part, Thinking) for part in parts):
            parts.append(Text(text=draw(words)))
        parts = [
            msgspec.structs.replace(part, id=f"{part.id}_{turn}") if isinstance(part, ToolCall) else part
            for part in parts
        ]
        written.append(Message(role="assistant", content=tuple(parts)))
        results: list[Part] = [
            ToolResult(
                call_id=part.id,
                name=part.name if speech.results_are_named else None,
                content=tuple(
                    draw(
                        st.lists(
                            st.one_of(*speech.result_parts.values()), min_size=1, max_size=min(2, speech.most_parts)
                        )
                    )
                ),
            )
            for part in parts
            if isinstance(part, ToolCall)
        ]
        if results and speech.results_in == "user":
            written.append(Message(role="user", content=tuple(results)))
            written.append(Message(role="assistant", content=(Text(text=draw(words)),)))
        else:
            written.extend(Message(role=speech.results_in, content=(result,)) for result in results)
    written.append(Message(role="user", content=(Text(text=draw(words)),)))
    return tuple(written)


@st.composite
def requests(draw: st.DrawFn, speech: Speech) -> CompletionRequest:
    """Requests within what the dialect can say."""
    options = {
        name: draw(strategy)
        for name, strategy in speech.options.items()
        if name in speech.required or draw(st.booleans())
    }
    if "tools" not in options:
        for name in ("tool_choice", "parallel_tool_calls"):
            options.pop(name, None)
    elif (choice := options.get("tool_choice")) is not None and choice.mode == "tool":
        options["tool_choice"] = ToolChoice(mode="tool", name=options["tools"][0].name)
    return CompletionRequest(
        messages=draw(messages(speech)), model=speech.target.model, stream=draw(st.booleans()), **options
    )


# ---------------------------------------------------------------- garbage


@st.composite
def mutated(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """The JSON value with a few of its members replaced, removed, doubled or renamed, at any depth."""
    changed: Any = [copy.deepcopy(value)]
    for _ in range(draw(st.integers(1, most))):
        node, key = _place(draw, changed)
        match draw(st.sampled_from(("replace", "replace", "remove", "wrap", "rename"))):
            case "remove":
                del node[key]
            case "wrap":
                node[key] = [node[key]]
            case "rename" if isinstance(node, dict):
                node[draw(names)] = node.pop(key)
            case _:
                node[key] = draw(values)
        if not changed:
            return None
    return changed[0]


def _place(draw: st.DrawFn, node: Any) -> tuple[Any, Any]:
    key: Any = 0
    while True:
        child = node[key]
        if not isinstance(child, dict | list) or not child or draw(st.integers(0, 3)) == 0:
            return node, key
        node = child
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
