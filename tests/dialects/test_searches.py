"""Each recorded answer for which a service searched the web, as a caller of another dialect is told of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import anthropic.types
import msgspec
import pydantic
import pytest
from openai.types import responses
from recorded_exchanges import exchanges
from test_citations import SPOKEN, TARGET, read

from genai_spine.gateway.inbounds import inbound
from genai_spine.model.content import Opaque, Text
from genai_spine.model.errors import ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, ProviderTool
from genai_spine.model.response import CompletionResponse, FinishReason
from genai_spine.providers import codecs

TOOLS = {"anthropic_messages": "web_search_20250305", "openai_responses": "web_search"}
_BLOCK = pydantic.TypeAdapter[Any](anthropic.types.ContentBlock)
_ITEM = pydantic.TypeAdapter[Any](responses.ResponseOutputItem)
SEARCHES = ("messages", "responses", "generate_content")
_SEARCHED = re.compile(rb"web_search_tool_result|web_search_call|groundingChunks")


ODD_URLS = ("http://[", "no address", "", "https://", "https://a.org:x/é\u2028")


class Searched(NamedTuple):
    name: str
    dialect: str
    answer: CompletionResponse
    urls: frozenset[str]
    queries: frozenset[str]


def asked(caller: str) -> CompletionRequest:
    kind = TOOLS[caller]
    raw = msgspec.Raw(json.dumps({"type": kind, "name": "web_search"}).encode())
    said = Message(role="user", content="Hello")
    return CompletionRequest(
        model="m", messages=(said,), tools=(ProviderTool(dialect=caller, name="web_search", raw=raw),)
    )


@cache
def recorded() -> list[Searched]:
    return list(_recorded())


def _recorded() -> Iterator[Searched]:
    for api in SEARCHES:
        for exchange in exchanges(api):
            if exchange.status != 200 or not _SEARCHED.search(exchange.body):
                continue
            try:
                answer = read(SPOKEN[api], exchange.body)
            except ProviderError:
                continue
            urls, queries = set[str](), set[str]()
            for node in _objects([json.loads(bytes(part.raw)) for part in answer.parts if isinstance(part, Opaque)]):
                if node.get("type") in ("web_search_result", "url"):
                    urls.add(node["url"])
                if node.get("type") == "search":
                    queries.update(node.get("queries") or [query for query in (node.get("query"),) if query])
                if node.get("type") == "server_tool_use" and node["name"] == "web_search":
                    queries.update(node["input"].values())
            for node in _objects(json.loads(msgspec.json.encode(answer.extra or {}))):
                queries.update(node.get("webSearchQueries") or ())
                if isinstance(web := node.get("web"), dict) and "uri" in web:
                    urls.add(web["uri"])
            if urls or queries:
                yield Searched(exchange.name, SPOKEN[api], answer, frozenset(urls), frozenset(queries))


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(each)


def told(caller: str, answer: CompletionResponse) -> list[list[dict[str, Any]]]:
    """Blocks or items of the plain answer, and of the stream."""
    codec = inbound(caller)
    request = asked(caller)
    plain = json.loads(codec.encode_response(answer, request))
    encoder = codec.stream_encoder(request)
    stream = b"".join(map(encoder.encode, replay(answer)))
    decoder = codecs.outbound(caller).stream_decoder(TARGET)
    events = [*decoder.feed(stream), *decoder.close()]
    again = json.loads(codec.encode_response(collect(events), request))
    return [each.get("content") or each.get("output") for each in (plain, again)]


def test_services_search_in_the_recordings() -> None:
    found = [each.dialect for each in recorded()]
    assert {dialect: found.count(dialect) for dialect in found} == {
        "anthropic_messages": 17,
        "openai_responses": 21,
        "gemini": 17,
    }


@pytest.mark.parametrize("caller", TOOLS)
@pytest.mark.parametrize(
    ("dialect", "kind", "members"),
    [
        ("openai_responses", "web_search_call", {}),
        ("openai_responses", "web_search_call", {"action": None, "status": 1}),
        (
            "openai_responses",
            "web_search_call",
            {"action": {"type": "search", "queries": [1, "q"], "sources": [1, {}]}},
        ),
        ("openai_responses", "web_search_call", {"action": {"sources": [{"url": each} for each in ODD_URLS]}}),
        ("openai_responses", "web_search_call", {"action": {"type": "open_page", "url": None}}),
        ("anthropic_messages", "server_tool_use", {"name": "web_search", "input": "q"}),
        ("anthropic_messages", "web_search_tool_result", {"content": None}),
        (
            "anthropic_messages",
            "web_search_tool_result",
            {"tool_use_id": 1, "content": [{"url": "http://[", "title": 1}]},
        ),
    ],
)
def test_searches_of_an_odd_shape_end_no_answer(caller: str, dialect: str, kind: str, members: dict[str, Any]) -> None:
    raw = msgspec.Raw(json.dumps({"type": kind, **members}).encode())
    parts = (Opaque(dialect=dialect, kind=kind, raw=raw), Text(text="Found."))
    for said in told(caller, CompletionResponse(model="m", parts=parts, finish_reason=FinishReason.STOP)):
        assert "Found." in json.dumps(said)


@pytest.mark.parametrize("caller", TOOLS)
def test_every_recorded_search_reaches_callers_of_other_dialects(caller: str) -> None:
    failed = []
    for each in recorded():
        if each.dialect == caller:
            continue
        for said in told(caller, each.answer):
            shown = [item for item in said if "web_search" in item["type"] or item["type"] == "server_tool_use"]
            for item in said:
                (_BLOCK if caller == "anthropic_messages" else _ITEM).validate_python(item)
            nodes = list(_objects(shown))
            urls = {node["url"] for node in nodes if "url" in node}
            queries = " ".join(json.dumps(node.get("query"), ensure_ascii=False) for node in nodes if "query" in node)
            missing = each.urls - urls
            if missing or not all(json.dumps(query, ensure_ascii=False)[1:-1] in queries for query in each.queries):
                failed.append((each.name, missing, each.queries, queries))
    assert not failed, failed[:3]
