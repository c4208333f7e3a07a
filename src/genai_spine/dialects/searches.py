"""The searches that a provider ran for an answer, for callers who asked for them in other words (web_search.py).

    anthropic_messages  {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "…"}},
                        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type":
                        "web_search_result", "url": "https://…", "title": "…", "encrypted_content": "…"}]}
    openai_responses    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search",
                        "query": "…", "queries": ["…"], "sources": [{"type": "url", "url": "https://…"}]}}
    gemini              no part: "groundingMetadata": {"webSearchQueries": ["…"], "groundingChunks": [{"web": {…}}]}

Agents look there for the pages that were found (Claude Code for titles and links). Callers send them back, marked by
their ids, and no service has any use for them: they are left out again (`without_shown`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from genai_spine.dialects.interface import StreamEncoder
from genai_spine.dialects.lenient import object_of, text_of
from genai_spine.dialects.metadata import kept
from genai_spine.model.content import Metadata, Opaque, Part
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartEnd, PartStart, StreamEvent
from genai_spine.model.request import CompletionRequest, Message, ProviderTool
from genai_spine.model.response import CompletionResponse

_MESSAGES, _RESPONSES, _GEMINI = "anthropic_messages", "openai_responses", "gemini"
_MARKS = {_MESSAGES: "srvtoolu_spine_", _RESPONSES: "ws_spine_"}
MARK_BYTES = {dialect: f'"{mark}'.encode() for dialect, mark in _MARKS.items()}
"""With which the ids of what is shown begin, by the dialect of the caller."""
_ADDED = 1 << 20
"""The index of the first part that is added to a stream: none has so many."""


class _Search(msgspec.Struct):
    queries: list[str]
    pages: list[tuple[str, str | None]] = []
    """URL and title."""
    failed: str | None = None


class _Shower:
    """Says one answer's searches in the caller's dialect; None for what he gets as it is."""

    def __init__(self, dialect: str, answer_id: str | None) -> None:
        self._dialect = dialect
        self._id = re.sub(r"\W", "", answer_id or "")
        self._count = 0
        self._asked: dict[str, list[str]] = {}
        """Queries of Claude's whose results are still to come, by id."""

    def part(self, part: Part) -> list[Part] | None:
        if not isinstance(part, Opaque) or part.dialect == self._dialect:
            return None
        members = object_of(msgspec.json.decode(part.raw))
        match part.dialect, part.kind:
            case "openai_responses", "web_search_call" if (search := _of_call(members)) is not None:
                return self._shown(search)
            case "anthropic_messages", "server_tool_use" if members.get("name") == "web_search":
                query = text_of(object_of(members.get("input")).get("query"))
                self._asked[str(members.get("id"))] = [query] if query else []
                return []
            case "anthropic_messages", "web_search_tool_result":
                asked = str(members.get("tool_use_id"))
                asked = asked if asked in self._asked else next(iter(self._asked), asked)
                return self._shown(_of_result(members, self._asked.pop(asked, [])))
        return None

    def beside(self, extra: Metadata | None) -> list[Part]:
        """What is told beside the parts of an answer, and at its end."""
        grounding = object_of(object_of(kept(extra, _GEMINI).get("candidate")).get("groundingMetadata"))
        queries = [query for query in _list(grounding.get("webSearchQueries")) if isinstance(query, str) and query]
        webs = [object_of(object_of(chunk).get("web")) for chunk in _list(grounding.get("groundingChunks"))]
        pages = [(url, text_of(web.get("title"))) for web in webs if (url := text_of(web.get("uri")))]
        return self._shown(_Search(queries, pages)) if queries or pages else []

    def _shown(self, search: _Search) -> list[Part]:
        self._count += 1
        name = f"{_MARKS[self._dialect]}{self._id}_{self._count}"
        written = _for_messages(search, name) if self._dialect == _MESSAGES else _for_responses(search, name)
        return [
            Opaque(dialect=self._dialect, kind=each["type"], raw=msgspec.Raw(msgspec.json.encode(each)))
            for each in written
        ]


# ---------------------------------------------------------------- as services tell it


def _of_call(members: Mapping[str, Any]) -> _Search | None:
    action = object_of(members.get("action"))
    if action.get("type", "search") != "search":
        return None  # a page that was opened, or looked through
    queries = [query for query in _list(action.get("queries")) if isinstance(query, str)]
    if not queries and (query := text_of(action.get("query"))):
        queries = [query]
    urls = [text_of(object_of(source).get("url")) for source in _list(action.get("sources"))]
    failed = "unavailable" if members.get("status") == "failed" else None
    return _Search(queries, [(url, None) for url in urls if url], failed)


def _of_result(members: Mapping[str, Any], queries: list[str]) -> _Search:
    content = members.get("content")
    found = [object_of(each) for each in _list(content)]
    pages = [(url, text_of(each.get("title"))) for each in found if (url := text_of(each.get("url")))]
    return _Search(queries, pages, text_of(object_of(content).get("error_code")))


# ---------------------------------------------------------------- as callers read it


def _for_messages(search: _Search, name: str) -> list[dict[str, Any]]:
    content: Any = [
        {
            "type": "web_search_result",
            "url": url,
            "title": title or _host(url),
            "encrypted_content": "",
            "page_age": None,
        }
        for url, title in search.pages
    ]
    if search.failed is not None:
        content = {"type": "web_search_tool_result_error", "error_code": search.failed}
    asked = {"query": ", ".join(search.queries)}
    return [
        {"type": "server_tool_use", "id": name, "name": "web_search", "input": asked},
        {"type": "web_search_tool_result", "tool_use_id": name, "content": content},
    ]


def _host(url: str) -> str:
    """Of an address as a provider wrote it, which need not be one."""
    return url.partition("://")[2].partition("/")[0] or url


def _for_responses(search: _Search, name: str) -> list[dict[str, Any]]:
    action = {
        "type": "search",
        "query": ", ".join(search.queries),
        "queries": search.queries,
        "sources": [{"type": "url", "url": url} for url, _ in search.pages],
    }
    status = "failed" if search.failed is not None else "completed"
    return [{"type": "web_search_call", "id": name, "status": status, "action": action}]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# ---------------------------------------------------------------- answers


def is_search(part: Part) -> bool:
    """Whether callers who asked for a search are told of this part, whoever wrote it."""
    return any(_Shower(dialect, None).part(part) is not None for dialect in _MARKS)


def _asks(request: CompletionRequest, dialect: str) -> bool:
    return any(
        isinstance(tool, ProviderTool) and tool.dialect == dialect and tool.name.startswith("web_search")
        for tool in request.tools
    )


def shown_in(dialect: str, response: CompletionResponse, request: CompletionRequest) -> Sequence[Part]:
    """The parts of an answer as a caller of `dialect` is told them."""
    if not _asks(request, dialect):
        return response.parts
    shower = _Shower(dialect, response.id)
    beside = shower.beside(response.extra)
    return [*beside, *_each_shown(shower, response.parts)]


def _each_shown(shower: _Shower, parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        shown = shower.part(part)
        yield from (part,) if shown is None else shown


def showing(dialect: str, encoder: StreamEncoder, request: CompletionRequest) -> StreamEncoder:
    """The encoder, or one that says the searches to it which the caller asked for."""
    return _Showing(dialect, encoder) if _asks(request, dialect) else encoder


class _Showing:
    def __init__(self, dialect: str, encoder: StreamEncoder) -> None:
        self._dialect = dialect
        self._encoder = encoder
        self._shower = _Shower(dialect, None)
        self._replaced: set[int] = set()
        self._next = _ADDED

    def encode(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                self._shower = _Shower(self._dialect, event.id)
            case PartStart() if (shown := self._shower.part(event.part)) is not None:
                self._replaced.add(event.index)
                return self._said(shown)
            case PartEnd() if event.index in self._replaced:
                return b""
            case MessageEnd():
                return self._said(self._shower.beside(event.extra)) + self._encoder.encode(event)
            case _:
                pass
        return self._encoder.encode(event)

    def _said(self, parts: list[Part]) -> bytes:
        said = b""
        for part in parts:
            said += self._encoder.encode(PartStart(index=self._next, part=part))
            said += self._encoder.encode(PartEnd(index=self._next))
            self._next += 1
        return said

    def error(self, error: SpineError, request_id: str) -> bytes:
        return self._encoder.error(error, request_id)


# ---------------------------------------------------------------- histories


def without_shown(dialect: str, messages: tuple[Message, ...], body: bytes) -> tuple[Message, ...]:
    """A caller's messages without what has been shown to him here. `body` is the request: most have none."""
    if MARK_BYTES[dialect] not in body:
        return messages
    return _without(messages, lambda part: _is_shown(part, dialect))


def without_foreign(dialect: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """A conversation without searches that another service ran: no other has a use for them, nor a place."""
    if not any(_is_foreign(part, dialect) for message in messages for part in message.content):
        return messages
    return _without(messages, lambda part: _is_foreign(part, dialect))


def _without(messages: tuple[Message, ...], is_left_out: Callable[[Part], bool]) -> tuple[Message, ...]:
    left = []
    for message in messages:
        content = tuple(part for part in message.content if not is_left_out(part))
        if content or not message.content:
            left.append(msgspec.structs.replace(message, content=content))
    return tuple(left)


_FOUND = frozenset({"web_search_tool_result", "web_search_call", "toolCall", "toolResponse"})
"""Kinds of parts. The last two are Gemini's, of its searches in the web and in files."""


def _is_foreign(part: Part, dialect: str) -> bool:
    if type(part) is not Opaque or part.dialect == dialect:
        return False
    if part.kind == "server_tool_use":
        return object_of(msgspec.json.decode(part.raw)).get("name") == "web_search"
    return part.kind in _FOUND


def _is_shown(part: Part, dialect: str) -> bool:
    if not isinstance(part, Opaque) or part.dialect != dialect:
        return False
    members = object_of(msgspec.json.decode(part.raw))
    mark = _MARKS[dialect]
    return any(str(members.get(name)).startswith(mark) for name in ("id", "tool_use_id"))
