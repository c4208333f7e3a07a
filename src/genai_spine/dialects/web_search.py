"""A web search that the provider runs: one tool, which each service asks for in words of its own.

A caller gives it as his dialect has it; asked for elsewhere, it is said anew, and a Notice tells what of it the other
service cannot heed. Sources (2026-11):

    anthropic_messages  {"type": "web_search_20250305", "name": "web_search", "max_uses": 5, "allowed_domains": […]}
                        platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool
    openai_responses    {"type": "web_search", "filters": {"allowed_domains": […]}, "search_context_size": "low"}, and
                        max_tool_calls beside the tools: developers.openai.com/api/docs/guides/tools-web-search
    openai_chat         web_search_options, no tool: developers.openai.com/api/docs/api-reference/chat/create
    gemini              {"googleSearch": {}}: ai.google.dev/gemini-api/docs/google-search

What was found comes back as citations of the answer's text, and, for callers of Messages and Responses, as the searches
themselves (searches.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import msgspec

from genai_spine.dialects.lenient import object_of
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.reading import Reader
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest, ProviderTool, Tool
from genai_spine.model.response import Notice
from genai_spine.wire.json import explain

_CHAT, _OPTIONS = "openai_chat", "web_search_options"


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a user is, roughly: `country` by two letters, `timezone` as in "Europe/Berlin"."""

    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class WebSearch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the services' tools have in common.

    `max_uses` is how often the model may search for one answer; domains are without scheme; `context_size` is low,
    medium or high.
    """

    max_uses: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    location: Place | None = None
    context_size: str | None = None


def web_search(
    *,
    max_uses: int | None = None,
    allowed_domains: Collection[str] = (),
    blocked_domains: Collection[str] = (),
    location: Mapping[str, str] | None = None,
) -> ProviderTool:
    """A tool for `tools`: the provider searches the web for its answer, where it can; a Notice tells where it cannot.

    `max_uses` is how often it may; domains are without scheme ("example.org"), and either allowed or blocked;
    `location` is the user's, roughly: city, region, country (two letters), timezone ("Europe/Berlin"). Searches cost
    extra.

    Raises: InvalidRequest.
    """
    given = {
        "max_uses": max_uses,
        "allowed_domains": allowed_domains,
        "blocked_domains": blocked_domains,
        "location": location,
    }
    try:
        search = msgspec.convert(given, WebSearch)
    except msgspec.ValidationError as error:
        reason, path = explain(error, b"")
        raise InvalidRequest(f"{path}: {reason}", param=path) from None
    if allowed_domains and blocked_domains:
        raise InvalidRequest("domains are either allowed or blocked, not both", param="blocked_domains")
    raw = msgspec.Raw(msgspec.json.encode(_for_messages(search)))
    return ProviderTool(dialect="anthropic_messages", name="web_search", raw=raw)


def is_asked(request: CompletionRequest, spoken: Collection[str]) -> bool:
    """Whether the request asks for a search in a dialect that is not among those `spoken`."""
    if any(_is_foreign(tool, spoken) for tool in request.tools):
        return True
    return bool(request.extra) and _CHAT not in spoken and _OPTIONS in kept(request.extra, _CHAT)


def said_in(dialect: str, request: CompletionRequest, *, limit: str | None) -> tuple[CompletionRequest, list[Notice]]:
    """The request with its searches as tools of `dialect`; `limit` is the member that bounds them, where one does.

    Raises: InvalidRequest, where a search cannot be read.
    """
    spoken, write, heeded = _WRITERS[dialect]
    if limit is not None:
        heeded |= {"max_uses"}
    notices: list[Notice] = []
    extra = dict(request.extra or {})
    asked = [*request.tools, *_options_in(extra)]
    tools: list[Tool | ProviderTool] = []
    names: set[str] = set()
    for index, tool in enumerate(asked):
        if not isinstance(tool, ProviderTool) or not _is_foreign(tool, (spoken,)):
            tools.append(tool)
            continue
        names.add(tool.name)
        if spoken == "gemini" and any(isinstance(each, Tool) for each in asked):
            notices.append(_dropped("no web search beside functions"))
            continue
        path = _OPTIONS if tool.name == _OPTIONS else f"tools[{index}]"
        search = _READERS[tool.dialect](Reader(msgspec.json.decode(tool.raw), path))
        for name in msgspec.structs.asdict(search):
            if getattr(search, name) and name not in heeded:
                notices.append(_dropped(f"no {name} of a web search"))
        if spoken == "anthropic_messages" and search.allowed_domains and search.blocked_domains:
            notices.append(_dropped("no blocked_domains beside allowed ones"))
        if limit is not None and search.max_uses is not None:
            extra.update(keep(spoken, {**kept(extra, spoken), limit: search.max_uses}) or {})
        tools.append(ProviderTool(dialect=spoken, name=tool.name, raw=msgspec.Raw(msgspec.json.encode(write(search)))))
    said = msgspec.structs.replace(request, tools=tuple(tools), extra=extra or None)
    return _chosen(said, spoken, names, notices), notices


def _is_foreign(tool: Tool | ProviderTool, spoken: Collection[str]) -> bool:
    """Whether it is a search, of live pages, in another dialect. Of what is kept alone, as Codex asks for by default,
    only OpenAI has any."""
    if not isinstance(tool, ProviderTool) or tool.dialect in spoken:
        return False
    members = object_of(msgspec.json.decode(tool.raw))
    match tool.dialect:
        case "anthropic_messages":
            return str(members.get("type")).startswith("web_search_2")
        case "openai_responses":
            return str(members.get("type")).startswith("web_search") and members.get("external_web_access") is not False
        case "gemini":
            return "googleSearch" in members
    return tool.name == _OPTIONS and tool.dialect == _CHAT


def _options_in(extra: dict[str, msgspec.Raw]) -> list[ProviderTool]:
    """`web_search_options`, taken from the members that only Chat Completions know, as a tool."""
    members = kept(extra, _CHAT)
    options = members.pop(_OPTIONS, None)
    if not isinstance(options, dict):
        return []
    del extra[_CHAT]
    extra.update(keep(_CHAT, members) or {})
    return [ProviderTool(dialect=_CHAT, name=_OPTIONS, raw=msgspec.Raw(msgspec.json.encode(options)))]


def _chosen(
    request: CompletionRequest, spoken: str, names: Collection[str], notices: list[Notice]
) -> CompletionRequest:
    """Elsewhere than at Anthropic a search has no name to be chosen by."""
    choice = request.tool_choice
    if choice is None or spoken == "anthropic_messages":
        return request
    if spoken == "gemini" and choice.mode != "none" and not any(isinstance(tool, Tool) for tool in request.tools):
        notices.append(Notice(code="dropped", message="a search cannot be made a must", param="tool_choice"))
        return msgspec.structs.replace(request, tool_choice=None)
    if choice.mode != "tool" or choice.name not in names:
        return request
    if len(request.tools) == 1:
        return msgspec.structs.replace(request, tool_choice=msgspec.structs.replace(choice, mode="required", name=None))
    notices.append(Notice(code="changed", message="which tool is called is left to the model", param="tool_choice"))
    return msgspec.structs.replace(request, tool_choice=msgspec.structs.replace(choice, mode="auto", name=None))


def _dropped(what: str) -> Notice:
    return Notice(code="dropped", message=f"there is {what} here", param="tools")


# ---------------------------------------------------------------- as callers say it


def _of_messages(tool: Reader) -> WebSearch:
    return WebSearch(
        max_uses=tool.integer("max_uses", least=1),
        allowed_domains=tool.strings("allowed_domains"),
        blocked_domains=tool.strings("blocked_domains"),
        location=_location(tool.object("user_location")),
    )


def _of_responses(tool: Reader) -> WebSearch:
    filters = tool.object("filters")
    return WebSearch(
        allowed_domains=filters.strings("allowed_domains") if filters is not None else (),
        blocked_domains=filters.strings("blocked_domains") if filters is not None else (),
        location=_location(tool.object("user_location")),
        context_size=tool.text("search_context_size"),
    )


def _of_chat(options: Reader) -> WebSearch:
    location = options.object("user_location")
    return WebSearch(
        location=_location(location.object("approximate") if location is not None else None),
        context_size=options.text("search_context_size"),
    )


def _of_gemini(tool: Reader) -> WebSearch:
    inner = tool.object("googleSearch")
    return WebSearch(blocked_domains=inner.strings("excludeDomains") if inner is not None else ())


def _location(place: Reader | None) -> Place | None:
    said = {name: place.text(name) for name in Place.__struct_fields__} if place is not None else {}
    return Place(**said) if any(said.values()) else None


_READERS: dict[str, Callable[[Reader], WebSearch]] = {
    "anthropic_messages": _of_messages,
    "openai_responses": _of_responses,
    "openai_chat": _of_chat,
    "gemini": _of_gemini,
}


# ---------------------------------------------------------------- as services take it


def _for_messages(search: WebSearch) -> dict[str, Any]:
    domains = (
        {"allowed_domains": search.allowed_domains}
        if search.allowed_domains
        else {"blocked_domains": search.blocked_domains}
    )
    said = {"max_uses": search.max_uses, **domains, "user_location": _approximately(search)}
    return {"type": "web_search_20250305", "name": "web_search", **{name: each for name, each in said.items() if each}}


def _for_responses(search: WebSearch) -> dict[str, Any]:
    domains = {"allowed_domains": search.allowed_domains, "blocked_domains": search.blocked_domains}
    said = {
        "filters": {name: each for name, each in domains.items() if each},
        "user_location": _approximately(search),
        "search_context_size": search.context_size,
    }
    return {"type": "web_search", **{name: each for name, each in said.items() if each}}


def _approximately(search: WebSearch) -> dict[str, str]:
    return {"type": "approximate", **msgspec.to_builtins(search.location)} if search.location is not None else {}


def _for_gemini(search: WebSearch) -> dict[str, Any]:
    return {"googleSearch": {}}


def _for_vertex(search: WebSearch) -> dict[str, Any]:
    return {"googleSearch": {"excludeDomains": search.blocked_domains} if search.blocked_domains else {}}


_DOMAINS = frozenset({"allowed_domains", "blocked_domains"})
_OF_CLAUDE = _DOMAINS | {"max_uses", "location"}
_WRITERS: dict[str, tuple[str, Callable[[WebSearch], dict[str, Any]], frozenset[str]]] = {
    "anthropic_messages": ("anthropic_messages", _for_messages, _OF_CLAUDE),
    "vertex_anthropic": ("anthropic_messages", _for_messages, _OF_CLAUDE),
    "openai_responses": ("openai_responses", _for_responses, _DOMAINS | {"location", "context_size"}),
    "gemini": ("gemini", _for_gemini, frozenset()),
    "gemini_vertex": ("gemini", _for_vertex, frozenset({"blocked_domains"})),
}
"""By the dialect of a provider: the one its tools are kept under, how a search is written, and what it heeds of one."""
