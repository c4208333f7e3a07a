"""Names of tools that OpenAI's services refuse: what is sent in their place, and how the answer is told back."""

from __future__ import annotations

import re

import msgspec
import pytest

from genai_spine.model.content import Text, ToolCall
from genai_spine.model.events import MessageStart, PartDelta, PartStart, StreamEvent
from genai_spine.model.request import ProviderTool, Tool
from genai_spine.model.response import CompletionResponse
from genai_spine.model.tool_names import own_names, sayable, told_back, told_back_in

LONG = "mcp__a_server_with_a_long_name__and_a_tool_with_a_name_that_is_longer"


@pytest.mark.parametrize("name", ["sky", "get-weather_2", "x" * 64])
def test_a_name_that_can_be_said_is_said(name: str) -> None:
    assert sayable(name) == name
    assert own_names([Tool(name=name)]) == {}


@pytest.mark.parametrize("name", ["github.create_issue", "a b", "naïve", "a\n", LONG, "x" * 65, ""])
def test_any_other_is_mended_the_same_way_each_time(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", sayable(name))
    assert sayable(name) == sayable(name)
    assert own_names([Tool(name="sky"), Tool(name=name)]) == {sayable(name): name}


def test_what_is_no_text_is_left_to_be_refused() -> None:
    assert sayable("\ud800") == "\ud800"
    assert own_names([Tool(name="\ud800")]) == {}


def test_names_that_look_alike_stay_apart() -> None:
    names = ["a.b", "a_b", "a b", "a:b", f"{LONG}_1", f"{LONG}_2"]
    assert len({sayable(name) for name in names}) == len(names)


def test_a_providers_own_tool_has_its_own_name() -> None:
    assert own_names([ProviderTool(dialect="gemini", name="google.search", raw=msgspec.Raw(b"{}"))]) == {}


def test_an_answer_is_told_back_under_the_callers_names() -> None:
    names = own_names([Tool(name="a.b"), Tool(name="sky")])
    parts = (Text(text="Well."), ToolCall(id="1", name=sayable("a.b")), ToolCall(id="2", name="sky"))
    told = told_back(CompletionResponse(model="m", parts=parts), names)
    assert [call.name for call in told.tool_calls] == ["a.b", "sky"]
    assert told.parts[0] == parts[0]

    events: list[StreamEvent] = [
        MessageStart(model="m"),
        PartStart(index=0, part=parts[1]),
        PartDelta(index=0, text="{}"),
    ]
    assert told_back_in(events, names) == [
        events[0],
        PartStart(index=0, part=ToolCall(id="1", name="a.b")),
        events[2],
    ]
