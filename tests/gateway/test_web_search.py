"""A search that the caller's dialect asks for, at providers that speak another."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine import SyncManager
from genai_spine.dialects.web_search import web_search
from genai_spine.testing.fixtures import RunningGateway, Simulator, running_gateway, running_simulator

SAYS = {"role": "user", "content": "What is new?"}
PLACE = {"type": "approximate", "city": "Berlin", "country": "DE"}
CLAUDES = {"type": "web_search_20250305", "name": "web_search"}
MESSAGES = ("/v1/messages", {"max_tokens": 99, "messages": [SAYS]})
RESPONSES = ("/v1/responses", {"input": [SAYS]})
CHAT = ("/v1/chat/completions", {"messages": [SAYS]})
GEMINI = (
    "/v1beta/models/{model}:generateContent",
    {"contents": [{"role": "user", "parts": [{"text": "What is new?"}]}]},
)
WEATHER = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    urls = simulator.urls
    providers = {
        "openai": {"api_key": "k", "base_url": urls.openai},
        "xai": {"api_key": "k", "base_url": urls.openai},
        "anthropic": {"api_key": "k", "base_url": urls.anthropic},
        "gemini": {"api_key": "k", "base_url": urls.gemini},
        "ollama": {"base_url": urls.ollama},
        "chatty": {"type": "openai", "api_key": "k", "base_url": urls.openai, "dialect": "openai_chat"},
    }
    with running_gateway({"providers": providers}) as running:
        yield running


def ask(gateway: RunningGateway, caller: tuple[str, dict[str, Any]], model: str, **members: Any) -> list[str]:
    """The notices of the answer."""
    path, body = caller
    content = json.dumps({**body, "model": model, **members}).encode()
    address = gateway.url + path.format(model=model)
    request = urllib.request.Request(address, content, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
        notices = answer.headers.get("x-spine-notices")
    return notices.split("; ") if notices else []


@pytest.mark.parametrize(
    ("caller", "model", "asked", "path", "sent", "notices"),
    [
        (
            MESSAGES,
            "openai/gpt-x",
            {"tools": [{**CLAUDES, "max_uses": 8, "allowed_domains": ["a.org"], "user_location": PLACE}]},
            "/v1/responses",
            {
                "tools": [{"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "user_location": PLACE}],
                "max_tool_calls": 8,
                "store": False,
                "include": ["web_search_call.action.sources", "reasoning.encrypted_content"],
            },
            [],
        ),
        (
            MESSAGES,
            "xai/grok-x",
            {"tools": [{**CLAUDES, "max_uses": 8}]},
            "/v1/responses",
            {"tools": [{"type": "web_search"}], "max_tool_calls": None},
            ["there is no max_uses of a web search here"],
        ),
        (
            MESSAGES,
            "gemini/gemini-x",
            {
                "tools": [{**CLAUDES, "blocked_domains": ["a.org"]}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "/v1beta/models/gemini-x:generateContent",
            {"tools": [{"googleSearch": {}}], "toolConfig": None},
            ["there is no blocked_domains of a web search here", "a search cannot be made a must"],
        ),
        (
            MESSAGES,
            "gemini/gemini-x",
            {"tools": [CLAUDES, WEATHER]},
            "/v1beta/models/gemini-x:generateContent",
            {},
            ["there is no web search beside functions here"],
        ),
        (
            MESSAGES,
            "openai/gpt-x",
            {"tools": [CLAUDES, WEATHER], "tool_choice": {"type": "tool", "name": "web_search"}},
            "/v1/responses",
            {"tool_choice": "auto"},
            ["which tool is called is left to the model"],
        ),
        (
            MESSAGES,
            "openai/gpt-x",
            {"tools": [CLAUDES], "tool_choice": {"type": "tool", "name": "web_search"}},
            "/v1/responses",
            {"tool_choice": "required", "tools": [{"type": "web_search"}]},
            [],
        ),
        (
            RESPONSES,
            "anthropic/claude-x",
            {
                "tools": [
                    {"type": "web_search", "filters": {"blocked_domains": ["a.org"]}, "search_context_size": "low"}
                ]
            },
            "/v1/messages",
            {"tools": [{**CLAUDES, "blocked_domains": ["a.org"]}]},
            ["there is no context_size of a web search here"],
        ),
        (
            RESPONSES,
            "anthropic/claude-x",
            {"tools": [{"type": "web_search", "external_web_access": False}]},
            "/v1/messages",
            {"tools": None},
            ["the tool web_search is known to openai_responses only"],
        ),
        (
            CHAT,
            "anthropic/claude-x",
            {"web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Berlin"}}}},
            "/v1/messages",
            {"tools": [{**CLAUDES, "user_location": {"type": "approximate", "city": "Berlin"}}]},
            [],
        ),
        (CHAT, "gemini/gemini-x", {"web_search_options": {}}, "", {"tools": [{"googleSearch": {}}]}, []),
        (
            CHAT,
            "openai/gpt-x",
            {"web_search_options": {}},
            "/v1/chat/completions",
            {"web_search_options": {}, "tools": None},
            [],
        ),
        (GEMINI, "openai/gpt-x", {"tools": [{"google_search": {}}]}, "", {"tools": [{"type": "web_search"}]}, []),
        (GEMINI, "anthropic/claude-x", {"tools": [{"googleSearch": {}}]}, "", {"tools": [CLAUDES]}, []),
        (
            MESSAGES,
            "ollama/llama",
            {"tools": [CLAUDES]},
            "/api/chat",
            {"tools": None},
            ["the tool web_search runs at a provider that speaks anthropic_messages"],
        ),
        (
            MESSAGES,
            "chatty/gpt-x",
            {"tools": [CLAUDES]},
            "/v1/chat/completions",
            {"tools": None},
            ["the tool web_search runs at a provider that speaks anthropic_messages"],
        ),
    ],
)
def test_a_search_is_asked_for_in_the_words_of_the_provider(
    gateway: RunningGateway,
    simulator: Simulator,
    caller: tuple[str, dict[str, Any]],
    model: str,
    asked: dict[str, Any],
    path: str,
    sent: dict[str, Any],
    notices: list[str],
) -> None:
    told = ask(gateway, caller, model, **asked)
    received = simulator.received[-1]
    body = received.json()
    assert {name: body.get(name) for name in sent} == sent
    assert received.path == path or not path
    for notice in notices:
        assert any(notice in each for each in told), told
    assert notices or not [each for each in told if "search" in each], told


def test_a_search_that_cannot_be_read_names_the_place(gateway: RunningGateway) -> None:
    for caller, model, asked, place in (
        (MESSAGES, "openai/gpt-x", {"tools": [WEATHER, {**CLAUDES, "max_uses": "8"}]}, "tools[1].max_uses"),
        (RESPONSES, "anthropic/claude-x", {"tools": [{"type": "web_search", "filters": []}]}, "tools[0].filters"),
        (CHAT, "anthropic/claude-x", {"web_search_options": {"user_location": 1}}, "web_search_options.user_location"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(gateway, caller, model, **asked)
        with refused.value as answer:
            assert answer.status == 400
            assert place in answer.read().decode()


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_program_asks_for_it_in_one_way(simulator: Simulator, provider: str) -> None:
    settings = {provider: {"api_key": "k", "base_url": getattr(simulator.urls, provider)}}
    with SyncManager.from_settings({"providers": settings}) as manager:
        manager.complete("What is new?", model="any-model", tools=[web_search(max_uses=2)])
        (tool,) = simulator.received[-1].json()["tools"]
        assert (
            tool
            == {
                "openai": {"type": "web_search"},
                "anthropic": {**CLAUDES, "max_uses": 2},
                "gemini": {"googleSearch": {}},
            }[provider]
        )
