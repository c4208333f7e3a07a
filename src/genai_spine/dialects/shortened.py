"""Names that a service takes in so many letters and no more: ids of tool calls, users.

    OpenAI's chat         40 letters of an id: "string too long. Expected a string with maximum length 40" (400,
                          agno-agi/agno#5382, microsoft/autogen#6377); xAI's have 43, vLLM's 46 (recorded)
    Responses             64 of a `call_id` (openai/codex#14355; OpenAI's openapi.json)
    Bedrock Converse      64 of a `toolUseId` (`ToolUseId` in AWS's service-2.json of bedrock-runtime)
    both of OpenAI's      64 of a `user` (github.com/maximhq/bifrost/pull/1000, mnfst/llm-gateway/pull/2789)

Nobody reads them, but a call and its result must agree, in every turn of a conversation. Read 2026-11. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from genai_spine.model.content import ToolCall
from genai_spine.model.request import ProviderTool, Tool
from genai_spine.model.tool_names import OPENAI, own_names, sayable


def shortened(text: str, longest: int) -> str:
    """The text where it is no longer than that, up to 64; else as much of its SHA-256, in hexadecimal digits.

    Raises: UnicodeEncodeError for what is no text, which providers make an InvalidRequest of.
    """
    if len(text) <= longest:
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:longest]


class Renaming:
    """What of a request's names goes out otherwise: of many there is one Notice. The way back: model/tool_names.py."""

    __slots__ = ("_longest_id", "_notice", "_taken", "_told")

    def __init__(
        self, longest_id: int | None, notice: Callable[[str, str, str], None], taken: re.Pattern[str] = OPENAI
    ) -> None:
        """`taken` is what names of tools may be."""
        self._longest_id = longest_id
        self._taken = taken
        self._notice = notice
        self._told: set[str] = set()

    def call_id(self, call_id: str) -> str:
        """The id of a call, in it and in its result."""
        if self._longest_id is None or len(call_id) <= self._longest_id:
            return call_id
        if "id" not in self._told:
            self._told.add("id")
            self._notice("changed", f"ids of calls over {self._longest_id} letters sent as their hash", "tool_call_id")
        return shortened(call_id, self._longest_id)

    def tool(self, name: str) -> str:
        """The name of a tool, wherever it stands."""
        written = sayable(name, self._taken)
        if written != name and "name" not in self._told:
            self._told.add("name")
            self._notice("changed", "tools are sent under names that can be said, and called by their own", "tools")
        return written

    def call(self, call: ToolCall) -> ToolCall:
        """A call under the name that is sent; its id is not looked at."""
        name = self.tool(call.name)
        return call if name == call.name else msgspec.structs.replace(call, name=name)


def choice_written(choice: Any, tools: Iterable[Tool | ProviderTool]) -> Any:
    """A choice of tools that was kept as its caller wrote it (`allowed_tools`), with their names as they are sent."""
    names = {own: sent for sent, own in own_names(tools).items()}
    return _with_names(choice, names) if names else choice


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_names(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    written = {key: _with_names(item, names) for key, item in value.items()}
    if isinstance(name := value.get("name"), str):
        written["name"] = names.get(name, name)
    return written
