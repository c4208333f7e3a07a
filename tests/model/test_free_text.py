"""Tools of free text said as functions, and their calls told back as text: whole, and in pieces cut at any place."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from genai_spine.model.content import Text, ToolCall, ToolResult
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect
from genai_spine.model.free_text import as_functions
from genai_spine.model.request import CompletionRequest, Message, ProviderTool, Tool
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.model.told_back import teller_of, told_back
from genai_spine.model.tool_names import sayable

PATCH = '*** Begin Patch\n*** Update File: naïve.py\n+print("😀\\n")\n\t*** End Patch'
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
CUSTOM = Tool(name="apply_patch", description="Patches.", kind="custom")
TOOLS = (Tool(name="sky"), CUSTOM)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def functions(request: CompletionRequest) -> tuple[CompletionRequest, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    return as_functions(request, lambda code, message, param: told.append((code, param))), told


def test_a_free_text_tool_is_a_function_with_one_string() -> None:
    said, told = functions(CompletionRequest(messages="x", tools=TOOLS))
    sky, patch = said.tools
    assert sky is TOOLS[0]
    assert isinstance(patch, Tool)
    assert (patch.kind, patch.name, patch.description) == ("function", "apply_patch", "Patches.")
    assert patch.parameters is not None
    assert patch.parameters["required"] == ["input"]
    assert told == [("changed", "tools")]


@pytest.mark.parametrize(
    "metadata",
    [
        {"openai_responses": raw({"format": GRAMMAR})},
        {"openai_chat": raw({"custom": {"format": {"type": "grammar", "grammar": {**GRAMMAR, "type": None}}}})},
    ],
)
def test_its_grammar_is_told_in_words_and_nowhere_else(metadata: dict[str, msgspec.Raw]) -> None:
    tool = msgspec.structs.replace(CUSTOM, provider_metadata=metadata)
    (said,) = functions(CompletionRequest(messages="x", tools=(tool,)))[0].tools
    assert isinstance(said, Tool)
    assert said.description == "Patches.\n\nThe text must follow this grammar (lark):\nstart: /.+/"
    assert said.provider_metadata is None


def test_what_else_is_known_of_it_stays() -> None:
    metadata = {"openai_responses": raw({"format": {"type": "text"}, "defer_loading": True})}
    tool = msgspec.structs.replace(CUSTOM, description=None, provider_metadata=metadata)
    (said,) = functions(CompletionRequest(messages="x", tools=(tool,)))[0].tools
    assert isinstance(said, Tool)
    assert said.description is None
    assert said.provider_metadata == {"openai_responses": raw({"defer_loading": True})}


def test_earlier_calls_have_their_text_as_an_argument() -> None:
    call = ToolCall(id="c", name="apply_patch", arguments=PATCH, kind="custom")
    messages = (
        Message(role="assistant", content=(Text(text="So:"), call)),
        Message(role="tool", content=(ToolResult(call_id="c"),)),
    )
    for tools, told in ((TOOLS, [("changed", "tools")]), ((), [("changed", "messages[0].content[1]")])):
        said, notices = functions(CompletionRequest(messages=messages, tools=tools))
        written = said.messages[0].content[1]
        assert isinstance(written, ToolCall)
        assert (written.kind, written.input) == ("function", {"input": PATCH})
        assert said.messages[1] is messages[1]
        assert notices == told


def test_a_request_without_any_is_the_same() -> None:
    search = ProviderTool(dialect="gemini", name="apply_patch", raw=msgspec.Raw(b"{}"))
    request = CompletionRequest(messages="x", tools=(TOOLS[0], search))
    said, told = functions(request)
    assert said is request
    assert told == []
    assert teller_of(request.tools) is None


# ---------------------------------------------------------------- and back


def answer(arguments: str, name: str = "apply_patch") -> CompletionResponse:
    parts = (Text(text="So:"), ToolCall(id="c", name=name, arguments=arguments))
    return CompletionResponse(model="m", parts=parts, finish_reason=FinishReason.TOOL_CALLS)


def streamed(arguments: str, cuts: list[int], *, in_start: int = 0) -> CompletionResponse:
    """The same answer as a stream whose arguments are cut there, as its caller reads it."""
    teller = teller_of(TOOLS)
    assert teller is not None
    places = [in_start, *cuts, len(arguments)]
    events: list[StreamEvent] = [
        MessageStart(model="m"),
        PartStart(index=0, part=Text(text="")),
        PartDelta(0, "So:"),
        PartStart(index=1, part=ToolCall(id="c", name="apply_patch", arguments=arguments[:in_start])),
        *[PartDelta(1, arguments[begin:end]) for begin, end in pairwise(places)],
        PartEnd(index=0),
        PartEnd(index=1),
        MessageEnd(finish_reason=FinishReason.TOOL_CALLS),
    ]
    return collect([told for event in events for told in teller([event])])


CASES = [
    (json.dumps({"input": PATCH}), PATCH),
    (json.dumps({"input": PATCH}, ensure_ascii=False, indent=2), PATCH),
    ('{"input": "\\/\\u00e9\\b\\f\\r"} ', "/é\b\f\r"),
    ('{"input": ""}', ""),
    ("{}", ""),
    ("", ""),
    ('{"input": "cut', "cut"),
    ('{"input": "cut\\', "cut"),
    ('{"input": "cut\\ud83d', "cut"),
    ('{"inp', ""),
    ('{"input": "\\ud83d half\\q"}', "\ufffd half\\q"),
    ('{"patch": "x"}', '{"patch": "x"}'),
    ('{"input": {"a": 1}}', '{"input": {"a": 1}}'),
    (PATCH, PATCH),
]


@pytest.mark.parametrize(("arguments", "text"), CASES)
def test_calls_are_told_back_as_text_whole_and_in_pieces(arguments: str, text: str) -> None:
    told = told_back(answer(arguments), TOOLS)
    assert told.parts[1] == ToolCall(id="c", name="apply_patch", arguments=text, kind="custom")
    for cut in range(len(arguments) + 1):
        assert streamed(arguments, [cut]) == told
        assert streamed(arguments, [], in_start=cut) == told
    assert streamed(arguments, list(range(len(arguments)))) == told


def test_text_comes_as_soon_as_it_is_written() -> None:
    teller = teller_of(TOOLS)
    assert teller is not None
    start = PartStart(index=0, part=ToolCall(id="c", name="apply_patch"))
    custom = PartStart(index=0, part=ToolCall(id="c", name="apply_patch", kind="custom"))
    assert teller([start, PartDelta(0, '{"in')]) == [custom]
    assert teller([PartDelta(0, 'put": "ab\\')]) == [PartDelta(0, "ab")]
    assert teller([PartDelta(0, 'ncd"')]) == [PartDelta(0, "\ncd")]
    assert teller([PartDelta(0, "}")]) == []


def test_other_calls_and_calls_of_text_stay() -> None:
    other = answer('{"input": "x"}', "sky")
    assert told_back(other, TOOLS).parts == other.parts
    call = ToolCall(id="c", name="apply_patch", arguments='{"input": "x"}', kind="custom")
    native = msgspec.structs.replace(other, parts=(call,))
    assert told_back(native, TOOLS).parts == (call,)


def test_its_name_may_be_one_that_cannot_be_said() -> None:
    tools = (Tool(name="fs.patch", kind="custom"),)
    told = told_back(answer('{"input": "x"}', sayable("fs.patch")), tools)
    assert told.parts[1] == ToolCall(id="c", name="fs.patch", arguments="x", kind="custom")
