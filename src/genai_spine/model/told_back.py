"""An answer's calls as its caller knows his tools: under their own names, and with text where they take text.

Both ways are the same for every service, and follow from the request's tools alone (tool_names.py, free_text.py). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genai_spine.model import free_text, tool_names
from genai_spine.model.events import StreamEvent
from genai_spine.model.request import ProviderTool, Tool
from genai_spine.model.response import CompletionResponse


def told_back(response: CompletionResponse, tools: Sequence[Tool | ProviderTool]) -> CompletionResponse:
    """The answer as the caller who gave these tools reads it."""
    if names := tool_names.own_names(tools):
        response = tool_names.told_back(response, names)
    if free := free_text.names_of(tools):
        response = free_text.told_back(response, free)
    return response


def teller_of(tools: Sequence[Tool | ProviderTool]) -> Callable[[list[StreamEvent]], list[StreamEvent]] | None:
    """The same of one stream, of which it takes the events as they come; None where nothing is told otherwise."""
    names, free = tool_names.own_names(tools), free_text.names_of(tools)
    if not free:
        return (lambda events: tool_names.told_back_in(events, names)) if names else None
    with_text = free_text.ToldBack(free)
    return lambda events: with_text.events(tool_names.told_back_in(events, names) if names else events)
