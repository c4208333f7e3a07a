"""A search that the caller's dialect asks for, at providers that speak another."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from genai_spine import InvalidRequest, SyncManager, web_search
from genai_spine.testing.fixtures import RunningGateway, Simulator, running_gateway, running_simulator

sys.path.insert(0, str(Path(__file__).parents[1] / "dialects"))
from recorded_exchanges import ROOT

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
        (
            RESPONSES,
            "anthropic/claude-x",
            {
                "tools": [
                    {"type": "web_search", "filters": {"blocked_domains": ["a.org"], "allowed_domains": ["b.org"]}}
                ]
            },
            "/v1/messages",
            {"tools": [{**CLAUDES, "allowed_domains": ["b.org"]}]},
            ["there is no blocked_domains beside allowed ones here"],
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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_uses": 0.5}, "max_uses: expected int or null, got float"),
        ({"max_uses": 0}, "max_uses: expected int >= 1"),
        ({"allowed_domains": "example.org"}, "allowed_domains: expected array, got str"),
        ({"blocked_domains": [1]}, r"blocked_domains\[0\]: expected str, got int"),
        ({"location": "Berlin"}, "location: expected object or null, got str"),
        ({"location": {"town": "Berlin"}}, "location: object contains unknown field town"),
        ({"allowed_domains": ["a.org"], "blocked_domains": ["b.org"]}, "either allowed or blocked"),
    ],
)
def test_a_program_that_asks_wrongly_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        web_search(**given)


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


# ---------------------------------------------------------------- what was found


class Upstream(BaseHTTPRequestHandler):
    """Answers as a service has been recorded to."""

    answer: bytes
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        kind = "application/json" if self.answer.lstrip().startswith(b"{") else "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningGateway]:
    """A gateway whose providers all answer with `Upstream.answer`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        settings = {name: {"api_key": "k", "base_url": url} for name in ("openai", "anthropic", "gemini")}
        with running_gateway({"providers": settings}) as running:
            yield running
        server.shutdown()


def recorded(provider: str, name: str) -> bytes:
    path = ROOT / "exchanges" / provider / f"{name}.json"
    body: str = json.loads(path.read_text())["response"]["body"]
    return body.encode()


OPENAIS = {
    False: "responses-ai-openai-web-search-tool-1-2",
    True: "responses-ai-openai-web-search-tool-1",
}
CLAUDE = {
    False: "messages-mirascope-test-web-search-tool-anthropic-claude-sonnet-4-0",
    True: "messages-pydantic-ai-test-anthropic-test-anthropic-web-search-tool-stream",
}
GOOGLES = {
    False: "generate-content-pydantic-ai-test-google-test-google-model-web-search-tool",
    True: "generate-content-pydantic-ai-test-google-test-google-model-web-search-tool-stream",
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("model", "answers"), [("openai/gpt-x", OPENAIS), ("gemini/gemini-x", GOOGLES)])
def test_anthropics_sdk_reads_what_others_found(
    upstream: RunningGateway, model: str, answers: dict[bool, str], stream: bool
) -> None:
    Upstream.answer, Upstream.received = recorded(model.partition("/")[0], answers[stream]), []
    with anthropic.Anthropic(base_url=upstream.url, api_key="k", max_retries=0) as client:
        talk: list[Any] = [SAYS]
        asked: dict[str, Any] = {"model": model, "max_tokens": 99, "tools": [CLAUDES]}
        if stream:
            with client.messages.stream(**asked, messages=talk) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked, messages=talk)
        results = [block for block in answer.content if block.type == "web_search_tool_result"]
        calls = [block for block in answer.content if block.type == "server_tool_use"]
        assert [call.id for call in calls] == [result.tool_use_id for result in results]
        assert all(call.input["query"] for call in calls)
        assert any(result.content for result in results)
        used = answer.usage.server_tool_use
        assert used is not None and used.web_search_requests > 0
        talk += [{"role": "assistant", "content": answer.content}, SAYS]
        Upstream.answer = recorded(model.partition("/")[0], answers[False])
        client.messages.create(**asked, messages=talk)
    said = json.dumps(Upstream.received[-1])
    assert "srvtoolu_spine" not in said and "web_search_result" not in said


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("model", "answers"), [("anthropic/claude-x", CLAUDE), ("gemini/gemini-x", GOOGLES)])
def test_openais_sdk_reads_what_others_found(
    upstream: RunningGateway, model: str, answers: dict[bool, str], stream: bool
) -> None:
    Upstream.answer, Upstream.received = recorded(model.partition("/")[0], answers[stream]), []
    with openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="k", max_retries=0) as client:
        talk: list[Any] = [SAYS]
        asked: dict[str, Any] = {"model": model, "tools": [{"type": "web_search"}], "store": False}
        if stream:
            with client.responses.stream(**asked, input=talk) as events:
                for _ in events:
                    pass
                answer: Any = events.get_final_response()
        else:
            answer = client.responses.create(**asked, input=talk)
        calls = [item for item in answer.output if item.type == "web_search_call"]
        assert all(call.action.queries for call in calls)
        assert any(call.action.sources for call in calls)
        assert answer.output_text
        talk += [*answer.output, SAYS]
        Upstream.answer = recorded(model.partition("/")[0], answers[False])
        client.responses.create(**asked, input=talk)
    assert "ws_spine" not in json.dumps(Upstream.received[-1])


def test_what_one_service_found_is_left_out_for_another(gateway: RunningGateway, simulator: Simulator) -> None:
    """A conversation that goes on elsewhere, as where a route falls back."""
    found: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "Found."},
    ]
    talk = [SAYS, {"role": "assistant", "content": found}, SAYS]
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Found."}]}
    tool = {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB"}
    parts = [{"toolCall": {**tool, "args": {"queries": ["q"]}}}, {"toolResponse": {**tool, "response": {}}}]
    googles = [
        {"role": "user", "parts": [{"text": "?"}]},
        {"role": "model", "parts": [*parts, {"text": "Found."}]},
        {"role": "user", "parts": [{"text": "?"}]},
    ]
    for caller, models in (
        (("/v1/messages", {"max_tokens": 99, "messages": talk}), ("openai/gpt-x", "gemini/gemini-x", "ollama/llama")),
        (("/v1/responses", {"input": [SAYS, call, said, SAYS]}), ("anthropic/claude-x", "chatty/gpt-x")),
        ((GEMINI[0], {"contents": googles}), ("anthropic/claude-x", "openai/gpt-x")),
    ):
        for model in models:
            told = ask(gateway, caller, model)
            assert any("what another service's search has found is left out" in each for each in told), told
            sent = simulator.received[-1].body.decode()
            assert "Found." in sent and "search" not in sent
    ask(gateway, ("/v1/messages", {"max_tokens": 99, "messages": talk}), "anthropic/claude-x")
    assert simulator.received[-1].json()["messages"][1]["content"] == found


def test_what_was_shown_goes_back_to_nobody(upstream: RunningGateway) -> None:
    """Not to the service whose words the caller speaks, either, which would refuse what it never wrote."""
    Upstream.received = []
    Upstream.answer = recorded("anthropic", CLAUDE[False])
    shown: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "srvtoolu_spine_1_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_spine_1_1", "content": []},
        {"type": "text", "text": "Found."},
    ]
    talk: list[Any] = [SAYS, {"role": "assistant", "content": shown}, SAYS]
    ask(upstream, ("/v1/messages", {"max_tokens": 99, "messages": talk}), "anthropic/claude-x", tools=[CLAUDES])
    assert Upstream.received[-1]["messages"][1]["content"] in ("Found.", [{"type": "text", "text": "Found."}])
    Upstream.answer = recorded("openai", OPENAIS[False])
    call = {"type": "web_search_call", "id": "ws_spine_1_1", "status": "completed", "action": {"type": "search"}}
    ask(upstream, ("/v1/responses", {"input": [SAYS, call, SAYS]}), "openai/gpt-x", tools=[{"type": "web_search"}])
    assert "ws_spine" not in json.dumps(Upstream.received[-1])
