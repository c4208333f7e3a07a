"""In which of its dialects a provider is asked what has been understood; a caller's own bytes go on in his (relay).

Must not know: HTTP, which provider it is. Which models want another dialect than the best stands in the row.
"""

from __future__ import annotations

import msgspec

from genai_spine.catalog.rows import ProviderRow
from genai_spine.dialects.foreign import dialects_needed
from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool


def worded(request: CompletionRequest, row: ProviderRow, model: str) -> tuple[str, CompletionRequest]:
    """The dialect, and the request with what it has to say there besides.

    It is the first that knows what only some dialects can say of the request; where none has to, or none of the
    provider's can, the one that the row wants for the model, or the best.
    """
    best = row.chat[0]
    needed = dialects_needed(request)
    if needed and (knowing := next((dialect for dialect in row.chat if dialect in needed), None)) is not None:
        return knowing, request
    rather = row.rather_for(model, has_tools=bool(request.tools))
    if rather is None:
        return best, request
    members = keep(rather.dialect, {**rather.body, **kept(request.extra, rather.dialect)}) or {}
    tools = tuple([_as_loose_as_it_was(tool) for tool in request.tools])
    return rather.dialect, msgspec.structs.replace(request, tools=tools, extra={**(request.extra or {}), **members})


def _as_loose_as_it_was(tool: Tool | ProviderTool) -> Tool | ProviderTool:
    """A function of which nobody says that it is strict is so in Responses, its optional parameters required, and in no
    other dialect (developers.openai.com/api/docs/guides/function-calling, strict mode, 2026-11)."""
    if isinstance(tool, Tool) and tool.kind == "function" and tool.strict is None:
        return msgspec.structs.replace(tool, strict=False)
    return tool
