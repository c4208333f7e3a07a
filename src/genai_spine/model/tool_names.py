"""Names of tools as services take them, and the way back to the caller's own.

    github.create_issue  ──▶  github_create_issue_1f0d5c3a   what the model reads, and calls
                         ◀──  the name in the answer: the caller looks its functions up by it

    OpenAI's  a-z, A-Z, 0-9, "underscores and dashes, with a maximum length of 64" (openai.openapi.json); else "string
              does not match pattern '^[a-zA-Z0-9_-]+$'" (400, vercel/ai#1972), "string too long" (400,
              mrexodia/ida-pro-mcp#129)
    Bedrock   the same (`ToolName` in AWS's service-2.json of bedrock-runtime)
    Claude    the same, up to 128 (`Tool` in Anthropic's openapi.json); else "tools.0.custom.name: String should match
              pattern '^[a-zA-Z0-9_-]{1,128}$'" (400, home-assistant/core#147760, anthropics/claude-code#96152)
    Gemini    also dots and colons, up to 64, a letter or an underscore first (`FunctionDeclaration.name` in Google's
              references of java-genai and of generativelanguage v1beta)

Read 2026-11. The name that is sent follows from the caller's alone, so that a conversation's calls agree from turn to
turn, and nothing has to be remembered for the answer: whatever a service takes, one that it does not take is sent as to
OpenAI. A dialect whose services take other names as they are sends those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from genai_spine.model.content import ToolCall
from genai_spine.model.events import PartStart, StreamEvent
from genai_spine.model.request import ProviderTool, Tool
from genai_spine.model.response import CompletionResponse

LONGEST = 64
OPENAI = re.compile(rf"[a-zA-Z0-9_-]{{1,{LONGEST}}}")
CLAUDE = re.compile(r"[a-zA-Z0-9_-]{1,128}")
GEMINI = re.compile(rf"[a-zA-Z0-9_.:-]{{1,{LONGEST}}}")
"""Gemini's without its rule for the first letter, which no name that is sent in another's place keeps for sure."""
_UNSAYABLE = re.compile(r"[^a-zA-Z0-9_-]")
_DIGITS = 8
"""Of the digest that tells `a.b` from `a_b`, and one long name from another that begins alike."""


def sayable(name: str, taken: re.Pattern[str] = OPENAI) -> str:
    """The name itself where it is taken; else as much of it as is everywhere, and a digest of all of it.

    One that is no text, with half of a surrogate pair in it, stays, and is refused where it is written.
    """
    if taken.fullmatch(name):
        return name
    try:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    except UnicodeEncodeError:
        return name
    return f"{_UNSAYABLE.sub('_', name)[: LONGEST - _DIGITS - 1]}_{digest}"


def own_names(tools: Iterable[Tool | ProviderTool]) -> dict[str, str]:
    """The callers' names by those that are sent in their place; empty where all can be said, as they mostly can. One
    that only some services take is among them, and found in no answer of theirs."""
    return {sent: tool.name for tool in tools if type(tool) is Tool and (sent := sayable(tool.name)) != tool.name}


def told_back(response: CompletionResponse, names: Mapping[str, str]) -> CompletionResponse:
    """The answer with its calls under the caller's own names. `raw` stays what the provider wrote."""
    parts = tuple([_renamed(part, names) if type(part) is ToolCall else part for part in response.parts])
    return msgspec.structs.replace(response, parts=parts)


def told_back_in(events: list[StreamEvent], names: Mapping[str, str]) -> list[StreamEvent]:
    """The same of a stream: a call's name is in its beginning."""
    return [
        msgspec.structs.replace(event, part=_renamed(part, names))
        if type(event) is PartStart and type(part := event.part) is ToolCall
        else event
        for event in events
    ]


def _renamed(call: ToolCall, names: Mapping[str, str]) -> ToolCall:
    own = names.get(call.name)
    return call if own is None else msgspec.structs.replace(call, name=own)
