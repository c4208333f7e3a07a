"""Cohere's own SDK as an oracle: for the same call its request and ours are the same, up to what is declared here;
and it understands the simulator's answers as we do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from client_environments import ORACLES, python_of

from genai_spine import (
    CompletionRequest,
    Document,
    EmbeddingRequest,
    HttpProvider,
    Image,
    Message,
    OutputSchema,
    ProviderSettings,
    Text,
    Thinking,
    ThinkingConfig,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    collect,
)
from genai_spine.dialects.cohere_chat.schema import plan_of
from genai_spine.dialects.metadata import keep, kept
from genai_spine.model.rerank import RerankRequest
from genai_spine.settings import Secret
from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent

DECLARED = {
    "stream": "false is the default: we say only true",
}
"""Members that may differ, and why."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(key="k") as simulator:
        yield simulator


@contextmanager
def sdk_at(url: str) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    python = python_of("cohere", ORACLES["cohere"])
    command = [str(python), str(HERE / "cohere_calls.py"), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def call(method: str, options: dict[str, Any]) -> Any:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps({"method": method, "options": options}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield call
        process.stdin.close()


@pytest.fixture(scope="module")
def sdk(simulator: Simulator) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    with sdk_at(simulator.urls.root) as call:
        yield call


@pytest.fixture
def provider(simulator: Simulator) -> HttpProvider:
    simulator.run()
    simulator.received.clear()
    return HttpProvider("cohere", ProviderSettings(base_url=simulator.urls.root, api_key=Secret("k")))


def body(received: Any) -> dict[str, Any]:
    return {name: value for name, value in received.json().items() if value is not None and name not in DECLARED}


MODEL = "simulated"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
DOCUMENT = {"id": "d1", "data": {"title": "Tea", "text": "Tea is hot."}}
CALL = {"id": "sky_1", "type": "function", "function": {"name": "sky", "arguments": '{"of": "Rome"}'}}
CITATION = {"start": 0, "end": 3, "text": "Tea", "type": "TEXT_CONTENT", "content_index": 0}
TOOL = {"type": "function", "function": {"name": "sky", "description": "Its colour.", "parameters": SCHEMA}}
TEA = Document(text="Tea is hot.", name="Tea", provider_metadata=keep("cohere_chat", {"id": "d1"}))
OURS = Tool(name="sky", description="Its colour.", parameters=SCHEMA)


def user(*content: Any) -> Message:
    return Message(role="user", content=content)


CHATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": (
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    ),
    "options": (
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": 0.5,
            "max_tokens": 9,
            "p": 0.5,
            "k": 7,
            "seed": 3,
            "frequency_penalty": 0.25,
            "presence_penalty": 0.75,
            "stop_sequences": ["x", "y"],
            "thinking": {"type": "enabled", "token_budget": 512},
            "safety_mode": "STRICT",
            "citation_options": {"mode": "FAST"},
            "logprobs": True,
            "priority": 3,
        },
        {
            "messages": "Hi",
            "temperature": 0.5,
            "max_tokens": 9,
            "top_p": 0.5,
            "top_k": 7,
            "seed": 3,
            "frequency_penalty": 0.25,
            "presence_penalty": 0.75,
            "stop": ("x", "y"),
            "thinking": ThinkingConfig(enabled=True, budget_tokens=512),
            "extra": {
                "cohere_chat": {
                    "safety_mode": "STRICT",
                    "citation_options": {"mode": "FAST"},
                    "logprobs": True,
                    "priority": 3,
                }
            },
        },
    ),
    "no thinking": (
        {"messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "disabled"}},
        {"messages": "Hi", "thinking": False},
    ),
    "schema": (
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "response_format": {"type": "json_object", "json_schema": SCHEMA},
        },
        {"messages": "Hi", "output_schema": OutputSchema(schema=SCHEMA)},
    ),
    "documents": (
        {"messages": [{"role": "user", "content": "Is tea hot?"}], "documents": [DOCUMENT]},
        {
            "messages": (user(TEA, Text(text="Is tea hot?")),),
        },
    ),
    "image": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                    ],
                }
            ]
        },
        {"messages": (user(Text(text="What?"), Image(url="https://example.com/a.png", detail="low")),)},
    ),
    "required tool": (
        {
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [TOOL],
            "tool_choice": "REQUIRED",
            "strict_tools": True,
        },
        {
            "messages": "Hi",
            "tools": (Tool(name="sky", description="Its colour.", parameters=SCHEMA, strict=True),),
            "tool_choice": ToolChoice(mode="required"),
        },
    ),
    "turns": (
        {
            "messages": [
                {"role": "user", "content": "Sky?"},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "Hm."}],
                    "tool_plan": "I will look.",
                    "tool_calls": [CALL],
                },
                {
                    "role": "tool",
                    "tool_call_id": "sky_1",
                    "content": [{"type": "text", "text": "blue"}, {"type": "document", "document": DOCUMENT}],
                },
                {"role": "assistant", "content": "Tea.", "citations": [CITATION]},
                {"role": "user", "content": "Sure?"},
            ],
            "tools": [TOOL],
        },
        {
            "messages": (
                user(Text(text="Sky?")),
                Message(
                    role="assistant",
                    content=(
                        Thinking(text="Hm."),
                        plan_of("I will look."),
                        ToolCall(id="sky_1", name="sky", arguments='{"of": "Rome"}'),
                    ),
                ),
                Message(role="tool", content=(ToolResult(call_id="sky_1", content=(Text(text="blue"), TEA)),)),
                Message(
                    role="assistant",
                    content=(Text(text="Tea.", provider_metadata=keep("cohere_chat", {"citations": [CITATION]})),),
                ),
                user(Text(text="Sure?")),
            ),
            "tools": (OURS,),
        },
    ),
}


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_is_asked_for_as_the_sdk_asks(
    name: str, sdk: Callable[[str, dict[str, Any]], Any], provider: HttpProvider, simulator: Simulator
) -> None:
    theirs, ours = CHATS[name]
    said = sdk("chat", {"model": MODEL, **theirs})
    answer = await provider.complete(CompletionRequest(model=MODEL, **ours))
    first, second = simulator.received
    assert (second.path, body(second)) == (first.path, body(first))
    assert second.header("authorization") == first.header("authorization")
    told = said["answer"]
    texts = [entry["text"] for entry in told["message"].get("content") or () if entry["type"] == "text"]
    assert texts == [part.text for part in answer.parts if isinstance(part, Text)]
    assert [call["id"] for call in told["message"].get("tool_calls") or ()] == [call.id for call in answer.tool_calls]
    assert told["finish_reason"] == answer.raw_finish_reason
    assert answer.usage is not None
    assert told["usage"]["billed_units"]["output_tokens"] == answer.usage.output_tokens


@pytest.mark.parametrize("name", CHATS)
async def test_a_stream_is_asked_for_and_understood_as_the_sdk_does(
    name: str, sdk: Callable[[str, dict[str, Any]], Any], provider: HttpProvider, simulator: Simulator
) -> None:
    theirs, ours = CHATS[name]
    events = sdk("chat_stream", {"model": MODEL, **theirs})["answer"]
    answer = collect([event async for event in provider.stream(CompletionRequest(model=MODEL, **ours))])
    first, second = simulator.received
    assert (second.path, body(second)) == (first.path, body(first))
    assert second.json()["stream"] is first.json()["stream"] is True
    assert (events[0]["type"], events[-1]["type"]) == ("message-start", "message-end")
    texts = [event["delta"]["message"]["content"] for event in events if event["type"] == "content-delta"]
    assert "".join(text.get("text") or "" for text in texts) == answer.content
    assert "".join(text.get("thinking") or "" for text in texts) == answer.thinking
    cited = [event["delta"]["message"]["citations"] for event in events if event["type"] == "citation-start"]
    ours_cited = [kept(part.provider_metadata, "cohere_chat").get("citations") or [] for part in answer.parts]
    assert [citation["text"] for citation in cited] == [one["text"] for many in ours_cited for one in many]


EMBEDDINGS: dict[str, tuple[dict[str, Any], EmbeddingRequest]] = {
    "texts": (
        {
            "texts": ["tea", "coffee"],
            "input_type": "search_query",
            "embedding_types": ["float"],
            "output_dimension": 8,
            "truncate": "END",
        },
        EmbeddingRequest(
            input=("tea", "coffee"),
            dimensions=8,
            extra={"cohere_embed": {"input_type": "search_query", "truncate": "END"}},  # type: ignore[dict-item]  # accepted
        ),
    ),
    "an image": (
        {"images": ["data:image/png;base64,iVBORw0KGgo="], "input_type": "image", "embedding_types": ["float"]},
        EmbeddingRequest(input=("data:image/png;base64,iVBORw0KGgo=",)),
    ),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
async def test_embeddings_are_asked_for_as_the_sdk_asks(
    name: str, sdk: Callable[[str, dict[str, Any]], Any], provider: HttpProvider, simulator: Simulator
) -> None:
    theirs, ours = EMBEDDINGS[name]
    # The SDK splits texts over several requests unless it is told not to.
    said = sdk("embed", {"model": "embed-v4.0", **theirs})["answer"]
    response = await provider.embed(msgspec.structs.replace(ours, model="embed-v4.0"))
    first, second = simulator.received
    assert (second.path, body(second)) == (first.path, body(first))
    assert [list(vector) for vector in response.embeddings] == (
        said["embeddings"].get("float_") or said["embeddings"]["float"]
    )


async def test_a_ranking_is_asked_for_as_the_sdk_asks(
    sdk: Callable[[str, dict[str, Any]], Any], provider: HttpProvider, simulator: Simulator
) -> None:
    options = {"model": "rerank-v3.5", "query": "hot tea", "documents": ["a cold lake", "hot tea"], "top_n": 1}
    said = sdk("rerank", {**options, "max_tokens_per_doc": 99})["answer"]
    extra = {"cohere_rerank": {"max_tokens_per_doc": 99}}
    response = await provider.rerank(RerankRequest(**options, extra=extra))  # type: ignore[arg-type]  # accepted
    first, second = simulator.received
    assert (second.path, body(second)) == (first.path, body(first))
    assert [result["index"] for result in said["results"]] == [result.index for result in response.results] == [1]


def test_the_sdk_ranks_at_the_gateway(simulator: Simulator) -> None:
    simulator.run()
    simulator.received.clear()
    providers = {
        "cohere": {"base_url": simulator.urls.root, "api_key": "k"},
        "llamacpp": {"base_url": simulator.urls.openai, "api_key": "k"},
    }
    options = {"query": "hot tea", "documents": ["a cold lake", "hot tea"], "top_n": 1}
    with running_gateway({"providers": providers}) as gateway, sdk_at(gateway.url) as sdk:
        for model in ("cohere/rerank-v3.5", "llamacpp/bge-reranker-v2-m3"):
            (result,) = sdk("rerank", {"model": model, **options})["answer"]["results"]
            assert (result["index"], result["relevance_score"]) == (1, 1.0)
        refused = sdk("rerank", {"model": "cohere/rerank-v3.5", **options, "documents": []})
    assert (refused["error"], refused["status"]) == ("BadRequestError", 400) and "documents" in refused["body"]


async def test_an_error_is_one_to_the_sdk_too(sdk: Callable[[str, dict[str, Any]], Any], simulator: Simulator) -> None:
    simulator.run("status=404; message=model not found")
    said = sdk("chat", {"model": "simulated", "messages": [{"role": "user", "content": "Hi"}]})
    assert (said["error"], said["status"]) == ("NotFoundError", 404)
    assert "model not found" in said["body"]
