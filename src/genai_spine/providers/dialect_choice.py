"""In which of its dialects a provider is asked what has been understood; a caller's own bytes go on in his (relay).

Must not know: HTTP, which provider it is. Which models want another dialect than the best stands in the row.
"""

from __future__ import annotations

import msgspec

from genai_spine.catalog.rows import ProviderRow
from genai_spine.dialects.foreign import dialects_needed, dialects_wished
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat.schema import EXTRA_HEADERS
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool


def worded(request: CompletionRequest, row: ProviderRow, model: str) -> tuple[str, CompletionRequest]:
    """The dialect, and the request with what it has to say there besides.

    It is the first that knows what only some dialects can say of the request; where none has to, or none of the
    provider's can, the one that the row wants for the model; then the first that leaves out nothing which another of
    them knows, as the members of a caller's own dialect (`truncation`, `text.verbosity`); or the best.
    """
    best = row.chat[0]
    needed = dialects_needed(request)
    if needed and (knowing := next((dialect for dialect in row.chat if dialect in needed), None)) is not None:
        return knowing, request
    rather = row.rather_for(model, has_tools=bool(request.tools))
    if rather is None:
        wished = dialects_wished(request)
        return next((dialect for dialect in row.chat if dialect in wished), best), request
    said = kept(request.extra, best)
    headers = {EXTRA_HEADERS: said.pop(EXTRA_HEADERS)} if EXTRA_HEADERS in said else {}  # they are the service's
    others = {dialect: raw for dialect, raw in (request.extra or {}).items() if dialect != best}
    own = keep(rather.dialect, {**rather.body, **headers, **kept(request.extra, rather.dialect)})
    tools = tuple([_as_loose_as_it_was(tool) for tool in request.tools])
    extra = {**others, **(keep(best, said) or {}), **(own or {})}
    return rather.dialect, msgspec.structs.replace(request, tools=tools, extra=extra)


def _as_loose_as_it_was(tool: Tool | ProviderTool) -> Tool | ProviderTool:
    """A function of which nobody says that it is strict is so in Responses, its optional parameters required, and in no
    other dialect (developers.openai.com/api/docs/guides/function-calling, strict mode, 2026-11)."""
    if isinstance(tool, Tool) and tool.kind == "function" and tool.strict is None:
        return msgspec.structs.replace(tool, strict=False)
    return tool
