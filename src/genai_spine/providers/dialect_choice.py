"""In which of its dialects a provider is asked what has been understood; a caller's own bytes go on in his (relay).

Must not know: HTTP, which provider it is. Which models want another dialect than the best stands in the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genai_spine.catalog.rows import ProviderRow
from genai_spine.dialects import web_search
from genai_spine.dialects.foreign import dialects_needed, dialects_wished
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat.schema import EXTRA_HEADERS
from genai_spine.dialects.searches import without_foreign
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.model.response import Notice


def worded(
    request: CompletionRequest, row: ProviderRow, model: str, fixed: str | None = None
) -> tuple[str, CompletionRequest, tuple[Notice, ...]]:
    """The dialect, the request with what it has to say there besides, and what it cannot say there."""
    needed = dialects_needed(request)
    dialect, said, notices = _chosen(request, row, model, fixed, needed)
    if needed and (messages := without_foreign(_KNOWN_AS.get(dialect, dialect), said.messages)) is not said.messages:
        said = msgspec.structs.replace(said, messages=messages)
        notices = (*notices, Notice(code="dropped", message=_FOUND, param="messages"))
    return dialect, said, notices


_FOUND = "what another service's search has found is left out of the conversation"
_KNOWN_AS = {
    "gemini_vertex": "gemini",
    "vertex_anthropic": "anthropic_messages",
    "bedrock_invoke": "anthropic_messages",
}
"""Dialects that keep what they do not know under the name of another."""


def _chosen(
    request: CompletionRequest, row: ProviderRow, model: str, fixed: str | None, needed: set[str]
) -> tuple[str, CompletionRequest, tuple[Notice, ...]]:
    """The dialect is the one in which the provider searches the web, where a search is asked for that has to be said
    anew; the first that knows what only some dialects can say of the request; where none has to, or none of the
    provider's can, the one that the row wants for the model; then the first that leaves out nothing which another of
    them knows, as the members of a caller's own dialect (`truncation`, `text.verbosity`); or the best. The settings may
    have `fixed` one.
    """
    best = row.chat[0]
    spoken = (fixed,) if fixed is not None else row.chat_of(model)
    searches = row.searches if needed or request.extra else None
    if searches is not None and searches.dialect in spoken and web_search.is_asked(request, spoken):
        rather = _in_another(request, best, searches.dialect, searches.body)
        said, notices = web_search.said_in(searches.dialect, rather, limit=searches.limit)
        return searches.dialect, said, tuple(notices)
    if len(spoken) == 1:
        return spoken[0], request, ()
    if needed and (knowing := next((dialect for dialect in spoken if dialect in needed), None)) is not None:
        return knowing, request, ()
    rather_so = row.rather_for(model, has_tools=bool(request.tools))
    if rather_so is None:
        wished = dialects_wished(request)
        return next((dialect for dialect in spoken if dialect in wished), best), request, ()
    return rather_so.dialect, _in_another(request, best, rather_so.dialect, rather_so.body), ()


def _in_another(request: CompletionRequest, best: str, dialect: str, body: Mapping[str, Any]) -> CompletionRequest:
    """The request as it is said in another dialect than the best of its provider, with `body` besides."""
    if dialect == best:
        return request
    said = kept(request.extra, best)
    headers = {EXTRA_HEADERS: said.pop(EXTRA_HEADERS)} if EXTRA_HEADERS in said else {}  # they are the service's
    others = {other: raw for other, raw in (request.extra or {}).items() if other != best}
    own = keep(dialect, {**body, **headers, **kept(request.extra, dialect)})
    tools = tuple([_as_loose_as_it_was(tool) for tool in request.tools])
    return msgspec.structs.replace(request, tools=tools, extra={**others, **(keep(best, said) or {}), **(own or {})})


def _as_loose_as_it_was(tool: Tool | ProviderTool) -> Tool | ProviderTool:
    """A function of which nobody says that it is strict is so in Responses, its optional parameters required, and in no
    other dialect (developers.openai.com/api/docs/guides/function-calling, strict mode, 2026-11)."""
    if isinstance(tool, Tool) and tool.kind == "function" and tool.strict is None:
        return msgspec.structs.replace(tool, strict=False)
    return tool
